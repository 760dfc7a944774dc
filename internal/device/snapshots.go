package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/store"
)

// errUnknownApp says that no app has this id.
var errUnknownApp = errors.New("unknown app")

// errUnreadable says that an app's Snapshot is there but could not be read.
var errUnreadable = errors.New("unreadable")

const (
	// maxAbsent bounds how many apps without a Snapshot are remembered, since anybody may send any id.
	maxAbsent = 4096
	// loadTimeout bounds one load from the store, whoever waits for it.
	loadTimeout = 5 * time.Second
	// retryAfter is how long a first load that failed is not tried again: a store in trouble must not be asked once for
	// every device that calls.
	retryAfter = time.Second
)

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

	frozen bool             // the process may be stopped between requests
	real   func() time.Time // real time

	mu      sync.Mutex // guards replacing known, and what follows; never held while the store is asked
	absent  map[string]absence
	stale   map[string]*loaded // the last good Snapshots of forgotten apps: only for when there is no newer to be had
	flights map[string]*flight

	background work // loads and refreshes under way
}

// entry is an app that was loaded at least once.
type entry struct {
	current atomic.Pointer[loaded]
	checked atomic.Int64            // when the store was last asked, Unix nanoseconds
	refresh atomic.Pointer[refresh] // under way, if any
	gone    atomic.Bool             // the app was deleted
}

// refresh is a look for a newer Snapshot; ended is closed when it is over.
type refresh struct{ ended chan struct{} }

// absence is why an app has no Snapshot, when that was found out, and for how long to believe it.
type absence struct {
	err  error
	at   time.Time
	wait time.Duration
}

// expired reports whether what was true at a time may not be any more, a TTL later. A clock that was set back says
// nothing about age, so it counts as late.
func expired(age, ttl time.Duration) bool { return age < 0 || age > ttl }

// flight is the first load of an app. Its outcome may be read when landed is closed.
type flight struct {
	landed chan struct{}
	loaded *loaded
	err    error
}

func newSnapshots(apps store.Apps, now func() time.Time, ttl time.Duration, log *slog.Logger) *snapshots {
	s := &snapshots{apps: apps, now: now, ttl: ttl, log: log, absent: map[string]absence{}, stale: map[string]*loaded{}, flights: map[string]*flight{}, real: time.Now}
	s.known.Store(&map[string]*entry{})
	return s
}

// get returns the app's Snapshot: at once if one is in memory, however old, starting a refresh in the background when it
// is older than the TTL; from the store otherwise. On a host that freezes the process it waits for the refresh, once,
// when the Snapshot is so old that the process must have been frozen meanwhile. It fails with errUnknownApp, or with the
// store's error.
func (s *snapshots) get(ctx context.Context, app string) (*loaded, error) {
	e, ok := (*s.known.Load())[app]
	if !ok {
		return s.first(ctx, app)
	}
	if age := s.age(e); expired(age, s.ttl) {
		refreshed := s.refresh(e)
		if s.frozen && age > ancient*s.ttl {
			await(ctx, refreshed)
		}
	}
	return e.get()
}

// age returns how long ago the store was last asked for the app.
func (s *snapshots) age(e *entry) time.Duration {
	return time.Duration(s.now().UnixNano() - e.checked.Load())
}

func (e *entry) get() (*loaded, error) {
	if e.gone.Load() {
		return nil, errUnknownApp
	}
	return e.current.Load(), nil
}

// first returns the Snapshot of an app that was not in memory. Concurrent first requests of one app share one load, and
// apps do not wait for each other.
func (s *snapshots) first(ctx context.Context, app string) (*loaded, error) {
	f, l, err := s.board(app)
	if f == nil {
		return l, err
	}
	select {
	case <-f.landed:
		return f.loaded, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the snapshot of %s: %w", app, ctx.Err())
	}
}

// board returns the flight to wait for, starting it if there is none; or, without a flight, what is known already.
func (s *snapshots) board(app string) (*flight, *loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := (*s.known.Load())[app]; ok { // loaded since the caller looked
		l, err := e.get()
		return nil, l, err
	}
	if a, ok := s.absent[app]; ok && !expired(s.now().Sub(a.at), a.wait) {
		return nil, nil, a.err
	}
	f, ok := s.flights[app]
	if !ok {
		app = strings.Clone(app) // it points into the request
		f = &flight{landed: make(chan struct{})}
		s.flights[app] = f
		s.background.Go(func() { s.fly(app, f) })
	}
	return f, nil, nil
}

// fly loads the app.
func (s *snapshots) fly(app string, f *flight) {
	asked := s.now()
	f.loaded, f.err = s.patiently(loadTimeout, app, nil)
	unknown := errors.Is(f.err, store.ErrNotFound)
	switch {
	case unknown:
		f.err = errUnknownApp
	case f.err != nil:
		asked = s.fallBack(app, f)
	}
	s.land(app, f, asked, unknown)
	close(f.landed)
}

// fallBack turns a load that failed into the last good Snapshot of an app that was forgotten, if there is one. It returns
// the time for which to say that the store was asked: such that it is asked again soon.
func (s *snapshots) fallBack(app string, f *flight) time.Time {
	s.mu.Lock()
	last := s.stale[app]
	s.mu.Unlock()
	now := s.now()
	if last == nil {
		s.log.Error("no snapshot to answer from", "app", app, "error", f.err)
		return now
	}
	s.log.Warn("snapshot not loaded, answering from the last good one", "app", app, "revision", last.revision, "error", f.err)
	f.loaded, f.err = last, nil
	return now.Add(min(retryAfter, s.ttl) - s.ttl)
}

// land remembers how the flight ended, unless the app was forgotten meanwhile: then it may have read what is gone.
func (s *snapshots) land(app string, f *flight, asked time.Time, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[app] != f {
		return
	}
	delete(s.flights, app)
	delete(s.stale, app) // it is gone, or has become the entry, or there is a newer one
	if f.err != nil {
		wait := retryAfter
		if unknown {
			wait = s.ttl
		}
		if len(s.absent) >= maxAbsent {
			clear(s.absent)
		}
		s.absent[app] = absence{f.err, s.now(), wait}
		return
	}
	e := &entry{}
	e.current.Store(f.loaded)
	e.checked.Store(asked.UnixNano())
	delete(s.absent, app)
	next := maps.Clone(*s.known.Load())
	next[app] = e
	s.known.Store(&next)
}

// refresh returns what is closed when the refresh of the entry ends that is under way, or that it starts.
func (s *snapshots) refresh(e *entry) <-chan struct{} {
	if under := e.refresh.Load(); under != nil {
		return under.ended
	}
	mine := &refresh{ended: make(chan struct{})}
	for !e.refresh.CompareAndSwap(nil, mine) {
		if under := e.refresh.Load(); under != nil {
			return under.ended
		}
	}
	end := func() { e.refresh.Store(nil); close(mine.ended) }
	if !expired(s.age(e), s.ttl) { // another one ended since the caller looked
		end()
		return mine.ended
	}
	s.background.Go(func() {
		defer end()
		s.renew(e, e.current.Load())
	})
	return mine.ended
}

// renew asks the store for a newer Snapshot; on failure the last good one stays.
func (s *snapshots) renew(e *entry, old *loaded) {
	app := old.snapshot.App()
	l, err := s.patiently(s.refreshTimeout(), app, old)
	e.checked.Store(s.now().UnixNano())
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.gone.Store(true)
	case err != nil:
		s.log.Warn("snapshot not refreshed, answering from the last good one", "app", app, "revision", old.revision, "error", err)
	default:
		e.current.Store(l)
		e.gone.Store(false)
	}
}

// load reads, compiles and renders the app's Snapshot; it returns old itself when that is still the newest. A large
// Snapshot lies beside its item and is removed when the next one is there: one that cannot be read is looked up anew, once.
func (s *snapshots) load(ctx context.Context, app string, old *loaded) (*loaded, error) {
	l, err := s.loadOnce(ctx, app, old)
	if errors.Is(err, errUnreadable) {
		l, err = s.loadOnce(ctx, app, old)
	}
	return l, err
}

func (s *snapshots) loadOnce(ctx context.Context, app string, old *loaded) (*loaded, error) {
	item, err := s.apps.Snapshot(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("loading the snapshot of %s: %w", app, err)
	}
	if old != nil && item.Revision <= old.revision {
		return old, nil
	}
	spec, err := item.Spec()
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot of %s: %w: %w", app, errUnreadable, err)
	}
	snapshot, err := resolve.Compile(spec)
	if err != nil {
		return nil, fmt.Errorf("compiling the snapshot of %s: %w", app, err)
	}
	return &loaded{revision: item.Revision, snapshot: snapshot, answers: capgo.NewAnswers(snapshot)}, nil
}

// forget makes the next get wait for the store: it sets aside what is in memory of the app, for the case that the store
// fails, and drops what is on the way there.
func (s *snapshots) forget(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := (*s.known.Load())[app]; ok {
		if l, err := e.get(); err == nil {
			s.stale[app] = l
		}
		next := maps.Clone(*s.known.Load())
		delete(next, app)
		s.known.Store(&next)
	}
	delete(s.absent, app)
	delete(s.flights, app)
}

// close waits for what is under way.
func (s *snapshots) close() { s.background.wait(context.Background()) }
