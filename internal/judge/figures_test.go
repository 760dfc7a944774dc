package judge

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// These tests hold the judge to figures: how often it is wrong, and how many devices it needs to be right. Medians are
// of simulated rollouts looked at after every event; each figure has a limit that a change of the bets must not pass.

const (
	nullRuns   = 2000
	nullEvents = 1500
)

// weather is what happens to both arms alike while an innocent bundle rolls out.
type weather struct {
	name string
	// at returns the design share and the base rate at the n-th of nullEvents.
	at func(n int) (share, rate float64)
}

func weathers() []weather {
	steady := func(share float64) func(int) (float64, float64) {
		return func(int) (float64, float64) { return share, .005 }
	}
	return []weather{
		{"5 % candidates", steady(.05)},
		{"half candidates", steady(.5)},
		// The trap that catches pooled counts: when most devices are candidates, everything is worse for everyone.
		{"base rate triples when the phase goes from 5 to 20 to 50 %", func(n int) (float64, float64) {
			switch {
			case n < nullEvents/3:
				return .05, .005
			case n < 2*nullEvents/3:
				return .2, .015
			}
			return .5, .015
		}},
		{"incident of five times the rate in every tenth hour", func(n int) (float64, float64) {
			if n/50%10 == 0 {
				return .05, .025
			}
			return .05, .005
		}},
	}
}

func TestFalseAlarmsStayBelowAlpha(t *testing.T) {
	for _, w := range weathers() {
		t.Run(w.name, func(t *testing.T) {
			at1, at5 := 0, 0
			for run := range nullRuns {
				highest := highestUnderNull(w, run)
				if highest >= math.Log(1/.05) {
					at5++
				}
				if highest >= math.Log(1/.01) {
					at1++
				}
			}
			t.Logf("false alarms in %d runs of %d events: %.4f at alpha 0.05, %.4f at alpha 0.01",
				nullRuns, nullEvents, float64(at5)/nullRuns, float64(at1)/nullRuns)
			if bound := clopperPearson(at5, nullRuns); bound > .05 {
				t.Errorf("%d of %d innocent bundles stopped at alpha 0.05: the rate may be %.4f", at5, nullRuns, bound)
			}
			if float64(at1)/nullRuns > .01 {
				t.Errorf("%d of %d innocent bundles stopped at alpha 0.01", at1, nullRuns)
			}
		})
	}
}

// highestUnderNull returns the highest ln E, looked at after every event, of one run in which candidates are like controls;
// −Inf when it never came near an alarm.
func highestUnderNull(w weather, run int) float64 {
	share, _ := w.at(0)
	c := crowd{rng: seeded(run), ratio: 1}
	b := newBettor(harmBets(), 1, share)
	highest := math.Inf(-1)
	for n := range nullEvents {
		if c.share, c.rate = w.at(n); c.share != b.share {
			b.setShare(c.share)
		}
		b.see(c.next())
		if b.passed(math.Log(1 / .05)) {
			highest = max(highest, b.logE())
		}
	}
	return highest
}

func TestDevicesUntilCertificate(t *testing.T) {
	const runs = 2000
	for _, c := range []struct{ rate, share, margin, median float64 }{
		{.005, .05, 1.5, 6756},
		{.005, .05, 2, 1635},
		{.005, .05, 3, 678},
		{.005, .5, 1.5, 14306},
		{.005, .5, 2, 4866},
		{.005, .5, 3, 2096},
		{.02, .05, 2, 1635. / 4},
		{.001, .05, 2, 1635. * 5},
	} {
		var devices []float64
		for run := range runs {
			at := crowd{rng: seeded(run), share: c.share, rate: c.rate, ratio: 1}
			b := newBettor(ratioBets().certifying(c.margin).safe, c.margin, c.share)
			for !b.passed(math.Log(1 / .05)) {
				b.see(at.next())
			}
			devices = append(devices, at.devices)
		}
		median := quantile(devices, .5)
		t.Logf("base %.1f %%, share %2.0f %%, margin %.1f: certified after a median of %.0f candidate devices, 9 of 10 within %.0f (table %.0f)",
			100*c.rate, 100*c.share, c.margin, median, quantile(devices, .9), c.median)
		if median > 1.1*c.median {
			t.Errorf("base %v, share %v, margin %v: %.0f devices until the certificate, want %v", c.rate, c.share, c.margin, median, c.median)
		}
	}
}

// The reported interval covers the true ratio whenever anyone stops to look: at a time drawn at random, or at the first
// time that the data seem to show something. TestExactErrorRates has the worst that any way of stopping can do.
func TestConfidenceSequenceCovers(t *testing.T) {
	const alpha = .05
	threshold, bets := math.Log(1/alpha), ratioBets().certifying(1.5)
	for _, ratio := range []float64{.5, 1, 3} {
		wrong := 0
		for run := range nullRuns {
			d := untilStopped(seeded(run), ratio)
			lower, upper := whole(d).staked(bets.up).lower(threshold, 1), whole(d).staked(bets.down).upper(threshold)
			if ratio < lower || ratio > upper {
				wrong++
			}
		}
		t.Logf("ratio %v: outside the interval in %.4f of %d runs, each side at alpha %v", ratio, float64(wrong)/nullRuns, nullRuns, alpha)
		if bound := clopperPearson(wrong, nullRuns); bound > 2*alpha || wrong == 0 {
			t.Errorf("ratio %v: outside in %d of %d runs: the rate may be %.4f", ratio, wrong, nullRuns, bound)
		}
	}
}

// untilStopped plays a rollout of two phases until a time drawn at random, or until the arms look different at two
// standard errors, whichever comes first.
func untilStopped(rng *rand.Rand, ratio float64) draws {
	at := crowd{rng: rng, rate: .005, ratio: ratio}
	d := draws{pools: []pool{{share: .05}, {share: .5}}}
	last := 100 + rng.IntN(900)
	for n := range last {
		now := &d.pools[n*2/1000]
		at.share = now.share
		now.events++
		if at.next() {
			d.hits++
		}
		expected := float64(d.pools[0].events)*theta(.05, ratio) + float64(d.pools[1].events)*theta(.5, ratio)
		if n > 50 && math.Abs(float64(d.hits)-expected) > 2*math.Sqrt(expected) {
			break
		}
	}
	return d
}

// The bounds that are reported are the nulls at which the e-value crosses the threshold, at any stopping time.
func TestBoundsInvertTheTest(t *testing.T) {
	bets, threshold := ratioBets().certifying(1.5), math.Log(1/.01)
	for run := range 200 {
		rng := seeded(run)
		ratio := math.Exp(rng.NormFloat64())
		at := crowd{rng: rng, share: .2, rate: .005, ratio: ratio}
		var d draws
		p := pool{share: .2}
		for range 20 + rng.IntN(500) {
			p.events++
			if at.next() {
				d.hits++
			}
		}
		d.pools = []pool{p}
		e, estimate := whole(d), d.estimate()
		lower, upper := e.staked(bets.up).lower(threshold, 1), e.staked(bets.down).upper(threshold)
		if d.hits == 0 || d.hits == p.events {
			continue
		}
		if want := float64(d.hits) / .2 / (float64(p.events-d.hits) / .8); math.Abs(estimate/want-1) > 1e-5 {
			t.Errorf("run %d: estimate %v of %d hits in %d events, want %v", run, estimate, d.hits, p.events, want)
		}
		if !(lower < estimate && estimate < upper) {
			t.Errorf("run %d: estimate %v is outside [%v, %v]", run, estimate, lower, upper)
		}
		if lower > 0 && !(e.logE(bets.up, lower*.9999) >= threshold && e.logE(bets.up, lower*1.0001) < threshold) {
			t.Errorf("run %d: %v is not where the lower test turns", run, lower)
		}
		if !math.IsInf(upper, 1) && !(e.logE(bets.down, upper*1.0001) >= threshold && e.logE(bets.down, upper*.9999) < threshold) {
			t.Errorf("run %d: %v is not where the upper test turns", run, upper)
		}
	}
}

// A metric that never fires, in either arm, is cleared by its negligible rate, and not before thousands of devices.
func TestSilentMetricIsCleared(t *testing.T) {
	cleared := int64(0)
	for n := int64(100); cleared == 0 && n < 20_000; n += 100 {
		in := healthy()
		s := &in.Strata[0]
		s.Candidate = Counts{Devices: n, Adopted: n}
		s.Control = Counts{Devices: n}
		if e := Judge(in).Metrics[rollout.ANR.Index()]; e.Safe {
			cleared = n
		}
	}
	t.Logf("cleared after %d candidate devices without a single event", cleared)
	if cleared < 4000 || cleared > 5500 {
		t.Errorf("cleared after %d devices without a single event, want 4000 to 5500", cleared)
	}
}
