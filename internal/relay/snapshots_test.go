package relay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

func TestSnapshotIsSealed(t *testing.T) {
	w := newWorld(t)
	a := w.fetch()
	h, spec, ok := seal.Read([]byte(a.body))
	want := seal.Header{App: shop, Revision: w.state.Revision, Issued: noon.Unix(), Expires: noon.Unix() + 86400}
	if a.status != 200 || !ok || h != want || !seal.Verify([]byte(a.body), []seal.Key{w.key()}) {
		t.Fatalf("%d %+v, want %+v; %s", a.status, h, want, a.body)
	}
	item, err := w.apps().Snapshot(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := item.Raw(); err != nil || string(stored) != string(spec) {
		t.Errorf("%s is not what is stored: %s, %v", spec, stored, err)
	}
	for name, value := range map[string]string{
		"Content-Type": relay.SnapshotType, "Cache-Control": "private, no-cache", "ETag": fmt.Sprintf(`"%d-%d"`, w.state.Revision, noon.Unix()),
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if again := w.ask("GET", "/snapshots/"+shop, adminToken, ""); again.body != a.body {
		t.Errorf("an admin gets something else: %d %s", again.status, again.body)
	}
}

// TestUnchangedSnapshotIsNotRead: a poll that finds nothing new costs one small read.
func TestUnchangedSnapshotIsNotRead(t *testing.T) {
	w := newWorld(t)
	tag := w.fetch().header.Get("ETag")
	snapshots, heads, tokens, keys := w.store.count("SNAPSHOT"), w.store.count("APP"), w.store.count("TOKEN"), w.store.count("SIGNING")
	for _, header := range []string{tag, "W/" + tag, `"1-2", ` + tag + `, "3-4"`} {
		a := w.fetch("If-None-Match", header)
		if a.status != http.StatusNotModified || a.body != "" || a.header.Get("ETag") != tag || a.header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("If-None-Match %s: %d %v %s", header, a.status, a.header, a.body)
		}
	}
	if w.store.count("SNAPSHOT") != snapshots || w.store.count("TOKEN") != tokens || w.store.count("SIGNING") != keys || w.store.count("APP") != heads+3 {
		t.Errorf("three polls read more than three heads")
	}
	for _, header := range []string{`"1-2"`, "*", tag[:len(tag)-2] + `"`} {
		if a := w.fetch("If-None-Match", header); a.status != 200 || a.body == "" {
			t.Errorf("If-None-Match %s: %d", header, a.status)
		}
	}
	if w.store.count("SNAPSHOT") != snapshots {
		t.Error("a sealed snapshot was not kept")
	}
}

func TestSnapshotFollowsTheApp(t *testing.T) {
	w := newWorld(t)
	tag := w.fetch().header.Get("ETag")
	w.state = w.commit(w.state)
	a := w.fetch("If-None-Match", tag)
	if h, _, ok := seal.Read([]byte(a.body)); a.status != 200 || !ok || h.Revision != w.state.Revision {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if err := w.apps().Delete(t.Context(), w.state, nil); err != nil {
		t.Fatal(err)
	}
	w.refused(404, relay.CodeUnknownApp, w.fetch("If-None-Match", a.header.Get("ETag")))
}

// TestSnapshotIsRenewed: one that does not change is issued anew, at the same moments by every process, long before it
// expires.
func TestSnapshotIsRenewed(t *testing.T) {
	w := newWorld(t)
	second := w.beside()
	w.clock.pass(17 * time.Minute)
	first, same := w.fetch(), second.fetch()
	if first.body != same.body || first.header.Get("ETag") != same.header.Get("ETag") {
		t.Errorf("two processes seal different bytes:\n%s\n%s", first.body, same.body)
	}
	h, _, _ := seal.Read([]byte(first.body))
	if h.Issued != noon.Unix() {
		t.Errorf("issued %s, want noon", time.Unix(h.Issued, 0).UTC())
	}
	w.clock.pass(42*time.Minute + 59*time.Second)
	if a := second.fetch("If-None-Match", first.header.Get("ETag")); a.status != 304 {
		t.Errorf("before the hour is over: %d", a.status)
	}
	w.clock.pass(time.Second)
	next := second.fetch("If-None-Match", first.header.Get("ETag"))
	later, _, ok := seal.Read([]byte(next.body))
	if next.status != 200 || !ok || later.Issued != h.Issued+3600 || later.Expires != h.Expires+3600 || later.Revision != h.Revision {
		t.Errorf("an hour later: %d %+v", next.status, later)
	}
	if a := w.fetch(); a.body != next.body {
		t.Error("two processes seal different bytes an hour later")
	}
}

func TestLifetime(t *testing.T) {
	w := newWorld(t)
	for lifetime, want := range map[time.Duration][2]int64{ // seconds of life, and between two issues
		0: {86400, 3600}, 48 * time.Minute: {2880, 120}, time.Second: {24, 1},
	} {
		w.open(lifetime)
		w.clock.pass(time.Duration(want[1]) * time.Second)
		h, _, ok := seal.Read([]byte(w.fetch().body))
		if !ok || h.Expires-h.Issued != want[0] || h.Issued%want[1] != 0 || w.clock.Now().Unix()-h.Issued >= want[1] {
			t.Errorf("lifetime %s: %+v at %d", lifetime, h, w.clock.Now().Unix())
		}
	}
}

// TestKeyIsChanged rotates the key under an edge that asks all the while.
func TestKeyIsChanged(t *testing.T) {
	w := newWorld(t)
	first := w.key()
	w.fetch()
	ring, err := w.keys().Prepare(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	next := ring.Next.Public()
	w.clock.pass(time.Minute)
	if a := w.fetch(); !seal.Verify([]byte(a.body), []seal.Key{first}) {
		t.Error("a key that was only prepared signs")
	}
	if _, err := w.keys().Activate(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(time.Minute)
	if a := w.fetch(); !seal.Verify([]byte(a.body), []seal.Key{next}) || seal.Verify([]byte(a.body), []seal.Key{first}) {
		t.Error("the activated key does not sign")
	}
}

func TestWhoMayHaveSnapshots(t *testing.T) {
	w := newWorld(t)
	w.token("ci", "operator", "plr_operator")
	w.token("brief", store.RoleEdge, "plr_brief")
	w.token("limited", store.RoleEdge, "plr_limited", other)
	w.token("mine", store.RoleEdge, "plr_mine", shop, other)
	path := "/snapshots/" + shop
	for _, c := range []struct {
		name, method, path, token string
		status                    int
		code                      string
	}{
		{"no token", "GET", path, "", 401, relay.CodeMissingToken},
		{"an unknown token", "GET", path, "plr_unknown", 401, relay.CodeInvalidToken},
		{"a token that was tampered with", "GET", path, edgeToken + "x", 401, relay.CodeInvalidToken},
		{"a very long token", "GET", path, strings.Repeat("x", 300), 401, relay.CodeInvalidToken},
		{"another role", "GET", path, "plr_operator", 403, relay.CodeForbidden},
		{"other apps", "GET", path, "plr_limited", 403, relay.CodeForbidden},
		{"its apps", "GET", path, "plr_mine", 200, ""},
		{"no such app", "GET", "/snapshots/" + other, edgeToken, 404, relay.CodeUnknownApp},
		{"no app", "GET", "/snapshots/", edgeToken, 404, relay.CodeUnknownApp},
		{"a strange app", "GET", "/snapshots/a%23b", edgeToken, 404, relay.CodeUnknownApp},
		{"a long app", "GET", "/snapshots/" + strings.Repeat("a", 200), edgeToken, 404, relay.CodeUnknownApp},
		{"another method", "PUT", path, edgeToken, 405, relay.CodeMethodNotAllowed},
		{"another path", "GET", "/snapshot", edgeToken, 404, relay.CodeNotFound},
		{"before it expires", "GET", path, "plr_brief", 200, ""},
	} {
		a := w.ask(c.method, c.path, c.token, "")
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.body, c.status, c.code)
		}
		if c.status == 401 && a.header.Get("WWW-Authenticate") == "" || c.status == 405 && a.header.Get("Allow") != "GET" {
			t.Errorf("%s: headers %v", c.name, a.header)
		}
	}
	w.clock.pass(time.Hour)
	w.refused(401, relay.CodeExpiredToken, w.ask("GET", path, "plr_brief", ""))
	w.refused(401, relay.CodeInvalidToken, w.ask("GET", path, "", "", "Authorization", "Basic "+edgeToken))
}

// TestRevokedTokenIsSoonUseless: a token that was found is believed for half a minute.
func TestRevokedTokenIsSoonUseless(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	if err := (store.Tokens{Store: w.store}).Revoke(t.Context(), "edge"); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(29 * time.Second)
	if a := w.fetch(); a.status != 200 {
		t.Errorf("within half a minute: %d %s", a.status, a.body)
	}
	w.clock.pass(time.Second)
	w.refused(401, relay.CodeInvalidToken, w.fetch())
}

// TestFailuresAreLimited: strangers are slowed down together, and whoever has a token is not.
func TestFailuresAreLimited(t *testing.T) {
	w := newWorld(t)
	limited := 0
	for i := range 50 {
		if a := w.ask("GET", "/snapshots/"+shop, fmt.Sprint("plr_guess-", i), ""); a.status == 429 {
			limited++
		}
	}
	if limited != 20 {
		t.Errorf("%d of 50 failed attempts were slowed down, want 20", limited)
	}
	if a := w.fetch(); a.status != 200 {
		t.Errorf("a good token: %d %s", a.status, a.body)
	}
	w.clock.pass(10 * time.Second)
	w.refused(401, relay.CodeInvalidToken, w.ask("GET", "/snapshots/"+shop, "plr_guess", ""))
}

func TestSnapshotWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	w.store.down.Store(true)
	w.refused(503, relay.CodeStoreUnavailable, w.fetch())
	w.clock.pass(time.Minute)
	w.refused(503, relay.CodeStoreUnavailable, w.fetch())
	w.store.down.Store(false)
	if a := w.fetch(); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if lines := strings.Count(w.log.String(), "edge not answered"); lines != 2 {
		t.Errorf("%d lines in two minutes, want one for each:\n%s", lines, w.log)
	}
}

// TestSnapshotTooLargeForEdges: it is refused with what to do about it, and not sent for nothing.
func TestSnapshotTooLargeForEdges(t *testing.T) {
	w := newWorld(t)
	var value bytes.Buffer
	zip := gzip.NewWriter(&value)
	if _, err := fmt.Fprintf(zip, `{"app":%q,"owned":%q}`, shop, strings.Repeat("A", seal.MaxBytes)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	huge := store.Item{Key: store.Key{PK: "APP#" + shop, SK: "SNAPSHOT"}, Version: w.state.Revision, Value: value.Bytes()}
	if err := w.store.Write(t.Context(), store.Put(huge, store.Always())); err != nil {
		t.Fatal(err)
	}
	a := w.fetch()
	w.refused(422, relay.CodeSnapshotTooLarge, a)
	if !strings.Contains(a.body, "shrink segments") || !strings.Contains(a.body, fmt.Sprint(seal.MaxBytes)) {
		t.Errorf("%s", a.body)
	}
}

// TestLargeSnapshot lies beside its item, and is replaced just when it is to be fetched.
func TestLargeSnapshot(t *testing.T) {
	w := newWorld(t)
	files := &blobs{replaced: func() {}}
	w.large = files
	w.open(0)
	bundles := map[string]rollout.Bundle{}
	for i := range 20 {
		b := rollout.Bundle{Version: fmt.Sprintf("2.0.%d", i)}
		for j := range 500 {
			sum := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, i, j)))
			b.Manifest = append(b.Manifest, rollout.ManifestFile{FileName: sum[:16], FileHash: sum, DownloadURL: "https://cdn.example.com/" + sum})
		}
		bundles[b.Version] = b
	}
	grown := w.state
	grown.Bundles, grown.Channels = maps.Clone(grown.Bundles), maps.Clone(grown.Channels)
	maps.Copy(grown.Bundles, bundles)
	for version := range bundles {
		channel := rollout.NewChannel("c" + version)
		channel.Bundle = version
		grown.Channels[channel.Name] = channel
	}
	commit := func(before, after rollout.State) rollout.State {
		committed, err := w.apps().Commit(t.Context(), before, after, nil)
		if err != nil {
			t.Fatal(err)
		}
		return committed
	}
	state := commit(w.state, grown)
	if files.gets() != 0 || len(files.keys()) != 1 {
		t.Fatalf("the snapshot is no object: %v", files.keys())
	}
	files.replaced = func() { files.replaced = func() {}; state = commit(state, grown) }
	a := w.fetch()
	if h, spec, ok := seal.Read([]byte(a.body)); a.status != 200 || !ok || h.Revision != state.Revision || len(spec) < 1_000_000 {
		t.Errorf("%d %+v of %d bytes, want revision %d", a.status, h, len(spec), state.Revision)
	}
}

// blobs keeps large Snapshots, and lets the test do something before each is fetched.
type blobs struct {
	replaced func()
	objects  sync.Map
	fetched  atomic.Int64
}

func (b *blobs) gets() int64 { return b.fetched.Load() }

func (b *blobs) keys() (keys []any) {
	b.objects.Range(func(key, _ any) bool { keys = append(keys, key); return true })
	return keys
}

// Put is store.Blobs'.
func (b *blobs) Put(_ context.Context, key string, data []byte) error {
	b.objects.Store(key, data)
	return nil
}

// Get is store.Blobs'.
func (b *blobs) Get(_ context.Context, key string) ([]byte, error) {
	b.fetched.Add(1)
	b.replaced()
	data, ok := b.objects.Load(key)
	if !ok {
		return nil, store.ErrNotFound
	}
	return data.([]byte), nil
}

// Delete is store.Blobs'.
func (b *blobs) Delete(_ context.Context, key string) error {
	b.objects.Delete(key)
	return nil
}
