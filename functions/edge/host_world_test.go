package main_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
)

// The apps of a world. Each scenario has one of its own.
const (
	appNotes  = "com.example.notes"
	appPolled = "com.example.polled"
	appPushed = "com.example.pushed"
	appCut    = "com.example.cut"
	appForged = "com.example.forged"
	appAged   = "com.example.aged"
	appPlain  = "com.example.plain"
)

const (
	baseline  = "1.0.0"
	candidate = "1.1.0"
	// worldGrace is how many seconds beyond their expiry snapshots answer in a world.
	worldGrace = 2
)

// world is an origin and an edge with a gate before each: the edge sees its origin through back, and is told of changes
// through front.
type world struct {
	origin      *origin
	edge        *edge
	back, front *gate
	key         ed25519.PrivateKey // the edge trusts it beside the origin's
}

func newWorld(t *testing.T, r runtime) *world {
	t.Helper()
	w := &world{back: newGate(t), front: newGate(t), key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))}
	w.origin = newOrigin(t, nil, w.front.url())
	w.back.before(t, w.origin.url())
	apps := []string{appNotes, appPolled, appPushed, appCut, appForged, appAged, appPlain}
	for _, app := range apps {
		w.apply(t, app, baseline)
	}
	w.edge = newEdge(t, r, w.back.url(), w.origin, apps, func(e *edge) {
		e.settings["PALIER_KEYS"] += ", " + seal.PublicKey(w.key).String()
		e.settings["PALIER_GRACE"] = fmt.Sprint(worldGrace)
	})
	w.front.before(t, w.edge.url)
	w.edge.ready(t)
	return w
}

// apply makes an app, whose channel serves the version, or changes it.
func (w *world) apply(t testing.TB, app, version string) {
	t.Helper()
	bundle := func(version string) map[string]any {
		return map[string]any{"version": version, "checksum": "c0ffee", "url": "https://cdn.example.com/" + version + ".zip"}
	}
	w.origin.operate(t, http.MethodPut, "/apps/"+app, map[string]any{
		"app": app, "bundles": []any{bundle(baseline), bundle(candidate)},
		"channels": []any{map[string]any{"name": "production", "bundle": version, "public": true, "allow_device_self_set": true}},
	}, nil)
}

// begin starts a rollout of the candidate to half of the devices, and returns its id when the edge knows of it.
func (w *world) begin(t testing.TB, app string) (id string) {
	t.Helper()
	var started struct{ ID string }
	w.origin.operate(t, http.MethodPost, "/apps/"+app+"/rollouts", map[string]any{
		"channel": "production", "bundle": candidate,
		"plan": map[string]any{"phases": []any{map[string]any{"percent": 50, "hold": map[string]string{"min": "24h", "max": "48h"}}}},
	}, &started)
	w.synced(t, app)
	return started.ID
}

func (w *world) rollback(t testing.TB, app, id string) {
	t.Helper()
	w.origin.operate(t, http.MethodPost, "/apps/"+app+"/rollouts/"+id+"/rollback", map[string]string{"reason": "test"}, nil)
}

// sealed fetches an app's sealed snapshot from the origin.
func (w *world) sealed(t testing.TB, app string) []byte {
	t.Helper()
	a := call(t, http.MethodGet, w.origin.url()+"/snapshots/"+app, "", "Authorization", "Bearer "+w.origin.token)
	if a.status != http.StatusOK {
		t.Fatalf("the snapshot of %s: %d %s", app, a.status, a.body)
	}
	return []byte(a.body)
}

// held is what the edge says of an app.
func (w *world) held(t testing.TB, app string) (revision int64, state, trouble string) {
	t.Helper()
	for _, a := range w.edge.status(t).Apps {
		if a.App == app {
			return a.Revision, a.State, a.Trouble
		}
	}
	t.Fatalf("the edge does not tell of %s", app)
	return 0, "", ""
}

// synced waits until the edge answers from what the origin has now.
func (w *world) synced(t testing.TB, app string) {
	t.Helper()
	h, _, ok := seal.Read(w.sealed(t, app))
	if !ok {
		t.Fatal("the origin's snapshot cannot be read")
	}
	eventually(t, fmt.Sprintf("the edge has revision %d of %s", h.Revision, app), func() bool {
		revision, state, trouble := w.held(t, app)
		return revision == h.Revision && state == "current" && trouble == ""
	})
}

// forge seals a snapshot with the world's own key: of an app whose channel serves the version.
func (w *world) forge(t testing.TB, app, version string, revision int64, issued, expires time.Time) []byte {
	t.Helper()
	channel := rollout.NewChannel("production")
	channel.Public, channel.Bundle = true, version
	spec, err := json.Marshal(resolve.NewSpec(rollout.State{
		App: rollout.App{ID: app}, Revision: revision,
		Bundles:  map[string]rollout.Bundle{version: {Version: version, URL: "https://cdn.example.com/bundle.zip", Checksum: "c0ffee"}},
		Channels: map[string]rollout.Channel{"production": channel},
	}))
	must(t, err)
	return seal.Sign(w.key, seal.Header{App: app, Revision: revision, Issued: issued.Unix(), Expires: expires.Unix()}, spec)
}

// device is the id of the nth device.
func device(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// ask sends the check of a device that runs a version, and returns the answer.
func (w *world) ask(t testing.TB, app string, n int, version string) answer {
	t.Helper()
	return call(t, http.MethodPost, w.edge.url+"/updates", checkBody(app, n, version), "Content-Type", "application/json")
}

func checkBody(app string, n int, version string) string {
	return fmt.Sprintf(`{"platform":"ios","device_id":%q,"app_id":%q,"version_build":"1.0.0","version_code":"1","version_os":"18",`+
		`"version_name":%q,"plugin_version":"8.51.23","is_emulator":false,"is_prod":true}`, device(n), app, version)
}

// statsBody is what a device sends of an action on its version.
func statsBody(app string, n int, version, action string) string {
	what := fmt.Sprintf(`,"action":%q,"timestamp":%d}`, action, time.Now().UnixMilli())
	return strings.TrimSuffix(checkBody(app, n, version), "}") + what
}

// isOffer reports whether an answer offers the version.
func (a answer) isOffer(version string) bool {
	return a.status == http.StatusOK && strings.Contains(a.body, `"version":"`+version+`"`)
}

// isUpToDate reports whether an answer says that there is nothing new.
func (a answer) isUpToDate() bool {
	return a.status == http.StatusOK && strings.Contains(a.body, `"kind":"up_to_date"`)
}

// offered returns which of the first devices are offered the candidate, and which are not.
func (w *world) offered(t testing.TB, app string, devices int) (candidates, control []int) {
	t.Helper()
	for n := range devices {
		switch a := w.ask(t, app, n, baseline); {
		case a.isOffer(candidate):
			candidates = append(candidates, n)
		case a.isUpToDate():
			control = append(control, n)
		default:
			t.Fatalf("device %d: %d %s", n, a.status, a.body)
		}
	}
	if len(candidates) < devices/5 || len(control) < devices/5 {
		t.Fatalf("%d of %d devices are offered a bundle for half of them", len(candidates), devices)
	}
	return candidates, control
}

// counted is what the origin has counted of a rollout.
type counted struct {
	devices, adopted int64
	crashes          int64
}

func (w *world) counted(t testing.TB, app, id string) (c counted) {
	t.Helper()
	type arm struct {
		Devices, Adopted int64
		Events           map[string]int64
	}
	var m struct {
		Arms struct{ Candidate, Control arm }
	}
	w.origin.operate(t, http.MethodGet, "/apps/"+app+"/rollouts/"+id+"/metrics", nil, &m)
	for _, a := range []arm{m.Arms.Candidate, m.Arms.Control} {
		c.devices += a.Devices
		c.adopted += a.Adopted
		c.crashes += a.Events["crash"]
	}
	return c
}
