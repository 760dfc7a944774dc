package forecast

import (
	"math"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// crowd is an app's devices while a rollout walks: numbers of devices in each situation, never single ones.
type crowd struct {
	dice
	rates  [numHabits]float64
	events []occurrence
	fails  [rollout.NumMetrics]float64 // chance at an update
	harm   harm
	blocks []block

	exposed int64 // devices that have run the candidate, or tried to
	harmed  int64 // devices hit by what the base rate does not explain
}

// block is the devices that every phase treats alike: those of one segment, or those of none.
type block struct {
	segment  string // "" for the devices of no segment
	admitted rollout.Percent
	compared bool
	habits   [numHabits]situations
	arms     [2]history // of candidates and controls
}

// The arms of a block.
const (
	candidates = iota
	controls
)

// situations are the devices of one habit in a block. "Before" is not seen yet in the current phase.
type situations struct {
	unasked                int64 // admitted, and not seen since
	told, toldBefore       int64 // know of the candidate, and run it from their next check on
	running, runningBefore int64
	failed, failedBefore   int64 // could not install or start it, and run the baseline
	apart, apartBefore     int64 // controls
}

// newCrowd returns the devices of a before a rollout of plan.
func newCrowd(plan rollout.Plan, a Audience, r Regression, d dice) *crowd {
	c := &crowd{dice: d, rates: checksPerHour(a.SessionsPerDay), harm: a.meet(r)}
	for i, info := range rollout.AllMetrics() {
		c.plan(i, info, a.Base[info.Metric])
	}
	rest := a.Devices
	for _, name := range segmentsOf(plan) {
		devices := min(rest, int64(math.Round(float64(a.Devices)*a.segment(name))))
		c.blocks = append(c.blocks, c.newBlock(name, devices))
		rest -= devices
	}
	c.blocks = append(c.blocks, c.newBlock("", rest))
	return c
}

func (c *crowd) newBlock(segment string, devices int64) block {
	b := block{segment: segment}
	for k := range b.habits {
		b.habits[k].apartBefore = devices / numHabits
		if int64(k) < devices%numHabits {
			b.habits[k].apartBefore++
		}
	}
	for arm := range b.arms {
		b.arms[arm].had = make([]float64, len(c.events))
	}
	return b
}

// enter begins a phase: more devices are admitted, and everyone is to be seen anew.
func (c *crowd) enter(plan rollout.Plan, phase int) {
	percent := rollout.EffectivePercent(plan, phase)
	for i := range c.blocks {
		b := &c.blocks[i]
		member := inAudience(plan.Phases[phase], b.segment)
		// Devices that an earlier phase admitted whatever their position have no counterpart.
		b.compared = member && percent > 0 && b.admitted <= percent
		for k := range b.habits {
			b.habits[k].forget()
		}
		if member && percent > b.admitted {
			c.admit(b, percent)
		}
	}
}

// forget makes everyone unseen.
func (s *situations) forget() {
	s.toldBefore, s.told = s.toldBefore+s.told, 0
	s.runningBefore, s.running = s.runningBefore+s.running, 0
	s.failedBefore, s.failed = s.failedBefore+s.failed, 0
	s.apartBefore, s.apart = s.apartBefore+s.apart, 0
}

// admit turns controls into candidates until so many are.
func (c *crowd) admit(b *block, percent rollout.Percent) {
	share := float64(percent-b.admitted) / float64(rollout.Everyone-b.admitted)
	b.admitted = percent
	for k := range b.habits {
		s := &b.habits[k]
		moved := c.binomial(s.apartBefore, share)
		s.apartBefore -= moved
		s.unasked += moved
	}
	from, to := &b.arms[controls], &b.arms[candidates]
	to.seen, from.seen = to.seen+share*from.seen, (1-share)*from.seen
	for i := range to.had {
		to.had[i], from.had[i] = to.had[i]+share*from.had[i], (1-share)*from.had[i]
	}
}

// pass lets so many hours go by and adds what is counted in them to into. It reports whether any device in the comparison
// asked.
func (c *crowd) pass(hours float64, into *judge.Stratum) (asked bool) {
	var unseen judge.Stratum // of blocks outside the comparison
	expected := 0.0
	for i := range c.blocks {
		b, counts := &c.blocks[i], into
		if !b.compared {
			counts = &unseen
		}
		for k, rate := range c.rates {
			s := &b.habits[k]
			c.ask(s, k, -math.Expm1(-rate*hours), counts)
			if b.compared {
				expected += rate * hours * float64(s.apart+s.told+s.running+s.failed)
			}
		}
		c.happen(b, hours, counts)
	}
	return c.happens(-math.Expm1(-expected))
}

// ask lets devices of one habit ask for updates, each with chance p, and run what they were told of.
func (c *crowd) ask(s *situations, habit int, p float64, into *judge.Stratum) {
	back, updated, again, told := c.binomial(s.runningBefore, p), c.binomial(s.toldBefore, p), c.binomial(s.told, p), c.binomial(s.unasked, p)
	still := c.binomial(s.failedBefore, p)
	s.failedBefore -= still
	s.runningBefore -= back
	s.toldBefore -= updated
	s.told += told - again
	s.unasked -= told
	lost := c.binomial(told, c.harm.silence)
	s.told -= lost
	c.exposed += lost
	c.harmed += lost
	running := c.update(updated+again, into)
	s.running += back + running
	s.failed += still + updated + again - running
	into.Candidate.Devices += lost
	c.arrive(&into.Candidate, habit, back+still+updated+told-lost)

	apart := c.binomial(s.apartBefore, p)
	s.apartBefore -= apart
	s.apart += apart
	c.arrive(&into.Control, habit, apart)
}

// arrive counts devices that enter the comparison, and whether they will be back within each horizon.
func (c *crowd) arrive(into *judge.Counts, habit int, n int64) {
	into.Devices += n
	seen, before := int64(0), 0.0
	for h, horizon := range judge.SilenceHorizons {
		within := -math.Expm1(-c.rates[habit] * float64(horizon))
		seen += c.binomial(n-seen, (within-before)/(1-before))
		into.Returned[h] += seen
		before = within
	}
}

// update lets n devices start the candidate for the first time and returns how many run it from now on.
func (c *crowd) update(n int64, into *judge.Stratum) (running int64) {
	if n == 0 {
		return 0
	}
	c.exposed += n
	running = n
	for i, chance := range c.fails {
		failed := c.binomial(running, chance)
		into.Candidate.Events[i] += failed
		running -= failed
	}
	if c.harm.at > 0 {
		hit := c.binomial(running, c.harm.at)
		c.harmed += hit
		into.Candidate.Events[c.harm.metric] += hit
		if ofUpdate(c.harm.metric) {
			running -= hit
		}
	}
	into.Candidate.Adopted += running
	return running
}
