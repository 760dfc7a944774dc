package main_test

import (
	"net/http"
	"strings"
	"testing"
)

// An origin that answers, but not as it should, costs devices nothing that the edge could spare them.
func TestOriginInTrouble(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, nil)
	(&world{origin: o}).apply(t, appPlain, baseline)
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := &world{origin: o, back: newGate(t)}
			w.back.before(t, o.url())
			w.edge = newEdge(t, r, w.back.url(), o, []string{appPlain}, func(e *edge) { e.settings["PALIER_QUEUE"] = "3000" })
			w.edge.ready(t)
			w.batchesRefused(t)
			w.failing(t)
			w.backlogIsBounded(t)
			w.hanging(t)
		})
	}
}

// stats sends what a device of an app has to say.
func (w *world) stats(t *testing.T, app string, n int) answer {
	t.Helper()
	return call(t, http.MethodPost, w.edge.url+"/stats", statsBody(app, n, baseline, "set"))
}

// outdated is a version for which there is an offer, which needs the device's record.
const outdated = "0.9.0"

// If the origin takes no batches of this edge, perhaps because the token was revoked, devices' requests go as they are.
func (w *world) batchesRefused(t *testing.T) {
	w.back.answer(func(r *http.Request) int {
		if r.URL.Path == "/relay" {
			return http.StatusForbidden
		}
		return 0
	})
	defer w.back.answer(nil)
	if a := w.stats(t, appPlain, 1); a.status != http.StatusOK || a.body != `{"status":"ok"}` {
		t.Errorf("batches are refused: %d %s", a.status, a.body)
	}
	direct := call(t, http.MethodPost, w.origin.url()+"/stats", "{}")
	if d := same(call(t, http.MethodPost, w.edge.url+"/stats", "{}"), direct); d != "" {
		t.Errorf("batches are refused: %s", d)
	}
	for _, p := range w.back.requests(http.MethodPost, "/stats") {
		if p.authorization != "" {
			t.Error("a device's request bears the edge token")
		}
	}
}

// An origin that fails is one that is away.
func (w *world) failing(t *testing.T) {
	w.back.answer(func(*http.Request) int { return http.StatusServiceUnavailable })
	if a := w.ask(t, appPlain, 1, outdated); !a.isUpToDate() {
		t.Errorf("the origin fails: %d %s", a.status, a.body)
	}
	if a := w.ask(t, "com.example.nobody", 1, baseline); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("the origin fails and the edge knows nothing: %d %s", a.status, a.body)
	}
}

// What waits has a limit, and what the origin will never take does not hold up the rest. The origin fails at first.
func (w *world) backlogIsBounded(t *testing.T) {
	w.stats(t, "com.example.nobody", 0)
	safe, later := 0, 0
	for n := range 20 {
		switch a := w.stats(t, appPlain, n); {
		case a.status == http.StatusOK && w.edge.runtime.durable && later == 0:
			safe++
		case a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "":
			later++
		default:
			t.Errorf("device %d: %d %s", n, a.status, a.body)
		}
	}
	q := w.edge.status(t).Queue
	if q.Bytes > 3000 || q.Requests < 4 || q.Requests > 10 || q.Dropped != 0 || later == 0 {
		t.Errorf("what waits: %+v; %d were told to come again", q, later)
	}
	if w.edge.runtime.durable && safe+1 != q.Requests {
		t.Errorf("%d were acknowledged and %d wait", safe, q.Requests-1)
	}
	w.back.answer(nil)
	eventually(t, "what waited was handed over, or refused", func() bool {
		q := w.edge.status(t).Queue
		return q.Requests == 0 && q.Dropped == 1
	})
	if a := w.stats(t, appPlain, 1); a.status != http.StatusOK {
		t.Errorf("the origin is back: %d %s", a.status, a.body)
	}
}

// An origin that says nothing is not waited for for ever.
func (w *world) hanging(t *testing.T) {
	w.back.answer(func(r *http.Request) int {
		if strings.HasPrefix(r.URL.Path, "/updates") {
			return hang
		}
		return 0
	})
	defer w.back.answer(nil)
	if a := w.ask(t, appPlain, 1, outdated); !a.isUpToDate() {
		t.Errorf("the origin does not answer: %d %s", a.status, a.body)
	}
	if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
		t.Errorf("what the edge can answer: %d %s", a.status, a.body)
	}
}
