package template

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// TestWalkPrograms holds the template against the programs themselves, built as they are deployed.
func TestWalkPrograms(t *testing.T) {
	tmpl := ours(t, Options{})
	folder := buildPrograms(t, tmpl)
	t.Run("environment", func(t *testing.T) { checkEnvironments(t, tmpl, folder) })
	t.Run("routes", func(t *testing.T) { checkRoutes(t, tmpl, folder) })
}

// buildPrograms builds every function for this machine and returns the folder with one file each.
func buildPrograms(t *testing.T, tmpl *Template) string {
	t.Helper()
	folder := t.TempDir()
	args := []string{"build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", folder + string(filepath.Separator)}
	for _, f := range tmpl.Functions {
		args = append(args, "./functions/"+f.Program)
	}
	build := exec.CommandContext(t.Context(), "go", args...)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return folder
}

var (
	palierVariable = regexp.MustCompile(`"(PALIER_[A-Z0-9_]+)"`)
	refused        = regexp.MustCompile(`environment variable (\w+):`)
)

// checkEnvironments asks each program which variables it reads: those it misses when there are none, and those it refuses
// when all hold nonsense. PALIER_CLOCK is for the local run and not in the template.
func checkEnvironments(t *testing.T, tmpl *Template, folder string) {
	const clock = "PALIER_CLOCK"
	known := inSource(t, palierVariable, "internal/cloud/*.go")
	var nonsense []string
	for _, name := range known {
		nonsense = append(nonsense, name+"=?")
	}
	seen := map[string]bool{}
	for _, f := range tmpl.Functions {
		program := filepath.Join(folder, f.Program)
		read := complaints(t, program, clock+"=?")
		maps.Copy(read, complaints(t, program, nonsense...))
		maps.Copy(seen, read)
		delete(read, clock)
		want, got := slices.Sorted(maps.Keys(read)), slices.Sorted(maps.Keys(f.Environment))
		if !slices.Equal(got, want) {
			t.Errorf("%s is given %v and reads %v", f.ID, got, want)
		}
	}
	for _, name := range known {
		if !seen[name] {
			t.Errorf("%s: no function could be seen to read it; a variable is to be refused when it holds nonsense", name)
		}
	}
}

// complaints runs a program that cannot start and returns which of Palier's variables it complains of.
func complaints(t *testing.T, program string, env ...string) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	run := exec.CommandContext(ctx, program)
	run.Env = env
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%s with %v: %v\n%s", filepath.Base(program), env, err, out)
	}
	found := map[string]bool{}
	for _, m := range refused.FindAllSubmatch(out, -1) {
		if name := string(m[1]); strings.HasPrefix(name, "PALIER_") {
			found[name] = true
		}
	}
	return found
}

// checkRoutes asks every route of the API something that its function answers without a table, so that a route to the wrong
// function, or one that the function does not serve, shows as "not found".
func checkRoutes(t *testing.T, tmpl *Template, folder string) {
	probes := map[string]struct { // by the route's path
		method, path string
		status       int
	}{
		"/updates":               {http.MethodGet, "", http.StatusOK},
		"/updates/manifest_size": {http.MethodGet, "", http.StatusMethodNotAllowed},
		"/channel_self":          {http.MethodPatch, "", http.StatusMethodNotAllowed},
		"/healthz":               {http.MethodGet, "", http.StatusOK},
		"/stats":                 {http.MethodGet, "", http.StatusOK},
		"/telemetry":             {http.MethodOptions, "", http.StatusOK},
		"/palier.js":             {http.MethodGet, "", http.StatusOK},
		"/snapshots/{app}":       {http.MethodGet, "/snapshots/com.example.shop", http.StatusUnauthorized},
		"/relay":                 {http.MethodGet, "", http.StatusMethodNotAllowed},
		"/api/v1/{proxy+}":       {http.MethodGet, "/api/v1/openapi.json", http.StatusOK},
		"$default":               {http.MethodGet, "/no/such/path", http.StatusNotFound},
	}
	api := startAPI(t, tmpl, folder)
	routed := map[string]bool{}
	for _, f := range tmpl.Functions {
		for _, r := range f.Routes {
			routed[r.Path] = true
			probe, ok := probes[r.Path]
			if !ok {
				t.Errorf("%s: nobody knows what %s should answer", f.ID, r.Path)
				continue
			}
			if probe.path == "" {
				probe.path = r.Path
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, httptest.NewRequest(probe.method, probe.path, nil))
			if w.Code != probe.status {
				t.Errorf("%s: %s %s is answered %d, want %d: %s", f.ID, probe.method, probe.path, w.Code, probe.status, w.Body)
			}
			if r.Path == "$default" && w.Body.String() != capgo.NotFoundBody {
				t.Errorf("what nobody serves is answered %s, want Palier's own words", w.Body)
			}
			if origin := w.Header().Get("Access-Control-Allow-Origin"); (origin == "*") != (r.Path == "/telemetry" || r.Path == "/palier.js") {
				t.Errorf("%s lets pages of origin %q in", r.Path, origin)
			}
		}
	}
	for _, path := range devicePaths(t) {
		if !routed[path] {
			t.Errorf("internal/device serves %s, and no route leads there", path)
		}
	}
}

// startAPI runs the functions that have routes behind an HTTP API. Their engines are out of reach.
func startAPI(t *testing.T, tmpl *Template, folder string) http.Handler {
	t.Helper()
	var log bytes.Buffer
	silent := slog.New(slog.DiscardHandler)
	var routes []gateway.Route
	for _, f := range tmpl.Functions {
		if len(f.Routes) == 0 {
			continue
		}
		env := maps.Clone(f.Environment)
		maps.Copy(env, map[string]string{
			"AWS_REGION": Region, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
			"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_KINESIS": "http://127.0.0.1:1",
			"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
		})
		pool, err := runtimeapi.Start(runtimeapi.Function{
			Name: f.Name, Bootstrap: filepath.Join(folder, f.Program), Env: env, Timeout: f.Timeout, MemoryMB: f.MemoryMB, Log: silent,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
		})
		invoke := func(ctx context.Context, event []byte) ([]byte, string, error) {
			result, err := pool.Invoke(ctx, event)
			return result.Payload, result.FunctionError, err
		}
		for _, r := range f.Routes {
			routes = append(routes, gateway.Route{Method: r.Method, Path: r.Path, Invoke: invoke})
		}
	}
	api, err := gateway.New(routes, gateway.Options{Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return api
}

// devicePaths returns the values of the constants PathX of internal/device.
func devicePaths(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "internal", "device", "respond.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Path") {
			return true
		}
		path, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
		return true
	})
	if len(paths) < 6 {
		t.Fatalf("only %v found: internal/device has more paths", paths)
	}
	return paths
}
