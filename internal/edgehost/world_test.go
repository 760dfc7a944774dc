package edgehost_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	edgemodule "github.com/palier-ota/palier/functions/edge/module"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	app       = "com.example.shop"
	edgeToken = "plr_a-token-of-the-role-edge-of-these-tests"
	goldenDir = "../../testdata/golden"
	patience  = 20 * time.Second // for what takes moments, on a machine with much else to do
)

// compiled is where the module's machine code is kept while the tests run, so that it is compiled once.
var compiled string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "edge-compiled-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "no directory for the compiled module:", err)
		os.Exit(1)
	}
	compiled = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// module returns the module that ships, or the build of it in the file that $PALIER_EDGE_MODULE names.
func module(t testing.TB) []byte {
	t.Helper()
	named := os.Getenv("PALIER_EDGE_MODULE")
	if named == "" {
		return edgemodule.Bytes()
	}
	wasm, err := os.ReadFile(named)
	must(t, err)
	return wasm
}

// The ways in which an origin may not be there.
const (
	fine    = iota
	cut     // connections end without a word
	failing // 503
	hanging // no answer
	strange // somebody in between answers
)

// origin is a whole origin on real engines, behind HTTP.
type origin struct {
	t       testing.TB
	store   store.Store
	stream  *streamsqlite.Stream
	apps    store.Apps
	devices *device.Service
	edges   *relay.Origin
	key     string
	server  *httptest.Server

	state  atomic.Int32
	sealed atomic.Pointer[func([]byte) []byte] // changes the snapshots that are handed out; nil does not
	relays atomic.Pointer[http.HandlerFunc]    // answers relays instead; nil does not
	mu     sync.Mutex
	asked  map[string]int // by method and first part of the path
	token  []string       // paths that were asked with an Authorization header
	spoken []string       // the last header X-Forwarded-For of a request for a device
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	dir := t.TempDir()
	db, err := storesqlite.Open(filepath.Join(dir, "palier.db"), storesqlite.Options{Relaxed: true})
	must(t, err)
	log, err := streamsqlite.Open(filepath.Join(dir, "telemetry.db"), streamsqlite.Options{Relaxed: true})
	must(t, err)
	o := &origin{t: t, store: db, stream: log, asked: map[string]int{}, apps: store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}}
	o.devices = device.New(device.Config{
		Apps: o.apps, Devices: store.Devices{Store: db}, Stream: log, Now: time.Now, Log: quiet(), SnapshotTTL: time.Millisecond,
	})
	keys := store.Keys{Store: db}
	ring, err := keys.Ensure(t.Context())
	must(t, err)
	o.key = ring.Current.Public().String()
	must(t, store.Tokens{Store: db}.Create(t.Context(), store.Token{Name: "edge", Role: store.RoleEdge}, sha256.Sum256([]byte(edgeToken))))
	o.edges = relay.New(relay.Config{
		Apps: o.apps, Tokens: store.Tokens{Store: db}, Keys: keys, Devices: o.devices, Now: time.Now, Log: quiet(),
	})
	o.server = httptest.NewServer(o.gate(o.edges.Handler(), o.devices.Handler()))
	t.Cleanup(func() {
		o.state.Store(cut) // ends what hangs
		o.server.Close()
		o.devices.Close()
		must(t, errors.Join(db.Close(), log.Close()))
	})
	return o
}

// gate lets requests in, counts them, and keeps them out when the test wants the origin away.
func (o *origin) gate(edges, devices http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.note(r)
		switch o.state.Load() {
		case cut:
			panic(http.ErrAbortHandler)
		case failing:
			http.Error(w, "no", http.StatusServiceUnavailable)
		case strange:
			http.Redirect(w, r, "https://login.example.com/", http.StatusFound)
		case hanging:
			for o.state.Load() == hanging && r.Context().Err() == nil {
				time.Sleep(5 * time.Millisecond)
			}
			panic(http.ErrAbortHandler)
		default:
			o.answer(w, r, edges, devices)
		}
	})
}

func (o *origin) answer(w http.ResponseWriter, r *http.Request, edges, devices http.Handler) {
	change, relays := o.sealed.Load(), o.relays.Load()
	switch {
	case r.URL.Path == relay.PathRelay && relays != nil:
		(*relays)(w, r)
	case !relay.Serves(r.URL.Path):
		devices.ServeHTTP(w, r)
	case change == nil || r.Method != http.MethodGet:
		edges.ServeHTTP(w, r)
	default:
		r.Header.Del("If-None-Match")
		rec := httptest.NewRecorder()
		edges.ServeHTTP(rec, r)
		_, _ = w.Write((*change)(rec.Body.Bytes()))
	}
}

func (o *origin) note(r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	o.asked[r.Method+" /"+first]++
	if !relay.Serves(r.URL.Path) {
		o.spoken = r.Header.Values("X-Forwarded-For")
	}
	if r.Header.Get("Authorization") != "" {
		o.token = append(o.token, r.URL.Path)
	}
}

// times returns how often the origin was asked something such as "POST /updates".
func (o *origin) times(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[what]
}

// change commits a change of the app, which it makes if there is none.
func (o *origin) change(edit func(*rollout.State)) rollout.State {
	o.t.Helper()
	before, err := o.apps.Load(o.t.Context(), app)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		o.t.Fatal(err)
	}
	after := before
	after.App.ID = app
	after.Bundles, after.Channels = maps.Clone(before.Bundles), maps.Clone(before.Channels)
	if after.Bundles == nil {
		after.Bundles, after.Channels = map[string]rollout.Bundle{}, map[string]rollout.Channel{}
	}
	edit(&after)
	now, err := o.apps.Commit(o.t.Context(), before, after, nil)
	must(o.t, err)
	return now
}

// serves makes the app's only channel have a bundle.
func (o *origin) serves(version string) int64 {
	return o.change(func(s *rollout.State) {
		production := rollout.NewChannel("production")
		production.Public, production.Bundle = true, version
		s.Channels["production"] = production
		s.Bundles[version] = rollout.Bundle{Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: "c0ffee"}
	}).Revision
}

// halfGets starts a rollout of a bundle to half of the devices, and returns its id.
func (o *origin) halfGets(version string) string {
	const id = "01M0000000000000000000000A"
	o.change(func(s *rollout.State) {
		s.Bundles[version] = rollout.Bundle{Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: "c0ffee"}
	})
	before, err := o.apps.Load(o.t.Context(), app)
	must(o.t, err)
	tr, err := rollout.Start(before, rollout.StartRequest{
		ID: id, Salt: rollout.Salt{7}, Channel: "production", Bundle: version, Actor: "test", At: time.Now(),
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: rollout.Duration(time.Hour)}}}},
	})
	must(o.t, err)
	_, err = o.apps.Commit(o.t.Context(), before, tr.ApplyTo(before), nil)
	must(o.t, err)
	return id
}

// rollback ends the rollout.
func (o *origin) rollback(id string) {
	o.t.Helper()
	before, err := o.apps.Load(o.t.Context(), app)
	must(o.t, err)
	tr, err := rollout.Operate(before, id, rollout.Command{Verb: rollout.VerbRollback, Actor: "test", At: time.Now()})
	must(o.t, err)
	_, err = o.apps.Commit(o.t.Context(), before, tr.ApplyTo(before), nil)
	must(o.t, err)
}

// golden puts the golden apps and device records into the store, and returns the apps' ids.
func (o *origin) golden(vectors []devicetest.Vector) (apps []string) {
	o.t.Helper()
	must(o.t, devicetest.Load(o.t.Context(), o.store, goldenDir, vectors))
	text, err := os.ReadFile(filepath.Join(goldenDir, "snapshots.json"))
	must(o.t, err)
	var list []struct {
		Spec struct {
			App      string
			Revision int64
		}
	}
	must(o.t, json.Unmarshal(text, &list))
	for _, g := range list {
		value, err := json.Marshal(rollout.App{ID: g.Spec.App})
		must(o.t, err)
		item := store.Item{Key: store.Key{PK: "APP#" + g.Spec.App, SK: "APP"}, Version: g.Spec.Revision, Value: value}
		must(o.t, o.store.Write(o.t.Context(), store.Put(item, store.Always())))
		apps = append(apps, g.Spec.App)
	}
	return apps
}

// events returns what rests on the stream: how often each device's event of an action is there; checks have the action
// "check".
func (o *origin) events() map[string]int {
	o.t.Helper()
	found := map[string]int{}
	shards, err := o.stream.Shards(o.t.Context())
	must(o.t, err)
	for _, shard := range shards {
		for after := stream.Position(""); ; {
			batch, err := o.stream.Read(o.t.Context(), shard, after, stream.MaxRead)
			must(o.t, err)
			if len(batch) == 0 {
				break
			}
			for _, record := range batch {
				after = record.Position
				e, err := telemetry.Decode(record.Data)
				must(o.t, err)
				if e.Kind == telemetry.KindCheck {
					e.Action = "check"
				}
				found[fmt.Sprintf("%016x %s", e.Device, e.Action)]++
			}
		}
	}
	return found
}

// edge is a Host that runs behind HTTP.
type edge struct {
	t    testing.TB
	host *edgehost.Host
	url  string
	log  *syncBuffer
	stop func() // ends it in good order; calling it again does nothing
}

// edge starts a Host for this origin and waits until it is ready. edit may change its settings.
func (o *origin) edge(edit func(*edgehost.Config)) *edge {
	o.t.Helper()
	e := &edge{t: o.t, log: &syncBuffer{}}
	c := edgehost.Config{
		Wasm: module(o.t), Origin: o.server.URL, Token: edgeToken, Apps: []string{app}, Keys: []string{o.key},
		Cache: compiled, Poll: 100 * time.Millisecond, Gather: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if edit != nil {
		edit(&c)
	}
	var err error
	e.host, err = edgehost.New(o.t.Context(), c)
	must(o.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		e.host.Run(ctx, func() { close(ready) })
		close(done)
	}()
	server := httptest.NewServer(e.host)
	e.url = server.URL
	e.stop = sync.OnceFunc(func() {
		server.Close()
		cancel()
		<-done
		must(o.t, e.host.Close(context.Background()))
	})
	o.t.Cleanup(func() {
		e.stop()
		if o.t.Failed() {
			o.t.Logf("the edge's log ends:\n%s", e.log.tail())
		}
	})
	select {
	case <-ready:
	case <-time.After(patience):
		o.t.Fatal("the edge does not get ready")
	}
	return e
}

// response is what came back.
type response struct {
	status int
	header http.Header
	text   string
}

var client = &http.Client{
	Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask sends a request.
func ask(t testing.TB, method, url, body string, header ...string) response {
	t.Helper()
	r, err := try(method, url, body, header...)
	must(t, err)
	return r
}

// try is ask for those who are not the test's goroutine.
func try(method, url, body string, header ...string) (response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(text)}, err
}

// check asks the edge for an update, for a device that runs a version.
func (e *edge) check(device, version string) response {
	e.t.Helper()
	return ask(e.t, "POST", e.url+"/updates", says(device, version, ""))
}

// stats reports an action of a device.
func (e *edge) stats(device, action string) response {
	e.t.Helper()
	return ask(e.t, "POST", e.url+"/stats", says(device, "1.0.0", action))
}

// status asks how the edge does.
func (e *edge) status() (s edgehost.Status) {
	e.t.Helper()
	r := ask(e.t, "GET", e.url+"/edge/status", "", "Authorization", "Bearer "+edgeToken)
	if r.status != http.StatusOK {
		e.t.Fatalf("status: %d %s", r.status, r.text)
	}
	must(e.t, json.Unmarshal([]byte(r.text), &s))
	return s
}

// says is what a device's plugin sends; with an action, it is a report.
func says(device, version, action string) string {
	f := map[string]any{
		"platform": "android", "device_id": device, "app_id": app, "version_build": "1.0.0", "version_os": "15", "version_name": version,
		"plugin_version": "8.51.23", "is_emulator": false, "is_prod": true,
	}
	if action != "" {
		f["action"] = action
	}
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and booleans
	}
	return string(text)
}

// id returns the id of a device.
func id(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n) }

// key is how events names a device's event.
func key(device, action string) string {
	return fmt.Sprintf("%016x %s", telemetry.Fingerprint(device), action)
}

// eventually asks done again and again until it reports true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) tail() string {
	text := b.String()
	return text[max(0, len(text)-4000):]
}
