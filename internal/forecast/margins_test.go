package forecast

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

func autoPlan() rollout.Plan {
	plan := quickPlan()
	plan.Phases = append([]rollout.Phase{{Percent: 2 * rollout.OnePercent, Hold: plan.Phases[0].Hold}}, plan.Phases...)
	plan.Margin = rollout.MarginAuto
	return plan
}

func TestMarginsFitTheAudience(t *testing.T) {
	var last rollout.Margin
	for _, devices := range []int64{500, 500_000, 20_000_000} {
		plan, choices, _ := Margins(t.Context(), autoPlan(), Typical(devices))
		if len(choices) != 3*6 {
			t.Fatalf("%d choices", len(choices))
		}
		tightest := map[rollout.Metric]rollout.Margin{}
		for _, c := range choices {
			if got := plan.MarginAt(c.Phase, c.Metric); got != float64(c.Margin) {
				t.Errorf("%d devices: %s is chosen, but the plan has %v", devices, c.Sentence, got)
			}
			if before, ok := tightest[c.Metric]; ok && c.Margin > before {
				t.Errorf("%d devices: %s is looser than %v×", devices, c.Sentence, before)
			}
			tightest[c.Metric] = c.Margin
			if c.Certifies != (c.Plays.Share >= enough) || !c.Certifies && !strings.Contains(c.Sentence, "cannot be certified in time") {
				t.Errorf("%d devices: %+v", devices, c)
			}
		}
		if err := plan.Validate(); err != nil {
			t.Errorf("%d devices: the plan is no plan any more: %v", devices, err)
		}
		if last != 0 && tightest[rollout.Crash] >= last {
			t.Errorf("%d devices certify no tighter margin of crashes than fewer did: %v×, after %v×", devices, tightest[rollout.Crash], last)
		}
		last = tightest[rollout.Crash]
	}
}

// What was chosen is what the judge then certifies, in time.
func TestChosenMarginsAreCertified(t *testing.T) {
	f := forecastOf(t, autoPlan(), Typical(1_000_000), Options{Runs: 15, Seed: 9, Regressions: []Regression{}})
	for i, p := range f.Healthy.Phases {
		sure := true
		for _, c := range f.Margins {
			sure = sure && (c.Phase != i || c.Certifies)
		}
		if sure && p.Certified.High < enough {
			t.Errorf("phase %s was to be certified in four plays of five, and is in %s", p.Name, p.Certified)
		}
		if i == 1 && !sure {
			t.Errorf("a million devices certify nothing: %+v", f.Margins)
		}
	}
}

func TestMarginsLeaveOthersAlone(t *testing.T) {
	fixed := rollout.Resolve(quickPlan())
	if plan, choices, _ := Margins(t.Context(), quickPlan(), Typical(1000)); choices != nil || !reflect.DeepEqual(plan, fixed) {
		t.Errorf("a plan without auto was changed: %v", choices)
	}
	own := autoPlan()
	own.Phases[0].Margins = map[rollout.Metric]rollout.Margin{rollout.Crash: 2.5}
	plan, choices, _ := Margins(t.Context(), own, Typical(1000))
	if plan.MarginAt(0, rollout.Crash) != 2.5 || len(choices) != 3*6-1 {
		t.Errorf("a phase's own margin became %v; %d choices", plan.MarginAt(0, rollout.Crash), len(choices))
	}
	if len(own.Phases[1].Margins) != 0 {
		t.Error("the plan that was given was changed")
	}
	whole := builtin(t, "groups")
	whole.Margin, whole.Gates = rollout.MarginAuto, nil
	plan, choices, _ = Margins(t.Context(), whole, Typical(10_000))
	for _, c := range choices {
		if c.Phase != 3 {
			t.Errorf("phase %d compares nothing, but has %s", c.Phase, c.Sentence)
		}
	}
	if len(choices) == 0 || len(plan.Phases[0].Margins) != 0 {
		t.Errorf("%d choices", len(choices))
	}
}

func TestMarginsOfAnUnknownAudienceAreTheWidest(t *testing.T) {
	_, choices, _ := Margins(t.Context(), autoPlan(), Audience{})
	for _, c := range choices {
		if c.Margin != 10 || c.Certifies || !strings.Contains(c.Sentence, "nothing is known") {
			t.Errorf("%+v", c)
		}
	}
	if len(choices) != 3*6 {
		t.Errorf("%d choices", len(choices))
	}
}

// A single metric may be enough alone while all together are not.
func TestChooseWidensUntilEnoughPlaysPassTogether(t *testing.T) {
	plays := make([][]int, marginPlays)
	for i := range plays { // each metric fails at the tightest in three plays, and never in the same
		plays[i] = []int{0, 0}
		if i < 3 {
			plays[i][0] = 2
		} else if i < 6 {
			plays[i][1] = 4
		}
	}
	list := choose(plays, []rollout.Metric{rollout.Crash, rollout.ANR})
	if got := passing(list); got.Share < enough {
		t.Errorf("%s pass", got)
	}
	if list[0].place != 2 || list[1].place != 0 {
		t.Errorf("places %d and %d, want the first to be widened, which costs least", list[0].place, list[1].place)
	}
}

// Later phases of a long plan take what was chosen before them, and a plan of hundreds of segments is not played at all:
// whoever starts a rollout waits for this.
func TestMarginsOfLongPlansAreBounded(t *testing.T) {
	plan := autoPlan()
	for len(plan.Phases) < mostPlayed+2 {
		plan.Phases = append([]rollout.Phase{plan.Phases[0]}, plan.Phases...)
	}
	_, choices, _ := Margins(t.Context(), plan, Typical(2000))
	late := slices.DeleteFunc(choices, func(c Choice) bool { return c.Phase < mostPlayed })
	if len(late) == 0 || late[0].Plays.Of != 0 || !strings.Contains(late[0].Sentence, "as before") {
		t.Errorf("choices of late phases: %+v", late)
	}
	for i := range plan.Phases {
		plan.Phases[i].Segments = slices.Repeat([]string{"beta"}, maxSegments)
	}
	if err := checkLength(plan); err != nil {
		t.Errorf("one segment, named often, is refused: %v", err)
	}
	for i := range maxSegments {
		plan.Phases[0].Segments = append(plan.Phases[0].Segments, fmt.Sprint("s", i))
	}
	if err := checkLength(plan); rollout.CodeOf(err) != CodePlanTooLong {
		t.Errorf("a plan of many segments: %v", err)
	}
}

func TestMarginsEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Margins(ctx, autoPlan(), Typical(1000)); !errors.Is(err, context.Canceled) {
		t.Errorf("margins were chosen all the same: %v", err)
	}
	if _, choices, err := Margins(ctx, autoPlan(), Audience{}); err != nil || len(choices) == 0 {
		t.Errorf("the widest margins need no plays: %v", err)
	}
	w := walk{stage: stage{plan: quickPlan(), audience: Typical(1000)}, crowd: newCrowd(quickPlan(), Typical(1000), Regression{}, throw(1, 0, 0))}
	w.enter(0)
	if promoted, err := w.hold(ctx); promoted || !errors.Is(err, context.Canceled) || w.hours != 0 {
		t.Errorf("a play went on for %v hours: %v", w.hours, err)
	}
}

func TestNeedsPast(t *testing.T) {
	fixed := steady(10*rollout.OnePercent, day)
	alone := steady(rollout.Everyone, day)
	alone.Holdback = 0
	segment := alone
	segment.Phases = []rollout.Phase{alone.Phases[0]}
	segment.Phases[0].Segments = []string{"beta"}
	for name, c := range map[string]struct {
		plan rollout.Plan
		want bool
	}{"margins": {autoPlan(), true}, "controls": {fixed, false}, "no control": {alone, true}, "a whole segment": {segment, false}} {
		if got := NeedsPast(c.plan); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
