package main_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	edgemodule "github.com/palier-ota/palier/functions/edge/module"
	"github.com/palier-ota/palier/internal/device/devicetest"
	core "github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/seal"
)

// The same source is compiled three times: into this test, by standard Go into WebAssembly, and by TinyGo into the module that
// ships. These tests hold that all three decide alike, whatever they are asked, and that neither module grows by being asked.
//
//	go test ./functions/edge -run 'WASM' -decisions 10000000 -timeout 2h
var decisions = flag.Int("decisions", 200_000, "decisions that the tests of the module draw")

// Times of these tests, in Unix seconds.
const (
	issuedAt  = 1_795_392_000
	expiresAt = issuedAt + 86_400
	graceFor  = 3_600
)

var wasmKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))

// reference is standard Go's build.
var reference = sync.OnceValues(func() ([]byte, error) {
	path := filepath.Join(buildDir, "reference.wasm")
	if err := build([]string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", path, "."); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// instantiate returns a new instance that trusts the key of these tests.
func instantiate(t testing.TB, wasm []byte) *edgehost.Instance {
	t.Helper()
	c, err := edgehost.Compile(t.Context(), wasm, filepath.Join(buildDir, "compiled"))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close(context.Background())) })
	i, err := c.Instantiate(t.Context())
	must(t, err)
	key := seal.PublicKey(wasmKey)
	must(t, i.Trust(t.Context(), key[:]))
	return i
}

// bothBuilds returns an instance of each build.
func bothBuilds(t testing.TB) map[string]*edgehost.Instance {
	t.Helper()
	wasm, err := reference()
	must(t, err)
	return map[string]*edgehost.Instance{"standard Go": instantiate(t, wasm), "TinyGo": instantiate(t, edgemodule.Bytes())}
}

// goldenSpec is a golden App.
type goldenSpec struct{ resolve.Spec }

// sealed is its sealed Snapshot, with another revision.
func (g goldenSpec) sealed(revision int64) []byte {
	g.Revision = revision
	spec, err := json.Marshal(g.Spec)
	if err != nil {
		panic(err) // it came from JSON
	}
	return seal.Sign(wasmKey, seal.Header{App: g.App, Revision: revision, Issued: issuedAt, Expires: expiresAt}, spec)
}

func goldenSpecs(t testing.TB) (specs []goldenSpec) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenDir, "snapshots.json"))
	must(t, err)
	var list []struct {
		Spec resolve.Spec `json:"spec"`
	}
	must(t, json.Unmarshal(text, &list))
	for _, g := range list {
		specs = append(specs, goldenSpec{g.Spec})
	}
	return specs
}

// twins are an Edge in this process and instances of the module that have been told the same.
type twins struct {
	t      testing.TB
	native *core.Edge
	wasm   map[string]*edgehost.Instance
	result edgehost.Result
}

func newTwins(t testing.TB, wasm map[string]*edgehost.Instance) *twins {
	t.Helper()
	w := &twins{t: t, native: core.New(), wasm: wasm}
	key := seal.PublicKey(wasmKey)
	if !w.native.Trust(key[:]) {
		t.Fatal("a key was not taken")
	}
	for _, g := range goldenSpecs(t) {
		w.load(g.App, g.sealed(g.Revision), issuedAt)
	}
	return w
}

// load lets all load a Snapshot, with one outcome.
func (w *twins) load(app string, sealed []byte, now uint32) {
	w.t.Helper()
	want := w.native.Load(app, sealed, now, graceFor)
	for name, i := range w.wasm {
		got, err := i.Load(w.t.Context(), app, sealed, now, graceFor)
		if err != nil || got.String() != want.String() {
			w.t.Fatalf("loading %q at %d: %s says %s, natively it is %s, %v", sealed, now, name, got, want, err)
		}
	}
}

// check lets all answer a check, with one result.
func (w *twins) check(ctx context.Context, body, facts []byte, now uint32) *core.Result {
	want := w.native.Check(body, facts, now)
	for name, i := range w.wasm {
		got := &w.result
		if err := i.Check(ctx, body, facts, now, got); err != nil {
			w.t.Fatalf("%s: %v, asked %q with the record %q at %d", name, err, body, facts, now)
		}
		if uint32(got.Verdict) != uint32(want.Verdict) || got.Status != want.Status || got.RetryAfter != want.RetryAfter || got.Stale != want.Stale ||
			!bytes.Equal(got.Answer, want.Answer) || !bytes.Equal(got.Note, want.Note) {
			w.t.Fatalf("asked %q with the record %q at %d, %s says\n%d %d %d %v %s %s\nand natively it is\n%d %d %d %v %s %s", body, facts, now, name,
				got.Verdict, got.Status, got.RetryAfter, got.Stale, got.Answer, got.Note,
				want.Verdict, want.Status, want.RetryAfter, want.Stale, want.Answer, want.Note)
		}
	}
	return want
}

// draw lets all answer a question that is drawn.
func (w *twins) draw(ctx context.Context, d *drawer) *core.Result {
	body, facts, now := d.question()
	return w.check(ctx, body, facts, now)
}

// drawer draws questions like the golden ones, and unlike them.
type drawer struct {
	*rand.Rand
	bodies, facts [][]byte
	specs         []goldenSpec
}

func newDrawer(t testing.TB, seed uint64) *drawer {
	t.Helper()
	vectors, err := devicetest.Answers(goldenDir)
	must(t, err)
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, 0)), specs: goldenSpecs(t), facts: [][]byte{nil, []byte("{}")}}
	for _, v := range vectors {
		d.bodies = append(d.bodies, []byte(v.Body))
		if v.Facts != nil {
			text, err := json.Marshal(v.Facts)
			must(t, err)
			d.facts = append(d.facts, text)
		}
	}
	return d
}

func pick[T any](d *drawer, list []T) T { return list[d.IntN(len(list))] }

// question draws what a device might ask: its body, its record, and when.
func (d *drawer) question() (body, facts []byte, now uint32) {
	body = bytes.Clone(pick(d, d.bodies))
	if d.IntN(2) == 0 {
		facts = pick(d, d.facts)
	}
	for range d.IntN(4) {
		body = d.change(body)
	}
	if d.IntN(20) == 0 && len(facts) > 0 {
		facts = d.damage(bytes.Clone(facts))
	}
	now = pick(d, []uint32{issuedAt, expiresAt - 1, expiresAt, expiresAt + graceFor - 1, expiresAt + graceFor})
	if d.IntN(4) > 0 {
		now = issuedAt + uint32(d.IntN(expiresAt-issuedAt))
	}
	return body, facts, now
}

// fields and values are what changes put together.
var (
	fields = []string{
		"platform", "device_id", "app_id", "custom_id", "version_build", "version_code", "version_os", "version_name", "plugin_version",
		"is_emulator", "is_prod", "defaultChannel", "key_id", "channel", "old_version_name",
	}
	values = []string{
		`"ios"`, `"android"`, `"electron"`, `"builtin"`, `"1.0.0"`, `"1.2.0"`, `"1.3.0"`, `"2.0.0-beta.1+5"`, `"01.2"`, `"5.0.0"`, `"8.51.23"`, `""`, `null`, `true`,
		`false`, `12`, `-1.5e300`, `"\u0031.0.0"`, `"\ud83d\ude00"`, `"\ud83d"`, `"é"`, `"production"`, `"beta"`, `"open"`, `{"a":[1,{}]}`, `[]`,
		`"3ad0fac0-0ed2-acf2-c604-abd2332c482c"`, `"3AD0FAC0-0ED2-ACF2-C604-ABD2332C482C"`, `"true"`, `"a\"b\\c\/d\n"`,
	}
)

// change changes a body once: mostly so that it still makes sense.
func (d *drawer) change(body []byte) []byte {
	switch d.IntN(8) {
	case 0, 1, 2:
		return d.put(body, "device_id", fmt.Sprintf(`"%08x-%04x-4%03x-8%03x-%012x"`, d.Uint32(), d.IntN(1<<16), d.IntN(1<<12), d.IntN(1<<12), d.Uint64N(1<<48)))
	case 3, 4:
		return d.put(body, pick(d, fields), pick(d, values))
	case 5:
		return d.put(body, "app_id", `"`+pick(d, d.specs).App+`"`)
	case 6:
		return d.put(body, "version_name", `"`+d.version()+`"`)
	}
	return d.damage(body)
}

// version draws the version of a golden bundle.
func (d *drawer) version() string {
	if g := pick(d, d.specs); len(g.Bundles) > 0 {
		return pick(d, g.Bundles).Version
	}
	return "1.0.0"
}

// put gives a field another value, or the body another field.
func (d *drawer) put(body []byte, field, value string) []byte {
	name := []byte(`"` + field + `":`)
	at := bytes.Index(body, name)
	if at < 0 {
		if at = bytes.IndexByte(body, '{'); at < 0 {
			return body
		}
		return bytes.Join([][]byte{body[:at+1], append(append(name, value...), ','), body[at+1:]}, nil)
	}
	start := at + len(name)
	end := start
	for end < len(body) && body[end] != ',' && body[end] != '}' {
		end++
	}
	return bytes.Join([][]byte{body[:start], []byte(value), body[end:]}, nil)
}

// damage changes bytes without understanding them.
func (d *drawer) damage(text []byte) []byte {
	if len(text) < 2 {
		return append(text, byte(d.Uint32()))
	}
	at := d.IntN(len(text))
	end := at + d.IntN(len(text)-at)
	switch d.IntN(5) {
	case 0:
		text[at] ^= 1 << d.IntN(8)
	case 1:
		text[at] = pick(d, []byte("\"\\{}[],: \x00\x1f\x7f\x80\xc3\xffeE+-.0u"))
	case 2:
		return append(text[:at], text[end:]...)
	case 3:
		return bytes.Join([][]byte{text[:end], text[at:]}, nil)
	case 4:
		return text[:at]
	}
	return text
}

// All builds answer every question alike, byte for byte, while Snapshots come, go and are forged.
func TestNativeAgainstWASM(t *testing.T) {
	const seed = 4
	w, d := newTwins(t, bothBuilds(t)), newDrawer(t, seed)
	seen := map[core.Verdict]int{}
	notes, answers := 0, map[string]bool{}
	for n := range *decisions {
		if n%2_000 == 1_999 {
			d.news(w)
		}
		r := w.draw(t.Context(), d)
		seen[r.Verdict]++
		if len(r.Note) > 0 {
			notes++
		}
		if len(answers) < 1000 {
			answers[string(r.Answer)] = true
		}
	}
	t.Logf("%d decisions: %d answered, %d needed facts, %d had no snapshot; %d notes, %d different answers",
		*decisions, seen[core.Answered], seen[core.NeedsFacts], seen[core.NoSnapshot], notes, len(answers))
	if seen[core.Answered] == 0 || seen[core.NeedsFacts] == 0 || seen[core.NoSnapshot] == 0 || notes == 0 || len(answers) < 60 {
		t.Error("too little was drawn to mean anything")
	}
}

// news changes what the twins hold.
func (d *drawer) news(w *twins) {
	g := pick(d, d.specs)
	sealed := g.sealed(g.Revision + int64(d.IntN(3)))
	switch d.IntN(6) {
	case 0:
		w.forget(g.App)
	case 1:
		sealed = d.damage(sealed)
	case 2:
		w.renote()
	}
	w.load(g.App, sealed, pick(d, []uint32{issuedAt, expiresAt - 1, expiresAt}))
}

func (w *twins) forget(app string) {
	w.t.Helper()
	w.native.Forget(app)
	for _, i := range w.wasm {
		must(w.t, i.Forget(w.t.Context(), app))
	}
}

func (w *twins) renote() {
	w.t.Helper()
	w.native.Renote()
	for _, i := range w.wasm {
		must(w.t, i.Renote(w.t.Context()))
	}
}

// The golden answers come out of every build, with the device's record at hand.
func TestGoldenAnswersOfWASM(t *testing.T) {
	w := newTwins(t, bothBuilds(t))
	vectors, err := devicetest.Answers(goldenDir)
	must(t, err)
	for _, v := range vectors {
		facts := []byte("{}")
		if v.Facts != nil {
			facts, err = json.Marshal(v.Facts)
			must(t, err)
		}
		r := w.check(t.Context(), []byte(v.Body), facts, issuedAt)
		if r.Verdict == core.Answered && (r.Status != v.Status || string(r.Answer) != v.Answer) {
			t.Errorf("%s: %d %s, want %d %s", v.Name, r.Status, r.Answer, v.Status, v.Answer)
		}
	}
}

// No question makes a module grow. Hosts do not know devices' records, so none is given.
func TestWASMMemoryStaysFlat(t *testing.T) {
	for name, i := range bothBuilds(t) {
		w, d := newTwins(t, map[string]*edgehost.Instance{name: i}), newDrawer(t, 5)
		ask := func(questions int) {
			for range questions {
				body, _, now := d.question()
				must(t, i.Check(t.Context(), body, nil, now, &w.result))
			}
		}
		ask(2 * len(d.bodies))
		before := i.MemoryBytes()
		ask(*decisions)
		if after := i.MemoryBytes(); after != before {
			t.Errorf("%s: %d bytes after %d decisions, %d before", name, after, *decisions, before)
		}
		t.Logf("%s: %d bytes after %d decisions", name, before, *decisions)
	}
}

// FuzzNativeAgainstWASM looks for a question that the module that ships answers in another way than the code it is made of.
func FuzzNativeAgainstWASM(f *testing.F) {
	d := newDrawer(f, 6)
	for i, body := range d.bodies {
		f.Add(body, d.facts[i%len(d.facts)], uint32(issuedAt))
	}
	w := newTwins(f, map[string]*edgehost.Instance{"TinyGo": instantiate(f, edgemodule.Bytes())})
	f.Fuzz(func(t *testing.T, body, facts []byte, now uint32) {
		w.t = t
		w.check(context.Background(), body, facts, now)
	})
}
