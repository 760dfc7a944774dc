package resolve

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// The golden vectors are data that every way of answering must agree on: this package, the HTTP server, the Lambda
// function, the WebAssembly module, and any implementation in another language. testdata/golden holds
//
//	snapshots.json   the apps: each as the operator's state and as the Spec made from it
//	decisions.jsonl  one check a line: the request body's exact text, its parsed fields, the device's facts, the decision
//	positions.json   salt, device id and position
//
// go test ./internal/resolve -run Golden -update writes them anew from the generator in goldenapps_test.go.

var update = flag.Bool("update", false, "write testdata/golden anew")

const goldenDir = "../../testdata/golden"

// goldenApp is one entry of snapshots.json.
type goldenApp struct {
	Name  string        `json:"name"`
	State rollout.State `json:"state"`
	Spec  Spec          `json:"spec"`
}

// goldenVector is one line of decisions.jsonl. Facts that are null are not known: such a vector can only be asked of the
// decision core.
type goldenVector struct {
	Name     string      `json:"name"`
	Snapshot string      `json:"snapshot"` // a name in snapshots.json
	Body     string      `json:"body"`     // of POST /updates, to be sent as it is
	Check    goldenCheck `json:"check"`    // what the body means
	Facts    *Facts      `json:"facts"`
	Want     goldenWant  `json:"want"`
}

// goldenCheck is a Check as text.
type goldenCheck struct {
	AppID          string `json:"app_id"`
	DeviceID       string `json:"device_id"`
	CustomID       string `json:"custom_id,omitempty"`
	Platform       string `json:"platform"`
	VersionBuild   string `json:"version_build"`
	VersionName    string `json:"version_name"`
	RunsBuiltin    bool   `json:"runs_builtin,omitempty"`
	VersionOS      string `json:"version_os"`
	VersionCode    string `json:"version_code"`
	PluginVersion  string `json:"plugin_version"`
	DefaultChannel string `json:"default_channel,omitempty"`
	KeyID          string `json:"key_id,omitempty"`
	InstallSource  string `json:"install_source,omitempty"`
	IsEmulator     bool   `json:"is_emulator"`
	IsProd         bool   `json:"is_prod"`
}

// goldenWant is a Decision as text. Code is the wire error, "" for an offer; Position is the device's in the rollout on
// its channel.
type goldenWant struct {
	Reason    string  `json:"reason"`
	Code      string  `json:"code,omitempty"`
	Kind      string  `json:"kind,omitempty"`
	Bundle    string  `json:"bundle,omitempty"`
	Channel   string  `json:"channel,omitempty"`
	Source    string  `json:"source,omitempty"`
	Rollout   string  `json:"rollout,omitempty"`
	Arm       string  `json:"arm,omitempty"`
	Phase     int     `json:"phase"`
	Admitted  bool    `json:"admitted"`
	Candidate bool    `json:"candidate"`
	Position  *uint32 `json:"position,omitempty"`
}

type goldenPosition struct {
	Salt     string `json:"salt"` // hexadecimal
	DeviceID string `json:"device_id"`
	Position uint32 `json:"position"`
}

func (g goldenCheck) check(t *testing.T) Check {
	t.Helper()
	return Check{
		AppID: g.AppID, DeviceID: g.DeviceID, CustomID: g.CustomID, Platform: PlatformNamed(g.Platform),
		VersionBuild: g.VersionBuild, Native: mustVersion(t, g.VersionBuild), VersionName: g.VersionName, RunsBuiltin: g.RunsBuiltin,
		VersionOS: g.VersionOS, VersionCode: g.VersionCode, PluginVersion: g.PluginVersion, Plugin: mustVersion(t, g.PluginVersion),
		DefaultChannel: g.DefaultChannel, KeyID: g.KeyID, InstallSource: g.InstallSource, IsEmulator: g.IsEmulator, IsProd: g.IsProd,
	}
}

func wantOf(c *Check, d Decision) goldenWant {
	w := goldenWant{
		Reason: d.Reason.String(), Code: d.Reason.Code(c.Platform), Kind: d.Kind.String(),
		Phase: d.Phase, Admitted: d.Admitted, Candidate: d.Candidate,
	}
	if d.Bundle != nil {
		w.Bundle = d.Bundle.Version
	}
	if d.Channel != nil {
		w.Channel, w.Source = d.Channel.Name, d.Source.String()
	}
	if d.Rollout != nil {
		at := Position(d.Rollout.Salt, c.DeviceID)
		w.Rollout, w.Arm, w.Position = d.Rollout.ID, d.Arm.String(), &at
	}
	return w
}

func TestGoldenDecisions(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	snapshots, references := readApps(t)
	reasons, plugins, platforms := map[string]int{}, map[string]int{}, map[string]int{}
	names := map[string]bool{}
	vectors := readVectors(t)
	for _, v := range vectors {
		s := snapshots[v.Snapshot]
		if s == nil || names[v.Name] {
			t.Fatalf("%s: unknown snapshot %q, or a name that occurs twice", v.Name, v.Snapshot)
		}
		names[v.Name] = true
		c := v.Check.check(t)
		if got := wantOf(&c, s.Resolve(&c, v.Facts)); asJSON(got) != asJSON(v.Want) {
			t.Errorf("%s:\n got %s\nwant %s", v.Name, asJSON(got), asJSON(v.Want))
		}
		if v.Facts != nil { // the slow twin agrees with what the file demands
			if want := references[v.Snapshot].decide(c, *v.Facts); verdictOf(s.Resolve(&c, v.Facts)) != want {
				t.Errorf("%s: the reference decides %+v", v.Name, want)
			}
		}
		reasons[v.Want.Reason]++
		plugins[v.Check.PluginVersion]++
		platforms[v.Check.Platform]++
	}
	if len(vectors) < 250 || len(plugins) < 15 || len(platforms) != 3 {
		t.Errorf("%d vectors, %d plugin versions, %d platforms: too few", len(vectors), len(plugins), len(platforms))
	}
	for r := NeedFacts; r < NumReasons; r++ {
		if reasons[r.String()] == 0 && r != PrivateChannel { // no check can get that one: see TestPrivateChannel
			t.Errorf("no vector comes out as %s", r)
		}
	}
	t.Logf("%d vectors: %v", len(vectors), reasons)
}

// TestGoldenFilesAreTheGenerators: what is in the files is what -update would write.
func TestGoldenFilesAreTheGenerators(t *testing.T) {
	for name, want := range goldenFiles(t) {
		got, err := os.ReadFile(filepath.Join(goldenDir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the generator (%v); run with -update and look at the difference", name, err)
		}
	}
}

func TestGoldenPositions(t *testing.T) {
	var positions []goldenPosition
	readJSON(t, "positions.json", &positions)
	if len(positions) < 50 {
		t.Errorf("only %d positions", len(positions))
	}
	for _, p := range positions {
		salt := saltOf(t, p.Salt)
		if got := Position(salt, p.DeviceID); got != p.Position || refPosition(salt, p.DeviceID) != int64(p.Position) {
			t.Errorf("%s %s: got %d, want %d", p.Salt, p.DeviceID, got, p.Position)
		}
	}
}

func readApps(t *testing.T) (map[string]*Snapshot, map[string]reference) {
	t.Helper()
	var apps []goldenApp
	readJSON(t, "snapshots.json", &apps)
	snapshots, references := map[string]*Snapshot{}, map[string]reference{}
	for _, a := range apps {
		if asJSON(NewSpec(a.State)) != asJSON(a.Spec) {
			t.Errorf("%s: the state gives another Spec than the file has", a.Name)
		}
		snapshots[a.Name], references[a.Name] = mustCompile(t, a.Spec), reference{a.State}
	}
	return snapshots, references
}

func readVectors(t *testing.T) []goldenVector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenDir, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []goldenVector
	for line := range strings.Lines(string(text)) {
		var v goldenVector
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("line %d: %v", len(vectors)+1, err)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func saltOf(t *testing.T, digits string) (salt rollout.Salt) {
	t.Helper()
	if n, err := hex.Decode(salt[:], []byte(digits)); err != nil || n != len(salt) {
		t.Fatalf("salt %q: %v", digits, err)
	}
	return salt
}

func writeGolden(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range goldenFiles(t) {
		if err := os.WriteFile(filepath.Join(goldenDir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// goldenFiles returns what the files must contain.
func goldenFiles(t *testing.T) map[string][]byte {
	t.Helper()
	g := newGolden()
	var decisions bytes.Buffer
	for i := range g.vectors {
		v := &g.vectors[i]
		app := g.apps[g.index[v.Snapshot]]
		c := v.Check.check(t)
		v.Want = wantOf(&c, mustCompile(t, app.Spec).Resolve(&c, v.Facts))
		decisions.WriteString(asJSON(v))
		decisions.WriteByte('\n')
	}
	return map[string][]byte{
		"snapshots.json": oneALine(g.apps), "positions.json": oneALine(goldenPositions()), "decisions.jsonl": decisions.Bytes(),
	}
}

// oneALine writes a JSON array with one element a line, so that differences can be read.
func oneALine[T any](list []T) []byte {
	lines := make([]string, len(list))
	for i := range list {
		lines[i] = asJSON(list[i])
	}
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}

func goldenPositions() []goldenPosition {
	var list []goldenPosition
	add := func(salt rollout.Salt, id string) {
		list = append(list, goldenPosition{hex.EncodeToString(salt[:]), id, Position(salt, id)})
	}
	x := splitMix(404)
	for range 48 {
		var salt rollout.Salt
		for i := range salt {
			salt[i] = byte(x.next())
		}
		add(salt, x.uuid())
	}
	add(rollout.Salt{}, "00000000-0000-0000-0000-000000000000")
	add(rollout.Salt{}, "")
	add(testSalt, "a")
	add(testSalt, strings.Repeat("0123456789", 4)+"01234567")  // fills 64 bytes with the salt
	add(testSalt, strings.Repeat("0123456789", 4)+"012345678") // one byte more
	add(testSalt, strings.Repeat("long ", 100))
	low, high := x.uuid(), x.uuid()
	for range 200_000 {
		id := x.uuid()
		if Position(testSalt, id) < Position(testSalt, low) {
			low = id
		}
		if Position(testSalt, id) > Position(testSalt, high) {
			high = id
		}
	}
	add(testSalt, low)
	add(testSalt, high)
	return list
}
