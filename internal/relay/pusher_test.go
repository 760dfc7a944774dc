package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

// told is an edge that remembers what it was sent.
type told struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method and path
	sealed   [][]byte

	status atomic.Int64                  // of its answers; 204 if 0
	hold   atomic.Pointer[chan struct{}] // what an answer waits for
}

func newEdge(t *testing.T) *told {
	t.Helper()
	e := &told{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.requests = append(e.requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+r.Header.Get("Authorization"))
		e.sealed = append(e.sealed, body)
		e.mu.Unlock()
		if hold := e.hold.Load(); hold != nil {
			<-*hold
		}
		status := int(e.status.Load())
		if status == 0 {
			status = http.StatusNoContent
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(e.Close)
	return e
}

// asked returns the requests that reached it.
func (e *told) asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// revisions returns the revisions that it was sent.
func (e *told) revisions(t *testing.T, key seal.Key) []int64 {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []int64
	for _, sealed := range e.sealed {
		h, _, ok := seal.Read(sealed)
		if !ok || !seal.Verify(sealed, []seal.Key{key}) || h.App != shop {
			t.Fatalf("sent %.300q", sealed)
		}
		all = append(all, h.Revision)
	}
	return all
}

// pusher returns a Pusher that tells edges of what is committed to the world from now on.
func (w *world) pusher(addresses ...string) *relay.Pusher {
	w.t.Helper()
	var edges []*url.URL
	for _, address := range addresses {
		edge, err := relay.ParseEdge(address)
		if err != nil {
			w.t.Fatal(err)
		}
		edges = append(edges, edge)
	}
	p := relay.NewPusher(relay.PusherConfig{Apps: w.apps(), Keys: w.keys(), Edges: edges, Real: w.clock.Now, Log: w.logger()})
	w.t.Cleanup(p.Close)
	w.store.Store = store.Observe(w.store.Store, p.Changed)
	return p
}

// totals returns what a Pusher counted.
func totals(p *relay.Pusher) (pushed, failed int64) {
	all := map[string]int64{}
	for name, total := range p.Totals {
		all[name] = total
	}
	return all["SnapshotsPushed"], all["PushFailures"]
}

func TestEdgesAreToldOfChanges(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	one, two := newEdge(t), newEdge(t)
	p := w.pusher(one.URL, two.URL+"/below/")
	w.state = w.commit(w.state)
	p.Settle(t.Context())
	for edge, path := range map[*told]string{one: "/snapshots/" + shop, two: "/below/snapshots/" + shop} {
		if got := edge.revisions(t, key); !reflect.DeepEqual(got, []int64{w.state.Revision}) {
			t.Errorf("told of revisions %v, want %d", got, w.state.Revision)
		}
		if want := "PUT " + path + " " + relay.SnapshotType; !reflect.DeepEqual(edge.asked(), []string{want}) {
			t.Errorf("%q, want %q", edge.asked(), want)
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if polled := w.fetch(); polled.body != string(one.sealed[0]) {
		t.Error("what is pushed is not what is polled")
	}
	if pushed, failed := totals(p); pushed != 2 || failed != 0 {
		t.Errorf("%d pushed, %d failed", pushed, failed)
	}
}

// TestNewestChangeWins: what changes while a push is on its way is told once, as it is at last.
func TestNewestChangeWins(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	edge := newEdge(t)
	hold := make(chan struct{})
	edge.hold.Store(&hold)
	p := w.pusher(edge.URL)
	w.state = w.commit(w.state)
	first := w.state.Revision
	until(t, "the first push is under way", func() bool { return len(edge.revisions(t, key)) == 1 })
	for range 5 {
		w.state = w.commit(w.state)
	}
	if n := len(edge.revisions(t, key)); n != 1 {
		t.Errorf("%d pushes at once", n)
	}
	edge.hold.Store(nil)
	close(hold)
	p.Settle(t.Context())
	if got := edge.revisions(t, key); !reflect.DeepEqual(got, []int64{first, w.state.Revision}) {
		t.Errorf("told of %v, want %d and %d", got, first, w.state.Revision)
	}
}

// TestEdgesThatCannotBeTold: nobody waits for them, and one line a minute tells of them.
func TestEdgesThatCannotBeTold(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	gone, refusing, astray, slow, good := newEdge(t), newEdge(t), newEdge(t), newEdge(t), newEdge(t)
	gone.Close()
	refusing.status.Store(http.StatusForbidden)
	astray.status.Store(http.StatusTemporaryRedirect)
	hold := make(chan struct{})
	slow.hold.Store(&hold)
	defer close(hold)
	p := w.pusher(gone.URL, refusing.URL, astray.URL, slow.URL, good.URL)
	for range 3 {
		w.state = w.commit(w.state)
	}
	until(t, "the good edge knows", func() bool {
		known := good.revisions(t, key)
		return len(known) > 0 && known[len(known)-1] == w.state.Revision
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Settle(ctx) // which does not wait for the slow one then
	if _, failed := totals(p); failed < 3 {
		t.Errorf("%d failures", failed)
	}
	until(t, "the slow edge is given up", func() bool { return strings.Contains(w.log.String(), "not told") })
	if n := strings.Count(w.log.String(), "an edge was not told"); n != 1 {
		t.Errorf("%d lines:\n%s", n, w.log)
	}
	if n := len(astray.asked()); n > 3 {
		t.Errorf("an edge's redirection was followed: %q", astray.asked())
	}
}

// TestWhatIsNoFailure: edges that know better, serve other apps, or cannot know any key.
func TestWhatIsNoFailure(t *testing.T) {
	w := newWorld(t)
	edge := newEdge(t)
	p := w.pusher(edge.URL)
	w.state = w.commit(w.state)
	p.Settle(t.Context())
	if len(edge.asked()) != 0 {
		t.Error("an edge was told, and there is no key that it could trust")
	}
	if _, err := w.keys().Load(t.Context()); err == nil {
		t.Error("a push drew a key")
	}
	w.key()
	for _, status := range []int64{http.StatusConflict, http.StatusNotFound, http.StatusNoContent} {
		edge.status.Store(status)
		w.state = w.commit(w.state)
		p.Settle(t.Context())
	}
	if err := w.apps().Delete(t.Context(), w.state, nil); err != nil {
		t.Fatal(err)
	}
	p.Settle(t.Context())
	if pushed, failed := totals(p); pushed != 3 || failed != 0 || len(edge.asked()) != 3 || w.log.String() != "" {
		t.Errorf("%d pushed, %d failed, %q, log %s", pushed, failed, edge.asked(), w.log)
	}
}

func TestPushWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t)
	w.key()
	edge := newEdge(t)
	p := w.pusher(edge.URL)
	w.store.down.Store(true)
	p.Changed(shop)
	p.Settle(t.Context())
	if pushed, failed := totals(p); pushed != 0 || failed != 1 {
		t.Errorf("%d pushed, %d failed", pushed, failed)
	}
}

func TestNoEdges(t *testing.T) {
	w := newWorld(t)
	p := w.pusher()
	w.commit(w.state)
	p.Settle(t.Context())
	if pushed, failed := totals(p); pushed+failed != 0 {
		t.Errorf("%d pushed, %d failed", pushed, failed)
	}
}

func TestParseEdge(t *testing.T) {
	for _, address := range []string{"https://edge.example.com", "http://127.0.0.1:8080/", "https://edge.example.com/eu"} {
		if u, err := relay.ParseEdge(address); err != nil || u.String() != address {
			t.Errorf("%s: %v, %v", address, u, err)
		}
	}
	for _, address := range []string{"", "?", "edge.example.com", "//edge.example.com", "ftp://a", "https://", "https://me:secret@a", "https://a?b", "https://a#b", "http://a b", ":"} {
		if u, err := relay.ParseEdge(address); err == nil || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%q is taken as %v, %v", address, u, err)
		}
	}
}

// until waits for something that happens in the background.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}
