package judge

import (
	"math"

	"github.com/palier-ota/palier/internal/rollout"
)

// trial is one metric before the judge: what is held against the candidate, and what would clear it.
type trial struct {
	index  int // in rollout.AllMetrics
	info   rollout.MetricInfo
	gate   rollout.Gate // sound
	alpha  float64      // this metric's part of the plan's alpha
	margin float64      // in the phase that is judged

	bets     bets
	rateBets mixture // on a negligible rate

	null    float64   // "no harm": a ratio of 1, or the odds of the limit
	harm    process   // evidence against the null, of which the lower bound is made
	staked  *wager    // harm, staked on the bets
	weight  float64   // of harm, where it is one of several processes whose weighted sum decides; 1 elsewhere
	logHarm float64   // ln E against "no harm"
	limits  []process // the upper bound is the largest of theirs
	claims  []claim   // the candidate is safe when each of them is shown

	shown              draws // what the estimate is made from
	candidate, control int64
	boundary           float64 // of a measured metric, in milliseconds
	pastShare          float64 // of devices with the event, due by the past, if the ratio is to that
	mean               *Mean
}

// claim is one thing to be shown before a candidate counts as safe: that the ratio is below the margin, or that the rate
// is negligible whatever the ratio.
type claim struct {
	ratio process
	worst float64 // the null: ratio, or odds, at the margin
	rate  process // nil if the claim has no second way
}

const (
	// NegligibleRate is the share of candidate devices below which an event is no harm, whatever its ratio to control.
	// Without it a metric that never fires could never be cleared, since no ratio can be read from nothing.
	NegligibleRate = 0.001
	// negligibleStake is the part of a claim's stake that bets on a negligible rate; it raises the cost of certifying by
	// ratio by ln(1/0.8)/ln(20), 7 %.
	negligibleStake = 0.2
)

// prepare fills the trial from the tallies.
func (t trial) prepare(r reading) trial {
	t.weight, t.null = 1, 1
	t.bets = t.bets.certifying(t.margin)
	switch {
	case t.info.Metric == rollout.Silence:
		return t.ofSilence(r)
	case t.limited():
		return t.againstLimit(r)
	case t.info.Comparison == rollout.AgainstControlLevels:
		return t.againstLevels(r)
	case t.info.Comparison == rollout.AgainstControlFewer:
		return t.againstControl(r, true, nil)
	}
	return t.againstControl(r, false, t.negligible(r))
}

// negligible is the process for "at least NegligibleRate of the candidate devices have the event".
func (t trial) negligible(r reading) process {
	return whole(trials(t.failed(r), r.total(provenDevices)))
}

// failed is the number of candidate devices with the event.
func (t trial) failed(r reading) int64 {
	return r.total(func(g *group) int64 { return g.candidate.events[t.index] })
}

// spared is the number of control devices with the event.
func (t trial) spared(r reading) int64 {
	return r.total(func(g *group) int64 { return g.control.events[t.index] })
}

// againstControl compares first events of the arms. Each device has at most one, so phases and hours are independent
// draws. Harm is looked for from every start on; what is certified is the whole.
func (t trial) againstControl(r reading, fewer bool, rate process) trial {
	d := r.oriented(fewer).draws(events(t.index))
	t.shown, t.harm, t.limits = d, r.sinceStarts(t.index, fewer), []process{whole(d)}
	t.claims = []claim{{ratio: whole(d), worst: t.margin, rate: rate}}
	t.candidate, t.control = t.failed(r), t.spared(r)
	if !fewer && r.past != nil {
		t = t.againstPast(r, whole(r.past.events(r, t.index, t.alpha)))
	}
	t.staked = t.harm.staked(t.bets.up)
	t.logHarm = t.staked.logE(t.null)
	return t
}

// againstLimit compares candidate devices that failed with those that entered. For harm every device that entered counts
// as a success until it fails, for safety none does before it is proven: both errors are on the cautious side. Where harm
// must show against the control too, no harm is "within the limit, or no worse than the control": the smaller of two
// e-values is one against either.
func (t trial) againstLimit(r reading) trial {
	t.candidate = t.failed(r)
	entered, proven := trials(t.candidate, r.total(candidateDevices)), trials(t.candidate, r.total(provenDevices))
	ratio := t.bets
	t.null, t.bets, t.shown = odds(t.gate.Limit), limitBets(t.gate.Limit), entered
	t.harm, t.limits = whole(entered), []process{whole(proven)}
	t.claims = []claim{{ratio: whole(proven), worst: odds(min(t.gate.Limit*t.margin, mostRate))}}
	t.staked = t.harm.staked(t.bets.up)
	t.logHarm = t.staked.logE(t.null)
	if t.info.Comparison == rollout.AgainstBoth && r.control { // by the plan: what the counts say must not choose the test
		t.control = t.spared(r)
		t.logHarm = min(t.logHarm, r.sinceStarts(t.index, false).logE(ratio.up, 1))
	}
	return t
}

// limited reports whether the metric is held against a limit.
func (t trial) limited() bool {
	return t.info.Comparison == rollout.AgainstLimit || t.info.Comparison == rollout.AgainstBoth
}

// mostRate is the largest rate that a null may name.
const mostRate = 0.999

// trials are n devices of which failed did; n counts at least those.
func trials(failed, n int64) draws {
	if n = max(n, failed); n == 0 {
		return draws{}
	}
	return draws{hits: failed, pools: []pool{{share: .5, events: n}}}
}

// ofSilence compares the devices that did not come back. Harm shows in the mean over the horizons; to be safe, and for
// the upper bound, every horizon must speak. It starts anew with every phase as it is, and has no starts in time.
func (t trial) ofSilence(r reading) trial {
	var alone process
	for h := range SilenceHorizons {
		byPhase := r.byPhase(func(phase reading) draws { return phase.draws(silent(h)) })
		t.harm = append(t.harm, byPhase.scaled(1./NumHorizons)...)
		t.limits = append(t.limits, byPhase)
		t.claims = append(t.claims, claim{ratio: byPhase, worst: t.margin, rate: r.byPhase(func(phase reading) draws {
			return phase.silence(h)
		})})
		if d := r.draws(silent(h)); d.events() > 0 { // show the longest horizon that has something to show
			t.shown, t.candidate, t.control = d, d.hits, d.events()-d.hits
		}
		if r.past != nil {
			alone = append(alone, part{weight: 1. / NumHorizons, draws: r.past.silence(r, h, t.alpha)})
		}
	}
	if r.past != nil {
		t = t.againstPast(r, alone)
	}
	t.staked = t.harm.staked(t.bets.up)
	t.logHarm = t.staked.logE(t.null)
	return t
}

// silence is "silent or not" among the candidate devices whose horizon has passed.
func (r reading) silence(h int) draws {
	silent := r.total(func(g *group) int64 { return g.candidate.silent[h] })
	return trials(silent, r.total(func(g *group) int64 { return g.candidate.entered[h] }))
}

// againstPast joins what devices without control show against the past, and shows that if it says more.
func (t trial) againstPast(r reading, alone process) trial {
	control := t.harm
	t.harm = r.past.join(control, alone)
	if alone.empty() || !control.empty() && control.logE(t.bets.up, t.null) > alone.logE(t.bets.up, t.null) {
		return t
	}
	for _, part := range alone { // of silence, the longest horizon that has something to show
		if d := part.draws; !d.empty() {
			t.shown, t.candidate, t.control = d, d.hits, 0
			t.pastShare = d.expected / float64(d.exposed)
		}
	}
	return t
}

// logThreshold is ln(1/alpha): the log e-value at which the metric alarms.
func (t trial) logThreshold() float64 { return -math.Log(t.alpha) }

// alarm reports whether harm is shown.
func (t trial) alarm() bool { return t.logHarm >= t.logThreshold() }

// severe reports whether the lower bound has passed the gate's severe, harm being shown: whether the process that the
// bound is made of rejects "the ratio is at most severe".
func (t trial) severe() bool {
	if !(t.gate.Severe > 0) || !t.alarm() {
		return false
	}
	null := t.gate.Severe
	if t.limited() {
		null = odds(min(t.gate.Severe*t.gate.Limit, mostRate))
	}
	return t.staked.logE(null) >= t.logThreshold()-math.Log(t.weight)
}

// action is what the gate does about the harm that is shown.
func (t trial) action() rollout.Action {
	if t.severe() {
		return rollout.ActionRollback
	}
	return t.gate.Action
}

// logSafe is the log e-value against "worse than the margin", of the claim that is furthest from being shown.
func (t trial) logSafe() float64 {
	least := math.Inf(1)
	for _, c := range t.claims {
		least = min(least, c.logE(t.bets.safe, t.rateBets))
	}
	return least
}

// logE is the log e-value against "the ratio is at the margin or worse, and the rate is not negligible": the mean of an
// e-value against the one and an e-value against the other.
func (c claim) logE(safe, rate mixture) float64 {
	byRatio := c.ratio.logE(safe, c.worst)
	if c.rate == nil {
		return byRatio
	}
	byRate := c.rate.logE(rate, odds(NegligibleRate))
	return logSum(math.Log1p(-negligibleStake)+byRatio, math.Log(negligibleStake)+byRate)
}
