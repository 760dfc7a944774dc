package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	streamName = "telemetry"
	shards     = 3
)

// smallPages makes every mechanism of the stored form work hard on little data.
var smallPages = telemetry.Limits{Leaf: 100, Patch: 40, Journal: 150}

// engines are the real ones, in a directory of the test's own.
func engines(t testing.TB) (*streamsqlite.Stream, *storesqlite.Store) {
	t.Helper()
	dir := t.TempDir()
	log, err := streamsqlite.Open(filepath.Join(dir, "stream.db"), streamsqlite.Options{Shards: shards, Retention: 24 * time.Hour, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := storesqlite.Open(filepath.Join(dir, "store.db"), storesqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(log.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return log, st
}

func appendAll(t testing.TB, log stream.Stream, records []stream.Record) {
	t.Helper()
	for batch := range slices.Chunk(records, stream.MaxBatch) {
		if err := log.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// drain steps every shard until nothing is left. It tries again after failures, with a new aggregator each time, as
// after a crash.
func drain(t *testing.T, start func() *aggregate.Aggregator) (failures int) {
	t.Helper()
	a := start()
	for shard := range shards {
		for {
			n, err := a.Step(t.Context(), fmt.Sprint(shard))
			if err != nil {
				failures++
				a = start()
				continue
			}
			if n == 0 {
				break
			}
		}
	}
	return failures
}

// partition returns the values of a partition by sort key, without what is only looked at.
func partition(t *testing.T, st store.Store, pk string) map[string]string {
	t.Helper()
	items, err := st.Query(t.Context(), store.Range{PK: pk}, store.Strong)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, item := range items {
		if !strings.HasPrefix(item.SK, "sketch#") {
			out[item.SK] = string(item.Value)
		}
	}
	return out
}

func TestFoldCountsWhatTheDefinitionSays(t *testing.T) {
	for seed := range uint64(3) {
		h := randomHistory(rand.New(rand.NewPCG(seed, 1)), 80, 2000)
		log, st := engines(t)
		appendAll(t, log, h.records(t, 1))
		a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName}
		drain(t, func() *aggregate.Aggregator { return a })
		checkCounted(t, st, h)
		if s := a.Stats(); s.Events != int64(len(h.events)) || s.Newest.UnixMilli() != h.events[len(h.events)-1].Time {
			t.Errorf("stats %+v for %d events", s, len(h.events))
		}
	}
}

// flaky is a store whose writer dies: before a write was made, or after it was made and before anyone heard of it.
type flaky struct {
	store.Store
	random *rand.Rand
	mu     sync.Mutex // guards random: shards are followed side by side
}

func (f *flaky) dice() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(6)
}

var errKilled = errors.New("killed")

func (f *flaky) Write(ctx context.Context, ops ...store.Op) error {
	switch f.dice() {
	case 0:
		return errKilled
	case 1:
		if err := f.Store.Write(ctx, ops...); err != nil {
			return err
		}
		return errKilled
	}
	return f.Store.Write(ctx, ops...)
}

// TestAnyDeliveryGivesTheSameTallies folds one history twice: in order and at once, then shuffled, five times over,
// among unreadable records, in random batches, by aggregators that keep dying. The tallies must be the same bytes.
func TestAnyDeliveryGivesTheSameTallies(t *testing.T) {
	rounds := uint64(5)
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			h := randomHistory(random, 60, 600)
			calmLog, calm := engines(t)
			appendAll(t, calmLog, h.records(t, 1))
			drain(t, func() *aggregate.Aggregator {
				return &aggregate.Aggregator{Stream: calmLog, Store: calm, Name: streamName}
			})
			checkCounted(t, calm, h)

			h.poison = 20
			records := h.records(t, 5)
			random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			wildLog, wild := engines(t)
			appendAll(t, wildLog, records)
			failures := drain(t, func() *aggregate.Aggregator {
				return &aggregate.Aggregator{
					Stream: wildLog, Store: &flaky{Store: wild, random: random}, Name: streamName,
					Batch: 1 + random.IntN(500), Limits: smallPages,
				}
			})
			if failures == 0 {
				t.Error("nothing was killed")
			}
			checkCounted(t, wild, h)
			for _, pk := range []string{"TALLY#com.example.shop#01A", "TALLY#com.example.shop#01B", "TALLY#com.example.chat#01C"} {
				calmRows, wildRows := partition(t, calm, pk), partition(t, wild, pk)
				if len(calmRows) == 0 || len(calmRows) != len(wildRows) {
					t.Errorf("%s: %d rows, want %d", pk, len(wildRows), len(calmRows))
				}
				for sk, value := range calmRows {
					if wildRows[sk] != value {
						t.Errorf("%s/%s: %s, want %s", pk, sk, wildRows[sk], value)
					}
				}
			}
			leaves := 0
			for sk := range partition(t, wild, "SEEN#com.example.shop#01A#"+streamName+"#0") {
				if strings.HasPrefix(sk, "leaf#") {
					leaves++
				}
			}
			if leaves < 2 {
				t.Errorf("%d leaves: cutting was not exercised", leaves)
			}
		})
	}
}

func TestAggregatorsOnTheSameShardsStayExact(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(7, 3)), 60, 1500)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 2))
	var conflicts sync.Map
	var group sync.WaitGroup
	for worker := range 3 {
		group.Go(func() {
			a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName, Batch: 20 + worker, Limits: smallPages}
			for shard := range shards {
				for {
					n, err := a.Step(t.Context(), fmt.Sprint(shard))
					if err != nil && !errors.Is(err, store.ErrConflict) {
						t.Errorf("worker %d: %v", worker, err)
						return
					}
					if n == 0 && err == nil {
						break
					}
				}
			}
			conflicts.Store(worker, a.Stats().Conflicts)
		})
	}
	group.Wait()
	checkCounted(t, st, h)
	total := int64(0)
	conflicts.Range(func(_, n any) bool { total += n.(int64); return true })
	if total == 0 {
		t.Error("the aggregators never met")
	}
}

// TestKillsBetweenThePartsOfABatchLoseNothing lets an aggregator make one write before it dies, the next one three, and so
// on, so that batches of many writes are given up after each of them.
func TestKillsBetweenThePartsOfABatchLoseNothing(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(19, 10)), 150, 700)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	for shard := range shards {
		name := fmt.Sprint(shard)
		for allowed := 1; ; allowed += 2 {
			a := &aggregate.Aggregator{Stream: log, Store: &mortal{Store: st, writes: allowed}, Name: streamName, Batch: 10_000, Limits: smallPages}
			if n, err := a.Step(t.Context(), name); err == nil && n == 0 {
				break
			}
			if allowed > 1000 {
				t.Fatal("the shard is never done")
			}
		}
	}
	checkCounted(t, st, h)
}

// mortal is a store that takes so many writes and then no more.
type mortal struct {
	store.Store
	mu     sync.Mutex // guards writes
	writes int
}

func (m *mortal) Write(ctx context.Context, ops ...store.Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes == 0 {
		return errKilled
	}
	m.writes--
	return m.Store.Write(ctx, ops...)
}

func TestBatchesLargerThanAWriteAreCommittedInParts(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(9, 6)), 400, 4000)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	limited := &writeLimits{Store: st}
	a := &aggregate.Aggregator{Stream: log, Store: limited, Name: streamName, Batch: 10_000, Limits: smallPages}
	for shard := range shards {
		if _, err := a.Step(t.Context(), fmt.Sprint(shard)); err != nil {
			t.Fatal(err)
		}
	}
	checkCounted(t, st, h)
	if limited.most > store.MaxWriteItems || limited.most < 50 {
		t.Errorf("the largest write had %d operations", limited.most)
	}
	if s := a.Stats(); s.Commits < 10 || s.Compactions == 0 {
		t.Errorf("the batches were no challenge: %+v", s)
	}
}

// writeLimits notes the most operations that a write had.
type writeLimits struct {
	store.Store
	most int
}

func (w *writeLimits) Write(ctx context.Context, ops ...store.Op) error {
	w.most = max(w.most, len(ops))
	return w.Store.Write(ctx, ops...)
}

func TestSmallCacheChangesNothing(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(11, 7)), 60, 800)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName, Batch: 7, Cache: 1, Limits: smallPages}
	drain(t, func() *aggregate.Aggregator { return a })
	checkCounted(t, st, h)
}

func TestRunFoldsWhatArrivesAndStopsWhenTold(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(13, 8)), 40, 300)
	log, st := engines(t)
	wake := make(chan struct{}, 1)
	a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName, Idle: time.Hour, Wake: wake}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	appendAll(t, log, h.records(t, 1))
	for a.Stats().Events < int64(len(h.events)) {
		select {
		case wake <- struct{}{}:
		case err := <-ended:
			t.Fatal("Run ended by itself: ", err)
		case <-t.Context().Done():
			t.Fatal("Run did not fold what arrived")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// Run may have been stopped between folding and committing; that is as good as a kill.
	drain(t, func() *aggregate.Aggregator { return &aggregate.Aggregator{Stream: log, Store: st, Name: streamName} })
	checkCounted(t, st, h)
}

func TestRunKeepsTryingWhileTheStoreIsAway(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(17, 9)), 20, 200)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	away := &flaky{Store: st, random: rand.New(rand.NewPCG(1, 1))}
	a := &aggregate.Aggregator{Stream: log, Store: away, Name: streamName, Idle: time.Millisecond, Batch: 20}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	for !drained(t, log, st) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkCounted(t, st, h)
	if a.Stats().Failures == 0 {
		t.Error("the store was never away")
	}
}

// drained reports whether every shard's checkpoint is at its last record.
func drained(t *testing.T, log stream.Stream, st store.Store) bool {
	t.Helper()
	for shard := range shards {
		name := fmt.Sprint(shard)
		checkpoint, err := store.Shard{Store: st, Stream: streamName, Name: name}.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rest, err := log.Read(t.Context(), name, stream.Position(checkpoint.Position), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) > 0 {
			return false
		}
	}
	return true
}
