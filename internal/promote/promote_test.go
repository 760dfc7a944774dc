package promote_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

const app = "com.example.shop"

// world is an app with one live rollout on real engines, and a clock that the test moves.
type world struct {
	t     *testing.T
	store store.Store
	apps  store.Apps
	mu    sync.Mutex
	now   time.Time
	app   string
	id    string
	read  int

	shadow bool // the rollout is one
}

func newWorld(t *testing.T, plan rollout.Plan) *world { return openWorld(t, plan, false) }

// newShadow is newWorld with a rollout that only time moves.
func newShadow(t *testing.T, plan rollout.Plan) *world { return openWorld(t, plan, true) }

func openWorld(t *testing.T, plan rollout.Plan, shadow bool) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), app: app, id: "01M0000000000000000000000A", shadow: shadow}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "palier.db"), sqlite.Options{Now: w.clock, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.store = db
	w.apps = store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}
	w.start(plan)
	return w
}

// start makes the app with its rollout.
func (w *world) start(plan rollout.Plan) {
	w.t.Helper()
	channel := rollout.NewChannel("production")
	channel.Bundle, channel.Public = "1.0.0", true
	before := rollout.State{App: rollout.App{ID: w.app}}
	after := before
	after.Bundles = map[string]rollout.Bundle{"1.0.0": {Version: "1.0.0"}, "1.1.0": {Version: "1.1.0"}}
	after.Channels = map[string]rollout.Channel{"production": channel}
	start, err := rollout.Start(after, rollout.StartRequest{
		ID: w.id, Salt: rollout.Salt{1}, Channel: "production", Bundle: "1.1.0", Plan: plan, Shadow: w.shadow, Actor: "test", At: w.now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.apps.Commit(w.t.Context(), before, start.ApplyTo(after), start.Events); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) ticker() *promote.Ticker {
	return &promote.Ticker{Apps: w.apps, Tallies: store.Tallies{Store: w.store}, Verdicts: store.Verdicts{Store: w.store}, Now: w.clock, Log: slog.New(slog.DiscardHandler)}
}

func (w *world) tick() promote.Outcome {
	w.t.Helper()
	out, err := w.ticker().Tick(w.t.Context())
	if err != nil || len(out) != 1 || out[0].Err != nil {
		w.t.Fatalf("tick: %v %+v", err, out)
	}
	return out[0]
}

func (w *world) rollout() rollout.Rollout {
	w.t.Helper()
	s, err := w.apps.Load(w.t.Context(), w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Rollouts[w.id]
}

func (w *world) operate(v rollout.Verb) {
	w.t.Helper()
	before, err := w.apps.Load(w.t.Context(), w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	tr, err := rollout.Operate(before, w.id, rollout.Command{Verb: v, Actor: "person", At: w.clock()})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.apps.Commit(w.t.Context(), before, tr.ApplyTo(before), tr.Events); err != nil {
		w.t.Fatal(err)
	}
}

// hear folds a check of n devices of an arm, the first bad of which report a crash.
func (w *world) hear(arm rollout.Arm, from, n, bad int) {
	w.t.Helper()
	phase := w.rollout().Phase
	var batch []stream.Delivered
	add := func(e telemetry.Event) {
		e.App, e.Time = w.app, w.clock().UnixMilli()
		e.Exposures = []telemetry.Exposure{{Rollout: w.id, Phase: phase, Arm: arm, Candidate: arm == rollout.ArmCandidate}}
		data, err := telemetry.Append(nil, e)
		if err != nil {
			w.t.Fatal(err)
		}
		w.read++
		batch = append(batch, stream.Delivered{Position: stream.Position(fmt.Sprint(w.read)), Data: data})
	}
	for i := range n {
		device := uint64(arm)<<32 | uint64(from+i)
		add(telemetry.Event{Kind: telemetry.KindCheck, Device: device, Version: "1.0.0"})
		if i < bad {
			add(telemetry.Event{Kind: telemetry.KindAction, Device: device, Action: "app_crash", Version: "1.0.0"})
		}
	}
	a := aggregate.Aggregator{Store: w.store, Name: "test", Log: slog.New(slog.DiscardHandler)}
	if _, err := a.FoldBatch(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) verbs() []string {
	w.t.Helper()
	events, err := w.apps.Events(w.t.Context(), w.app, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var verbs []string
	for _, e := range slices.Backward(events) {
		verbs = append(verbs, e.Verb)
	}
	return verbs
}

var twoPhases = rollout.Plan{
	OnTimeout: rollout.TimeoutPromote,
	Phases: []rollout.Phase{
		{Percent: 5 * rollout.OnePercent, Hold: rollout.Hold{Min: rollout.Duration(time.Hour), Max: rollout.Duration(2 * time.Hour)}, MinDevices: 10},
		{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: rollout.Duration(time.Hour), Max: rollout.Duration(2 * time.Hour)}, MinDevices: 10},
	},
}

func TestTickWalksAHealthyRolloutToItsEnd(t *testing.T) {
	w := newWorld(t, twoPhases)
	if o := w.tick(); o.Verb != "" || o.Verdict.Decision != judge.Wait {
		t.Fatalf("with no data the tick did %q (%s)", o.Verb, o.Verdict.Decision)
	}
	w.pass(3 * time.Hour)
	if o := w.tick(); o.Verb != "" {
		t.Fatalf("with no data at the longest hold the tick did %q: missing data is never health", o.Verb)
	}
	w.hear(rollout.ArmCandidate, 0, 50, 0)
	w.hear(rollout.ArmControl, 0, 950, 0)
	if o := w.tick(); o.Verb != rollout.VerbPromote || o.Rollout.Phase != 1 {
		t.Fatalf("tick did %q, phase %d: %s", o.Verb, o.Rollout.Phase, o.Verdict.Sentence)
	}
	if o := w.tick(); o.Verb != "" {
		t.Fatalf("a second tick at once did %q", o.Verb)
	}
	w.pass(3 * time.Hour)
	w.hear(rollout.ArmCandidate, 100, 500, 0)
	w.hear(rollout.ArmControl, 1000, 500, 0)
	if o := w.tick(); o.Rollout.State != rollout.Completed {
		t.Fatalf("tick left it %s: %s", o.Rollout.State, o.Verdict.Sentence)
	}
	if got, want := w.verbs(), []string{"start", "promote", "complete"}; !slices.Equal(got, want) {
		t.Errorf("audit log %v, want %v", got, want)
	}
	live, err := w.apps.Live(t.Context())
	if err != nil || len(live) != 0 {
		t.Errorf("still live: %v %v", live, err)
	}
}

func TestHarmPausesAndResumingWaivesIt(t *testing.T) {
	plan := twoPhases
	plan.Gates = []rollout.Gate{{Metric: rollout.Crash, Severe: 1e6}}
	w := newWorld(t, plan)
	w.hear(rollout.ArmCandidate, 0, 50, 20)
	w.hear(rollout.ArmControl, 0, 950, 10)
	o := w.tick()
	if o.Rollout.State != rollout.Paused || o.Verdict.Code != judge.CodeHarm {
		t.Fatalf("state %s: %s", o.Rollout.State, o.Verdict.Sentence)
	}
	if got := w.rollout().Alarms; !slices.Equal(got, []rollout.Metric{rollout.Crash}) {
		t.Errorf("alarms %v", got)
	}
	w.operate(rollout.VerbResume)
	w.pass(3 * time.Hour)
	o = w.tick()
	if o.Rollout.State != rollout.Running || o.Verb != rollout.VerbHold || o.Rollout.Waiting != judge.CodeHarm {
		t.Errorf("after a person resumed, the tick did %q: %s", o.Verb, o.Verdict.Sentence)
	}
	if o = w.tick(); o.Verb != "" {
		t.Errorf("asked a second time: %q", o.Verb)
	}
}

func TestSevereHarmTakesAPausedBundleBack(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.operate(rollout.VerbPause)
	w.hear(rollout.ArmCandidate, 0, 50, 40)
	w.hear(rollout.ArmControl, 0, 950, 5)
	if o := w.tick(); o.Rollout.State != rollout.RolledBack {
		t.Errorf("state %s: %s", o.Rollout.State, o.Verdict.Sentence)
	}
}

func TestScheduledRolloutStartsWhenItsTimeHasCome(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.operate(rollout.VerbHalt)
	before, err := w.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	w.id = "01M0000000000000000000000B"
	tr, err := rollout.Start(before, rollout.StartRequest{
		ID: w.id, Salt: rollout.Salt{2}, Channel: "production", Bundle: "1.1.0", Plan: twoPhases, Actor: "test",
		At: w.clock(), StartsAt: w.clock().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.apps.Commit(t.Context(), before, tr.ApplyTo(before), tr.Events); err != nil {
		t.Fatal(err)
	}
	if o := w.tick(); o.Verb != "" {
		t.Fatalf("an hour early the tick did %q", o.Verb)
	}
	w.pass(time.Hour)
	if o := w.tick(); o.Rollout.State != rollout.Running {
		t.Errorf("state %s", o.Rollout.State)
	}
}

// TestManyTicksAtOnce runs ticks side by side: each transition happens once.
func TestManyTicksAtOnce(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.hear(rollout.ArmCandidate, 0, 50, 0)
	w.hear(rollout.ArmControl, 0, 950, 0)
	w.pass(150 * time.Minute)
	var ticks sync.WaitGroup
	for range 16 {
		ticks.Go(func() {
			if _, err := w.ticker().Tick(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	ticks.Wait()
	r := w.rollout()
	if r.Phase != 1 || r.Version != 2 {
		t.Errorf("phase %d, version %d after ticks at once, want 1 and 2", r.Phase, r.Version)
	}
	if got, want := w.verbs(), []string{"start", "promote"}; !slices.Equal(got, want) {
		t.Errorf("audit log %v, want %v", got, want)
	}
}

// another starts a rollout of an app of its own and returns where devices are heard for it.
func (w *world) another(name string) *world {
	w.t.Helper()
	other := &world{t: w.t, store: w.store, apps: w.apps, now: w.now, id: "01M00000000000000000000" + name, app: "com.example." + name}
	other.start(twoPhases)
	return other
}

func TestOneTickMovesTheRolloutsOfManyApps(t *testing.T) {
	w := newWorld(t, twoPhases)
	worlds := []*world{w}
	for i := range 20 {
		worlds = append(worlds, w.another(fmt.Sprintf("A%02d", i)))
	}
	for i, other := range worlds {
		if i%3 != 0 { // the others have no data yet
			other.hear(rollout.ArmCandidate, 0, 50, 0)
			other.hear(rollout.ArmControl, 0, 950, 0)
		}
	}
	w.pass(150 * time.Minute)
	ticker, told := w.ticker(), 0
	ticker.Notify = func(promote.Outcome) { told++ } // one at a time, or the race detector says so
	outcomes, err := ticker.Tick(t.Context())
	if err != nil || len(outcomes) != len(worlds) {
		t.Fatalf("%v: %d outcomes of %d", err, len(outcomes), len(worlds))
	}
	if !slices.IsSortedFunc(outcomes, func(a, b promote.Outcome) int { return strings.Compare(a.Rollout.App, b.Rollout.App) }) {
		t.Error("the outcomes are not in the order of apps")
	}
	moved := 0
	for i, other := range worlds {
		want := min(1, i%3)
		if got := other.rollout().Phase; got != want {
			t.Errorf("%s is in phase %d, want %d", other.app, got, want)
		}
		moved += want
	}
	if told != moved {
		t.Errorf("told of %d transitions, want %d", told, moved)
	}
}

func TestATickThatRunsOutOfTimeSaysWhatIsLeft(t *testing.T) {
	w := newWorld(t, twoPhases)
	w.another("A00")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ticker := w.ticker()
	ticker.Apps.Store = endsAfterListing{w.store, cancel}
	outcomes, err := ticker.Tick(ctx)
	if err != nil || len(outcomes) != 2 {
		t.Fatalf("%v: %+v", err, outcomes)
	}
	for _, o := range outcomes {
		if !errors.Is(o.Err, context.Canceled) {
			t.Errorf("a rollout that was not looked at: %+v", o)
		}
	}
}

// endsAfterListing is a store that calls ended after the first query.
type endsAfterListing struct {
	store.Store
	ended func()
}

func (s endsAfterListing) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	defer s.ended()
	return s.Store.Query(ctx, r, c)
}
