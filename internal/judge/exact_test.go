package judge

import (
	"math"
	"testing"
)

// exactCrossing returns, without simulation or approximation, the probability that an e-process ever reaches the
// threshold within so many events, looked at after each, when the true ratio is truth. It walks the distribution of the
// number of hits among runs that have not crossed yet. shareAt gives the design share at the n-th event.
func exactCrossing(m mixture, null, truth float64, events int, shareAt func(int) float64, logThreshold float64) float64 {
	alive := make([]float64, events+2) // by hits
	alive[0] = 1
	others := make([]float64, len(m)) // what the events so far add to each atom, but for the hits
	crossed := 0.0
	for n := range events {
		share := shareAt(n)
		p := theta(share, truth)
		for i, a := range m {
			others[i] -= math.Log1p(theta(share, null) * (a.multiple - 1))
		}
		for hits := n + 1; hits > 0; hits-- {
			alive[hits] = alive[hits]*(1-p) + alive[hits-1]*p
		}
		alive[0] *= 1 - p
		crossed += absorb(m, others, alive[:n+2], logThreshold)
	}
	return crossed
}

// absorb takes the mass that has crossed out of alive and returns it. An e-process is monotone in the hits, so the mass
// lies at one end; mass too small to matter is not looked at.
func absorb(m mixture, others, alive []float64, logThreshold float64) float64 {
	terms, taken := make([]float64, len(m)), 0.0
	passes := func(hits int) bool {
		for i, a := range m {
			terms[i] = a.logWeight + float64(hits)*a.logMultiple + others[i]
		}
		return logSum(terms) >= logThreshold
	}
	take := func(hits int) bool {
		if alive[hits] > 1e-15 && !passes(hits) {
			return false
		}
		taken += alive[hits]
		alive[hits] = 0
		return true
	}
	if m[0].multiple > 1 {
		for hits := len(alive) - 1; hits >= 0 && take(hits); hits-- {
		}
		return taken
	}
	for hits := 0; hits < len(alive) && take(hits); hits++ {
	}
	return taken
}

// No test may cross its threshold more often than it says, at its own null or anywhere further inside its hypothesis.
func TestExactErrorRates(t *testing.T) {
	const events = 4000
	steady := func(share float64) func(int) float64 { return func(int) float64 { return share } }
	growing := func(n int) float64 { return []float64{.05, .2, .5}[n*3/events] }
	crash, boot := ratioBets(1.5), limitBets(.02)
	for _, c := range []struct {
		name        string
		bets        mixture
		null, truth float64
		share       func(int) float64
		rate        float64 // that is promised
		tight       bool    // at the null itself the promise is nearly used up, or the bets are wasted
	}{
		{"crash, an innocent candidate at 5 %", crash.up, 1, 1, steady(.05), .0035, true},
		{"crash, an innocent candidate at 50 %", crash.up, 1, 1, steady(.5), .0035, true},
		{"crash, an innocent candidate through three phases", crash.up, 1, 1, growing, .0035, true},
		{"crash, a better candidate", crash.up, 1, .7, growing, .0035, false},
		{"crash certificate, a candidate at the margin", crash.safe, 1.5, 1.5, growing, .05, true},
		{"crash certificate, a candidate beyond the margin", crash.safe, 1.5, 2, growing, .05, false},
		{"crash lower bound, ratio 3", crash.up, 3, 3, growing, .01, true},
		{"crash upper bound, ratio 3", crash.down, 3, 3, growing, .01, true},
		{"boot failure at its limit", boot.up, odds(.02), odds(.02), steady(.5), .0015, true},
		{"boot failure below its limit", boot.up, odds(.02), odds(.01), steady(.5), .0015, false},
		{"boot failure certificate at its margin", boot.safe, odds(.03), odds(.03), steady(.5), .05, true},
		{"negligible rate at its limit", rateBets(), odds(.004), odds(.004), steady(.5), .05, true},
		{"fewer devices than designed", countBets().down, 1, 1, steady(.2), .01, true},
		{"more devices than designed", countBets().up, 1, 1, steady(.2), .01, true},
	} {
		got := exactCrossing(c.bets, c.null, c.truth, events, c.share, -math.Log(c.rate))
		t.Logf("%-55s wrong with probability %.5f of %.4f allowed", c.name, got, c.rate)
		if got > c.rate {
			t.Errorf("%s: wrong with probability %v, more than %v", c.name, got, c.rate)
		}
		if c.tight && got < c.rate/10 {
			t.Errorf("%s: wrong with probability %v only: the test wastes its %v", c.name, got, c.rate)
		}
	}
}

// The exact walk is itself checked against the one case with a closed form: a single bet on k times the null crosses at the
// first event if that is a hit and k is large enough.
func TestExactCrossingOfOneEvent(t *testing.T) {
	m := mixture{{multiple: 20, logMultiple: math.Log(20)}}
	p := .05
	// L = 20/(1+.05·19) = 10.26 for a hit, so a threshold of 10 is crossed with probability .05 and one of 11 never.
	share := func(int) float64 { return p }
	if got := exactCrossing(m, 1, 1, 1, share, math.Log(10)); math.Abs(got-p) > 1e-12 {
		t.Errorf("crossed with probability %v, want %v", got, p)
	}
	if got := exactCrossing(m, 1, 1, 1, share, math.Log(11)); got != 0 {
		t.Errorf("crossed with probability %v, want 0", got)
	}
}
