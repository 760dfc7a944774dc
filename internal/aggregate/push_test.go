package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// pushed returns records as an engine delivers them, at positions from the given one on.
func pushed(records []stream.Record, from int) []stream.Delivered {
	out := make([]stream.Delivered, len(records))
	for i, r := range records {
		out[i] = stream.Delivered{Position: stream.Position(fmt.Sprint(from + i)), Data: r.Data}
	}
	return out
}

// deliver pushes records in random batches, each from its first record that is not safe on until it is folded, as an
// event source does. It returns how often a batch had to come again.
func deliver(t *testing.T, random *rand.Rand, most int, records []stream.Delivered, worker func() *aggregate.Aggregator) (again int) {
	t.Helper()
	for len(records) > 0 {
		batch := records[:min(len(records), 1+random.IntN(most))]
		records = records[len(batch):]
		for tries := 0; ; tries++ {
			result, err := worker().FoldBatch(t.Context(), batch)
			if err == nil {
				break
			}
			first := slices.IndexFunc(batch, func(d stream.Delivered) bool { return d.Position == result.Unsafe })
			if first < 0 || tries > 1000 {
				t.Errorf("unsafe from %q on after %d tries: %v", result.Unsafe, tries, err) // perhaps in a goroutine
				return again
			}
			batch = batch[first:]
			again++
		}
	}
	return again
}

// merged returns the rollouts' tallies summed over shards, as bytes.
func merged(t *testing.T, st store.Store) string {
	t.Helper()
	var text strings.Builder
	for _, r := range [][2]string{{"com.example.shop", "01A"}, {"com.example.shop", "01B"}, {"com.example.chat", "01C"}} {
		loaded, err := store.Tallies{Store: st}.Load(t.Context(), r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		sum := telemetry.Delta{}
		for _, row := range loaded.Rows {
			sum.Merge(telemetry.Delta{row.TallyKey: row.Tally})
		}
		fmt.Fprintln(&text, r, loaded.Newest)
		for _, k := range sum.Keys() {
			data, err := sum[k].Encode()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%+v %s\n", k, data)
		}
	}
	return text.String()
}

// TestAnyPushCountsWhatPullingCounts folds one log twice: pulled in order, and pushed shuffled, five times over, among
// unreadable records, in random batches, to hosts that keep dying. What was counted must be the same bytes.
func TestAnyPushCountsWhatPullingCounts(t *testing.T) {
	rounds := uint64(4)
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 20))
			h := randomHistory(random, 60, 600)
			log, pulled := engines(t)
			appendAll(t, log, h.records(t, 1))
			drain(t, func() *aggregate.Aggregator {
				return &aggregate.Aggregator{Stream: log, Store: pulled, Name: streamName}
			})

			h.poison = 20
			records := h.records(t, 5)
			random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			_, st := engines(t)
			dying := &flaky{Store: st, random: rand.New(rand.NewPCG(seed, 21))}
			hosts := make([]*aggregate.Aggregator, 3)
			again := deliver(t, random, 500, pushed(records, 1), func() *aggregate.Aggregator {
				n := random.IntN(len(hosts))
				if hosts[n] == nil || random.IntN(8) == 0 {
					hosts[n] = &aggregate.Aggregator{Store: dying, Name: streamName, Limits: smallPages}
				}
				return hosts[n]
			})
			if again == 0 {
				t.Error("nothing was killed")
			}
			checkCounted(t, st, h)
			if got, want := merged(t, st), merged(t, pulled); got != want {
				t.Errorf("pushed:\n%s\npulled:\n%s", got, want)
			}
		})
	}
}

// TestReshardingCountsNobodyTwice has every device's records come first from one shard and then from another, the end of
// the first one again while the second is read, as when an event source repeats a parent's last batch.
func TestReshardingCountsNobodyTwice(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(5, 22)), 60, 900)
	_, st := engines(t)
	records := pushed(h.records(t, 1), 1)
	parent, child := records[:500], records[450:]
	deliver(t, rand.New(rand.NewPCG(5, 23)), 100, parent, func() *aggregate.Aggregator {
		return &aggregate.Aggregator{Store: st, Name: streamName, Limits: smallPages}
	})
	var reading sync.WaitGroup
	for i, shard := range [][]stream.Delivered{parent[300:], child, child[200:]} {
		reading.Go(func() {
			a := &aggregate.Aggregator{Store: st, Name: streamName, Limits: smallPages}
			deliver(t, rand.New(rand.NewPCG(uint64(i), 24)), 100, shard, func() *aggregate.Aggregator { return a })
		})
	}
	reading.Wait()
	checkCounted(t, st, h)
}

func TestHostsThatFoldTheSameBatchesStayExact(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(7, 25)), 60, 1200)
	_, st := engines(t)
	records := pushed(h.records(t, 2), 1)
	hosts := []*aggregate.Aggregator{
		{Store: st, Name: streamName, Limits: smallPages}, {Store: st, Name: streamName}, {Store: st, Name: streamName, Cache: 1},
	}
	var folding sync.WaitGroup
	for i, host := range hosts {
		folding.Go(func() {
			deliver(t, rand.New(rand.NewPCG(uint64(i), 26)), 300, records[i*100:], func() *aggregate.Aggregator { return host })
		})
	}
	folding.Wait()
	checkCounted(t, st, h)
	conflicts := int64(0)
	for _, host := range hosts {
		conflicts += host.Stats().Conflicts
	}
	if conflicts == 0 {
		t.Error("the hosts never met")
	}
}

// TestKillsBetweenTheWritesOfAPushLoseNothing lets a host make one write before it dies, the next one three, and so on.
func TestKillsBetweenTheWritesOfAPushLoseNothing(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(19, 27)), 150, 700)
	_, st := engines(t)
	batch := pushed(h.records(t, 1), 1)
	for allowed := 1; len(batch) > 0; allowed += 2 {
		host := &aggregate.Aggregator{Store: &mortal{Store: st, writes: allowed}, Name: streamName, Limits: smallPages}
		result, err := host.FoldBatch(t.Context(), batch)
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) || allowed > 1000 {
			t.Fatalf("after %d writes: %v", allowed, err)
		}
		batch = batch[slices.IndexFunc(batch, func(d stream.Delivered) bool { return d.Position == result.Unsafe }):]
	}
	checkCounted(t, st, h)
}

// TestABatchThatSaysNothingNewIsNotWritten pushes a batch again to the host that folded it and to one that never heard of
// it. Nothing is measured in it: nobody can tell a value that comes again from another one of the same size.
func TestABatchThatSaysNothingNewIsNotWritten(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(3, 28)), 60, 400)
	h.events = slices.DeleteFunc(h.events, func(e telemetry.Event) bool { return e.Kind == telemetry.KindMetric })
	h.poison = 3
	_, st := engines(t)
	counting := &meter{Store: st}
	batch := pushed(h.records(t, 1), 1)
	host := &aggregate.Aggregator{Store: counting, Name: streamName}
	for i, a := range []*aggregate.Aggregator{host, host, {Store: counting, Name: streamName}} {
		before := counting.units.Load()
		result, err := a.FoldBatch(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Poison) != h.poison || result.Unsafe != "" {
			t.Errorf("push %d: %d unreadable, unsafe from %q on", i, len(result.Poison), result.Unsafe)
		}
		if wrote := counting.units.Load() - before; (wrote > 0) != (i == 0) {
			t.Errorf("push %d wrote %d units", i, wrote)
		}
	}
	checkCounted(t, st, h)
	checkpoints := partition(t, st, "SHARD#"+streamName)
	for slot := range aggregate.Slots {
		if checkpoints[fmt.Sprintf("s%02d", slot)] == "" {
			t.Errorf("slot %d has no checkpoint: %v", slot, checkpoints)
		}
	}
}

func TestPoisonIsReportedAndTheRestCounted(t *testing.T) {
	_, st := engines(t)
	h := randomHistory(rand.New(rand.NewPCG(1, 29)), 30, 80)
	batch := slices.Insert(pushed(h.records(t, 1), 100), 4, stream.Delivered{Position: "1035", Data: []byte("no event")})
	result, err := (&aggregate.Aggregator{Store: st, Name: streamName}).FoldBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Poison) != 1 || result.Poison[0].Index != 4 || result.Poison[0].Err == nil {
		t.Errorf("poison is reported as %+v", result.Poison)
	}
	checkCounted(t, st, h)
}

// refusing is a store that takes no writes of one slot.
type refusing struct {
	store.Store
	slot string
}

func (r refusing) Write(ctx context.Context, ops ...store.Op) error {
	if ops[0].Item.SK == r.slot {
		return errKilled
	}
	return r.Store.Write(ctx, ops...)
}

func TestWhatIsNotCountedIsNamedByItsFirstRecord(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(23, 30)), 200, 2000)
	_, st := engines(t)
	batch := pushed(h.records(t, 1), 1)
	const slot = 11
	first := slices.IndexFunc(h.events, func(e telemetry.Event) bool { return aggregate.Slot(e.Device) == slot })
	host := &aggregate.Aggregator{Store: refusing{st, "s11"}, Name: streamName}
	result, err := host.FoldBatch(t.Context(), batch)
	if !errors.Is(err, errKilled) || result.Unsafe != batch[first].Position {
		t.Fatalf("unsafe from %q on, want %q: %v", result.Unsafe, batch[first].Position, err)
	}
	others := history{events: slices.DeleteFunc(slices.Clone(h.events), func(e telemetry.Event) bool { return aggregate.Slot(e.Device) == slot })}
	checkCounted(t, st, others)
	if _, err := (&aggregate.Aggregator{Store: st, Name: streamName}).FoldBatch(t.Context(), batch[first:]); err != nil {
		t.Fatal(err)
	}
	checkCounted(t, st, h)
}

func TestAPushEndsWithItsContext(t *testing.T) {
	_, st := engines(t)
	batch := pushed(randomHistory(rand.New(rand.NewPCG(1, 31)), 20, 50).records(t, 1), 7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := (&aggregate.Aggregator{Store: st, Name: streamName}).FoldBatch(ctx, batch)
	if !errors.Is(err, context.Canceled) || result.Unsafe != "7" {
		t.Errorf("unsafe from %q on: %v", result.Unsafe, err)
	}
}

func TestSlotsAreTheTopOfTheFingerprint(t *testing.T) {
	for fingerprint, want := range map[uint64]int{0: 0, 1<<60 - 1: 0, 1 << 60: 1, 0xafff_ffff_ffff_ffff: 10, ^uint64(0): 15} {
		if got := aggregate.Slot(fingerprint); got != want {
			t.Errorf("%016x is in slot %d, want %d", fingerprint, got, want)
		}
	}
}

// reads is a store that adds up the bytes of what is read.
type reads struct {
	store.Store
	bytes atomic.Int64
}

func (r *reads) Query(ctx context.Context, in store.Range, c store.Consistency) ([]store.Item, error) {
	items, err := r.Store.Query(ctx, in, c)
	for _, item := range items {
		r.bytes.Add(int64(len(item.Value)))
	}
	return items, err
}

// TestHostsThatTakeTurnsReadOnlyWhatIsNew has two hosts fold every other batch: each must learn what the other wrote, and
// neither may read all devices again for that.
func TestHostsThatTakeTurnsReadOnlyWhatIsNew(t *testing.T) {
	_, st := engines(t)
	counting := &reads{Store: st}
	limits := telemetry.Limits{Leaf: 4 << 10, Patch: 1 << 10, Journal: 2 << 10}
	hosts := [2]*aggregate.Aggregator{}
	for i := range hosts {
		hosts[i] = &aggregate.Aggregator{Store: counting, Name: streamName, Limits: limits}
	}
	const devices, batch, turns = 20_000, 50, 40
	random := rand.New(rand.NewPCG(1, 32))
	fold := func(host, from, n int) {
		var h history
		for i := range n {
			h.events = append(h.events, telemetry.Event{
				App: "com.example.shop", Device: random.Uint64(), Time: epochHour*hourMillis + int64(from+i),
				Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
			})
		}
		if _, err := hosts[host].FoldBatch(t.Context(), pushed(h.records(t, 1), 1)); err != nil {
			t.Fatal(err)
		}
	}
	fold(0, 0, devices)
	fold(1, devices, batch)
	before := counting.bytes.Load()
	for turn := range turns {
		fold(turn%2, devices+batch*(turn+1), batch)
	}
	stored := 0
	for slot := range aggregate.Slots {
		for _, page := range partition(t, st, fmt.Sprintf("SEEN#com.example.shop#01A#%s#s%02d", streamName, slot)) {
			stored += len(page)
		}
	}
	perTurn := int(counting.bytes.Load()-before) / turns
	if perTurn > stored/10 {
		t.Errorf("a turn reads %d bytes, of %d stored", perTurn, stored)
	}
	tallies, err := store.Tallies{Store: st}.Load(t.Context(), "com.example.shop", "01A")
	if err != nil {
		t.Fatal(err)
	}
	counted := int64(0)
	for _, row := range tallies.Rows {
		counted += row.Devices
	}
	if want := int64(devices + batch*(turns+1)); counted != want {
		t.Errorf("%d devices counted, want %d", counted, want)
	}
	t.Logf("%d bytes read in a turn of %d events, %d stored", perTurn, batch, stored)
}

// interrupted is a store that fails every other time when merged patches are to be removed: the leaves that hold them are
// stored by then.
type interrupted struct {
	store.Store
	mu   sync.Mutex
	seen int
}

func (s *interrupted) Write(ctx context.Context, ops ...store.Op) error {
	removes := len(ops) > 1 && !slices.ContainsFunc(ops[1:], func(op store.Op) bool {
		return op.Kind != store.OpDelete || !strings.HasPrefix(op.Item.SK, "patch#")
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if removes {
		if s.seen++; s.seen%2 == 1 {
			return errKilled
		}
	}
	return s.Store.Write(ctx, ops...)
}

// TestAHostThatGoesOnAfterAnInterruptedMergeForgetsNoDevice folds a history with interruptions, and then all of it again
// on another host, which finds out what was forgotten.
func TestAHostThatGoesOnAfterAnInterruptedMergeForgetsNoDevice(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(41, 33)), 400, 2400)
	_, st := engines(t)
	records := pushed(h.records(t, 1), 1)
	cut := &interrupted{Store: st}
	host := &aggregate.Aggregator{Store: cut, Name: streamName, Limits: smallPages}
	// What failed comes again only after other news, which another merge of the same leaves would cut elsewhere.
	batches, failures := slices.Collect(slices.Chunk(records, 100)), 0
	for len(batches) > 0 {
		if _, err := host.FoldBatch(t.Context(), batches[0]); err != nil {
			batches = append(batches, batches[0])
			failures++
		}
		batches = batches[1:]
	}
	if failures == 0 || host.Stats().Compactions == 0 {
		t.Fatalf("%d interruptions, %d merges", failures, host.Stats().Compactions)
	}
	deliver(t, rand.New(rand.NewPCG(41, 35)), 1000, records, func() *aggregate.Aggregator {
		return &aggregate.Aggregator{Store: st, Name: streamName, Limits: smallPages}
	})
	checkCounted(t, st, h)
}

// torn is a store that answers one Query of device records in two pages, between which something happens.
type torn struct {
	store.Store
	meanwhile func() // once
}

func (s *torn) Query(ctx context.Context, in store.Range, c store.Consistency) ([]store.Item, error) {
	items, err := s.Store.Query(ctx, in, c)
	if s.meanwhile == nil || err != nil || len(items) == 0 {
		return items, err
	}
	s.meanwhile()
	s.meanwhile = nil
	in.After = items[len(items)-1].SK
	more, err := s.Store.Query(ctx, in, c)
	return slices.Concat(items, more), err
}

// TestAPatchThatGrewWhileTheNextWasReadIsReadAgain has a host read the journal's last patch, and then the next one, which
// another host wrote after it had added to the first.
func TestAPatchThatGrewWhileTheNextWasReadIsReadAgain(t *testing.T) {
	_, st := engines(t)
	random := rand.New(rand.NewPCG(2, 36))
	batches := make([][]stream.Delivered, 3)
	for i, devices := range []int{2, 40, 2} {
		var h history
		for range devices {
			h.events = append(h.events, telemetry.Event{
				App: "com.example.shop", Device: random.Uint64() >> 4, Time: epochHour * hourMillis,
				Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
			})
		}
		batches[i] = pushed(h.records(t, 1), 1)
	}
	fold := func(host *aggregate.Aggregator, batches ...[]stream.Delivered) {
		for _, batch := range batches {
			if _, err := host.FoldBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	limits := telemetry.Limits{Patch: 200}
	other := &aggregate.Aggregator{Store: st, Name: streamName, Limits: limits}
	fold(other, batches[0])
	meanwhile := func() { fold(other, batches[1], batches[2]) }
	fold(&aggregate.Aggregator{Store: &torn{Store: st, meanwhile: meanwhile}, Name: streamName, Limits: limits}, batches[1])
	tallies, err := store.Tallies{Store: st}.Load(t.Context(), "com.example.shop", "01A")
	if err != nil {
		t.Fatal(err)
	}
	if len(tallies.Rows) != 1 || tallies.Rows[0].Devices != 44 {
		t.Errorf("44 devices are counted as %+v", tallies.Rows)
	}
}
