package judge

import (
	"math"
	"testing"
)

// halved is the plain twin of turning.
func halved(f func(float64) float64) float64 {
	low, high := math.Log(leastRatio), math.Log(mostRatio)
	switch {
	case f(leastRatio) < 0:
		return leastRatio
	case f(mostRatio) >= 0:
		return mostRatio
	}
	for range 60 {
		if middle := (low + high) / 2; f(math.Exp(middle)) >= 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Exp(low)
}

// The search finds what plain halving finds, from any place and with any guess, and in far fewer steps.
func TestTurningAgreesWithHalving(t *testing.T) {
	curves := map[string]func(float64) float64{
		"line":           func(r float64) float64 { return .7 - math.Log(r) },
		"steep":          func(r float64) float64 { return math.Exp(-20*(math.Log(r)-1)) - 1 },
		"flat":           func(r float64) float64 { return -math.Pow(math.Log(r)+.3, 7) },
		"step":           func(r float64) float64 { return math.Copysign(1, .2-math.Log(r)) },
		"never negative": func(r float64) float64 { return 1 / (1 + r) },
		"never positive": func(r float64) float64 { return -r },
		"at an end":      func(r float64) float64 { return 12 - math.Log(r) },
	}
	for name, f := range curves {
		want, total, searches := halved(f), 0, 0
		for _, from := range []float64{1e-6, .1, 1, 3, 1e6} {
			for _, guess := range []float64{0, 1e-7, .5, 1, 2, 2.1, 1e9, math.Inf(1), math.NaN()} {
				steps := 0
				got := turning(func(r float64) float64 { steps++; return f(r) }, from, guess)
				if math.Abs(math.Log(got/want)) > 2*precision {
					t.Errorf("%s from %v with guess %v: got %v, want %v", name, from, guess, got, want)
				}
				if steps > 45 {
					t.Errorf("%s from %v with guess %v: %d steps", name, from, guess, steps)
				}
				total, searches = total+steps, searches+1
			}
		}
		t.Logf("%s: %v steps on average", name, total/searches)
	}
}

// What the bounds of a verdict cost: evaluations of E for each.
func TestBoundsTakeFewSteps(t *testing.T) {
	total, searches := 0, 0
	for run := range 200 {
		rng := seeded(run)
		at := crowd{rng: rng, share: .2, rate: .005, ratio: math.Exp(rng.NormFloat64())}
		d := draws{pools: []pool{{share: .2}}}
		for range 20 + rng.IntN(2000) {
			d.pools[0].events++
			if at.next() {
				d.hits++
			}
		}
		w := whole(d).staked(harmBets())
		turning(func(r float64) float64 { total++; return w.logE(r) - 5 }, 1, d.off(-5))
		searches++
	}
	mean := float64(total) / float64(searches)
	t.Logf("a bound takes %.1f evaluations of E", mean)
	if mean > 14 {
		t.Errorf("a bound takes %.1f evaluations of E", mean)
	}
}
