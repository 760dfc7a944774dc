package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/store"
)

// errUnknownApp says that no app has this id.
var errUnknownApp = errors.New("unknown app")

// maxUnknown bounds how many ids of unknown apps are remembered, since anybody may send any id.
const maxUnknown = 4096

// loaded is one app's Snapshot, ready to answer.
type loaded struct {
	revision int64
	snapshot *resolve.Snapshot
	answers  *capgo.Answers
}

// snapshots keeps one loaded Snapshot per app that was asked for.
type snapshots struct {
	apps  store.Apps
	now   func() time.Time
	ttl   time.Duration
	log   *slog.Logger
	known atomic.Pointer[map[string]*entry] // replaced whole, so that a lookup takes no lock

	mu      sync.Mutex // guards replacing known, and unknown
	unknown map[string]time.Time
}

type entry struct {
	current    atomic.Pointer[loaded]
	checked    atomic.Int64 // when the store was last asked, Unix nanoseconds
	refreshing atomic.Bool
	gone       atomic.Bool // the app was deleted
}

func newSnapshots(apps store.Apps, now func() time.Time, ttl time.Duration, log *slog.Logger) *snapshots {
	s := &snapshots{apps: apps, now: now, ttl: ttl, log: log, unknown: map[string]time.Time{}}
	s.known.Store(&map[string]*entry{})
	return s
}

// get returns the app's Snapshot: at once if one is in memory, however old, starting a refresh in the background when it
// is older than the TTL; from the store otherwise. It fails with errUnknownApp, or with the store's error.
func (s *snapshots) get(ctx context.Context, app string) (*loaded, error) {
	e, ok := (*s.known.Load())[app]
	if !ok {
		return s.first(ctx, app)
	}
	if now := s.now().UnixNano(); now-e.checked.Load() > int64(s.ttl) && e.refreshing.CompareAndSwap(false, true) {
		go s.refresh(e, e.current.Load())
	}
	if e.gone.Load() {
		return nil, errUnknownApp
	}
	return e.current.Load(), nil
}

// first loads an app that is not in memory. Concurrent first requests wait for one load.
func (s *snapshots) first(ctx context.Context, app string) (*loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := (*s.known.Load())[app]; ok {
		return e.current.Load(), nil
	}
	now := s.now()
	if until, ok := s.unknown[app]; ok && now.Before(until) {
		return nil, errUnknownApp
	}
	l, err := s.load(ctx, app, nil)
	if errors.Is(err, store.ErrNotFound) {
		if len(s.unknown) >= maxUnknown {
			clear(s.unknown)
		}
		s.unknown[clone(app)] = now.Add(s.ttl)
		return nil, errUnknownApp
	}
	if err != nil {
		return nil, err
	}
	e := &entry{}
	e.current.Store(l)
	e.checked.Store(now.UnixNano())
	next := maps.Clone(*s.known.Load())
	next[clone(app)] = e
	s.known.Store(&next)
	return l, nil
}

// refresh asks the store for a newer Snapshot; on failure the last good one stays.
func (s *snapshots) refresh(e *entry, old *loaded) {
	defer e.refreshing.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	app := old.snapshot.App()
	l, err := s.load(ctx, app, old)
	e.checked.Store(s.now().UnixNano())
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.gone.Store(true)
	case err != nil:
		s.log.Warn("snapshot not refreshed, answering from the last good one", "app", app, "revision", old.revision, "error", err)
	default:
		e.gone.Store(false)
		e.current.Store(l)
	}
}

// load reads, compiles and renders the app's Snapshot; it returns old itself when that is still the newest.
func (s *snapshots) load(ctx context.Context, app string, old *loaded) (*loaded, error) {
	item, err := s.apps.Snapshot(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("loading the snapshot of %s: %w", app, err)
	}
	if old != nil && item.Revision <= old.revision {
		return old, nil
	}
	spec, err := item.Spec()
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot of %s: %w", app, err)
	}
	snapshot, err := resolve.Compile(spec)
	if err != nil {
		return nil, fmt.Errorf("compiling the snapshot of %s: %w", app, err)
	}
	return &loaded{revision: item.Revision, snapshot: snapshot, answers: capgo.NewAnswers(snapshot)}, nil
}

// clone copies a string that points into a request's buffer.
func clone(s string) string { return string([]byte(s)) }

// forget drops what is in memory of the app.
func (s *snapshots) forget(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.known.Load())
	delete(next, app)
	s.known.Store(&next)
	delete(s.unknown, app)
}
