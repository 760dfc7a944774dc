package rollout

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	maxHoldback = 50 * OnePercent
	maxError    = 0.5 // alpha and beta: beyond one half a verdict is worth less than a coin
)

// Validate checks p in itself, before or after Resolve: a field left at zero takes its default. Whether its segments
// exist is a question to the State. The error, if any, is Errors.
func (p Plan) Validate() error {
	var found problems
	if p.Name != "" {
		found.checkName("name", p.Name)
	}
	found.require(len(p.Phases) > 0, CodeNoPhases, "phases", "needs at least one phase, such as {percent: 100}")
	found.require(len(p.Phases) <= maxPhases, CodeTooManyPhases, "phases",
		strconv.Itoa(len(p.Phases))+" phases are more than "+strconv.Itoa(maxPhases)+"; merge some")
	for i, phase := range p.Phases {
		phase.check(&found, i)
	}
	found.checkGrowth(p.Phases)
	switch p.OnTimeout {
	case "", TimeoutPromote, TimeoutHold, TimeoutRollback:
	default:
		found.add(CodeInvalidTimeout, "on_timeout",
			strconv.Quote(clip(string(p.OnTimeout)))+" is not a timeout policy; use promote, hold or rollback")
	}
	found.require(p.Holdback >= 0 && p.Holdback <= maxHoldback, CodeInvalidHoldback, "holdback", p.Holdback.String()+" is not from 0 to 50")
	found.require(p.Alpha == 0 || validErrorRate(p.Alpha), CodeInvalidAlpha, "alpha", notErrorRate(p.Alpha, "0.01"))
	found.require(p.Beta == 0 || validErrorRate(p.Beta), CodeInvalidBeta, "beta", notErrorRate(p.Beta, "0.05"))
	found.checkMargin("margin", p.Margin)
	found.checkGates(p.Gates)
	return found.err()
}

// validErrorRate is false for NaN too.
func validErrorRate(rate float64) bool { return rate > 0 && rate <= maxError }

func notErrorRate(rate float64, example string) string {
	return strconv.FormatFloat(rate, 'g', -1, 64) + " is not above 0 and at most 0.5, such as " + example
}

// valid reports whether a phase can be of this share.
func (p Percent) valid() bool { return p >= 0 && p <= Everyone }

func (phase Phase) check(p *problems, i int) {
	if phase.Name != "" {
		p.checkName(at("phases", i, "name"), phase.Name)
	}
	p.require(phase.Percent.valid(), CodeInvalidPercent, at("phases", i, "percent"),
		phase.Percent.String()+" is not from 0, which admits nobody yet, to 100")
	for j, segment := range phase.Segments {
		p.checkName(at(at("phases", i, "segments"), j, ""), segment)
	}
	p.require(phase.Hold.Min >= 0, CodeInvalidHold, at("phases", i, "hold.min"), "must not be negative")
	p.require(phase.Hold.Max == 0 || phase.Hold.Max >= phase.Hold.Min, CodeInvalidHold, at("phases", i, "hold.max"),
		phase.Hold.Max.String()+" is less than the minimum "+phase.Hold.Min.String()+"; raise it, or leave it out for a phase that never times out")
	p.checkMargins(i, phase.Margins)
	p.require(phase.MinDevices >= 0, CodeInvalidMinDevices, at("phases", i, "min_devices"), "must not be negative")
}

// checkGrowth requires that no phase asks for a smaller share of an audience than an earlier phase of the same
// audience: devices once admitted stay admitted, so it could not be obeyed. A share that is wrong in itself is not
// compared: the problem is its own.
func (p *problems) checkGrowth(phases []Phase) {
	largest := map[string]int{} // audience → index of its largest phase so far
	for i, phase := range phases {
		if !phase.Percent.valid() {
			continue
		}
		audience := audienceKey(phase.Segments)
		before, known := largest[audience]
		if !known || phase.Percent >= phases[before].Percent {
			largest[audience] = i
			continue
		}
		p.add(CodePhasesShrink, at("phases", i, "percent"),
			phase.Percent.String()+" is less than the "+phases[before].Percent.String()+" of phase "+strconv.Itoa(before+1)+
				" for the same audience; devices stay in once admitted, so put phases in growing order")
	}
}

// audienceKey is equal for equal sets of segments, whatever their order and repetition.
func audienceKey(segments []string) string {
	set := slices.Compact(slices.Sorted(slices.Values(segments)))
	return strings.Join(set, "\x00") // names hold no control characters
}

func (p *problems) checkGates(gates []Gate) {
	seen := map[Metric]bool{}
	for i, gate := range gates {
		index := gate.Metric.Index()
		if index < 0 {
			p.add(CodeUnknownMetric, at("gates", i, "metric"),
				strconv.Quote(clip(string(gate.Metric)))+" is not a metric; use one of "+metricNames())
			continue
		}
		p.require(!seen[gate.Metric], CodeDuplicateGate, at("gates", i, "metric"),
			string(gate.Metric)+" has two gates; give each metric at most one")
		seen[gate.Metric] = true
		gate.check(p, i, AllMetrics()[index])
	}
}

func (g Gate) check(p *problems, i int, info MetricInfo) {
	p.require(info.Comparison != ShownOnly || g.Off, CodeMetricNotJudged, at("gates", i, "metric"),
		string(g.Metric)+" is shown but never judged; remove its gate")
	p.checkMargin(at("gates", i, "margin"), g.Margin)
	least := info.Gate.Margin
	if g.Margin > 1 && !math.IsInf(float64(g.Margin), 0) {
		least = g.Margin
	}
	p.require(g.Severe == 0 || g.Severe >= float64(least) && !math.IsInf(g.Severe, 0), CodeInvalidSevere, at("gates", i, "severe"),
		"must be a ratio not below the margin, such as 3")
	p.require(g.Limit >= 0 && g.Limit < 1, CodeInvalidLimit, at("gates", i, "limit"),
		"must be a rate from 0 to below 1, such as 0.02 for two in a hundred")
	switch g.Action {
	case "", ActionHold, ActionPause, ActionHalt, ActionRollback:
	default:
		p.add(CodeInvalidAction, at("gates", i, "action"),
			strconv.Quote(clip(string(g.Action)))+" is not an action; use hold, pause, halt or rollback")
	}
}

// checkMargin takes a ratio above 1, auto, and 0 for the default.
func (p *problems) checkMargin(field string, m Margin) {
	valid := m == 0 || m == MarginAuto || m > 1 && !math.IsInf(float64(m), 0)
	p.require(valid, CodeInvalidMargin, field, "must be auto, or a ratio above 1, such as 1.5 for half as many again")
}

// checkMargins checks the margins of one phase.
func (p *problems) checkMargins(i int, margins map[Metric]Margin) {
	for _, metric := range slices.Sorted(maps.Keys(margins)) {
		field := at("phases", i, "margins."+clip(string(metric)))
		index := metric.Index()
		p.require(index >= 0 && AllMetrics()[max(index, 0)].Comparison != ShownOnly, CodeUnknownMetric, field,
			"is no metric with a gate; use one of "+metricNames())
		p.require(margins[metric] > 1, CodeInvalidMargin, field, "must be a ratio above 1, such as 3")
		p.checkMargin(field, margins[metric])
	}
}

// metricNames lists the metrics that can have a gate.
func metricNames() string {
	var names []string
	for _, info := range AllMetrics() {
		if info.Comparison != ShownOnly {
			names = append(names, string(info.Metric))
		}
	}
	return strings.Join(names, ", ")
}
