package forecast

import (
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

func TestRecommendKeepsTheBudget(t *testing.T) {
	budget := Budget{Harmed: 30, Regression: Crashes(50)}
	advice, err := Recommend(t.Context(), Typical(20_000), budget, Options{Runs: 12, Regressions: []Regression{Deadly()}})
	if err != nil {
		t.Fatal(err)
	}
	if at := advice.Forecast.of(budget.Regression); !advice.Within || at.Harmed.P90 > 30 || at.Stopped.Of != 12 {
		t.Errorf("%s: %+v", advice.Sentence, at)
	}
	if advice.Forecast.Healthy.OnTime.Share < onTimeShare || advice.Plan.Validate() != nil || len(advice.Forecast.Harmful) != 2 {
		t.Errorf("%+v", advice.Forecast.Healthy)
	}
}

func TestRecommendSaysWhenNothingFits(t *testing.T) {
	advice, err := Recommend(t.Context(), Typical(2_000), Budget{Harmed: 0, Regression: Deadly()}, Options{Runs: 5, Regressions: []Regression{}})
	if err != nil {
		t.Fatal(err)
	}
	if advice.Within || advice.Tried != len(family(Typical(1))) || !strings.Contains(advice.Sentence, "no plan tried stops") || len(advice.Plan.Phases) == 0 {
		t.Errorf("%+v", advice.Sentence)
	}
	for _, bad := range []Budget{{Harmed: -1, Regression: Deadly()}, {Harmed: 1}, {Harmed: 1, Regression: Crashes(1)}} {
		if _, err := Recommend(t.Context(), Typical(100), bad, Options{}); rollout.CodeOf(err) != CodeInvalidOptions {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestFamilyIsSoundAndFastestFirst(t *testing.T) {
	var before rollout.Plan
	names := map[string]bool{}
	for i, plan := range family(Typical(700)) {
		if err := plan.Validate(); err != nil {
			t.Errorf("%s: %v", plan.Name, err)
		}
		if i > 0 && leastTime(plan) < leastTime(before) {
			t.Errorf("%s comes after %s, which takes longer", plan.Name, before.Name)
		}
		if names[plan.Name] {
			t.Errorf("two plans %s", plan.Name)
		}
		names[plan.Name], before = true, plan
	}
}

// What a search would refuse is refused before anything is played.
func TestBudgetsAreCheckedFirst(t *testing.T) {
	var eight []Regression
	for i := range MaxRegressions {
		eight = append(eight, Crashes(float64(i+2)))
	}
	if err := (Budget{Regression: Crashes(50)}).Check(Options{Regressions: eight}); rollout.CodeOf(err) != CodeInvalidOptions {
		t.Errorf("nine regressions: %v", err)
	}
	if err := (Budget{Regression: Crashes(5)}).Check(Options{Regressions: eight}); err != nil {
		t.Errorf("the budget's among eight: %v", err)
	}
}
