package storetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// early is a store that shows one range, once, as the next Write has it, and everything else as it is: what the
// contract allows between two reads.
type early struct {
	store.Store
	r    store.Range
	next []store.Item
	used atomic.Int64
}

func (s *early) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	if r == s.r && s.used.Add(1) == 1 {
		return s.next, nil
	}
	return s.Store.Query(ctx, r, c)
}

// testEarlySight loads an app while the bundles of a change can be seen and its revision cannot yet.
func testEarlySight(t *testing.T, e Engine) {
	s, after := e.Open(t), e.Open(t)
	state := create(t, apps(s, 1), shopState())
	next := create(t, apps(after, 1), shopState())
	next.Bundles = map[string]rollout.Bundle{
		"1.0.0": {Version: "1.0.0", URL: "https://cdn.example.com/other.zip"}, "1.1.0": {Version: "1.1.0"},
	}
	commit(t, apps(after, 2), state, next)
	bundles := store.Range{PK: "APP#" + shop, Prefix: "BUNDLE#"}
	items, err := after.Query(t.Context(), bundles, store.Strong)
	if err != nil {
		t.Fatal(err)
	}
	torn := &early{Store: s, r: bundles, next: items}
	wantStored(t, apps(torn, 3), state)
	if torn.used.Load() < 2 {
		t.Error("the bundles were not read again")
	}
}
