package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/store"
)

// oneWrite is a store that cannot be reached any more after its first Write.
type oneWrite struct {
	store.Store
	writes atomic.Int64
}

func (s *oneWrite) Write(ctx context.Context, ops ...store.Op) error {
	if s.writes.Add(1) > 1 {
		return store.ErrUnavailable
	}
	return s.Store.Write(ctx, ops...)
}

// meddler is a store in which someone else does something just before the first Write.
type meddler struct {
	store.Store
	meddle func()
	writes atomic.Int64
}

func (s *meddler) Write(ctx context.Context, ops ...store.Op) error {
	if s.writes.Add(1) == 1 {
		s.meddle()
	}
	return s.Store.Write(ctx, ops...)
}

func update(t *testing.T, d store.Devices, device string, change func(*resolve.Facts)) {
	t.Helper()
	err := d.Update(t.Context(), shop, device, func(f *resolve.Facts) bool {
		change(f)
		return true
	})
	if err != nil {
		t.Fatalf("update %s: %v", device, err)
	}
}

func testDevices(t *testing.T, e Engine) {
	s := e.Open(t)
	d := store.Devices{Store: s}
	facts := func(app, device string) resolve.Facts {
		t.Helper()
		f, err := d.Facts(t.Context(), app, device)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	t.Run("none", func(t *testing.T) {
		if f := facts(shop, "new"); !reflect.DeepEqual(f, resolve.Facts{}) {
			t.Errorf("facts %+v", f)
		}
		update(t, d, "new", func(*resolve.Facts) {})
		wantAbsent(t, s, key("DEVICE#"+shop+"#new", "DEVICE"))
	})
	t.Run("change and read", func(t *testing.T) {
		want := resolve.Facts{Channel: "beta", SetBy: "device", Failed: []string{"1.0.0"}, Consented: []string{"1.1.0"}}
		update(t, d, "D1", func(f *resolve.Facts) { *f = want })
		if got := facts(shop, "d1"); !reflect.DeepEqual(got, want) {
			t.Errorf("facts %+v, want %+v", got, want)
		}
		if got := facts("other.app", "d1"); !reflect.DeepEqual(got, resolve.Facts{}) {
			t.Errorf("another app's facts %+v", got)
		}
	})
	t.Run("change that declines", func(t *testing.T) {
		err := d.Update(t.Context(), shop, "d1", func(f *resolve.Facts) bool { f.Channel = "lost"; return false })
		if err != nil || facts(shop, "d1").Channel != "beta" {
			t.Errorf("%v, facts %+v", err, facts(shop, "d1"))
		}
	})
	t.Run("empty leaves no row", func(t *testing.T) {
		update(t, d, "d1", func(f *resolve.Facts) { *f = resolve.Facts{} })
		wantAbsent(t, s, key("DEVICE#"+shop+"#d1", "DEVICE"))
	})
	t.Run("lists are bounded, newest kept", func(t *testing.T) {
		for i := range 60 {
			update(t, d, "d5", func(f *resolve.Facts) { f.Failed = append(f.Failed, fmt.Sprint(i)) })
		}
		if f := facts(shop, "d5").Failed; len(f) != 50 || f[0] != "10" || f[49] != "59" {
			t.Errorf("failed %q", f)
		}
	})
	t.Run("no increment is lost, rows that come and go included", func(t *testing.T) {
		var done atomic.Int64
		together(6, func(w int) {
			for i := range 8 {
				err := d.Update(t.Context(), shop, "d6", func(f *resolve.Facts) bool {
					f.Failed = append(f.Failed, fmt.Sprintf("%d.%d", w, i))
					return true
				})
				if err == nil {
					done.Add(1)
				} else if !errors.Is(err, store.ErrConflict) {
					t.Errorf("update: %v", err)
				}
			}
		})
		f := facts(shop, "d6").Failed
		unique := slices.Compact(slices.Sorted(slices.Values(f)))
		if int64(len(f)) != done.Load() || len(unique) != len(f) {
			t.Errorf("%d entries, %d unique, for %d updates", len(f), len(unique), done.Load())
		}
	})
	t.Run("a row made anew is not the one that was read", func(t *testing.T) {
		update(t, d, "d7", func(f *resolve.Facts) { f.Channel = "first" })
		calls := 0
		update(t, d, "d7", func(f *resolve.Facts) {
			if calls++; calls == 1 { // someone removes the row and makes another, after it was read
				update(t, d, "d7", func(f *resolve.Facts) { *f = resolve.Facts{} })
				update(t, d, "d7", func(f *resolve.Facts) { f.Failed = []string{"kept"} })
			}
			f.Consented = append(f.Consented, "mine")
		})
		want := resolve.Facts{Failed: []string{"kept"}, Consented: []string{"mine"}}
		if got := facts(shop, "d7"); !reflect.DeepEqual(got, want) || calls != 2 {
			t.Errorf("facts %+v after %d calls, want %+v after 2", got, calls, want)
		}
	})
}

func testTokens(t *testing.T, e Engine) {
	s := e.Open(t)
	tokens := store.Tokens{Store: s}
	hash := func(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
	admin := store.Token{Name: "admin", Role: "admin", CreatedAt: noon}
	deploy := store.Token{Name: "deploy", Role: "release", Apps: []string{shop}, CreatedAt: noon, ExpiresAt: noon.AddDate(90, 0, 0)}
	for secret, token := range map[string]store.Token{"s1": admin, "s2": deploy} {
		if err := tokens.Create(t.Context(), token, hash(secret)); err != nil {
			t.Fatal(err)
		}
		if got, err := tokens.Find(t.Context(), hash(secret)); err != nil || !reflect.DeepEqual(got, token) {
			t.Errorf("found %+v, %v, want %+v", got, err, token)
		}
	}
	wantError(t, tokens.Create(t.Context(), store.Token{Name: "admin", Role: "viewer"}, hash("s3")), store.ErrConflict)
	wantError(t, tokens.Create(t.Context(), store.Token{Name: "new", Role: "viewer"}, hash("s1")), store.ErrConflict)
	wantError(t, tokens.Create(t.Context(), store.Token{Role: "viewer"}, hash("s4")), store.ErrInvalid)
	for _, secret := range []string{"s3", "s4", ""} {
		_, err := tokens.Find(t.Context(), hash(secret))
		wantError(t, err, store.ErrNotFound)
	}
	if all, err := tokens.List(t.Context()); err != nil || !reflect.DeepEqual(all, []store.Token{admin, deploy}) {
		t.Errorf("tokens %+v, %v", all, err)
	}
	if err := tokens.Revoke(t.Context(), "admin"); err != nil {
		t.Fatal(err)
	}
	_, err := tokens.Find(t.Context(), hash("s1"))
	wantError(t, err, store.ErrNotFound)
	wantError(t, err, store.ErrRevoked)
	_, err = tokens.Find(t.Context(), hash("s3"))
	if errors.Is(err, store.ErrRevoked) {
		t.Error("a token that never was is called revoked")
	}
	wantError(t, tokens.Revoke(t.Context(), "admin"), store.ErrNotFound)
	if all, err := tokens.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("tokens %+v, %v", all, err)
	}
	wantError(t, tokens.Create(t.Context(), admin, hash("s1")), store.ErrConflict)
	if err := tokens.Create(t.Context(), admin, hash("s5")); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
	_, err = tokens.Find(t.Context(), hash("s1"))
	wantError(t, err, store.ErrRevoked)
	if e.OpenAt != nil {
		t.Run("expired", func(t *testing.T) { testTokenExpiry(t, e) })
	}
}

func testTokenExpiry(t *testing.T, e Engine) {
	var clock clock
	clock.set(noon)
	tokens := store.Tokens{Store: e.OpenAt(t, clock.now)}
	secret := sha256.Sum256([]byte("s"))
	token := store.Token{Name: "brief", Role: "viewer", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	if err := tokens.Create(t.Context(), token, secret); err != nil {
		t.Fatal(err)
	}
	clock.set(noon.Add(time.Hour))
	if found, err := tokens.Find(t.Context(), secret); err != nil || !found.ExpiresAt.Equal(token.ExpiresAt) {
		t.Errorf("just expired: %+v, %v", found, err)
	}
	clock.set(noon.Add(time.Hour + store.KeptAfterExpiry))
	_, err := tokens.Find(t.Context(), secret)
	wantError(t, err, store.ErrNotFound)
	if all, err := tokens.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("tokens %+v, %v", all, err)
	}
	if err := tokens.Create(t.Context(), token, [32]byte{1}); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
}
