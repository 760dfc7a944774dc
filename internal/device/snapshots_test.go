package device_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// point makes production serve another bundle.
func (w *world) point(version string) {
	w.t.Helper()
	w.change(func(s *rollout.State) {
		c := s.Channels["production"]
		c.Bundle = version
		s.Channels["production"] = c
	})
}

func TestSnapshotIsRefreshedBehindTheAnswers(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.point("1.1.0")
	w.offers("1.0.1", uuid(1), nil) // within the TTL the store is not asked
	if n := w.store.snapshots.Load(); n != 1 {
		t.Fatalf("%d reads of the snapshot", n)
	}
	w.clock.pass(device.DefaultSnapshotTTL + time.Second)
	gate := w.hold("APP#" + app)
	w.offers("1.0.1", uuid(1), nil) // answered at once, from what is there, while the store is asked
	w.until("a refresh", func() bool { return w.store.snapshots.Load() == 2 })
	w.offers("1.0.1", uuid(1), nil)
	close(gate)
	w.until("the new bundle", func() bool { return w.check(uuid(1), nil).version() == "1.1.0" })
	if n := w.store.snapshots.Load(); n != 2 {
		t.Errorf("%d reads of the snapshot", n)
	}
}

// hold makes reads of a partition wait until the gate is closed.
func (w *world) hold(pk string) (gate chan struct{}) {
	gate = make(chan struct{})
	open := make(chan struct{})
	close(open)
	wait := func(k store.Key) <-chan struct{} {
		if k.PK == pk {
			return gate
		}
		return open
	}
	w.store.slow.Store(&wait)
	return gate
}

func TestLastGoodSnapshotAnswersWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t)
	w.offersNothing("no_new_version_available", uuid(1), fields{"version_name": "1.0.1"})
	w.store.down.Store(true)
	for range 5 {
		before := w.store.snapshots.Load()
		w.clock.pass(device.DefaultSnapshotTTL + time.Second)
		w.offersNothing("disable_auto_update_to_major", uuid(1), fields{"version_build": "0.1.0"})
		w.until("an attempt to refresh", func() bool { return w.store.snapshots.Load() == before+1 })
		w.offersNothing("no_new_version_available", uuid(1), fields{"version_name": "1.0.1"})
	}
	w.store.down.Store(false)
	w.point("1.1.0")
	w.until("a refresh", func() bool {
		w.clock.pass(device.DefaultSnapshotTTL + time.Second)
		return w.check(uuid(1), nil).version() == "1.1.0"
	})
}

func TestNoOfferWithoutTheDevicesRecord(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.ask("POST", "/stats", says(uuid(1), event("update_fail", "1.0.1")))
	w.store.down.Store(true)
	for i := range 50 {
		a := w.check(uuid(i), nil)
		if a.status != 200 || a.code() != "no_new_version_available" || a.json["kind"] != "up_to_date" || a.version() != "" {
			t.Fatalf("device %d: %d %s", i, a.status, a.text)
		}
	}
	w.store.down.Store(false)
	w.offers("1.0.1", w.inArm(rollout.ArmControl, 1)[0], nil)
}

func TestNoSnapshotEver(t *testing.T) {
	w := newWorld(t)
	w.store.down.Store(true)
	for range 20 {
		for _, e := range endpoints() {
			w.refuses(429, capgo.CodeTooMany, e.method, e.path, e.good())
		}
	}
	if n := w.store.snapshots.Load(); n != 1 {
		t.Errorf("the store in trouble was asked %d times within a second", n)
	}
	w.store.down.Store(false)
	w.clock.pass(2 * time.Second)
	w.offers("1.0.1", uuid(1), nil)
}

func TestStoreThatDoesNotAnswerHoldsNobodyElse(t *testing.T) {
	w := newWorld(t)
	const other = "com.example.other"
	w.commit(rollout.State{}, shop(other))
	gate := w.hold("APP#" + app)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() { w.offers("1.0.1", uuid(1), nil) })
	}
	w.until("a load", func() bool { return w.store.snapshots.Load() == 1 })
	w.offers("1.0.1", uuid(1), fields{"app_id": other}) // would hang here
	w.refuses(429, capgo.CodeUnknownApp, "POST", "/updates", says(uuid(1), fields{"app_id": "com.example.nobody"}))
	close(gate)
	waiting.Wait()
}

func TestFirstRequestsShareOneLoad(t *testing.T) {
	w := newWorld(t)
	gate := w.hold("APP#" + app)
	var crowd sync.WaitGroup
	for i := range 200 {
		crowd.Go(func() { w.offers("1.0.1", uuid(i), nil) })
	}
	w.until("a load", func() bool { return w.store.snapshots.Load() > 0 })
	close(gate)
	crowd.Wait()
	if n := w.store.snapshots.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestDeviceThatHangsUpDoesNotEndTheLoadForOthers(t *testing.T) {
	w := newWorld(t)
	gate := w.hold("APP#" + app)
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req := httptest.NewRequest("POST", "/updates", strings.NewReader(encode(t, says(uuid(1), nil)))).WithContext(ctx)
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if a := w.sound(rec); a.status != 429 {
			t.Errorf("%d %s", a.status, a.text)
		}
	}()
	w.until("a load", func() bool { return w.store.snapshots.Load() == 1 })
	hangUp()
	<-ended
	close(gate)
	w.offers("1.0.1", uuid(2), nil)
	if n := w.store.snapshots.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestUnknownAppsAreRemembered(t *testing.T) {
	w := newWorld(t)
	unknown := fields{"app_id": "com.example.late"}
	for range 10 {
		w.refuses(429, capgo.CodeUnknownApp, "POST", "/updates", says(uuid(1), unknown))
	}
	if n := w.store.snapshots.Load(); n != 1 {
		t.Errorf("%d reads", n)
	}
	w.commit(rollout.State{}, shop("com.example.late"))
	w.refuses(429, capgo.CodeUnknownApp, "POST", "/updates", says(uuid(1), unknown))
	w.clock.pass(device.DefaultSnapshotTTL + time.Second)
	w.offers("1.0.1", uuid(1), unknown)
}

func TestForget(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.point("1.1.0")
	w.service.Forget(app)
	w.offers("1.1.0", uuid(1), nil)

	late := fields{"app_id": "com.example.late"}
	w.check(uuid(1), late)
	w.commit(rollout.State{}, shop("com.example.late"))
	w.service.Forget("com.example.late")
	w.offers("1.0.1", uuid(1), late)
	w.service.Forget("com.example.never")
}

func TestForgetDuringALoad(t *testing.T) {
	w := newWorld(t)
	old := make(chan struct{})
	wait := func(store.Key) <-chan struct{} { return old }
	w.store.slow.Store(&wait)
	w.store.stale.Store(true) // what the first load reads is from before the change
	ended := make(chan struct{})
	go func() { defer close(ended); w.check(uuid(1), nil) }()
	w.until("a load", func() bool { return w.store.snapshots.Load() == 1 })
	w.point("1.1.0")
	w.service.Forget(app)
	close(old)
	<-ended
	w.offers("1.1.0", uuid(1), nil)
}

func TestDeletedAppBecomesUnknownAndMayComeBack(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	state, err := w.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.apps.Delete(t.Context(), state, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(device.DefaultSnapshotTTL + time.Second)
	w.until("the app is unknown", func() bool { return w.check(uuid(1), nil).code() == capgo.CodeUnknownApp })
	for _, e := range endpoints() {
		w.refuses(429, capgo.CodeUnknownApp, e.method, e.path, e.good())
	}
	w.commit(rollout.State{}, shop(app))
	w.until("the app is back", func() bool {
		w.clock.pass(device.DefaultSnapshotTTL + time.Second)
		return w.check(uuid(1), nil).version() == "1.0.1"
	})
}

func TestSnapshotThatDoesNotCompileLeavesTheLastGoodOne(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	bad := store.Item{Key: store.Key{PK: "APP#" + app, SK: "SNAPSHOT"}, Version: 99, Value: []byte("not a snapshot")}
	if err := w.store.Store.Write(t.Context(), store.Put(bad, store.Always())); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(device.DefaultSnapshotTTL + time.Second)
	w.offers("1.0.1", uuid(1), nil)
	w.until("a refresh", func() bool { return w.store.snapshots.Load() > 2 })
	w.offers("1.0.1", uuid(1), nil)
	w.service.Forget(app)
	w.offers("1.0.1", uuid(1), nil)
}

// TestForgottenAppIsAnsweredFromTheLastGoodSnapshot forgets apps while the store is down, as when this process changed
// one a moment before.
func TestForgottenAppIsAnsweredFromTheLastGoodSnapshot(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.store.down.Store(true)
	w.point("1.1.0")
	for range 3 {
		w.service.Forget(app)
		w.service.Forget(app)
		for range 2 { // an answer that needs no device's record
			w.offersNothing("disable_auto_update_to_major", uuid(1), fields{"version_build": "0.1.0"})
		}
	}
	if n := w.store.snapshots.Load(); n != 4 {
		t.Errorf("the store in trouble was asked %d times, want once and once for each time the app was forgotten", n)
	}
	w.store.down.Store(false)
	w.clock.pass(2 * time.Second) // far within the TTL
	w.until("the new bundle", func() bool { return w.check(uuid(1), nil).version() == "1.1.0" })

	w.service.Forget(app)
	w.offers("1.1.0", uuid(1), nil)
	state, err := w.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.apps.Delete(t.Context(), state, nil); err != nil {
		t.Fatal(err)
	}
	w.service.Forget(app)
	w.refuses(429, capgo.CodeUnknownApp, "POST", "/updates", says(uuid(1), nil))
	w.service.Forget(app)
	w.store.down.Store(true)
	w.refuses(429, capgo.CodeTooMany, "POST", "/updates", says(uuid(1), nil)) // a deleted app has no last good one
}

func TestClockThatIsSetBackDoesNotKeepAnAnswer(t *testing.T) {
	w := newWorld(t)
	late := fields{"app_id": "com.example.late"}
	w.offers("1.0.1", uuid(1), nil)
	w.refuses(429, capgo.CodeUnknownApp, "POST", "/updates", says(uuid(1), late))
	w.point("1.1.0")
	w.commit(rollout.State{}, shop("com.example.late"))
	w.clock.pass(-24 * time.Hour)
	w.until("the new bundle", func() bool { return w.check(uuid(1), nil).version() == "1.1.0" })
	w.offers("1.0.1", uuid(1), late)
}
