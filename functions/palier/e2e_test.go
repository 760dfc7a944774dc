package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
)

// fullOr is how many devices a test has: all of them, or half with -short. Fewer would take longer to show anything.
func fullOr(t *testing.T, devices int) int {
	t.Helper()
	if testing.Short() {
		return devices / 2
	}
	return devices
}

// TestHealthyBundleReachesEveryone lets a bundle that is no worse than its baseline walk a whole plan, with nobody at
// the controls.
func TestHealthyBundleReachesEveryone(t *testing.T) {
	const scale = 2400
	percents := []rollout.Percent{5 * rollout.OnePercent, 20 * rollout.OnePercent, 50 * rollout.OnePercent, rollout.Everyone}
	// A harmless bundle may be stopped with probability alpha. A test must not fail one time in a hundred, so this plan
	// is stricter with itself than the default.
	plan := rollout.Plan{OnTimeout: rollout.TimeoutPromote, Alpha: 0.0001}
	for _, p := range percents {
		plan.Phases = append(plan.Phases, rollout.Phase{
			Percent: p, Hold: rollout.Hold{Min: hours(3), Max: hours(4)},
		})
	}
	s := serveProcess(t, scale)
	s.apply(t, rollout.Builtin)
	devices := fullOr(t, 20_000)
	load := s.fleet(t, devices, "--check-every", "12h", "--metrics", "0.1", "--behaviour", "baseline:crash=0.01",
		"--until", testCandidate+"=0.75")
	id := s.begin(t, plan).ID
	r := s.awaitEnd(t, id, 4*time.Minute)
	if r.State != rollout.Completed {
		t.Fatalf("a healthy bundle ended %s in phase %d: %s", r.State, r.Phase, r.Reason)
	}
	checkWalk(t, s.audit(t, id), percents)
	s.replayed(t, id)
	checkShares(t, s.metrics(t, id), percents)
	report := load.report(t, 4*time.Minute)
	onlyViolations(t, report)
	for version, v := range report.Versions {
		if v.MovedBack != 0 {
			t.Errorf("%d devices were moved back from %s", v.MovedBack, version)
		}
	}
	if share := float64(report.Versions[testCandidate].Running) / float64(devices); share < 0.75 {
		t.Errorf("%.1f %% of devices run the bundle", 100*share)
	}
	s.checkEveryoneIsOffered(t, devices)
	t.Logf("%d devices, %s simulated in %s: %d requests (%.0f/s), p50 %s, p99 %s, lag %s; %.1f %% run %s", devices,
		report.Simulated.Round(time.Hour), report.Elapsed.Round(time.Second), report.Requests, report.RequestsPerSecond(),
		report.P50, report.P99, report.MaxLag.Round(time.Minute), 100*float64(report.Versions[testCandidate].Running)/float64(devices), testCandidate)
}

func hours(n float64) rollout.Duration { return rollout.Duration(n * float64(time.Hour)) }

// awaitEnd waits until the rollout is over or paused.
func (s *served) awaitEnd(t *testing.T, id string, limit time.Duration) (r admin.RolloutView) {
	t.Helper()
	eventually(t, limit, "the rollout is over", func() bool {
		r = s.rollout(t, id)
		return r.State != rollout.Running
	})
	return r
}

// checkWalk holds that the audit log shows every phase once, in order, and that the judge alone moved on.
func checkWalk(t *testing.T, events []rollout.Event, percents []rollout.Percent) {
	t.Helper()
	if len(events) != len(percents)+1 {
		for _, e := range events {
			t.Logf("%s by %s, phase %d: %s", e.Verb, e.Actor, e.Phase, e.Reason)
		}
		t.Fatalf("%d events for %d phases", len(events), len(percents))
	}
	for i, e := range events {
		verb, phase := rollout.VerbPromote, min(i, len(percents)-1)
		switch i {
		case 0:
			verb = rollout.VerbStart
		case len(percents):
			verb = rollout.VerbComplete
		}
		if e.Verb != string(verb) || e.Phase != phase || e.Percent != percents[phase] {
			t.Errorf("event %d: %s into phase %d at %s %%; want %s into phase %d at %s %%", i, e.Verb, e.Phase, e.Percent, verb, phase, percents[phase])
		}
		if byJudge := e.Actor == promote.Actor; byJudge != (i > 0) {
			t.Errorf("event %d: %s by %s", i, e.Verb, e.Actor)
		}
		if i > 0 && !e.Time.After(events[i-1].Time) {
			t.Errorf("event %d is not after the one before", i)
		}
	}
}

// checkShares holds that each phase gave the bundle to its share of the devices that asked, more in each than before.
func checkShares(t *testing.T, m admin.MetricsView, percents []rollout.Percent) {
	t.Helper()
	if len(m.Phases) < len(percents)-1 {
		t.Fatalf("only %d phases were counted", len(m.Phases))
	}
	before := 0.
	for i, want := range percents {
		if want == rollout.Everyone {
			break // nobody is left to compare with, so nothing is counted
		}
		candidate, control := float64(m.Phases[i].Candidate.Devices), float64(m.Phases[i].Control.Devices)
		share := candidate / (candidate + control)
		// Five standard deviations of a share that is drawn once per device.
		slack := 5 * math.Sqrt(want.Share()*(1-want.Share())/(candidate+control))
		if math.Abs(share-want.Share()) > slack || share <= before {
			t.Errorf("phase %d: %.0f of %.0f devices, %.2f %%, were candidates; want %s %% and more than %.2f %%", i, candidate,
				candidate+control, 100*share, want, 100*before)
		}
		before = share
	}
}

// checkEveryoneIsOffered asks as devices that still run the old bundle.
func (s *served) checkEveryoneIsOffered(t *testing.T, devices int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		id := fleet.DeviceID(1, random.IntN(devices))
		_, _, body := request(t, http.MethodPost, s.url()+"/updates", fmt.Appendf(nil, `{"app_id":%q,"device_id":%q,"platform":"android",
			"version_name":"1.0.0","version_build":"1.0.0","version_code":"1","version_os":"14","plugin_version":"8.51.23","is_emulator":false,"is_prod":true}`, testApp, id))
		if !bytes.Contains(body, []byte(`"version":"`+testCandidate+`"`)) {
			t.Fatalf("device %s is not offered %s: %s", id, testCandidate, body)
		}
	}
}

// stopped is what became of a bundle that had to be stopped.
type stopped struct {
	rollout  admin.RolloutView
	event    rollout.Event
	evidence judge.Evidence // of the metric that was to stop it, a moment later
	after    time.Duration  // of the clock
}

// awaitStop waits until the judge has stopped the rollout, which must be in its first phase and with numbers.
func (s *served) awaitStop(t *testing.T, id string, metric rollout.Metric) stopped {
	t.Helper()
	var r admin.RolloutView
	eventually(t, 2*time.Minute, "the bad bundle is stopped", func() bool {
		r = s.rollout(t, id)
		return r.State != rollout.Running || r.Phase > 0
	})
	if r.Phase != 0 || (r.State != rollout.Paused && r.State != rollout.RolledBack) {
		t.Fatalf("the rollout is %s in phase %d: %s", r.State, r.Phase, r.Reason)
	}
	events := s.audit(t, id)
	last := events[len(events)-1]
	if last.Actor != promote.Actor || last.Detail["verdict"] == nil {
		t.Errorf("%s stopped it, with the evidence %v", last.Actor, last.Detail)
	}
	words := strings.ReplaceAll(string(metric), "_", " ")
	if !strings.ContainsAny(last.Reason, "0123456789") || !strings.Contains(last.Reason, words) {
		t.Errorf("the reason has no numbers or not the words %q: %s", words, last.Reason)
	}
	stop := stopped{rollout: r, event: last, after: last.Time.Sub(r.CreatedAt)}
	for _, e := range s.metrics(t, id).Verdict.Metrics {
		if e.Metric == metric {
			stop.evidence = e
		}
	}
	if !stop.evidence.Alarm {
		t.Errorf("no alarm of %s: %+v", metric, stop.evidence)
	}
	return stop
}

// allowed are the violations that stopping a bundle brings about: the fleet is not told that it was taken back.
func (st stopped) allowed() []fleet.Kind {
	if st.rollout.State == rollout.RolledBack {
		return []fleet.Kind{fleet.MovedBack}
	}
	return nil
}

// tell logs what became of the bundle.
func (st stopped) tell(t *testing.T, r fleet.Report) {
	t.Helper()
	v := r.Versions[testCandidate]
	t.Logf("%s after %s of the clock, having reached %d of %d devices (%.2f %%): %s (events: %d candidate, %d control)", st.rollout.State,
		st.after.Round(time.Minute), v.DevicesOffered, r.Devices, 100*v.ShareOffered, st.event.Reason, st.evidence.Candidate, st.evidence.Control)
}

// firstPhase is more than the share of devices that the default plan's first phase, 5 %, can reach: four standard
// deviations more.
func firstPhase(devices int) float64 { return 0.05 + 4*math.Sqrt(0.05*0.95/float64(devices)) }

// TestCrashingBundleIsStopped sends out a bundle that crashes ten times as often, under the default plan.
func TestCrashingBundleIsStopped(t *testing.T) {
	s := serveProcess(t, 1800)
	s.apply(t, rollout.Builtin)
	devices := fullOr(t, 20_000)
	load := s.fleet(t, devices, "--check-every", "10h", "--behaviour", "baseline:crash=0.01", "--behaviour", testCandidate+":crash=0.1")
	// A fleet's first starts come evenly, and all before any second one. Life is not like that.
	eventually(t, 2*time.Minute, "every device has asked once", func() bool { return s.checks(t) > devices })
	stop := s.awaitStop(t, s.begin(t, rollout.DefaultPlan).ID, rollout.Crash)
	s.replayed(t, stop.rollout.ID)
	report := load.stop(t)
	onlyViolations(t, report, stop.allowed()...)
	stop.tell(t, report)
	t.Log("the aim is under 2 %")
	if share := report.Versions[testCandidate].ShareOffered; share == 0 || share >= firstPhase(devices) {
		t.Errorf("it reached %.2f %% of devices, want less than 5 %%", 100*share)
	}
}

// TestBundleThatNeverBootsIsStopped sends out a bundle that boots nowhere: every device goes back by itself and says so.
// Then the operator insists on it, with the gate off, and still no device gets it twice.
func TestBundleThatNeverBootsIsStopped(t *testing.T) {
	s := serveProcess(t, 3600)
	s.apply(t, rollout.Builtin)
	devices := fullOr(t, 3000)
	load := s.fleet(t, devices, "--check-every", "4h", "--behaviour", testCandidate+":boot_fail=1")
	first := s.begin(t, rollout.DefaultPlan).ID
	stop := s.awaitStop(t, first, rollout.BootFailure)
	if stop.rollout.State.Live() {
		s.operate(t, first, rollout.VerbRollback)
	}
	insist := rollout.Plan{
		Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(1000)}}},
		Gates:  []rollout.Gate{{Metric: rollout.BootFailure, Off: true}},
	}
	second := s.begin(t, insist).ID
	// A failure is told at the next start after the offer, so by then many devices have asked again since theirs.
	eventually(t, 2*time.Minute, "most devices of the second rollout have failed too", func() bool {
		m := s.metrics(t, second)
		return m.Arms.Candidate.Events[string(rollout.BootFailure)] > int64(devices)*4/10
	})
	s.operate(t, second, rollout.VerbHalt)
	report := load.stop(t)
	onlyViolations(t, report, stop.allowed()...)
	v := report.Versions[testCandidate]
	if v.BootFailures < int64(devices)*4/10 || v.Offers != v.DevicesOffered {
		t.Errorf("%d boot failures; %d offers to %d devices, want one each", v.BootFailures, v.Offers, v.DevicesOffered)
	}
	t.Logf("%s after %s of the clock: %s", stop.rollout.State, stop.after.Round(time.Minute), stop.event.Reason)
	t.Logf("when the operator insisted: %d boot failures, %d offers to %d devices", v.BootFailures, v.Offers, v.DevicesOffered)
}

// TestBundleThatKillsEveryStartIsStopped sends out a bundle whose devices never say anything again: there is no report
// of any failure, only silence.
func TestBundleThatKillsEveryStartIsStopped(t *testing.T) {
	s := serveProcess(t, 3600)
	s.apply(t, rollout.Builtin)
	devices := fullOr(t, 5000)
	load := s.fleet(t, devices, "--check-every", "4h", "--behaviour", testCandidate+":kill=1")
	stop := s.awaitStop(t, s.begin(t, rollout.DefaultPlan).ID, rollout.Silence)
	report := load.stop(t)
	onlyViolations(t, report, stop.allowed()...)
	stop.tell(t, report)
	if v := report.Versions[testCandidate]; v.Silent == 0 || v.ShareOffered >= firstPhase(devices) {
		t.Errorf("%d silent devices; it reached %.2f %% of devices", v.Silent, 100*v.ShareOffered)
	}
}

// TestRollbackSendsExposedDevicesBack has an operator roll back in the middle of a phase. This fleet lives in the test's
// process, where its requests can be watched one by one.
func TestRollbackSendsExposedDevicesBack(t *testing.T) {
	// So slow that a Snapshot which was not dropped would go on answering for a sixth of a second.
	const scale, baseline = 60, "1.0.0"
	s := serveProcess(t, scale)
	s.apply(t, baseline)
	id := s.begin(t, rollout.Plan{Phases: []rollout.Phase{{Percent: 20 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(1000)}}}}).ID
	devices := fullOr(t, 2000)
	watch := &offerWatch{next: http.DefaultTransport.(*http.Transport).Clone()}
	watch.next.MaxIdleConnsPerHost = 64
	var rolledBack atomic.Bool
	running := make(chan int64, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan fleet.Report, 1)
	go func() {
		r, err := fleet.Run(ctx, fleet.Config{
			BaseURL: s.url(), App: testApp, Devices: devices, Seed: 1, TimeScale: scale,
			CheckEvery: 90 * time.Second, Session: 10 * time.Second, Baseline: fleet.Behaviour{CrashRate: 0.01},
			Client: &http.Client{Transport: watch}, Progress: 100 * time.Millisecond,
			AllowDowngrade: func(from, to string) bool { return from == testCandidate && to == baseline && rolledBack.Load() },
			Until: func(now fleet.Stats) bool {
				v := now.Versions[testCandidate]
				return watch.over.Load() && v.MovedBack == v.Installs && v.Running == 0
			},
		}, func(now fleet.Stats) {
			select {
			case <-running:
			default:
			}
			running <- now.Versions[testCandidate].Running
		})
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	for n := range running {
		if n >= int64(devices)/10 {
			break
		}
	}
	rolledBack.Store(true) // from here on a device may be sent back
	s.operate(t, id, rollout.VerbRollback)
	watch.over.Store(true) // and from here on none may get it
	report := <-ended
	onlyViolations(t, report)
	v := report.Versions[testCandidate]
	if v.Installs == 0 || v.MovedBack != v.Installs || v.Running != 0 {
		t.Errorf("%d devices took the bundle, %d were sent back, %d still run it", v.Installs, v.MovedBack, v.Running)
	}
	if n := watch.late.Load(); n != 0 {
		t.Errorf("%d offers of the bundle to devices that asked after the rollback", n)
	}
	if watch.early.Load() == 0 {
		t.Error("no offer was seen before the rollback: nothing was watched")
	}
	t.Logf("%d devices took the bundle and were all sent back; %s simulated in %s", v.Installs, report.Simulated.Round(time.Minute), report.Elapsed.Round(time.Second))
}

// offerWatch counts the offers of the candidate in what passes through it, by whether the request was sent after over.
type offerWatch struct {
	next        *http.Transport
	over        atomic.Bool
	early, late atomic.Int64
}

// RoundTrip is http.RoundTripper's.
func (w *offerWatch) RoundTrip(req *http.Request) (*http.Response, error) {
	over := w.over.Load()
	res, err := w.next.RoundTrip(req)
	if err != nil || req.URL.Path != "/updates" {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	switch offer := bytes.Contains(body, []byte(`"version":"`+testCandidate+`"`)); {
	case offer && over:
		w.late.Add(1)
	case offer:
		w.early.Add(1)
	}
	return res, err
}
