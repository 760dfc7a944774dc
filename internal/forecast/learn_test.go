package forecast

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// pastOf plays a rollout of the plan against a and returns it as history has it.
func pastOf(plan rollout.Plan, a Audience, r Regression, number int) Past {
	plan = rollout.Resolve(plan)
	w := walk{stage: stage{plan: plan, audience: a}, crowd: newCrowd(plan, a, r, throw(1, 0, number))}
	state := rollout.Completed
	for phase := range plan.Phases {
		w.enter(phase)
		if promoted, _ := w.hold(context.Background()); !promoted {
			state = rollout.RolledBack
			break
		}
	}
	return Past{
		Rollout: rollout.Rollout{ID: string(rune('a' + number)), Plan: plan, State: state, Counting: rollout.Counting, EndedAt: instant(w.hours)},
		Strata:  w.strata,
	}
}

// What was put into a rollout is learned from it, near enough.
func TestLearnFindsTheAudienceAgain(t *testing.T) {
	for _, want := range []Audience{Typical(60_000), {Devices: 8_000, SessionsPerDay: 5, Base: map[rollout.Metric]float64{rollout.Crash: .03, rollout.ErrorLog: .2, rollout.BootFailure: .01}}} {
		plan := builtin(t, "progressive")
		record, got, known := Learn([]Past{pastOf(plan, want, Regression{}, 0), pastOf(plan, want, Regression{}, 1)})
		if !known || !slices.Equal(record.Rollouts, []string{"a", "b"}) {
			t.Fatalf("nothing was learned: %+v", record)
		}
		near := func(what string, got, want, tolerance float64) {
			t.Helper()
			if math.Abs(got/want-1) > tolerance {
				t.Errorf("%s: learned %.4g, want %.4g", what, got, want)
			}
		}
		near("devices", float64(got.Devices), float64(want.Devices), .1)
		near("sessions", got.SessionsPerDay, want.SessionsPerDay, .15)
		for _, m := range []rollout.Metric{rollout.Crash, rollout.ErrorLog, rollout.BootFailure} {
			near(string(m), got.Base[m], want.Base[m], .3)
		}
		if got.Base[rollout.LowMemory] == 0 && want.Base[rollout.LowMemory] > 0 || got.Base[rollout.LowMemory] > 0 && want.Base[rollout.LowMemory] == 0 {
			t.Errorf("low memory: learned %v, want %v", got.Base[rollout.LowMemory], want.Base[rollout.LowMemory])
		}
		if record.DeviceHours < 24*record.Devices || record.Arriving <= record.Devices/4 || record.Returned[0] >= record.Returned[2] {
			t.Errorf("record %+v", record)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// A harmful candidate teaches nothing of what devices do by themselves.
func TestLearnIgnoresTheCandidate(t *testing.T) {
	plan := builtin(t, "progressive")
	bad := pastOf(plan, Typical(20_000), Crashes(5), 0)
	_, a, known := Learn([]Past{bad})
	if bad.Rollout.State != rollout.RolledBack || !known || a.Base[rollout.Crash] > .008 {
		t.Errorf("state %s, known %v, crash %v", bad.Rollout.State, known, a.Base[rollout.Crash])
	}
	if _, any := a.Base[rollout.BootFailure]; any {
		t.Error("failures of updates were learned from a rollout that did not complete")
	}
}

func TestLearnSaysWhenItKnowsTooLittle(t *testing.T) {
	plan := steady(10*rollout.OnePercent, day/8)
	plan.OnTimeout = rollout.TimeoutPromote
	young := pastOf(plan, Typical(50_000), Regression{}, 0) // nobody was waited for a day
	for name, past := range map[string][]Past{
		"nothing":       nil,
		"few devices":   {pastOf(builtin(t, "progressive"), Typical(60), Regression{}, 0)},
		"no control":    {pastOf(builtin(t, "instant"), Typical(50_000), Regression{}, 0)},
		"too short":     {young},
		"never started": {{Rollout: rollout.Rollout{Plan: builtin(t, "small"), EndedAt: time.Unix(1, 0)}}},
	} {
		if record, a, known := Learn(past); known {
			t.Errorf("%s: learned %+v from %+v", name, a, record)
		}
	}
	if (Past{}).HasControls() || !young.HasControls() {
		t.Error("controls are seen where there are none, or not where there are")
	}
}
