package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// news is what a batch says of one rollout.
type news struct {
	observed []telemetry.Device
	newest   int64 // received time of the newest counted check, Unix milliseconds; 0 for none
}

// hearing is what records say, sorted by rollout.
type hearing struct {
	rollouts map[rolloutKey]*news
	shown    observations // for people to look at
	newest   int64        // received time of the newest event, counted or not, Unix milliseconds; 0 for none
}

// add takes in what event says.
func (h *hearing) add(event telemetry.Event) {
	h.newest = max(h.newest, event.Time)
	for _, x := range event.Exposures {
		h.shown.add(event, x)
		observed := telemetry.Observe(event, x)
		if observed.IsZero() {
			continue
		}
		k := rolloutKey{event.App, x.Rollout}
		if h.rollouts == nil {
			h.rollouts = map[rolloutKey]*news{}
		}
		if h.rollouts[k] == nil {
			h.rollouts[k] = &news{}
		}
		h.rollouts[k].observed = append(h.rollouts[k].observed, telemetry.Device{Fingerprint: event.Device, Record: observed})
		if event.Kind == telemetry.KindCheck {
			h.rollouts[k].newest = max(h.rollouts[k].newest, event.Time)
		}
	}
}

// foldPulled counts the batch, which follows the shard's checkpoint, and moves the checkpoint behind it. Records that
// cannot be decoded are logged and passed over, because they will not get better.
func (a *Aggregator) foldPulled(ctx context.Context, s *shard, batch []stream.Delivered) error {
	var heard hearing
	for _, record := range batch {
		event, err := a.decode(record)
		if err != nil {
			a.log().Warn("a telemetry record cannot be read and is passed over",
				"shard", s.book.Name, "position", record.Position, "error", err)
			continue
		}
		heard.add(event)
	}
	after := s.checkpoint
	after.Position = string(batch[len(batch)-1].Position)
	after.Newest = max(heard.newest, after.Newest)
	return a.fold(ctx, s, heard, after, cmp.Or(a.Cache, defaultCache))
}

// fold counts what was heard and moves the shard's checkpoint to after, keeping at most so many bytes of what it read.
func (a *Aggregator) fold(ctx context.Context, s *shard, heard hearing, after store.Checkpoint, cache int) error {
	s.folds++
	err := a.foldNews(ctx, s, heard, after)
	if err == nil {
		err = a.compactCrowded(ctx, s, heard.rollouts)
	}
	if err != nil {
		s.doubt()
		if errors.Is(err, store.ErrConflict) {
			a.counters.conflicts.Add(1)
		} else {
			a.counters.failures.Add(1)
		}
		return fmt.Errorf("fold: %w", err)
	}
	s.evict(cache)
	return nil
}

// decode reads a record and counts it in the Stats.
func (a *Aggregator) decode(record stream.Delivered) (telemetry.Event, error) {
	event, err := telemetry.Decode(record.Data)
	if err != nil {
		a.counters.poison.Add(1)
		return telemetry.Event{}, err
	}
	a.countEvent(event)
	return event, nil
}

func (a *Aggregator) countEvent(e telemetry.Event) {
	a.counters.events.Add(1)
	a.counters.noteNewest(e.Time)
	if e.Kind == telemetry.KindCheck {
		a.counters.checks.Add(1)
	}
	if e.Test {
		a.counters.test.Add(1)
	}
	if !telemetry.Classify(e).Known {
		a.counters.unknown.Add(1)
	}
}

// foldNews commits what was heard, and the checkpoint after with the last of it.
func (a *Aggregator) foldNews(ctx context.Context, s *shard, heard hearing, after store.Checkpoint) error {
	c := commit{aggregator: a, shard: s}
	if err := c.addNews(ctx, heard.rollouts); err != nil {
		return err
	}
	now := a.now()
	shown, err := c.addDisplays(ctx, now.Add(-displayEvery), heard.shown)
	if err != nil && ctx.Err() == nil { // nothing that is counted waits for it
		a.log().Warn("percentiles are not brought up to date; the next fold tries again", "shard", s.book.Name, "error", err)
	}
	// With nothing new, the engine that pushed it keeps the place.
	if len(c.pending) > 0 || after.Position != s.checkpoint.Position {
		if err := c.flush(ctx, after); err != nil {
			return err
		}
	}
	s.hear(now, heard.shown, shown)
	clear(heard.shown) // whoever has to fold again for what follows does not hear it again
	return nil
}

// addNews gathers what heard changes, and writes it but for the last part.
func (c *commit) addNews(ctx context.Context, heard map[rolloutKey]*news) error {
	for _, k := range sortedKeys(heard) {
		known, err := c.shard.rollout(ctx, k)
		if err != nil {
			return err
		}
		changes, err := known.census.Diff(heard[k].observed)
		if err != nil {
			return fmt.Errorf("rollout %s: %w", k.rollout, err)
		}
		for _, change := range changes {
			if err := c.add(ctx, k, change); err != nil {
				return err
			}
		}
		if newest := heard[k].newest; newest > known.newest {
			if err := c.addNewest(ctx, k, newest); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[rolloutKey]V) []rolloutKey {
	return slices.SortedFunc(maps.Keys(m), compareKeys)
}

func compareKeys(a, b rolloutKey) int {
	return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.rollout, b.rollout))
}

// commit gathers changes until they fill one write.
type commit struct {
	aggregator *Aggregator
	shard      *shard
	pending    []*pending // one per rollout
}

// pending is what a commit will do to one rollout.
type pending struct {
	key     rolloutKey
	changes []telemetry.Change
	delta   telemetry.Delta
	newest  int64
	sketch  []byte // nil leaves it
	bytes   int    // bound on the changed records' size
}

// add takes change in, after writing what was gathered if there is no room left.
func (c *commit) add(ctx context.Context, k rolloutKey, change telemetry.Change) error {
	delta := telemetry.Delta{}
	change.AddTo(delta)
	p, err := c.room(ctx, k, len(delta), change.New.Bytes())
	if err != nil {
		return err
	}
	p.changes = append(p.changes, change)
	p.delta.Merge(delta)
	p.bytes += change.New.Bytes()
	return nil
}

// addNewest has the newest counted check of a rollout written.
func (c *commit) addNewest(ctx context.Context, k rolloutKey, newest int64) error {
	p, err := c.room(ctx, k, 0, 0)
	if err != nil {
		return err
	}
	p.newest = newest
	return nil
}

// perRollout is how many operations a rollout takes beside its tally rows: a patch and the newest check.
const perRollout = 2

// room returns where to gather for k, with at least so many tally rows and bytes to spare.
func (c *commit) room(ctx context.Context, k rolloutKey, rows, bytes int) (*pending, error) {
	ops, full := rows+perRollout, false
	for _, p := range c.pending {
		ops += perRollout + len(p.delta)
		full = full || p.key == k && p.bytes+bytes > maxPatchBytes
	}
	if len(c.pending) > 0 && (full || ops > maxCommitOps) {
		if err := c.flush(ctx, c.shard.checkpoint); err != nil {
			return nil, err
		}
	}
	return c.of(k), nil
}

// of returns where to gather for k, whether or not there is room.
func (c *commit) of(k rolloutKey) *pending {
	if i := slices.IndexFunc(c.pending, func(p *pending) bool { return p.key == k }); i >= 0 {
		return c.pending[i]
	}
	p := &pending{key: k, delta: telemetry.Delta{}}
	c.pending = append(c.pending, p)
	return p
}

// flush writes what was gathered together with the checkpoint, and takes it into the shard's state.
func (c *commit) flush(ctx context.Context, after store.Checkpoint) error {
	folds := make([]store.Fold, len(c.pending))
	for i, p := range c.pending {
		fold, err := c.shard.fold(ctx, p)
		if err != nil {
			return err
		}
		folds[i] = fold
	}
	if err := c.aggregator.write(ctx, c.shard, after, folds...); err != nil {
		return err
	}
	for i, p := range c.pending {
		c.aggregator.counters.changes.Add(int64(len(p.changes)))
		c.shard.apply(p, folds[i])
	}
	c.pending = nil
	return nil
}

// fold returns what p writes.
func (s *shard) fold(ctx context.Context, p *pending) (store.Fold, error) {
	f := store.Fold{
		App: p.key.app, Rollout: p.key.rollout, Newest: p.newest, Sketch: p.sketch,
		Tallies: make(map[telemetry.TallyKey]telemetry.Tally, len(p.delta)),
	}
	if err := s.readRows(ctx, p.key, p.delta); err != nil {
		return store.Fold{}, err
	}
	for at, change := range p.delta {
		f.Tallies[at] = s.rollouts[p.key].tallies[at].Add(change, 1)
	}
	if len(p.changes) > 0 {
		f.Patches = []telemetry.Patch{s.rollouts[p.key].census.Patch(p.changes, s.checkpoint.Version()+1)}
	}
	return f, nil
}

// apply takes p, written as f, into the shard's state.
func (s *shard) apply(p *pending, f store.Fold) {
	known := s.rollouts[p.key]
	if known == nil { // only its sketch was written
		return
	}
	maps.Copy(known.tallies, f.Tallies)
	known.newest = max(known.newest, f.Newest)
	if len(f.Patches) > 0 {
		known.census.Apply(p.changes, f.Patches[0])
		known.patched(f.Patches[0])
	}
}

// write commits folds and remembers the checkpoint.
func (a *Aggregator) write(ctx context.Context, s *shard, after store.Checkpoint, folds ...store.Fold) error {
	checkpoint, err := s.book.Commit(ctx, s.checkpoint, after, folds...)
	if err != nil {
		return err
	}
	a.counters.commits.Add(1)
	s.checkpoint = checkpoint
	return nil
}

// compactCrowded merges the journals that have grown too large, of the rollouts just heard of.
func (a *Aggregator) compactCrowded(ctx context.Context, s *shard, heard map[rolloutKey]*news) error {
	for _, k := range sortedKeys(heard) {
		known := s.rollouts[k]
		if !known.census.Crowded() {
			continue
		}
		if err := a.compact(ctx, s, k, known); err != nil {
			delete(s.rollouts, k) // which of its leaves are stored is only known to the store now
			return fmt.Errorf("merging the journal of rollout %s: %w", k.rollout, err)
		}
		a.counters.compactions.Add(1)
	}
	return nil
}

// compact stores the merged leaves, in as many writes as it takes, and then deletes the patches. It may be cut short
// anywhere: until the last patch is gone, all that the leaves say is said once more by the patches left.
func (a *Aggregator) compact(ctx context.Context, s *shard, k rolloutKey, known *counted) error {
	var rewrites []telemetry.Leaf
	fold, size := store.Fold{App: k.app, Rollout: k.rollout}, 0
	flush := func() error {
		if fold.Ops() == 0 {
			return nil
		}
		err := a.write(ctx, s, s.checkpoint, fold)
		fold, size = store.Fold{App: k.app, Rollout: k.rollout}, 0
		return err
	}
	for leaf, err := range known.census.Rewrites() {
		if err != nil {
			return err
		}
		if fold.Ops() == maxCommitOps || size+len(leaf.Data) > maxLeafBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		fold.Leaves = append(fold.Leaves, leaf)
		size += len(leaf.Data)
		rewrites = append(rewrites, leaf)
	}
	if err := flush(); err != nil {
		return err
	}
	for patches := range slices.Chunk(known.census.Journal(), maxMerged) {
		fold.Merged = patches
		if err := flush(); err != nil {
			return err
		}
	}
	known.census.Compacted(rewrites)
	known.compacted(rewrites)
	return nil
}
