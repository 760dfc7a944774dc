package edge_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
)

const goldenDir = "../../testdata/golden"

// Times of the tests, in Unix seconds.
const (
	issued  = 1_795_392_000
	expires = issued + 86_400
	grace   = 3_600
	now     = issued + 60
)

var private = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// golden returns the Specs of the golden Apps, as they are stored.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenDir, "snapshots.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Spec resolve.Spec `json:"spec"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	specs := map[string][]byte{}
	for _, g := range list {
		if specs[g.Spec.App], err = json.Marshal(g.Spec); err != nil {
			t.Fatal(err)
		}
	}
	return specs
}

func newEdge(t testing.TB) *edge.Edge {
	t.Helper()
	e := edge.New()
	if key := seal.PublicKey(private); !e.Trust(key[:]) {
		t.Fatal("a key was not taken")
	}
	return e
}

// sealed is the sealed Snapshot of a Spec's JSON.
func sealed(app string, revision, issued int64, spec []byte) []byte {
	return seal.Sign(private, seal.Header{App: app, Revision: revision, Issued: issued, Expires: issued + 86_400}, spec)
}

// loaded returns an Edge that serves all golden Apps.
func loaded(t testing.TB) *edge.Edge {
	t.Helper()
	e := newEdge(t)
	for app, spec := range golden(t) {
		var has struct{ Revision int64 }
		if err := json.Unmarshal(spec, &has); err != nil {
			t.Fatal(err)
		}
		if o := e.Load(app, sealed(app, has.Revision, issued, spec), now, grace); o != edge.Loaded {
			t.Fatalf("%s: %s", app, o)
		}
	}
	return e
}

func answers(t testing.TB) []devicetest.Vector {
	t.Helper()
	vectors, err := devicetest.Answers(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	return vectors
}

// factsOf returns the record of a vector's device as a host would give it.
func factsOf(t testing.TB, v devicetest.Vector) []byte {
	t.Helper()
	if v.Facts == nil {
		return []byte("{}")
	}
	text, err := json.Marshal(v.Facts)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGoldenAnswers(t *testing.T) {
	e := loaded(t)
	alone := 0
	for _, v := range answers(t) {
		body, facts := []byte(v.Body), factsOf(t, v)
		r := e.Check(body, facts, now)
		switch {
		case r.Verdict == edge.NoSnapshot && strings.HasPrefix(v.Name, "refused/"): // the origin knows whether there is such an app
		case r.Verdict != edge.Answered || r.Status != v.Status || string(r.Answer) != v.Answer:
			t.Errorf("%s:\n got %d %d %s\nwant %d %s", v.Name, r.Verdict, r.Status, r.Answer, v.Status, v.Answer)
		}
		r = e.Check(body, nil, now)
		if r.Verdict == edge.Answered {
			alone++
			if string(r.Answer) != v.Answer {
				t.Errorf("%s, answered without facts:\n got %s\nwant %s", v.Name, r.Answer, v.Answer)
			}
		}
		if r.Verdict == edge.NeedsFacts && (r.Status != capgo.StatusOK || !strings.Contains(string(r.Answer), "no_new_version_available")) {
			t.Errorf("%s: a device whose record is not known is answered %s", v.Name, r.Answer)
		}
	}
	t.Logf("%d of %d were answered without the device's record", alone, len(answers(t)))
	if alone < 100 {
		t.Error("too few to mean anything")
	}
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	const app = "com.golden.channels"
	spec := golden(t)[app]
	other := seal.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), seal.Header{App: app, Revision: 1, Issued: issued, Expires: expires}, spec)
	tampered := bytes.Replace(sealed(app, 1, issued, spec), []byte("1.3.0"), []byte("6.6.6"), 1)
	for _, c := range []struct {
		name   string
		sealed []byte
		now    uint32
		want   edge.Outcome
	}{
		{"good", sealed(app, 1, issued, spec), now, edge.Loaded},
		{"signed by another key", other, now, edge.Untrusted},
		{"tampered", tampered, now, edge.Untrusted},
		{"in its last second", sealed(app, 1, issued, spec), expires - 1, edge.Loaded},
		{"expired", sealed(app, 1, issued, spec), expires, edge.Expired},
		{"of another app", sealed("com.golden.other", 1, issued, spec), now, edge.OtherApp},
		{"whose spec is of another app", sealed(app, 1, issued, golden(t)["com.golden.policies"]), now, edge.Malformed},
		{"whose spec is of another revision", sealed(app, 2, issued, spec), now, edge.Malformed},
		{"without a spec", sealed(app, 1, issued, nil), now, edge.Malformed},
		{"whose spec is no JSON", sealed(app, 1, issued, spec[:len(spec)-1]), now, edge.Malformed},
		{"empty", nil, now, edge.Malformed},
		{"not a snapshot", []byte("<html>502</html>"), now, edge.Malformed},
	} {
		if got := newEdge(t).Load(app, c.sealed, c.now, grace); got != c.want {
			t.Errorf("one %s: %s, want %s", c.name, got, c.want)
		}
	}
}

// body is a check of an App by a device that runs a version.
func body(app, device, version string) []byte {
	return []byte(`{"platform":"ios","device_id":"` + device + `","app_id":"` + app + `","version_build":"1.0.0","version_name":"` + version +
		`","plugin_version":"8.51.23","version_os":"18","is_prod":true,"is_emulator":false}`)
}

const device = "3ad0fac0-0ed2-acf2-c604-abd2332c482c"

// oneChannel is the Spec of an App whose only channel has a bundle.
func oneChannel(t testing.TB, app string, revision int64, bundle string) []byte {
	t.Helper()
	return marshal(t, resolve.NewSpec(stateOf(app, revision, bundle)))
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func stateOf(app string, revision int64, bundle string) rollout.State {
	channel := rollout.NewChannel("production")
	channel.Public, channel.Bundle = true, bundle
	return rollout.State{
		App: rollout.App{ID: app}, Revision: revision,
		Bundles:  map[string]rollout.Bundle{bundle: {Version: bundle, URL: "https://cdn.example.com/" + bundle + ".zip", Checksum: "c0ffee"}},
		Channels: map[string]rollout.Channel{"production": channel},
	}
}

// The last good Snapshot goes on answering whatever comes after it, until it ends; what was seen once is never undone.
func TestLastGoodSnapshotGoesOn(t *testing.T) {
	const app = "com.example.shop"
	e := newEdge(t)
	serves := func(when string, now uint32, want edge.Verdict, stale bool) {
		t.Helper()
		r := e.Check(body(app, device, "1.4.0"), nil, now)
		if r.Verdict != want || r.Stale != stale {
			t.Errorf("%s: verdict %d, stale %v: %s", when, r.Verdict, r.Stale, r.Answer)
		}
		if r.Verdict == edge.NoSnapshot && (r.Status != capgo.StatusTooManyRequests || r.RetryAfter == 0) {
			t.Errorf("%s: %d, Retry-After %d", when, r.Status, r.RetryAfter)
		}
	}
	load := func(when string, sealed []byte, now uint32, want edge.Outcome) {
		t.Helper()
		if got := e.Load(app, sealed, now, grace); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	spec := oneChannel(t, app, 5, "1.4.0")
	good := sealed(app, 5, issued, spec)
	serves("before the first", now, edge.NoSnapshot, false)
	load("the first", good, now, edge.Loaded)
	serves("with the first", now, edge.Answered, false)
	load("the same again", good, now, edge.Same)
	load("an older revision", sealed(app, 4, issued+10, oneChannel(t, app, 4, "1.4.0")), now, edge.Older)
	load("a newer one that is tampered with", bytes.Replace(sealed(app, 6, issued, spec), []byte("1.4.0"), []byte("1.4.1"), 1), now, edge.Untrusted)
	load("a newer one that makes no sense", sealed(app, 6, issued, []byte("{}")), now, edge.Malformed)
	load("a newer one that has expired", sealed(app, 6, issued-100_000, oneChannel(t, app, 6, "1.4.0")), now, edge.Expired)
	serves("after those", now, edge.Answered, false)
	serves("in its last second", expires-1, edge.Answered, false)
	serves("expired", expires, edge.Answered, true)
	serves("in the last second of grace", expires+grace-1, edge.Answered, true)
	serves("beyond grace", expires+grace, edge.NoSnapshot, false)
	load("issued anew", sealed(app, 5, issued+3_600, spec), expires, edge.Same)
	serves("issued anew", expires, edge.Answered, false)
	load("the earlier issue", good, now, edge.Same)
	serves("after the earlier issue", expires, edge.Answered, false)
	e.Forget(app)
	serves("forgotten", now, edge.NoSnapshot, false)
	load("an older one when forgotten", sealed(app, 4, issued+10, oneChannel(t, app, 4, "1.4.0")), now, edge.Older)
	load("the same when forgotten", sealed(app, 5, issued+3_600, spec), now, edge.Loaded)
	serves("again", now, edge.Answered, false)
	load("a newer one", sealed(app, 6, issued, oneChannel(t, app, 6, "1.5.0")), now, edge.Loaded)
	serves("with an offer to make", now, edge.NeedsFacts, false)
}

func TestBoundsOfAnEdge(t *testing.T) {
	e := edge.New()
	for i := range edge.MaxKeys {
		if !e.Trust(bytes.Repeat([]byte{byte(i)}, 32)) {
			t.Fatalf("key %d was not taken", i)
		}
	}
	if e.Trust(make([]byte, 32)) || edge.New().Trust(make([]byte, 31)) || edge.New().Trust(nil) {
		t.Error("what is no key, or one too many, was taken")
	}
	e = newEdge(t)
	for i := range edge.MaxApps + 1 {
		app := "com.example.app" + strconv.Itoa(i)
		want := edge.Loaded
		if i == edge.MaxApps {
			want = edge.Full
		}
		if got := e.Load(app, sealed(app, 1, issued, oneChannel(t, app, 1, "1.0.0")), now, grace); got != want {
			t.Errorf("app %d: %s, want %s", i, got, want)
		}
	}
	if r := e.Check(make([]byte, capgo.MaxCheckBody+1), nil, now); r.Verdict != edge.Answered || r.Status != 400 {
		t.Errorf("a body that is too large: %d %d %s", r.Verdict, r.Status, r.Answer)
	}
	if r := e.Unavailable(); r.Status != 429 || r.RetryAfter == 0 || !json.Valid(r.Answer) {
		t.Errorf("%+v", r)
	}
}

// A device in an arm of a live rollout is noted once an hour for each version it runs, in the words of POST /relay.
func TestNotes(t *testing.T) {
	const app = "com.example.shop"
	state := stateOf(app, 7, "1.4.0")
	state.Bundles["1.5.0"] = rollout.Bundle{Version: "1.5.0", URL: "https://cdn.example.com/1.5.0.zip", Checksum: "c0ffee"}
	state.Rollouts = map[string]rollout.Rollout{"01ROLLOUT": {
		ID: "01ROLLOUT", App: app, Channel: "production", Bundle: "1.5.0", Baseline: "1.4.0", State: rollout.Running,
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent}}},
	}}
	e := newEdge(t)
	if o := e.Load(app, sealed(app, 7, issued, marshal(t, resolve.NewSpec(state))), now, grace); o != edge.Loaded {
		t.Fatal(o)
	}
	type note struct {
		App, Device, Version, Platform, Rollout, Arm string
		Phase                                        int
		Candidate                                    bool
	}
	var arms []string
	for i := range 200 {
		id := "00000000-0000-4000-8000-0000000" + strconv.Itoa(10_000+i)
		var first note
		text := string(e.Check(body(app, id, "1.5.0"), nil, now).Note)
		if err := json.Unmarshal([]byte(text+"}"), &first); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := note{
			App: app, Device: fmt.Sprintf("%016x", resolve.Fingerprint(id)), Version: "1.5.0", Platform: "ios",
			Rollout: "01ROLLOUT", Arm: first.Arm, Candidate: true,
		}
		if first != want {
			t.Fatalf("%+v, want %+v", first, want)
		}
		arms = append(arms, first.Arm)
		if again := e.Check(body(app, id, "1.5.0"), nil, now+1).Note; len(again) != 0 {
			t.Fatalf("noted twice: %s", again)
		}
		if other := e.Check(body(app, id, "1.4.0"), nil, now).Note; !strings.Contains(string(other), `"candidate":false`) {
			t.Fatalf("running the baseline: %q", other)
		}
		if later := e.Check(body(app, id, "1.5.0"), nil, now+3600).Note; len(later) == 0 {
			t.Fatal("not noted in the next hour")
		}
		e.Renote()
		if again := e.Check(body(app, id, "1.5.0"), nil, now).Note; len(again) == 0 {
			t.Fatal("not noted anew")
		}
	}
	slices.Sort(arms)
	if got := slices.Compact(arms); !slices.Equal(got, []string{"candidate", "control"}) {
		t.Errorf("arms: %v", got)
	}
	long := e.Check(body(app, device, "1.5.0-"+strings.Repeat("x", 200)), nil, now)
	if long.Verdict != edge.Answered && long.Verdict != edge.NeedsFacts || len(long.Note) != 0 {
		t.Errorf("a version longer than any bundle's: %d %s", long.Verdict, long.Note)
	}
}

func TestDecisionsAllocateNothing(t *testing.T) {
	e := loaded(t)
	for _, v := range answers(t) {
		body := []byte(v.Body)
		if r := e.Check(body, nil, now); r.Status != capgo.StatusOK {
			continue // a refusal is made for its request
		}
		if n := testing.AllocsPerRun(10, func() { e.Check(body, nil, now) }); n != 0 {
			t.Errorf("%s: %v allocations", v.Name, n)
		}
	}
}
