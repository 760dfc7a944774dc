package main_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/seal"
)

// What an edge owes its devices and its operator, in every runtime.
var scenarios = []struct {
	name string
	run  func(*testing.T, *world)
}{
	{"the origin learns who asked", originLearnsWhoAsked},
	{"a rollback arrives by polling", rollbackByPolling},
	{"a rollback arrives by push", rollbackByPush},
	{"tampered and replayed snapshots change nothing", forgedSnapshots},
	{"pushes are believed by their signature", pushes},
	{"a snapshot answers until its end and the grace", agedSnapshot},
	{"telemetry goes in batches and everybody has his answer", batches},
	{"the origin hears where devices come from", originHearsTheNetwork},
	{"what the edge cannot answer is the origin's", forwarding},
	{"bodies have limits", limits},
	{"the status is for the operator", statusIsForOperators},
	{"the origin goes and comes back", originGoesAndComesBack}, // last: it starts the origin again
}

func TestEveryRuntime(t *testing.T) {
	t.Parallel()
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, r)
			for _, s := range scenarios {
				if !t.Run(s.name, func(t *testing.T) { s.run(t, w) }) {
					return
				}
			}
			for _, secret := range []string{w.origin.token, device(1)} {
				if strings.Contains(w.edge.out.String(), secret) {
					t.Errorf("%q is in the edge's log", secret)
				}
			}
		})
	}
}

// The devices that the edge answers by itself are counted at the origin as if they had asked there.
func originLearnsWhoAsked(t *testing.T, w *world) {
	id := w.begin(t, appNotes)
	before := len(w.back.requests(http.MethodPost, "/updates"))
	const devices = 40
	candidates, _ := w.offered(t, appNotes, devices)
	for _, n := range candidates {
		if a := w.ask(t, appNotes, n, candidate); !a.isUpToDate() {
			t.Fatalf("device %d runs the candidate: %s", n, a.body)
		}
	}
	if asked := len(w.back.requests(http.MethodPost, "/updates")) - before; asked != len(candidates) {
		t.Errorf("%d checks came to the origin, and %d devices were offered something", asked, len(candidates))
	}
	want := counted{devices: devices, adopted: int64(len(candidates))}
	eventually(t, "the origin has counted all devices", func() bool { return w.counted(t, appNotes, id) == want })
}

// With no push getting through, a device on the candidate is sent back after the edge has asked.
func rollbackByPolling(t *testing.T, w *world) {
	w.front.close(func(*http.Request) bool { return true })
	defer w.front.close(nil)
	n, id := w.onCandidate(t, appPolled)
	polls := len(w.fetched(appPolled))
	began := time.Now()
	w.rollback(t, appPolled, id)
	eventually(t, "the device is sent back", func() bool { return w.ask(t, appPolled, n, candidate).isOffer(baseline) })
	took := time.Since(began)
	if len(w.fetched(appPolled)) == polls {
		t.Error("the edge learned of it without asking")
	}
	t.Logf("a rollback arrived by polling each second after %s", took.Round(time.Millisecond))
}

// With no poll getting through, it is the push that brings it.
func rollbackByPush(t *testing.T, w *world) {
	n, id := w.onCandidate(t, appPushed)
	w.back.close(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/snapshots/") })
	defer w.back.close(nil)
	polls := len(w.fetched(appPushed))
	began := time.Now()
	w.rollback(t, appPushed, id)
	eventually(t, "the device is sent back", func() bool { return w.ask(t, appPushed, n, candidate).isOffer(baseline) })
	took := time.Since(began)
	if len(w.fetched(appPushed)) != polls {
		t.Error("a poll got through")
	}
	eventually(t, "the edge has answered the push", func() bool {
		for _, p := range w.front.requests(http.MethodPut, "/snapshots/"+appPushed) {
			if p.status == http.StatusNoContent {
				return true
			}
		}
		return false
	})
	t.Logf("a rollback arrived by push after %s", took.Round(time.Millisecond))
}

// onCandidate starts a rollout and returns a device that runs its candidate, for which the edge knows nothing newer.
func (w *world) onCandidate(t *testing.T, app string) (n int, id string) {
	t.Helper()
	id = w.begin(t, app)
	candidates, _ := w.offered(t, app, 20)
	n = candidates[0]
	if a := w.ask(t, app, n, candidate); !a.isUpToDate() {
		t.Fatalf("a device with the candidate: %s", a.body)
	}
	return n, id
}

// fetched returns the app's snapshots that the edge got by asking.
func (w *world) fetched(app string) []passed {
	all := w.back.requests(http.MethodGet, "/snapshots/"+app)
	return slices.DeleteFunc(all, func(p passed) bool { return p.status != http.StatusOK })
}

// Whoever sits between the edge and its origin can keep it from learning news, and nothing more.
func forgedSnapshots(t *testing.T, w *world) {
	w.front.close(func(*http.Request) bool { return true })
	defer w.front.close(nil)
	defer w.back.change(nil)
	old := w.sealed(t, appForged)
	only := func(how func([]byte) []byte) func(string, []byte) []byte {
		return func(app string, sealed []byte) []byte {
			if app == appForged {
				return how(sealed)
			}
			return sealed
		}
	}
	trouble := func(outcome string) {
		t.Helper()
		eventually(t, "the edge refuses a snapshot as "+outcome, func() bool {
			_, state, trouble := w.held(t, appForged)
			return state == "current" && strings.Contains(trouble, outcome)
		})
	}
	w.back.change(only(func(sealed []byte) []byte {
		return bytes.Replace(sealed, []byte("cdn.example.com"), []byte("cdn.example.org"), 1)
	}))
	w.apply(t, appForged, candidate)
	trouble("untrusted")
	if a := w.ask(t, appForged, 1, baseline); !a.isUpToDate() {
		t.Errorf("with a tampered snapshot on its way: %s", a.body)
	}
	w.back.change(nil)
	w.synced(t, appForged)
	w.back.change(only(func([]byte) []byte { return old }))
	trouble("older")
	if a := w.ask(t, appForged, 1, candidate); !a.isUpToDate() {
		t.Errorf("with an old snapshot on its way: %s", a.body)
	}
	w.back.change(nil)
	w.synced(t, appForged)
}

// A push needs no secret, and a bad one does no harm.
func pushes(t *testing.T, w *world) {
	good := w.sealed(t, appPlain)
	h, _, _ := seal.Read(good)
	now := time.Now()
	forged := func(key byte, revision int64, expires time.Time) []byte {
		other := *w
		other.key = slices.Clone(w.key)
		other.key[0] ^= key
		return other.forge(t, appPlain, "6.6.6", revision, now, expires)
	}
	put := func(app string, sealed []byte) answer {
		return call(t, http.MethodPut, w.edge.url+"/snapshots/"+app, string(sealed))
	}
	for _, c := range []struct {
		name   string
		app    string
		sealed []byte
		status int
		code   string
	}{
		{"the one it has", appPlain, good, http.StatusNoContent, ""},
		{"signed by another key", appPlain, forged(1, h.Revision+1, now.Add(time.Hour)), http.StatusForbidden, "untrusted"},
		{"older", appPlain, forged(0, h.Revision-1, now.Add(time.Hour)), http.StatusConflict, "older"},
		{"expired", appPlain, forged(0, h.Revision+1, now.Add(-time.Second)), http.StatusForbidden, "expired"},
		{"of another app", appNotes, good, http.StatusForbidden, "other_app"},
		{"no snapshot", appPlain, []byte("<html>"), http.StatusBadRequest, "malformed"},
		{"of an app that is not served", "com.example.nobody", good, http.StatusNotFound, "unknown_app"},
	} {
		a := put(c.app, c.sealed)
		if a.status != c.status || c.code != "" && !strings.Contains(a.body, `"error":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.body, c.status, c.code)
		}
	}
	a := announce(t, http.MethodPut, w.edge.url, "/snapshots/"+appPlain, seal.MaxBytes+1)
	if a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
		t.Errorf("after the pushes: %s", a.body)
	}
	eventually(t, "refused pushes have to wait", func() bool {
		return put(appPlain, []byte("<html>")).status == http.StatusTooManyRequests
	})
}

// An expired snapshot answers during its grace, and then no more; then the origin is asked.
func agedSnapshot(t *testing.T, w *world) {
	w.front.close(func(*http.Request) bool { return true })
	defer w.front.close(nil)
	const version, revision = "9.9.9", 1_000_000
	issued := time.Now()
	sealed := w.forge(t, appAged, version, revision, issued, issued.Add(3*time.Second))
	w.back.change(func(app string, real []byte) []byte {
		if app == appAged {
			return sealed
		}
		return real
	})
	defer w.back.change(nil)
	reach := func(want string) {
		t.Helper()
		eventually(t, "the snapshot is "+want, func() bool {
			r, state, _ := w.held(t, appAged)
			return r == revision && state == want
		})
	}
	local := func() bool { return w.ask(t, appAged, 1, version).isUpToDate() } // the origin would offer it the baseline
	reach("current")
	if !local() {
		t.Error("not answered while it is good")
	}
	reach("stale")
	before := w.edge.status(t).Counts["stale"]
	if !local() || w.edge.status(t).Counts["stale"] == before {
		t.Error("not answered during the grace")
	}
	reach("ended")
	if a := w.ask(t, appAged, 1, version); !a.isOffer(baseline) {
		t.Errorf("after its end it is not the origin that answers: %s", a.body)
	}
	sealed = w.forge(t, appAged, version, revision, time.Now(), time.Now().Add(time.Hour))
	reach("current")
	if !local() {
		t.Error("not answered when it was issued anew")
	}
}
