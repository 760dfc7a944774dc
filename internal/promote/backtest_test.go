package promote_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// backtest walks plan over what is stored of the rollout.
func (w *world) backtest(plan rollout.Plan) promote.BacktestResult {
	w.t.Helper()
	b := promote.NewBacktest(plan)
	for _, r := range w.verdicts() {
		if err := b.Read(r); err != nil {
			w.t.Fatal(err)
		}
	}
	return b.Result()
}

// live has the rollout live for so many hours, with a tick every ten minutes and as many devices of both arms as its phase
// asks for; of the candidates, so many per hour crash.
func (w *world) live(hours, crashing int) {
	w.t.Helper()
	for hour := range hours {
		r := w.rollout()
		if r.State == rollout.Running {
			candidates := int(1000 * r.Percent.Share())
			w.hear(rollout.ArmCandidate, 10_000*r.Phase+1000*hour, candidates, min(crashing, candidates))
			w.hear(rollout.ArmControl, 10_000*r.Phase+1000*hour, 1000-candidates, 5)
		}
		for range 6 {
			w.pass(10 * time.Minute)
			if _, err := w.ticker().Tick(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func did(steps []promote.Step) string {
	var verbs []string
	for _, s := range steps {
		verbs = append(verbs, string(s.Verb))
	}
	return strings.Join(verbs, ",")
}

// TestAPlanWalksItsOwnRecordingAsItDid, whatever came of it.
func TestAPlanWalksItsOwnRecordingAsItDid(t *testing.T) {
	asking := twoPhases
	asking.OnTimeout = rollout.TimeoutHold
	mild := twoPhases
	mild.Gates = []rollout.Gate{{Metric: rollout.Crash, Severe: 1e6}}
	for what, c := range map[string]struct {
		plan     rollout.Plan
		crashing int
		want     string
	}{
		"healthy":             {twoPhases, 0, "promote,complete"},
		"severe harm":         {twoPhases, 40, "rollback"},
		"harm":                {mild, 40, "pause"},
		"nobody to answer it": {asking, 0, "hold"},
	} {
		w := newWorld(t, c.plan)
		w.live(6, c.crashing)
		r := w.backtest(c.plan)
		if did(r.Plan) != c.want || !slices.Equal(r.Plan, r.Recorded) {
			t.Errorf("%s: the plan did %s, the recording %s, want %s:\n%+v\n%+v", what, did(r.Plan), did(r.Recorded), c.want, r.Plan, r.Recorded)
		}
		if is := w.rollout(); r.State != is.State || r.Percent != is.Percent && is.State != rollout.RolledBack {
			t.Errorf("%s: the plan ends %s at %s, the rollout %s at %s", what, r.State, r.Percent, is.State, is.Percent)
		}
		if r.Devices != r.Plan[len(r.Plan)-1].Devices && r.State != rollout.Running && r.State != rollout.Paused {
			t.Errorf("%s: %d devices, but %+v", what, r.Devices, r.Plan)
		}
	}
}

// TestAStricterPlanStopsWhatAShadowLetsPass: the shadow gave a bad bundle to everyone it was for.
func TestAStricterPlanStopsWhatAShadowLetsPass(t *testing.T) {
	w := newShadow(t, twoPhases)
	w.live(6, 30)
	if r := w.rollout(); r.State != rollout.Completed {
		t.Fatalf("the shadow is %s: %s", r.State, r.Reason)
	}
	blind := twoPhases
	for _, info := range rollout.AllMetrics() {
		blind.Gates = append(blind.Gates, rollout.Gate{Metric: info.Metric, Off: true})
	}
	strict, lax := w.backtest(twoPhases), w.backtest(blind)
	if strict.State != rollout.RolledBack || len(strict.Plan) != 1 || strict.Plan[0].Devices != 50 || strict.Plan[0].At.Sub(strict.From) > time.Hour {
		t.Errorf("with its gates the plan would have been %s: %+v", strict.State, strict.Plan)
	}
	if lax.State != rollout.Completed || lax.Devices < 500 || did(lax.Recorded) != "promote,complete" {
		t.Errorf("without gates the plan would have been %s with %d devices: %+v", lax.State, lax.Devices, lax.Plan)
	}
	if strict.Verdicts != 24 || strict.From.After(strict.To) || len(strict.Notes) != 0 {
		t.Errorf("%d verdicts from %s to %s, notes %v", strict.Verdicts, strict.From, strict.To, strict.Notes)
	}
}

// TestABacktestSaysWhatTheRecordingCannotAnswer of plans that go other ways.
func TestABacktestSaysWhatTheRecordingCannotAnswer(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.live(2, 0)
	w.operate(rollout.VerbPause)
	w.live(10, 0)
	w.operate(rollout.VerbResume)
	w.live(3, 0)
	if r := w.rollout(); r.State != rollout.Completed {
		t.Fatalf("the rollout is %s: %s", r.State, r.Reason)
	}
	hold := func(hours int) rollout.Hold {
		return rollout.Hold{Min: rollout.Duration(hours) * rollout.Duration(time.Hour), Max: rollout.Duration(hours) * rollout.Duration(time.Hour)}
	}
	for what, c := range map[string]struct {
		phases []rollout.Phase
		state  rollout.RolloutState
		steps  string
		note   string
	}{
		"slower": {[]rollout.Phase{{Percent: 5 * rollout.OnePercent, Hold: hold(3)}, {Percent: 50 * rollout.OnePercent, Hold: hold(9)}},
			rollout.Running, "promote", "behind, at 5 %, the recording, at 50 %"},
		"faster": {[]rollout.Phase{{Percent: 5 * rollout.OnePercent, Hold: hold(1)}, {Percent: 80 * rollout.OnePercent, Hold: hold(2)}},
			rollout.Completed, "promote,complete", "ahead, at 80 %, of the recording, at 5 %"},
		"asking": {[]rollout.Phase{{Percent: 5 * rollout.OnePercent, Hold: hold(1), Approval: true}},
			rollout.Completed, "hold,complete", "asked for approval"},
		"testers": {[]rollout.Phase{{Percent: rollout.Everyone, Segments: []string{"testers"}, Hold: hold(99)}},
			rollout.Running, "", "other segments"},
	} {
		r := w.backtest(rollout.Plan{OnTimeout: rollout.TimeoutPromote, Phases: c.phases})
		said := slices.ContainsFunc(r.Notes, func(n promote.Note) bool { return strings.Contains(n.Text, c.note) })
		if r.State != c.state || did(r.Plan) != c.steps || !said {
			t.Errorf("%s: the plan is %s after %q, and notes %v", what, r.State, did(r.Plan), r.Notes)
		}
	}
}

// TestABacktestRefusesWhatNoTickStored, instead of following it out of a plan.
func TestABacktestRefusesWhatNoTickStored(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.tick()
	good := w.verdicts()[0]
	for what, spoil := range map[string]func(*store.VerdictRecord){
		"no such phase": func(r *store.VerdictRecord) { r.Input.Phase = 2 },
		"phase below 0": func(r *store.VerdictRecord) { r.Input.Phase = -1 },
		"no verdict":    func(r *store.VerdictRecord) { r.Verb, r.Verdict = rollout.VerbHold, nil },
	} {
		r := good
		spoil(&r)
		if err := promote.NewBacktest(twoPhases).Read(r); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
