package edgehost_test

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

// sealedNow fetches the app's sealed Snapshot as an edge does.
func (o *origin) sealedNow() string {
	o.t.Helper()
	r := ask(o.t, "GET", o.server.URL+"/snapshots/"+app, "", "Authorization", "Bearer "+edgeToken)
	if r.status != http.StatusOK {
		o.t.Fatalf("the origin hands out no snapshot: %d %s", r.status, r.text)
	}
	return r.text
}

// push pushes a sealed Snapshot.
func (e *edge) push(sealed string) response {
	e.t.Helper()
	return ask(e.t, "PUT", e.url+"/snapshots/"+app, sealed)
}

// revision returns the revision that the edge answers from.
func (e *edge) revision() int64 { return e.host.Status().Apps[0].Revision }

// forged signs a Snapshot with a key that the edge does not know.
func forged(t *testing.T, sealed string) string {
	h, spec, ok := seal.Read([]byte(sealed))
	if !ok {
		t.Fatal("no sealed snapshot")
	}
	h.Revision += 10
	return string(seal.Sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), h, spec))
}

// Whoever stands between edge and origin and changes what is fetched is found out, and the last good Snapshot goes on answering.
func TestTamperedSnapshots(t *testing.T) {
	o := newOrigin(t)
	first := o.serves("1.1.0")
	old := o.sealedNow()
	e := o.edge(nil)
	latest := e.check(id(1), "1.1.0").text
	for what, change := range map[string]func([]byte) []byte{
		"untrusted": func(b []byte) []byte { return bytes.Replace(b, []byte("1.2.0"), []byte("6.6.6"), 1) },
		"other_app": func(b []byte) []byte { return bytes.Replace(b, []byte(app), []byte("com.example.evil"), 1) },
		"malformed": func([]byte) []byte { return []byte("<html>502 Bad Gateway</html>") },
	} {
		o.sealed.Store(&change)
		o.serves("1.2.0") // there is something newer
		eventually(t, what+" is noticed", func() bool { return e.host.Status().Apps[0].Trouble == what })
		if got := e.check(id(1), "1.1.0").text; e.revision() != first || got != latest {
			t.Errorf("%s: answers from revision %d: %s", what, e.revision(), got)
		}
	}
	replay := func([]byte) []byte { return []byte(old) }
	o.sealed.Store(nil)
	eventually(t, "the true one is taken", func() bool { return e.revision() > first && e.host.Status().Apps[0].Trouble == "" })
	now := e.revision()
	o.sealed.Store(&replay)
	eventually(t, "the replay is noticed", func() bool { return e.host.Status().Apps[0].Trouble == "older" })
	if e.revision() != now || !strings.Contains(e.log.String(), "a snapshot was refused") {
		t.Errorf("answers from revision %d", e.revision())
	}
}

// A push proves itself, or is refused.
func TestPushes(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	old := o.sealedNow()
	e := o.edge(func(c *edgehost.Config) { c.Poll = time.Hour })
	second := o.serves("1.2.0")
	sealed := o.sealedNow()
	for _, c := range []struct {
		name   string
		sealed string
		want   int
		code   string
	}{
		{"forged", forged(t, sealed), http.StatusForbidden, "untrusted"},
		{"tampered with", strings.Replace(sealed, "1.2.0", "6.6.6", 1), http.StatusForbidden, "untrusted"},
		{"of another app", strings.Replace(sealed, app, "com.example.evil", 1), http.StatusForbidden, "other_app"},
		{"nothing", "", http.StatusBadRequest, "malformed"},
		{"too large", strings.Repeat("x", seal.MaxBytes+1), http.StatusRequestEntityTooLarge, "body_too_large"},
		{"new", sealed, http.StatusNoContent, ""},
		{"the same", sealed, http.StatusNoContent, ""},
		{"older", old, http.StatusConflict, "older"},
	} {
		if r := e.push(c.sealed); r.status != c.want || !strings.Contains(r.text, c.code) {
			t.Errorf("one that is %s: %d %s", c.name, r.status, r.text)
		}
	}
	if r := ask(t, "PUT", e.url+"/snapshots/com.example.other", sealed); r.status != http.StatusNotFound {
		t.Errorf("for another app: %d %s", r.status, r.text)
	}
	if s := e.status(); e.revision() != second || s.Counts["pushes"] != 2 || s.Counts["refused_pushes"] != 5 {
		t.Errorf("revision %d, %v", e.revision(), s.Counts)
	}
	for n := 0; ; n++ {
		r := e.push("x")
		if r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") != "" {
			break
		}
		if r.status != http.StatusBadRequest || n > 100 {
			t.Fatalf("refused push number %d: %d %s", n, r.status, r.text)
		}
	}
}

// A rollback reaches the devices by the next poll, or at once by a push.
func TestRollback(t *testing.T) {
	for name, pushed := range map[string]bool{"by poll": false, "by push": true} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.serves("1.0.0")
			rolloutID := o.halfGets("1.1.0")
			e := o.edge(func(c *edgehost.Config) {
				if pushed {
					c.Poll = time.Hour
				}
			})
			candidate := ""
			for n := 0; candidate == ""; n++ {
				if r := e.check(id(n), "1.0.0"); strings.Contains(r.text, `"version":"1.1.0"`) {
					candidate = id(n)
				}
			}
			o.state.Store(fine)
			began := time.Now()
			o.rollback(rolloutID)
			if pushed {
				o.push(e)
			}
			eventually(t, "the rollback reaches the device", func() bool {
				return strings.Contains(e.check(candidate, "1.1.0").text, `"version":"1.0.0"`) && strings.Contains(e.check(candidate, "1.0.0").text, "no_new_version")
			})
			t.Logf("after %s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// push lets the origin push the app's Snapshot to the edge.
func (o *origin) push(e *edge) {
	o.t.Helper()
	address, err := url.Parse(e.url)
	must(o.t, err)
	p := relay.NewPusher(relay.PusherConfig{Apps: o.apps, Keys: store.Keys{Store: o.store}, Edges: []*url.URL{address}, Log: quiet()})
	p.Changed(app)
	p.Close()
}

// travel is a clock that can be set forward.
type travel struct {
	mu sync.Mutex
	by time.Duration
}

func (c *travel) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *travel) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
}

// A Snapshot that nobody renews answers until its expiry and the grace, and then no more.
func TestAgedSnapshots(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	clock := &travel{}
	e := o.edge(func(c *edgehost.Config) { c.Now, c.Grace = clock.now, 2*time.Hour })
	latest := e.check(id(1), "1.1.0").text
	o.state.Store(cut)
	state := func(want string) {
		t.Helper()
		if got := e.host.Status().Apps[0].State; got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
	state("current")
	clock.forward(24 * time.Hour)
	state("stale")
	if r := e.check(id(1), "1.1.0"); r.status != 200 || r.text != latest || e.status().Counts["stale"] != 1 {
		t.Errorf("by grace: %d %s", r.status, r.text)
	}
	clock.forward(2 * time.Hour)
	state("ended")
	if r := e.check(id(1), "1.1.0"); r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("beyond grace: %d %s", r.status, r.text)
	}
	if r := e.push(o.sealedBefore(t)); r.status != http.StatusForbidden || !strings.Contains(r.text, "expired") {
		t.Errorf("an expired one is pushed: %d %s", r.status, r.text)
	}
	o.state.Store(fine)
	eventually(t, "the origin answers in its place", func() bool { return e.check(id(1), "1.1.0").text == latest })
	clock.forward(-25 * time.Hour)
	state("current")
}

// sealedBefore returns a Snapshot with a newer revision that expired by the clock of an edge a day ahead.
func (o *origin) sealedBefore(t *testing.T) string {
	o.state.Store(fine)
	defer o.state.Store(cut)
	o.serves("1.1.1")
	sealed := o.sealedNow()
	o.serves("1.1.0")
	return sealed
}

// With a spool, an edge that starts while the origin is away answers at once, and still knows what is too old.
func TestSnapshotsOutliveTheProcess(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	old := o.sealedNow()
	now := o.serves("1.2.0")
	dir := t.TempDir()
	inDir := func(c *edgehost.Config) { c.Spool = dir }
	e := o.edge(inDir)
	latest := e.check(id(1), "1.2.0").text
	e.stop()
	o.state.Store(cut)
	e = o.edge(inDir)
	if r := e.check(id(1), "1.2.0"); r.status != 200 || r.text != latest || e.revision() != now {
		t.Errorf("revision %d: %d %s", e.revision(), r.status, r.text)
	}
	if r := e.push(old); r.status != http.StatusConflict {
		t.Errorf("an older one: %d %s", r.status, r.text)
	}
}

// An App that the origin does not have any more is the origin's to answer for, until it has it again.
func TestForgottenApps(t *testing.T) {
	o := newOrigin(t)
	first := o.serves("1.1.0")
	sealed := o.sealedNow()
	dir := t.TempDir()
	e := o.edge(func(c *edgehost.Config) { c.Spool = dir })
	state, err := o.apps.Load(t.Context(), app)
	must(t, err)
	must(t, o.apps.Delete(t.Context(), state, nil))
	eventually(t, "the app is forgotten", func() bool { return e.host.Status().Apps[0].State == "missing" })
	if r := e.check(id(1), "1.1.0"); r.status != 429 || !strings.Contains(r.text, "on_premise_app") {
		t.Errorf("answered %d %s", r.status, r.text)
	}
	o.serves("1.3.0")
	eventually(t, "the app is there again", func() bool { return e.revision() > first })
	if r := e.check(id(1), "1.3.0"); r.status != 200 {
		t.Errorf("answered %d %s", r.status, r.text)
	}
	if r := e.push(sealed); r.status != http.StatusConflict {
		t.Errorf("a push from before: %d %s", r.status, r.text)
	}
}

// While nothing changes, a poll costs the origin no Snapshot.
func TestPollsAreConditional(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(nil)
	before := o.times("GET /snapshots")
	eventually(t, "it polls", func() bool { return o.times("GET /snapshots") > before+1 })
	for name, total := range o.edges.Totals {
		if name == "SnapshotsSent" && total != 1 {
			t.Errorf("%d snapshots were sent", total)
		}
	}
	if e.revision() == 0 {
		t.Error("none was loaded")
	}
}
