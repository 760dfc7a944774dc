package main

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is a handler on a real engine, and what its last tick counted.
type world struct {
	*handler
	t       *testing.T
	store   store.Store
	apps    store.Apps
	counted map[string]int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	table, err := sqlite.Open(filepath.Join(t.TempDir(), "palier.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: table, apps: store.Apps{Store: table, NewID: store.NewULID(rand.Reader)}}
	w.on(table)
	return w
}

// on makes the handler work on a table.
func (w *world) on(table store.Store) {
	apps := w.apps
	apps.Store = table
	w.handler = &handler{
		ticker: &promote.Ticker{
			Apps: apps, Tallies: store.Tallies{Store: table}, Verdicts: store.Verdicts{Store: table}, Log: slog.New(slog.DiscardHandler),
			Now: func() time.Time { return start.Add(time.Hour) },
		},
		report: func(counts iter.Seq2[string, int64]) { w.counted = maps.Collect(counts) },
	}
}

// schedule makes an app with a rollout that is due at a time.
func (w *world) schedule(app string, at time.Time) {
	w.t.Helper()
	channel := rollout.NewChannel("production")
	channel.Bundle, channel.Public = "1.0.0", true
	before := rollout.State{App: rollout.App{ID: app}}
	after := before
	after.Bundles = map[string]rollout.Bundle{"1.0.0": {Version: "1.0.0"}, "1.1.0": {Version: "1.1.0"}}
	after.Channels = map[string]rollout.Channel{"production": channel}
	tr, err := rollout.Start(after, rollout.StartRequest{
		ID: "01M0000000000000000000000A", Salt: rollout.Salt{1}, Channel: "production", Bundle: "1.1.0", Actor: "test", At: start, StartsAt: at,
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: 5 * rollout.OnePercent}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.apps.Commit(w.t.Context(), before, tr.ApplyTo(after), tr.Events); err != nil {
		w.t.Fatal(err)
	}
}

// broken is a table whose partitions of some names cannot be read.
type broken struct {
	store.Store
	prefix string
	err    error
}

func (b broken) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	if strings.HasPrefix(k.PK, b.prefix) {
		return store.Item{}, b.err
	}
	return b.Store.Get(ctx, k, c)
}

func (b broken) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	if strings.HasPrefix(r.PK, b.prefix) {
		return nil, b.err
	}
	return b.Store.Query(ctx, r, c)
}

func TestATickMovesWhatIsDueAndCountsIt(t *testing.T) {
	w := newWorld(t)
	if err := w.Tick(t.Context()); err != nil || w.counted["LiveRollouts"] != 0 {
		t.Fatalf("with nothing live: %v %v", err, w.counted)
	}
	w.schedule("com.example.due", start.Add(time.Minute))
	w.schedule("com.example.later", start.Add(24*time.Hour))
	if err := w.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.counted["LiveRollouts"] != 2 || w.counted["RolloutsMoved"] != 1 || w.counted["RolloutFailures"] != 0 {
		t.Errorf("the first tick counted %v", w.counted)
	}
	if err := w.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.counted["RolloutsMoved"] != 0 || w.counted["VerdictsWait"] != 1 {
		t.Errorf("the second tick counted %v", w.counted)
	}
}

func TestATickFailsOnlyWhenNothingGoesOn(t *testing.T) {
	away := errors.New("away")
	for _, c := range []struct {
		prefix string
		fails  bool
		failed int64
	}{
		{"LIVE", true, 0},
		{"APP#", true, 2},
		{"APP#com.example.due", false, 1},
		{"none", false, 0},
	} {
		w := newWorld(t)
		w.schedule("com.example.due", start.Add(time.Minute))
		w.schedule("com.example.later", start.Add(24*time.Hour))
		w.on(broken{w.store, c.prefix, away})
		if err := w.Tick(t.Context()); errors.Is(err, away) != c.fails || (err != nil) != c.fails {
			t.Errorf("%s cannot be read: %v", c.prefix, err)
		}
		if w.counted["RolloutFailures"] != c.failed {
			t.Errorf("%s cannot be read: counted %v", c.prefix, w.counted)
		}
	}
}

// hanging is a table whose apps are never read to the end.
type hanging struct{ store.Store }

func (h hanging) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	if strings.HasPrefix(k.PK, "APP#") {
		<-ctx.Done()
		return store.Item{}, ctx.Err()
	}
	return h.Store.Get(ctx, k, c)
}

// TestASlowRolloutIsNoLackOfTime has one rollout run into its own limit while the tick has time left.
func TestASlowRolloutIsNoLackOfTime(t *testing.T) {
	w := newWorld(t)
	w.schedule("com.example.due", start.Add(time.Minute))
	w.schedule("com.example.later", start.Add(24*time.Hour))
	w.on(broken{w.store, "APP#com.example.due", context.DeadlineExceeded})
	if err := w.Tick(t.Context()); err != nil || w.counted["RolloutFailures"] != 1 {
		t.Errorf("tick: %v, counted %v", err, w.counted)
	}
}

func TestATickEndsBeforeItsTimeIsOverAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.schedule("com.example.due", start.Add(time.Minute))
	w.on(hanging{w.store})
	ctx, cancel := context.WithTimeout(t.Context(), answerReserve+100*time.Millisecond)
	defer cancel()
	err := w.Tick(ctx)
	if err == nil || !strings.Contains(err.Error(), "1 of 1 live rollouts were not judged in time") {
		t.Errorf("tick: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("no time was left for the answer")
	}
}

// TestEdgesKnowWhenATickEnds what it moved, since the process may be stopped then.
func TestEdgesKnowWhenATickEnds(t *testing.T) {
	w := newWorld(t)
	w.schedule("com.example.due", start.Add(time.Minute))
	if _, err := (store.Keys{Store: w.store}).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var told atomic.Pointer[string]
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		told.Store(&r.URL.Path)
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer web.Close()
	edge, err := relay.ParseEdge(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	edges := relay.NewPusher(relay.PusherConfig{
		Apps: w.apps, Keys: store.Keys{Store: w.store}, Edges: []*url.URL{edge}, Log: slog.New(slog.DiscardHandler),
	})
	defer edges.Close()
	w.on(store.Observe(w.store, edges.Changed))
	w.edges = edges
	if err := w.Tick(t.Context()); err != nil || w.counted["RolloutsMoved"] != 1 {
		t.Fatalf("%v, counted %v", err, w.counted)
	}
	if path := told.Load(); path == nil || *path != "/snapshots/com.example.due" {
		t.Errorf("the edge was told of %v", path)
	}
}
