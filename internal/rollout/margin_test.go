package rollout

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestMarginReadsRatiosAndAuto(t *testing.T) {
	for text, want := range map[string]Margin{`1.5`: 1.5, `2`: 2, `"auto"`: MarginAuto} {
		var got Margin
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s reads as %v, %v; want %v", text, got, err, want)
		}
		if again, err := json.Marshal(got); err != nil || string(again) != text {
			t.Errorf("%s is written as %s, %v", text, again, err)
		}
	}
	for _, text := range []string{`-1`, `"Auto"`, `"1.5"`, `true`, `{}`, `[]`} {
		var got Margin
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s reads as %v", text, got)
		}
	}
}

func TestMarginAt(t *testing.T) {
	plan := Resolve(Plan{
		Margin: 2,
		Phases: []Phase{{Percent: OnePercent, Margins: map[Metric]Margin{Crash: 5}}, {Percent: Everyone}},
		Gates:  []Gate{{Metric: ANR, Margin: 3}, {Metric: ErrorLog, Margin: MarginAuto}},
	})
	for _, c := range []struct {
		phase  int
		metric Metric
		want   float64
	}{
		{0, Crash, 5},       // the phase's word
		{1, Crash, 2},       // the plan's
		{0, ANR, 3},         // the gate's
		{0, ErrorLog, 1.5},  // auto, and nothing chosen yet
		{0, LoadTime, 1.5},  // no metric of stability: the plan's margin is not for it
		{-1, Crash, 2},      // no phase
		{7, Crash, 2},       // no phase
		{0, "crashes", 0},   // no metric
		{0, Adoption, 0},    // nothing to compare
		{0, LowMemory, 2},   // a metric that came later
		{1, BootFailure, 2}, // held against a limit
	} {
		if got := plan.MarginAt(c.phase, c.metric); got != c.want {
			t.Errorf("margin of %s in phase %d is %v, want %v", c.metric, c.phase, got, c.want)
		}
	}
	again := Resolve(plan)
	again.Phases[0].Margins[Crash] = 7
	if plan.Phases[0].Margins[Crash] != 5 {
		t.Error("resolving shares the margins of phases with the plan given")
	}
}

func TestMarginsOfPhasesAreChecked(t *testing.T) {
	for _, c := range []struct {
		margins map[Metric]Margin
		want    string
	}{
		{map[Metric]Margin{Crash: 3, Silence: 1.25}, ""},
		{map[Metric]Margin{"crashes": 3}, CodeUnknownMetric},
		{map[Metric]Margin{Adoption: 3}, CodeUnknownMetric},
		{map[Metric]Margin{Crash: 1}, CodeInvalidMargin},
		{map[Metric]Margin{Crash: MarginAuto}, CodeInvalidMargin}, // auto belongs to gates: phases hold what was chosen
	} {
		err := Plan{Phases: []Phase{{Percent: Everyone, Margins: c.margins}}}.Validate()
		if got := codesOf(err); c.want == "" && err != nil || c.want != "" && !slices.Contains(got, c.want) {
			t.Errorf("%v: %v, want %q", c.margins, err, c.want)
		}
	}
}

func codesOf(err error) []string {
	var codes []string
	if list, ok := err.(Errors); ok {
		for _, e := range list {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		metric Metric
		millis float64
		want   int
	}{
		{LoadTime, 0, 0}, {LoadTime, 176, 0}, {LoadTime, 177, 1}, {LoadTime, 3999, 9}, {LoadTime, 4000, ShownLevel + 1}, {LoadTime, 1e9, NumLevels},
		{APITime, 1999, ShownLevel}, {APITime, 2000, ShownLevel + 1}, {SessionLength, 10000, ShownLevel}, {SessionLength, 9999, ShownLevel + 1},
		{SessionLength, 0, NumLevels}, {SessionLength, 1e9, 0}, {Crash, 1e9, 0}, {Crash, 0, 0},
	} {
		if got := c.metric.LevelOf(c.millis); got != c.want {
			t.Errorf("%s of %v ms is beyond %d boundaries, want %d", c.metric, c.millis, got, c.want)
		}
	}
	measured := 0
	for _, info := range AllMetrics() {
		levels, place := info.Metric.Levels(), info.Metric.Measured()
		if (info.Comparison == AgainstControlLevels) != (place >= 0) || (levels[0] > 0) != (place >= 0) {
			t.Errorf("%s: comparison %d, place %d, levels %v", info.Metric, info.Comparison, place, levels)
		}
		if place < 0 {
			continue
		}
		measured++
		for i := 1; i < NumLevels; i++ {
			if harmful := levels[i] > levels[i-1]; harmful == (info.Metric == SessionLength) {
				t.Errorf("%s: boundary %v does not follow %v", info.Metric, levels[i], levels[i-1])
			}
		}
	}
	if measured != NumMeasured {
		t.Errorf("%d measured metrics, want %d", measured, NumMeasured)
	}
}
