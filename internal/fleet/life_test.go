package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHealthyRollout(t *testing.T) {
	c, s := mixed(), &script{check: offering("1.1.0")}
	r := play(t, c, s)
	wantNoViolations(t, r)
	v := r.Versions["1.1.0"]
	if v.Running != 60 || v.DevicesOffered != 60 || v.ShareOffered != 1 || v.Installs != 60 || v.MovedBack != 0 {
		t.Errorf("1.1.0: %+v, want all 60 devices on it", v)
	}
	if r.Versions[StoreBuild].Running != 0 || r.Silent != 0 || r.ErrorCount() != 0 {
		t.Errorf("store build %+v, %d silent, errors %v", r.Versions[StoreBuild], r.Silent, r.Errors)
	}
	if r.EventsSent == 0 || r.EventsAcked != r.EventsSent || r.EventsLost != 0 {
		t.Errorf("%d events sent, %d acknowledged, %d lost", r.EventsSent, r.EventsAcked, r.EventsLost)
	}
	if got := len(s.actions("set")); got != 60 {
		t.Errorf("%d set events, want one a device", got)
	}
	// 48 h with a start every 2 h and a few minutes between.
	if mean := float64(r.Checks) / 60; mean < 18 || mean > 27 {
		t.Errorf("%.1f checks a device, want about 23", mean)
	}
	if r.MaxLag > time.Millisecond {
		t.Errorf("lag %v against a server that takes no time", r.MaxLag)
	}
}

func TestLifeInOrder(t *testing.T) {
	c, s := config("8.51.23"), &script{check: offering("1.1.0")}
	c.Devices, c.PlatformMix = 1, []PlatformShare{{"android", 1}}
	play(t, c, s)
	var story []string
	for _, r := range s.requests[:6] {
		for _, b := range r.bodies {
			action, _ := b["action"].(string)
			name := b["version_name"].(string)
			if strings.HasSuffix(action, "0") && action != "download_0" {
				continue // steps of progress come at random
			}
			story = append(story, strings.TrimPrefix(r.path, "/")+" "+action+" "+name)
		}
	}
	want := []string{
		"updates  1.0.0",
		"stats app_launch_start 1.0.0", "stats app_launch_ready 1.0.0", "stats app_moved_to_foreground 1.0.0",
		"stats download_zip_start 1.1.0", "stats download_zip_complete 1.1.0",
		"stats download_0 1.1.0", "stats download_complete 1.1.0", "stats set_next 1.1.0",
		"stats app_moved_to_background 1.0.0", "stats set 1.1.0",
	}
	if len(story) < len(want) || !slices.Equal(story[:len(want)], want) {
		t.Errorf("a device told\n%s\nwant\n%s", strings.Join(story, "\n"), strings.Join(want, "\n"))
	}
	if next := s.requests[6]; next.path != "/stats" && next.bodies[0]["version_name"] != "1.1.0" {
		t.Errorf("after the update: %s %s", next.path, next.raw)
	}
}

func TestBootFailure(t *testing.T) {
	c, s := mixed(), &script{check: offering("1.1.0")}
	c.Behaviour = map[string]Behaviour{"1.1.0": {BootFail: .3}}
	r := play(t, c, s)
	wantNoViolations(t, r)
	bad := countFates(c, "1.1.0", func(f Fate) bool { return f.BootFails })
	if bad < 8 || bad > 28 {
		t.Fatalf("%d of 60 devices fail, want about 18", bad)
	}
	v := r.Versions["1.1.0"]
	if v.BootFailures != bad || v.Running != 60-bad || r.Versions[StoreBuild].Running != bad {
		t.Errorf("1.1.0 %+v, store build %+v: want %d failures and as many devices back", v, r.Versions[StoreBuild], bad)
	}
	fails := s.actions("update_fail")
	if int64(len(fails)) != bad {
		t.Errorf("%d update_fail events, want %d", len(fails), bad)
	}
	for _, e := range fails {
		if e["version_name"] != "1.1.0" {
			t.Errorf("update_fail names %v, want the failing bundle", e["version_name"])
		}
	}
}

func TestForgetfulServerIsCaught(t *testing.T) {
	s := &script{check: func(s *script, c map[string]any) answerOf {
		if c["version_name"] == "1.1.0" {
			return upToDate()
		}
		return offerOf("1.1.0")
	}}
	c := mixed()
	c.Behaviour = map[string]Behaviour{"1.1.0": {BootFail: .3}}
	r := play(t, c, s)
	bad := countFates(c, "1.1.0", func(f Fate) bool { return f.BootFails })
	if n := r.ViolationCounts[OfferedFailed]; n < uint64(bad) || r.ViolationCount() != n {
		t.Errorf("violations %v, want only %s, at least %d", r.ViolationCounts, OfferedFailed, bad)
	}
	if v := r.Versions["1.1.0"]; v.BootFailures <= bad {
		t.Errorf("%d boot failures: a device must try again what it is offered again", v.BootFailures)
	}
}

// A server that never got the report cannot be blamed.
func TestUnreportedFailureIsNoViolation(t *testing.T) {
	s := &script{check: func(s *script, c map[string]any) answerOf {
		if c["version_name"] == "1.1.0" {
			return upToDate()
		}
		return offerOf("1.1.0")
	}}
	c := mixed()
	c.Behaviour = map[string]Behaviour{"1.1.0": {BootFail: 1}}
	c.Lost = 1
	r := play(t, c, s)
	wantNoViolations(t, r)
	if r.EventsSent != 0 || r.EventsLost == 0 || r.Versions["1.1.0"].BootFailures == 0 {
		t.Errorf("%d sent, %d lost, %+v", r.EventsSent, r.EventsLost, r.Versions["1.1.0"])
	}
}

func TestKilledDevicesGoSilent(t *testing.T) {
	c, s := mixed(), &script{check: offering("1.1.0")}
	c.Behaviour = map[string]Behaviour{"1.1.0": {Kill: .4}}
	r := play(t, c, s)
	wantNoViolations(t, r)
	dead := countFates(c, "1.1.0", func(f Fate) bool { return f.Killed })
	if dead < 12 || dead > 36 || r.Silent != dead || r.Versions["1.1.0"].Silent != dead {
		t.Errorf("%d silent, %+v: want %d, about 24", r.Silent, r.Versions["1.1.0"], dead)
	}
	last := make(map[string]string)
	for _, q := range s.requests {
		if q.path == "/updates" {
			last[deviceOf(q.bodies[0])] = q.bodies[0]["version_name"].(string)
		}
	}
	for i := range c.Devices {
		if on := last[DeviceID(c.Seed, i)]; c.Fate(i, "1.1.0").Killed == (on == "1.1.0") {
			t.Errorf("device %d, killed %v, last asked from %s", i, c.Fate(i, "1.1.0").Killed, on)
		}
	}
}

func TestRunEndsWhenEveryDeviceIsSilent(t *testing.T) {
	c := mixed()
	c.Duration = 0
	c.Behaviour = map[string]Behaviour{"1.1.0": {Kill: 1}}
	if r := play(t, c, &script{check: offering("1.1.0")}); r.Silent != 60 {
		t.Errorf("%d silent, want 60", r.Silent)
	}
}

// rollingBack offers 1.1.0 for a day and then sends everyone on it to another version.
func rollingBack(to string) *script {
	var began time.Time
	return &script{check: func(s *script, c map[string]any) answerOf {
		if began.IsZero() {
			began = time.Now()
		}
		on := c["version_name"]
		switch {
		case time.Since(began) < 24*time.Hour && on != "1.1.0":
			return offerOf("1.1.0")
		case time.Since(began) < 24*time.Hour || on != "1.1.0":
			return upToDate()
		case to == StoreBuild && c["plugin_version"] == "5.9.5":
			return upToDate()
		case to == StoreBuild:
			return answerOf{body: `{"version":"builtin"}`}
		}
		return offerOf(to)
	}}
}

func TestRollback(t *testing.T) {
	for _, to := range []string{StoreBuild, "1.0.5"} {
		for _, allowed := range []bool{true, false} {
			c := config("8.40.5")
			c.AllowDowngrade = func(from, older string) bool { return allowed && from == "1.1.0" && older == to }
			r := play(t, c, rollingBack(to))
			if v := r.Versions["1.1.0"]; v.MovedBack != 60 || v.Running != 0 || r.Versions[to].Running != 60 {
				t.Errorf("back to %s: 1.1.0 %+v, %s %+v: want all 60 moved", to, v, to, r.Versions[to])
			}
			if allowed {
				wantNoViolations(t, r)
			} else if r.ViolationCounts[MovedBack] != 60 || r.ViolationCount() != 60 {
				t.Errorf("back to %s unasked: violations %v, want 60 of %s", to, r.ViolationCounts, MovedBack)
			}
		}
	}
}

func TestOldPluginCannotGoBackToTheStoreBuild(t *testing.T) {
	s := &script{check: func(*script, map[string]any) answerOf { return answerOf{body: `{"version":"builtin"}`} }}
	if r := play(t, config("5.9.5"), s); r.ViolationCounts[NotForPlugin] != r.Checks {
		t.Errorf("violations %v in %d checks, want one %s each", r.ViolationCounts, r.Checks, NotForPlugin)
	}
}

func TestOfferOfTheRunningBundle(t *testing.T) {
	s := &script{check: func(*script, map[string]any) answerOf { return offerOf("1.1.0") }}
	r := play(t, mixed(), s)
	if n := r.ViolationCounts[OfferedRunning]; n == 0 || n != r.ViolationCount() {
		t.Errorf("violations %v, want only %s", r.ViolationCounts, OfferedRunning)
	}
	if v := r.Versions["1.1.0"]; v.Installs != 60 {
		t.Errorf("%d installs, want one a device", v.Installs)
	}
}

func TestCrashesAreReportedByPluginsThatCan(t *testing.T) {
	for plugin, reports := range map[string]bool{"8.51.23": true, "7.51.20": true, "8.40.5": false, "5.9.5": false} {
		c, s := config(plugin), &script{}
		c.PlatformMix = []PlatformShare{{"android", 1}, {"ios", 1}}
		c.Baseline.CrashRate = .2
		r := play(t, c, s)
		crashes, reported := r.Versions[StoreBuild].Crashes, int64(len(s.actions("app_crash")))
		if share := float64(crashes) / float64(r.Checks); share < .15 || share > .25 {
			t.Errorf("%s: %d crashes in %d sessions, want a fifth", plugin, crashes, r.Checks)
		}
		if !reports && reported != 0 || reports && (reported > crashes || reported < crashes-60) {
			t.Errorf("%s: %d of %d crashes reported", plugin, reported, crashes)
		}
		for _, e := range s.actions("app_crash") {
			if m, _ := e["metadata"].(map[string]any); m["exit_reason"] == nil {
				t.Fatalf("app_crash without metadata: %v", e)
			}
		}
	}
}

func TestDownloadFailure(t *testing.T) {
	c, s := config("8.51.23"), &script{check: offering("1.1.0")}
	c.Behaviour = map[string]Behaviour{"1.1.0": {DownloadFail: 1}}
	r := play(t, c, s)
	wantNoViolations(t, r)
	if v := r.Versions["1.1.0"]; v.Running != 0 || v.Downloads != 0 || v.Offers == 0 {
		t.Errorf("1.1.0: %+v, want offers and no download", v)
	}
	fails := s.actions("download_fail")
	if len(fails) == 0 {
		t.Fatal("no download_fail")
	}
	for _, e := range fails {
		name, named := e["version_name"]
		if android := e["platform"] == "android"; named == android || named && name != "1.0.0" {
			t.Fatalf("download_fail of %v names %v: Android names none, the others the running bundle", e["platform"], name)
		}
	}
}

func TestDiurnalFleetSleepsAtNight(t *testing.T) {
	c, s := config("8.51.23"), &script{}
	c.CheckEvery, c.Diurnal = 20*time.Minute, .9
	play(t, c, s)
	night, day := 0, 0
	for _, r := range s.requests {
		if h := r.at.UTC().Hour(); h < 4 || h >= 20 {
			night++
		} else if h >= 8 && h < 16 {
			day++
		}
	}
	if night*3 > day {
		t.Errorf("%d requests in the eight hours around midnight, %d around noon", night, day)
	}
}
