package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Defaults and bounds of an Aggregator.
const (
	defaultBatch = 1000
	defaultIdle  = 200 * time.Millisecond
	defaultCache = 64 << 20

	maxBackoff    = 5 * time.Second
	stepTimeout   = 60 * time.Second
	maxCommitOps  = 2 * telemetry.MaxRows // a change of one device fits
	maxPatchBytes = 200_000
	maxLeafBytes  = 3_000_000
	// maxMerged is how many patches one write deletes: what is deleted may count as part of the write's size, too.
	maxMerged = maxLeafBytes / maxPatchBytes
)

// Aggregator folds the records of one stream. Store and Name must be set, and Stream unless only FoldBatch is used; set the
// rest before first use or leave it zero. All methods may be called concurrently.
type Aggregator struct {
	Stream stream.Stream
	Store  store.Store
	Name   string // of the stream, under which checkpoints are kept
	Log    *slog.Logger
	Now    func() time.Time // paces the writing of what is only looked at; default time.Now

	Batch  int              // most records per Step; default 1000
	Idle   time.Duration    // real time between two looks of Run at a stream that had nothing; default 200 ms
	Wake   <-chan struct{}  // lets Run look at once; nil is fine
	Cache  int              // bytes of device records kept in memory between folds; default 64 MiB
	Limits telemetry.Limits // of stored pages

	mu       sync.Mutex
	shards   map[string]*shard
	counters counters
}

// Step folds the next records of a shard and returns how many it read; 0 means that there are none yet. It fails with
// store.ErrConflict when someone else folds the same shard, in which case the next Step starts from their state, and
// with the errors of stream and store. A failed Step may have folded a part; nothing is ever counted twice.
func (a *Aggregator) Step(ctx context.Context, shardName string) (int, error) {
	s := a.shard(shardName)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(ctx); err != nil {
		return 0, fmt.Errorf("fold: %w", err)
	}
	batch, err := a.Stream.Read(ctx, shardName, stream.Position(s.checkpoint.Position), cmp.Or(a.Batch, defaultBatch))
	if err != nil {
		return 0, fmt.Errorf("fold shard %s: %w", shardName, err)
	}
	if len(batch) == 0 {
		return 0, a.show(ctx, s, a.now().Add(-displayEvery))
	}
	if err := a.foldPulled(ctx, s, batch); err != nil {
		return 0, err
	}
	// What can be forgotten is the engine's decision; that it does not matter now is all that is said here.
	if err := a.Stream.Trim(ctx, shardName, stream.Position(s.checkpoint.Position)); err != nil && ctx.Err() == nil {
		a.log().Warn("trimming the telemetry log failed", "shard", shardName, "error", err)
	}
	return len(batch), nil
}

// Run folds all shards until ctx ends, settles (see Settle), and then returns nil. Each shard is followed on its own, so
// that one that fails, which is logged and tried again ever more slowly, does not hold up the others. It only fails when
// the stream cannot say which shards it has.
func (a *Aggregator) Run(ctx context.Context) error {
	shards, err := a.Stream.Shards(ctx)
	if err != nil {
		return fmt.Errorf("aggregate %s: list shards: %w", a.Name, err)
	}
	var following sync.WaitGroup
	for _, name := range shards {
		following.Go(func() { a.follow(ctx, name) })
	}
	following.Wait()
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := a.Settle(rest); err != nil {
		a.log().Warn("the last minute is missing from the percentiles", "error", err)
	}
	return nil
}

// follow steps through one shard until ctx ends.
func (a *Aggregator) follow(ctx context.Context, name string) {
	failures := 0
	for ctx.Err() == nil {
		n, err := a.stepInTime(ctx, name)
		switch {
		case err == nil && n > 0:
			failures = 0
		case err == nil:
			failures = 0
			a.pause(ctx, cmp.Or(a.Idle, defaultIdle), a.Wake)
		case ctx.Err() != nil:
		case errors.Is(err, store.ErrConflict):
			a.log().Debug("someone else folds this shard", "shard", name)
		default:
			failures++
			a.log().Error("folding telemetry failed; will try again", "shard", name, "error", err)
			a.pause(ctx, min(maxBackoff, cmp.Or(a.Idle, defaultIdle)<<min(failures, 10)), nil)
		}
	}
}

// stepInTime is Step with a deadline: an engine that hangs must not stop the counting in silence.
func (a *Aggregator) stepInTime(ctx context.Context, name string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return a.Step(ctx, name)
}

// pause waits for d of real time, for wake or for the end of ctx.
func (a *Aggregator) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

func (a *Aggregator) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
