package judge

import (
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
)

// ruling is the outcome of the rule. It is put into words only when somebody wants to read them.
type ruling struct {
	decision Decision
	code     string
	say      func() string
}

func words(s string) func() string { return func() string { return s } }

// rule is the decision, in the order in which reasons count.
func (h *hearing) rule() ruling {
	switch {
	case h.mismatched:
		return ruling{Hold, CodeSampleRatio, h.sayMismatch}
	case h.harmed():
		return h.stop()
	case !h.compared:
		return h.uncompared()
	case h.in.Newest.IsZero() || h.candidate+h.control == 0:
		return ruling{Wait, CodeNoData, words("no device has been counted yet; missing data is not health")}
	case h.stale():
		return ruling{Wait, CodeStale, h.sayStale}
	case h.in.Held < h.phase.Hold.Min.Std():
		return ruling{Wait, CodeMinHold, h.sayMinHold}
	}
	return h.ready()
}

// ready rules on a phase that has fresh data, no harm, and its least time behind it.
func (h *hearing) ready() ruling {
	switch {
	case h.enough() && h.certified():
		return h.pass(CodeCertified, h.sayCertified)
	case !h.timedOut() && !h.enough():
		return ruling{Wait, CodeSample, h.saySample}
	case !h.timedOut():
		return ruling{Wait, CodeUnproven, h.sayUnproven}
	case h.in.Plan.OnTimeout == rollout.TimeoutRollback:
		return ruling{Rollback, CodeTimeout, h.sayTimeout("the plan takes it back")}
	case h.in.Plan.OnTimeout != rollout.TimeoutPromote:
		return ruling{Hold, CodeTimeout, h.sayTimeout("a person must decide")}
	case !h.enough():
		return ruling{Hold, CodeTimeout, h.sayTimeout("the plan would go on, but " + h.saySample() + ", so a person must decide")}
	}
	return h.pass(CodeTimeout, h.sayTimeout("the plan goes on"))
}

// pass promotes, unless the phase lacks an approval that it needs.
func (h *hearing) pass(code string, say func() string) ruling {
	if h.phase.Approval && !h.in.Approved {
		return ruling{Hold, CodeApproval, func() string { return "ready, and waiting for approval: " + say() }}
	}
	return ruling{Promote, code, say}
}

// uncompared rules on a phase without control. Nothing will ever be shown to be safe there, so no certificate is given:
// time, the plan, or a person's approval decides, and the sentence says so. Devices that are outside the comparison are
// not counted at all, so a phase without counts must not wait for any; where there are counts, they must be fresh and
// enough.
func (h *hearing) uncompared() ruling {
	nothing := h.sayUncompared
	add := func(more string) func() string { return func() string { return nothing() + more } }
	switch {
	case h.in.Held < h.phase.Hold.Min.Std():
		return ruling{Wait, CodeMinHold, func() string { return h.sayMinHold() + "; " + nothing() }}
	case h.phase.Approval && !h.in.Approved:
		return ruling{Hold, CodeApproval, add("; waiting for approval")}
	case h.phase.Approval:
		return ruling{Promote, CodeApproval, add("; going on because a person approved")}
	case h.phase.Hold.Max <= 0:
		return ruling{Hold, CodeNoControl, add("; the phase has no longest time, so a person must decide")}
	case !h.timedOut():
		return ruling{Wait, CodeNoControl, add("; waiting for " + hours(h.phase.Hold.Max.Std()) + " to pass")}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote && h.inPhase > 0 && !h.enough():
		return ruling{Hold, CodeNoControl, add("; " + h.saySample() + ", so a person must decide")}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote && h.inPhase > 0 && h.stale():
		return ruling{Wait, CodeStale, add("; " + h.sayStale())}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote:
		return ruling{Promote, CodeNoControl, add("; going on by time alone after " + hours(h.in.Held))}
	case h.in.Plan.OnTimeout == rollout.TimeoutRollback:
		return ruling{Rollback, CodeNoControl, add(" in " + hours(h.in.Held) + "; the plan takes it back")}
	}
	return ruling{Hold, CodeNoControl, add(" in " + hours(h.in.Held) + "; a person must decide")}
}

func (h *hearing) enough() bool { return h.inPhase >= int64(h.phase.MinDevices) }

func (h *hearing) stale() bool { return h.in.Now.Sub(h.in.Newest) > StaleAfter }

func (h *hearing) timedOut() bool {
	return h.phase.Hold.Max > 0 && h.in.Held >= h.phase.Hold.Max.Std()
}

// harmed reports whether any gate shows harm.
func (h *hearing) harmed() bool {
	return slices.ContainsFunc(h.trials, trial.alarm)
}

// stop rules by the strictest of the gates that show harm; the first in order among equals.
func (h *hearing) stop() ruling {
	worst, action, others := 0, rollout.Action(""), -1
	for i, t := range h.trials {
		if !t.alarm() {
			continue
		}
		others++
		if a := t.action(); strictness(Decision(a)) > strictness(Decision(action)) {
			worst, action = i, a
		}
	}
	return ruling{Decision(action), CodeHarm, func() string { return h.sayHarm(h.metrics[worst], others) }}
}

// strictness orders what a gate can do; 0 for what is no such action.
func strictness(d Decision) int {
	switch d {
	case Hold:
		return 1
	case Pause:
		return 2
	case Halt:
		return 3
	case Rollback:
		return 4
	}
	return 0
}
