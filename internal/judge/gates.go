package judge

import "github.com/palier-ota/palier/internal/rollout"

// gates returns the metrics that are watched, with their gates made sound and the margins of the given phase, in the
// order of rollout.AllMetrics.
func gates(plan rollout.Plan, phase int) []trial {
	on := make([]trial, 0, rollout.NumMetrics)
	shares, ratio, rate := 0.0, ratioBets(), rateBets()
	for index, info := range rollout.AllMetrics() {
		gate := info.Gate
		for _, g := range plan.Gates {
			if g.Metric == info.Metric {
				gate = g
			}
		}
		if gate.Off || info.Comparison == rollout.ShownOnly {
			continue
		}
		on = append(on, trial{
			index: index, info: info, gate: sound(gate, info.Gate), bets: ratio, rateBets: rate,
			margin: soundMargin(plan.MarginAt(phase, info.Metric), float64(info.Gate.Margin)),
		})
		shares += info.AlphaShare
	}
	for i := range on {
		on[i].alpha = float64(soundRate(plan.Alpha, defaultAlpha)*on[i].info.AlphaShare) / shares
	}
	return on
}

// Error rates of a plan that names none, or none that makes sense.
const (
	defaultAlpha = 0.01
	defaultBeta  = 0.05
)

func soundRate(rate, otherwise float64) float64 {
	if rate > 0 && rate < 1 {
		return rate
	}
	return otherwise
}

func soundMargin(margin, otherwise float64) float64 {
	if margin > 1 && margin <= 1000 {
		return margin
	}
	return otherwise
}

// sound fills what a gate leaves out, or says that makes no sense, from the metric's default gate.
func sound(g, standard rollout.Gate) rollout.Gate {
	if !(g.Limit >= 1e-6 && g.Limit < 1) {
		g.Limit = standard.Limit
	}
	if !(g.Severe > 0) {
		g.Severe = 0
	}
	if strictness(Decision(g.Action)) == 0 {
		g.Action = standard.Action
	}
	return g
}
