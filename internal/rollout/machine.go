package rollout

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Start computes the start of a new rollout: scheduled when req.StartsAt lies after req.At, else running its first
// phase. A plan without phases is looked up in s by its name; no name means DefaultPlan. With req.Hotfix a live rollout
// on the channel is superseded in the same Transition, and the devices it had admitted are admitted here from the start.
// The new rollout is the last of the Transition's Rollouts.
//
// It refuses, with an Error or Errors, a plan that is invalid or names unknown segments, an unknown channel or bundle,
// a bundle that the channel serves already, and a second live rollout on the channel.
func Start(s State, req StartRequest) (Transition, error) {
	plan, err := s.planFor(req)
	if err != nil {
		return Transition{}, err
	}
	channel, err := s.checkStart(req)
	if err != nil {
		return Transition{}, err
	}
	r := Rollout{
		ID: req.ID, App: s.App.ID, Channel: req.Channel, Bundle: req.Bundle, Baseline: storedBundle(channel),
		State: Scheduled, Plan: plan, Salt: req.Salt, CreatedAt: req.At, StartsAt: req.StartsAt,
		Shadow: req.Shadow, Record: req.Record, Counting: Counting,
	}
	cmd := Command{Verb: VerbStart, Actor: req.Actor, Reason: req.Reason, At: req.At}
	t := Transition{Channel: channel, Bundles: s.newlyServed(r.Bundle, r.Baseline)}
	if old, live := s.Live(req.Channel); live {
		if !req.Hotfix {
			return Transition{}, liveRolloutExists("channel", old)
		}
		r.Supersedes, r.Follows = old.ID, old.exposed()
		t.change(old, supersede(old, req), Command{Verb: VerbSupersede, Actor: req.Actor, Reason: req.Reason, At: req.At})
	}
	before := r
	before.State = "" // there was none
	if !req.StartsAt.After(req.At) {
		r.State = Running
		r.enterPhase(0, req.At)
	}
	t.change(before, r, cmd)
	return t, nil
}

// planFor returns the plan that req means, resolved and valid within s.
func (s State) planFor(req StartRequest) (Plan, error) {
	plan := req.Plan
	if len(plan.Phases) == 0 {
		named, ok := s.PlanNamed(plan.Name)
		if !ok {
			return Plan{}, Error{Code: CodeUnknownPlan, Field: "plan", Message: "plan " + strconv.Quote(clip(plan.Name)) +
				" does not exist; use progressive, cautious, groups, small or instant, or add it under plans: in the app's document"}
		}
		plan = named
	}
	if err := plan.Validate(); err != nil {
		return Plan{}, Within("plan", err)
	}
	var p problems
	s.checkPhases(&p, "plan", plan.Phases)
	return Resolve(plan), p.err()
}

// checkStart returns the channel of req when nothing but a live rollout on it can stand in the way.
func (s State) checkStart(req StartRequest) (Channel, error) {
	var p problems
	p.require(req.ID != "" && req.Salt != Salt{} && !req.At.IsZero(), CodeIncompleteRequest, "id",
		"a start needs an id, a salt and a time from the server")
	p.checkText("reason", req.Reason, maxText)
	_, exists := s.Rollouts[req.ID]
	p.require(!exists, CodeRolloutExists, "id", "rollout "+req.ID+" exists already; draw another id")
	s.checkChannelExists(&p, "channel", req.Channel)
	if _, ok := s.Bundles[req.Bundle]; !ok {
		p.list = append(p.list, unknownBundle("bundle", req.Bundle))
	}
	channel := s.Channels[req.Channel]
	if channel.Bundle == req.Bundle && !isStoreBuild(req.Bundle) {
		p.list = append(p.list, alreadyCurrent(channel))
	}
	p.require(!req.Hotfix || !req.StartsAt.After(req.At), CodeHotfixScheduled, "starts_at",
		"a hotfix takes over at once, or the devices it is for would be without a rollout until then; leave out starts_at")
	return channel, p.err()
}

func alreadyCurrent(c Channel) Error {
	return Error{Code: CodeAlreadyCurrent, Field: "bundle", Message: "channel " + strconv.Quote(c.Name) + " already serves " +
		c.Bundle + " to everyone; choose another bundle"}
}

// exposed returns every audience that had the candidate of r or of a rollout that r followed.
func (r Rollout) exposed() []Audience {
	if r.PhaseStartedAt.IsZero() { // never started
		return nil
	}
	return append(slices.Clone(r.Follows), Audience{Salt: r.Salt, Cuts: Cuts(r.Plan, r.Phase)})
}

func supersede(old Rollout, req StartRequest) Rollout {
	old.end(Superseded, req.At)
	old.SupersededBy = req.ID
	return old
}

// newlyServed returns the bundles of these versions that were not Served yet, marked so.
func (s State) newlyServed(versions ...string) []Bundle {
	var served []Bundle
	for _, version := range versions {
		if b, ok := s.Bundles[version]; ok && !b.Served {
			b.Served = true
			served = append(served, b)
		}
	}
	return served
}

// Operate computes what cmd does to the rollout of that id. VerbComplete and VerbSupersede are no commands: the first is
// a promote out of the last phase, the second a Start with Hotfix. A refusal is an Error whose code says why; then
// nothing changes. No command is possible on a rollout that has ended.
func Operate(s State, id string, cmd Command) (Transition, error) {
	before, ok := s.Rollouts[id]
	if !ok {
		return Transition{}, Error{Code: CodeRolloutNotFound, Message: "rollout " + strconv.Quote(clip(id)) + " does not exist; list the app's rollouts for their ids"}
	}
	step, ok := steps(cmd.Verb)
	if !ok {
		return Transition{}, Error{Code: CodeUnknownVerb, Message: strconv.Quote(clip(string(cmd.Verb))) +
			" is not a verb; use start, pause, resume, promote, approve, halt or rollback"}
	}
	channel, ok := s.Channels[before.Channel]
	if !ok {
		return Transition{}, Error{Code: CodeUnknownChannel, Message: "channel " + strconv.Quote(before.Channel) + " of rollout " + id + " does not exist; add it under channels: in the app's document again"}
	}
	var p problems
	p.require(!cmd.At.IsZero(), CodeIncompleteRequest, "at", "a command needs a time from the server")
	p.checkText("reason", cmd.Reason, maxText)
	if err := p.err(); err != nil {
		return Transition{}, err
	}
	if !before.State.Live() {
		return Transition{}, before.refuse(CodeRolloutEnded, s.wayBack(before, cmd))
	}
	after := before
	t := Transition{Channel: channel}
	if err := step(&after, &t.Channel, cmd.At); err != nil {
		return Transition{}, err
	}
	after.note(cmd)
	if after.State == Completed {
		cmd.Verb = VerbComplete
	}
	if cmd.Verb == VerbStart {
		t.Bundles = s.newlyServed(after.Bundle, after.Baseline)
	}
	t.change(before, after, cmd)
	return t, nil
}

// A step changes a live rollout and its channel, or refuses and leaves both as they were.
type step func(*Rollout, *Channel, time.Time) error

func steps(v Verb) (step, bool) {
	switch v {
	case VerbStart:
		return (*Rollout).begin, true
	case VerbPause:
		return (*Rollout).pause, true
	case VerbResume:
		return (*Rollout).resume, true
	case VerbPromote:
		return (*Rollout).promote, true
	case VerbApprove:
		return (*Rollout).approve, true
	case VerbHold:
		return (*Rollout).hold, true
	case VerbHalt:
		return (*Rollout).halt, true
	case VerbRollback:
		return (*Rollout).rollBack, true
	}
	return nil, false
}

// begin enters the first phase of a scheduled rollout whose time has come. The channel may have moved on since it was
// scheduled, so the baseline is taken anew.
func (r *Rollout) begin(c *Channel, now time.Time) error {
	switch {
	case r.State != Scheduled:
		return r.refuse(CodeAlreadyStarted, "has started already; there is nothing to do")
	case now.Before(r.StartsAt):
		return r.refuse(CodeStartsLater, "starts at "+r.StartsAt.UTC().Format(time.RFC3339)+"; wait, or halt it and start a new one")
	case c.Bundle == r.Bundle:
		return alreadyCurrent(*c)
	}
	r.Baseline = storedBundle(*c)
	r.State = Running
	r.enterPhase(0, now)
	return nil
}

func (r *Rollout) pause(_ *Channel, now time.Time) error {
	if err := r.requireRunning(); err != nil {
		return err
	}
	r.State = Paused
	r.PausedAt = now
	return nil
}

// resume lets the hold clock go on where pause stopped it.
func (r *Rollout) resume(_ *Channel, now time.Time) error {
	if r.State != Paused {
		return r.refuse(CodeNotPaused, "is "+string(r.State)+", not paused; there is nothing to resume")
	}
	r.PausedFor += Duration(max(0, now.Sub(r.PausedAt)))
	r.PausedAt = time.Time{}
	r.State = Running
	return nil
}

// hold changes nothing by itself: note remembers what a person is asked.
func (r *Rollout) hold(*Channel, time.Time) error { return r.requireRunning() }

// note remembers what a hold asks, what a pause was for, and at the resume that a person chose to go on in spite of it.
// Whatever is done answers an earlier question.
func (r *Rollout) note(cmd Command) {
	r.Waiting = cmd.Code
	switch cmd.Verb {
	case VerbPause:
		r.Alarms = slices.Clone(cmd.Alarms)
	case VerbResume:
		r.Waived = append(slices.Clone(r.Waived), r.Alarms...)
		slices.Sort(r.Waived)
		r.Waived = slices.Compact(r.Waived)
		r.Alarms = nil
	}
}

// promote enters the next phase, or completes the rollout out of the last: the channel's stable bundle becomes the
// candidate, and what devices kept of halted rollouts is kept no longer.
func (r *Rollout) promote(c *Channel, now time.Time) error {
	if err := r.requireRunning(); err != nil {
		return err
	}
	if r.Plan.Phases[r.Phase].Approval && !r.Approved {
		return r.refuse(CodeApprovalNeeded, "needs approval before it leaves phase "+r.phaseNumber()+"; approve it first")
	}
	if r.Phase+1 < len(r.Plan.Phases) {
		r.enterPhase(r.Phase+1, now)
		return nil
	}
	r.end(Completed, now)
	r.Percent = Everyone
	c.Bundle = r.Bundle
	c.Kept = nil
	return nil
}

func (r *Rollout) approve(_ *Channel, _ time.Time) error {
	switch {
	case r.State == Scheduled:
		return r.refuse(CodeNotStarted, "is scheduled and in no phase yet; approve it once it runs")
	case !r.Plan.Phases[r.Phase].Approval:
		return r.refuse(CodeApprovalNotNeeded, "needs no approval in phase "+r.phaseNumber()+"; promote it when you wish")
	case r.Approved:
		return r.refuse(CodeAlreadyApproved, "has its approval for phase "+r.phaseNumber()+" already; there is nothing to do")
	}
	r.Approved = true
	return nil
}

// halt ends the rollout and lets devices keep the candidate, if any can have it.
func (r *Rollout) halt(c *Channel, now time.Time) error {
	if r.State != Scheduled && !slices.Contains(c.Kept, r.Bundle) {
		c.Kept = append(slices.Clone(c.Kept), r.Bundle)
	}
	r.end(Halted, now)
	return nil
}

// rollBack ends the rollout and takes the candidate back, even if an earlier halt had let devices keep it.
func (r *Rollout) rollBack(c *Channel, now time.Time) error {
	if slices.Contains(c.Kept, r.Bundle) {
		c.Kept = slices.DeleteFunc(slices.Clone(c.Kept), func(version string) bool { return version == r.Bundle })
	}
	r.end(RolledBack, now)
	return nil
}

func (r *Rollout) requireRunning() error {
	switch r.State {
	case Scheduled:
		return r.refuse(CodeNotStarted, "is scheduled and has not started; wait for it, or halt it")
	case Paused:
		return r.refuse(CodePaused, "is paused; resume it first, or halt or roll it back")
	}
	return nil
}

func (r *Rollout) refuse(code, message string) Error {
	return Error{Code: code, Message: "rollout " + r.ID + " " + message}
}

// phaseNumber counts from one, as people do.
func (r *Rollout) phaseNumber() string { return strconv.Itoa(r.Phase + 1) }

// enterPhase starts the hold clock of a phase from zero.
func (r *Rollout) enterPhase(phase int, now time.Time) {
	r.Phase = phase
	r.Percent = EffectivePercent(r.Plan, phase)
	r.PhaseStartedAt = now
	r.PausedAt = time.Time{}
	r.PausedFor = 0
	r.Approved = false
}

// end leaves PausedAt as it is, so that Held goes on to say how long the last phase lasted when it ended in a pause.
func (r *Rollout) end(state RolloutState, now time.Time) {
	r.State = state
	r.EndedAt = now
}

// change records after as the new value of before, with the version, the reason, the actor and the audit event that
// belong to it.
func (t *Transition) change(before, after Rollout, cmd Command) {
	after.Version = before.Version + 1
	after.Reason, after.Actor = cmd.Reason, cmd.Actor
	t.Rollouts = append(t.Rollouts, after)
	t.Events = append(t.Events, Event{
		Time: cmd.At, Actor: cmd.Actor, Verb: string(cmd.Verb), Subject: "rollout " + after.ID, Rollout: after.ID,
		From: before.State, To: after.State, Phase: after.Phase, Percent: after.Percent,
		Reason: cmd.Reason, Detail: maps.Clone(cmd.Detail),
	})
}
