package promote_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// verdicts returns what is stored of the rollout, after holding that each is what the judge says of its own input.
func (w *world) verdicts() (all []store.VerdictRecord) {
	w.t.Helper()
	for r, err := range (store.Verdicts{Store: w.store}).Each(w.t.Context(), w.app, w.id, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		again, err := json.Marshal(judge.Judge(r.Input))
		if err != nil || string(again) != string(r.Verdict) || r.Judge != judge.Version || r.Arch == "" {
			w.t.Errorf("%v: the verdict of %s (%d, %s) is another when given anew:\n%s\n%s", err, r.ID, r.Judge, r.Arch, r.Verdict, again)
		}
		all = append(all, r)
	}
	return all
}

func verbsOf(records []store.VerdictRecord) (verbs []string) {
	for _, r := range records {
		verbs = append(verbs, string(r.Verb))
	}
	return verbs
}

// TestEveryVerdictIsStoredWithItsVerb follows a rollout to its end, by way of a pause and the gates that a person waived.
func TestEveryVerdictIsStoredWithItsVerb(t *testing.T) {
	plan := twoPhases
	plan.Gates = []rollout.Gate{{Metric: rollout.Crash, Severe: 1e6}}
	w := newWorld(t, plan)
	w.tick()
	w.hear(rollout.ArmCandidate, 0, 50, 20)
	w.hear(rollout.ArmControl, 0, 950, 10)
	w.pass(time.Minute)
	w.tick()
	w.pass(time.Minute)
	w.tick() // while paused
	w.operate(rollout.VerbResume)
	w.pass(time.Minute)
	w.tick()
	w.operate(rollout.VerbRollback)
	w.pass(time.Minute)
	if _, err := w.ticker().Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := w.verdicts()
	if got := strings.Join(verbsOf(all), ","); got != ",pause,,hold" {
		t.Errorf("verbs of the verdicts: %q", got)
	}
	if waived := all[3].Input.Plan.Gates[0]; waived.Action != rollout.ActionHold {
		t.Errorf("a waived gate is stored as %+v", waived)
	}
}

// unwilling is a store that refuses verdicts while it is told to.
type unwilling struct {
	store.Store
	refuses atomic.Bool
}

var errFull = errors.New("full")

func (u *unwilling) Write(ctx context.Context, ops ...store.Op) error {
	if u.refuses.Load() && strings.HasPrefix(ops[0].Item.PK, "VERDICT#") {
		return errFull
	}
	return u.Store.Write(ctx, ops...)
}

// TestNothingIsDoneWithoutEvidence: what cannot be stored is not acted on, and the next tick tries again.
func TestNothingIsDoneWithoutEvidence(t *testing.T) {
	w := newWorld(t, twoPhases)
	u := &unwilling{Store: w.store}
	w.store = u
	w.hear(rollout.ArmCandidate, 0, 50, 40)
	w.hear(rollout.ArmControl, 0, 950, 5)
	u.refuses.Store(true)
	for range 2 {
		out, err := w.ticker().Tick(t.Context())
		if err != nil || len(out) != 1 || !errors.Is(out[0].Err, errFull) || out[0].Verb != "" {
			t.Fatalf("%v: %+v", err, out)
		}
		if r := w.rollout(); r.State != rollout.Running || r.Version != 1 {
			t.Fatalf("the rollout is %s at version %d", r.State, r.Version)
		}
	}
	u.refuses.Store(false)
	if o := w.tick(); o.Rollout.State != rollout.RolledBack {
		t.Errorf("state %s: %s", o.Rollout.State, o.Verdict.Sentence)
	}
	if got := verbsOf(w.verdicts()); len(got) != 1 || got[0] != "rollback" {
		t.Errorf("verbs of the verdicts: %q", got)
	}
}

func TestAShadowIsMovedByTimeAlone(t *testing.T) {
	plan := rollout.Plan{OnTimeout: rollout.TimeoutRollback, Phases: []rollout.Phase{
		{Percent: 5 * rollout.OnePercent, Hold: rollout.Hold{Min: rollout.Duration(time.Hour), Max: rollout.Duration(2 * time.Hour)}},
		{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: rollout.Duration(time.Hour)}, Approval: true},
		{Percent: 90 * rollout.OnePercent},
	}}
	w := newShadow(t, plan)
	w.hear(rollout.ArmCandidate, 0, 50, 40)
	w.hear(rollout.ArmControl, 0, 950, 5)
	w.pass(119 * time.Minute)
	if o := w.tick(); o.Verb != "" || o.Verdict.Decision != judge.Rollback {
		t.Fatalf("before its time the tick did %q, and the judge said %s", o.Verb, o.Verdict.Decision)
	}
	w.pass(time.Minute)
	o := w.tick()
	if o.Verb != rollout.VerbPromote || o.Rollout.Phase != 1 || !strings.HasPrefix(o.Rollout.Reason, "shadow: by time alone; the judge said rollback: ") {
		t.Fatalf("at its time the tick did %q, because %q", o.Verb, o.Rollout.Reason)
	}
	w.pass(time.Hour)
	if o := w.tick(); o.Verb != rollout.VerbHold || o.Rollout.Waiting != judge.CodeApproval {
		t.Fatalf("where approval is needed the tick did %q, waiting for %q", o.Verb, o.Rollout.Waiting)
	}
	w.pass(time.Minute)
	if o := w.tick(); o.Verb != "" {
		t.Errorf("asked a second time: %q", o.Verb)
	}
	w.operate(rollout.VerbApprove)
	w.pass(time.Minute)
	if o := w.tick(); o.Rollout.Phase != 2 {
		t.Fatalf("approved, the tick did %q", o.Verb)
	}
	w.pass(90 * time.Minute)
	if o := w.tick(); o.Verb != rollout.VerbHold || o.Rollout.Waiting != judge.CodeTimeout {
		t.Errorf("in a phase without any time the tick did %q, waiting for %q", o.Verb, o.Rollout.Waiting)
	}
	w.operate(rollout.VerbPause)
	w.pass(time.Hour)
	if o := w.tick(); o.Verb != "" {
		t.Errorf("paused, the tick did %q", o.Verb)
	}
	if got := strings.Join(verbsOf(w.verdicts()), ","); got != ",promote,hold,,promote,hold," {
		t.Errorf("verbs of the verdicts: %q", got)
	}
}
