package promote

import (
	"fmt"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// byTime is command for a shadow rollout. The verdict is stored and told, and never acts. A phase ends at its longest hold,
// or at its least one where there is none. Only a person can give the approval that a phase may need, and a phase without
// any time waits for one as well: everyone would have the bundle at once.
func byTime(r rollout.Rollout, in judge.Input, v judge.Verdict, cmd rollout.Command) rollout.Command {
	if v.Code == judge.CodeNoPhase {
		cmd.Reason = v.Sentence
		return ask(r, v.Code, cmd)
	}
	phase := in.Plan.Phases[r.Phase]
	limit := phase.Hold.Max
	if limit == 0 {
		limit = phase.Hold.Min
	}
	said := fmt.Sprintf("the judge said %s: %s", v.Decision, v.Sentence)
	switch {
	case r.State != rollout.Running || in.Held < limit.Std():
		return cmd
	case phase.Approval && !r.Approved:
		cmd.Reason = "shadow: ready by time alone, and waiting for approval; " + said
		return ask(r, judge.CodeApproval, cmd)
	case limit == 0:
		cmd.Reason = "shadow: the phase has no time to go by, so a person must decide; " + said
		return ask(r, judge.CodeTimeout, cmd)
	}
	cmd.Verb, cmd.Reason = rollout.VerbPromote, "shadow: by time alone; "+said
	return cmd
}
