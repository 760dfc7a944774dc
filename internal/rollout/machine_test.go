package rollout

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shop is an app whose production channel serves 1.0.0.
func shop() State {
	production := NewChannel("production")
	production.Bundle = "1.0.0"
	production.Public = true
	return State{
		App: App{ID: "com.example.shop"},
		Bundles: map[string]Bundle{
			"1.0.0": {Version: "1.0.0", Served: true}, "1.1.0": {Version: "1.1.0"}, "1.2.0": {Version: "1.2.0"},
		},
		Channels: map[string]Channel{"production": production, "beta": NewChannel("beta")},
		Segments: map[string]Segment{"internal": {Name: "internal"}},
	}
}

func startRequest(id, bundle string, plan Plan) StartRequest {
	return StartRequest{
		ID: id, Salt: Salt{1, 2, 3, byte(len(id))}, Channel: "production", Bundle: bundle, Plan: plan,
		Actor: "alice", Reason: "release", At: noon,
	}
}

// started returns s with the rollout of req in it.
func started(t *testing.T, s State, req StartRequest) State {
	t.Helper()
	transition, err := Start(s, req)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return transition.ApplyTo(s)
}

// operated returns s after the verbs, one hour apart, on rollout "R1".
func operated(t *testing.T, s State, verbs ...Verb) State {
	t.Helper()
	for i, verb := range verbs {
		transition, err := Operate(s, "R1", Command{Verb: verb, Actor: "alice", At: noon.Add(time.Duration(i+1) * time.Hour)})
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		s = transition.ApplyTo(s)
	}
	return s
}

func twoPhases() Plan {
	return Plan{Holdback: OnePercent, Phases: []Phase{{Percent: 5 * OnePercent, Approval: true}, {Percent: Everyone}}}
}

func TestStartRunsTheFirstPhase(t *testing.T) {
	transition, err := Start(shop(), startRequest("R1", "1.1.0", Plan{}))
	if err != nil {
		t.Fatal(err)
	}
	r := transition.Rollouts[0]
	plan, _ := BuiltinPlan("progressive")
	want := Rollout{
		ID: "R1", App: "com.example.shop", Channel: "production", Bundle: "1.1.0", Baseline: "1.0.0", State: Running,
		Plan: plan, Salt: Salt{1, 2, 3, 2}, Version: 1, Percent: 5 * OnePercent, CreatedAt: noon, PhaseStartedAt: noon, Reason: "release", Actor: "alice", Counting: Counting,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("rollout\n%+v, want\n%+v", r, want)
	}
	wantEvent := Event{
		Time: noon, Actor: "alice", Verb: "start", Subject: "rollout R1", Rollout: "R1", To: Running, Percent: 5 * OnePercent, Reason: "release",
	}
	if len(transition.Events) != 1 || !reflect.DeepEqual(transition.Events[0], wantEvent) {
		t.Errorf("events %+v, want %+v", transition.Events, wantEvent)
	}
	if want := []Bundle{{Version: "1.1.0", Served: true}}; !reflect.DeepEqual(transition.Bundles, want) {
		t.Errorf("newly served %+v, want only the candidate: %+v", transition.Bundles, want)
	}
}

func TestStartRefuses(t *testing.T) {
	running := started(t, shop(), startRequest("R1", "1.1.0", twoPhases()))
	cases := []struct {
		name   string
		state  State
		change func(*StartRequest)
		code   string
	}{
		{"no id", shop(), func(r *StartRequest) { r.ID = "" }, CodeIncompleteRequest},
		{"no salt", shop(), func(r *StartRequest) { r.Salt = Salt{} }, CodeIncompleteRequest},
		{"no time", shop(), func(r *StartRequest) { r.At = time.Time{} }, CodeIncompleteRequest},
		{"endless reason", shop(), func(r *StartRequest) { r.Reason = string(make([]byte, 3000)) }, CodeTextTooLong},
		{"unknown plan", shop(), func(r *StartRequest) { r.Plan = Plan{Name: "bold"} }, CodeUnknownPlan},
		{"invalid plan", shop(), func(r *StartRequest) { r.Plan = Plan{Phases: []Phase{{Percent: -1}}} }, CodeInvalidPercent},
		{"plan with an unknown segment", shop(), func(r *StartRequest) { r.Plan = Plan{Name: "groups"} }, CodeUnknownSegment},
		{"unknown channel", shop(), func(r *StartRequest) { r.Channel = "gamma" }, CodeUnknownChannel},
		{"unknown bundle", shop(), func(r *StartRequest) { r.Bundle = "9.0.0" }, CodeUnknownBundle},
		{"no bundle", shop(), func(r *StartRequest) { r.Bundle = "" }, CodeUnknownBundle},
		{"the store build", shop(), func(r *StartRequest) { r.Bundle = Builtin }, CodeUnknownBundle},
		{"the channel's own bundle", shop(), func(r *StartRequest) { r.Bundle = "1.0.0" }, CodeAlreadyCurrent},
		{"a second one", running, func(*StartRequest) {}, CodeLiveRolloutExists},
		{"the same id", running, func(r *StartRequest) { r.ID, r.Channel = "R1", "beta" }, CodeRolloutExists},
		{"a later hotfix", running, func(r *StartRequest) { r.Hotfix, r.StartsAt = true, noon.Add(1) }, CodeHotfixScheduled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req := startRequest("R2", "1.2.0", twoPhases())
			c.change(&req)
			transition, err := Start(c.state, req)
			if CodeOf(err) != c.code || !reflect.DeepEqual(transition, Transition{}) {
				t.Errorf("%v and %+v, want code %s and nothing", err, transition, c.code)
			}
		})
	}
}

func TestStartLooksThePlanUp(t *testing.T) {
	s := shop()
	s.Plans = map[string]Plan{"ours": {Name: "ours", Phases: []Phase{{Percent: 7 * OnePercent}}}}
	r := started(t, s, startRequest("R1", "1.1.0", Plan{Name: "ours"})).Rollouts["R1"]
	if r.Percent != 7*OnePercent || r.Plan.Alpha != defaultAlpha || len(r.Plan.Gates) != NumMetrics {
		t.Errorf("plan %+v was not looked up and resolved", r.Plan)
	}
}

func TestScheduledStart(t *testing.T) {
	req := startRequest("R1", "1.1.0", twoPhases())
	req.StartsAt = noon.Add(3 * time.Hour)
	s := started(t, shop(), req)
	if r := s.Rollouts["R1"]; r.State != Scheduled || r.Percent != 0 || !r.PhaseStartedAt.IsZero() || r.Held(noon.Add(time.Hour)) != 0 {
		t.Fatalf("scheduled as %+v", r)
	}
	if _, err := Operate(s, "R1", Command{Verb: VerbStart, At: req.StartsAt.Add(-1)}); CodeOf(err) != CodeStartsLater {
		t.Errorf("started before its time: %v", err)
	}
	moved := s.Channels["production"]
	moved.Bundle = "1.2.0"
	s.Channels = withEntry(s.Channels, "production", moved)
	transition, err := Operate(s, "R1", Command{Verb: VerbStart, At: req.StartsAt})
	if err != nil {
		t.Fatal(err)
	}
	r := transition.Rollouts[0]
	if r.State != Running || r.Baseline != "1.2.0" || !r.PhaseStartedAt.Equal(req.StartsAt) || r.Percent != 5*OnePercent {
		t.Errorf("began as %+v, want the channel's bundle of the moment as baseline", r)
	}
	if len(transition.Bundles) != 1 || transition.Bundles[0].Version != "1.2.0" {
		t.Errorf("newly served %+v, want the new baseline", transition.Bundles)
	}
	moved.Bundle = "1.1.0"
	s.Channels = withEntry(s.Channels, "production", moved)
	if _, err := Operate(s, "R1", Command{Verb: VerbStart, At: req.StartsAt}); CodeOf(err) != CodeAlreadyCurrent {
		t.Errorf("started against itself: %v", err)
	}
}

// TestVerbs states what each verb leaves behind.
func TestVerbs(t *testing.T) {
	cases := []struct {
		name    string
		verbs   []Verb
		state   RolloutState
		phase   int
		percent Percent
		bundle  string // of the channel, afterwards
		kept    []string
		lastly  string // verb of the last event
	}{
		{"pause", []Verb{VerbPause}, Paused, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "pause"},
		{"resume", []Verb{VerbPause, VerbResume}, Running, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "resume"},
		{"approve", []Verb{VerbApprove}, Running, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "approve"},
		{"approve in a pause", []Verb{VerbPause, VerbApprove}, Paused, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "approve"},
		{"promote", []Verb{VerbApprove, VerbPromote}, Running, 1, 99 * OnePercent, "1.0.0", []string{"0.9.0"}, "promote"},
		{"complete", []Verb{VerbApprove, VerbPromote, VerbPromote}, Completed, 1, Everyone, "1.1.0", nil, "complete"},
		{"halt", []Verb{VerbHalt}, Halted, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0", "1.1.0"}, "halt"},
		{"halt in a pause", []Verb{VerbPause, VerbHalt}, Halted, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0", "1.1.0"}, "halt"},
		{"roll back", []Verb{VerbRollback}, RolledBack, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "rollback"},
		{"roll back in a pause", []Verb{VerbPause, VerbRollback}, RolledBack, 0, 5 * OnePercent, "1.0.0", []string{"0.9.0"}, "rollback"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := shop()
			channel := s.Channels["production"]
			channel.Kept = []string{"0.9.0"}
			s.Channels["production"] = channel
			s = started(t, s, startRequest("R1", "1.1.0", twoPhases()))
			last := len(c.verbs) - 1
			s = operated(t, s, c.verbs[:last]...)
			transition, err := Operate(s, "R1", Command{
				Verb: c.verbs[last], Actor: "palier", Reason: "because", At: noon.Add(9 * time.Hour), Detail: map[string]any{"e_value": 120.5},
			})
			if err != nil {
				t.Fatal(err)
			}
			s = transition.ApplyTo(s)
			r := s.Rollouts["R1"]
			if r.State != c.state || r.Phase != c.phase || r.Percent != c.percent || r.Reason != "because" || r.Actor != "palier" || r.Version != int64(len(c.verbs)+1) {
				t.Errorf("rollout %+v, want %s in phase %d at %s, version %d", r, c.state, c.phase, c.percent, len(c.verbs)+1)
			}
			if ended := !c.state.Live(); ended != r.EndedAt.Equal(noon.Add(9*time.Hour)) {
				t.Errorf("ended at %v while %s", r.EndedAt, r.State)
			}
			if got := s.Channels["production"]; got.Bundle != c.bundle || !slices.Equal(got.Kept, c.kept) {
				t.Errorf("channel serves %s and keeps %v, want %s and %v", got.Bundle, got.Kept, c.bundle, c.kept)
			}
			e := transition.Events[0]
			if e.Verb != c.lastly || e.To != c.state || e.Actor != "palier" || e.Reason != "because" || e.Detail["e_value"] != 120.5 {
				t.Errorf("event %+v", e)
			}
		})
	}
}

func TestVerbsAreRefused(t *testing.T) {
	scheduled := startRequest("R1", "1.1.0", twoPhases())
	scheduled.StartsAt = noon.Add(time.Hour)
	waiting := started(t, shop(), scheduled)
	running := started(t, shop(), startRequest("R1", "1.1.0", twoPhases()))
	paused := operated(t, running, VerbPause)
	approved := operated(t, running, VerbApprove)
	second := operated(t, approved, VerbPromote)
	cases := []struct {
		name  string
		state State
		verb  Verb
		code  string
	}{
		{"unknown", running, "explode", CodeUnknownVerb},
		{"complete from outside", running, VerbComplete, CodeUnknownVerb},
		{"supersede from outside", running, VerbSupersede, CodeUnknownVerb},
		{"start twice", running, VerbStart, CodeAlreadyStarted},
		{"pause twice", paused, VerbPause, CodePaused},
		{"resume while running", running, VerbResume, CodeNotPaused},
		{"promote in a pause", paused, VerbPromote, CodePaused},
		{"promote without approval", running, VerbPromote, CodeApprovalNeeded},
		{"approve twice", approved, VerbApprove, CodeAlreadyApproved},
		{"approve for nothing", second, VerbApprove, CodeApprovalNotNeeded},
		{"pause before the start", waiting, VerbPause, CodeNotStarted},
		{"promote before the start", waiting, VerbPromote, CodeNotStarted},
		{"approve before the start", waiting, VerbApprove, CodeNotStarted},
		{"resume before the start", waiting, VerbResume, CodeNotPaused},
	}
	for _, end := range []State{operated(t, second, VerbPromote), operated(t, running, VerbHalt), operated(t, running, VerbRollback)} {
		for _, verb := range []Verb{VerbStart, VerbPause, VerbResume, VerbPromote, VerbApprove, VerbHalt, VerbRollback} {
			cases = append(cases, struct {
				name  string
				state State
				verb  Verb
				code  string
			}{string(verb) + " when " + string(end.Rollouts["R1"].State), end, verb, CodeRolloutEnded})
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			transition, err := Operate(c.state, "R1", Command{Verb: c.verb, At: noon.Add(48 * time.Hour)})
			if CodeOf(err) != c.code || !reflect.DeepEqual(transition, Transition{}) {
				t.Errorf("%v and %+v, want code %s and nothing", err, transition, c.code)
			}
		})
	}
	if _, err := Operate(running, "R9", Command{Verb: VerbPause, At: noon}); CodeOf(err) != CodeRolloutNotFound {
		t.Errorf("unknown rollout: %v", err)
	}
	if _, err := Operate(running, "R1", Command{Verb: VerbPause}); CodeOf(err) != CodeIncompleteRequest {
		t.Errorf("command without a time: %v", err)
	}
	running.Channels = nil
	if _, err := Operate(running, "R1", Command{Verb: VerbPause, At: noon}); CodeOf(err) != CodeUnknownChannel {
		t.Errorf("rollout without its channel: %v", err)
	}
}

func TestApprovalCountsForOnePhase(t *testing.T) {
	plan := Plan{Phases: []Phase{{Percent: OnePercent, Approval: true}, {Percent: Everyone, Approval: true}}}
	s := operated(t, started(t, shop(), startRequest("R1", "1.1.0", plan)), VerbApprove, VerbPromote)
	if _, err := Operate(s, "R1", Command{Verb: VerbPromote, At: noon.Add(9 * time.Hour)}); CodeOf(err) != CodeApprovalNeeded {
		t.Errorf("the second phase passed with the approval of the first: %v", err)
	}
}

func TestTransitionsFromOneStateShareNothing(t *testing.T) {
	s := shop()
	channel := s.Channels["production"]
	channel.Kept = append(make([]string, 0, 8), "0.9.0") // room that a careless append would write to
	s.Channels["production"] = channel
	first := operated(t, started(t, s, startRequest("R1", "1.1.0", twoPhases())), VerbHalt)
	operated(t, started(t, s, startRequest("R1", "1.2.0", twoPhases())), VerbHalt)
	if kept := first.Channels["production"].Kept; !slices.Equal(kept, []string{"0.9.0", "1.1.0"}) {
		t.Errorf("after another halt from the same State the channel keeps %v", kept)
	}
}

func TestEndingBeforeTheStartLeavesNoTrace(t *testing.T) {
	for _, verb := range []Verb{VerbHalt, VerbRollback} {
		req := startRequest("R1", "1.1.0", twoPhases())
		req.StartsAt = noon.Add(time.Hour)
		s := operated(t, started(t, shop(), req), verb)
		if kept := s.Channels["production"].Kept; len(kept) != 0 {
			t.Errorf("%s of a scheduled rollout: the channel keeps %v, which nobody can have", verb, kept)
		}
	}
}

func TestRollbackTakesBackWhatAHaltLeft(t *testing.T) {
	s := operated(t, started(t, shop(), startRequest("R1", "1.1.0", twoPhases())), VerbHalt)
	s = started(t, s, startRequest("R22", "1.1.0", twoPhases()))
	transition, err := Operate(s, "R22", Command{Verb: VerbRollback, At: noon.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if kept := transition.Channel.Kept; len(kept) != 0 {
		t.Errorf("the channel still keeps %v", kept)
	}
	if kept := s.Channels["production"].Kept; !slices.Equal(kept, []string{"1.1.0"}) {
		t.Errorf("the input's channel now keeps %v", kept)
	}
}

func TestHotfixTakesOver(t *testing.T) {
	s := started(t, shop(), startRequest("R1", "1.1.0", Plan{Phases: []Phase{
		{Percent: Everyone, Segments: []string{"internal"}}, {Percent: 10 * OnePercent}, {Percent: Everyone},
	}}))
	s = operated(t, s, VerbPromote)
	old := s.Rollouts["R1"]
	hotfix := startRequest("R22", "1.2.0", twoPhases())
	hotfix.Hotfix = true
	transition, err := Start(s, hotfix)
	if err != nil {
		t.Fatal(err)
	}
	if len(transition.Rollouts) != 2 || len(transition.Events) != 2 {
		t.Fatalf("%d rollouts and %d events, want the old and the new one", len(transition.Rollouts), len(transition.Events))
	}
	superseded, r := transition.Rollouts[0], transition.Rollouts[1]
	if superseded.State != Superseded || superseded.SupersededBy != "R22" || !superseded.EndedAt.Equal(noon) || superseded.Version != old.Version+1 {
		t.Errorf("old rollout %+v", superseded)
	}
	first := Audience{Salt: old.Salt, Cuts: []Cut{{Percent: Everyone, Segments: []string{"internal"}}, {Percent: 10 * OnePercent}}}
	if r.Supersedes != "R1" || r.Baseline != "1.0.0" || !reflect.DeepEqual(r.Follows, []Audience{first}) {
		t.Errorf("hotfix %+v, want it to follow %+v", r, first)
	}
	if e := transition.Events[0]; e.Verb != "supersede" || e.Rollout != "R1" || e.From != Running || e.To != Superseded {
		t.Errorf("event of the old rollout: %+v", e)
	}
	again := startRequest("R333", "1.1.0", twoPhases())
	again.Hotfix = true
	s = started(t, transition.ApplyTo(s), again)
	second := Audience{Salt: r.Salt, Cuts: []Cut{{Percent: 5 * OnePercent}}}
	if got := s.Rollouts["R333"].Follows; !reflect.DeepEqual(got, []Audience{first, second}) {
		t.Errorf("a hotfix of a hotfix follows %+v, want both before it", got)
	}
}

func TestHotfixOfAScheduledRolloutFollowsNobody(t *testing.T) {
	req := startRequest("R1", "1.1.0", twoPhases())
	req.StartsAt = noon.Add(time.Hour)
	hotfix := startRequest("R22", "1.2.0", twoPhases())
	hotfix.Hotfix = true
	s := started(t, started(t, shop(), req), hotfix)
	if got := s.Rollouts["R22"].Follows; len(got) != 0 {
		t.Errorf("follows %+v of a rollout that never began", got)
	}
}

func TestHoldClock(t *testing.T) {
	plan := Plan{Phases: []Phase{{Percent: OnePercent}, {Percent: Everyone}}}
	s := started(t, shop(), startRequest("R1", "1.1.0", plan))
	// operated puts the verbs at 13:00, 14:00, …: two pauses of an hour each.
	s = operated(t, s, VerbPause, VerbResume, VerbPause, VerbResume)
	if got := s.Rollouts["R1"].Held(noon.Add(10 * time.Hour)); got != 8*time.Hour {
		t.Errorf("held %s after 10 h with 2 h paused", got)
	}
	next := operated(t, s, VerbPromote).Rollouts["R1"]
	if got := next.Held(noon.Add(3 * time.Hour)); got != 2*time.Hour {
		t.Errorf("the next phase has been held %s after 2 h", got)
	}
	halted, err := Operate(s, "R1", Command{Verb: VerbHalt, At: noon.Add(6 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got := halted.Rollouts[0].Held(noon.Add(100 * time.Hour)); got != 4*time.Hour {
		t.Errorf("a phase that ended after 6 h with 2 h paused has been held %s", got)
	}
	backwards, err := Operate(operated(t, started(t, shop(), startRequest("R1", "1.1.0", plan)), VerbPause), "R1",
		Command{Verb: VerbResume, At: noon.Add(30 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if got := backwards.Rollouts[0].PausedFor; got != 0 {
		t.Errorf("paused for %s by a clock that went back", got)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	_, err := Start(shop(), StartRequest{Channel: "gamma", Bundle: "9.0.0"})
	var all Errors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("want three errors at once, got %v", err)
	}
	for _, e := range all {
		if e.Code == "" || e.Field == "" || e.Message == "" {
			t.Errorf("incomplete: %+v", e)
		}
	}
}
