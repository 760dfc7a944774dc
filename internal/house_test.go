// Package internal_test keeps the house in order: who may import whom, and what the pure rooms may not touch.
package internal_test

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/palier-ota/palier/"

// floors lists the rooms from the ground up. A room may import rooms of lower floors, and those of its own floor that
// beside names.
var floors = [][]string{
	{"internal/rollout", "internal/sqlitefile", "internal/clock", "internal/jsontext", "internal/browser", "internal/source"},
	{"internal/judge", "internal/resolve", "internal/seal"},
	{"internal/telemetry", "internal/capgo", "internal/apigateway", "internal/forecast"},
	{"internal/store", "internal/stream", "internal/blob", "internal/edge"},
	{"internal/cloud"},
	{"internal/promote", "internal/device", "internal/aggregate", "internal/deadletter"},
	{"internal/console", "internal/admin", "internal/relay"},
	{"functions"},
}

// outside lists rooms that stand beside the house: they speak to it over the wire only, or serve tests only.
var outside = []string{"internal/fleet", "internal/cloudlocal", "internal/edgehost", "internal/bundle", "internal/cost", "internal/validation"}

var pure = []string{"rollout", "resolve", "capgo", "judge", "telemetry", "jsontext", "seal", "edge", "forecast", "source", "telemetry/sketch"}

func TestImportsPointDownwards(t *testing.T) {
	out := goList(t, "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...")
	rooms := 0
	for line := range strings.Lines(out) {
		from, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		room, floor := place(t, from)
		if floor < 0 {
			continue
		}
		rooms++
		for _, to := range strings.Fields(imports) {
			if !strings.HasPrefix(to, module) {
				continue
			}
			other, below := place(t, to)
			if other != room && below >= floor {
				t.Errorf("%s imports %s, which is not on a lower floor", from, to)
			}
		}
	}
	if rooms < 10 {
		t.Fatalf("only %d rooms found: the check saw too little to mean anything", rooms)
	}
}

// place returns the room a package belongs to and its floor; -1 for rooms that stand outside.
func place(t *testing.T, pkg string) (room string, floor int) {
	t.Helper()
	path := strings.TrimPrefix(pkg, module)
	in := func(room string) bool { return path == room || strings.HasPrefix(path, room+"/") }
	for n, rooms := range floors {
		for _, r := range rooms {
			if in(r) {
				return r, n
			}
		}
	}
	for _, r := range outside {
		if in(r) {
			return r, -1
		}
	}
	if path == "internal" {
		return path, -1
	}
	t.Errorf("%s has no room in the house: name its floor here and in the design", pkg)
	return path, -1
}

func TestPureRoomsTouchNothingOutside(t *testing.T) {
	for _, room := range pure {
		for dep := range strings.FieldsSeq(goList(t, "-deps", module+"internal/"+room)) {
			if dep == "net/http" || strings.HasPrefix(dep, "github.com/aws/") || strings.HasPrefix(dep, "database/sql") || strings.HasPrefix(dep, "modernc.org/") {
				t.Errorf("internal/%s depends on %s", room, dep)
			}
		}
	}
}

func TestPureRoomsBuildForWebAssembly(t *testing.T) {
	for _, room := range pure {
		cmd := exec.Command("go", "build", module+"internal/"+room)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("internal/%s for wasip1/wasm: %v\n%s", room, err, out)
		}
	}
}

// topLevel is what the repository holds beside dot-files, as the design names it.
var topLevel = []string{
	"functions", "internal", "infra", "testdata", "go.mod", "go.sum", "template.yaml", "Makefile", "README.md", "LICENSE",
	"SECURITY.md", "BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md",
}

// later lists what of topLevel is still to be written.
var later = []string{"CHANGELOG.md", "CONTRIBUTING.md"}

func TestTopLevelIsAsDesigned(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	ignored := strings.Fields(string(text))
	var found []string
	for _, e := range entries {
		name := e.Name()
		found = append(found, name)
		matches := func(pattern string) bool {
			ok, err := path.Match(strings.Trim(pattern, "/"), name)
			return err == nil && ok
		}
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.ContainsFunc(ignored, matches) {
			t.Errorf("%s has no place at the top level", name)
		}
	}
	for _, name := range topLevel {
		if !slices.Contains(found, name) && !slices.Contains(later, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return string(out)
}
