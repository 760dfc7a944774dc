package aggregate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

const (
	displayEvery = time.Minute // the least time between two writes of one sketch by one process

	// maxDisplays is how many sketches go with one commit, which has room for them when it is full of all else. Where more
	// are due the others wait for the next commit.
	maxDisplays = store.MaxWriteItems - 1 - perRollout - maxCommitOps

	settleAttempts = 3
	settleTimeout  = 5 * time.Second
)

// observations are what records say to the sketches, by rollout.
type observations map[rolloutKey][]sketch.Observation

// add takes in what event says of the rollout of x.
func (o *observations) add(event telemetry.Event, x telemetry.Exposure) {
	one, ok := sketch.Observe(event, x)
	if !ok {
		return
	}
	if *o == nil {
		*o = observations{}
	}
	k := rolloutKey{event.App, x.Rollout}
	(*o)[k] = append((*o)[k], one)
}

// display is what a shard heard of one rollout for people to look at.
type display struct {
	unwritten *sketch.Sketch // nil when the store has all of it
	written   time.Time      // when this process last wrote; zero before
}

// add takes in what was heard.
func (d *display) add(heard []sketch.Observation) {
	if d.unwritten == nil {
		d.unwritten = &sketch.Sketch{}
	}
	for _, o := range heard {
		d.unwritten.Add(o)
	}
}

// due returns the rollouts of which something is unwritten or was just heard, and whose last write was not after the given
// time: the first few, those that wait for longest before the others.
func (s *shard) due(notAfter time.Time, heard observations) []rolloutKey {
	written := func(k rolloutKey) time.Time {
		if d := s.displays[k]; d != nil {
			return d.written
		}
		return time.Time{}
	}
	keys := slices.Collect(maps.Keys(heard))
	for k, d := range s.displays {
		if d.unwritten != nil && heard[k] == nil {
			keys = append(keys, k)
		}
	}
	keys = slices.DeleteFunc(keys, func(k rolloutKey) bool { return written(k).After(notAfter) })
	slices.SortFunc(keys, func(a, b rolloutKey) int { return cmp.Or(written(a).Compare(written(b)), compareKeys(a, b)) })
	return keys[:min(len(keys), maxDisplays)]
}

// sketch returns what is stored of a rollout, what is not yet and what was just heard, in one, and whether that is more
// than what is stored. What is stored and cannot be read is given up.
func (s *shard) sketch(ctx context.Context, k rolloutKey, heard []sketch.Observation) (data []byte, more bool, err error) {
	stored, err := s.book.Sketch(ctx, k.app, k.rollout)
	if err != nil {
		return nil, false, err
	}
	sum, err := sketch.Decode(stored)
	if err != nil {
		sum = &sketch.Sketch{}
	}
	if d := s.displays[k]; d != nil && d.unwritten != nil {
		sum.Merge(d.unwritten)
	}
	for _, o := range heard {
		sum.Add(o)
	}
	data = sum.Encode()
	return data, !bytes.Equal(data, stored), nil
}

// hear takes in what was heard, now that it is counted. The store has all of the rollouts shown.
func (s *shard) hear(now time.Time, heard observations, shown []rolloutKey) {
	for _, k := range shown {
		s.displays[k] = &display{written: now}
	}
	for k, o := range heard {
		if slices.Contains(shown, k) {
			continue
		}
		if s.displays[k] == nil {
			s.displays[k] = &display{}
		}
		s.displays[k].add(o)
	}
	maps.DeleteFunc(s.displays, func(_ rolloutKey, d *display) bool { // the rollout may be over
		return d.unwritten == nil && now.Sub(d.written) > displayEvery
	})
}

// addDisplays has the last flush write the sketches that are due, and returns their rollouts; not those of which a sketch
// cannot be read, which is the error.
func (c *commit) addDisplays(ctx context.Context, notAfter time.Time, heard observations) (shown []rolloutKey, err error) {
	for _, k := range c.shard.due(notAfter, heard) {
		data, more, failed := c.shard.sketch(ctx, k, heard[k])
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		if more {
			c.of(k).sketch = data
		}
		shown = append(shown, k)
	}
	return shown, err
}

// show writes what is due of what was heard before, and was not written since the given time.
func (a *Aggregator) show(ctx context.Context, s *shard, notAfter time.Time) error {
	if len(s.due(notAfter, nil)) == 0 {
		return nil
	}
	c := commit{aggregator: a, shard: s}
	shown, err := c.addDisplays(ctx, notAfter, nil)
	if err != nil {
		return fmt.Errorf("show what was heard: %w", err)
	}
	if len(c.pending) > 0 {
		if err := c.flush(ctx, s.checkpoint); err != nil {
			s.doubt()
			return fmt.Errorf("show what was heard: %w", err)
		}
	}
	s.hear(a.now(), nil, shown)
	return nil
}

// Settle writes what was heard for people to look at and waits for its minute to be over; what is counted never waits. Run
// does it when it ends. It fails with the store's errors, and with store.ErrConflict if others keep committing: what this
// process heard in its last minute is then not shown.
func (a *Aggregator) Settle(ctx context.Context) error {
	a.mu.Lock()
	shards := slices.Collect(maps.Values(a.shards))
	a.mu.Unlock()
	var errs []error
	for _, s := range shards {
		if err := a.settle(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("settle shard %s: %w", s.book.Name, err))
		}
	}
	return errors.Join(errs...)
}

// settle writes all that one shard has not written, from fresh state when others commit in between.
func (a *Aggregator) settle(ctx context.Context, s *shard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conflicts := 0; len(s.due(a.now(), nil)) > 0; {
		err := s.open(ctx)
		if err == nil {
			err = a.show(ctx, s, a.now())
		}
		if errors.Is(err, store.ErrConflict) && conflicts < settleAttempts {
			conflicts++
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Aggregator) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}
