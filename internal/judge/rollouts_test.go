package judge

import (
	"cmp"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// Whole rollouts: every gate at once, through the tallies.

const (
	hoursPerPhase = 24
	epochHour     = 480_000 // any hour: the judge only compares them
)

// everyday are the chances that a device of either arm ever has each event, in the order of rollout.AllMetrics.
var everyday = [rollout.NumMetrics]float64{.005, .001, .002, 0, .02, 0, 0, 0, .2, .01, .01, 0, .002, .001, .001, .001}

// pace are the chances that a device goes beyond each boundary of a measured metric for the first time, having gone beyond
// the one before.
const pace = .6

// phone-like habits: the chance to be seen again within each of SilenceHorizons.
var habits = [NumHorizons]float64{.3, .6, .9}

// binomial draws how many of n have something of chance p, skipping from one to the next.
func binomial(rng *rand.Rand, n int64, p float64) int64 {
	if p <= 0 {
		return 0
	}
	var hits int64
	for at := int64(rng.ExpFloat64() / -math.Log1p(-p)); at < n; at += 1 + int64(rng.ExpFloat64()/-math.Log1p(-p)) {
		hits++
	}
	return hits
}

// arm draws an hour of one arm.
func arm(rng *rand.Rand, n int64) Counts {
	c := Counts{Devices: n, Adopted: n}
	seen := int64(0)
	before := 0.0
	for i, p := range habits {
		seen += binomial(rng, n-seen, (p-before)/(1-before))
		c.Returned[i], before = seen, p
	}
	for i, p := range everyday {
		c.Events[i] = binomial(rng, n, p)
	}
	for i, m := range []rollout.Metric{rollout.LoadTime, rollout.APITime, rollout.SessionLength} {
		c.Measured[i] = further(rng, n)
		c.Events[m.Index()] = c.Measured[i].Beyond[rollout.ShownLevel]
	}
	return c
}

// further draws how far so many devices go in their only hour.
func further(rng *rand.Rand, n int64) Measure {
	var m Measure
	for level := range m.Beyond {
		n = binomial(rng, n, pace)
		m.Beyond[level] = n
		m.Squares += n * int64(2*level+1) // (level+1)² − level²
	}
	m.Devices = m.Beyond[0]
	return m
}

// innocent plays a rollout of three phases of a day each, 400 devices an hour, and returns its input at the end.
func innocent(run int) Input {
	rng := seeded(run)
	in := Input{Plan: rollout.Plan{Phases: phases(5, 20, 50)}, Phase: 2, Held: hoursPerPhase * time.Hour}
	for hour := range int64(3 * hoursPerPhase) {
		phase := int(hour / hoursPerPhase)
		share := in.Plan.Phases[phase].Percent.Share()
		n := binomial(rng, 400, share)
		in.Strata = append(in.Strata, Stratum{
			Phase: phase, Hour: epochHour + hour, Share: share, Candidate: arm(rng, n), Control: arm(rng, 400-n),
		})
	}
	return in.at(int64(len(in.Strata)))
}

// at is the input as it was after so many hours.
func (in Input) at(hour int64) Input {
	in.Strata = in.Strata[:hour]
	in.Newest = time.Unix((epochHour+hour)*3600, 0)
	in.Now = in.Newest
	in.Phase = in.Strata[hour-1].Phase
	return in
}

// alphaOf is how near the plan's gates came to an alarm: the alpha from which on one of them alarms; and the same for the
// sizes of the arms.
func alphaOf(in Input) (harm, mismatch float64) {
	r, plan := read(in), in.Plan
	plan.Alpha = .5
	most := math.Inf(-1)
	for _, t := range gates(plan, 0) {
		most = max(most, t.prepare(r).logHarm-t.logThreshold())
	}
	return .5 * math.Exp(-most), math.Exp(-r.logMismatch())
}

func TestInnocentRolloutsAreNotStopped(t *testing.T) {
	const runs = 400
	at1, at5, held := 0, 0, 0
	for run := range runs {
		in := innocent(run)
		least, leastMismatch := 1.0, 1.0
		for hour := int64(6); hour <= 3*hoursPerPhase; hour += 6 {
			harm, mismatch := alphaOf(in.at(hour))
			least, leastMismatch = min(least, harm), min(leastMismatch, mismatch)
			if (harm < .02 || hour == 3*hoursPerPhase) && mismatch > .01 {
				if v := Judge(in.at(hour)); (v.Code == CodeHarm) != (harm <= .01) {
					t.Fatalf("run %d, hour %d: the gates alarm from alpha %v on, but the verdict is %q", run, hour, harm, v.Sentence)
				}
			}
		}
		at1, at5, held = at1+atMost(least, .01), at5+atMost(least, .05), held+atMost(leastMismatch, .01)
	}
	t.Logf("of %d innocent rollouts judged every six hours with all gates: stopped %.4f at alpha 0.05, %.4f at alpha 0.01; held for their arms' sizes %.4f",
		runs, float64(at5)/runs, float64(at1)/runs, float64(held)/runs)
	if bound := clopperPearson(at5, runs); bound > .05 {
		t.Errorf("%d of %d innocent rollouts stopped at alpha 0.05: the rate may be %.4f", at5, runs, bound)
	}
	if float64(at1)/runs > .01 || float64(held)/runs > .01 {
		t.Errorf("%d stopped and %d held of %d innocent rollouts at alpha 0.01", at1, held, runs)
	}
}

func atMost(x, limit float64) int {
	if x <= limit {
		return 1
	}
	return 0
}

// A bundle that kills the app at every start is found by its first devices, whether it still says so or not.
func TestDeadlyBundleIsFoundAtOnce(t *testing.T) {
	in := Input{Plan: rollout.Plan{Phases: phases(5)}, Newest: time.Unix(epochHour*3600, 0), Now: time.Unix(epochHour*3600, 0)}
	var shown, severe int64
	for n := int64(1); n < 20 && severe == 0; n++ {
		s := Stratum{Hour: epochHour, Share: .05, Candidate: Counts{Devices: n}, Control: Counts{Devices: 19 * n}}
		s.Candidate.Events[rollout.BootFailure.Index()] = n
		in.Strata = []Stratum{s}
		if v := Judge(in); v.Code == CodeHarm {
			shown = cmp.Or(shown, n)
			if v.Decision == Rollback {
				severe = n
			}
			t.Logf("%d devices, all failing: %s: %s", n, v.Decision, v.Sentence)
		}
	}
	if shown == 0 || shown > 4 || severe == 0 || severe > 4 {
		t.Errorf("harm was shown after %d failing devices and severe after %d, want at most 4", shown, severe)
	}

	for _, killed := range []float64{1, .5, .1} {
		var devices []float64
		for run := range 200 {
			devices = append(devices, silenced(run, killed))
		}
		t.Logf("silence of %3.0f %%: median %.0f candidate devices, 9 of 10 within %.0f", 100*killed, quantile(devices, .5), quantile(devices, .9))
		if killed == 1 && quantile(devices, .5) > 10 {
			t.Errorf("a bundle that silences every device took %.0f of them", quantile(devices, .5))
		}
	}
}

// silenced returns how many candidate devices the silence gate of a plan of four phases needs to find a bundle after which
// so many never come back, once every horizon has passed.
func silenced(run int, killed float64) float64 {
	rng := seeded(run)
	plan := rollout.Plan{Phases: phases(5, 20, 50, 99)}
	s := Stratum{Hour: epochHour, Share: .05}
	in := Input{Plan: plan, Newest: time.Unix((epochHour+100)*3600, 0)}
	gate := gates(plan, 0)[rollout.Silence.Index()]
	for {
		c, of := &s.Control, 0.0
		if rng.Float64() < s.Share {
			c, of = &s.Candidate, killed
		}
		c.Devices++
		habit := rng.Float64()
		dead := rng.Float64() < of
		for i, p := range habits {
			if habit < p && !dead {
				c.Returned[i]++
			}
		}
		if of == 0 {
			continue // harm is found when a candidate is
		}
		in.Strata = []Stratum{s}
		if gate.prepare(read(in)).alarm() {
			return float64(s.Candidate.Devices)
		}
	}
}

// The crash gate through the whole judge, device by device, agrees with the figures of the pure test.
func TestCrashingBundleThroughJudge(t *testing.T) {
	var devices []float64
	crash := rollout.Crash.Index()
	for run := range 300 {
		at := crowd{rng: seeded(run), share: .05, rate: .005, ratio: 10}
		in := Input{Plan: rollout.Plan{Phases: phases(5)}, Newest: time.Unix(epochHour*3600, 0), Now: time.Unix(epochHour*3600, 0)}
		s := Stratum{Hour: epochHour, Share: .05}
		gate := gates(in.Plan, 0)[crash]
		for !gate.prepare(read(in)).alarm() {
			if run < 10 && Judge(in).Code == CodeHarm {
				t.Fatalf("run %d: harm without an alarm of the crash gate", run)
			}
			if at.next() {
				s.Candidate.Events[crash]++
			} else {
				s.Control.Events[crash]++
			}
			s.Candidate.Devices, s.Control.Devices = int64(at.devices), 19*int64(at.devices)
			in.Strata = []Stratum{s}
		}
		devices = append(devices, at.devices)
		v := Judge(in)
		if v.Code != CodeHarm || !v.Metrics[crash].Alarm {
			t.Fatalf("run %d: the crash gate alarms but the verdict is %s: %s", run, v.Code, v.Sentence)
		}
		if run == 0 {
			t.Logf("%s: %s", v.Decision, v.Sentence)
		}
	}
	t.Logf("crash rate ×10 at 5 %% of devices: median %.0f candidate devices, 9 of 10 within %.0f", quantile(devices, .5), quantile(devices, .9))
	if median := quantile(devices, .5); median > 110 {
		t.Errorf("a tenfold crash rate took %.0f devices at the median", median)
	}
}
