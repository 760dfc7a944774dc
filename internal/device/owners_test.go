package device

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
)

// counted is a store that counts its writes.
type counted struct {
	store.Store
	writes atomic.Int64
}

func (c *counted) Write(ctx context.Context, ops ...store.Op) error {
	c.writes.Add(1)
	return c.Store.Write(ctx, ops...)
}

const marked = "com.example.marked"

// newMarking returns owners of one app whose pauses last until the test sends to the channel.
func newMarking(t *testing.T) (*owners, *counted, chan time.Time) {
	t.Helper()
	now := func() time.Time { return time.Unix(1_790_000_000, 0) }
	db, err := storesqlite.Open(filepath.Join(t.TempDir(), "palier.db"), storesqlite.Options{Now: now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &counted{Store: db}
	o := newOwners(store.Apps{Store: s, NewID: store.NewULID(rand.Reader)}, func(string) {})
	t.Cleanup(func() {
		o.close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	pause := make(chan time.Time)
	o.after = func(d time.Duration) <-chan time.Time {
		if d < 250*time.Millisecond {
			t.Errorf("a pause of %v leaves others no room", d)
		}
		return pause
	}
	if _, err := o.apps.Commit(t.Context(), rollout.State{}, rollout.State{App: rollout.App{ID: marked}}, nil); err != nil {
		t.Fatal(err)
	}
	s.writes.Store(0)
	return o, s, pause
}

func (o *owners) inLine() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.waiting[marked]; r != nil {
		return len(r.devices)
	}
	return 0
}

func someDevice(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i) }

func TestCrowdIsMarkedByOneCommit(t *testing.T) {
	o, s, pause := newMarking(t)
	if err := o.add(t.Context(), marked, someDevice(0)); err != nil || s.writes.Load() != 1 {
		t.Fatalf("the first device must not wait: %d writes, %v", s.writes.Load(), err)
	}
	const crowd = 500
	var waiting sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o.patience = 20 * time.Second
	for i := range crowd {
		waiting.Go(func() {
			if err := o.add(ctx, marked, someDevice(1+i)); err != nil {
				t.Error(err)
			}
		})
	}
	for o.inLine() < crowd && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if n := s.writes.Load(); n != 1 {
		t.Errorf("%d writes within the pause", n)
	}
	pause <- time.Time{}
	waiting.Wait()
	if n := s.writes.Load(); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
	state, err := o.apps.Load(t.Context(), marked)
	if err != nil {
		t.Fatal(err)
	}
	for i := range crowd + 1 {
		if !resolve.MayOwn(state.Owned, someDevice(i)) {
			t.Errorf("device %d is not marked", i)
		}
	}
	pause <- time.Time{} // the run ends, and the next device begins one
	if err := o.add(t.Context(), marked, someDevice(0)); err != nil || s.writes.Load() != 2 {
		t.Errorf("a device that is marked already: %d writes, %v", s.writes.Load(), err)
	}
	if err := o.add(t.Context(), "com.example.none", someDevice(0)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an app that is not there: %v", err)
	}
	o.close()
	if len(o.waiting) > 0 {
		t.Errorf("%d apps still remembered", len(o.waiting))
	}
}

func TestDeviceDoesNotWaitForEverToBeMarked(t *testing.T) {
	o, _, _ := newMarking(t)
	if err := o.add(t.Context(), marked, someDevice(0)); err != nil {
		t.Fatal(err)
	}
	o.patience = 10 * time.Millisecond
	if err := o.add(t.Context(), marked, someDevice(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a pause that does not end: %v", err)
	}
	if ownPatience > 5*time.Second {
		t.Errorf("a device waits %v", ownPatience)
	}
}
