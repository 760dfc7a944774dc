package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

func testSigningKeys(t *testing.T, e Engine) {
	t.Run("drawn once, changed in two steps", func(t *testing.T) { testKeyRotation(t, e) })
	t.Run("many at once", func(t *testing.T) { testKeyRaces(t, e) })
}

func testKeyRotation(t *testing.T, e Engine) {
	keys := store.Keys{Store: e.Open(t), Now: func() time.Time { return noon }}
	ctx := t.Context()
	_, err := keys.Load(ctx)
	wantError(t, err, store.ErrNotFound)
	first, err := keys.Ensure(ctx)
	if err != nil || first.Next != nil || !first.Current.CreatedAt.Equal(noon) {
		t.Fatalf("%+v, %v", first, err)
	}
	h := seal.Header{App: shop, Revision: 1, Issued: 2, Expires: 3}
	sealed := first.Current.Seal(h, []byte("{}"))
	if !seal.Verify(sealed, []seal.Key{first.Current.Public()}) {
		t.Error("the public key is not the private one's")
	}
	for _, read := range []func() (store.KeyRing, error){
		func() (store.KeyRing, error) { return keys.Load(ctx) }, func() (store.KeyRing, error) { return keys.Ensure(ctx) },
	} {
		if again, err := read(); err != nil || !bytes.Equal(again.Current.Seal(h, []byte("{}")), sealed) {
			t.Errorf("another key: %v, %v", again, err)
		}
	}
	_, err = keys.Activate(ctx, seal.Key{})
	wantError(t, err, store.ErrNoNextKey)

	prepared, err := keys.Prepare(ctx, false)
	if err != nil || prepared.Next == nil || prepared.Current.Public() != first.Current.Public() || prepared.Next.Public() == first.Current.Public() {
		t.Fatalf("%v, %v", prepared, err)
	}
	if again, err := keys.Prepare(ctx, false); err != nil || again.Next.Public() != prepared.Next.Public() {
		t.Errorf("twice is not once: %v, %v", again, err)
	}
	replaced, err := keys.Prepare(ctx, true)
	if err != nil || replaced.Next.Public() == prepared.Next.Public() {
		t.Fatalf("%v, %v", replaced, err)
	}
	_, err = keys.Activate(ctx, prepared.Next.Public())
	wantError(t, err, store.ErrConflict)
	for range 2 { // an answer may get lost
		if now, err := keys.Activate(ctx, replaced.Next.Public()); err != nil || now.Current.Public() != replaced.Next.Public() || now.Next != nil {
			t.Errorf("%v, %v", now, err)
		}
	}
	if now, err := keys.Load(ctx); err != nil || now.Current.Public() != replaced.Next.Public() || now.Next != nil {
		t.Errorf("%v, %v", now, err)
	}
}

// testKeyRaces lets many draw the first key, prepare and activate the next at once: all agree on both.
func testKeyRaces(t *testing.T, e Engine) {
	s := e.Open(t)
	var mu sync.Mutex
	first := map[seal.Key]bool{}
	together(writers, func(int) {
		ring, err := store.Keys{Store: s}.Ensure(t.Context())
		if err != nil {
			t.Errorf("the first key: %v", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		first[ring.Current.Public()] = true
	})
	if len(first) != 1 {
		t.Fatalf("%d different keys were the first", len(first))
	}
	next := map[seal.Key]bool{}
	together(writers, func(int) {
		ring, err := store.Keys{Store: s}.Prepare(t.Context(), false)
		if err != nil {
			wantError(t, err, store.ErrConflict)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		next[ring.Next.Public()] = true
	})
	if len(next) != 1 {
		t.Fatalf("%d different keys were the next", len(next))
	}
	ring, err := store.Keys{Store: s}.Load(t.Context())
	if err != nil || ring.Next == nil || !next[ring.Next.Public()] || !first[ring.Current.Public()] {
		t.Fatalf("%v, %v", ring, err)
	}
	printed := fmt.Sprintf("%v %+v %#v %+v", ring.Current, ring.Current, ring.Current, ring)
	if strings.Contains(printed, "private") || strings.Count(printed, ring.Current.String()) != 4 {
		t.Errorf("printed as %s", printed)
	}
}
