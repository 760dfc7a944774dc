package judge

import (
	"math"
	"testing"
)

// exactCrossings returns, without simulation or approximation, the probabilities that an e-process first reaches the
// threshold at the n-th event, looked at after each, when the true ratio is truth. It walks the distribution of the number
// of hits among runs that have not crossed yet. shareAt gives the design share at the n-th event.
func exactCrossings(m mixture, null, truth float64, events int, shareAt func(int) float64, logThreshold float64) []float64 {
	alive := make([]float64, events+2) // by hits
	alive[0] = 1
	others := make([]float64, len(m)) // what the events so far add to each atom, but for the hits
	crossed := make([]float64, events)
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
		crossed[n] = absorb(m, others, alive[:n+2], logThreshold)
	}
	return crossed
}

// exactCrossing is the probability that the threshold is reached within so many events.
func exactCrossing(m mixture, null, truth float64, events int, shareAt func(int) float64, logThreshold float64) float64 {
	sum := 0.0
	for _, p := range exactCrossings(m, null, truth, events, shareAt, logThreshold) {
		sum += p
	}
	return sum
}

// exactDevices returns the quantile of the number of candidate devices until an alarm at alpha, in units of one over the
// rate of events among controls: events of both arms together are a Poisson process in the number of devices. All later
// starts are taken not to have come.
func exactDevices(share, ratio, alpha, quantile float64, events int) float64 {
	threshold := math.Log((1/alpha - (1 - firstStake)) / firstStake)
	crossed := exactCrossings(harmBets(), 1, ratio, events, func(int) float64 { return share }, threshold)
	rate := ratio + (1-share)/share
	found := func(devices float64) float64 {
		sum, fewer, term := 0.0, 0.0, -rate*devices // fewer is the probability of at most n events, term of exactly n
		for n, p := range crossed {
			fewer += math.Exp(term)
			term += math.Log(rate * devices / float64(n+1))
			sum += p * (1 - fewer)
		}
		return sum
	}
	return turning(func(devices float64) float64 { return quantile - found(devices) }, 1, 1)
}

// absorb takes the mass that has crossed out of alive and returns it. An e-process is monotone in the hits, so the mass
// lies at one end; mass too small to matter is not looked at.
func absorb(m mixture, others, alive []float64, logThreshold float64) float64 {
	terms, taken := make([]float64, len(m)), 0.0
	passes := func(hits int) bool {
		for i, a := range m {
			terms[i] = a.logWeight + float64(hits)*a.logMultiple + others[i]
		}
		return logSum(terms...) >= logThreshold
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
	crash, boot := ratioBets().certifying(1.5), limitBets(.02)
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

// How many candidate devices an alarm takes, exactly, beside the medians of an independent simulation of one start and equal
// weights, which are to be matched for three rates of crashes among controls. That simulation's own chance is seen where
// its figures, times the rate, should be alike and are 5 % apart.
func TestDevicesUntilAlarm(t *testing.T) {
	for _, c := range []struct {
		share, ratio float64
		events       int
		table        map[float64]float64 // by rate
	}{
		{.05, 1.5, 3200, map[float64]float64{.001: 58_986, .005: 11_754, .02: 2788}},
		{.05, 2, 900, map[float64]float64{.001: 15_470, .005: 2998, .02: 754}},
		{.05, 3, 350, map[float64]float64{.001: 4140, .005: 796, .02: 199}},
		{.05, 5, 140, map[float64]float64{.001: 1377, .005: 261, .02: 64}},
		{.05, 10, 70, map[float64]float64{.001: 395, .005: 80, .02: 19}},
		{.5, 1.5, 1100, map[float64]float64{.005: 23_928}},
		{.5, 2, 300, map[float64]float64{.005: 6112}},
		{.5, 3, 150, map[float64]float64{.005: 1856}},
		{.5, 5, 80, map[float64]float64{.005: 648}},
		{.5, 10, 50, map[float64]float64{.005: 220}},
	} {
		median := exactDevices(c.share, c.ratio, .01, .5, c.events)
		mean := 0.0
		for rate, devices := range c.table {
			mean += devices * rate / float64(len(c.table))
			if median/rate > 1.1*devices {
				t.Errorf("share %v, ratio %v: %.0f devices until alarm at a rate of %v, want %v", c.share, c.ratio, median/rate, rate, devices)
			}
		}
		t.Logf("share %2.0f %%, ratio %3v: median %.0f candidate devices at a rate of 0.5 %%, 9 of 10 within %.0f; %.2f of the table",
			100*c.share, c.ratio, median/.005, exactDevices(c.share, c.ratio, .01, .9, c.events)/.005, median/mean)
		if median > 1.05*mean {
			t.Errorf("share %v, ratio %v: %.3f of the table's median", c.share, c.ratio, median/mean)
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
