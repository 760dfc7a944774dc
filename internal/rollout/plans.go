package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The defaults that Resolve fills in.
const (
	DefaultPlan  = "progressive"
	defaultAlpha = 0.01
	defaultBeta  = 0.05

	// everyoneFloor is the least number of candidate devices that must have been seen before a phase of everyone may
	// pass by time alone. Twenty is where total failure cannot hide: at an alpha of 0.01 the silence gate finds a bundle
	// that kills every device after 7 of them, and one that kills half after 12 at the median. It is deliberately not
	// higher. Finding a rare crash takes thousands of devices, which no fixed floor can ask of every app; the verdict
	// states the harm still possible instead, and an app of 400 active devices meets 20 at 5 %. A smaller one waits
	// there for a person, whose promote is never refused for want of devices.
	everyoneFloor = 20
	// segmentFloor is the same for a phase of named segments, which may be five testers: somebody must have been seen.
	segmentFloor = 1
)

const day = Duration(24 * time.Hour)

func hold(least, most Duration) Hold { return Hold{Min: least, Max: most} }

// BuiltinPlanNames lists the plans that every App has, the default one first.
func BuiltinPlanNames() []string {
	return []string{DefaultPlan, "cautious", "groups", "small", "instant"}
}

// BuiltinPlan returns the built-in plan of that name, resolved, or false when there is none. The gradual ones pass a
// phase at its longest hold if nothing speaks against it, and keep 1 % of devices as control until completion.
func BuiltinPlan(name string) (Plan, bool) {
	plan := Plan{Name: name, OnTimeout: TimeoutPromote, Holdback: OnePercent}
	switch name {
	case DefaultPlan:
		plan.Phases = []Phase{
			{Percent: 5 * OnePercent, Hold: hold(day, 2*day)},
			{Percent: 20 * OnePercent, Hold: hold(2*day, 3*day)},
			{Percent: 50 * OnePercent, Hold: hold(3*day, 4*day)},
			{Percent: Everyone, Hold: hold(day, 2*day)},
		}
	case "cautious":
		plan.Phases = []Phase{
			{Percent: Everyone, Segments: []string{"internal"}, Hold: hold(day, 2*day)},
			{Percent: 10 * OnePercent, Hold: hold(day, 3*day)},
			{Percent: 25 * OnePercent, Hold: hold(2*day, 4*day)},
			{Percent: 50 * OnePercent, Hold: hold(3*day, 5*day)},
			{Percent: Everyone, Hold: hold(2*day, 3*day)},
		}
	case "groups":
		plan.Phases = []Phase{
			{Percent: Everyone, Segments: []string{"internal"}, Hold: hold(day, 2*day)},
			{Percent: Everyone, Segments: []string{"beta"}, Hold: hold(2*day, 3*day)},
			{Percent: Everyone, Segments: []string{"early-access"}, Hold: hold(3*day, 4*day)},
			{Percent: Everyone, Hold: hold(day, 2*day)},
		}
	case "small":
		// For some hundreds of active devices: one in ten begins, so that there is a first phase to speak of, and a floor
		// that it meets. Of 500 devices a bundle that never starts reaches four to seven before it is stopped.
		plan.Margin = MarginAuto
		plan.Phases = []Phase{
			{Percent: 10 * OnePercent, Hold: hold(day, 3*day), MinDevices: 10},
			{Percent: 50 * OnePercent, Hold: hold(day, 3*day)},
			{Percent: Everyone, Hold: hold(day, 2*day)},
		}
	case "instant":
		// Everyone has the bundle already and no control is left that could certify it, so time alone completes it, and
		// a floor would protect nobody.
		plan.Holdback = 0
		plan.Phases = []Phase{{Percent: Everyone, Hold: hold(day, 2*day), MinDevices: 1}}
	default:
		return Plan{}, false
	}
	return Resolve(plan), true
}

// Resolve returns p complete: every default filled in, every phase named and one gate per metric in the order of
// AllMetrics. A gate of p overrides the default of its metric field by field; what it leaves at zero keeps the default,
// so a severe that shall never act is written as a very large ratio. A default severe is raised to the margin where the
// margin was set above it. Resolve leaves p itself unchanged, and resolving twice changes nothing more.
func Resolve(p Plan) Plan {
	if p.OnTimeout == "" {
		p.OnTimeout = TimeoutHold
	}
	if p.Alpha == 0 {
		p.Alpha = defaultAlpha
	}
	if p.Beta == 0 {
		p.Beta = defaultBeta
	}
	phases := make([]Phase, len(p.Phases))
	for i, phase := range p.Phases {
		phases[i] = resolvePhase(phase)
	}
	p.Phases = phases
	p.Gates = resolveGates(p)
	return p
}

func resolvePhase(phase Phase) Phase {
	phase.Segments, phase.Margins = slices.Clone(phase.Segments), maps.Clone(phase.Margins)
	if phase.Name == "" {
		phase.Name = phaseName(phase)
	}
	if phase.MinDevices == 0 && len(phase.Segments) > 0 {
		phase.MinDevices = segmentFloor
	}
	if phase.MinDevices == 0 {
		phase.MinDevices = everyoneFloor
	}
	return phase
}

// phaseName says what the phase does: "internal+beta", "5%", "50% of beta", "everyone".
func phaseName(phase Phase) string {
	share := phase.Percent.String() + "%"
	if len(phase.Segments) == 0 {
		if phase.Percent == Everyone {
			return "everyone"
		}
		return share
	}
	name := strings.Join(phase.Segments, "+")
	if phase.Percent != Everyone {
		name = share + " of " + name
	}
	if !validName(name) { // many long segment names
		return share + " of segments"
	}
	return name
}

func resolveGates(p Plan) []Gate {
	gates := make([]Gate, 0, NumMetrics)
	for _, info := range AllMetrics() {
		gate := info.Gate
		if p.Margin != 0 && info.Category == Stability {
			gate = overrideGate(gate, Gate{Margin: p.Margin})
		}
		for _, over := range p.Gates {
			if over.Metric == gate.Metric {
				gate = overrideGate(gate, over)
			}
		}
		gates = append(gates, gate)
	}
	return gates
}

func overrideGate(gate, over Gate) Gate {
	if over.Margin != 0 {
		gate.Margin = over.Margin
	}
	if over.Severe != 0 {
		gate.Severe = over.Severe
	} else if gate.Severe != 0 {
		gate.Severe = max(gate.Severe, float64(gate.Margin))
	}
	if over.Limit != 0 {
		gate.Limit = over.Limit
	}
	if over.Action != "" {
		gate.Action = over.Action
	}
	gate.Off = over.Off
	return gate
}

// EffectivePercent returns the share of its audience that phase of plan admits: what the phase says, less what the
// holdback needs when the audience is everyone. A phase of segments may take them whole, because the devices outside
// them are not compared with it anyway. It is 0 for an index that is no phase.
func EffectivePercent(plan Plan, phase int) Percent {
	if phase < 0 || phase >= len(plan.Phases) {
		return 0
	}
	p := plan.Phases[phase]
	if len(p.Segments) > 0 {
		return p.Percent
	}
	return min(p.Percent, Everyone-plan.Holdback)
}

// Cuts returns the cuts of the phases 0 to phase of plan, with the holdback applied: a device is admitted if any of
// them admits it. The last one belongs to the current phase. A phase before the first has none.
func Cuts(plan Plan, phase int) []Cut {
	count := max(0, min(phase+1, len(plan.Phases)))
	cuts := make([]Cut, 0, count)
	for i := range count {
		cuts = append(cuts, Cut{Percent: EffectivePercent(plan, i), Segments: slices.Clone(plan.Phases[i].Segments)})
	}
	return cuts
}
