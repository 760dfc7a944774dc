package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEndedRolloutsNameTheWayBack asks ended rollouts to stop or go back, in every situation that their channel can be in
// since, and reads what the refusal advises.
func TestEndedRolloutsNameTheWayBack(t *testing.T) {
	plan := Plan{Phases: []Phase{{Percent: Everyone}}}
	running := func(t *testing.T) State { return started(t, shop(), startRequest("R1", "1.1.0", plan)) }
	completed := func(t *testing.T) State { return operated(t, running(t), VerbPromote) }
	halted := func(t *testing.T) State { return operated(t, running(t), VerbHalt) }
	pointed := func(t *testing.T, s State, bundle string) State {
		c := s.Channels["production"]
		c.Bundle = bundle
		s, err := s.WithChannel(c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		name  string
		state func(*testing.T) State
		verb  Verb
		want  string
	}{
		{"completed", completed, VerbRollback, "rollout R1 has completed; to go back, start a rollout of 1.0.0 (`palier rollout start com.example.shop --channel production --bundle 1.0.0 --plan instant`), or set the channel's bundle to 1.0.0 and apply"},
		{"completed, pause", completed, VerbPause, "to go back, start a rollout of 1.0.0"},
		{"completed, halt", completed, VerbHalt, "to go back, start a rollout of 1.0.0"},
		{"completed, promote", completed, VerbPromote, "rollout R1 has ended (completed) and cannot change; start a new one"},
		{"completed, with another live", func(t *testing.T) State {
			return started(t, completed(t), startRequest("R22", "1.2.0", plan))
		}, VerbRollback, "--bundle 1.0.0 --plan instant --hotfix`)"},
		{"completed, the channel elsewhere", func(t *testing.T) State { return pointed(t, completed(t), "1.2.0") }, VerbRollback,
			`has completed, and channel "production" serves 1.2.0 since then`},
		{"completed, the channel at the store build", func(t *testing.T) State { return pointed(t, completed(t), Builtin) }, VerbRollback,
			"serves the store build since then"},
		{"completed from the store build", func(t *testing.T) State {
			return operated(t, started(t, pointed(t, shop(), ""), startRequest("R1", "1.1.0", plan)), VerbPromote)
		}, VerbRollback, "has completed; to go back, set the channel's bundle to builtin and apply"},
		{"completed from the store build, with another live", func(t *testing.T) State {
			s := operated(t, started(t, pointed(t, shop(), ""), startRequest("R1", "1.1.0", plan)), VerbPromote)
			return started(t, s, startRequest("R22", "1.2.0", plan))
		}, VerbRollback, "to go back, roll back rollout R22, then set the channel's bundle to builtin"},
		{"completed, the baseline removed", func(t *testing.T) State {
			s := completed(t)
			delete(s.Bundles, "1.0.0")
			return s
		}, VerbRollback, "to go back, add bundle 1.0.0 again, or choose another"},
		{"halted", halted, VerbRollback, "rollout R1 was halted; devices that run 1.1.0 keep it; to send them to 1.0.0, schedule a rollout of 1.1.0, which reaches nobody (`palier rollout start com.example.shop --channel production --bundle 1.1.0 --at 2027-03-06T12:00:00Z`), and roll that one back, or move every device on with a rollout of another bundle"},
		{"halted, resume", halted, VerbResume, "rollout R1 has ended (halted) and cannot change; start a new one"},
		{"halted, with the same live", func(t *testing.T) State { return started(t, halted(t), startRequest("R22", "1.1.0", plan)) }, VerbRollback,
			"until rollout R22 of the same bundle is rolled back"},
		{"halted, with another live", func(t *testing.T) State { return started(t, halted(t), startRequest("R22", "1.2.0", plan)) }, VerbRollback,
			"until rollout R22 of 1.2.0 admits them or completes"},
		{"halted, the channel elsewhere", func(t *testing.T) State { return pointed(t, halted(t), "1.2.0") }, VerbRollback,
			"no device keeps 1.1.0 any more"},
		{"halted, the channel at it", func(t *testing.T) State { return pointed(t, halted(t), "1.1.0") }, VerbRollback,
			"serves 1.1.0 to everyone since then"},
		{"rolled back", func(t *testing.T) State { return operated(t, running(t), VerbRollback) }, VerbRollback,
			"rollout R1 was rolled back already; there is nothing to do"},
		{"superseded", func(t *testing.T) State {
			req := startRequest("R22", "1.2.0", plan)
			req.Hotfix = true
			return started(t, running(t), req)
		}, VerbRollback, "rollout R1 was superseded by rollout R22; operate that one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Operate(c.state(t), "R1", Command{Verb: c.verb, At: noon.AddDate(0, 0, 5)})
			if CodeOf(err) != CodeRolloutEnded || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// TestTheWayBackFromAHaltWorks walks the ways that the refusal names.
func TestTheWayBackFromAHaltWorks(t *testing.T) {
	plan := Plan{Phases: []Phase{{Percent: Everyone}}}
	halted := operated(t, started(t, shop(), startRequest("R1", "1.1.0", plan)), VerbHalt)
	if kept := halted.Channels["production"].Kept; !slices.Equal(kept, []string{"1.1.0"}) {
		t.Fatalf("the channel keeps %v", kept)
	}
	later := startRequest("R22", "1.1.0", plan)
	later.StartsAt = noon.AddDate(1, 0, 0)
	scheduled := started(t, halted, later)
	if r := scheduled.Rollouts["R22"]; r.State != Scheduled || r.Percent != 0 {
		t.Errorf("the rollout that reaches nobody is %s at %s", r.State, r.Percent)
	}
	back, err := Operate(scheduled, "R22", Command{Verb: VerbRollback, At: noon.Add(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	on := started(t, halted, startRequest("R22", "1.2.0", plan))
	moved, err := Operate(on, "R22", Command{Verb: VerbPromote, At: noon.Add(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Channel{"back": back.Channel, "on": moved.Channel} {
		if len(c.Kept) > 0 {
			t.Errorf("%s: the channel still keeps %v", name, c.Kept)
		}
	}
	if back.Channel.Bundle != "1.0.0" || moved.Channel.Bundle != "1.2.0" {
		t.Errorf("the channel serves %s and %s", back.Channel.Bundle, moved.Channel.Bundle)
	}
}

func TestNamesInCommandsAreQuoted(t *testing.T) {
	for name, want := range map[string]string{"beta-2": "beta-2", "early access": "'early access'", "Ann's": `'Ann'\''s'`} {
		if got := shellWord(name); got != want {
			t.Errorf("%s is written %s, want %s", name, got, want)
		}
	}
}
