package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// What many devices send at once leaves as a few requests, and each device gets the answer that the origin has for it.
func batches(t *testing.T, w *world) {
	const devices = 60
	kinds := []func(n int) (path, body string){
		func(n int) (string, string) { return "/stats", statsBody(appPlain, n, baseline, "set") },
		func(n int) (string, string) { return "/stats", `{"app_id":"` + appPlain + `"}` },
		func(n int) (string, string) { return "/stats", statsBody("com.example.nobody", n, baseline, "set") },
		func(n int) (string, string) {
			return "/telemetry", strings.TrimSuffix(checkBody(appPlain, n, baseline), "}") + `,"metrics":[{"type":"feedback"}]}`
		},
		func(n int) (string, string) { return "/stats", "no JSON: é \x00 \"" },
		func(n int) (string, string) { return "/stats", "not UTF-8: \xff" },
	}
	relayed := len(w.back.requests(http.MethodPost, "/relay"))
	var sending sync.WaitGroup
	for n := range devices {
		sending.Go(func() {
			path, body := kinds[n%len(kinds)](n)
			got, err := send(http.MethodPost, w.edge.url+path, strings.NewReader(body), "Content-Type", "application/json")
			if err != nil {
				t.Errorf("device %d: %v", n, err)
				return
			}
			want, err := send(http.MethodPost, w.origin.url()+path, strings.NewReader(body), "Content-Type", "application/json")
			if err != nil {
				t.Errorf("device %d at the origin: %v", n, err)
				return
			}
			if same(got, want) != "" {
				t.Errorf("%s %.80s: %s", path, body, same(got, want))
			}
		})
	}
	sending.Wait()
	if batches := len(w.back.requests(http.MethodPost, "/relay")) - relayed; batches > devices/4 || batches == 0 {
		t.Errorf("%d devices' telemetry left as %d requests", devices, batches)
	}
}

// same says how an answer differs from what it should be, in what devices see of it.
func same(got, want answer) string {
	if got.status != want.status || got.body != want.body {
		return fmt.Sprintf("\n got %d %.300s\nwant %d %.300s", got.status, got.body, want.status, want.body)
	}
	for name := range want.header {
		if name != "Date" && name != "Content-Length" && got.header.Get(name) != want.header.Get(name) {
			return fmt.Sprintf("%s: %q, want %q", name, got.header.Get(name), want.header.Get(name))
		}
	}
	return ""
}

// Whatever a device may ask has the same answer at the edge; what only operators may ask has none.
func forwarding(t *testing.T, w *world) {
	self := strings.TrimSuffix(checkBody(appPlain, 7, baseline), "}") + `,"channel":"production"}`
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "/updates", checkBody("com.example.nobody", 1, baseline)},
		{http.MethodPost, "/updates?from=here", checkBody(appPlain, 1, baseline)},
		{http.MethodGet, "/updates", ""},
		{http.MethodDelete, "/updates", ""},
		{http.MethodGet, "/stats", ""},
		{http.MethodGet, "/healthz", ""},
		{http.MethodOptions, "/telemetry", ""},
		{http.MethodPut, "/telemetry", "{}"},
		{http.MethodPost, "/channel_self", self},
		{http.MethodPut, "/channel_self", self},
		{http.MethodGet, "/channel_self?app_id=" + appPlain + "&device_id=" + device(7) + "&platform=ios", ""},
		{http.MethodDelete, "/channel_self?app_id=" + appPlain + "&device_id=" + device(7), self},
		{http.MethodPost, "/updates/manifest_size", strings.TrimSuffix(checkBody(appPlain, 7, baseline), "}") + `,"manifest":[]}`},
		{http.MethodGet, "/palier.js", ""},
		{http.MethodGet, "/nothing/here", ""},
		{http.MethodPost, "/nothing/here", "{}"},
		{http.MethodGet, "/", ""},
	} {
		// edges ask without compression, which an ETag tells
		got := call(t, c.method, w.edge.url+c.path, c.body, "Content-Type", "application/json", "Accept-Encoding", "identity")
		want := call(t, c.method, w.origin.url()+c.path, c.body, "Content-Type", "application/json", "Accept-Encoding", "identity")
		if d := same(got, want); d != "" {
			t.Errorf("%s %s: %s", c.method, c.path, d)
		}
	}
	for _, path := range []string{
		"/api/v1/apps", "/metrics", "/relay", "/snapshots/" + appPlain, "/%61pi/v1/apps", "/api%2fv1/apps", "/x/../api/v1/apps", "/edge/",
	} {
		before := len(w.back.requests(http.MethodGet, ""))
		a := call(t, http.MethodGet, w.edge.url+path, "", "Authorization", "Bearer "+adminToken)
		if a.status != http.StatusNotFound {
			t.Errorf("GET %s leads to %d %.100s", path, a.status, a.body)
		}
		for _, p := range w.back.requests(http.MethodGet, "")[before:] {
			if !strings.HasPrefix(p.path, "/snapshots/") || p.authorization == "Bearer "+adminToken {
				t.Errorf("GET %s came to the origin as %s", path, p.path)
			}
		}
	}
	for _, p := range w.back.requests("", "") {
		own := p.path == "/relay" || p.method == http.MethodGet && strings.HasPrefix(p.path, "/snapshots/")
		if bears := strings.Contains(p.authorization, w.origin.token); bears != own {
			t.Errorf("%s %s bears the edge token: %v", p.method, p.path, bears)
		}
	}
}

// Bodies beyond the limits get the origin's answers without being read, whether or not they say how long they are.
func limits(t *testing.T, w *world) {
	for _, c := range []struct {
		path string
		most int
	}{
		{"/updates", 64 << 10}, {"/channel_self", 64 << 10}, {"/stats", 1 << 20}, {"/telemetry", 1 << 20},
		{"/updates/manifest_size", 2 << 20},
	} {
		body := `{"x":"` + strings.Repeat("x", c.most-7) + `"}` // one byte too long
		want := call(t, http.MethodPost, w.origin.url()+c.path, body)
		if want.status != http.StatusBadRequest || !strings.Contains(want.body, "too large") {
			t.Fatalf("%s: the origin answers %d %s", c.path, want.status, want.body)
		}
		got, err := send(http.MethodPost, w.edge.url+c.path, struct{ io.Reader }{strings.NewReader(body)})
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
		} else if d := same(got, want); d != "" {
			t.Errorf("%s, of a length that is not told: %s", c.path, d)
		}
		if w.edge.runtime.name == "palier" && len(body) < 256<<10 {
			continue // before Go's server sends an answer, it reads what is left of a body of this size
		}
		if d := same(announce(t, http.MethodPost, w.edge.url, c.path, len(body)), want); d != "" {
			t.Errorf("%s, of a length that is told: %s", c.path, d)
		}
	}
	// As many events as are allowed do not fit a batch and go by themselves.
	event := statsBody(appPlain, 8, baseline, "set")
	largest := "[" + strings.Repeat(event+",", 1999) + event + "]"
	got, want := call(t, http.MethodPost, w.edge.url+"/stats", largest), call(t, http.MethodPost, w.origin.url()+"/stats", largest)
	if d := same(got, want); d != "" || got.status != http.StatusOK {
		t.Errorf("a large batch of events: %d %s", got.status, d)
	}
}

func statusIsForOperators(t *testing.T, w *world) {
	for name, headers := range map[string][]string{
		"nobody": nil, "a wrong token": {"Authorization", "Bearer " + w.origin.token + "x"},
		"another scheme": {"Authorization", "Basic " + w.origin.token},
	} {
		a := call(t, http.MethodGet, w.edge.url+"/edge/status", "", headers...)
		if a.status != http.StatusUnauthorized || strings.Contains(a.body, appPlain) || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	a := call(t, http.MethodGet, w.edge.url+"/edge/status", "", "Authorization", "Bearer "+w.origin.token)
	if a.status != http.StatusOK || strings.Contains(a.body, w.origin.token) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the operator: %d %s %v", a.status, a.body, a.header)
	}
}

// Nothing that was acknowledged is lost while the origin is away, checks are answered all the time, and nothing counts
// twice.
func originGoesAndComesBack(t *testing.T, w *world) {
	id := w.begin(t, appCut)
	const devices = 30
	candidates, control := w.offered(t, appCut, devices)
	answers := map[int]string{}
	for _, n := range control {
		answers[n] = w.ask(t, appCut, n, baseline).body
	}
	w.origin.kill()

	for n, want := range answers {
		if a := w.ask(t, appCut, n, baseline); a.status != http.StatusOK || a.body != want {
			t.Errorf("device %d without the origin: %d %s, want %s", n, a.status, a.body, want)
		}
	}
	for _, n := range candidates {
		if a := w.ask(t, appCut, n, candidate); !a.isUpToDate() { // noted for the first time
			t.Errorf("device %d runs the candidate: %s", n, a.body)
		}
		if a := w.ask(t, appCut, n, baseline); !a.isUpToDate() { // nobody knows whether it failed there
			t.Errorf("device %d would need its record: %s", n, a.body)
		}
	}
	a := call(t, http.MethodGet, w.edge.url+"/channel_self?app_id="+appCut, "")
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("what only the origin can answer: %d %s", a.status, a.body)
	}
	crash := func(n int) answer {
		return call(t, http.MethodPost, w.edge.url+"/stats", statsBody(appCut, n, baseline, "app_crash"))
	}
	w.send(t, devices, crash)
	if q := w.edge.status(t).Queue; q.Requests != devices || q.Checks == 0 || q.Dropped != 0 {
		t.Errorf("what waits: %+v", q)
	}
	if w.edge.runtime.durable {
		w.edge.kill()
		w.edge.damage(t)
		w.edge.start(t)
		if q := w.edge.status(t).Queue; q.Requests != devices {
			t.Errorf("what waits after the edge was killed: %+v", q)
		}
		for n, want := range answers {
			if a := w.ask(t, appCut, n, baseline); a.body != want {
				t.Errorf("device %d, the edge started without an origin: %s, want %s", n, a.body, want)
			}
		}
		for _, n := range candidates {
			w.ask(t, appCut, n, candidate) // who was noted went with the process, and asks again some time
		}
	}

	w.origin.start(t)
	want := counted{devices: devices, adopted: int64(len(candidates)), crashes: devices}
	eventually(t, "everything has been handed over", func() bool {
		q := w.edge.status(t).Queue
		return q.Requests == 0 && q.Checks == 0
	})
	for n := range devices { // a device whose telemetry was not acknowledged sends it again, and one whose answer got lost as well
		if a := crash(n); a.status != http.StatusOK {
			t.Errorf("device %d, again: %d %s", n, a.status, a.body)
		}
	}
	eventually(t, "the origin has counted everything once", func() bool { return w.counted(t, appCut, id) == want })
}

// damage puts into the spool what a crash or a failing disk may leave there.
func (e *edge) damage(t *testing.T) {
	t.Helper()
	if e.runtime.name == "palier" {
		return // another format, with tests of its own
	}
	for name, content := range map[string]string{
		"000000000000-0badf00d.jsonl":      "\x00\x00\x00\n{\"path\":\"/stats\",\"bo",
		"000000000099-0badf00d.jsonl.part": `{"path":"/stats","body":"{}"}`,
		"README":                           "not ours",
	} {
		must(t, os.WriteFile(filepath.Join(e.settings["PALIER_SPOOL"], "telemetry", name), []byte(content), 0o600))
	}
}

// send sends one request for each device, a few at once, and holds that it is acknowledged only where it is safe.
func (w *world) send(t *testing.T, devices int, one func(n int) answer) {
	t.Helper()
	var sending sync.WaitGroup
	for n := range devices {
		sending.Go(func() {
			a := one(n)
			safe := a.status == http.StatusOK && a.body == `{"status":"ok"}`
			later := a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != ""
			if w.edge.runtime.durable && !safe || !w.edge.runtime.durable && !later {
				t.Errorf("device %d: %d %s", n, a.status, a.body)
			}
		})
	}
	sending.Wait()
}

// The device that came first into a batch hangs up; those who came after have their answers all the same.
func TestHangingUpHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, nil)
	w := &world{origin: o}
	w.apply(t, appPlain, baseline)
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, r, o.url(), o, []string{appPlain}, func(e *edge) { e.settings["PALIER_GATHER"] = "1500" })
			came := func(n int) {
				t.Helper()
				eventually(t, "the request has come", func() bool { return e.status(t).Counts["telemetry"] == n })
			}
			first, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
			must(t, err)
			defer first.Close()
			body := statsBody(appPlain, 1, baseline, "set")
			_, err = fmt.Fprintf(first, "POST /stats HTTP/1.1\r\nHost: edge\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			must(t, err)
			came(1)
			second := make(chan answer, 1)
			go func() {
				a, err := send(http.MethodPost, e.url+"/stats", strings.NewReader(statsBody(appPlain, 2, baseline, "set")))
				if err != nil {
					a.body = err.Error()
				}
				second <- a
			}()
			came(2)
			must(t, first.Close())
			if a := <-second; a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
			if c := e.status(t).Counts; c["batches"] != 1 {
				t.Errorf("not one batch: %v", c)
			}
		})
	}
}
