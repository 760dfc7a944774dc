package aggregate

import (
	"context"
	"sync"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

// rolloutKey names a rollout.
type rolloutKey struct{ app, rollout string }

// shard is what is known of one shard. All of it was read at, or written with, the checkpoint's version; if the store
// has moved on, the next write fails and all of it is dropped.
type shard struct {
	mu         sync.Mutex
	book       store.Shard
	limits     telemetry.Limits
	opened     bool
	checkpoint store.Checkpoint
	rollouts   map[rolloutKey]*counted
	folds      int64 // so far, as a clock for the cache
}

// counted is what is known of one rollout in one shard.
type counted struct {
	census  *telemetry.Census
	tallies map[telemetry.TallyKey]telemetry.Tally // rows read or written so far
	newest  int64                                  // received time of the newest counted check, Unix milliseconds
	used    int64                                  // shard.folds when it was last needed
}

// shard returns the state of the named shard, which the caller must lock.
func (a *Aggregator) shard(name string) *shard {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[name]
	if s == nil {
		s = &shard{book: store.Shard{Store: a.Store, Stream: a.Name, Name: name}, limits: a.Limits}
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
	checkpoint, err := s.book.Checkpoint(ctx)
	if err != nil {
		return err
	}
	s.checkpoint, s.rollouts, s.opened = checkpoint, map[rolloutKey]*counted{}, true
	return nil
}

// drop forgets everything, after which open reads it anew.
func (s *shard) drop() { s.opened, s.rollouts = false, nil }

// rollout returns the state of a rollout, reading it if it is not known.
func (s *shard) rollout(ctx context.Context, k rolloutKey) (*counted, error) {
	if c := s.rollouts[k]; c != nil {
		c.used = s.folds
		return c, nil
	}
	census, err := s.book.Census(ctx, k.app, k.rollout, s.limits)
	if err != nil {
		return nil, err
	}
	newest, err := s.book.Newest(ctx, k.app, k.rollout)
	if err != nil {
		return nil, err
	}
	c := &counted{census: census, newest: newest, used: s.folds, tallies: map[telemetry.TallyKey]telemetry.Tally{}}
	s.rollouts[k] = c
	return c, nil
}

// tally returns the shard's row of a rollout, reading it if it is not known.
func (s *shard) tally(ctx context.Context, k rolloutKey, at telemetry.TallyKey) (telemetry.Tally, error) {
	c := s.rollouts[k]
	if t, ok := c.tallies[at]; ok {
		return t, nil
	}
	t, err := s.book.Tally(ctx, k.app, k.rollout, at)
	if err != nil {
		return telemetry.Tally{}, err
	}
	c.tallies[at] = t
	return t, nil
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
