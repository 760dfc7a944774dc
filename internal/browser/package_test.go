package browser_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
)

var update = flag.Bool("update", false, "write "+servedFile+" anew")

// tool returns a program of testdata/tools, which npm installs once on a machine.
func tool(t *testing.T, name string) string {
	t.Helper()
	dir, err := component.Packages(t.Context(), component.Options{}, "browser", os.DirFS("testdata/tools"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "node_modules", ".bin", name)
}

// output runs a program and returns what it prints.
func output(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(program), err, &out, &complaints)
	}
	return out.Bytes()
}

// TestServedIsWhatTheSourceGives also makes it so, with -update: `make client`.
func TestServedIsWhatTheSourceGives(t *testing.T) {
	built := output(t, tool(t, "esbuild"), "palier.mjs", "--bundle", "--minify", "--format=esm", "--target=es2020", "--log-level=warning")
	if *update {
		if err := os.WriteFile(servedFile, built, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(built) != read(t, servedFile) {
		t.Errorf("%s is not what palier.mjs gives: run `make client` and commit it", servedFile)
	}
}

// maxCompressed is what a page may be asked to load, in bytes.
const maxCompressed = 3000

func TestServedIsSmall(t *testing.T) {
	zipped := ask("GET", "Accept-Encoding", "gzip").Body.Len()
	const measure = `process.stdout.write(String(require('zlib').brotliCompressSync(require('fs').readFileSync(process.argv[1])).length))`
	brotli, err := strconv.Atoi(string(output(t, "node", "-e", measure, servedFile)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d in gzip, %d in brotli", len(read(t, servedFile)), zipped, brotli)
	if zipped > maxCompressed || brotli > maxCompressed {
		t.Errorf("%d bytes in gzip, %d in brotli: at most %d", zipped, brotli, maxCompressed)
	}
}

func TestTypes(t *testing.T) {
	output(t, tool(t, "tsc"), "-p", "testdata/types")
}

// TestPackage shows what `npm pack` would pack: what an app needs, and none of Palier's own.
func TestPackage(t *testing.T) {
	var packed []struct {
		Name  string
		Files []struct{ Path string }
	}
	if err := json.Unmarshal(output(t, "npm", "pack", "--dry-run", "--json", "--ignore-scripts"), &packed); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range packed[0].Files {
		files = append(files, f.Path)
	}
	if want := []string{"LICENSE", "README.md", "package.json", "palier.d.ts", "palier.mjs"}; !slices.Equal(files, want) {
		t.Errorf("%s has %q, want %q", packed[0].Name, files, want)
	}
	if read(t, "LICENSE") != read(t, "../../LICENSE") {
		t.Error("LICENSE is not the repository's")
	}
}

// TestPackageExports imports the package by its name, as a bundler finds it.
func TestPackageExports(t *testing.T) {
	const use = `import('@palier-ota/client').then(({start, ...rest}) => console.log(typeof start, Object.keys(rest).length))`
	if got := strings.TrimSpace(string(output(t, "node", "-e", use))); got != "function 0" {
		t.Errorf("the package exports %s", got)
	}
}
