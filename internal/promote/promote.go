// Package promote moves rollouts: it is the part of the loop where numbers become deeds.
//
// A tick looks at every live rollout: it reads the tallies, has the judge weigh them, turns the verdict into a verb of
// the rollout's state machine and commits the outcome, with its audit event and the new Snapshot, under compare-and-swap
// on the app's revision. The state machine decides what is possible and the store decides who was first, so two ticks at
// once, or a tick beside an operator, do no harm: the loser sees a conflict and judges what is there then.
//
// Evidence comes first: a verdict is stored with all that it was given on before anything is done for it, and when it cannot
// be stored, nothing is done. So whoever doubts a decision can recompute it, and a Backtest can ask what another plan would
// have made of what was seen.
package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Actor is the name under which the judge's transitions stand in the audit log.
const Actor = "palier"

// Ticker judges live rollouts.
type Ticker struct {
	Apps     store.Apps
	Tallies  store.Tallies
	Verdicts store.Verdicts
	Now      func() time.Time
	Log      *slog.Logger
	// Notify, if set, is told of every transition after it was committed, one at a time; a hold, which asks a person, is one.
	Notify func(Outcome)
}

// Outcome is what a tick found and did for one rollout.
type Outcome struct {
	Rollout rollout.Rollout // after the tick
	Verdict judge.Verdict
	Verb    rollout.Verb // what was done; empty when nothing was
	At      time.Time
	Err     error // reading, judging or committing failed; the next tick tries again
}

// Tick judges every live rollout once and returns one Outcome each, in the order of apps and ids, failed ones included: one
// rollout's trouble does not keep the others waiting. Several apps are looked at at once; the rollouts of one app are not,
// because each changes what the others stand on. When ctx ends, the rollouts that are left have its error. Tick itself
// returns an error only when the list of live rollouts cannot be read.
func (t *Ticker) Tick(ctx context.Context) ([]Outcome, error) {
	live, err := t.Apps.Live(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing live rollouts: %w", err)
	}
	outcomes := make([]Outcome, len(live))
	var telling sync.Mutex
	var apps errgroup.Group
	apps.SetLimit(appsAtOnce)
	for from, to := range runs(live) {
		apps.Go(func() error {
			for i := from; i < to; i++ {
				outcomes[i] = t.settle(ctx, live[i], &telling)
			}
			return nil
		})
	}
	return outcomes, apps.Wait()
}

// runs yields where each app's rollouts begin and end in the list, which is in the order of apps.
func runs(live []store.LiveRollout) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for from := 0; from < len(live); {
			to := from + 1
			for to < len(live) && live[to].App == live[from].App {
				to++
			}
			if !yield(from, to) {
				return
			}
			from = to
		}
	}
}

// settle judges and moves one rollout and tells of it, holding telling meanwhile.
func (t *Ticker) settle(ctx context.Context, l store.LiveRollout, telling *sync.Mutex) Outcome {
	if err := ctx.Err(); err != nil {
		return Outcome{Err: err} // the next tick's work
	}
	o := t.inTime(ctx, l.App, l.Rollout)
	if o.Err != nil {
		t.Log.Error("rollout not judged", "app", l.App, "rollout", l.Rollout, "error", o.Err)
	}
	if t.Notify != nil && o.Err == nil && o.Verb != "" {
		telling.Lock()
		defer telling.Unlock()
		t.Notify(o)
	}
	return o
}

const (
	appsAtOnce     = 8                // most of a rollout's time goes by waiting for the store
	rolloutTimeout = 30 * time.Second // for one rollout, so that a slow one does not keep the others waiting for ever
	attempts       = 5                // for a rollout whose app others keep changing
)

// inTime judges and moves one rollout, anew with fresh eyes when someone else changed its app meanwhile: otherwise whoever
// changes apps all the time could keep a rollout from being stopped.
func (t *Ticker) inTime(ctx context.Context, app, id string) (o Outcome) {
	ctx, cancel := context.WithTimeout(ctx, rolloutTimeout)
	defer cancel()
	for range attempts {
		if o = t.one(ctx, app, id); !errors.Is(o.Err, store.ErrConflict) {
			return o
		}
	}
	t.Log.Warn("rollout's app changes all the time; leaving it to the next tick", "app", app, "rollout", id)
	o.Err = nil
	return o
}

// one judges and moves one rollout.
func (t *Ticker) one(ctx context.Context, app, id string) Outcome {
	state, err := t.Apps.Load(ctx, app)
	if errors.Is(err, store.ErrNotFound) {
		return Outcome{} // removed since it was listed
	}
	if err != nil {
		return Outcome{Err: fmt.Errorf("loading %s: %w", app, err)}
	}
	r, ok := state.Rollouts[id]
	if !ok || !r.State.Live() {
		return Outcome{Rollout: r} // ended since it was listed
	}
	o := Outcome{Rollout: r, At: t.Now().UTC().Round(0)} // as it is stored and read back
	cmd := rollout.Command{Actor: Actor, At: o.At}
	if r.State == rollout.Scheduled {
		if o.At.Before(r.StartsAt) {
			return o
		}
		cmd.Verb, cmd.Reason = rollout.VerbStart, "the scheduled time has come"
		return t.commit(ctx, state, o, cmd)
	}
	if cmd, o.Verdict, o.Err = t.judge(ctx, r, cmd); o.Err != nil || cmd.Verb == "" {
		return o
	}
	return t.commit(ctx, state, o, cmd)
}

// judge gives the verdict on a rollout that has started, stores it, and returns cmd with what is to be done; its Verb is empty
// when there is nothing to do.
func (t *Ticker) judge(ctx context.Context, r rollout.Rollout, cmd rollout.Command) (rollout.Command, judge.Verdict, error) {
	tallies, err := t.Tallies.Load(ctx, r.App, r.ID)
	if err != nil {
		return cmd, judge.Verdict{}, fmt.Errorf("reading the tallies of rollout %s: %w", r.ID, err)
	}
	in := Input(r, tallies, cmd.At)
	verdict := judge.Judge(in)
	cmd = command(r, in, verdict, cmd)
	text, err := json.Marshal(verdict)
	if err != nil {
		return cmd, verdict, fmt.Errorf("encoding the verdict on rollout %s: %w", r.ID, err)
	}
	record := store.VerdictRecord{Judge: judge.Version, Arch: runtime.GOARCH, Input: in, Verdict: text, Verb: cmd.Verb}
	_, err = t.Verdicts.Append(ctx, r.App, r.ID, record)
	return cmd, verdict, err
}

// command returns cmd with what the verdict on r asks for.
func command(r rollout.Rollout, in judge.Input, v judge.Verdict, cmd rollout.Command) rollout.Command {
	cmd.Detail = map[string]any{"verdict": v}
	switch {
	case r.Shadow:
		return byTime(r, in, v, cmd)
	case r.State == rollout.Paused:
		// It can only get worse: harm may still turn out to be severe enough to take the bundle back.
		if v.Code == judge.CodeHarm && (v.Decision == judge.Rollback || v.Decision == judge.Halt) {
			cmd.Verb, cmd.Reason = verbFor(v.Decision), v.Sentence
		}
		return cmd
	}
	cmd.Verb, cmd.Reason, cmd.Alarms = verbFor(v.Decision), v.Sentence, alarms(v)
	if v.Decision == judge.Hold {
		return ask(r, v.Code, cmd)
	}
	return cmd
}

// ask returns cmd as a hold that asks a person about code; once, not at every tick.
func ask(r rollout.Rollout, code string, cmd rollout.Command) rollout.Command {
	if r.Waiting != code {
		cmd.Verb, cmd.Code = rollout.VerbHold, code
	}
	return cmd
}

// alarms lists the metrics that show harm.
func alarms(v judge.Verdict) []rollout.Metric {
	var list []rollout.Metric
	for _, e := range v.Metrics {
		if e.Alarm {
			list = append(list, e.Metric)
		}
	}
	return list
}

// commit applies the command and writes the outcome. It fails with store.ErrConflict when someone else was first: whoever
// won has changed what this decision was based on.
func (t *Ticker) commit(ctx context.Context, state rollout.State, o Outcome, cmd rollout.Command) Outcome {
	tr, err := rollout.Operate(state, o.Rollout.ID, cmd)
	if err != nil {
		o.Err = fmt.Errorf("%s of rollout %s: %w", cmd.Verb, o.Rollout.ID, err)
		return o
	}
	after, err := t.Apps.Commit(ctx, state, tr.ApplyTo(state), tr.Events)
	if err != nil {
		o.Err = fmt.Errorf("committing %s of rollout %s: %w", cmd.Verb, o.Rollout.ID, err)
		return o
	}
	o.Rollout, o.Verb = after.Rollouts[o.Rollout.ID], cmd.Verb
	t.Log.Info("rollout moved", "app", o.Rollout.App, "rollout", o.Rollout.ID, "verb", cmd.Verb, "state", o.Rollout.State,
		"phase", o.Rollout.Phase, "percent", o.Rollout.Percent.String(), "reason", cmd.Reason)
	return o
}

// verbFor returns the verb that carries out a decision, or none for wait and hold.
func verbFor(d judge.Decision) rollout.Verb {
	switch d {
	case judge.Promote:
		return rollout.VerbPromote
	case judge.Pause:
		return rollout.VerbPause
	case judge.Halt:
		return rollout.VerbHalt
	case judge.Rollback:
		return rollout.VerbRollback
	}
	return ""
}

// Input gathers what the judge weighs for a rollout at the instant now.
func Input(r rollout.Rollout, tallies telemetry.Tallies, now time.Time) judge.Input {
	return judge.Input{
		Plan: waive(r.Plan, r.Waived), Phase: r.Phase, Held: r.Held(now), Approved: r.Approved, Now: now, Newest: tallies.Newest, Complete: tallies.Complete, Record: r.Record,
		Strata: tallies.Strata(func(phase int) float64 { return designShare(r, phase) }),
	}
}

// waive returns plan with the gates of the waived metrics reduced to holding: a person resumed in spite of them, so they
// neither pause again nor let the plan go on by itself. What makes harm severe stays.
func waive(plan rollout.Plan, waived []rollout.Metric) rollout.Plan {
	if len(waived) == 0 {
		return plan
	}
	plan.Gates = slices.Clone(plan.Gates)
	for i, gate := range plan.Gates {
		if slices.Contains(waived, gate.Metric) {
			plan.Gates[i].Action = rollout.ActionHold
		}
	}
	return plan
}

// designShare is the share of candidates among the devices compared in a phase: those whose fate hung on their position
// alone, so it is the phase's percentage itself.
func designShare(r rollout.Rollout, phase int) float64 {
	if phase < 0 || phase >= len(r.Plan.Phases) {
		return 1
	}
	return rollout.EffectivePercent(r.Plan, phase).Share()
}
