package main_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// An isolate that starts while the origin is away answers from what an earlier one left in the data centre's cache.
func TestWorkerStartsFromTheCache(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, nil)
	w := &world{origin: o, back: newGate(t)}
	w.apply(t, appPlain, baseline)
	w.back.before(t, o.url())
	cache := newCache(t)
	start := func(cache string) {
		t.Helper()
		w.edge = newEdge(t, runtimes[1], w.back.url(), o, []string{appPlain}, func(e *edge) { e.cache = cache })
	}
	address := strings.TrimPrefix(cache.URL, "http://")
	start(address)
	if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
		t.Fatalf("the first request of an isolate does not wait for the snapshot: %d %s", a.status, a.body)
	}
	if forwarded := w.back.requests(http.MethodPost, "/updates"); len(forwarded) > 0 {
		t.Error("the first request was forwarded")
	}
	cache.awaitPut(t)
	w.edge.kill()
	o.kill()
	start(address)
	if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
		t.Errorf("started from the cache: %d %s", a.status, a.body)
	}
	w.edge.kill()
	start("")
	if a := w.ask(t, appPlain, 1, baseline); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("with neither origin nor cache: %d %s", a.status, a.body)
	}
}

// cache is what workerd asks when a Worker uses a cache: it puts whole HTTP answers and gets them back.
type cache struct {
	*httptest.Server
	mu   sync.Mutex
	kept map[string][]byte
}

func newCache(t *testing.T) *cache {
	t.Helper()
	c := &cache{kept: map[string][]byte{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Cf-Cache-Namespace") + " " + r.URL.Path // without the Worker's host, whose port here is another at each start
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.kept[key]
	switch {
	case r.Method == http.MethodPut:
		c.kept[key] = body
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet || !ok:
		w.Header().Set("CF-Cache-Status", "MISS")
		w.WriteHeader(http.StatusGatewayTimeout)
	default:
		_, content, _ := strings.Cut(string(found), "\r\n\r\n")
		w.Header().Set("CF-Cache-Status", "HIT")
		_, _ = io.WriteString(w, content)
	}
}

func (c *cache) awaitPut(t *testing.T) {
	t.Helper()
	eventually(t, "the snapshot is in a cache of its own", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for key := range c.kept {
			if strings.HasPrefix(key, "palier-snapshots ") {
				return true
			}
		}
		return false
	})
}

// A process that is told to end answers those who wait, hands over what it gathered, and exits in good order.
func TestEdgeEndsInGoodOrder(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, nil)
	w := &world{origin: o, back: newGate(t)}
	w.apply(t, appPlain, baseline)
	w.back.before(t, o.url())
	for _, r := range runtimes {
		if !r.durable {
			continue
		}
		e := newEdge(t, r, w.back.url(), o, []string{appPlain}, func(e *edge) { e.settings["PALIER_GATHER"] = "5000" })
		answered := make(chan answer, 1)
		go func() {
			a, err := send(http.MethodPost, e.url+"/stats", strings.NewReader(statsBody(appPlain, 1, baseline, "set")))
			if err != nil {
				a.body = err.Error()
			}
			answered <- a
		}()
		eventually(t, "the request has come", func() bool { return e.status(t).Counts["telemetry"] == 1 })
		if code := e.stop(t); code != 0 {
			t.Errorf("%s exits with %d: %s", r.name, code, e.out.tail())
		}
		if a := <-answered; a.status != http.StatusOK {
			t.Errorf("%s: whoever waited got %d %s", r.name, a.status, a.body)
		}
	}
	if got := len(w.back.requests(http.MethodPost, "/relay")); got != len(runtimes)-1 {
		t.Errorf("%d batches", got)
	}
}

// Settings that will not do are all named, with what to do, and the token is not repeated.
func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"PALIER_ORIGIN": "https://palier.example.com", "PALIER_EDGE_TOKEN": "plr_secret", "PALIER_APPS": "com.example.shop",
		"PALIER_KEYS": strings.Repeat("A", 43) + "=",
	}
	for _, c := range []struct {
		name  string
		set   map[string]string
		names []string
	}{
		{
			"nothing",
			map[string]string{"PALIER_ORIGIN": "", "PALIER_EDGE_TOKEN": "", "PALIER_APPS": "", "PALIER_KEYS": ""},
			[]string{"PALIER_ORIGIN", "PALIER_EDGE_TOKEN", "PALIER_APPS", "PALIER_KEYS"},
		},
		{
			"an origin with a password",
			map[string]string{"PALIER_ORIGIN": "https://me:secret@palier.example.com"}, []string{"PALIER_ORIGIN"},
		},
		{"an origin that is no URL", map[string]string{"PALIER_ORIGIN": "palier.example.com"}, []string{"PALIER_ORIGIN"}},
		{"a token in two parts", map[string]string{"PALIER_EDGE_TOKEN": "plr_a secret"}, []string{"PALIER_EDGE_TOKEN"}},
		{"an odd app", map[string]string{"PALIER_APPS": "com.example.shop,../../etc"}, []string{"PALIER_APPS"}},
		{"half a key", map[string]string{"PALIER_KEYS": strings.Repeat("A", 43)}, []string{"PALIER_KEYS"}},
		{
			"numbers",
			map[string]string{"PALIER_POLL": "0", "PALIER_GRACE": "a day", "PALIER_GATHER": "1.5", "PALIER_QUEUE": "-1"},
			[]string{"PALIER_POLL", "PALIER_GRACE", "PALIER_GATHER", "PALIER_QUEUE"},
		},
		{"an address", map[string]string{"PALIER_LISTEN": "here"}, []string{"PALIER_LISTEN"}},
		{"a spool that is a file", map[string]string{"PALIER_SPOOL": "host_start_test.go"}, []string{"PALIER_SPOOL"}},
	} {
		settings := maps.Clone(good)
		maps.Copy(settings, c.set)
		cmd := inNode(t, &edge{module: shippedModule})
		for name, value := range settings {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, name := range c.names {
			if !strings.Contains(string(out), name+": ") {
				t.Errorf("%s: %s is not named: %s", c.name, name, out)
			}
		}
		if problems := strings.Count(string(out), "PALIER_"); problems != len(c.names) {
			t.Errorf("%s: %d problems: %s", c.name, problems, out)
		}
		if strings.Contains(string(out), "secret") {
			t.Errorf("%s: a secret is repeated: %s", c.name, out)
		}
	}
	e := &edge{runtime: runtimes[1], dir: t.TempDir(), module: shippedModule, settings: map[string]string{"PALIER_ORIGIN": "nowhere"}}
	e.start(t)
	a := call(t, http.MethodPost, e.url+"/updates", "{}")
	if a.status != http.StatusInternalServerError || !strings.Contains(a.body, "edge_unusable") {
		t.Errorf("a Worker without settings: %d %s", a.status, a.body)
	}
	e.says(t, "(PALIER_EDGE_TOKEN): ")
}

// A module that traps is replaced, and whoever asked it is answered by the origin.
func TestModuleThatTrapsIsReplaced(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, nil)
	w := &world{origin: o, back: newGate(t)}
	w.apply(t, appPlain, baseline)
	w.back.before(t, o.url())
	file := filepath.Join(t.TempDir(), "traps.wasm")
	must(t, os.WriteFile(file, trappingModule(), 0o600))
	w.edge = newEdge(t, runtimes[0], w.back.url(), o, []string{appPlain}, func(e *edge) { e.module = file })
	for range 2 {
		before := len(w.back.requests(http.MethodGet, "/snapshots/"+appPlain))
		if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
			t.Errorf("%d %s", a.status, a.body)
		}
		eventually(t, "the new instance has its snapshot", func() bool {
			_, state, _ := w.held(t, appPlain)
			return state == "current" && len(w.back.requests(http.MethodGet, "/snapshots/"+appPlain)) > before
		})
	}
	if forwarded := len(w.back.requests(http.MethodPost, "/updates")); forwarded != 2 {
		t.Errorf("%d checks came to the origin", forwarded)
	}
	w.edge.says(t, `(trapped in check)`)
}

// trappingModule assembles a module that has the exports of an edge, takes every snapshot, and traps when it is asked.
func trappingModule() []byte {
	const i32, results = 0x7f, 64
	vec := func(items ...[]byte) []byte {
		out := binary.AppendUvarint(nil, uint64(len(items)))
		for _, item := range items {
			out = append(out, item...)
		}
		return out
	}
	sized := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	section := func(id byte, content []byte) []byte { return append([]byte{id}, sized(content)...) }
	constant := func(n byte) []byte { return []byte{0x41, n} } // i32.const of a number below 64
	unreachable := []byte{0x00}
	functions := []struct {
		name       string
		parameters int
		body       []byte // returns a number, but for _initialize, forget and renote
	}{
		{"_initialize", 0, nil},
		{"buffer", 1, []byte{0x41, 0x80, 0x08}}, // 1024
		{"trust", 1, constant(1)},
		{"load", 4, constant(0)},
		{"forget", 1, nil},
		{"check", 3, unreachable},
		{"unavailable", 0, []byte{0x41, 0xc0, 0x00}}, // results
		{"renote", 0, nil},
	}
	var types, indices, exports, code [][]byte
	for i, f := range functions {
		kind := append([]byte{0x60, byte(f.parameters)}, strings.Repeat(string([]byte{i32}), f.parameters)...)
		if f.body == nil {
			kind = append(kind, 0)
		} else {
			kind = append(kind, 1, i32)
		}
		types, indices = append(types, kind), append(indices, []byte{byte(i)})
		exports = append(exports, append(sized([]byte(f.name)), 0x00, byte(i)))
		code = append(code, sized(append(append([]byte{0}, f.body...), 0x0b)))
	}
	exports = append(exports, append(sized([]byte("memory")), 0x02, 0))
	memory := vec([]byte{0x00, 0x10}) // 16 pages
	text := fmt.Appendf(nil, "{}")
	result := binary.LittleEndian.AppendUint32(nil, 2) // no snapshot
	for _, n := range []uint32{429, results + 32, uint32(len(text)), 30, 0, 0, 0} {
		result = binary.LittleEndian.AppendUint32(result, n)
	}
	data := vec(append([]byte{0x00, 0x41, 0xc0, 0x00, 0x0b}, sized(append(result, text...))...))
	module := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range [][]byte{
		section(1, vec(types...)), section(3, vec(indices...)), section(5, memory), section(7, vec(exports...)),
		section(10, vec(code...)), section(11, data),
	} {
		module = append(module, s...)
	}
	return module
}
