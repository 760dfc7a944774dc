package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

const day = rollout.Duration(24 * time.Hour)

// steady is a plan of one phase that is held for so long.
func steady(percent rollout.Percent, hold rollout.Duration) rollout.Plan {
	return rollout.Resolve(rollout.Plan{Phases: []rollout.Phase{{Percent: percent, Hold: rollout.Hold{Min: hold, Max: hold}}}})
}

func builtin(t testing.TB, name string) rollout.Plan {
	t.Helper()
	plan, ok := rollout.BuiltinPlan(name)
	if !ok {
		t.Fatalf("there is no plan %s", name)
	}
	return plan
}

// everyone is the number of devices in a block, wherever they are.
func (b block) everyone() (n int64) {
	for _, s := range b.habits {
		for _, part := range []int64{
			s.unasked, s.told, s.toldBefore, s.running, s.runningBefore, s.failed, s.failedBefore, s.apart, s.apartBefore,
		} {
			if part < 0 {
				return math.MinInt64
			}
			n += part
		}
	}
	return n
}

// No device is lost or made, whatever the plan, the audience and the harm; and no arm counts more than there are.
func TestDevicesAreConserved(t *testing.T) {
	for run := range 60 {
		rng := rand.New(rand.NewPCG(uint64(run), 1))
		plan := builtin(t, rollout.BuiltinPlanNames()[run%len(rollout.BuiltinPlanNames())])
		a := Typical(1 + rng.Int64N(20_000))
		a.SessionsPerDay = .1 + 5*rng.Float64()
		harm := []Regression{{}, Crashes(5), Deadly(), {Metric: rollout.LoadTime, Ratio: 3}, {Metric: rollout.Crash, Share: .5}}[rng.IntN(5)]
		c := newCrowd(plan, a, harm, throw(uint64(run), 0, 0))
		for phase := range plan.Phases {
			c.enter(plan, phase)
			var s judge.Stratum
			for range 1 + rng.IntN(40) {
				c.pass([]float64{.25, 1, 6}[rng.IntN(3)], &s)
			}
			total, compared := int64(0), int64(0)
			for _, b := range c.blocks {
				total += b.everyone()
				if b.compared {
					compared += b.everyone()
				}
			}
			if total != a.Devices {
				t.Fatalf("run %d, phase %d: %d devices of %d", run, phase, total, a.Devices)
			}
			if seen := s.Candidate.Devices + s.Control.Devices; seen > compared || s.Candidate.Returned[2] > s.Candidate.Devices {
				t.Fatalf("run %d, phase %d: %d devices counted of %d", run, phase, seen, compared)
			}
			if c.exposed > a.Devices || c.harmed > c.exposed {
				t.Fatalf("run %d, phase %d: %d exposed, %d harmed of %d", run, phase, c.exposed, c.harmed, a.Devices)
			}
		}
	}
}

// A device that is silenced for good is lost on purpose, and counted.
func TestSilencedDevicesAreCounted(t *testing.T) {
	plan := steady(10*rollout.OnePercent, 7*day)
	c := newCrowd(plan, Typical(10_000), Regression{Metric: rollout.Silence, Share: 1}, throw(1, 0, 0))
	c.enter(plan, 0)
	var s judge.Stratum
	for range 7 * 24 {
		c.pass(1, &s)
	}
	lost := 10_000 - c.blocks[0].everyone()
	if lost != c.harmed || lost != c.exposed || lost != s.Candidate.Devices || s.Candidate.Returned[2] != 0 {
		t.Errorf("%d devices lost, %d harmed, %d exposed, %d entered, %d returned", lost, c.harmed, c.exposed, s.Candidate.Devices, s.Candidate.Returned[2])
	}
	if lost < 900 {
		t.Errorf("only %d of some 1000 candidates were silenced in a week", lost)
	}
}

// What is counted is what the audience says: rates per week, habits, shares of the arms, and a regression's multiple.
func TestCountsAreThoseOfTheAudience(t *testing.T) {
	const devices = 2_000_000
	a := Typical(devices)
	plan := steady(20*rollout.OnePercent, 7*day)
	c := newCrowd(plan, a, Crashes(4), throw(7, 0, 0))
	c.enter(plan, 0)
	var s judge.Stratum
	for range 7 * 24 {
		c.pass(1, &s)
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got/want-1) > tolerance {
			t.Errorf("%s: %.5g, want %.5g", what, got, want)
		}
	}
	entered := seenWithin(a.SessionsPerDay, week)
	near("candidates", float64(s.Candidate.Devices), .2*devices*entered, .01)
	near("controls", float64(s.Control.Devices), .8*devices*entered, .01)
	for h, horizon := range judge.SilenceHorizons {
		near("returned", float64(s.Control.Returned[h])/float64(s.Control.Devices), seenWithin(a.SessionsPerDay, float64(horizon)), .05)
	}
	// Devices enter during the week, on the mean after 1/rate hours, and have the rest of it to crash in.
	lived := 0.0
	for _, rate := range checksPerHour(a.SessionsPerDay) {
		lived += (week - (1-math.Exp(-rate*week))/rate) / numHabits
	}
	for _, m := range []rollout.Metric{rollout.Crash, rollout.ErrorLog, rollout.LoadTime} {
		near(string(m), float64(s.Control.Events[m.Index()])/(.8*devices), a.Base[m]*lived/week, .05)
	}
	rate := float64(s.Candidate.Events[0]) / float64(s.Control.Events[0]) * 4
	if rate < 2.5 || rate > 3.9 { // fourfold once adopted, which takes two checks
		t.Errorf("a bundle with four times the crashes shows %.2f times as many", rate)
	}
	near("boot failures", float64(s.Candidate.Events[rollout.BootFailure.Index()])/float64(c.exposed), a.Base[rollout.BootFailure], .15)
	if s.Control.Events[rollout.BootFailure.Index()] != 0 {
		t.Error("a control failed to start a bundle it was never offered")
	}
	near("harmed", float64(c.harmed), .75*float64(s.Candidate.Events[0]), .1)
}

// Devices that an earlier phase took whole are not compared later, as the resolver has it.
func TestSegmentsTakenWholeAreNotComparedLater(t *testing.T) {
	plan := builtin(t, "groups")
	c := newCrowd(plan, Typical(100_000), Regression{}, throw(3, 0, 0))
	want := [][]bool{{true, false, false, false}, {false, true, false, false}, {false, false, true, false}, {false, false, false, true}}
	for phase := range plan.Phases {
		c.enter(plan, phase)
		for i, b := range c.blocks {
			if b.compared != want[phase][i] {
				t.Errorf("phase %d: segment %q compared: %v", phase, b.segment, b.compared)
			}
		}
	}
	if got := c.blocks[3].admitted; got != 99*rollout.OnePercent {
		t.Errorf("with a holdback of 1 %%, %s %% were admitted", got)
	}
}

func TestPlaysAreTheSameForASeed(t *testing.T) {
	draw := func(seed uint64, scenario, number int) (list [20]int64) {
		d := throw(seed, scenario, number)
		for i := range list {
			list[i] = d.binomial(1000, .3)
		}
		return list
	}
	first, again := draw(1, 2, 3), draw(1, 2, 3)
	if first != again {
		t.Error("the same dice fall differently")
	}
	for _, other := range [][20]int64{draw(2, 2, 3), draw(1, 1, 3), draw(1, 2, 4)} {
		if other == first {
			t.Error("other dice fall the same")
		}
	}
}
