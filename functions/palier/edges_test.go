package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

// TestKeysCommands changes the key under an edge that trusts what it is shown.
func TestKeysCommands(t *testing.T) {
	s := newShell(t)
	keys := func(args ...string) (k admin.KeysView) {
		t.Helper()
		must(t, json.Unmarshal([]byte(s.ok("", append(append([]string{"keys"}, args...), "--json"))), &k))
		return k
	}
	first := keys()
	if _, ok := seal.ParseKey(first.Current.Key); !ok || first.Next != nil {
		t.Fatalf("%+v", first)
	}
	s.ok("", []string{"keys"}, "current  "+first.Current.Key)
	s.refused(exitRefused, "palier keys rotate", "", "keys", "activate")
	r := s.run("", "keys", "rotate")
	if r.code != exitOK || !strings.Contains(r.out, "not used yet") || !strings.Contains(r.errOut, "palier keys activate") {
		t.Errorf("%+v", r)
	}
	prepared := keys("rotate")
	if again := keys("rotate"); prepared.Next == nil || *again.Next != *prepared.Next || again.Current != first.Current {
		t.Fatalf("%+v, %+v", prepared, again)
	}
	if replaced := keys("rotate", "--replace"); replaced.Next.Key == prepared.Next.Key {
		t.Error("the next key was not replaced")
	}
	next := keys().Next.Key
	if now := keys("activate"); now.Current.Key != next || now.Next != nil {
		t.Errorf("%+v, want %s", now, next)
	}
	s.refused(exitUsage, "takes no argument", "", "keys", "rotat")
}

// TestSnapshotCommands exports what edges are sent, and says of it what edges say.
func TestSnapshotCommands(t *testing.T) {
	s := newShell(t)
	var keys admin.KeysView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"keys", "--json"})), &keys))
	key := keys.Current.Key
	file := filepath.Join(t.TempDir(), "shop.snapshot")
	s.ok("", []string{"snapshot", "export", shop, "-o", file}, "at revision 1", file)
	info, err := os.Stat(file)
	must(t, err)
	sealed, err := os.ReadFile(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 || s.ok("", []string{"snapshot", "export", shop}) != string(sealed) {
		t.Errorf("mode %v; or what is printed is not what is written", info.Mode().Perm())
	}
	var view snapshotView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"snapshot", "export", shop, "--json"})), &view))
	if view.App != shop || view.Revision != 1 || view.Sealed != string(sealed) || !view.Expires.After(time.Now().Add(22*time.Hour)) {
		t.Errorf("%+v", view)
	}
	strange := seal.Key{1}.String()
	s.ok("", []string{"snapshot", "verify", file, "--key", strange, "--key", key, "--app", shop}, "is good until", key)
	s.ok(string(sealed), []string{"snapshot", "verify", "-", "--key", key}, shop)
	must(t, json.Unmarshal([]byte(s.ok("", []string{"snapshot", "verify", file, "--key", key, "--json"})), &view))
	if view.Outcome != edge.Loaded.String() || view.Key != key {
		t.Errorf("%+v", view)
	}
	h, spec, _ := seal.Read(sealed)
	ring, err := store.Keys{Store: s.server.store}.Load(t.Context())
	must(t, err)
	h.Issued, h.Expires = h.Issued-90_000, h.Expires-90_000
	expired := ring.Current.Seal(h, spec)
	for want, c := range map[string]struct {
		sealed []byte
		args   []string
	}{
		"(untrusted)": {[]byte(strings.Replace(string(sealed), "1.0.0.zip", "6.6.6.zip", 1)), []string{"--key", key}},
		"of the keys": {sealed, []string{"--key", strange}},
		"(other_app)": {sealed, []string{"--key", key, "--app", "com.example.other"}},
		"(expired)":   {expired, []string{"--key", key}},
		"(malformed)": {sealed[:50], []string{"--key", key}},
	} {
		if r := s.run(string(c.sealed), append([]string{"snapshot", "verify", "-"}, c.args...)...); r.code != exitNotHealthy || !strings.Contains(r.out, want) {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	s.refused(exitUsage, "required flag", "", "snapshot", "verify", file)
	s.refused(exitUsage, "palier keys", "", "snapshot", "verify", file, "--key", "x")
	s.refused(exitUsage, "at most 4", "", "snapshot", "verify", file, "--key", key, "--key", key, "--key", key, "--key", key, "--key", key)
	s.refused(exitFailed, "no such file", "", "snapshot", "verify", "nowhere", "--key", key)
	s.refused(exitFailed, "writing the snapshot", "", "snapshot", "export", shop, "-o", filepath.Join(file, "x"))
	s.refused(exitRefused, "unknown_app", "", "snapshot", "export", "com.example.none")
}

// TestEdgeTokens are good for snapshots and relays, and for nothing that operators do.
func TestEdgeTokens(t *testing.T) {
	s := newShell(t)
	var made admin.NewTokenView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"token", "create", "fra1", "--role", "edge", "--json"})), &made))
	ed := edgeClient{s.server.url(), made.Token}
	if h, _, ok := seal.Read(ed.do(t, http.MethodGet, relay.PathSnapshots+shop, nil)); !ok || h.App != shop {
		t.Errorf("%+v", h)
	}
	if answer := ed.do(t, http.MethodPost, relay.PathRelay, []byte("{}")); !strings.Contains(string(answer), `"taken":true`) {
		t.Errorf("%s", answer)
	}
	asEdge := &connection{server: s.server.url(), token: made.Token}
	for _, path := range []string{appPath(shop), "/keys", "/tokens", "/whoami"} {
		if err := asEdge.get(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("an edge may GET %s: %v", path, err)
		}
	}
	must(t, json.Unmarshal([]byte(s.ok("", []string{"token", "create", "eve", "--role", "viewer", "--json"})), &made))
	asViewer := &connection{server: s.server.url(), token: made.Token}
	if res, body, err := asViewer.exchange(t.Context(), http.MethodGet, relay.PathSnapshots+shop, "", nil); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer gets %s, %v", body, err)
	}
}

// TestServeTellsEdges of what operators change, and does not wait for one that is gone.
func TestServeTellsEdges(t *testing.T) {
	pushed := make(chan int64, 10)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sealed, err := io.ReadAll(r.Body)
		h, _, ok := seal.Read(sealed)
		if err != nil || !ok || r.Method != http.MethodPut || r.URL.Path != relay.PathSnapshots+shop {
			t.Errorf("%s %s %q: %v", r.Method, r.URL.Path, sealed, err)
		}
		pushed <- h.Revision
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(web.Close)
	o := serveOptions{data: t.TempDir(), listen: "127.0.0.1:0", scale: 1, token: testToken, log: slog.New(slog.DiscardHandler)}
	for _, address := range []string{web.URL, "http://127.0.0.1:1"} {
		u, err := relay.ParseEdge(address)
		must(t, err)
		o.edges = append(o.edges, u)
	}
	s := shell{t, startServerWith(t, o).server}
	s.ok("", []string{"keys"})
	s.ok(shopDocument, []string{"apply", "-f", "-"}, "revision 1")
	select {
	case revision := <-pushed:
		if revision != 1 {
			t.Errorf("the edge was told of revision %d", revision)
		}
	case <-time.After(startLimit):
		t.Fatal("the edge was not told")
	}
	s.refused(exitUsage, "https://edge.example.com", "", "serve", "--edge", "edge")
}
