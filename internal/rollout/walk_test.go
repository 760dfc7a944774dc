package rollout

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// The walk drives one State through random commands and clock steps and holds every outcome against what this file
// knows on its own: a table of what is allowed when, a clock summed up step by step, and the set of admitted devices.

const (
	walkEpisodes = 2_600
	walkSteps    = 40 // per episode: 104 000 steps in all
)

func TestRandomWalkKeepsTheInvariants(t *testing.T) {
	episodes := walkEpisodes
	if testing.Short() {
		episodes /= 20
	}
	refused, done := map[string]int{}, map[string]int{}
	for seed := range episodes {
		w := newWalk(t, uint64(seed))
		for range walkSteps {
			w.step()
		}
		for code, n := range w.refused {
			refused[code] += n
		}
		for verb, n := range w.done {
			done[verb] += n
		}
	}
	// A walk that never got somewhere proves nothing about it.
	for _, verb := range []Verb{VerbStart, VerbPause, VerbResume, VerbPromote, VerbApprove, VerbHold, VerbHalt, VerbRollback, VerbComplete, VerbSupersede} {
		if done[string(verb)] < 100 && !testing.Short() {
			t.Errorf("%s happened only %d times", verb, done[string(verb)])
		}
	}
	for _, code := range []string{
		CodeRolloutEnded, CodeRolloutNotFound, CodeUnknownVerb, CodeNotStarted, CodeAlreadyStarted, CodeStartsLater, CodePaused,
		CodeNotPaused, CodeApprovalNeeded, CodeApprovalNotNeeded, CodeAlreadyApproved, CodeAlreadyCurrent, CodeLiveRolloutExists,
		CodeHotfixScheduled,
	} {
		if refused[code] < 100 && !testing.Short() {
			t.Errorf("refusal %s happened only %d times", code, refused[code])
		}
	}
}

// sample is one device of which the walk knows what decides its admission.
type sample struct {
	id       string
	segments map[string]bool
}

type walk struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	count   int // steps so far
	state   State
	now     time.Time
	devices []sample
	clocks  map[string]time.Duration // hold clock of each rollout's current phase
	events  map[string]int           // audit events seen of each rollout
	refused map[string]int
	done    map[string]int
}

func newWalk(t *testing.T, seed uint64) *walk {
	w := &walk{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), seed: seed, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		clocks: map[string]time.Duration{}, events: map[string]int{}, refused: map[string]int{}, done: map[string]int{},
	}
	w.state = State{
		App:      App{ID: "com.example.shop"},
		Bundles:  map[string]Bundle{},
		Channels: map[string]Channel{},
		Segments: map[string]Segment{},
		Rollouts: map[string]Rollout{},
	}
	for i := range 4 {
		version := fmt.Sprintf("1.%d.0", i)
		w.state.Bundles[version] = Bundle{Version: version}
	}
	for _, name := range []string{"production", "beta"} {
		w.state.Channels[name] = NewChannel(name)
	}
	for _, name := range []string{"internal", "testers"} {
		w.state.Segments[name] = Segment{Name: name}
	}
	for i := range 30 {
		w.devices = append(w.devices, sample{
			id:       fmt.Sprint(i),
			segments: map[string]bool{"internal": w.rng.IntN(4) == 0, "testers": w.rng.IntN(3) == 0},
		})
	}
	return w
}

func (w *walk) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, step %d: %s", w.seed, w.count, fmt.Sprintf(format, args...))
}

// step lets some time pass, tries one request and checks its outcome.
func (w *walk) step() {
	w.count++
	w.passTime()
	before, untouched := w.state, cloneState(w.state)
	var got Transition
	var err error
	var want string
	if w.rng.IntN(6) == 0 {
		req := w.randomStart()
		want = w.expectStart(req)
		got, err = Start(before, req)
	} else {
		id, cmd := w.randomCommand()
		want = w.expectCommand(id, cmd.Verb)
		got, err = Operate(before, id, cmd)
	}
	if CodeOf(err) != want {
		w.fatalf("outcome %q (%v), want %q", CodeOf(err), err, want)
	}
	if err != nil {
		w.refused[want]++
		if !reflect.DeepEqual(got, Transition{}) {
			w.fatalf("refused with %v, yet gave a transition: %+v", err, got)
		}
	} else {
		w.state = got.ApplyTo(before)
		w.checkChange(before, got)
	}
	if !reflect.DeepEqual(before, untouched) {
		w.fatalf("the input State was changed")
	}
	w.checkClocks()
}

// passTime moves the clock by nothing, seconds, hours or days, and every running phase's own clock with it.
func (w *walk) passTime() {
	step := time.Duration(w.rng.Int64N(int64([]time.Duration{1, time.Minute, 5 * time.Hour, 90 * time.Hour}[w.rng.IntN(4)])))
	w.now = w.now.Add(step)
	for id, r := range w.state.Rollouts {
		if r.State == Running {
			w.clocks[id] += step
		}
	}
}

func (w *walk) randomStart() StartRequest {
	req := StartRequest{
		ID: fmt.Sprintf("R%d", w.count), Channel: pick(w.rng, "production", "beta"),
		Bundle: fmt.Sprintf("1.%d.0", w.rng.IntN(4)), Plan: w.randomPlan(), Actor: "alice", Reason: fmt.Sprint("start ", w.count), At: w.now,
		Hotfix: w.rng.IntN(3) == 0,
	}
	binary.BigEndian.PutUint64(req.Salt[:], w.rng.Uint64()|1)
	if w.rng.IntN(3) == 0 {
		req.StartsAt = w.now.Add(time.Duration(w.rng.Int64N(int64(20 * time.Hour))))
	}
	return req
}

func (w *walk) randomPlan() Plan {
	for {
		plan := Plan{Holdback: pick(w.rng, 0, 0, OnePercent, 50*OnePercent)}
		for range 1 + w.rng.IntN(4) {
			plan.Phases = append(plan.Phases, Phase{
				Percent:  pick(w.rng, 1, 5*OnePercent, 30*OnePercent, 60*OnePercent, Everyone),
				Segments: pick(w.rng, nil, nil, []string{"internal"}, []string{"testers", "internal"}),
				Approval: w.rng.IntN(4) == 0,
			})
		}
		if plan.Validate() == nil {
			return plan
		}
	}
}

func (w *walk) randomCommand() (id string, cmd Command) {
	verbs := []Verb{
		VerbStart, VerbPause, VerbResume, VerbPromote, VerbPromote, VerbPromote, VerbApprove, VerbApprove, VerbHold, VerbHalt, VerbRollback,
		VerbComplete, VerbSupersede, "explode",
	}
	cmd = Command{
		Verb: pick(w.rng, verbs...), Actor: "bob", Reason: fmt.Sprint("step ", w.count), At: w.now,
		Detail: map[string]any{"count": w.count},
	}
	var live, all []string
	for _, id := range sortedKeys(w.state.Rollouts) {
		all = append(all, id)
		if w.state.Rollouts[id].State.Live() {
			live = append(live, id)
		}
	}
	switch {
	case len(live) > 0 && w.rng.IntN(8) > 0:
		return pick(w.rng, live...), cmd
	case len(all) > 0 && w.rng.IntN(4) > 0:
		return pick(w.rng, all...), cmd
	}
	return "nobody", cmd
}

// expectStart says with which code a start is refused, "" if it is not.
func (w *walk) expectStart(req StartRequest) string {
	future := req.StartsAt.After(req.At)
	switch {
	case w.state.Channels[req.Channel].Bundle == req.Bundle:
		return CodeAlreadyCurrent
	case req.Hotfix && future:
		return CodeHotfixScheduled
	case w.liveOn(w.state, req.Channel) > 0 && !req.Hotfix:
		return CodeLiveRolloutExists
	}
	return ""
}

// expectCommand says with which code a command is refused, "" if it is not.
func (w *walk) expectCommand(id string, verb Verb) string {
	r, known := w.state.Rollouts[id]
	table, isVerb := map[Verb]map[RolloutState]string{
		VerbStart:    {Running: CodeAlreadyStarted, Paused: CodeAlreadyStarted},
		VerbPause:    {Scheduled: CodeNotStarted, Paused: CodePaused},
		VerbResume:   {Scheduled: CodeNotPaused, Running: CodeNotPaused},
		VerbPromote:  {Scheduled: CodeNotStarted, Paused: CodePaused},
		VerbApprove:  {Scheduled: CodeNotStarted},
		VerbHold:     {Scheduled: CodeNotStarted, Paused: CodePaused},
		VerbHalt:     {},
		VerbRollback: {},
	}[verb]
	switch {
	case !known:
		return CodeRolloutNotFound
	case !isVerb:
		return CodeUnknownVerb
	case !slices.Contains([]RolloutState{Scheduled, Running, Paused}, r.State):
		return CodeRolloutEnded
	case table[r.State] != "":
		return table[r.State]
	case verb == VerbStart && w.now.Before(r.StartsAt):
		return CodeStartsLater
	case verb == VerbStart && w.state.Channels[r.Channel].Bundle == r.Bundle:
		return CodeAlreadyCurrent
	case verb == VerbPromote && r.Plan.Phases[r.Phase].Approval && !r.Approved:
		return CodeApprovalNeeded
	case verb == VerbApprove && !r.Plan.Phases[r.Phase].Approval:
		return CodeApprovalNotNeeded
	case verb == VerbApprove && r.Approved:
		return CodeAlreadyApproved
	}
	return ""
}

// checkChange holds a transition that was made against the invariants.
func (w *walk) checkChange(before State, made Transition) {
	if len(made.Events) != len(made.Rollouts) {
		w.fatalf("%d events for %d rollouts", len(made.Events), len(made.Rollouts))
	}
	for i, after := range made.Rollouts {
		w.checkEvent(before.Rollouts[after.ID], after, made.Events[i])
		w.checkRollout(before, before.Rollouts[after.ID], after)
		w.done[made.Events[i].Verb]++
	}
	changed := 0
	for id, r := range w.state.Rollouts {
		if old, existed := before.Rollouts[id]; existed && reflect.DeepEqual(old, r) {
			continue
		}
		changed++
	}
	if changed != len(made.Rollouts) {
		w.fatalf("%d rollouts differ, the transition names %d", changed, len(made.Rollouts))
	}
	for name := range w.state.Channels {
		if n := w.liveOn(w.state, name); n > 1 {
			w.fatalf("%d live rollouts on channel %s", n, name)
		}
	}
	if err := w.state.Validate(); err != nil {
		w.fatalf("the state is no longer valid: %v", err)
	}
	w.checkChannels(before, made)
}

func (w *walk) checkEvent(old, after Rollout, e Event) {
	want := Event{
		Time: w.now, Actor: e.Actor, Verb: e.Verb, Subject: "rollout " + after.ID, Rollout: after.ID, From: old.State, To: after.State,
		Phase: after.Phase, Percent: after.Percent, Reason: after.Reason, Detail: e.Detail,
	}
	if !reflect.DeepEqual(e, want) || e.Actor == "" || e.Reason == "" {
		w.fatalf("event %+v, want %+v", e, want)
	}
	if ended := after.State == Completed; ended != (e.Verb == string(VerbComplete)) {
		w.fatalf("event %s for a rollout that is %s", e.Verb, after.State)
	}
	w.events[after.ID]++
	if after.Version != int64(w.events[after.ID]) {
		w.fatalf("version %d after %d events", after.Version, w.events[after.ID])
	}
}

func (w *walk) checkRollout(before State, old, after Rollout) {
	if old.ID != "" && !slices.Contains([]RolloutState{Scheduled, Running, Paused}, old.State) {
		w.fatalf("a transition out of %s", old.State)
	}
	if after.Phase != old.Phase || old.PhaseStartedAt.IsZero() {
		w.clocks[after.ID] = 0
		if after.Approved {
			w.fatalf("phase %d begins with an approval", after.Phase)
		}
	}
	if len(after.Plan.Phases[after.Phase].Segments) == 0 && len(old.Plan.Phases) > 0 &&
		len(old.Plan.Phases[old.Phase].Segments) == 0 && after.Percent < old.Percent {
		w.fatalf("percent fell from %s to %s", old.Percent, after.Percent)
	}
	if after.State == Running && len(after.Plan.Phases[after.Phase].Segments) == 0 && after.Percent > Everyone-after.Plan.Holdback {
		w.fatalf("percent %s leaves no holdback of %s", after.Percent, after.Plan.Holdback)
	}
	if after.State == Completed || old.State == Scheduled && after.State != Running {
		return // the channel takes over, or nobody was ever admitted
	}
	w.requireCuts(after)
	w.requireStillAdmitted(old, after)
	if replaced, ok := before.Rollouts[after.Supersedes]; ok && old.ID == "" {
		w.requireStillAdmitted(replaced, after)
	}
}

// requireCuts checks that the cuts that are given to the resolver admit whom the plan admits.
func (w *walk) requireCuts(r Rollout) {
	if r.PhaseStartedAt.IsZero() {
		return
	}
	r.Follows = nil
	for _, d := range w.devices {
		byCuts := slices.ContainsFunc(Cuts(r.Plan, r.Phase), func(c Cut) bool { return d.in(c.Segments) && d.position(r.Salt) < c.Percent })
		if byCuts != d.admitted(r) {
			w.fatalf("device %s: admitted by the cuts %v, by the plan %v", d.id, byCuts, !byCuts)
		}
	}
}

// requireStillAdmitted checks that whom the old rollout had admitted is admitted by the new one.
func (w *walk) requireStillAdmitted(old, after Rollout) {
	for _, d := range w.devices {
		if d.admitted(old) && !d.admitted(after) {
			w.fatalf("device %s was admitted in phase %d of %s and is not in phase %d of %s", d.id, old.Phase, old.ID, after.Phase, after.ID)
		}
	}
}

// admitted evaluates the rollout for d the way DESIGN prescribes, without Cuts.
func (d sample) admitted(r Rollout) bool {
	if r.PhaseStartedAt.IsZero() {
		return false
	}
	for i, phase := range r.Plan.Phases[:r.Phase+1] {
		percent := phase.Percent
		if len(phase.Segments) == 0 && percent > Everyone-r.Plan.Holdback {
			percent = Everyone - r.Plan.Holdback
		}
		if i == r.Phase && r.State == Running && percent != r.Percent {
			return false // the record does not say what the plan does
		}
		if d.in(phase.Segments) && d.position(r.Salt) < percent {
			return true
		}
	}
	for _, audience := range r.Follows {
		for _, cut := range audience.Cuts {
			if d.in(cut.Segments) && d.position(audience.Salt) < cut.Percent {
				return true
			}
		}
	}
	return false
}

func (d sample) in(segments []string) bool {
	return len(segments) == 0 || slices.ContainsFunc(segments, func(name string) bool { return d.segments[name] })
}

// position stands in for the bucketing hash: any hash that spreads will do here.
func (d sample) position(salt Salt) Percent {
	h := fnv.New64a()
	h.Write([]byte(d.id))
	h.Write(salt[:])
	mixed := h.Sum64() * 0x9e3779b97f4a7c15
	return Percent((mixed >> 32) * uint64(Everyone) >> 32)
}

// checkChannels requires that only a completed rollout moves a channel's bundle and that halts alone let devices keep one.
func (w *walk) checkChannels(before State, made Transition) {
	last := made.Rollouts[len(made.Rollouts)-1]
	for name, old := range before.Channels {
		want := old
		if name == last.Channel {
			switch last.State {
			case Completed:
				want.Bundle, want.Kept = last.Bundle, nil
			case Halted:
				if before.Rollouts[last.ID].State != Scheduled && !slices.Contains(old.Kept, last.Bundle) {
					want.Kept = append(slices.Clone(old.Kept), last.Bundle)
				}
			case RolledBack:
				want.Kept = nil
				for _, version := range old.Kept {
					if version != last.Bundle {
						want.Kept = append(want.Kept, version)
					}
				}
			}
		}
		got := w.state.Channels[name]
		if !slices.Equal(got.Kept, want.Kept) {
			w.fatalf("channel %s keeps %v, want %v", name, got.Kept, want.Kept)
		}
		got.Kept, want.Kept = nil, nil
		if !reflect.DeepEqual(got, want) {
			w.fatalf("channel %s is %+v, want %+v", name, got, want)
		}
	}
	for _, version := range []string{last.Bundle, last.Baseline} {
		if b, exists := w.state.Bundles[version]; exists && !b.Served {
			w.fatalf("bundle %s of a rollout is not marked served", version)
		}
	}
}

// checkClocks compares every phase's Held with the clock summed up step by step.
func (w *walk) checkClocks() {
	for id, r := range w.state.Rollouts {
		if got := r.Held(w.now); got != w.clocks[id] {
			w.fatalf("rollout %s (%s) held %s, the clock says %s", id, r.State, got, w.clocks[id])
		}
	}
}

func (w *walk) liveOn(s State, channel string) int {
	n := 0
	for _, r := range s.Rollouts {
		if r.Channel == channel && slices.Contains([]RolloutState{Scheduled, Running, Paused}, r.State) {
			n++
		}
	}
	return n
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// cloneState copies what a transition could wrongly write to; gates are resolved before the first one and only read.
func cloneState(s State) State {
	s.Bundles = maps.Clone(s.Bundles)
	s.Channels = maps.Clone(s.Channels)
	for name, c := range s.Channels {
		c.Kept = slices.Clone(c.Kept)
		s.Channels[name] = c
	}
	s.Rollouts = maps.Clone(s.Rollouts)
	for id, r := range s.Rollouts {
		r.Plan.Phases = slices.Clone(r.Plan.Phases)
		r.Follows = slices.Clone(r.Follows)
		for i, audience := range r.Follows {
			r.Follows[i].Cuts = slices.Clone(audience.Cuts)
		}
		s.Rollouts[id] = r
	}
	return s
}
