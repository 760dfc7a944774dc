package main_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
)

const goldenDir = root + "/testdata/golden"

// Every golden answer comes out of every runtime byte for byte, from the module that ships and from that of standard Go, most of
// them without the origin.
func TestGoldenAnswersInEveryRuntime(t *testing.T) {
	t.Parallel()
	vectors, err := devicetest.Answers(goldenDir)
	must(t, err)
	var apps []string
	o := newOrigin(t, func(data string) { apps = loadGolden(t, data, vectors) })
	for name, module := range map[string]string{"TinyGo": shippedModule, "Go": standardModule(t)} {
		for _, r := range runtimes {
			t.Run(r.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				g := newGate(t)
				g.before(t, o.url())
				e := newEdge(t, r, g.url(), o, apps, func(e *edge) { e.module = module })
				e.ready(t)
				askAll(t, e, vectors)
				checkForwarded(t, e, g, len(vectors))
			})
		}
	}
}

// standardModule returns the file of the module that standard Go builds.
func standardModule(t *testing.T) string {
	t.Helper()
	_, err := reference()
	must(t, err)
	return filepath.Join(buildDir, "reference.wasm")
}

// loadGolden puts the golden apps and device records into an origin's store, and returns the apps' ids.
func loadGolden(t *testing.T, data string, vectors []devicetest.Vector) (apps []string) {
	t.Helper()
	s, err := storesqlite.Open(filepath.Join(data, "palier.db"), storesqlite.Options{})
	must(t, err)
	must(t, devicetest.Load(t.Context(), s, goldenDir, vectors))
	text, err := os.ReadFile(filepath.Join(goldenDir, "snapshots.json"))
	must(t, err)
	var list []struct {
		Spec struct {
			App      string
			Revision int64
		}
	}
	must(t, json.Unmarshal(text, &list))
	for _, g := range list {
		value, err := json.Marshal(rollout.App{ID: g.Spec.App})
		must(t, err)
		item := store.Item{Key: store.Key{PK: "APP#" + g.Spec.App, SK: "APP"}, Version: g.Spec.Revision, Value: value}
		must(t, s.Write(t.Context(), store.Put(item, store.Always())))
		apps = append(apps, g.Spec.App)
	}
	must(t, s.Close())
	return apps
}

// askAll asks what the vectors ask, some at once.
func askAll(t *testing.T, e *edge, vectors []devicetest.Vector) {
	t.Helper()
	var asking sync.WaitGroup
	next := make(chan devicetest.Vector)
	for range 8 {
		asking.Go(func() {
			for v := range next {
				a, err := send(http.MethodPost, e.url+"/updates", strings.NewReader(v.Body), "Content-Type", "application/json")
				switch {
				case err != nil:
					t.Errorf("%s: %v", v.Name, err)
				case a.status != v.Status || a.body != v.Answer:
					t.Errorf("%s:\n got %d %s\nwant %d %s", v.Name, a.status, a.body, v.Status, v.Answer)
				case a.header.Get("Content-Type") != "application/json":
					t.Errorf("%s: Content-Type %q", v.Name, a.header.Get("Content-Type"))
				case (a.status == http.StatusTooManyRequests) != (a.header.Get("Retry-After") != ""):
					t.Errorf("%s: %d with Retry-After %q", v.Name, a.status, a.header.Get("Retry-After"))
				}
			}
		})
	}
	for _, v := range vectors {
		next <- v
	}
	close(next)
	asking.Wait()
}

// checkForwarded holds that the origin was asked only what the edge says it had to, and that no device's request bore
// the token.
func checkForwarded(t *testing.T, e *edge, g *gate, asked int) {
	t.Helper()
	c := e.status(t).Counts
	forwarded := g.requests(http.MethodPost, "/updates")
	if c["checks"] != asked || c["answered"]+c["needed_facts"]+c["no_snapshot"] != asked || c["fallback"] != 0 {
		t.Errorf("counts do not add up to %d: %v", asked, c)
	}
	if len(forwarded) != c["needed_facts"]+c["no_snapshot"] {
		t.Errorf("%d checks came to the origin, and the edge says %v", len(forwarded), c)
	}
	for _, p := range g.requests("", "") {
		own := strings.HasPrefix(p.path, "/snapshots/") || p.path == "/relay"
		if own != (p.authorization != "") {
			t.Errorf("%s %s: authorization %q", p.method, p.path, p.authorization)
		}
	}
	if c["answered"] < asked/2 {
		t.Errorf("only %d of %d were answered without the origin", c["answered"], asked)
	}
	t.Logf("%d of %d answered without the origin; %d needed the device's record, %d had no snapshot",
		c["answered"], asked, c["needed_facts"], c["no_snapshot"])
}
