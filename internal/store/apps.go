package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// loadAttempts bounds how often Load starts over when others keep changing the app under it.
const loadAttempts = 8

// Apps keeps what operators own: each app's entities, one item each, with its compiled Snapshot and its audit log.
type Apps struct {
	Store Store
	// NewID draws the ids of audit events; see NewULID. It must be set to Commit or Delete.
	NewID func(at time.Time) string
	// Large keeps Snapshots that are too large for an item. Without it they are refused, and those that it keeps cannot
	// be read.
	Large Blobs
}

// appItem is the value of the APP item. Its version is the app's revision.
type appItem struct {
	rollout.App
	Owned      []byte `json:"owned,omitempty"`
	Generation int64  `json:"generation,omitempty"`

	Retired []rollout.RetiredBundle `json:"retired,omitempty"`
	// Deleted marks what is left of a deleted app: the revision, so that it never goes back, not even when an app of
	// the same id is made later.
	Deleted bool `json:"deleted,omitempty"`
	// Object is what a deletion has yet to remove from Large: the key of the last Snapshot's object.
	Object string `json:"object,omitempty"`
}

// Load returns the app's whole State, or ErrNotFound. It reads every entity but neither the Snapshot nor the audit log,
// which only grows. A State is never older than any Commit that returned before the call. It fails with ErrConflict
// when others changed the app all the while.
func (a Apps) Load(ctx context.Context, app string) (rollout.State, error) {
	for range loadAttempts {
		state, err := a.loadOnce(ctx, app)
		if errors.Is(err, errNewer) {
			continue
		}
		if err != nil {
			return rollout.State{}, fmt.Errorf("loading app %s: %w", app, err)
		}
		// Several reads are no snapshot; but every change raises the revision, so the same one before and after means
		// that nothing came in between. An entity of a later revision came while others could not be seen yet: engines
		// may show the items of one Write moments apart.
		item, _, err := a.head(ctx, app, Strong)
		if err != nil {
			return rollout.State{}, fmt.Errorf("loading app %s: %w", app, err)
		}
		if item.Version == state.Revision {
			return state, nil
		}
	}
	return rollout.State{}, fmt.Errorf("loading app %s: %w [it changes faster than it can be read; try again]", app, ErrConflict)
}

func (a Apps) loadOnce(ctx context.Context, app string) (rollout.State, error) {
	item, head, err := a.head(ctx, app, Strong)
	if err != nil {
		return rollout.State{}, err
	}
	state := rollout.State{App: head.App, Revision: item.Version, Owned: head.Owned, Generation: head.Generation, Retired: head.Retired}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		state.Bundles, err = loadAll[rollout.Bundle](ctx, a.Store, item, prefixBundle)
		return
	})
	group.Go(func() (err error) {
		state.Channels, err = loadAll[rollout.Channel](ctx, a.Store, item, prefixChannel)
		return
	})
	group.Go(func() (err error) {
		state.Segments, err = loadAll[rollout.Segment](ctx, a.Store, item, prefixSegment)
		return
	})
	group.Go(func() (err error) {
		state.Devices, err = loadAll[rollout.Device](ctx, a.Store, item, prefixDevice)
		return
	})
	group.Go(func() (err error) { state.Plans, err = loadAll[rollout.Plan](ctx, a.Store, item, prefixPlan); return })
	group.Go(func() (err error) {
		state.Rollouts, err = loadAll[rollout.Rollout](ctx, a.Store, item, prefixRollout)
		return
	})
	return state, group.Wait()
}

// head reads the APP item. A deleted app is ErrNotFound; its item is returned all the same.
func (a Apps) head(ctx context.Context, app string, c Consistency) (Item, appItem, error) {
	if err := checkApp(app); err != nil {
		return Item{}, appItem{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	item, err := a.Store.Get(ctx, appKey(app), c)
	if err != nil {
		return Item{}, appItem{}, err
	}
	var head appItem
	if err := decodeItem(item, &head); err != nil {
		return Item{}, appItem{}, err
	}
	if head.Deleted {
		return item, head, fmt.Errorf("%w: it was deleted", ErrNotFound)
	}
	return item, head, nil
}

// errNewer says that an entity is of a later revision than the APP item read before it.
var errNewer = fmt.Errorf("%w while it was read", ErrConflict)

// loadAll reads the entities of one kind, by the rest of their sort key, of the app whose APP item is head.
func loadAll[T any](ctx context.Context, s Store, head Item, prefix string) (map[string]T, error) {
	items, err := s.Query(ctx, Range{PK: head.PK, Prefix: prefix}, Strong)
	if err != nil {
		return nil, err
	}
	all := make(map[string]T, len(items))
	for _, item := range items {
		if item.Version > head.Version {
			return nil, errNewer
		}
		var entity T
		if err := decodeItem(item, &entity); err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(item.SK, prefix)] = entity
	}
	return all, nil
}

// List returns the ids of all apps, in byte order.
func (a Apps) List(ctx context.Context) ([]string, error) {
	items, err := a.Store.Query(ctx, Range{PK: pkApps}, Strong)
	if err != nil {
		return nil, fmt.Errorf("listing apps: %w", err)
	}
	apps := make([]string, len(items))
	for i, item := range items {
		apps[i] = item.SK
	}
	return apps, nil
}

// Revision returns the app's newest revision, a moment old at most, or ErrNotFound. It is the cheapest way to learn
// whether a Snapshot is still current.
func (a Apps) Revision(ctx context.Context, app string) (int64, error) {
	item, _, err := a.head(ctx, app, Eventual)
	if err != nil {
		return 0, fmt.Errorf("reading the revision of app %s: %w", app, err)
	}
	return item.Version, nil
}

// SnapshotItem is an app's Snapshot as stored: its revision can be compared before anything is fetched or decoded. A
// large one is fetched by Raw and Spec, within the context of the call that returned the item; that fails when the
// Snapshot was replaced meanwhile.
type SnapshotItem struct {
	Revision int64
	item     Item
	fetch    func(key string) ([]byte, error)
}

// Raw returns the Spec's JSON, exactly as it was committed.
func (s SnapshotItem) Raw() ([]byte, error) {
	value := s.item.Value
	if key := reference(value); key != "" {
		var err error
		if value, err = s.fetch(key); err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.item.Key, err)
		}
	}
	text, err := expandValue(value)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.item.Key, err)
	}
	return text, nil
}

// Spec decodes the Snapshot. Its strings are views into what Raw returns, so neither must be changed.
func (s SnapshotItem) Spec() (resolve.Spec, error) {
	text, err := s.Raw()
	if err != nil {
		return resolve.Spec{}, err
	}
	spec, err := resolve.ParseSpec(text)
	if err != nil {
		return resolve.Spec{}, fmt.Errorf("reading %s: %w", s.item.Key, err)
	}
	return spec, nil
}

// Snapshot returns the app's Snapshot, a moment old at most, or ErrNotFound. Revisions of one app id only ever rise,
// even over its deletion.
func (a Apps) Snapshot(ctx context.Context, app string) (SnapshotItem, error) {
	if err := checkApp(app); err != nil {
		return SnapshotItem{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	item, err := a.Store.Get(ctx, snapshotKey(app), Eventual)
	if err == nil && reference(item.Value) != "" {
		item, err = a.Store.Get(ctx, snapshotKey(app), Strong) // the object of one that is a moment old is gone
	}
	if err != nil {
		return SnapshotItem{}, fmt.Errorf("reading the snapshot of app %s: %w", app, err)
	}
	fetch := func(key string) ([]byte, error) { return a.fetch(ctx, key) }
	return SnapshotItem{Revision: item.Version, item: item, fetch: fetch}, nil
}

// LiveRollout names a rollout that a tick must look at.
type LiveRollout struct {
	App     string `json:"app"`
	Rollout string `json:"rollout"`
}

// Live returns the live rollouts of all apps, by app and then by id. A rollout may end between this call and a look at
// it.
func (a Apps) Live(ctx context.Context) ([]LiveRollout, error) {
	items, err := a.Store.Query(ctx, Range{PK: pkLive}, Strong)
	if err != nil {
		return nil, fmt.Errorf("listing live rollouts: %w", err)
	}
	live := make([]LiveRollout, len(items))
	for i, item := range items {
		if err := decodeItem(item, &live[i]); err != nil {
			return nil, fmt.Errorf("listing live rollouts: %w", err)
		}
	}
	return live, nil
}

// Events returns up to limit lines of the app's audit log, newest first, older than the event with the id before ("" is
// the newest). The log outlives the app. A limit of 0 is the whole log.
func (a Apps) Events(ctx context.Context, app, before string, limit int) ([]rollout.Event, error) {
	r := Range{PK: appPK(app), Prefix: prefixEvent, Limit: limit, Backward: true}
	if before != "" {
		r.After = prefixEvent + before
	}
	items, err := a.Store.Query(ctx, r, Strong)
	if err != nil {
		return nil, fmt.Errorf("reading the events of app %s: %w", app, err)
	}
	events := make([]rollout.Event, len(items))
	for i, item := range items {
		if err := decodeItem(item, &events[i]); err != nil {
			return nil, fmt.Errorf("reading the events of app %s: %w", app, err)
		}
	}
	return events, nil
}

// isAbsent reports whether err says that there is nothing at a key.
func isAbsent(err error) bool { return errors.Is(err, ErrNotFound) }
