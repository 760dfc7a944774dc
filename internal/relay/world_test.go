package relay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	shop  = "com.example.shop"
	other = "com.example.other"

	edgeToken  = "plr_edge-token-of-the-tests"
	adminToken = "plr_admin-token-of-the-tests"
)

// deviceID is that of the only device here; no log may have it.
const deviceID = "3ad0fac0-0ed2-acf2-c604-abd2332c482c"

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is an origin on real engines that can be made to fail, with a clock that the test moves.
type world struct {
	t      testing.TB
	dir    string
	clock  *clock
	store  *fickleStore
	stream *fickleStream
	origin *relay.Origin
	log    *lockedBuffer
	state  rollout.State // of shop
	large  store.Blobs   // nil: none
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{now: noon}, log: &lockedBuffer{}}
	w.open(0)
	w.state = w.commit(rollout.State{App: rollout.NewApp(shop)})
	w.token("edge", store.RoleEdge, edgeToken)
	w.token("root", store.RoleAdmin, adminToken)
	return w
}

// open starts a process on the files: engines, devices, and the origin, whose Snapshots have this lifetime.
func (w *world) open(lifetime time.Duration) {
	w.t.Helper()
	db, err := storesqlite.Open(filepath.Join(w.dir, "palier.db"), storesqlite.Options{Now: w.clock.Now, Relaxed: true})
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := streamsqlite.Open(filepath.Join(w.dir, "telemetry.db"), streamsqlite.Options{Now: w.clock.Now, Relaxed: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.stream = &fickleStore{Store: db}, &fickleStream{Stream: log}
	w.t.Cleanup(func() {
		if err := errors.Join(db.Close(), log.Close()); err != nil {
			w.t.Error(err)
		}
		if strings.Contains(w.log.String(), deviceID) {
			w.t.Errorf("the log names a device:\n%s", w.log)
		}
	})
	w.origin = relay.New(relay.Config{
		Apps: w.apps(), Tokens: store.Tokens{Store: w.store}, Keys: w.keys(), Devices: w.devices(),
		Now: w.clock.Now, Real: w.clock.Now, Log: w.logger(), Lifetime: lifetime,
	})
}

// devices returns a service for devices on the engines, which may be closed before the test ends.
func (w *world) devices() *device.Service {
	s := device.New(device.Config{
		Apps: w.apps(), Devices: store.Devices{Store: w.store}, Stream: w.stream, Now: w.clock.Now, Log: w.logger(),
	})
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// beside returns another process on the same files.
func (w *world) beside() *world {
	w.t.Helper()
	second := *w
	second.open(0)
	return &second
}

func (w *world) apps() store.Apps {
	return store.Apps{Store: w.store, NewID: store.NewULID(rand.Reader), Large: w.large}
}

func (w *world) keys() store.Keys { return store.Keys{Store: w.store, Now: w.clock.Now} }

// key returns the key that signs now.
func (w *world) key() seal.Key {
	w.t.Helper()
	ring, err := w.keys().Ensure(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return ring.Current.Public()
}

// commit gives the app of the state two bundles and a public channel, which changes every time.
func (w *world) commit(before rollout.State) rollout.State {
	w.t.Helper()
	next := before
	channel := rollout.NewChannel("production")
	channel.Bundle, channel.Public, channel.Number = "1.0.0", true, before.Revision+1
	next.Channels = map[string]rollout.Channel{channel.Name: channel}
	next.Bundles = map[string]rollout.Bundle{}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		next.Bundles[version] = rollout.Bundle{Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: strings.Repeat("ab", 32)}
	}
	if before.Revision == 0 {
		before = rollout.State{}
	}
	after, err := w.apps().Commit(w.t.Context(), before, next, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return after
}

// token stores a token that expires an hour after noon if its name says so, and is good for the apps.
func (w *world) token(name, role, secret string, apps ...string) {
	w.t.Helper()
	token := store.Token{Name: name, Role: role, Apps: apps, CreatedAt: noon}
	if name == "brief" {
		token.ExpiresAt = noon.Add(time.Hour)
	}
	if err := (store.Tokens{Store: w.store}).Create(w.t.Context(), token, sha256.Sum256([]byte(secret))); err != nil {
		w.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// code returns the stable code of a refusal.
func (a answer) code() string {
	var e struct{ Error, Message string }
	if json.Unmarshal([]byte(a.body), &e) != nil || e.Message == "" {
		return ""
	}
	return e.Error
}

// ask sends a request; headers are names and values in turn.
func (w *world) ask(method, path, token, body string, headers ...string) answer {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.origin.Handler().ServeHTTP(rec, r)
	a := answer{rec.Code, rec.Header(), rec.Body.String()}
	if a.status >= 400 && (a.code() == "" || a.header.Get("Content-Type") != "application/json") {
		w.t.Errorf("%s %s is refused without a code: %d %s", method, path, a.status, a.body)
	}
	if (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable) && a.header.Get("Retry-After") == "" {
		w.t.Errorf("%s %s: %d without Retry-After", method, path, a.status)
	}
	return a
}

// refused demands a refusal.
func (w *world) refused(status int, code string, a answer) {
	w.t.Helper()
	if a.status != status || a.code() != code {
		w.t.Errorf("answered %d %s, want %d %s", a.status, a.body, status, code)
	}
}

// fetch fetches shop's Snapshot, as the edge does.
func (w *world) fetch(headers ...string) answer {
	w.t.Helper()
	return w.ask("GET", "/snapshots/"+shop, edgeToken, "", headers...)
}

// events returns what is on the stream.
func (w *world) events() []telemetry.Event {
	w.t.Helper()
	shards, err := w.stream.Shards(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var events []telemetry.Event
	for _, shard := range shards {
		records, err := w.stream.Read(w.t.Context(), shard, "", 0)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range records {
			e, err := telemetry.Decode(r.Data)
			if err != nil {
				w.t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fickleStore is a store that can be down, and that counts what is read.
type fickleStore struct {
	store.Store
	down  atomic.Bool
	reads sync.Map // by sort key, *atomic.Int64
}

// Get fails, or gets.
func (s *fickleStore) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	if s.down.Load() {
		return store.Item{}, store.ErrUnavailable
	}
	n, _ := s.reads.LoadOrStore(k.SK, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	return s.Store.Get(ctx, k, c)
}

// count returns how often items with the sort key were read.
func (s *fickleStore) count(sk string) int64 {
	n, ok := s.reads.Load(sk)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// fickleStream is a stream that can refuse.
type fickleStream struct {
	stream.Stream
	full    atomic.Bool
	waiting atomic.Int64                  // Appends that hold
	hold    atomic.Pointer[chan struct{}] // what an Append waits for
}

// Append refuses, or appends.
func (s *fickleStream) Append(ctx context.Context, batch []stream.Record) error {
	if s.full.Load() {
		return stream.ErrOverloaded
	}
	if hold := s.hold.Load(); hold != nil {
		s.waiting.Add(1)
		<-*hold
	}
	return s.Stream.Append(ctx, batch)
}

// lockedBuffer is a log that many write to.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to the log.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns all of it.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
