package judge

import (
	"math"
	"strconv"

	"github.com/palier-ota/palier/internal/rollout"
)

// trial is one metric before the judge: what is held against the candidate, and what would clear it.
type trial struct {
	index  int // in rollout.AllMetrics
	info   rollout.MetricInfo
	gate   rollout.Gate // sound
	alpha  float64      // this metric's part of the plan's alpha
	margin float64      // in the phase that is judged

	bets   bets
	null   float64   // "no harm": a ratio of 1, or the odds of the limit
	harm   process   // evidence against the null
	beside process   // evidence against "no worse than the control", which harm needs as well; nil if it does not
	limits []process // the upper bound is the largest of theirs
	claims []claim   // the candidate is safe when each of them is shown

	shown              draws // what the estimate is made from
	candidate, control int64
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
	switch {
	case t.info.Metric == rollout.Silence:
		return t.ofSilence(r)
	case t.limited():
		return t.againstLimit(r)
	case t.info.Comparison == rollout.AgainstControlFewer:
		return t.againstControl(r, r.swapped(), nil)
	}
	return t.againstControl(r, r, whole(trials(t.failed(r), r.total(provenDevices))))
}

// failed is the number of candidate devices with the event.
func (t trial) failed(r reading) int64 {
	return r.total(func(g *group) int64 { return g.candidate.events[t.index] })
}

// againstControl compares first events of the arms. Each device has at most one, so phases and hours are independent
// draws and form one part. The counts are those of r, tested as the sides of oriented.
func (t trial) againstControl(r, oriented reading, rate process) trial {
	d := oriented.draws(events(t.index))
	t.null, t.bets, t.shown = 1, ratioBets(t.margin), d
	t.harm, t.limits = whole(d), []process{whole(d)}
	t.claims = []claim{{ratio: whole(d), worst: t.margin, rate: rate}}
	t.candidate = t.failed(r)
	t.control = r.total(func(g *group) int64 { return g.control.events[t.index] })
	return t
}

// againstLimit compares candidate devices that failed with those that entered. For harm every device that entered counts
// as a success until it fails, for safety none does before it is proven: both errors are on the cautious side.
func (t trial) againstLimit(r reading) trial {
	t.candidate = t.failed(r)
	entered, proven := trials(t.candidate, r.total(candidateDevices)), trials(t.candidate, r.total(provenDevices))
	t.null, t.bets, t.shown = odds(t.gate.Limit), limitBets(t.gate.Limit), entered
	t.harm, t.limits = whole(entered), []process{whole(proven)}
	t.claims = []claim{{ratio: whole(proven), worst: odds(min(t.gate.Limit*t.margin, mostRate))}}
	if t.info.Comparison == rollout.AgainstBoth && r.total(controlDevices) > 0 {
		t.beside = whole(r.draws(events(t.index)))
		t.control = r.total(func(g *group) int64 { return g.control.events[t.index] })
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
// the upper bound, every horizon must speak.
func (t trial) ofSilence(r reading) trial {
	t.null, t.bets = 1, ratioBets(t.margin)
	for h := range SilenceHorizons {
		byPhase := r.byPhase(func(phase reading) draws { return phase.draws(silent(h)) })
		for _, p := range byPhase {
			t.harm = append(t.harm, part{weight: p.weight / NumHorizons, draws: p.draws})
		}
		t.limits = append(t.limits, byPhase)
		t.claims = append(t.claims, claim{ratio: byPhase, worst: t.margin, rate: r.byPhase(func(phase reading) draws {
			return phase.silence(h)
		})})
		if d := r.draws(silent(h)); d.events() > 0 { // show the longest horizon that has something to show
			t.shown, t.candidate, t.control = d, d.hits, d.events()-d.hits
		}
	}
	return t
}

// silence is "silent or not" among the candidate devices whose horizon has passed.
func (r reading) silence(h int) draws {
	silent := r.total(func(g *group) int64 { return g.candidate.silent[h] })
	return trials(silent, r.total(func(g *group) int64 { return g.candidate.entered[h] }))
}

// logThreshold is ln(1/alpha): the log e-value at which the metric alarms.
func (t trial) logThreshold() float64 { return -math.Log(t.alpha) }

// logHarm is the log e-value against "no harm". Where harm must show twice, no harm is "within the limit, or no worse than
// the control": the smaller of two e-values is one against either.
func (t trial) logHarm() float64 {
	logE := t.harm.logE(t.bets.up, t.null)
	if t.beside != nil {
		logE = min(logE, t.beside.logE(ratioBets(t.margin).up, 1))
	}
	return logE
}

// alarm reports whether harm is shown.
func (t trial) alarm() bool { return t.logHarm() >= t.logThreshold() }

// logSafe is the log e-value against "worse than the margin", of the claim that is furthest from being shown.
func (t trial) logSafe() float64 {
	least := math.Inf(1)
	for _, c := range t.claims {
		least = min(least, c.logE(t.bets.safe))
	}
	return least
}

// logE is the log e-value against "the ratio is at the margin or worse, and the rate is not negligible": the mean of an
// e-value against the one and an e-value against the other.
func (c claim) logE(safe mixture) float64 {
	byRatio := c.ratio.logE(safe, c.worst)
	if c.rate == nil {
		return byRatio
	}
	byRate := c.rate.logE(rateBets(), odds(NegligibleRate))
	return logSum([]float64{math.Log1p(-negligibleStake) + byRatio, math.Log(negligibleStake) + byRate})
}

// bounds returns the estimate of the ratio, 0 when unknown, and its confidence sequence; upper is +Inf without bound.
func (t trial) bounds() (estimate, lower, upper float64) {
	estimate, lower = t.shown.estimate(), t.harm.lower(t.bets.up, t.logThreshold())
	for _, p := range t.limits {
		upper = max(upper, p.upper(t.bets.down, t.logThreshold()))
	}
	if !t.limited() {
		return estimate, lower, upper
	}
	if n := t.shown.events(); n > 0 {
		estimate = float64(t.shown.hits) / float64(n) / t.gate.Limit
	}
	return estimate, chance(lower) / t.gate.Limit, chance(upper) / t.gate.Limit
}

// evidence weighs the trial.
func (t trial) evidence(beta float64) Evidence {
	estimate, lower, upper := t.bounds()
	logSafe := t.logSafe()
	e := Evidence{
		Metric: t.info.Metric, Candidate: t.candidate, Control: t.control,
		EValue: expressible(t.logHarm()), Threshold: rounded(1 / t.alpha),
		Ratio: rounded(estimate), Lower: rounded(lower), Upper: rounded(upper),
		SafeEValue: expressible(logSafe), Margin: rounded(t.margin),
		Alarm: t.alarm(), Safe: logSafe >= -math.Log(beta), Action: t.gate.Action,
	}
	if t.limited() {
		e.Limit = rounded(t.gate.Limit)
	}
	e.Severe = e.Alarm && t.gate.Severe > 0 && lower >= t.gate.Severe
	if e.Severe {
		e.Action = rollout.ActionRollback
	}
	return e
}

// rateBets are the bets on a rate far below negligible.
func rateBets() mixture { return logUniform(1.1, 1000).inverse() }

// expressible turns a log e-value into a number that JSON can carry.
func expressible(logE float64) float64 { return rounded(math.Exp(min(logE, 690))) }

// rounded keeps six digits, the same on every machine whatever the last bits of its logarithm, and turns what is no
// finite number into 0.
func rounded(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	six, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64)
	if err != nil {
		return 0
	}
	return six
}
