package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/store"
)

// A host such as Lambda stops the process as soon as a request is answered, and lets it go on at the next request: a
// moment later, minutes later, or never. What runs in the background at that moment stands still in the middle. When it
// goes on its deadlines have passed, its connections are dead, and what it knows is as old as the pause was long. So on
// such a host
//
//   - nothing is left under way: Settle waits for it before the process may be stopped;
//   - nothing runs by itself: check events go to the stream in Settle, not by a ticker;
//   - a Snapshot that is several TTLs old is refreshed before it answers, not behind the answer;
//   - what was stopped in the middle all the same is tried again when it fails.
//
// Each of these is bounded, so that neither a slow table nor a slow stream holds up devices for long.
const (
	// ancient is the age of a Snapshot, in TTLs, from which on it does not answer before it was refreshed. After a refresh
	// that failed, its age counts from then.
	ancient = 3
	// frozenTimeout bounds a refresh, and with it how long an answer waits for one, and Settle for what is under way.
	frozenTimeout = time.Second
	// overslept is how much longer than its deadline something took that must have been stopped in the middle.
	overslept = time.Second

	// settleTimeout bounds how long one Settle puts check events on the stream.
	settleTimeout = 300 * time.Millisecond
	// settlePause is the least time between two Settles that do, unless settleMany events wait: a busy process then calls
	// the stream once a second, and a quiet one at the end of each request that left something to tell.
	settlePause = time.Second
	settleMany  = 100
	// settleRest is how long the stream is left alone once it did not take them.
	settleRest = 10 * time.Second
)

// prefetchAtOnce bounds the loads under way in a Prefetch.
const prefetchAtOnce = 8

// Prefetch loads the Snapshots of up to limit apps, so that the first devices to ask for them need not wait. It fails
// when the apps cannot be listed or one of them cannot be loaded; the others are loaded all the same.
func (s *Service) Prefetch(ctx context.Context, limit int) error {
	s.snapshots.background.begin() // from the list on, which Settle would not see otherwise
	defer s.snapshots.background.end()
	apps, err := s.config.Apps.List(ctx)
	if err != nil {
		return fmt.Errorf("loading snapshots ahead: %w", err)
	}
	var loads errgroup.Group
	loads.SetLimit(prefetchAtOnce)
	for _, app := range apps[:min(limit, len(apps))] {
		loads.Go(func() error {
			_, err := s.snapshots.get(ctx, app)
			if errors.Is(err, errUnknownApp) {
				return nil // it was removed a moment ago
			}
			return err
		})
	}
	if err := loads.Wait(); err != nil {
		return fmt.Errorf("loading snapshots ahead: %w", err)
	}
	return nil
}

// Settle makes the process ready to be stopped: it puts the check events noted so far on the stream, if it is time, and
// waits for what is under way in the background. A host that freezes the process calls it at the end of every request.
// When there is nothing to do it takes no time; it never takes longer than settleTimeout for the events and frozenTimeout
// for the rest. Events that wait for a later Settle are lost if there is none; the devices' next checks make up for them.
func (s *Service) Settle(ctx context.Context) {
	s.beacon.settle(ctx)
	if s.snapshots.background.idle() && s.owners.marking.idle() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, frozenTimeout)
	defer cancel()
	s.snapshots.background.wait(ctx)
	s.owners.marking.wait(ctx)
}

// settle puts the queue on the stream if it is time. What the stream does not take stays in the queue.
func (b *beacon) settle(ctx context.Context) {
	queued := len(b.queue)
	if queued == 0 || !b.settling.TryLock() {
		return
	}
	defer b.settling.Unlock()
	now := b.real()
	if now.Before(b.due) && (b.resting || queued < settleMany) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := b.flushOrKeep(ctx); err != nil {
		b.resting, b.due = true, now.Add(settleRest)
		b.log.Warn("check events not appended; they wait for the stream", "events", len(b.queue), "error", err)
		return
	}
	b.resting, b.due = false, now.Add(settlePause)
}

// flushOrKeep appends what is queued; a batch that is not taken goes back.
func (b *beacon) flushOrKeep(ctx context.Context) error {
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		if err := b.append(ctx, batch); err != nil {
			for _, n := range batch {
				b.push(n)
			}
			return err
		}
	}
	return nil
}

// refreshTimeout bounds one refresh.
func (s *snapshots) refreshTimeout() time.Duration {
	if s.frozen {
		return frozenTimeout
	}
	return loadTimeout
}

// patiently loads with a deadline of its own; a second time, if the process was stopped in the middle of the first: that
// deadline passed, or that connection died, without anything being wrong; and what it did bring is as old as the pause was
// long, so it counts only if there is nothing newer to be had.
func (s *snapshots) patiently(timeout time.Duration, app string, old *loaded) (*loaded, error) {
	began := s.real().Round(0) // without the monotonic reading, which may stand still with the process
	l, err := s.within(timeout, app, old)
	if errors.Is(err, store.ErrNotFound) || !s.frozen || s.real().Round(0).Sub(began) < timeout+overslept {
		return l, err
	}
	again, failed := s.within(timeout, app, cmp.Or(l, old))
	if err == nil && failed != nil && !errors.Is(failed, store.ErrNotFound) {
		return l, nil
	}
	return again, failed
}

// within loads with a deadline of its own: it is not bound to any one request, since others may wait for it too.
func (s *snapshots) within(timeout time.Duration, app string, old *loaded) (*loaded, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.load(ctx, app, old)
}
