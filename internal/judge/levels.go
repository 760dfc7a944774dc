package judge

import (
	"math"

	"github.com/palier-ota/palier/internal/rollout"
)

// againstLevels compares, boundary by boundary, the devices that went beyond it: at every boundary first passings are
// events like any other, and the mean of the boundaries' e-values is one against "at no boundary is the candidate worse",
// however much they depend on each other. What is shown is the boundary that says most. Its bounds are for a part of alpha
// that is the boundary's own, so they hold for all boundaries at once, whichever is picked afterwards; a single boundary
// may say less than the mean of all, and its lower bound be below 1 when the mean alarms.
//
// Safety is that of the boundary that counts as the event, rollout.ShownLevel: it is fixed beforehand.
func (t trial) againstLevels(r reading) trial {
	t.bets.up = levelBets()
	t.claims = []claim{{ratio: whole(r.draws(events(t.index))), worst: t.margin, rate: t.negligible(r)}}
	measured := t.info.Metric.Measured()
	t.mean = r.meanLevels(measured, t.alpha)

	weight := 1. / rollout.NumLevels
	if r.past != nil {
		weight *= 1 - r.past.weight
	}
	logs := make([]float64, rollout.NumLevels, rollout.NumLevels+1)
	for level := range logs {
		logs[level] = math.Log(weight) + r.sincePhasesAt(measured, level).logE(t.bets.up, t.null)
	}
	most := rollout.ShownLevel
	for level := range logs {
		if logs[level] > logs[most] {
			most = level
		}
	}
	t = t.showLevel(r, measured, most)
	t.weight = weight
	if r.past != nil {
		logs = append(logs, t.levelsAgainstPast(r, logs[most]))
	}
	t.staked = t.harm.staked(t.bets.up)
	t.logHarm = logSum(logs...)
	return t
}

// sincePhasesAt is the process of one boundary, which starts with the rollout and with every later phase.
func (r reading) sincePhasesAt(measured, level int) process {
	passings := beyond(measured, level)
	all := r.draws(passings)
	if all.empty() {
		return whole(all)
	}
	p := append(make(process, 0, 1+r.phases), part{weight: 1 - levelPhaseStake, draws: all})
	return r.sincePhases(p, levelPhaseStake, passings)
}

// showLevel makes a boundary what the trial shows.
func (t trial) showLevel(r reading, measured, level int) trial {
	t.harm = r.sincePhasesAt(measured, level)
	t.shown = r.draws(beyond(measured, level))
	t.limits = []process{whole(t.shown)}
	t.boundary = t.info.Metric.Levels()[level]
	t.candidate = r.total(func(g *group) int64 { return g.candidate.measured[measured].Beyond[level] })
	t.control = r.total(func(g *group) int64 { return g.control.measured[measured].Beyond[level] })
	return t
}

// levelsAgainstPast returns the weighted log e-value against the past, of the boundary that counts as the event, and shows
// that if it says more than any boundary does against the control.
func (t *trial) levelsAgainstPast(r reading, most float64) float64 {
	d := r.past.events(r, t.index, t.alpha)
	weight := float64(r.past.weight * (1 - insured))
	logE := math.Log(weight) + whole(d).logE(t.bets.up, t.null)
	if !d.empty() && (logE > most || t.harm.empty()) {
		t.harm, t.weight, t.shown, t.candidate, t.control = whole(d), weight, d, d.hits, 0
		t.boundary = t.info.Metric.Levels()[rollout.ShownLevel]
		t.pastShare = d.expected / float64(d.exposed)
	}
	return logE
}

// beyond counts first passings of a boundary of a measured metric by arm.
func beyond(measured, level int) count {
	return func(g *group) (int64, int64) {
		return g.candidate.measured[measured].Beyond[level], g.control.measured[measured].Beyond[level]
	}
}

// typicalDevices is the number of devices at which the confidence sequence of a mean is tightest (as GrowthBook has it).
const typicalDevices = 5000

// meanLevels returns by how many boundaries the mean device of the current phase went further as a candidate, with an
// asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv 2103.06476, in the form of
// GrowthBook's gbstats): with τ the difference of the means, V its variance and n the devices of both arms
//
//	τ ± √(n·V) · √( 2(nρ²+1)/(n²ρ²) · ln(√(nρ²+1)/α) ),  ρ² = (−2 ln α + ln(1 − 2 ln α))/typicalDevices
//
// A device that passes boundaries in two hours is squared in parts, so V is a little too small. It is nil while an arm
// has fewer than two devices, or nobody passed any.
func (r reading) meanLevels(measured int, alpha float64) *Mean {
	r = r.where(func(g *group) bool { return g.phase == r.phase && g.share < 1 })
	ours := r.average(measured, func(g *group) *sums { return &g.candidate })
	theirs := r.average(measured, func(g *group) *sums { return &g.control })
	variance := ours.variance + theirs.variance
	if !(ours.devices > 1 && theirs.devices > 1 && variance > 0) {
		return nil
	}
	n, nats := ours.devices+theirs.devices, -2*math.Log(alpha)
	scale := float64(n*(nats+math.Log1p(nats))/typicalDevices) + 1 // nρ²+1
	width := math.Sqrt(variance * 2 * scale / (scale - 1) * math.Log(math.Sqrt(scale)/alpha))
	difference := ours.mean - theirs.mean
	return &Mean{rounded(difference), rounded(difference - width), rounded(difference + width)}
}

// average is the mean over the devices of an arm, and the variance of that mean.
type average struct{ devices, mean, variance float64 }

// average returns by how many boundaries of a measured metric the devices of an arm went.
func (r reading) average(measured int, arm func(*group) *sums) average {
	passed := r.total(func(g *group) int64 {
		var sum int64
		for _, n := range arm(g).measured[measured].Beyond {
			sum += n
		}
		return sum
	})
	squares := float64(r.total(func(g *group) int64 { return arm(g).measured[measured].Squares }))
	devices := float64(r.total(func(g *group) int64 { return arm(g).devices }))
	mean := float64(passed) / devices
	scatter := max(0, squares-float64(mean*float64(passed)))
	return average{devices, mean, scatter / (devices - 1) / devices}
}
