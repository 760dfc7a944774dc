package aggregate

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

// rolloutKey names a rollout.
type rolloutKey struct{ app, rollout string }

// shard is what is known of one shard, or of one slot of a pushed stream. All of it was read at, or written with, the
// checkpoint's version; if the store has moved on, the next write fails, and what was missed is read before the next one.
type shard struct {
	mu         sync.Mutex
	book       store.Shard
	limits     telemetry.Limits
	opened     bool // the checkpoint need not be read
	checkpoint store.Checkpoint
	rollouts   map[rolloutKey]*counted
	folds      int64                   // so far, as a clock for the cache
	displays   map[rolloutKey]*display // nobody else has them: they are not forgotten when the store has moved on
}

// counted is what is known of one rollout in one shard.
type counted struct {
	census  *telemetry.Census
	leaves  []telemetry.Leaf                       // the stored form of the census
	patches []telemetry.Patch                      // by sequence
	tallies map[telemetry.TallyKey]telemetry.Tally // rows read or written so far
	newest  int64                                  // received time of the newest counted check, Unix milliseconds
	used    int64                                  // shard.folds when it was last needed
	behind  bool                                   // others have written since
}

// shard returns the state of the named shard, which the caller must lock.
func (a *Aggregator) shard(name string) *shard {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[name]
	if s == nil {
		s = &shard{
			book: store.Shard{Store: a.Store, Stream: a.Name, Name: name}, limits: a.Limits,
			rollouts: map[rolloutKey]*counted{}, displays: map[rolloutKey]*display{},
		}
		if a.shards == nil {
			a.shards = map[string]*shard{}
		}
		a.shards[name] = s
	}
	return s
}

// open reads the checkpoint unless it is known.
func (s *shard) open(ctx context.Context) error {
	if s.opened {
		return nil
	}
	return s.reopen(ctx)
}

// reopen reads the checkpoint and notes what else must be read again if the store has moved on.
func (s *shard) reopen(ctx context.Context) error {
	checkpoint, err := s.book.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if checkpoint.Compacted != s.checkpoint.Compacted {
		clear(s.rollouts)
	}
	if checkpoint.Version() != s.checkpoint.Version() {
		for _, c := range s.rollouts {
			c.behind = true
		}
	}
	s.checkpoint, s.opened = checkpoint, true
	return nil
}

// doubt has open read the checkpoint: a write failed, or may have.
func (s *shard) doubt() { s.opened = false }

// rollout returns the state of a rollout, reading what is not known.
func (s *shard) rollout(ctx context.Context, k rolloutKey) (*counted, error) {
	c := s.rollouts[k]
	if c == nil {
		c = &counted{behind: true}
	}
	c.used = s.folds
	if !c.behind {
		return c, nil
	}
	if err := s.catchUp(ctx, k, c); err != nil {
		delete(s.rollouts, k)
		return nil, err
	}
	s.rollouts[k] = c
	return c, nil
}

// catchUp reads what was written of a rollout since its state was read. Of the device records that is the last patch known,
// which may have grown, and those after it: leaves are only written together with a new Checkpoint.Compacted. A patch that
// came after the checkpoint was read is left for the next time: the one before it may have been read before it grew.
func (s *shard) catchUp(ctx context.Context, k rolloutKey, c *counted) error {
	from := int64(0) // all, leaves too
	if c.census != nil {
		from = 1
	}
	if n := len(c.patches); n > 0 {
		from = c.patches[n-1].Sequence
	}
	leaves, patches, err := s.book.Pages(ctx, k.app, k.rollout, from)
	if err != nil {
		return err
	}
	if from == 0 {
		c.leaves = leaves
	}
	patches = slices.DeleteFunc(patches, func(p telemetry.Patch) bool { return p.Sequence > s.checkpoint.Version() })
	c.patches = append(c.patches[:max(0, len(c.patches)-1)], patches...)
	if c.census, err = telemetry.OpenCensus(c.leaves, c.patches, s.limits); err != nil {
		return fmt.Errorf("reading the devices of rollout %s: %w", k.rollout, err)
	}
	if c.newest, err = s.book.Newest(ctx, k.app, k.rollout); err != nil {
		return err
	}
	c.tallies, c.behind = map[telemetry.TallyKey]telemetry.Tally{}, false
	return nil
}

// patched takes a patch that was written into the stored form.
func (c *counted) patched(p telemetry.Patch) {
	if n := len(c.patches); n > 0 && c.patches[n-1].Sequence == p.Sequence {
		c.patches = c.patches[:n-1]
	}
	c.patches = append(c.patches, p)
}

// compacted takes leaves that were written, of which the patches were a part, into the stored form.
func (c *counted) compacted(rewrites []telemetry.Leaf) {
	c.leaves = slices.DeleteFunc(c.leaves, func(old telemetry.Leaf) bool {
		return slices.ContainsFunc(rewrites, func(l telemetry.Leaf) bool { return l.Low == old.Low })
	})
	c.leaves, c.patches = append(c.leaves, rewrites...), nil
}

// rowsAtOnce is how many tally rows are read at once: a batch in which devices come back touches the hours in which they
// were first seen.
const rowsAtOnce = 8

// readRows reads the shard's rows of a rollout that delta changes and that are not known.
func (s *shard) readRows(ctx context.Context, k rolloutKey, delta telemetry.Delta) error {
	c := s.rollouts[k]
	var missing []telemetry.TallyKey
	for at := range delta {
		if _, ok := c.tallies[at]; !ok {
			missing = append(missing, at)
		}
	}
	rows := make([]telemetry.Tally, len(missing))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(rowsAtOnce)
	for i, at := range missing {
		reads.Go(func() (err error) {
			rows[i], err = s.book.Tally(ctx, k.app, k.rollout, at)
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return err
	}
	for i, at := range missing {
		c.tallies[at] = rows[i]
	}
	return nil
}

// evict forgets the rollouts that were not needed for longest until the rest fits into limit bytes. Those that this
// fold needed stay.
func (s *shard) evict(limit int) {
	for {
		total := 0
		var oldest rolloutKey
		var used int64 = -1
		for k, c := range s.rollouts {
			total += c.census.Bytes()
			if c.used < s.folds && (used < 0 || c.used < used) {
				oldest, used = k, c.used
			}
		}
		if total <= limit || used < 0 {
			return
		}
		delete(s.rollouts, oldest)
	}
}
