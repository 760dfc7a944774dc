package validation

import (
	"math"
	"slices"
	"testing"
)

// The interval of a shift, against what Kayenta reports of itself in its issue 6278: 6.8e-05 to 99, estimate 98.9999.
func TestShiftAsKayentaReportsIt(t *testing.T) {
	got := shiftOf([]float64{100, 100, 100, 100, 100, 100, 100, 1, 1, 1}, []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	if math.Abs(got.estimate-98.9999) > 1e-3 || math.Abs(got.lower) > 1e-3 || math.Abs(got.upper-99) > 1e-3 {
		t.Errorf("%+v, want about 98.9999 in [0.00007, 99]", got)
	}
}

// The estimate is the median of all differences (Hodges and Lehmann, 1963), and both ends lie at differences.
func TestShiftIsMadeOfDifferences(t *testing.T) {
	for run := range 50 {
		rng := seeded(1, "differences", run)
		var x, y, differences []float64
		for range 9 + rng.IntN(10) {
			x = append(x, rng.NormFloat64()+1)
			y = append(y, rng.NormFloat64())
		}
		for _, a := range x {
			for _, b := range y {
				differences = append(differences, a-b)
			}
		}
		slices.Sort(differences)
		got := shiftOf(x, y)
		if median := quantile(differences, .5); math.Abs(got.estimate-median) > .15 {
			t.Errorf("run %d: estimate %v, median difference %v", run, got.estimate, median)
		}
		for _, end := range []float64{got.lower, got.upper} {
			if !slices.ContainsFunc(differences, func(d float64) bool { return math.Abs(d-end) < 2e-4 }) {
				t.Errorf("run %d: %v is no difference of two points", run, end)
			}
		}
		if !(got.lower < got.estimate && got.estimate < got.upper) {
			t.Errorf("run %d: %+v", run, got)
		}
	}
}
