package fleet

import (
	"net/http"
	"testing"
	"time"
)

// outage answers statistics with a status during the second to tenth hour of the run.
func outage(status int) *script {
	var began time.Time
	s := &script{check: offering("1.1.0")}
	s.stats = func(s *script, _ []map[string]any) answerOf {
		if began.IsZero() {
			began = time.Now()
		}
		if at := time.Since(began); at > time.Hour && at < 10*time.Hour {
			return answerOf{status: status}
		}
		return answerOf{}
	}
	return s
}

func TestNewPluginsKeepWhatAnOutageRefused(t *testing.T) {
	c := config("8.51.23")
	c.Devices, c.Session = 20, 20*time.Second
	r := play(t, c, outage(http.StatusServiceUnavailable))
	if r.EventsRequeued == 0 || r.EventsLost != 0 {
		t.Errorf("%d requeued, %d lost: want some and none", r.EventsRequeued, r.EventsLost)
	}
	if held := r.EventsSent - r.EventsAcked - r.EventsRequeued; held != 0 {
		t.Errorf("%d events neither acknowledged nor requeued", held)
	}
}

func TestOldPluginsLoseWhatAnOutageRefused(t *testing.T) {
	for _, plugin := range []string{"5.9.5", "8.40.5", "8.45.0"} {
		r := play(t, config(plugin), outage(http.StatusServiceUnavailable))
		if r.EventsRequeued != 0 || r.EventsLost == 0 || r.EventsAcked+r.EventsLost != r.EventsSent {
			t.Errorf("%s: %d sent, %d acknowledged, %d requeued, %d lost", plugin, r.EventsSent, r.EventsAcked, r.EventsRequeued, r.EventsLost)
		}
	}
}

func TestRetriesComeEverySecondWhileTheAppIsOpen(t *testing.T) {
	c := config("8.51.23")
	c.Devices, c.Duration, c.Session = 1, 6*time.Hour, 2*time.Minute
	s := &script{stats: func(*script, []map[string]any) answerOf { return answerOf{status: 500} }}
	play(t, c, s)
	retries := 0
	for i := 1; i < len(s.requests); i++ {
		if gap := s.requests[i].at.Sub(s.requests[i-1].at); gap > 900*time.Millisecond && gap < 1100*time.Millisecond {
			retries++
		}
	}
	if retries < 60 {
		t.Errorf("%d retries a second apart, want about two minutes of them per session", retries)
	}
}

func TestNewPluginsHonourRetryAfter(t *testing.T) {
	blockedUntil := map[string]time.Time{}
	early := 0
	s := &script{check: func(s *script, c map[string]any) answerOf {
		device := deviceOf(c)
		if time.Now().Before(blockedUntil[device]) {
			early++
		}
		blockedUntil[device] = time.Now().Add(5 * time.Hour)
		return answerOf{status: 429, body: `{"error":"too_many_requests"}`, header: map[string]string{"Retry-After": "18000"}}
	}}
	limits := 0
	s.stats = func(_ *script, events []map[string]any) answerOf {
		if events[0]["action"] == "rate_limit_reached" {
			limits++
		} else if time.Now().Before(blockedUntil[deviceOf(events[0])]) {
			early++
		}
		return answerOf{}
	}
	r := play(t, config("8.51.23"), s)
	wantNoViolations(t, r)
	if early > 0 {
		t.Errorf("%d requests came before Retry-After had passed", early)
	}
	if r.Errors["429"] < 120 || uint64(limits) != r.Errors["429"] {
		t.Errorf("%d refusals, %d reports of the limit: want one each", r.Errors["429"], limits)
	}
	if r.EventsLost != 0 {
		t.Errorf("%d events lost while blocked", r.EventsLost)
	}
}

func TestMiddlePluginsFallSilentAfterA429UntilRestart(t *testing.T) {
	muted := map[string]bool{}
	wrong := 0
	s := &script{check: func(s *script, c map[string]any) answerOf {
		device := deviceOf(c)
		muted[device] = !muted[device] // every second start is throttled
		if muted[device] {
			return answerOf{status: 429, body: `{"error":"too_many_requests"}`, header: map[string]string{"Retry-After": "1"}}
		}
		return offering("1.1.0")(s, c)
	}}
	s.stats = func(_ *script, events []map[string]any) answerOf {
		// Events of a process that was throttled; those before its check belong to the next start.
		if a := events[0]["action"]; muted[deviceOf(events[0])] && a != "rate_limit_reached" && a != "app_launch_start" {
			wrong++
		}
		return answerOf{}
	}
	r := play(t, config("8.43.0"), s)
	if wrong > 0 {
		t.Errorf("%d statistics of muted processes", wrong)
	}
	if r.EventsLost == 0 || r.EventsAcked == 0 {
		t.Errorf("%d lost, %d acknowledged: want both", r.EventsLost, r.EventsAcked)
	}
}

func TestRetryHint(t *testing.T) {
	for _, c := range []struct {
		header, body string
		want         time.Duration
	}{
		{"7", `{}`, 7 * time.Second},
		{"0", ``, 0},
		{"", `{"moreInfo":{"retryAfterSeconds":3},"retryAfterSeconds":9}`, 3 * time.Second},
		{"", `{"retryAfterSeconds":9}`, 9 * time.Second},
		{"9999999", ``, 24 * time.Hour},
		{"", `{"message":"Too Many Requests"}`, -1},
		{"soon", `busy`, -1},
	} {
		h := http.Header{}
		if c.header != "" {
			h.Set("Retry-After", c.header)
		}
		if got := retryHint(h, []byte(c.body)); got != c.want {
			t.Errorf("%q %s: %v, want %v", c.header, c.body, got, c.want)
		}
	}
}

func TestRefusalsAreReportedAsEachPluginDoes(t *testing.T) {
	none := answerOf{body: `{"error":"no_channel","message":"m","kind":"failed"}`}
	for _, c := range []struct {
		plugin string
		answer answerOf
		action string
	}{
		{"5.9.5", upToDate(), "download_fail"},
		{"5.9.5", blocked(), "download_fail"},
		{"6.14.26", upToDate(), ""},
		{"7.17.0", blocked(), "backend_refusal"},
		{"8.40.5", none, ""},
		{"8.40.5", answerOf{status: 500}, "download_fail"},
		{"8.51.23", upToDate(), ""},
		{"8.51.23", blocked(), ""},
		{"8.51.23", none, "download_fail"},
		{"8.51.23", answerOf{status: 500}, "download_fail"},
	} {
		s, cfg := always(c.answer), config(c.plugin)
		cfg.Devices, cfg.Duration = 5, 12*time.Hour
		play(t, cfg, s)
		fails, refusals := len(s.actions("download_fail")), len(s.actions("backend_refusal"))
		if (fails > 0) != (c.action == "download_fail") || (refusals > 0) != (c.action == "backend_refusal") {
			t.Errorf("plugin %s told %s: %d download_fail, %d backend_refusal, want %q", c.plugin, c.answer.body, fails, refusals, c.action)
		}
	}
}

func TestQueueKeepsTheLatest(t *testing.T) {
	f := wireFleet(t, Config{})
	d := deviceFor(t, f, "8.51.23", "android", "15")
	for i := range queueLimit + 5 {
		f.enqueue(d, event{action: "ping", old: string(rune('a' + i%26))})
	}
	if len(d.queue) != queueLimit || f.eventsLost.Load() != 5 || d.queue[0].old != "f" {
		t.Errorf("%d queued, %d lost, the oldest is %q", len(d.queue), f.eventsLost.Load(), d.queue[0].old)
	}
}
