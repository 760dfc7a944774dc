package judge

import (
	"cmp"
	"math"
	"slices"
)

// The stake of a test of events is divided over starts: E = Σ π·E', where E' bets only on what happened from a start on.
// A fault that begins late, when healthy weeks have made the first bet worthless, is then found by a bet that is still
// fresh. The times and weights of all starts are fixed before anything is seen, so that E is an e-process whatever happens;
// a start that has not come counts as 1.
const (
	// firstStake is for the bet on everything. It costs ln(1/0.85) = 0.16 nats of the 4.6 and more that an alarm takes.
	firstStake = 0.85
	// laterStake is for the starts in time, one every startEvery hours after the rollout's first, without end. By a time t
	// a share of t/(t+halfStarted) of it has been used, which divides it about evenly over the first day and thins it out
	// after. Denser starts cost weight and sparser ones miss the beginning of the fault: between one hour and six, two did
	// best for a threefold crash rate that began after 20 000 healthy devices, at 200 to 3 000 devices an hour.
	laterStake  = 0.12
	startEvery  = 2
	halfStarted = 24
	// phaseStake is for the starts of phases after the first: half of it for the second, a quarter for the third, and so on.
	phaseStake = 0.03
	// levelPhaseStake is the same for measured metrics, which have no starts in time: sixteen boundaries have none to spare.
	levelPhaseStake = 0.15
)

// A later bet starts when some devices have had their first event already and can have no other. If the candidate was better
// until then, some of its devices have their event still before them, and it would seem worse from then on. A candidate that
// is no worse at any time is at most behind: every event that it has after the start and would not have had as a control is
// one that it was spared before. So a later bet leaves out as many of the candidate's events as it had fewer before the start
// than the other side had in proportion, but for chance. That is exact to a standard deviation only: the guarantee of α is
// for candidates that are like the controls or have been worse, and for those that were better at first the later bets,
// which have 0.15 of the stake, keep it nearly.

// moment is what was counted in one stratum, for walks through time.
type moment struct {
	hour               int64
	phase              int
	share              float64
	candidate, control *Counts
}

// inOrder sorts moments from the latest to the earliest, and by share and phase within an hour.
func inOrder(moments []moment) {
	slices.SortFunc(moments, func(a, b moment) int {
		return cmp.Or(cmp.Compare(b.hour, a.hour), cmp.Compare(a.share, b.share), cmp.Compare(a.phase, b.phase))
	})
}

// sinceStarts is the process of first events of a metric, with all its starts. Starts between which nothing happened
// have the same draws and make one part, so that there are no more parts than hours with events.
func (r reading) sinceStarts(metric int, fewer bool) process {
	oriented := r.oriented(fewer)
	all := oriented.draws(events(metric))
	if all.empty() {
		return whole(all)
	}
	inTime := r.sinceHours(metric, fewer)
	p := make(process, 0, 1+r.phases+len(inTime))
	p = append(p, part{weight: firstStake, draws: all})
	p = oriented.sincePhases(p, phaseStake, events(metric))
	return append(p, inTime...)
}

// sinceHours are the parts that start in time, from the latest to the earliest.
func (r reading) sinceHours(metric int, fewer bool) process {
	p := make(process, 0, len(r.moments)+1)
	kept := make([]pool, 0, 2*len(r.moments)) // of the finished parts
	until := r.throughout(metric, fewer)
	next, left := part{}, 1.0 // left of the stake, for starts that are not after the moment
	for i := 0; i < len(r.moments); {
		hour, end := r.hourAt(i)
		started := startedBy(hour - r.first)
		if started < left && happened(r.moments[i:end], metric) {
			from := len(kept)
			kept = append(kept, next.draws.pools...)
			done := next
			done.weight = float64(laterStake * (left - started))
			done.draws.pools = kept[from:len(kept):len(kept)]
			done.due, done.had = until.due(), until.hits
			p, left = append(p, done), started
		}
		for ; i < end; i++ {
			m := &r.moments[i]
			hits, others, share := m.sides(metric, fewer)
			until.add(-hits, -others, share)
			if hits+others > 0 {
				next.draws.add(hits, others, share)
				next.since = hour - r.first
			}
		}
	}
	if left == 0 {
		return p
	}
	next.weight = float64(laterStake * left)
	return append(p, next)
}

// hourAt returns the hour of a moment, and the index of the first moment of another hour after it.
func (r reading) hourAt(i int) (hour int64, end int) {
	hour, end = r.moments[i].hour, i+1
	for end < len(r.moments) && r.moments[end].hour == hour {
		end++
	}
	return hour, end
}

// happened reports whether any of the moments has an event of the metric.
func happened(moments []moment, metric int) bool {
	for i := range moments {
		if moments[i].candidate.Events[metric] > 0 || moments[i].control.Events[metric] > 0 {
			return true
		}
	}
	return false
}

// startedBy is the part of laterStake whose starts are at most so many hours after the first one.
func startedBy(hours int64) float64 {
	starts := float64(hours / startEvery * startEvery)
	return starts / (starts + halfStarted)
}

// sides returns the events of a metric on the suspected side and on the other, and the share of the suspected side.
func (m *moment) sides(metric int, fewer bool) (hits, others int64, share float64) {
	candidate, control := bounded(m.candidate.Events[metric]), bounded(m.control.Events[metric])
	if fewer {
		return control, candidate, 1 - m.share
	}
	return candidate, control, m.share
}

// add adds events that happened under a share.
func (d *draws) add(hits, others int64, share float64) {
	d.hits += hits
	for i := range d.pools {
		if d.pools[i].share == share {
			d.pools[i].events += hits + others
			return
		}
	}
	d.pools = append(d.pools, pool{share: share, events: hits + others})
}

// before is what happened until a start: the events on the suspected side, and those on the other by share.
type before struct {
	hits   int64
	others []pool
}

// throughout is all that happened.
func (r reading) throughout(metric int, fewer bool) before {
	var b before
	for i := range r.moments {
		b.add(r.moments[i].sides(metric, fewer))
	}
	return b
}

func (b *before) add(hits, others int64, share float64) {
	b.hits += hits
	for i := range b.others {
		if b.others[i].share == share {
			b.others[i].events += others
			return
		}
	}
	b.others = append(b.others, pool{share: share, events: others})
}

// due is how many events the suspected side had to expect at a ratio of 1, in proportion to those of the other.
func (b *before) due() float64 {
	sum := 0.0
	for _, p := range b.others {
		sum += float64(odds(p.share) * float64(p.events))
	}
	return sum
}

// sincePhases appends the parts that start with each phase after the first, and one for all phases that the plan does not
// have, so that their weights sum to the stake. The reading is oriented.
func (r reading) sincePhases(p process, stake float64, of count) process {
	var until before
	for phase := 1; phase < r.phases; phase++ {
		for _, g := range r.groups {
			if g.phase == phase-1 && g.share < 1 {
				hits, others := of(g)
				until.add(hits, others, g.share)
			}
		}
		later := r.from(phase)
		p = append(p, part{
			weight: float64(stake * math.Ldexp(1, -phase)), draws: later.draws(of), since: later.begins() - r.first,
			due: until.due(), had: until.hits,
		})
	}
	return append(p, part{weight: float64(stake * math.Ldexp(1, -max(0, r.phases-1)))})
}

// begins returns the earliest hour of the groups.
func (r reading) begins() int64 {
	first := int64(mostCounted)
	for _, g := range r.groups {
		first = min(first, g.first)
	}
	return first
}
