package forecast

import (
	"math"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// occurrence is one thing that can happen to a device for the first time: an event, or passing a boundary of a measure.
type occurrence struct {
	metric  int
	measure int // -1 for an event
	level   int
	hazard  float64
	extra   float64 // on devices that run a harmful candidate
}

// plan works out how a metric of the given base share happens.
func (c *crowd) plan(index int, info rollout.MetricInfo, base float64) {
	extra := 0.0
	if index == c.harm.metric {
		extra = c.harm.extra
	}
	switch {
	case info.Comparison == rollout.ShownOnly || info.Metric == rollout.Silence:
	case ofUpdate(index):
		c.fails[index] = base
	case base == 0:
	case info.Metric.Measured() >= 0:
		for around := -2; around <= 2; around++ { // each boundary is passed by half as many devices as the one before
			halves := math.Ldexp(1, -around)
			c.events = append(c.events, occurrence{
				metric: index, measure: info.Metric.Measured(), level: rollout.ShownLevel + around, hazard: hazard(base) * halves, extra: extra * halves,
			})
		}
	default:
		c.events = append(c.events, occurrence{metric: index, measure: -1, hazard: hazard(base), extra: extra})
	}
}

// history is what the devices of an arm had already: by occurrence, of so many devices that were ever seen.
type history struct {
	had  []float64
	seen float64
}

// atRisk returns how many of n devices that are seen have not had the event yet.
func (h *history) atRisk(event int, n int64) int64 {
	if h.seen <= 0 {
		return n
	}
	return int64(math.Round(float64(n) * max(0, 1-h.had[event]/h.seen)))
}

// spend notes that n devices had the event, and returns n.
func (h *history) spend(event int, n int64) int64 {
	h.had[event] += float64(n)
	return n
}

// happen lets first events happen to the devices of a block.
func (c *crowd) happen(b *block, hours float64, into *judge.Stratum) {
	var ours, theirs, running, elsewhere int64
	for k := range b.habits {
		s := &b.habits[k]
		ours, theirs = ours+s.told+s.running+s.failed, theirs+s.apart
		running, elsewhere = running+s.running, elsewhere+s.runningBefore
	}
	mine, other := &b.arms[candidates], &b.arms[controls]
	mine.seen, other.seen = max(mine.seen, float64(ours)), max(other.seen, float64(theirs))
	for i, e := range c.events {
		chance := -math.Expm1(-e.hazard * hours)
		e.count(&into.Control, other.spend(i, c.binomial(other.atRisk(i, theirs), chance)))
		e.count(&into.Candidate, mine.spend(i, c.binomial(mine.atRisk(i, ours), chance)))
		if e.extra == 0 {
			continue
		}
		chance = -math.Expm1(-e.extra * hours)
		hit := mine.spend(i, c.binomial(mine.atRisk(i, running), chance))
		e.count(&into.Candidate, hit)
		unseen := mine.spend(i, c.binomial(mine.atRisk(i, elsewhere), chance)) // not counted before they are seen again
		if e.shown() {
			c.harmed += hit + unseen
		}
	}
}

// shown reports whether the occurrence counts as an event of its metric, and not only as a boundary passed.
func (e occurrence) shown() bool { return e.measure < 0 || e.level == rollout.ShownLevel }

// count adds n first occurrences to an arm.
func (e occurrence) count(into *judge.Counts, n int64) {
	if e.shown() {
		into.Events[e.metric] += n
	}
	if e.measure >= 0 {
		into.Measured[e.measure].Devices += n
		into.Measured[e.measure].Beyond[e.level] += n
		into.Measured[e.measure].Squares += n
	}
}
