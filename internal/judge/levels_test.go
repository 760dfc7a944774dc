package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// loads is a crowd of devices in two arms of the same size, each of which shows its first load time once.
type loads struct {
	rng    *rand.Rand
	slower func(rng *rand.Rand) float64 // the candidate's multiple of what a control would show
	in     Input
}

// scatter is the standard deviation of the logarithm of a load time; the median is a second and a half. It is what the
// figures below, and those of the same simulation for uniform bands, come from.
const scatter = 0.6

func newLoads(run int, slower func(*rand.Rand) float64) *loads {
	l := &loads{rng: seeded(run), slower: slower, in: Input{Plan: rollout.Plan{Phases: phases(50)}}}
	l.in.Plan.Gates = allOffBut(rollout.LoadTime)
	l.in.Strata = []Stratum{{Hour: epochHour, Share: .5}}
	return l
}

// allOffBut switches every gate off but one, which then has the whole of alpha.
func allOffBut(m rollout.Metric) []rollout.Gate {
	var gates []rollout.Gate
	for _, info := range rollout.AllMetrics() {
		if info.Metric != m {
			gates = append(gates, rollout.Gate{Metric: info.Metric, Off: true})
		}
	}
	return gates
}

// see adds a device to each arm.
func (l *loads) see() {
	s := &l.in.Strata[0]
	s.Candidate.show(rollout.LoadTime, 1500*math.Exp(scatter*l.rng.NormFloat64())*l.slower(l.rng))
	s.Control.show(rollout.LoadTime, 1500*math.Exp(scatter*l.rng.NormFloat64()))
}

// show adds a device with one measure in milliseconds.
func (c *Counts) show(m rollout.Metric, millis float64) {
	level := m.LevelOf(millis)
	measure := &c.Measured[m.Measured()]
	for i := range level {
		measure.Beyond[i]++
	}
	if level > 0 {
		measure.Devices++
		measure.Squares += int64(level * level)
	}
	c.Devices++
	c.Events[m.Index()] = measure.Beyond[rollout.ShownLevel]
}

func (l *loads) trial() trial { return gates(l.in.Plan, 0)[0].prepare(read(l.in)) }

// Slower loads are found whether all devices are a little slower or some of them much, after about as many devices as the
// same test took in an independent simulation with twelve boundaries, and no innocent bundle is stopped.
func TestSlowerLoadsAreFound(t *testing.T) {
	const step = 10
	for _, c := range []struct {
		name   string
		runs   int
		slower func(*rand.Rand) float64
		median float64 // of devices in each arm; 0 if none should ever be found
	}{
		{"all a quarter slower", 60, func(*rand.Rand) float64 { return 1.25 }, 500},
		{"one in five twice as slow", 60, func(rng *rand.Rand) float64 {
			if rng.Float64() < .2 {
				return 2
			}
			return 1
		}, 600},
		{"none slower", 100, func(*rand.Rand) float64 { return 1 }, 0},
	} {
		var devices []float64
		alarms := 0
		for run := range c.runs {
			l := newLoads(run, c.slower)
			for n := 1; ; n++ {
				l.see()
				if n%step > 0 {
					continue
				}
				if l.trial().alarm() {
					devices = append(devices, float64(n))
					alarms++
					break
				}
				if c.median == 0 && n >= 1000 || n >= 20_000 {
					break
				}
			}
		}
		if c.median == 0 {
			t.Logf("%s: %d alarms in %d runs", c.name, alarms, c.runs)
			if alarms > 0 {
				t.Errorf("%s: %d alarms in %d runs", c.name, alarms, c.runs)
			}
			continue
		}
		median := quantile(devices, .5)
		t.Logf("%s: median %.0f devices in each arm, 9 of 10 within %.0f", c.name, median, quantile(devices, .9))
		if median > 1.1*c.median || alarms < c.runs {
			t.Errorf("%s: found in %d of %d runs, after a median of %.0f devices; want %.0f", c.name, alarms, c.runs, median, c.median)
		}
	}
}

// The verdict names the boundary that shows most, with its counts and a bound that holds for all boundaries at once, and how
// much further the mean device went.
func TestEvidenceOfSlowerLoads(t *testing.T) {
	l := newLoads(1, func(*rand.Rand) float64 { return 1.5 })
	for range 2000 {
		l.see()
	}
	v := Judge(l.in)
	e := v.Metrics[0]
	level := slices.Index(boundaries(rollout.LoadTime), e.Boundary)
	if level < 0 {
		t.Fatalf("boundary %v is none", e.Boundary)
	}
	s := l.in.Strata[0]
	if c := s.Candidate.Measured[0].Beyond[level]; e.Candidate != c || e.Control != s.Control.Measured[0].Beyond[level] {
		t.Errorf("counts %d and %d are not those of the boundary", e.Candidate, e.Control)
	}
	for i := range boundaries(rollout.LoadTime) {
		trial := l.trial()
		other := read(l.in).sincePhasesAt(0, i).logE(trial.bets.up, 1)
		if shown := trial.harm.logE(trial.bets.up, 1); other > shown {
			t.Errorf("boundary %d shows more (%v) than the one that is shown (%v)", i, other, shown)
		}
	}
	if v.Decision != Rollback || !e.Alarm || !(1 < e.Lower && e.Lower < e.Ratio && e.Ratio < e.Upper) {
		t.Errorf("half as slow again: %s with %+v", v.Decision, e)
	}
	if !strings.Contains(v.Sentence, "load time (") || !strings.Contains(v.Sentence, "s or more) ratio") {
		t.Errorf("sentence: %s", v.Sentence)
	}
	// ln(1.5) is 1.17 boundaries of half an octave; loads beyond the first boundary and before the last lose nothing.
	if e.Mean == nil || math.Abs(e.Mean.Difference-1.17) > .1 || !(0 < e.Mean.Lower && e.Mean.Lower < e.Mean.Difference) {
		t.Errorf("mean %+v, want a difference of 1.17", e.Mean)
	}
	t.Log(v.Sentence)
}

func boundaries(m rollout.Metric) []float64 {
	levels := m.Levels()
	return levels[:]
}

// Where the boundaries together show what none does alone, the sentence claims no bound.
func TestSentenceOfManyBoundaries(t *testing.T) {
	e := Evidence{Metric: rollout.SessionLength, Boundary: 10_000, Ratio: 1.3, Lower: .97, Alarm: true}
	if got, want := harmful(e), "session length (below 10 s) ratio 1.3, and over all boundaries worse than the control"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Lower = 1.03
	if got, want := harmful(e), "session length (below 10 s) ratio 1.3, at least 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The confidence sequence of a mean covers the true difference at whatever time it is looked at, and is that of the plain
// formula over the devices themselves.
func TestMeanCovers(t *testing.T) {
	const runs, alpha = 300, .05
	wrong := 0
	for run := range runs {
		l := newLoads(run, func(*rand.Rand) float64 { return 1 })
		outside := false
		for n := range 1500 {
			if l.see(); n > 50 && n%10 == 0 {
				m := read(l.in).meanLevels(0, alpha)
				outside = outside || m.Lower > 0 || m.Upper < 0
			}
		}
		if outside {
			wrong++
		}
	}
	t.Logf("the interval of the mean left out the truth in %d of %d runs", wrong, runs)
	if bound := clopperPearson(wrong, runs); bound > alpha {
		t.Errorf("the interval of the mean left out the truth in %d of %d runs: the rate may be %.4f", wrong, runs, bound)
	}
}

func TestMeanOfAFewDevices(t *testing.T) {
	in := Input{Plan: rollout.Plan{Phases: phases(50)}, Strata: []Stratum{{Hour: epochHour, Share: .5}}}
	if m := read(in).meanLevels(0, .05); m != nil {
		t.Errorf("nobody: %+v", m)
	}
	s := &in.Strata[0]
	for _, millis := range []float64{200, 300, 1200} { // 1, 2 and 6 boundaries
		s.Candidate.show(rollout.LoadTime, millis)
		s.Control.show(rollout.LoadTime, 100)
	}
	got := read(in).meanLevels(0, .05)
	// τ = 3, V = ((1+4+36) − 3·9)/2/3 = 7/3, n = 6, ρ² = (5.9915 + ln 6.9915)/5000 = .0015873, nρ²+1 = 1.009524:
	// width √(6·7/3) · √(2·1.009524/(36·.0015873) · ln(√1.009524/.05)) = 3.7417·√(35.333·3.00047) = 38.526.
	if want := (Mean{3, -35.5262, 41.5262}); got == nil || math.Abs(got.Difference-want.Difference) > 1e-9 ||
		math.Abs(got.Lower-want.Lower) > .05 || math.Abs(got.Upper-want.Upper) > .05 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
