package aggregate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

// wall is a clock that a test turns.
type wall struct{ millis atomic.Int64 }

func (w *wall) now() time.Time          { return time.UnixMilli(w.millis.Load()) }
func (w *wall) forward(d time.Duration) { w.millis.Add(d.Milliseconds()) }
func newWall() *wall                    { w := &wall{}; w.forward(epochHour * time.Hour); return w }
func isSketch(k store.Key) bool         { return strings.HasPrefix(k.SK, "sketch#") }

// historied are the apps and rollouts of a randomHistory.
func historied() [][2]string {
	return [][2]string{{"com.example.shop", "01A"}, {"com.example.shop", "01B"}, {"com.example.chat", "01C"}}
}

// sketches counts what is done to sketches, and fails reading them when told to.
type sketches struct {
	store.Store
	mu     sync.Mutex
	writes map[store.Key]int
	away   bool
}

func (s *sketches) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away && isSketch(k) {
		return store.Item{}, store.ErrUnavailable
	}
	return s.Store.Get(ctx, k, c)
}

func (s *sketches) Write(ctx context.Context, ops ...store.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		if isSketch(op.Item.Key) {
			if s.writes == nil {
				s.writes = map[store.Key]int{}
			}
			s.writes[op.Item.Key]++
		}
	}
	return s.Store.Write(ctx, ops...)
}

// displayed is what the store has of a rollout for people to look at.
func displayed(t *testing.T, st store.Store, app, id string) *sketch.Sketch {
	t.Helper()
	parts, err := store.Tallies{Store: st}.Sketches(t.Context(), app, id)
	if err != nil {
		t.Fatal(err)
	}
	sum := &sketch.Sketch{}
	for _, data := range parts {
		part, err := sketch.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		sum.Merge(part)
	}
	return sum
}

// heard is all that the history says of a rollout, in one sketch.
func (h history) heard(app, id string) *sketch.Sketch {
	sum := &sketch.Sketch{}
	for _, e := range h.events {
		for _, x := range e.Exposures {
			if o, ok := sketch.Observe(e, x); ok && e.App == app && x.Rollout == id {
				sum.Add(o)
			}
		}
	}
	return sum
}

// checkDisplayed fails the test unless everything that was heard is displayed, and nothing twice.
func checkDisplayed(t *testing.T, st store.Store, h history) {
	t.Helper()
	for _, r := range historied() {
		got, want := displayed(t, st, r[0], r[1]), h.heard(r[0], r[1])
		if want.Devices(rollout.ArmCandidate) == 0 {
			t.Errorf("%s: nothing was heard", r)
		}
		if bytes.Equal(got.Encode(), want.Encode()) {
			continue
		}
		for _, arm := range []rollout.Arm{rollout.ArmCandidate, rollout.ArmControl} {
			gotLoads, _ := got.Percentiles(arm, rollout.LoadTime)
			wantLoads, _ := want.Percentiles(arm, rollout.LoadTime)
			t.Errorf("%s arm %d: %d devices and loads %+v are displayed, want %d and %+v", r, arm, got.Devices(arm), gotLoads, want.Devices(arm), wantLoads)
		}
	}
}

// TestWhatWasHeardIsDisplayed pulls a history in batches while the clock goes on, and settles at the end.
func TestWhatWasHeardIsDisplayed(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(1, 60)), 80, 1500)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	clock := newWall()
	a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName, Batch: 40, Limits: smallPages, Now: func() time.Time {
		clock.forward(time.Second)
		return clock.now()
	}}
	drain(t, func() *aggregate.Aggregator { return a })
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkDisplayed(t, st, h)
	checkCounted(t, st, h)
}

// TestHostsTakeTurnsAtTheDisplay pushes a history to several hosts at once, which all write into the same slots.
func TestHostsTakeTurnsAtTheDisplay(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(2, 61)), 60, 600)
	_, st := engines(t)
	clock := newWall()
	records := pushed(h.records(t, 1), 1)
	hosts := make([]*aggregate.Aggregator, 3)
	var folding sync.WaitGroup
	for i := range hosts {
		hosts[i] = &aggregate.Aggregator{Store: st, Name: streamName, Limits: smallPages, Now: clock.now}
		folding.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 62))
			for rest := records[i*200 : (i+1)*200]; len(rest) > 0; clock.forward(10 * time.Second) {
				n := min(len(rest), 1+random.IntN(30))
				if _, err := hosts[i].FoldBatch(t.Context(), rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		})
	}
	folding.Wait()
	for _, host := range hosts {
		if err := host.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	checkDisplayed(t, st, h)
	checkCounted(t, st, h)
}

// TestTheDisplayIsWrittenOnceAMinute has one page load fold every ten seconds, and then nothing.
func TestTheDisplayIsWrittenOnceAMinute(t *testing.T) {
	log, st := engines(t)
	counting := &sketches{Store: st}
	clock := newWall()
	a := &aggregate.Aggregator{Stream: log, Store: counting, Name: streamName, Now: clock.now}
	loads := func() int64 {
		p, _ := displayed(t, st, "com.example.shop", "01A").Percentiles(rollout.ArmControl, rollout.LoadTime)
		return p.Count
	}
	k := store.Key{PK: "TALLY#com.example.shop#01A", SK: "sketch#"}
	for i := range 61 { // ten minutes
		h := history{events: []telemetry.Event{{
			App: "com.example.shop", Kind: telemetry.KindMetric, Action: string(telemetry.MetricLoadTime), Value: 800, Device: 1,
			Time: clock.now().UnixMilli(), Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
		}}}
		appendAll(t, log, h.records(t, 1))
		drain(t, func() *aggregate.Aggregator { return a })
		if want := int64(i/6*6 + 1); loads() != want {
			t.Fatalf("after %d s %d loads are displayed, want %d", i*10, loads(), want)
		}
		clock.forward(10 * time.Second)
	}
	total := 0
	for key, n := range counting.writes {
		if key.PK != k.PK || !strings.HasPrefix(key.SK, k.SK) {
			t.Errorf("%s is written", key)
		}
		total += n
	}
	if total != 11 {
		t.Errorf("written %d times in ten minutes", total)
	}

	h := history{events: []telemetry.Event{{
		App: "com.example.shop", Kind: telemetry.KindMetric, Action: string(telemetry.MetricLoadTime), Value: 800, Device: 1,
		Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
	}}}
	appendAll(t, log, h.records(t, 1))
	drain(t, func() *aggregate.Aggregator { return a })
	if loads() != 61 {
		t.Fatalf("%d loads are displayed before the minute is over", loads())
	}
	clock.forward(time.Minute)
	drain(t, func() *aggregate.Aggregator { return a })
	if loads() != 62 {
		t.Errorf("%d loads are displayed when nothing more comes, want 62", loads())
	}
}

// TestWhatIsKnownIsNotWrittenAgain has devices come back minute after minute with nothing to tell.
func TestWhatIsKnownIsNotWrittenAgain(t *testing.T) {
	_, st := engines(t)
	counting := &sketches{Store: st}
	clock := newWall()
	a := &aggregate.Aggregator{Store: counting, Name: streamName, Now: clock.now}
	for minute := range int64(5) {
		h := history{events: []telemetry.Event{{
			App: "com.example.shop", Device: 1, Time: epochHour*hourMillis + minute,
			Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
		}}}
		if _, err := a.FoldBatch(t.Context(), pushed(h.records(t, 1), int(minute)+1)); err != nil {
			t.Fatal(err)
		}
		clock.forward(2 * time.Minute)
	}
	if n := counting.writes[store.Key{PK: "TALLY#com.example.shop#01A", SK: "sketch#s00"}]; n != 1 || len(counting.writes) != 1 {
		t.Errorf("written %v", counting.writes)
	}
	if n := displayed(t, st, "com.example.shop", "01A").Devices(rollout.ArmControl); n != 1 {
		t.Errorf("%d devices", n)
	}
}

// TestCountingDoesNotWaitForTheDisplay folds while no sketch can be read, and displays all of it when that is over.
func TestCountingDoesNotWaitForTheDisplay(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(4, 63)), 40, 400)
	_, st := engines(t)
	away := &sketches{Store: st, away: true}
	clock := newWall()
	a := &aggregate.Aggregator{Store: away, Name: streamName, Now: clock.now}
	for i, batch := range [][]stream.Delivered{pushed(h.records(t, 1)[:200], 1), pushed(h.records(t, 1)[200:], 201)} {
		if result, err := a.FoldBatch(t.Context(), batch); err != nil || result.Unsafe != "" {
			t.Fatalf("batch %d: %v", i, err)
		}
		clock.forward(time.Hour)
	}
	checkCounted(t, st, h)
	if err := a.Settle(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("settling while sketches cannot be read: %v", err)
	}
	if len(away.writes) > 0 {
		t.Errorf("written without having been read: %v", away.writes)
	}
	away.away = false
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkDisplayed(t, st, h)
}

// TestAFailedFoldIsDisplayedOnce has the store refuse every other write: what comes again is not displayed twice, because a
// pulled batch is heard only once it is counted.
func TestAFailedFoldIsDisplayedOnce(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(5, 64)), 60, 600)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	clock := newWall()
	a := &aggregate.Aggregator{Stream: log, Store: &everyOther{Store: st}, Name: streamName, Batch: 50, Now: clock.now}
	failures := drain(t, func() *aggregate.Aggregator { clock.forward(20 * time.Second); return a })
	if failures < 5 {
		t.Errorf("only %d failures", failures)
	}
	for a.Settle(t.Context()) != nil {
		failures++
	}
	checkDisplayed(t, st, h)
	checkCounted(t, st, h)
}

// everyOther is a store that refuses every other write.
type everyOther struct {
	store.Store
	writes atomic.Int64
}

func (r *everyOther) Write(ctx context.Context, ops ...store.Op) error {
	if r.writes.Add(1)%2 == 1 {
		return store.ErrUnavailable
	}
	return r.Store.Write(ctx, ops...)
}

// TestASketchThatCannotBeReadIsReplaced: it is only looked at, and would stand in the way for ever.
func TestASketchThatCannotBeReadIsReplaced(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(6, 65)), 20, 100)
	log, st := engines(t)
	for _, r := range historied() {
		for shard := range shards {
			k := store.Key{PK: "TALLY#" + r[0] + "#" + r[1], SK: fmt.Sprint("sketch#", shard)}
			if err := st.Write(t.Context(), store.Put(store.Item{Key: k, Version: 1, Value: []byte("?")}, store.Always())); err != nil {
				t.Fatal(err)
			}
		}
	}
	appendAll(t, log, h.records(t, 1))
	drain(t, func() *aggregate.Aggregator { return &aggregate.Aggregator{Stream: log, Store: st, Name: streamName} })
	checkDisplayed(t, st, h)
}

// TestManyRolloutsAreDisplayedInTurn has one device in the arms of far more rollouts than one write has room for.
func TestManyRolloutsAreDisplayedInTurn(t *testing.T) {
	const rollouts = 150
	_, st := engines(t)
	limited := &writeLimits{Store: st}
	clock := newWall()
	a := &aggregate.Aggregator{Store: limited, Name: streamName, Now: clock.now}
	e := telemetry.Event{App: "com.example.shop", Device: 1, Time: epochHour * hourMillis}
	for i := range rollouts {
		e.Exposures = append(e.Exposures, telemetry.Exposure{Rollout: fmt.Sprintf("%03d", i), Arm: rollout.ArmCandidate})
	}
	shown := func() (n int) {
		for i := range rollouts {
			n += int(displayed(t, st, e.App, fmt.Sprintf("%03d", i)).Devices(rollout.ArmCandidate))
		}
		return n
	}
	before := 0
	for fold := range 3 {
		h := history{events: []telemetry.Event{e}}
		if _, err := a.FoldBatch(t.Context(), pushed(h.records(t, 1), fold+1)); err != nil {
			t.Fatal(err)
		}
		if now := shown(); now <= before || now == rollouts {
			t.Errorf("fold %d: %d rollouts are displayed, %d before it", fold, now, before)
		} else {
			before = now
		}
	}
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := shown(); n != rollouts {
		t.Errorf("%d of %d rollouts are displayed in the end", n, rollouts)
	}
	if limited.most > store.MaxWriteItems {
		t.Errorf("a write of %d operations", limited.most)
	}
}

// TestRunDisplaysItsLastMinuteWhenItEnds: what waits for its minute is written when the process is told to stop.
func TestRunDisplaysItsLastMinuteWhenItEnds(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(7, 66)), 40, 300)
	log, st := engines(t)
	appendAll(t, log, h.records(t, 1))
	a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName, Batch: 30, Idle: time.Millisecond, Now: newWall().now}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	for !drained(t, log, st) {
		time.Sleep(time.Millisecond)
	}
	drain(t, func() *aggregate.Aggregator { return a }) // waits for the steps that are on their way
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkDisplayed(t, st, h)
}
