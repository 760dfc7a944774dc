package judge

import (
	"math"

	"github.com/palier-ota/palier/internal/rollout"
)

// past is what a rollout can be held against in a phase that leaves no control: what the app's devices did before it.
//
// The first events of candidates are a counting process. If the candidate is no worse than the past, what has been due of
// them at any time is at most
//
//	devices · −ln(1−share) · max(1, H / mean of the recorded devices' hours, each with H at most)
//
// where H is the longest time that a candidate had, and share an upper bound of the recorded devices with the event. First
// events come early, so what is due within a time is concave in it, and at least in proportion within a part of it: that is
// why the recorded hours are cut off at H. Every device counts with the whole from the moment it enters. So the Poisson
// likelihood ratios, which fall as more is due, are an e-process (Lindon and Kallus, Anytime-valid inference for Poisson
// counts, arXiv 2410.09282, with the bets of this package in the place of their gamma prior).
//
// What it cannot exclude is that the times have changed: a bad week is blamed on the candidate. That is why it is weaker
// than a control and never certifies.
type past struct {
	record *rollout.Record
	weight float64 // of the e-process against the past, where there is another against a control
}

const (
	// leastRecorded is how many devices a record must have before anything is held against it.
	leastRecorded = 500
	// pastStake is the part of a metric's stake that is for the past if the plan has phases with a control too.
	pastStake = 0.1
	// insured is the part of the past's stake, and of its share of alpha, that pays for the error of the record itself.
	insured = 0.1
)

// recall returns the past if the plan has a phase that needs it, and the record is large enough.
func recall(in Input) *past {
	if in.Record == nil || in.Record.Devices < leastRecorded || in.Record.Within[0] < in.Record.Devices {
		return nil
	}
	compared, alone := 0, 0
	for i, phase := range in.Plan.Phases {
		switch {
		case rollout.EffectivePercent(in.Plan, i) < rollout.Everyone:
			compared++
		case len(phase.Segments) == 0:
			alone++ // devices of whole segments are not counted, but those of everyone are
		}
	}
	switch {
	case alone == 0:
		return nil
	case compared == 0:
		return &past{in.Record, 1}
	}
	return &past{in.Record, pastStake}
}

// join adds the past's parts, given with weights that sum to 1, to the process against the control. The stake that insures
// the record is in no part, so that E begins at 1 less that stake: Ville's inequality then leaves its share of alpha for
// the record.
func (p *past) join(control, alone process) process {
	if p == nil {
		return control
	}
	return append(control.scaled(1-p.weight), alone.scaled(float64(p.weight*(1-insured)))...)
}

// delta is the probability that a bound taken from the record may fail, for a metric with the given part of alpha.
func (p *past) delta(alpha float64) float64 { return alpha * p.weight * insured }

// alone is the reading of what has no control.
func (r reading) alone() reading {
	return r.where(func(g *group) bool { return g.share >= 1 })
}

// events is the Poisson count of a metric's first events among devices without control.
func (p *past) events(r reading, metric int, alpha float64) draws {
	r = r.alone()
	devices := r.total(candidateDevices)
	if devices == 0 {
		return draws{}
	}
	share := shareAtMost(p.record.Events[metric], p.record.Devices, p.delta(alpha))
	due := float64(devices) * -math.Log1p(-share) * p.longer(r.most(func(g *group) int64 { return g.candidate.oldest }))
	return draws{hits: r.total(func(g *group) int64 { return g.candidate.events[metric] }), expected: due, exposed: devices}
}

// longer is how many times as much is due of devices that had so many hours at most as of the recorded ones: at least 1.
func (p *past) longer(hours int64) float64 {
	caps, sums := rollout.RecordedWithin, p.record.Within
	hours = max(hours, caps[0])
	within := float64(sums[rollout.NumWithin-1])
	for k := 1; k < rollout.NumWithin; k++ {
		if hours <= caps[k] { // the sums are concave in the cap, so between two they are at least on the line
			way := float64(hours-caps[k-1]) / float64(caps[k]-caps[k-1])
			within = float64(sums[k-1]) + float64(way*float64(sums[k]-sums[k-1]))
			break
		}
	}
	return max(1, float64(float64(hours)*float64(p.record.Devices))/max(1, within))
}

// silence is the count of devices without control that did not come back within a horizon. Who enters in another phase may
// come less often by habit, and a device is recorded in every phase anew, so this is no fine test: it asks whether more than
// half of those who used to come back stay away. A device is one trial, and the Poisson likelihood ratio of trials is
// smaller on average than their own.
func (p *past) silence(r reading, horizon int, alpha float64) draws {
	r = r.alone()
	entered := r.total(func(g *group) int64 { return g.candidate.entered[horizon] })
	waited := p.record.Waited[horizon]
	if entered == 0 || waited < leastRecorded {
		return draws{}
	}
	share := (1 + shareAtMost(waited-p.record.Returned[horizon], waited, p.delta(alpha)/NumHorizons)) / 2
	hits := r.total(func(g *group) int64 { return g.candidate.silent[horizon] })
	return draws{hits: hits, expected: float64(float64(entered) * share), exposed: entered}
}

// shareAtMost is an upper bound, wrong with probability delta at most, of a share of which hits in n were seen: the largest
// p for which n·KL(hits/n, p) is ln(1/delta) or less (Chernoff). It is below 1 so that its logarithm is finite.
func shareAtMost(hits, n int64, delta float64) float64 {
	const most = 1 - 1e-9
	seen := float64(max(0, min(hits, n))) / float64(n)
	divergence := func(p float64) float64 {
		sum := 0.0
		if seen > 0 {
			sum += float64(seen * math.Log(seen/p))
		}
		if seen < 1 {
			sum += float64((1 - seen) * math.Log((1-seen)/(1-p)))
		}
		return sum
	}
	low, high, room := seen, most, -math.Log(delta)/float64(n)
	for range 50 {
		if middle := (low + high) / 2; divergence(middle) <= room {
			low = middle
		} else {
			high = middle
		}
	}
	return min(high, most)
}
