package judge

import (
	"math"
	"strconv"

	"github.com/palier-ota/palier/internal/rollout"
)

// evidence weighs the trial and puts it into numbers.
func (t trial) evidence(beta float64) Evidence {
	shown, since := t.strongest()
	estimate, lower, upper := t.bounds(shown)
	logSafe := t.logSafe()
	e := Evidence{
		Metric: t.info.Metric, Candidate: t.candidate, Control: t.control,
		EValue: expressible(t.logHarm), Threshold: rounded(1 / t.alpha),
		Ratio: rounded(estimate), Lower: rounded(lower), Upper: rounded(upper),
		SafeEValue: expressible(logSafe), Margin: rounded(t.margin),
		Boundary: t.boundary, Past: rounded(t.pastShare), SinceHour: since, Mean: t.mean,
		Alarm: t.alarm(), Severe: t.severe(), Safe: logSafe >= -math.Log(beta), Action: t.gate.Action,
	}
	if t.limited() {
		e.Limit = rounded(t.gate.Limit)
	}
	if e.Severe {
		e.Action = rollout.ActionRollback
	}
	return e
}

// strongest returns the draws that the estimate is made from: all of them, unless an alarm is due to what happened from a
// later start on. since is the hours from the beginning of the rollout to that.
func (t trial) strongest() (shown draws, since int64) {
	if !t.alarm() || t.info.Metric == rollout.Silence || t.limited() || t.pastShare > 0 {
		return t.shown, 0
	}
	most := math.Inf(-1)
	for _, p := range t.harm {
		if logE := math.Log(p.weight) + whole(p.draws).logE(t.bets.up, t.null); logE > most && !p.draws.empty() {
			most, shown, since = logE, p.draws, p.since
		}
	}
	return shown, since
}

// bounds returns the estimate of the ratio, 0 when unknown, and its confidence sequence; upper is +Inf without bound. Harm
// that began late can put the lower bound, of what is shown since then, above the upper one, which is of the whole: no one
// ratio then fits all times, and no upper bound is given.
func (t trial) bounds(shown draws) (estimate, lower, upper float64) {
	estimate = shown.estimate()
	threshold := t.logThreshold() - math.Log(t.weight)
	lower = t.staked.lower(threshold, t.null)
	for _, p := range t.limits {
		upper = max(upper, p.staked(t.bets.down).upper(threshold))
	}
	if lower > upper || t.pastShare > 0 {
		upper = math.Inf(1)
	}
	if !t.limited() {
		return estimate, lower, upper
	}
	if n := shown.events(); n > 0 {
		estimate = float64(shown.hits) / float64(n) / t.gate.Limit
	}
	return estimate, chance(lower) / t.gate.Limit, chance(upper) / t.gate.Limit
}

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
