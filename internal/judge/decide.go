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
	h.metrics = make([]Evidence, 0, len(h.trials))
	for _, t := range h.trials {
		h.metrics = append(h.metrics, t.evidence(h.beta))
	}
	r := h.rule()
	return Verdict{
		Decision: r.decision, Code: r.code, Sentence: r.say(), Certified: h.certified(),
		Candidate: h.candidate, Control: h.control, Metrics: h.metrics,
	}
}

// Quick returns the decision and the code of Judge's verdict on the same input, for those who need many and show none:
// it finds no bounds and writes no sentence.
func Quick(in Input) (Decision, string) {
	if in.Phase < 0 || in.Phase >= len(in.Plan.Phases) {
		return Hold, CodeNoPhase
	}
	r := hear(in).rule()
	return r.decision, r.code
}

// hearing is everything the rule looks at.
type hearing struct {
	in                 Input
	phase              rollout.Phase
	alpha, beta        float64
	trials             []trial
	metrics            []Evidence // of the trials; nil unless a verdict is written
	candidate, control int64      // most devices seen in any one phase
	inPhase            int64      // candidate devices of the current phase
	compared           bool       // the current phase leaves a control
	recalled           bool       // devices without control are held against the app's own past
	mismatched         bool       // the arms' sizes do not fit the design
}

func hear(in Input) *hearing {
	r := read(in)
	now := r.only(in.Phase)
	h := &hearing{
		in: in, phase: in.Plan.Phases[in.Phase],
		alpha: soundRate(in.Plan.Alpha, defaultAlpha), beta: soundRate(in.Plan.Beta, defaultBeta),
		candidate: r.most(candidateDevices), control: r.most(controlDevices),
		inPhase:  now.total(candidateDevices),
		compared: now.compared(in.Plan, in.Phase),
		trials:   gates(in.Plan, in.Phase),
	}
	h.recalled = r.past != nil && r.alone().total(candidateDevices) > 0
	h.mismatched = r.logMismatch() >= -math.Log(h.alpha)
	for i := range h.trials {
		h.trials[i] = h.trials[i].prepare(r)
	}
	return h
}

// certified reports whether the candidate is shown to be safe: every guardrail is cleared, and there is at least one. It is
// asked for last, as it costs as much as all alarms.
func (h *hearing) certified() bool {
	if !h.compared || h.control == 0 || h.mismatched || h.harmed() {
		return false
	}
	guardrails := h.guardrails()
	return len(guardrails) > 0 && !slices.ContainsFunc(guardrails, func(i int) bool { return !h.safe(i) })
}

// safe reports whether a trial's metric is shown to be within its margin.
func (h *hearing) safe(trial int) bool {
	if h.metrics != nil {
		return h.metrics[trial].Safe
	}
	return h.trials[trial].logSafe() >= -math.Log(h.beta)
}

// guardrails are the trials that a certificate must clear: the watched ones of stability.
func (h *hearing) guardrails() []int {
	var out []int
	for i := range h.trials {
		if h.trials[i].info.Category == rollout.Stability {
			out = append(out, i)
		}
	}
	return out
}

// logMismatch is the log e-value against "the arms have their design sizes". A device enters every phase anew on the same
// side, so phases are parts. It has no share of alpha: alpha is the chance that a harmless bundle is stopped, and a
// mismatch only asks a person.
//
// Only checks that enter are counted, never those that come back: devices that a candidate has killed do not, and harm
// would pass for a mismatch, which holds where it should roll back. Those are what silence is for.
func (r reading) logMismatch() float64 {
	sizes, bets := r.byPhase(func(phase reading) draws { return phase.draws(devices) }), countBets()
	return logSum(sizes.logE(bets.up, 1), sizes.logE(bets.down, 1)) - math.Ln2
}

// compared reports whether a phase, whose reading r is, leaves a control: not if it takes everyone, or the whole of its
// segments, whose devices are then outside the comparison; and not if its tallies say that nobody was left.
func (r reading) compared(plan rollout.Plan, phase int) bool {
	if rollout.EffectivePercent(plan, phase) >= rollout.Everyone {
		return false
	}
	return len(r.groups) == 0 || slices.ContainsFunc(r.groups, func(g *group) bool { return g.share < 1 })
}
