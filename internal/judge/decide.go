package judge

import (
	"math"
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
)

// Judge returns the verdict on a rollout. It is a pure function: the same input gives the same verdict, byte for byte,
// in whatever order the strata come. It may be asked as often as anyone likes, since its error rates hold for all
// instants at once. Input that makes no sense is read as if it were missing, which never speaks for a candidate.
func Judge(in Input) Verdict {
	if in.Phase < 0 || in.Phase >= len(in.Plan.Phases) {
		return Verdict{Decision: Hold, Code: CodeNoPhase, Sentence: "the plan has no such phase, so nothing can be judged", Metrics: []Evidence{}}
	}
	h := hear(in)
	r := h.rule()
	return Verdict{
		Decision: r.decision, Code: r.code, Sentence: r.sentence, Certified: h.certified,
		Candidate: h.candidate, Control: h.control, Metrics: h.metrics,
	}
}

// hearing is everything the rule looks at.
type hearing struct {
	in                 Input
	phase              rollout.Phase
	alpha, beta        float64
	metrics            []Evidence
	candidate, control int64 // most devices seen in any one phase
	inPhase            int64 // candidate devices of the current phase
	compared           bool  // the current phase leaves a control
	mismatched         bool  // the arms' sizes do not fit the design
	certified          bool
}

// ruling is the outcome of the rule.
type ruling struct {
	decision Decision
	code     string
	sentence string
}

func hear(in Input) *hearing {
	r := read(in)
	now := r.only(in.Phase)
	h := &hearing{
		in: in, phase: in.Plan.Phases[in.Phase], metrics: []Evidence{},
		alpha: soundRate(in.Plan.Alpha, defaultAlpha), beta: soundRate(in.Plan.Beta, defaultBeta),
		candidate: r.most(candidateDevices), control: r.most(controlDevices),
		inPhase:  now.total(candidateDevices),
		compared: now.compared(in.Plan, in.Phase),
	}
	h.mismatched = r.logMismatch() >= -math.Log(h.alpha)
	for _, t := range gates(in.Plan, in.Phase) {
		h.metrics = append(h.metrics, t.prepare(r).evidence(h.beta))
	}
	h.certified = h.compared && h.control > 0 && !h.mismatched && !h.harmed() && h.cleared()
	return h
}

// cleared reports whether every guardrail is shown to be safe, and there is at least one.
func (h *hearing) cleared() bool {
	guardrails := h.guardrails()
	return len(guardrails) > 0 && !slices.ContainsFunc(guardrails, func(e Evidence) bool { return !e.Safe })
}

// guardrails are the metrics that a certificate must clear: the watched ones of stability.
func (h *hearing) guardrails() []Evidence {
	var out []Evidence
	for _, e := range h.metrics {
		if rollout.AllMetrics()[e.Metric.Index()].Category == rollout.Stability {
			out = append(out, e)
		}
	}
	return out
}

// logMismatch is the log e-value against "the arms have their design sizes". A device enters every phase anew on the same
// side, so phases are parts. It has no share of alpha: alpha is the chance that a harmless bundle is stopped, and a
// mismatch only asks a person.
func (r reading) logMismatch() float64 {
	sizes, bets := r.byPhase(func(phase reading) draws { return phase.draws(devices) }), countBets()
	return logSum([]float64{sizes.logE(bets.up, 1), sizes.logE(bets.down, 1)}) - math.Ln2
}

// compared reports whether a phase, whose reading r is, leaves a control: not if it takes everyone, or the whole of its
// segments, whose devices are then outside the comparison; and not if its tallies say that nobody was left.
func (r reading) compared(plan rollout.Plan, phase int) bool {
	if rollout.EffectivePercent(plan, phase) >= rollout.Everyone {
		return false
	}
	return len(r.groups) == 0 || slices.ContainsFunc(r.groups, func(g group) bool { return g.share < 1 })
}

// rule is the decision, in the order in which reasons count.
func (h *hearing) rule() ruling {
	switch {
	case h.mismatched:
		return ruling{Hold, CodeSampleRatio, h.sayMismatch()}
	case h.harmed():
		return h.stop()
	case !h.compared:
		return h.uncompared()
	case h.in.Newest.IsZero() || h.candidate+h.control == 0:
		return ruling{Wait, CodeNoData, "no device has been counted yet; missing data is not health"}
	case h.stale():
		return ruling{Wait, CodeStale, h.sayStale()}
	case h.in.Held < h.phase.Hold.Min.Std():
		return ruling{Wait, CodeMinHold, h.sayMinHold()}
	}
	return h.ready()
}

// ready rules on a phase that has fresh data, no harm, and its least time behind it.
func (h *hearing) ready() ruling {
	switch {
	case h.enough() && h.certified:
		return h.pass(CodeCertified, h.sayCertified())
	case !h.timedOut() && !h.enough():
		return ruling{Wait, CodeSample, h.saySample()}
	case !h.timedOut():
		return ruling{Wait, CodeUnproven, h.sayUnproven()}
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
func (h *hearing) pass(code, sentence string) ruling {
	if h.phase.Approval && !h.in.Approved {
		return ruling{Hold, CodeApproval, "ready, and waiting for approval: " + sentence}
	}
	return ruling{Promote, code, sentence}
}

// uncompared rules on a phase without control. Nothing will ever be shown there, so no certificate is given: time, the
// plan, or a person's approval decides, and the sentence says so. Devices that are outside the comparison are not counted
// at all, so a phase without counts must not wait for any; where there are counts, they must be fresh and enough.
func (h *hearing) uncompared() ruling {
	const nothing = "this phase leaves no control, so nothing was compared"
	switch {
	case h.in.Held < h.phase.Hold.Min.Std():
		return ruling{Wait, CodeMinHold, h.sayMinHold() + "; " + nothing}
	case h.phase.Approval && !h.in.Approved:
		return ruling{Hold, CodeApproval, nothing + "; waiting for approval"}
	case h.phase.Approval:
		return ruling{Promote, CodeApproval, nothing + "; going on because a person approved"}
	case h.phase.Hold.Max <= 0:
		return ruling{Hold, CodeNoControl, nothing + " and the phase has no longest time; a person must decide"}
	case !h.timedOut():
		return ruling{Wait, CodeNoControl, nothing + "; waiting for " + hours(h.phase.Hold.Max.Std()) + " to pass"}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote && h.inPhase > 0 && !h.enough():
		return ruling{Hold, CodeNoControl, nothing + "; " + h.saySample() + ", so a person must decide"}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote && h.inPhase > 0 && h.stale():
		return ruling{Wait, CodeStale, nothing + "; " + h.sayStale()}
	case h.in.Plan.OnTimeout == rollout.TimeoutPromote:
		return ruling{Promote, CodeNoControl, nothing + "; going on by time alone after " + hours(h.in.Held)}
	case h.in.Plan.OnTimeout == rollout.TimeoutRollback:
		return ruling{Rollback, CodeNoControl, nothing + " in " + hours(h.in.Held) + "; the plan takes it back"}
	}
	return ruling{Hold, CodeNoControl, nothing + " in " + hours(h.in.Held) + "; a person must decide"}
}

func (h *hearing) enough() bool { return h.inPhase >= int64(h.phase.MinDevices) }

func (h *hearing) stale() bool { return h.in.Now.Sub(h.in.Newest) > StaleAfter }

func (h *hearing) timedOut() bool {
	return h.phase.Hold.Max > 0 && h.in.Held >= h.phase.Hold.Max.Std()
}

// harmed reports whether any gate shows harm.
func (h *hearing) harmed() bool {
	return slices.ContainsFunc(h.metrics, func(e Evidence) bool { return e.Alarm })
}

// stop rules by the strictest of the gates that show harm; the first in order among equals.
func (h *hearing) stop() ruling {
	worst, others := Evidence{}, -1
	for _, e := range h.metrics {
		if !e.Alarm {
			continue
		}
		others++
		if strictness(Decision(e.Action)) > strictness(Decision(worst.Action)) {
			worst = e
		}
	}
	return ruling{Decision(worst.Action), CodeHarm, h.sayHarm(worst, others)}
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
