package rollout

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestBuiltinPlans(t *testing.T) {
	if got := BuiltinPlanNames(); !slices.Equal(got, []string{"progressive", "cautious", "groups", "small", "instant"}) {
		t.Errorf("names %v", got)
	}
	for _, name := range BuiltinPlanNames() {
		plan, ok := BuiltinPlan(name)
		if !ok || plan.Name != name {
			t.Fatalf("%s: %v, %+v", name, ok, plan)
		}
		if err := plan.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again := Resolve(plan); !reflect.DeepEqual(again, plan) {
			t.Errorf("%s is not resolved:\n%+v\n%+v", name, plan, again)
		}
		if plan.OnTimeout != TimeoutPromote {
			t.Errorf("%s stalls for ever: on_timeout %s", name, plan.OnTimeout)
		}
		wantHoldback := OnePercent
		if name == "instant" {
			wantHoldback = 0
		}
		if plan.Holdback != wantHoldback {
			t.Errorf("%s holds %s %% back, want %s %%", name, plan.Holdback, wantHoldback)
		}
		last := plan.Phases[len(plan.Phases)-1]
		if last.Percent != Everyone || len(last.Segments) != 0 {
			t.Errorf("%s ends with %+v, not with everyone", name, last)
		}
		for _, phase := range plan.Phases {
			if phase.Hold.Min <= 0 || phase.Hold.Max <= phase.Hold.Min || phase.MinDevices < 1 || phase.Name == "" {
				t.Errorf("%s: phase %+v", name, phase)
			}
		}
	}
	if _, ok := BuiltinPlan("bold"); ok {
		t.Error("a plan nobody built in")
	}
}

// TestProgressiveIsAsPublished holds the default plan against the numbers of the documentation.
func TestProgressiveIsAsPublished(t *testing.T) {
	plan, _ := BuiltinPlan("progressive")
	want := []struct {
		name             string
		percent          Percent
		least, most      time.Duration
		effective, floor Percent
	}{
		{"5%", 5, 24, 48, 5, 20}, {"20%", 20, 48, 72, 20, 20}, {"50%", 50, 72, 96, 50, 20}, {"everyone", 100, 24, 48, 99, 20},
	}
	for i, w := range want {
		phase := plan.Phases[i]
		if phase.Name != w.name || phase.Percent != w.percent*OnePercent || phase.Hold.Min.Std() != w.least*time.Hour ||
			phase.Hold.Max.Std() != w.most*time.Hour || EffectivePercent(plan, i) != w.effective*OnePercent || phase.MinDevices != int(w.floor) {
			t.Errorf("phase %d is %+v, want %+v", i, phase, w)
		}
	}
	if len(plan.Phases) != len(want) {
		t.Errorf("%d phases, want %d", len(plan.Phases), len(want))
	}
}

func TestSegmentPlansTakeSegmentsWhole(t *testing.T) {
	for name, segments := range map[string][]string{"cautious": {"internal"}, "groups": {"internal", "beta", "early-access"}} {
		plan, _ := BuiltinPlan(name)
		for i, segment := range segments {
			if phase := plan.Phases[i]; !slices.Equal(phase.Segments, []string{segment}) || EffectivePercent(plan, i) != Everyone || phase.Name != segment {
				t.Errorf("%s: phase %d is %+v, want the whole of %s", name, i, phase, segment)
			}
		}
	}
}

func TestResolveFillsDefaults(t *testing.T) {
	given := Plan{
		Phases: []Phase{
			{Percent: 25 * OnePercent / 10},
			{Percent: Everyone, Segments: []string{"a", "b"}, MinDevices: 7},
			{Percent: 50 * OnePercent, Segments: []string{"a"}},
			{Percent: Everyone, Name: "rest", MinDevices: 500},
		},
		Gates: []Gate{
			{Metric: Silence, Off: true},
			{Metric: Crash, Margin: 4},
			{Metric: LoadTime, Margin: 2, Severe: 5, Action: ActionHold},
			{Metric: BootFailure, Limit: .1},
		},
	}
	untouched := slices.Clone(given.Phases)
	plan := Resolve(given)
	if plan.OnTimeout != TimeoutHold || plan.Alpha != .01 || plan.Beta != .05 || plan.Holdback != 0 {
		t.Errorf("defaults %+v", plan)
	}
	for i, want := range []struct {
		name  string
		floor int
	}{{"2.5%", 20}, {"a+b", 7}, {"50% of a", 1}, {"rest", 500}} {
		if got := plan.Phases[i]; got.Name != want.name || got.MinDevices != want.floor {
			t.Errorf("phase %d is %+v, want %+v", i, got, want)
		}
	}
	for i, info := range AllMetrics() {
		want := info.Gate
		switch info.Metric {
		case Silence:
			want.Off = true
		case Crash:
			want.Margin, want.Severe = 4, 4 // the default 3 would be below the margin
		case LoadTime:
			want.Margin, want.Severe, want.Action = 2, 5, ActionHold
		case BootFailure:
			want.Limit = .1
		}
		if plan.Gates[i] != want {
			t.Errorf("gate %+v, want %+v", plan.Gates[i], want)
		}
	}
	if !reflect.DeepEqual(Resolve(plan), plan) {
		t.Error("resolving twice changes something")
	}
	if err := plan.Validate(); err != nil {
		t.Errorf("the resolved plan is invalid: %v", err)
	}
	if !reflect.DeepEqual(given.Phases, untouched) || len(given.Gates) != 4 {
		t.Error("the given plan was changed")
	}
}

func TestGateSharesSumToOne(t *testing.T) {
	sum := 0.0
	for i, info := range AllMetrics() {
		sum += info.AlphaShare
		if info.Metric.Index() != i {
			t.Errorf("%s has index %d, want %d", info.Metric, info.Metric.Index(), i)
		}
	}
	if sum < 1-1e-12 || sum > 1+1e-12 {
		t.Errorf("the shares of alpha sum to %v", sum)
	}
	if Metric("x").Index() != -1 {
		t.Error("an unknown metric has an index")
	}
}

func TestCuts(t *testing.T) {
	plan := Plan{Holdback: 2 * OnePercent, Phases: []Phase{
		{Percent: Everyone, Segments: []string{"internal"}}, {Percent: 10 * OnePercent}, {Percent: Everyone},
	}}
	all := []Cut{{Percent: Everyone, Segments: []string{"internal"}}, {Percent: 10 * OnePercent}, {Percent: 98 * OnePercent}}
	for phase, want := range map[int][]Cut{-5: {}, -1: {}, 0: all[:1], 1: all[:2], 2: all, 3: all, 99: all} {
		if got := Cuts(plan, phase); !reflect.DeepEqual(got, want) {
			t.Errorf("cuts of phase %d: %+v, want %+v", phase, got, want)
		}
	}
	if EffectivePercent(plan, -1) != 0 || EffectivePercent(plan, 3) != 0 {
		t.Error("a phase that is none admits devices")
	}
	Cuts(plan, 0)[0].Segments[0] = "changed"
	if plan.Phases[0].Segments[0] != "internal" {
		t.Error("cuts share memory with the plan")
	}
}
