package judge

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// mostCounted bounds every count that is read, so that no sum over strata can overflow; and every hour.
const mostCounted = 1 << 40

// settleHours is how long a device must have been running the candidate before it counts as one that had its chance to
// fail. Harm is counted at once; health only after this time.
const settleHours = 2

// reading is the input, summed: per phase and design share what either arm has shown. Sums of integers do not depend on
// the order in which strata arrive, and the groups are sorted, so all that follows adds the same floats in the same
// sequence.
type reading struct {
	phases  int      // of the plan
	phase   int      // the current one
	groups  []*group // by share, then phase, each pair once
	moments []moment // where arms can be compared, from the latest hour to the earliest
	first   int64    // the earliest hour of all
	past    *past    // nil when nothing is known of it
	control bool     // a phase until now leaves a control, as the plan has it
}

// group is what was counted under one design share in one phase. The share is 1 where nothing can be compared.
type group struct {
	phase              int
	share              float64
	first              int64 // the earliest hour
	candidate, control sums
}

// sums are one arm's counts in a group.
type sums struct {
	devices  int64
	oldest   int64 // hours from the first device's entry to the newest check
	proven   int64 // running the candidate for at least settleHours
	events   [rollout.NumMetrics]int64
	measured [rollout.NumMeasured]Measure
	entered  [NumHorizons]int64 // devices whose horizon has passed
	silent   [NumHorizons]int64 // of those, the ones that were not seen again within it
}

// read sums the strata of the plan's phases. Counts below zero are read as zero, and a share that is no share as 1.
func read(in Input) reading {
	r := reading{
		phases: len(in.Plan.Phases), phase: in.Phase, first: mostCounted, past: recall(in),
		moments: make([]moment, 0, len(in.Strata)),
	}
	for phase := range min(in.Phase+1, r.phases) {
		r.control = r.control || rollout.EffectivePercent(in.Plan, phase) < rollout.Everyone
	}
	done, newest := completeHours(in), hourOf(in.Newest)
	for i := range in.Strata {
		s := &in.Strata[i]
		if s.Phase < 0 || s.Phase >= r.phases {
			continue
		}
		hour, share := max(-mostCounted, min(s.Hour, mostCounted)), soundShare(s.Share)
		g := r.group(s.Phase, share)
		g.candidate.add(&s.Candidate, done-hour, newest+1-hour)
		g.control.add(&s.Control, done-hour, newest+1-hour)
		g.first, r.first = min(g.first, hour), min(r.first, hour)
		if share < 1 {
			r.moments = append(r.moments, moment{hour, s.Phase, share, &s.Candidate, &s.Control})
		}
	}
	slices.SortFunc(r.groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.phase, b.phase))
	})
	inOrder(r.moments)
	return r
}

// completeHours returns the hour before which everything has been counted: that of the newest check, as the part of the
// telemetry that is furthest behind knows it. An outage of the telemetry, or of a part, stops it, so that nobody counts as
// silent for lack of an ear.
func completeHours(in Input) int64 {
	complete := in.Complete
	if complete.IsZero() || in.Newest.Before(complete) {
		complete = in.Newest
	}
	return hourOf(complete)
}

// hourOf returns the hour of an instant since the Unix epoch; long before all others if there is none.
func hourOf(at time.Time) int64 {
	if at.IsZero() {
		return -2 * mostCounted
	}
	return int64(math.Floor(float64(at.Unix()) / time.Hour.Seconds()))
}

// group returns the group of a phase and share, adding an empty one if there is none. There are about as many as phases,
// and the latest is asked for most.
func (r *reading) group(phase int, share float64) *group {
	for i := len(r.groups) - 1; i >= 0; i-- {
		if g := r.groups[i]; g.phase == phase && g.share == share {
			return g
		}
	}
	r.groups = append(r.groups, &group{phase: phase, share: share, first: mostCounted})
	return r.groups[len(r.groups)-1]
}

func soundShare(share float64) float64 {
	if share > 0 && share < 1 {
		return share
	}
	return 1
}

// add adds the counts of an hour that began so many complete hours ago, and so many hours before the newest check.
func (s *sums) add(c *Counts, complete, age int64) {
	devices := bounded(c.Devices)
	s.devices += devices
	if devices > 0 {
		s.oldest = max(s.oldest, min(age, 1<<20))
	}
	if complete > settleHours {
		s.proven += bounded(c.Adopted)
	}
	for i := range s.events {
		s.events[i] += bounded(c.Events[i])
	}
	for i := range s.measured {
		s.measured[i].add(&c.Measured[i])
	}
	for h, horizon := range SilenceHorizons {
		if complete > horizon {
			s.entered[h] += devices
			s.silent[h] += max(0, devices-bounded(c.Returned[h]))
		}
	}
}

// add adds what another stratum showed.
func (m *Measure) add(other *Measure) {
	m.Devices += bounded(other.Devices)
	m.Squares += bounded(other.Squares)
	for i := range m.Beyond {
		m.Beyond[i] += bounded(other.Beyond[i])
	}
}

func bounded(n int64) int64 { return max(0, min(n, mostCounted)) }

// count says how many of a group's draws fell on the suspected side and how many on the other.
type count func(g *group) (suspected, other int64)

// draws gathers the groups that can be compared, by share.
func (r reading) draws(of count) draws {
	var d draws
	for _, g := range r.groups {
		hits, others := of(g)
		if g.share >= 1 || hits+others == 0 {
			continue
		}
		d.hits += hits
		if last := len(d.pools) - 1; last >= 0 && d.pools[last].share == g.share {
			d.pools[last].events += hits + others
			continue
		}
		d.pools = append(d.pools, pool{share: g.share, events: hits + others})
	}
	return d
}

// byPhase is the process whose parts are the phases, for counts in which one device may appear once in every phase: what
// a device did in one phase then says something of what it does in the next, so that phases must not be multiplied. The
// first phase has half the weight, the second a quarter, and so on: that is where harm is cheapest to stop.
func (r reading) byPhase(of func(phase reading) draws) process {
	p := make(process, 0, r.phases)
	for phase := range r.phases {
		p = append(p, part{weight: phaseWeight(phase, r.phases), draws: of(r.only(phase))})
	}
	return p
}

// phaseWeight halves from phase to phase; the last two are alike, so that all sum to 1.
func phaseWeight(phase, phases int) float64 {
	return math.Ldexp(1, -min(phase+1, phases-1))
}

// only is the reading of one phase.
func (r reading) only(phase int) reading {
	return r.where(func(g *group) bool { return g.phase == phase })
}

// from is the reading of one phase and those after it.
func (r reading) from(phase int) reading {
	return r.where(func(g *group) bool { return g.phase >= phase })
}

// where is the reading of some groups.
func (r reading) where(wanted func(*group) bool) reading {
	groups := make([]*group, 0, len(r.groups))
	for _, g := range r.groups {
		if wanted(g) {
			groups = append(groups, g)
		}
	}
	r.groups = groups
	return r
}

// total sums a count over all groups, compared or not.
func (r reading) total(of func(*group) int64) int64 {
	var n int64
	for _, g := range r.groups {
		n += of(g)
	}
	return n
}

// most returns the largest sum of a count within one phase. A device enters each phase at most once, so this never
// counts a device twice, which the sum over phases would.
func (r reading) most(of func(*group) int64) int64 {
	var most int64
	for phase := range r.phases {
		most = max(most, r.only(phase).total(of))
	}
	return most
}

func candidateDevices(g *group) int64 { return g.candidate.devices }
func controlDevices(g *group) int64   { return g.control.devices }
func provenDevices(g *group) int64    { return g.candidate.proven }

// devices counts the devices of either arm.
func devices(g *group) (int64, int64) { return g.candidate.devices, g.control.devices }

// events counts first events of a metric by arm.
func events(metric int) count {
	return func(g *group) (int64, int64) { return g.candidate.events[metric], g.control.events[metric] }
}

// silent counts the devices of either arm that were not seen again within a horizon that has passed.
func silent(horizon int) count {
	return func(g *group) (int64, int64) { return g.candidate.silent[horizon], g.control.silent[horizon] }
}

// oriented exchanges the sides if fewer events are harm: fewer becomes more.
func (r reading) oriented(fewer bool) reading {
	if !fewer {
		return r
	}
	groups := make([]*group, 0, len(r.groups))
	for _, g := range r.groups {
		turned := *g
		turned.candidate, turned.control = g.control, g.candidate
		if g.share < 1 {
			turned.share = 1 - g.share
		}
		groups = append(groups, &turned)
	}
	r.groups = groups
	return r
}
