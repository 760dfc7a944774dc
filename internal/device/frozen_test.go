package device_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// newFrozenWorld is newWorld on a host that stops the process between requests.
func newFrozenWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.service.Close()
	w.service = device.New(device.Config{
		Apps: store.Apps{Store: w.store, NewID: w.apps.NewID}, Devices: store.Devices{Store: w.store}, Stream: w.stream,
		Now: w.clock.Now, Log: slog.New(slog.DiscardHandler), Frozen: true,
	})
	w.handler = w.service.Handler()
	return w
}

// settle calls Settle, and fails if it comes back before let is called.
func (w *world) settle(let func()) {
	w.t.Helper()
	settled := make(chan struct{})
	go func() { defer close(settled); w.service.Settle(w.t.Context()) }()
	select {
	case <-settled:
		w.t.Error("Settle left something under way")
	case <-time.After(20 * time.Millisecond):
	}
	let()
	<-settled
}

func TestAncientSnapshotIsRefreshedBeforeItAnswers(t *testing.T) {
	w := newFrozenWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.point("1.1.0")
	w.clock.pass(3*device.DefaultSnapshotTTL + time.Second)
	gate := w.hold("APP#" + app)
	var crowd sync.WaitGroup
	for i := range 50 {
		crowd.Go(func() { w.offers("1.1.0", uuid(i), nil) })
	}
	w.until("a refresh", func() bool { return w.store.snapshots.Load() == 2 })
	close(gate)
	crowd.Wait()
	if n := w.store.snapshots.Load(); n != 2 {
		t.Errorf("%d reads of the snapshot, want one for all who waited", n)
	}
}

func TestSnapshotThatIsNotAncientIsRefreshedBehindTheAnswer(t *testing.T) {
	w := newFrozenWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.point("1.1.0")
	w.clock.pass(2 * device.DefaultSnapshotTTL)
	gate := w.hold("APP#" + app)
	w.offers("1.0.1", uuid(1), nil) // would wait here
	w.until("a refresh", func() bool { return w.store.snapshots.Load() == 2 })
	w.settle(func() { close(gate) })
	w.offers("1.1.0", uuid(1), nil) // at once, since Settle waited
}

// nothingNew is what a device is answered that needs no record, whatever the state of the store.
func (w *world) nothingNew() {
	w.t.Helper()
	w.offersNothing("disable_auto_update_to_major", uuid(1), fields{"version_build": "0.1.0"})
}

func TestTableThatIsGoneIsAskedOnceATTL(t *testing.T) {
	w := newFrozenWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.store.down.Store(true)
	for round := range int64(4) {
		w.clock.pass(5 * device.DefaultSnapshotTTL)
		for range 20 {
			w.nothingNew()
			w.service.Settle(t.Context())
		}
		if n := w.store.snapshots.Load(); n != 2+round {
			t.Errorf("%d reads of the snapshot, want %d", n, 2+round)
		}
	}
	w.store.down.Store(false)
	w.point("1.1.0")
	w.clock.pass(4 * device.DefaultSnapshotTTL)
	w.offers("1.1.0", uuid(1), nil)
}

func TestTableThatHangsHoldsUpNobodyForLong(t *testing.T) {
	w := newFrozenWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.clock.pass(4 * device.DefaultSnapshotTTL)
	gate := w.hold("APP#" + app) // and never let go
	defer close(gate)
	w.nothingNew()
	w.service.Settle(t.Context())
	w.nothingNew()
}

func TestNothingRunsBetweenRequests(t *testing.T) {
	w := newFrozenWorld(t)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	w.check(id, nil)
	w.service.Settle(t.Context())
	if left := working(); left != "" {
		t.Errorf("still at work:\n%s", left)
	}
	if events := w.events(); len(events) != 1 {
		t.Errorf("%d check events, want the one of the request", len(events))
	}
	w.service.Settle(t.Context())
	if n := w.service.Stats().ChecksNoted; n != 1 {
		t.Errorf("%d check events, want no second one", n)
	}
}

func TestCloseFlushesWhatWaitsForSettle(t *testing.T) {
	w := newFrozenWorld(t)
	w.start()
	w.check(w.inArm(rollout.ArmCandidate, 1)[0], nil)
	w.service.Close()
	w.service.Close()
	if events := w.events(); len(events) != 1 {
		t.Errorf("%d check events", len(events))
	}
}

func TestSettleWaitsForWhatAnImpatientDeviceLeftBehind(t *testing.T) {
	w := newFrozenWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	gate := w.hold("APP#" + app)
	ctx, hangUp := context.WithCancel(t.Context())
	body := encode(t, says(uuid(1), fields{"channel": "beta", "plugin_version": "5.0.0"}))
	answered := make(chan device.Answer)
	go func() {
		answered <- w.service.Respond(ctx, device.Source{}, "POST", device.PathChannelSelf, "", []byte(body), nil)
	}()
	w.until("the device being marked", func() bool { return strings.Contains(working(), ".mark(") })
	hangUp()
	if a := <-answered; strings.Contains(string(a.Body), `"status":"ok"`) {
		t.Errorf("the choice was acknowledged: %s", a.Body)
	}
	w.settle(func() { close(gate) })
}

func TestPrefetch(t *testing.T) {
	w := newFrozenWorld(t)
	for _, id := range []string{"com.example.aa", "com.example.bb", "com.example.cc"} {
		w.commit(rollout.State{}, shop(id))
	}
	if err := w.service.Prefetch(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if n := w.store.snapshots.Load(); n != 3 {
		t.Errorf("%d snapshots loaded, want 3", n)
	}
	w.store.down.Store(true)
	w.offersNothing("disable_auto_update_to_major", uuid(1), fields{"version_build": "0.1.0", "app_id": "com.example.aa"})
	w.refuses(429, capgo.CodeTooMany, "POST", "/updates", says(uuid(1), nil)) // the fourth
	w.service.Forget("com.example.aa")
	if err := w.service.Prefetch(t.Context(), 3); err != nil {
		t.Errorf("with the last good snapshot in memory: %v", err)
	}
	w.service.Forget("com.example.bb")
	w.store.down.Store(false)
	w.clock.pass(2 * time.Second) // what was missing is not asked for again at once
	if err := w.service.Prefetch(t.Context(), 100); err != nil {
		t.Errorf("after the trouble: %v", err)
	}
}

// listing is a store whose lists take until gate is closed.
type listing struct {
	store.Store
	begun, gate chan struct{}
}

// Query waits, and finds nothing.
func (l *listing) Query(context.Context, store.Range, store.Consistency) ([]store.Item, error) {
	close(l.begun)
	<-l.gate
	return nil, nil
}

func TestSettleWaitsForAPrefetchFromItsBeginning(t *testing.T) {
	w := newFrozenWorld(t)
	l := &listing{w.store, make(chan struct{}), make(chan struct{})}
	w.service = device.New(device.Config{
		Apps: store.Apps{Store: l, NewID: w.apps.NewID}, Devices: store.Devices{Store: l}, Stream: w.stream,
		Now: w.clock.Now, Log: slog.New(slog.DiscardHandler), Frozen: true,
	})
	go func() { _ = w.service.Prefetch(t.Context(), 3) }()
	<-l.begun
	w.settle(func() { close(l.gate) })
}

func TestPrefetchSaysWhatIsMissing(t *testing.T) {
	w := newFrozenWorld(t)
	w.store.down.Store(true)
	if err := w.service.Prefetch(t.Context(), 3); err == nil {
		t.Error("a store that is down was not noticed")
	}
	w.nothingLoaded()
}

// nothingLoaded demands that devices are asked for patience.
func (w *world) nothingLoaded() {
	w.t.Helper()
	w.refuses(429, capgo.CodeTooMany, "POST", "/updates", says(uuid(1), nil))
}
