package promote

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// Backtest walks a plan over the recorded verdicts of a rollout that walked its own: a dry run on what really happened. The
// plan's gates, margins, rates and holds judge the devices as they were counted at each moment, and its phases follow from
// that. Which devices had the bundle is as recorded, whatever the plan would have given it to; where both differ, a Note
// says what the recording cannot answer. The clock stands still while the recorded rollout was paused. An approval that
// the plan asks for is taken as given at once.
type Backtest struct {
	plan   rollout.Plan
	result BacktestResult

	phase    int
	running  time.Duration // of the recording, without its pauses
	entered  time.Duration // of running, when the plan's phase began
	stopped  time.Duration // of running, when the plan paused
	approved bool
	waiting  string // the code of the verdict that holds the phase
	reach    reach  // of the plan's phase against the recorded one
	last     judge.Input
}

// BacktestResult is what became of the plan, beside what really happened.
type BacktestResult struct {
	Verdicts int                  `json:"verdicts"` // read
	From     time.Time            `json:"from,omitzero"`
	To       time.Time            `json:"to,omitzero"` // of the last verdict: the recording says nothing of what comes after it
	State    rollout.RolloutState `json:"state"`       // of the plan at the end
	Phase    int                  `json:"phase"`
	Percent  rollout.Percent      `json:"percent"`
	Waiting  string               `json:"waiting,omitempty"` // code of the verdict for which a person is asked
	Devices  int64                `json:"devices"`           // that had entered as candidates when the plan ended, or by To
	Plan     []Step               `json:"plan"`              // what the plan would have done
	Recorded []Step               `json:"recorded"`          // what the judge did
	Notes    []Note               `json:"notes"`             // in the order of time
}

// Step is something that was done, or would have been.
type Step struct {
	At       time.Time       `json:"at"`
	Verb     rollout.Verb    `json:"verb"`
	Phase    int             `json:"phase"`   // in which it was done
	Percent  rollout.Percent `json:"percent"` // who gets the bundle from then on; 0 when nobody new does
	Devices  int64           `json:"devices"` // that had entered as candidates by then, in the recording
	Code     string          `json:"code"`
	Sentence string          `json:"sentence"`
}

// Note is something that the recording cannot answer from an instant on, or that was assumed.
type Note struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// NewBacktest returns a Backtest of a plan, which must be valid. A margin that is auto counts as its metric's default.
func NewBacktest(plan rollout.Plan) *Backtest {
	return &Backtest{plan: rollout.Resolve(plan), result: BacktestResult{
		State: rollout.Running, Plan: []Step{}, Recorded: []Step{}, Notes: []Note{},
	}}
}

// Read takes the next recorded verdict. They must come in the order of time. It fails on what no tick can have stored.
func (b *Backtest) Read(r store.VerdictRecord) error {
	in := r.Input
	if in.Phase < 0 || in.Phase >= len(in.Plan.Phases) {
		return fmt.Errorf("the verdict of %s is on phase %d, which its plan lacks", in.Now.Format(time.RFC3339), in.Phase+1)
	}
	b.pass(in)
	devices := exposed(in.Strata)
	if r.Verb != "" {
		var v judge.Verdict
		if err := json.Unmarshal(r.Verdict, &v); err != nil {
			return fmt.Errorf("reading the verdict of %s: %w", in.Now.Format(time.RFC3339), err)
		}
		b.result.Recorded = append(b.result.Recorded, stepOf(in.Plan, in.Phase, in.Now, r.Verb, v, devices))
	}
	if b.result.State.Live() {
		b.result.Devices = devices
		if b.result.State == rollout.Running {
			b.compare(in)
		}
		b.step(in, devices)
	}
	return nil
}

// Result returns what was found so far.
func (b *Backtest) Result() BacktestResult {
	r := b.result
	r.Phase, r.Percent = min(b.phase, len(b.plan.Phases)-1), rollout.EffectivePercent(b.plan, b.phase)
	if r.State == rollout.Running {
		r.Waiting = b.waiting
	}
	if r.State == rollout.Completed {
		r.Percent = rollout.Everyone
	}
	return r
}

// pass lets the clock go on to in.
func (b *Backtest) pass(in judge.Input) {
	switch {
	case b.result.Verdicts == 0:
		b.result.From, b.running = in.Now, in.Held
		if in.Phase > 0 {
			b.note(in.Now, fmt.Sprintf("the recording begins in phase %d; the plan is taken to have begun then", in.Phase+1))
			b.entered = in.Held
		}
	case in.Phase == b.last.Phase:
		b.running += max(0, in.Held-b.last.Held)
	default:
		b.running += max(0, in.Now.Sub(b.last.Now))
	}
	in.Strata = nil
	b.last, b.result.To = in, in.Now
	b.result.Verdicts++
}

// step does what the plan asks for at in.
func (b *Backtest) step(in judge.Input, devices int64) {
	as := b.input(in)
	decision, code := judge.Quick(as)
	verb := verbFor(decision)
	switch {
	case b.result.State == rollout.Paused:
		if code != judge.CodeHarm || verb != rollout.VerbRollback && verb != rollout.VerbHalt {
			return
		}
	case decision == judge.Hold && b.waiting != code:
		verb = rollout.VerbHold
	}
	if verb == "" {
		return
	}
	b.result.Plan = append(b.result.Plan, stepOf(b.plan, b.phase, in.Now, verb, judge.Judge(as), devices))
	b.waiting = ""
	switch verb {
	case rollout.VerbHold:
		b.hold(in.Now, code)
	case rollout.VerbPause:
		b.result.State, b.stopped = rollout.Paused, b.running
		b.note(in.Now, "nobody can resume the plan from its pause: it stays there, and goes back if the harm turns out severe")
	case rollout.VerbHalt:
		b.result.State = rollout.Halted
	case rollout.VerbRollback:
		b.result.State = rollout.RolledBack
	case rollout.VerbPromote:
		b.promote()
	}
}

// hold remembers what a person is asked. Nobody can be, so an approval is given.
func (b *Backtest) hold(at time.Time, code string) {
	b.waiting = code
	if code == judge.CodeApproval {
		b.approved = true
		b.note(at, "the plan would have asked for approval; it is taken as given at once")
	}
}

func (b *Backtest) promote() {
	if b.phase+1 == len(b.plan.Phases) {
		b.result.State = rollout.Completed
		return
	}
	b.phase++
	b.entered, b.approved = b.running, false
}

// input returns what the judge reads when the plan stands where it does. The counts keep the phases that they were recorded
// in, since a device is counted anew in each, so the plan's phase takes the place of the recorded one.
func (b *Backtest) input(in judge.Input) judge.Input {
	held := b.running
	if b.result.State == rollout.Paused {
		held = b.stopped
	}
	in.Held, in.Approved, in.Plan = held-b.entered, b.approved, b.plan
	in.Plan.Phases = make([]rollout.Phase, in.Phase+1)
	for i := range in.Plan.Phases {
		in.Plan.Phases[i] = b.plan.Phases[b.phase]
	}
	return in
}

// reach is whom a plan's phase gives the bundle to, against the recorded phase.
type reach int

const (
	alike reach = iota
	ahead
	behind
	elsewhere
)

// compare notes when the plan begins to give the bundle to more devices than the recording did, to fewer, or to others.
func (b *Backtest) compare(in judge.Input) {
	is, was := rollout.EffectivePercent(b.plan, b.phase), rollout.EffectivePercent(in.Plan, in.Phase)
	now := alike
	switch {
	case !sameSegments(b.plan.Phases[b.phase].Segments, in.Plan, in.Phase):
		now = elsewhere
	case is > was:
		now = ahead
	case is < was:
		now = behind
	}
	if now == b.reach {
		return
	}
	b.reach = now
	b.note(in.Now, now.say(is, was))
}

// say tells what the recording can answer for a plan that gives the bundle to is, where the recording gave it to was.
func (r reach) say(is, was rollout.Percent) string {
	switch r {
	case ahead:
		return fmt.Sprintf("the plan is ahead, at %s %%, of the recording, at %s %%: "+
			"what the others would have shown is not in it", is, was)
	case behind:
		return fmt.Sprintf("the plan is behind, at %s %%, the recording, at %s %%: "+
			"from fewer devices it would have known later", is, was)
	case elsewhere:
		return "the plan's phase is for other segments than the recorded one: the recording does not tell its devices apart"
	}
	return fmt.Sprintf("the plan and the recording are both at %s %%", is)
}

func sameSegments(segments []string, recorded rollout.Plan, phase int) bool {
	if phase < 0 || phase >= len(recorded.Phases) {
		return false
	}
	return strings.Join(segments, "\n") == strings.Join(recorded.Phases[phase].Segments, "\n")
}

func (b *Backtest) note(at time.Time, text string) {
	b.result.Notes = append(b.result.Notes, Note{at, text})
}

// stepOf describes a verb that follows from v in a phase of plan.
func stepOf(plan rollout.Plan, phase int, at time.Time, verb rollout.Verb, v judge.Verdict, devices int64) Step {
	s := Step{At: at, Verb: verb, Phase: phase, Devices: devices, Code: v.Code, Sentence: v.Sentence}
	switch {
	case verb == rollout.VerbHold:
		s.Percent = rollout.EffectivePercent(plan, phase)
	case verb == rollout.VerbPromote && phase+1 < len(plan.Phases):
		s.Percent = rollout.EffectivePercent(plan, phase+1)
	case verb == rollout.VerbPromote:
		s.Verb, s.Percent = rollout.VerbComplete, rollout.Everyone
	}
	return s
}

// exposed returns how many candidate devices had been counted: a device is counted anew in every phase, and those of one
// phase are in the next one, too.
func exposed(strata []judge.Stratum) (most int64) {
	phases := map[int]int64{}
	for _, s := range strata {
		phases[s.Phase] += s.Candidate.Devices
		most = max(most, phases[s.Phase])
	}
	return most
}
