package device_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

const app = "com.example.shop"

// world is one app on real engines that can be made to fail, with a clock that the test moves.
type world struct {
	t       testing.TB
	clock   *clock
	store   *faultyStore
	stream  *faultyStream
	apps    store.Apps // writes past the Service, as another process would
	devices store.Devices
	service *device.Service
	handler http.Handler

	dir    string // of the engines
	log    *slog.Logger
	limits device.SourceLimits
}

// newWorld has a public production channel on 1.0.1, a private beta channel that devices may choose, on 1.2.0, a
// private one that they may not, and 1.3.0, which asks for consent, on the consent channel.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}}
	dir := t.TempDir()
	w.dir, w.log = dir, slog.New(slog.DiscardHandler)
	db, err := storesqlite.Open(filepath.Join(dir, "palier.db"), storesqlite.Options{Now: w.clock.Now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := streamsqlite.Open(filepath.Join(dir, "telemetry.db"), streamsqlite.Options{Now: w.clock.Now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	w.store, w.stream = &faultyStore{Store: db}, &faultyStream{Stream: log}
	w.apps = store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}
	w.devices = store.Devices{Store: db}
	w.commit(rollout.State{}, shop(app))
	w.serve()
	t.Cleanup(func() { w.service.Close() })
	return w
}

// serve starts a Service over the engines.
func (w *world) serve() {
	w.service = device.New(device.Config{
		Apps: store.Apps{Store: w.store, NewID: w.apps.NewID, Large: w.apps.Large}, Devices: store.Devices{Store: w.store}, Stream: w.stream,
		Now: w.clock.Now, Log: w.log, Sources: w.limits,
	})
	w.handler = w.service.Handler()
}

// restart serves on with another configuration.
func (w *world) restart() {
	w.service.Close()
	w.serve()
}

func shop(id string) rollout.State {
	channel := func(name, bundle string, number int64) rollout.Channel {
		c := rollout.NewChannel(name)
		c.Bundle, c.Number = bundle, number
		return c
	}
	production, beta := channel("production", "1.0.1", 1), channel("beta", "1.2.0", 2)
	production.Public, beta.AllowDeviceSelfSet = true, true
	consent := channel("consent", "1.3.0", 3)
	consent.AllowDeviceSelfSet = true
	s := rollout.State{
		App:     rollout.App{ID: id},
		Bundles: map[string]rollout.Bundle{},
		Channels: map[string]rollout.Channel{
			"production": production, "beta": beta, "consent": consent, "private": channel("private", "1.2.0", 4),
		},
	}
	for _, version := range []string{"1.0.1", "1.1.0", "1.2.0", "1.3.0"} {
		s.Bundles[version] = rollout.Bundle{
			Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: strings.Repeat("ab", 32),
			RequiresConsent: version == "1.3.0",
		}
	}
	return s
}

func (w *world) commit(before, after rollout.State) {
	w.t.Helper()
	if _, err := w.apps.Commit(w.t.Context(), before, after, nil); err != nil {
		w.t.Fatal(err)
	}
}

// change commits a change of the app behind the Service's back.
func (w *world) change(edit func(*rollout.State)) {
	w.t.Helper()
	before, err := w.apps.Load(w.t.Context(), app)
	if err != nil {
		w.t.Fatal(err)
	}
	after := before
	after.Bundles, after.Channels = maps.Clone(before.Bundles), maps.Clone(before.Channels)
	after.Devices, after.Segments = maps.Clone(before.Devices), maps.Clone(before.Segments)
	edit(&after)
	w.commit(before, after)
}

const rolloutID = "01M0000000000000000000000A"

// start begins a rollout of 1.1.0 to half of production.
func (w *world) start() { w.startFor() }

// startFor begins it among the devices of segments.
func (w *world) startFor(segments ...string) {
	w.t.Helper()
	before, err := w.apps.Load(w.t.Context(), app)
	if err != nil {
		w.t.Fatal(err)
	}
	half := rollout.Plan{Phases: []rollout.Phase{
		{Percent: 50 * rollout.OnePercent, Segments: segments, Hold: rollout.Hold{Min: rollout.Duration(time.Hour)}}, {Percent: 80 * rollout.OnePercent},
	}}
	tr, err := rollout.Start(before, rollout.StartRequest{
		ID: rolloutID, Salt: rollout.Salt{7}, Channel: "production", Bundle: "1.1.0", Plan: half, Actor: "test", At: w.clock.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit(before, tr.ApplyTo(before))
	w.service.Forget(app)
}

// inArm returns n devices of an arm of the rollout that start began.
func (w *world) inArm(arm rollout.Arm, n int) []string {
	w.t.Helper()
	state, err := w.apps.Load(w.t.Context(), app)
	if err != nil {
		w.t.Fatal(err)
	}
	snapshot, err := resolve.Compile(resolve.NewSpec(state))
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for i := 0; len(ids) < n; i++ {
		c := resolve.Check{DeviceID: uuid(i), IsProd: true}
		if snapshot.Rollout(rolloutID).Arm(&c) == arm {
			ids = append(ids, c.DeviceID)
		}
	}
	return ids
}

func uuid(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i) }

type fields map[string]any

// says is what a device's plugin sends with every request; over replaces fields, and nil removes one.
func says(id string, over fields) fields {
	f := fields{
		"platform": "android", "device_id": id, "app_id": app, "custom_id": "", "version_build": "1.0.0", "version_code": "1",
		"version_os": "15", "version_name": "builtin", "plugin_version": "8.51.23", "is_emulator": false, "is_prod": true,
		"defaultChannel": "", "key_id": "",
	}
	for name, value := range over {
		if value == nil {
			delete(f, name)
		} else {
			f[name] = value
		}
	}
	return f
}

func encode(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

// ask sends a request; a body that is no string is encoded. It demands what every answer must have.
func (w *world) ask(method, target string, body any) answer {
	w.t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		text = encode(w.t, body)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, httptest.NewRequest(method, target, strings.NewReader(text)))
	return w.sound(rec)
}

func (w *world) sound(rec *httptest.ResponseRecorder) answer {
	w.t.Helper()
	a := answer{status: rec.Code, header: rec.Header(), text: rec.Body.String()}
	if a.status >= 500 || a.status < 200 {
		w.t.Errorf("status %d: %s", a.status, a.text)
	}
	if got := rec.Header().Get("Content-Type"); got != "application/json" {
		w.t.Errorf("Content-Type %q", got)
	}
	if !json.Valid(rec.Body.Bytes()) {
		w.t.Errorf("not JSON: %q", a.text)
	}
	if a.status == 429 && rec.Header().Get("Retry-After") == "" {
		w.t.Errorf("429 without Retry-After: %s", a.text)
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &a.json) // listChannels answers an array
	if a.status >= 400 && a.code() == "" {
		w.t.Errorf("status %d without a code: %s", a.status, a.text)
	}
	return a
}

func (a answer) code() string    { s, _ := a.json["error"].(string); return s }
func (a answer) version() string { s, _ := a.json["version"].(string); return s }

// check asks for an update.
func (w *world) check(id string, over fields) answer {
	w.t.Helper()
	return w.ask("POST", "/updates", says(id, over))
}

// offers demands that a check is answered with a bundle.
func (w *world) offers(version, id string, over fields) {
	w.t.Helper()
	if a := w.check(id, over); a.status != 200 || a.version() != version || a.code() != "" {
		w.t.Errorf("want an offer of %s, got %d %s", version, a.status, a.text)
	}
}

// offersNothing demands that a check is answered with a code.
func (w *world) offersNothing(code, id string, over fields) {
	w.t.Helper()
	if a := w.check(id, over); a.status != 200 || a.code() != code {
		w.t.Errorf("want %s, got %d %s", code, a.status, a.text)
	}
}

// records returns all that is on the stream, ready to be appended again.
func (w *world) records() []stream.Record {
	w.t.Helper()
	var records []stream.Record
	for _, e := range w.events() {
		data, err := telemetry.Append(nil, e)
		if err != nil {
			w.t.Fatal(err)
		}
		records = append(records, stream.Record{Key: e.Device, Data: data})
	}
	return records
}

// events returns all that is on the stream, by shard and in its order.
func (w *world) events() []telemetry.Event {
	w.t.Helper()
	shards, err := w.stream.Shards(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var events []telemetry.Event
	for _, shard := range shards {
		var at stream.Position
		for {
			records, err := w.stream.Read(w.t.Context(), shard, at, 0)
			if err != nil {
				w.t.Fatal(err)
			}
			if len(records) == 0 {
				break
			}
			for _, r := range records {
				e, err := telemetry.Decode(r.Data)
				if err != nil {
					w.t.Fatal(err)
				}
				events, at = append(events, e), r.Position
			}
		}
	}
	return events
}

// flushed closes the Service, which puts all noted checks on the stream, returns the events and serves on anew.
func (w *world) flushed() []telemetry.Event {
	w.t.Helper()
	w.service.Close()
	events := w.events()
	w.serve()
	return events
}

// until waits for something that happens in the background.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			w.t.Fatal("never happened: " + what)
		}
		time.Sleep(time.Millisecond)
	}
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

// faultyStore is a store that can be down, or slow until it is let go, and that counts the reads of Snapshots.
type faultyStore struct {
	store.Store
	down      atomic.Bool
	stale     atomic.Bool                                     // a slow Get returns what was there when it began
	slow      atomic.Pointer[func(store.Key) <-chan struct{}] // what a Get of the key waits for
	snapshots atomic.Int64
	facts     atomic.Int64
	writes    atomic.Int64
}

func (s *faultyStore) Get(ctx context.Context, k store.Key, c store.Consistency) (got store.Item, gotErr error) {
	switch k.SK {
	case "SNAPSHOT":
		s.snapshots.Add(1)
	case "DEVICE":
		s.facts.Add(1)
	}
	if s.stale.Load() {
		item, err := s.Store.Get(ctx, k, c)
		defer func() { got, gotErr = item, err }()
	}
	if slow := s.slow.Load(); slow != nil {
		select {
		case <-(*slow)(k):
		case <-ctx.Done():
			return store.Item{}, ctx.Err()
		}
	}
	if s.down.Load() {
		return store.Item{}, store.ErrUnavailable
	}
	return s.Store.Get(ctx, k, c)
}

func (s *faultyStore) Write(ctx context.Context, ops ...store.Op) error {
	if s.down.Load() {
		return store.ErrUnavailable
	}
	s.writes.Add(1)
	return s.Store.Write(ctx, ops...)
}

// faultyStream is a stream that can refuse.
type faultyStream struct {
	stream.Stream
	refusal atomic.Pointer[error]
	hang    atomic.Bool // until it is let go or the caller's patience ends
}

func (s *faultyStream) Append(ctx context.Context, batch []stream.Record) error {
	for s.hang.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	if err := s.refusal.Load(); err != nil {
		return *err
	}
	return s.Stream.Append(ctx, batch)
}
