package rollout

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Margin is the ratio of candidate to control that a certificate must exclude: 1.5 is "not half as bad again". In
// documents it is a number above 1, or "auto".
type Margin float64

// MarginAuto leaves the choice to the judge when the rollout starts: the tightest margin that the audience can certify
// within the hold of each phase, kept in Phase.Margins from then on.
const MarginAuto Margin = -1

// MarshalJSON writes a number, or "auto".
func (m Margin) MarshalJSON() ([]byte, error) {
	if m == MarginAuto {
		return []byte(`"auto"`), nil
	}
	return json.Marshal(float64(m))
}

// UnmarshalJSON reads a number, or "auto".
func (m *Margin) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*m = MarginAuto
		return nil
	}
	ratio, err := strconv.ParseFloat(string(b), 64)
	if err != nil || ratio == float64(MarginAuto) {
		return fmt.Errorf(`%s is not a margin: write a ratio above 1 such as 1.5, or auto`, clip(string(b)))
	}
	*m = Margin(ratio)
	return nil
}

// MarginAt returns the margin of a metric in a phase: what the phase says, else the gate of the metric, else the metric's
// default. An auto margin that nothing has been chosen for yet counts as the default. It is 0 for a metric that is none.
func (p Plan) MarginAt(phase int, m Metric) float64 {
	index := m.Index()
	if index < 0 {
		return 0
	}
	if phase >= 0 && phase < len(p.Phases) {
		if margin, ok := p.Phases[phase].Margins[m]; ok {
			return float64(margin)
		}
	}
	for _, gate := range p.Gates {
		if gate.Metric == m && gate.Margin > 0 {
			return float64(gate.Margin)
		}
	}
	return float64(AllMetrics()[index].Gate.Margin)
}
