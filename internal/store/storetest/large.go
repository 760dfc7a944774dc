package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// objectKey is what the keys of Snapshots look like.
var objectKey = regexp.MustCompile(`^snapshots/com\.example\.shop/[1-9][0-9]*-[0-9a-f]{64}$`)

var errBlobs = errors.New("no blobs today")

// blobs is a store.Blobs in memory that fails when it is told to.
type blobs struct {
	mu                  sync.Mutex
	objects             map[string][]byte
	failPut, failDelete bool
	puts, gets, deletes int
}

func newBlobs() *blobs { return &blobs{objects: map[string][]byte{}} }

func (b *blobs) Put(_ context.Context, key string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	if b.failPut {
		return errBlobs
	}
	b.objects[key] = bytes.Clone(data)
	return nil
}

func (b *blobs) Get(_ context.Context, key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gets++
	data, ok := b.objects[key]
	if !ok {
		return nil, errBlobs
	}
	return bytes.Clone(data), nil
}

func (b *blobs) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deletes++
	if b.failDelete {
		return errBlobs
	}
	delete(b.objects, key)
	return nil
}

func (b *blobs) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// wantObjects fails unless there are so many objects, with keys as they should be.
func (b *blobs) wantObjects(t *testing.T, n int) {
	t.Helper()
	keys := b.keys()
	if len(keys) != n {
		t.Errorf("objects %q, want %d", keys, n)
	}
	for _, key := range keys {
		if !objectKey.MatchString(key) {
			t.Errorf("object %q", key)
		}
	}
}

// noise is text that hardly compresses.
func noise(seed uint64, size int) string {
	random := rand.New(rand.NewPCG(seed, 0))
	text := make([]byte, size)
	for i := range text {
		text[i] = '0' + byte(random.Uint64()%64)
	}
	return string(text)
}

// grown is state with channels whose bundles compress to about 150,000 bytes each.
func grown(state rollout.State, bundles int) rollout.State {
	state.Bundles, state.Channels = maps.Clone(state.Bundles), maps.Clone(state.Channels)
	for i := range bundles {
		version := fmt.Sprintf("9.0.%d", i)
		state.Bundles[version] = rollout.Bundle{Version: version, Comment: noise(uint64(i), 200_000)}
		channel := rollout.NewChannel(version)
		channel.Bundle = version
		state.Channels[version] = channel
	}
	return state
}

// largeWorld is an app whose Snapshot is an object.
type largeWorld struct {
	store store.Store
	blobs *blobs
	apps  store.Apps
	state rollout.State
}

func newLargeWorld(t *testing.T, e Engine) *largeWorld {
	t.Helper()
	w := &largeWorld{store: e.Open(t), blobs: newBlobs()}
	w.apps = w.over(w.store, 1)
	w.state = create(t, w.apps, grown(shopState(), 3))
	w.blobs.wantObjects(t, 1)
	return w
}

// over returns the apps of s with the world's blobs.
func (w *largeWorld) over(s store.Store, seed uint64) store.Apps {
	a := apps(s, seed)
	a.Large = w.blobs
	return a
}

// renamed is the world's app with another name: as large as before.
func (w *largeWorld) renamed(name string) rollout.State {
	next := w.state
	next.App.Name = name
	return next
}

// wantReadable fails unless the Snapshot is that of the world's state.
func (w *largeWorld) wantReadable(t *testing.T) {
	t.Helper()
	snapshot, err := w.apps.Snapshot(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := snapshot.Spec()
	if err != nil || spec.Revision != w.state.Revision || len(spec.Bundles) != len(resolve.NewSpec(w.state).Bundles) {
		t.Errorf("revision %d with %d bundles, %v", spec.Revision, len(spec.Bundles), err)
	}
}

// testLarge takes one app through all of it, since large ones take their time.
func testLarge(t *testing.T, e Engine) {
	t.Run("an item as long as it fits", func(t *testing.T) { testAlmostLarge(t, e) })
	w := newLargeWorld(t, e)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *largeWorld)
	}{
		{"nothing is fetched to know the revision", testLargeRevision},
		{"damaged or gone", testLargeDamaged},
		{"without blobs", testLargeWithout},
		{"there before anybody hears of it", testLargeOrder},
		{"blobs that fail", testLargeFails},
		{"races", testLargeRaces},
		{"replaced, and small again", testLargeReplaced},
		{"delete", testLargeDelete},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

func testAlmostLarge(t *testing.T, e Engine) {
	w := &largeWorld{blobs: newBlobs()}
	a := w.over(e.Open(t), 1)
	create(t, a, grown(shopState(), 2))
	w.blobs.wantObjects(t, 0)
	if w.blobs.puts+w.blobs.gets+w.blobs.deletes > 0 {
		t.Error("the blobs were asked for a small snapshot")
	}
}

func testLargeReplaced(t *testing.T, w *largeWorld) {
	first := w.blobs.keys()
	next := commit(t, w.apps, w.state, w.renamed("replaced"))
	w.blobs.wantObjects(t, 1)
	if slices.Equal(w.blobs.keys(), first) {
		t.Error("the object is still the first one")
	}
	small := next
	small.Bundles, small.Channels = shopState().Bundles, shopState().Channels
	w.state = commit(t, w.apps, next, small)
	w.blobs.wantObjects(t, 0)
}

func testLargeRevision(t *testing.T, w *largeWorld) {
	w.blobs.gets = 0
	snapshot, err := w.apps.Snapshot(t.Context(), shop)
	if err != nil || snapshot.Revision != w.state.Revision {
		t.Errorf("revision %d, %v", snapshot.Revision, err)
	}
	if w.blobs.gets > 0 {
		t.Error("the object was fetched")
	}
}

// testLargeOrder looks, just before the Write, whether the object is there already and the former one still is.
func testLargeOrder(t *testing.T, w *largeWorld) {
	looked := 0
	look := func() {
		looked++
		w.blobs.wantObjects(t, 2)
		w.wantReadable(t)
	}
	next, err := w.over(&meddler{Store: w.store, meddle: look}, 2).Commit(t.Context(), w.state, w.renamed("in order"), nil)
	if err != nil || looked != 1 {
		t.Fatalf("%v, looked %d times", err, looked)
	}
	w.state = next
	w.wantReadable(t)
	w.blobs.wantObjects(t, 1)
}

func testLargeFails(t *testing.T, w *largeWorld) {
	w.blobs.failPut = true
	_, err := w.apps.Commit(t.Context(), w.state, w.renamed("next"), nil)
	wantError(t, err, errBlobs)
	wantError(t, err, store.ErrUnavailable)
	w.wantReadable(t)
	w.blobs.failPut, w.blobs.failDelete = false, true
	former := w.blobs.keys()[0]
	if w.state, err = w.apps.Commit(t.Context(), w.state, w.renamed("kept"), nil); err != nil {
		t.Fatal(err)
	}
	w.wantReadable(t)
	w.blobs.wantObjects(t, 2) // what is left behind costs a little and harms nobody
	w.blobs.failDelete = false
	if err := w.blobs.Delete(t.Context(), former); err != nil {
		t.Fatal(err)
	}
}

func testLargeDamaged(t *testing.T, w *largeWorld) {
	key := w.blobs.keys()[0]
	whole := w.blobs.objects[key]
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	damages := map[string][]byte{"changed": flipped, "cut": whole[:len(whole)-1], "empty": {}, "gone": nil}
	for name, object := range damages {
		w.blobs.objects[key] = object
		if object == nil {
			delete(w.blobs.objects, key)
		}
		snapshot, err := w.apps.Snapshot(t.Context(), shop)
		if err != nil || snapshot.Revision != w.state.Revision {
			t.Fatalf("%s: revision %d, %v", name, snapshot.Revision, err)
		}
		_, rawErr := snapshot.Raw()
		_, specErr := snapshot.Spec()
		for _, err := range []error{rawErr, specErr} {
			if err == nil || !strings.Contains(err.Error(), key) || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v, want an error that names the object and does not say that there is no such app", name, err)
			}
		}
	}
	w.blobs.objects[key] = whole
	w.wantReadable(t)
}

func testLargeWithout(t *testing.T, w *largeWorld) {
	without := apps(w.store, 2)
	_, err := without.Commit(t.Context(), w.state, w.renamed("next"), nil)
	wantError(t, err, store.ErrTooLarge)
	snapshot, err := without.Snapshot(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Spec(); err == nil || !strings.Contains(err.Error(), "access to large snapshots") {
		t.Errorf("got %v, want what to do", err)
	}
	w.wantReadable(t)
}

// testLargeRaces lets many make a change to one revision, every second of them the very same: the winner's object
// stays, and it is the only one.
func testLargeRaces(t *testing.T, w *largeWorld) {
	var mu sync.Mutex
	var won []rollout.State
	together(4, func(i int) {
		next, err := w.over(w.store, uint64(i+2)).Commit(t.Context(), w.state, w.renamed(fmt.Sprint("by ", i*(i%2))), nil)
		switch {
		case err == nil:
			mu.Lock()
			defer mu.Unlock()
			won = append(won, next)
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("commit: %v", err)
		}
	})
	if len(won) != 1 {
		t.Fatalf("%d winners", len(won))
	}
	w.state = won[0]
	w.wantReadable(t)
	w.blobs.wantObjects(t, 1)
}

func testLargeDelete(t *testing.T, w *largeWorld) {
	large, err := w.apps.Commit(t.Context(), w.state, grown(w.state, 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.blobs.wantObjects(t, 1)
	w.blobs.failDelete = true
	wantError(t, w.apps.Delete(t.Context(), large, nil), errBlobs)
	wantGone(t, w.apps)
	w.blobs.failDelete = false
	create(t, w.apps, rollout.State{App: rollout.App{ID: shop}}) // clears up first
	w.blobs.wantObjects(t, 0)

	state, err := w.apps.Load(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	if large, err = w.apps.Commit(t.Context(), state, grown(state, 3), nil); err != nil {
		t.Fatal(err)
	}
	w.blobs.wantObjects(t, 1)
	if err := w.apps.Delete(t.Context(), large, nil); err != nil {
		t.Fatal(err)
	}
	wantGone(t, w.apps)
	w.blobs.wantObjects(t, 0)
}
