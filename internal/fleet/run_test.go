package fleet

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestValidateNamesTheField(t *testing.T) {
	good := Config{BaseURL: "http://127.0.0.1:8787", App: "com.example.shop"}
	if err := good.Validate(); err != nil {
		t.Fatalf("a config of defaults: %v", err)
	}
	for want, spoil := range map[string]func(*Config){
		"base URL":          func(c *Config) { c.BaseURL = "localhost:8787" },
		"app":               func(c *Config) { c.App = "shop" },
		"devices":           func(c *Config) { c.Devices = -1 },
		"concurrent":        func(c *Config) { c.Concurrency = -1 },
		"time scale":        func(c *Config) { c.TimeScale = math.NaN() },
		"rate":              func(c *Config) { c.MaxRate = -1 },
		"duration":          func(c *Config) { c.Duration = -1 },
		"diurnal":           func(c *Config) { c.Diurnal = 1 },
		"store version":     func(c *Config) { c.StoreVersion = "1.0" },
		"lost":              func(c *Config) { c.Lost = 1.1 },
		"1.1.0: crash rate": func(c *Config) { c.Behaviour = map[string]Behaviour{"1.1.0": {CrashRate: -.1}} },
		"baseline: kill":    func(c *Config) { c.Baseline.Kill = math.NaN() },
		"plugin version":    func(c *Config) { c.PluginMix = []PluginShare{{"newest", 1}} },
		"platform":          func(c *Config) { c.PlatformMix = []PlatformShare{{"windows", 1}} },
		"weight":            func(c *Config) { c.PlatformMix = []PlatformShare{{"ios", -1}} },
		"all zero":          func(c *Config) { c.PluginMix = []PluginShare{{"8.51.23", 0}} },
	} {
		c := good
		spoil(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
		if _, runErr := Run(context.Background(), c, nil); runErr == nil {
			t.Errorf("Run took what Validate refuses: %v", err)
		}
	}
}

func TestSameSeedSameFleet(t *testing.T) {
	a, b := wireFleet(t, Config{Devices: 300, Seed: 5}), wireFleet(t, Config{Devices: 300, Seed: 5})
	other := wireFleet(t, Config{Devices: 300, Seed: 6})
	v4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	ids := map[string]bool{}
	for i, d := range a.devices {
		e := b.devices[i]
		if d.id != e.id || d.platform != e.platform || d.osVersion != e.osVersion || d.plugin.version != e.plugin.version {
			t.Fatalf("device %d differs: %+v, %+v", i, d, e)
		}
		if id := lower(d.id); !v4.MatchString(id) || id != DeviceID(5, i) || id == lower(other.devices[i].id) {
			t.Fatalf("device %d: id %s", i, d.id)
		}
		ids[lower(d.id)] = true
	}
	if len(ids) != 300 {
		t.Errorf("%d different ids of 300", len(ids))
	}
}

func TestMixesAreKept(t *testing.T) {
	f := wireFleet(t, Config{Devices: 10000, NonProd: .1, Metrics: .3})
	got := map[string]float64{}
	for _, d := range f.devices {
		got[d.plugin.version] += 1e-4
		got[d.platform] += 1e-4
		if !d.prod {
			got["non-prod"] += 1e-4
		}
		if d.metrics {
			got["metrics"] += 1e-4
		}
	}
	want := map[string]float64{"non-prod": .1, "metrics": .3}
	for _, p := range DefaultPluginMix() {
		want[p.Version] = p.Weight
	}
	for _, p := range DefaultPlatformMix() {
		want[p.Platform] = p.Weight
	}
	for name, share := range want {
		if math.Abs(got[name]-share) > .02 {
			t.Errorf("%s: share %.3f, want %.3f", name, got[name], share)
		}
	}
}

func TestFatesAreNestedAndIndependent(t *testing.T) {
	const n = 20000
	at := func(version string, share float64) Config {
		return Config{Seed: 3, Behaviour: map[string]Behaviour{version: {BootFail: share, Kill: share}}}
	}
	few, many, other := at("1.1.0", .1), at("1.1.0", .3), at("1.2.0", .3)
	fails, both, killedToo := 0., 0., 0.
	for i := range n {
		f := many.Fate(i, "1.1.0")
		if few.Fate(i, "1.1.0").BootFails && !f.BootFails {
			t.Fatalf("device %d fails at 10 %% and not at 30 %%", i)
		}
		if f.BootFails {
			fails++
			if other.Fate(i, "1.2.0").BootFails {
				both++
			}
			if f.Killed {
				killedToo++
			}
		}
	}
	for name, share := range map[string]float64{"fail": fails / n, "fail on both": both / fails, "fail and die": killedToo / fails} {
		if math.Abs(share-.3) > .02 {
			t.Errorf("share that %s is %.3f, want 0.3", name, share)
		}
	}
}

func TestEnds(t *testing.T) {
	t.Run("duration", func(t *testing.T) {
		c := mixed()
		c.Duration = 10 * time.Hour
		if r := play(t, c, &script{}); r.Simulated < 10*time.Hour || r.Simulated > 10*time.Hour+time.Second {
			t.Errorf("lived %v, want 10 h", r.Simulated)
		}
	})
	t.Run("until", func(t *testing.T) {
		c := mixed()
		c.Until = func(s Stats) bool { return s.Versions["1.1.0"].Running == 60 }
		if r := play(t, c, &script{check: offering("1.1.0")}); r.Simulated >= 48*time.Hour || r.Versions["1.1.0"].Running != 60 {
			t.Errorf("lived %v with %d on 1.1.0", r.Simulated, r.Versions["1.1.0"].Running)
		}
	})
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := mixed()
			c.Client, c.Duration = &http.Client{Transport: &script{}}, 0
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
			defer cancel()
			r, err := Run(ctx, c, nil)
			if err != nil || r.Elapsed != 5*time.Hour || r.ErrorCount() != 0 {
				t.Errorf("lived %v, error %v, errors %v", r.Elapsed, err, r.Errors)
			}
		})
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mixed()
		c.Client = &http.Client{Transport: &script{}}
		var seen []Stats
		r, err := Run(t.Context(), c, func(s Stats) { seen = append(seen, s) })
		if err != nil || len(seen) < 47 || len(seen) > 49 {
			t.Fatalf("%d reports in 48 h, one an hour asked for (%v)", len(seen), err)
		}
		if last := seen[len(seen)-1]; last.Requests != r.Requests || seen[0].Requests >= last.Requests {
			t.Errorf("first %d requests, last %d, report %d", seen[0].Requests, last.Requests, r.Requests)
		}
	})
}

// slow delays every answer; within a bubble the delay costs no real time.
type slow struct {
	by   time.Duration
	next http.RoundTripper
}

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(s.by)
	return s.next.RoundTrip(r)
}

func TestSlowServerMakesDevicesLateNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &script{}
		c := mixed()
		// 60 devices in an hour through one connection that needs two minutes an answer cannot be on time.
		c.Client, c.Concurrency, c.CheckEvery = &http.Client{Transport: slow{2 * time.Minute, server}}, 1, time.Hour
		r, err := Run(t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.MaxLag < time.Hour || r.P50 < 110*time.Second || r.P50 > 120*time.Second {
			t.Errorf("latest device %v late, median latency %v", r.MaxLag, r.P50)
		}
		asked := map[string]bool{}
		for _, q := range server.requests {
			asked[deviceOf(q.bodies[0])] = true
		}
		if len(asked) != 60 {
			t.Errorf("%d of 60 devices asked", len(asked))
		}
	})
}

// unreachable answers nothing.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

func TestUnreachableServerIsAnErrorNotAViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config("8.51.23")
		c.Client, c.Devices, c.Session, c.Duration = &http.Client{Transport: unreachable{}}, 5, 10*time.Second, 12*time.Hour
		r, err := Run(t.Context(), c, nil)
		if err != nil || r.Errors["network"] != r.Requests || r.Requests == 0 || r.EventsRequeued == 0 {
			t.Errorf("%d requests, errors %v, %d requeued (%v)", r.Requests, r.Errors, r.EventsRequeued, err)
		}
		wantNoViolations(t, r)
	})
}

func TestDuplicatesAndLosses(t *testing.T) {
	c := config("8.51.23")
	c.Duplicate, c.Lost, c.Metrics = .3, .2, .5
	r := play(t, c, &script{})
	posts := float64(r.StatsPosts + r.TelemetryPosts)
	if share := float64(r.Duplicates) / posts; share < .25 || share > .35 {
		t.Errorf("%d of %.0f requests sent twice, want 30 %%", r.Duplicates, posts)
	}
	if share := float64(r.EventsLost) / float64(r.EventsLost+r.EventsSent); share < .15 || share > .25 {
		t.Errorf("%d events lost, %d sent, want 20 %%", r.EventsLost, r.EventsSent)
	}
	if r.Requests != r.Checks+r.StatsPosts+r.TelemetryPosts+r.Duplicates {
		t.Errorf("%d requests are not %d checks, %d statistics, %d metrics and %d duplicates",
			r.Requests, r.Checks, r.StatsPosts, r.TelemetryPosts, r.Duplicates)
	}
}

// Over a real connection, in scaled real time.
func TestOverTheNetwork(t *testing.T) {
	s := &script{check: offering("1.1.0")}
	server := httptest.NewServer(s)
	defer server.Close()
	c := mixed()
	c.BaseURL, c.TimeScale, c.Progress = server.URL+"/", 24*3600, 20*time.Millisecond
	c.Until = func(s Stats) bool { return s.Versions["1.1.0"].Running == 60 }
	c.Duration = 1000 * 24 * time.Hour // far more than is needed
	r, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantNoViolations(t, r)
	if r.Versions["1.1.0"].Running != 60 || r.P99 == 0 || r.ErrorCount() > 0 {
		t.Errorf("%s", r)
	}
}

func TestRateIsCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mixed()
		c.Client, c.MaxRate, c.TimeScale = &http.Client{Transport: &script{}}, 5, 3600
		c.Duration, c.Progress = 60*time.Hour, time.Minute
		r, err := Run(t.Context(), c, nil)
		if got := r.RequestsPerSecond(); err != nil || got > 5.2 || got < 4.5 {
			t.Errorf("%.2f requests/s, asked for at most 5 (%v)", got, err)
		}
	})
}

func TestReportReads(t *testing.T) {
	c := mixed()
	c.Behaviour = map[string]Behaviour{"1.1.0": {BootFail: .3}}
	r := play(t, c, always(offerOf("1.1.0")))
	for _, want := range []string{"60 devices", "builtin", "1.1.0", "100.00%", string(OfferedRunning), "for example"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, r)
		}
	}
	if line := r.Stats.String(); strings.Contains(line, "\n") || !strings.Contains(line, "violations") {
		t.Errorf("progress line %q", line)
	}
	text, err := json.Marshal(r)
	var back map[string]any
	if err != nil || json.Unmarshal(text, &back) != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, key := range []string{"requests", "versions", "violations", "violation_counts", "p99_ns", "max_lag_ns", "silent"} {
		if _, ok := back[key]; !ok {
			t.Errorf("JSON lacks %s", key)
		}
	}
}

func TestAgendaIsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a agenda
		left := 0
		for _, due := range rapid.SliceOf(rapid.Int64Range(0, 50)).Draw(t, "moments") {
			a.push(moment{due, left})
			left++
			if due%7 == 0 {
				least := a[0]
				for _, m := range a {
					if m.before(least) {
						t.Fatalf("%v waits before the head %v", m, least)
					}
				}
				if a.pop() != least {
					t.Fatal("pop is not the head")
				}
				left--
			}
		}
		last := moment{-1, 0}
		for ; len(a) > 0; left-- {
			m := a.pop()
			if m.before(last) {
				t.Fatalf("%v after %v", m, last)
			}
			last = m
		}
		if left != 0 {
			t.Fatalf("%d moments lost", left)
		}
	})
}

func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "duration"))
		var h histogram
		h.record(d)
		got := h.quantile(.5)
		if got > d || float64(got) < float64(d.Truncate(time.Microsecond))*(1-1./16) {
			t.Fatalf("%v reads back as %v", d, got)
		}
	})
	var h histogram
	if h.quantile(.99) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	for i := range 1000 {
		h.record(time.Duration(i) * time.Millisecond)
	}
	if p := h.quantile(.99); p < 920*time.Millisecond || p > 990*time.Millisecond {
		t.Errorf("p99 of 0…999 ms is %v", p)
	}
}

// BenchmarkFleet measures requests per second of 20 000 devices against a constant handler, server included: both share
// the machine.
func BenchmarkFleet(b *testing.B) {
	var served atomic.Int64
	answer := []byte(upToDate().body)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		served.Add(1)
		w.Write(answer)
	}))
	defer server.Close()
	c := Config{
		BaseURL: server.URL, App: "com.example.shop", Devices: 20000, TimeScale: 1e6, Progress: 10 * time.Millisecond,
		Until: func(Stats) bool { return served.Load() >= int64(b.N) },
	}
	b.ResetTimer()
	r, err := Run(b.Context(), c, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.RequestsPerSecond(), "requests/s")
}

// BenchmarkFleetAlone is the fleet's own cost of a request, without network and server.
func BenchmarkFleetAlone(b *testing.B) {
	f := wireFleet(b, Config{Devices: 100})
	f.cfg.Client = &http.Client{Transport: constant{upToDate().body}}
	w := &worker{fleet: f}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d := f.devices[i%100]
		w.check(b.Context(), d)
		d.queue = d.queue[:0]
	}
}

// constant answers every request alike, in process.
type constant struct{ body string }

func (c constant) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}
