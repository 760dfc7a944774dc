//go:build viceroy

package main_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/seal"
)

// fastly is an edge on Fastly Compute, which Viceroy imitates on this machine, with the manifest that ships. Viceroy has no cache,
// so here the origin is asked each second, and a push need not purge anything.
var fastly = runtime{name: "fastly", command: inViceroy}

func inViceroy(t testing.TB, e *edge) *exec.Cmd {
	t.Helper()
	shipped, err := os.ReadFile(root + "/infra/edge/fastly/fastly.toml")
	must(t, err)
	manifest := set(t, string(shipped), "url", e.settings["PALIER_ORIGIN"])
	for name, value := range e.settings {
		if strings.Contains(manifest, name+" = ") {
			manifest = set(t, manifest, name, value)
		}
	}
	file := filepath.Join(e.dir, "fastly.toml")
	must(t, os.WriteFile(file, []byte(manifest), 0o600))
	program, err := fastlyProgram()
	must(t, err)
	cmd := exec.CommandContext(context.Background(), viceroy(t), "-v", "--addr", freeAddress(t), "-C", file, program)
	cmd.Env = clean()
	return cmd
}

// set gives a name of the manifest another value.
func set(t testing.TB, manifest, name, value string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + ` = ".*"$`)
	if !line.MatchString(manifest) {
		t.Fatalf("infra/edge/fastly/fastly.toml has no %s any more", name)
	}
	return line.ReplaceAllLiteralString(manifest, name+` = "`+value+`"`)
}

// viceroy returns its path.
func viceroy(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("VICEROY"), "viceroy"))
	if err != nil {
		t.Fatalf("%v [cargo install viceroy --version =0.22.0 --locked, or set VICEROY to its path]", err)
	}
	return path
}

// newFastly starts an edge in Viceroy, which first compiles the program for half a minute.
func newFastly(t *testing.T, settings map[string]string) *edge {
	t.Helper()
	e := &edge{runtime: fastly, dir: t.TempDir(), settings: settings}
	cmd := inViceroy(t, e)
	cmd.Env = append(cmd.Env, "PALIER_EDGE_TOKEN="+settings["PALIER_EDGE_TOKEN"])
	e.process = launch(t, cmd)
	listening := regexp.MustCompile(`Listening on (http://\S+)`)
	for deadline := time.Now().Add(5 * time.Minute); e.url == ""; {
		select {
		case <-e.exited:
			t.Fatalf("Viceroy ended: %s", e.out.tail())
		case <-time.After(50 * time.Millisecond):
		}
		if found := listening.FindStringSubmatch(e.out.String()); found != nil {
			e.url = found[1]
		} else if time.Now().After(deadline) {
			t.Fatalf("Viceroy does not listen: %s", e.out.tail())
		}
	}
	return e
}

func settingsFor(o *origin, originURL string, apps []string, keys ...string) map[string]string {
	return map[string]string{
		"PALIER_ORIGIN": originURL, "PALIER_EDGE_TOKEN": o.token, "PALIER_APPS": strings.Join(apps, ","),
		"PALIER_KEYS": strings.Join(append(keys, o.key), ", "), "PALIER_POLL": "1", "PALIER_GRACE": "2",
	}
}

// Every golden answer comes out of Fastly's runtime byte for byte, most of them without the origin.
func TestFastlyGoldenAnswers(t *testing.T) {
	vectors, err := devicetest.Answers(goldenDir)
	must(t, err)
	var apps []string
	o := newOrigin(t, func(data string) { apps = loadGolden(t, data, vectors) })
	g := newGate(t)
	g.before(t, o.url())
	e := newFastly(t, settingsFor(o, g.url(), apps))
	askAll(t, e, vectors)
	forwarded := g.requests(http.MethodPost, "/updates")
	if len(forwarded) > len(vectors)/2 {
		t.Errorf("%d of %d checks came to the origin", len(forwarded), len(vectors))
	}
	for _, p := range forwarded {
		if p.authorization != "" {
			t.Error("a device's check bears the edge token")
		}
	}
	t.Logf("%d of %d answered without the origin", len(vectors)-len(forwarded), len(vectors))
}

// What an edge owes its devices and its operator, as the scenarios of the other runtimes have it where these need no telemetry that
// waits.
func TestFastlyScenarios(t *testing.T) {
	w := newFastlyWorld(t)
	for _, s := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"the origin learns who asked", askedAtFastly},
		{"a rollback arrives by polling", polledByFastly},
		{"a rollback arrives by push", rolledBackAtFastly},
		{"a tampered snapshot changes nothing", tamperedAtFastly},
		{"pushes are believed by their signature", pushedToFastly},
		{"an expired snapshot answers during the grace", agedAtFastly},
		{"everybody has his answer from the origin", reportedToFastly},
		{"what the edge cannot answer is the origin's", forwarding},
		{"bodies have limits", limitsAtFastly},
		{"the status is for the operator", statusIsForOperators},
		{"the origin takes no batches", func(t *testing.T, w *world) { w.batchesRefused(t) }},
		{"the origin goes and comes back", originLeavesFastly},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(t, w) })
	}
	for _, secret := range []string{w.origin.token, device(1)} {
		if strings.Contains(w.edge.out.String(), secret) {
			t.Errorf("%q is in the edge's log", secret)
		}
	}
}

func newFastlyWorld(t *testing.T) *world {
	t.Helper()
	w := &world{back: newGate(t), front: newGate(t), key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))}
	w.origin = newOrigin(t, nil, w.front.url())
	w.back.before(t, w.origin.url())
	apps := []string{appNotes, appPolled, appPushed, appCut, appForged, appAged, appPlain}
	for _, app := range apps {
		w.apply(t, app, baseline)
	}
	w.edge = newFastly(t, settingsFor(w.origin, w.back.url(), apps, seal.PublicKey(w.key).String()))
	w.front.before(t, w.edge.url)
	w.edge.ready(t)
	return w
}

// idle waits until all sandboxes have ended, so that the next request comes to one that knows nothing yet. As long as they live they
// answer from a snapshot that may be a second old.
func (w *world) idle(t *testing.T) {
	t.Helper()
	eventually(t, "all sandboxes have ended", func() bool {
		said := w.edge.out.String()
		return strings.Count(said, ": handling request") == strings.Count(said, ": request completed in")
	})
}

// inOneSandbox has the steps, of one request each, come to one sandbox, some time apart, so that it looks for news at the fourth.
// Viceroy lets a sandbox have six requests.
func (w *world) inOneSandbox(t *testing.T, steps ...func()) {
	t.Helper()
	w.idle(t)
	tick := time.NewTicker(400 * time.Millisecond)
	defer tick.Stop()
	for _, step := range steps {
		step()
		<-tick.C
	}
}

// The devices that the edge answers by itself are counted at the origin, and those that the origin answers are counted once.
func askedAtFastly(t *testing.T, w *world) {
	id := w.begin(t, appNotes)
	w.idle(t)
	const devices = 40
	candidates, _ := w.offered(t, appNotes, devices)
	for _, n := range candidates {
		if a := w.ask(t, appNotes, n, candidate); !a.isUpToDate() {
			t.Fatalf("device %d runs the candidate: %s", n, a.body)
		}
	}
	want := counted{devices: devices, adopted: int64(len(candidates))}
	eventually(t, "the origin has counted all devices", func() bool { return w.counted(t, appNotes, id) == want })
}

// A device on the candidate is sent back when a sandbox has learned of it.
func polledByFastly(t *testing.T, w *world) {
	w.front.close(func(*http.Request) bool { return true })
	defer w.front.close(nil)
	id := w.begin(t, appPolled)
	w.idle(t)
	candidates, _ := w.offered(t, appPolled, 40)
	if a := w.ask(t, appPolled, candidates[0], candidate); !a.isUpToDate() {
		t.Fatalf("a device with the candidate: %s", a.body)
	}
	began := time.Now()
	w.rollback(t, appPolled, id)
	eventually(t, "the device is sent back", func() bool { return w.ask(t, appPolled, candidates[0], candidate).isOffer(baseline) })
	t.Logf("a rollback arrived by polling after %s", time.Since(began).Round(time.Millisecond))
}

// With no poll getting through, it is a push that brings it: the origin's own is taken, and the sandbox that takes one answers from it.
func rolledBackAtFastly(t *testing.T, w *world) {
	id := w.begin(t, appPushed)
	w.back.close(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/snapshots/") })
	defer w.back.close(nil)
	taken := func() (n int) {
		for _, p := range w.front.requests(http.MethodPut, "/snapshots/"+appPushed) {
			if p.status == http.StatusNoContent {
				n++
			}
		}
		return n
	}
	before := taken()
	w.rollback(t, appPushed, id)
	eventually(t, "the edge takes the origin's push", func() bool { return taken() > before })
	sealed := w.sealed(t, appPushed)
	h, _, _ := seal.Read(sealed)
	eventually(t, "a sandbox has what was pushed", func() bool {
		if a := call(t, http.MethodPut, w.edge.url+"/snapshots/"+appPushed, string(sealed)); a.status != http.StatusNoContent {
			t.Fatalf("a push: %d %s", a.status, a.body)
		}
		revision, state, _ := w.held(t, appPushed)
		return revision == h.Revision && state == "current"
	})
}

func tamperedAtFastly(t *testing.T, w *world) {
	w.front.close(func(*http.Request) bool { return true })
	defer w.front.close(nil)
	defer w.back.change(nil)
	upToDate := func() {
		t.Helper()
		if a := w.ask(t, appForged, 1, baseline); !a.isUpToDate() {
			t.Errorf("with a tampered snapshot on its way: %d %s", a.status, a.body)
		}
	}
	w.inOneSandbox(t, func() {
		upToDate()
		w.back.change(func(_ string, sealed []byte) []byte {
			return bytes.Replace(sealed, []byte("cdn.example.com"), []byte("cdn.example.org"), 1)
		})
		w.apply(t, appForged, candidate)
	}, upToDate, upToDate, upToDate, upToDate, func() {
		if _, state, trouble := w.held(t, appForged); state != "current" || !strings.Contains(trouble, "untrusted") {
			t.Errorf("the snapshot is %s, and the trouble is %q", state, trouble)
		}
	})
	w.back.change(nil)
	eventually(t, "the edge has the real one", func() bool { return w.ask(t, appForged, 1, baseline).isOffer(candidate) })
}

// The edge looks for the current snapshot first, so that one from before is refused by a sandbox that has just begun, too.
func pushedToFastly(t *testing.T, w *world) {
	good := w.sealed(t, appPlain)
	h, _, _ := seal.Read(good)
	forged := func(key byte, revision int64, expires time.Time) []byte {
		other := *w
		other.key = slices.Clone(w.key)
		other.key[0] ^= key
		return other.forge(t, appPlain, "6.6.6", revision, time.Now(), expires)
	}
	hour := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name   string
		app    string
		sealed []byte
		status int
		code   string
	}{
		{"the one it has", appPlain, good, http.StatusNoContent, ""},
		{"signed by another key", appPlain, forged(1, h.Revision+1, hour), http.StatusForbidden, "untrusted"},
		{"older", appPlain, forged(0, h.Revision-1, hour), http.StatusConflict, "older"},
		{"expired", appPlain, forged(0, h.Revision+1, time.Now().Add(-time.Second)), http.StatusForbidden, "expired"},
		{"of another app", appNotes, good, http.StatusForbidden, "other_app"},
		{"no snapshot", appPlain, []byte("<html>"), http.StatusBadRequest, "malformed"},
		{"of an app that is not served", "com.example.nobody", good, http.StatusNotFound, "unknown_app"},
	} {
		a := call(t, http.MethodPut, w.edge.url+"/snapshots/"+c.app, string(c.sealed))
		if a.status != c.status || c.code != "" && !strings.Contains(a.body, `"error":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.body, c.status, c.code)
		}
	}
	if a := call(t, http.MethodPut, w.edge.url+"/snapshots/"+appPlain, strings.Repeat("x", seal.MaxBytes+1)); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	if a := w.ask(t, appPlain, 1, baseline); !a.isUpToDate() {
		t.Errorf("after the pushes: %s", a.body)
	}
}

// The sandbox that has a snapshot answers from it until its end and the grace, and then the origin does. One that begins later does
// not take it any more.
func agedAtFastly(t *testing.T, w *world) {
	const version, revision = "9.9.9", 1_000_000
	defer w.back.change(nil)
	upToDate := func() {
		t.Helper()
		if a := w.ask(t, appAged, 1, version); !a.isUpToDate() { // the origin would offer it the baseline
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	w.inOneSandbox(t, func() {
		sealed := w.forge(t, appAged, version, revision, time.Now(), time.Now().Add(2*time.Second)) // whole seconds: one at least
		w.back.change(func(app string, real []byte) []byte {
			if app == appAged {
				return sealed
			}
			return real
		})
		upToDate()
	}, upToDate, upToDate, upToDate, upToDate, func() {
		if r, state, _ := w.held(t, appAged); r != revision || state != "stale" {
			t.Errorf("revision %d is %s", r, state)
		}
	})
	eventually(t, "the origin answers when the grace is over", func() bool { return w.ask(t, appAged, 1, version).isOffer(baseline) })
}

func reportedToFastly(t *testing.T, w *world) {
	metrics := strings.TrimSuffix(checkBody(appPlain, 1, baseline), "}") + `,"metrics":[{"type":"feedback"}]}`
	event := statsBody(appPlain, 8, baseline, "set")
	for _, c := range []struct{ path, body string }{
		{"/stats", statsBody(appPlain, 1, baseline, "set")},
		{"/stats", `{"app_id":"` + appPlain + `"}`},
		{"/stats", statsBody("com.example.nobody", 1, baseline, "set")},
		{"/telemetry", metrics},
		{"/stats", "no JSON: é \x00 \""},
		{"/stats", "not UTF-8: \xff"},
		{"/stats", "[" + strings.Repeat(event+",", 1999) + event + "]"},
	} {
		got := call(t, http.MethodPost, w.edge.url+c.path, c.body, "Content-Type", "application/json")
		want := call(t, http.MethodPost, w.origin.url()+c.path, c.body, "Content-Type", "application/json")
		if d := same(got, want); d != "" {
			t.Errorf("%s %.80s: %s", c.path, c.body, d)
		}
	}
}

func limitsAtFastly(t *testing.T, w *world) {
	for path, most := range map[string]int{
		"/updates": 64 << 10, "/channel_self": 64 << 10, "/stats": 1 << 20, "/telemetry": 1 << 20, "/updates/manifest_size": 2 << 20,
	} {
		body := `{"x":"` + strings.Repeat("x", most-7) + `"}` // one byte too long
		want := call(t, http.MethodPost, w.origin.url()+path, body)
		for _, from := range []io.Reader{strings.NewReader(body), struct{ io.Reader }{strings.NewReader(body)}} {
			got, err := send(http.MethodPost, w.edge.url+path, from)
			must(t, err)
			if d := same(got, want); d != "" || want.status != http.StatusBadRequest {
				t.Errorf("%s: %s", path, d)
			}
		}
	}
}

// Checks are answered while the origin is away. Telemetry stays with the devices, because Fastly has nothing that could keep it.
func originLeavesFastly(t *testing.T, w *world) {
	id := w.begin(t, appCut)
	candidates, control := w.offered(t, appCut, 20)
	kept := func() {
		t.Helper()
		if a := w.ask(t, appCut, control[0], baseline); !a.isUpToDate() {
			t.Errorf("without the origin: %d %s", a.status, a.body)
		}
	}
	w.inOneSandbox(t, func() {
		kept()
		w.origin.kill()
	}, kept, kept, kept, kept, func() {
		if a := w.ask(t, appCut, candidates[0], baseline); !a.isUpToDate() {
			t.Errorf("a device that would need its record: %d %s", a.status, a.body)
		}
	})
	for name, a := range map[string]answer{
		"what only the origin can answer": call(t, http.MethodGet, w.edge.url+"/channel_self?app_id="+appCut, ""),
		"telemetry":                       w.stats(t, appCut, 1),
		"an app that nobody knows":        w.ask(t, "com.example.nobody", 1, baseline),
	} {
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	w.origin.start(t)
	w.rollback(t, appCut, id)
	w.synced(t, appCut)
	if a := w.stats(t, appCut, 1); a.status != http.StatusOK {
		t.Errorf("the origin is back: %d %s", a.status, a.body)
	}
}

// Settings that will not do are all named, with what to do, and the token is not repeated.
func TestFastlySettingsAreChecked(t *testing.T) {
	e := newFastly(t, map[string]string{
		"PALIER_ORIGIN": "https://me:secret@palier.example.com", "PALIER_EDGE_TOKEN": "plr_a secret", "PALIER_APPS": "../../etc",
		"PALIER_KEYS": strings.Repeat("A", 43), "PALIER_POLL": "0", "PALIER_GRACE": "a day",
	})
	if a := call(t, http.MethodPost, e.url+"/updates", "{}"); a.status != http.StatusInternalServerError || !strings.Contains(a.body, "edge_unusable") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for name := range e.settings {
		e.says(t, "("+name+"): ")
	}
	if strings.Contains(e.out.String(), "a secret") {
		t.Errorf("a secret is repeated: %s", e.out.String())
	}
}
