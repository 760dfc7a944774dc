package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

func silent(t *testing.T) Options {
	t.Helper()
	return Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Output: new(bytes.Buffer)}
}

// Every package is pinned by version and hash, and none to a place that it comes from.
func TestPackagesArePinned(t *testing.T) {
	var wanted struct{ Dependencies map[string]string }
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	for file, into := range map[string]any{"servers/package.json": &wanted, "servers/package-lock.json": &lock} {
		data, err := embedded.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range wanted.Dependencies {
		if lock.Packages["node_modules/"+name].Version != version {
			t.Errorf("%s %s is not what the lock has", name, version)
		}
	}
	if len(lock.Packages) < 3 {
		t.Fatalf("only %d packages in the lock", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if name != "" && (!strings.HasPrefix(p.Integrity, "sha512-") || p.Resolved != "") {
			t.Errorf("%s: hash %q, from %q", name, p.Integrity, p.Resolved)
		}
	}
}

// Of many that want the same thing installed, one installs it, and all get it whole.
func TestInstallationsAtOnce(t *testing.T) {
	o := silent(t)
	if err := os.MkdirAll(filepath.Join(o.Dir, "thing.part", "rest of a killed installer"), 0o700); err != nil {
		t.Fatal(err)
	}
	var builds atomic.Int64
	build := func(_ context.Context, dir string) error {
		builds.Add(1)
		return errors.Join(
			os.WriteFile(filepath.Join(dir, "first"), nil, 0o600),
			os.WriteFile(filepath.Join(dir, "last"), nil, 0o600),
		)
	}
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			dir, err := installed(t.Context(), o, "thing", build)
			if err != nil {
				return err
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
				return fmt.Errorf("half an installation: %v, %w", entries, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("installed %d times", n)
	}
}

func TestFailedInstallationLeavesNothing(t *testing.T) {
	o := silent(t)
	failure := errors.New("no network")
	for range 2 {
		_, err := installed(t.Context(), o, "thing", func(_ context.Context, dir string) error {
			return errors.Join(failure, os.WriteFile(filepath.Join(dir, "half"), nil, 0o600))
		})
		if !errors.Is(err, failure) {
			t.Errorf("error %v", err)
		}
		if exists(filepath.Join(o.Dir, "thing")) || exists(filepath.Join(o.Dir, "thing.part")) {
			t.Error("a failed installation is still there")
		}
	}
}

func TestFailedStartSaysWhatTheServerSaid(t *testing.T) {
	_, err := start(t.Context(), silent(t), launch{name: "X", command: exec.Command("sh", "-c", "echo disk is full >&2; exit 3")})
	if err == nil || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), "start X") {
		t.Errorf("error %v", err)
	}
	if _, err := start(t.Context(), silent(t), launch{name: "X", command: exec.Command("/nowhere/x")}); err == nil {
		t.Error("a program that is not there was started")
	}
}

// serverVariable makes the test binary a server on the address that it holds.
const serverVariable = "PALIER_TEST_SERVER"

func TestAnotherPortIsTriedWhenOneWasTaken(t *testing.T) {
	if address := os.Getenv(serverVariable); address != "" {
		t.Fatal(http.ListenAndServe(address, http.NotFoundHandler()))
	}
	attempts := 0
	s, err := startOnFreePort(t.Context(), silent(t), func(address string) launch {
		attempts++
		command := exec.Command("sh", "-c", "echo address already in use; exit 1")
		if attempts == 3 {
			command = exec.Command(os.Args[0], "-test.run=^TestAnotherPortIsTriedWhenOneWasTaken$")
			command.Env = environment(serverVariable + "=" + address)
		}
		return launch{name: "X", command: command, url: "http://" + address, answers: answersHTTP}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !errors.Is(answersHTTP(t.Context(), s.URL), syscall.ECONNREFUSED) {
		t.Error("a closed server answers")
	}
	if attempts != 3 {
		t.Errorf("%d attempts, want 3", attempts)
	}
	_, err = startOnFreePort(t.Context(), silent(t), func(address string) launch {
		return launch{name: "X", command: exec.Command("false"), url: "http://" + address, answers: answersHTTP}
	})
	if !errors.Is(err, errPortTaken) {
		t.Errorf("a server that never starts: %v", err)
	}
}

func answersHTTP(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func TestOutput(t *testing.T) {
	var all bytes.Buffer
	o := newOutput(&all)
	said := "one\npalier: listening on port 4711\n" + strings.Repeat("x", 3*keptLineSize) + "\n\nlast"
	for i := range len(said) { // in the smallest pieces
		if n, err := o.Write([]byte{said[i]}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if all.String() != said {
		t.Error("not everything was passed on")
	}
	if port := <-o.announced; port != "4711" {
		t.Errorf("port %q", port)
	}
	if got, want := o.quoted(), "; it printed:\n\tone\n\t"+strings.Repeat("x", keptLineSize)+"\n\tlast"; got != want {
		t.Errorf("quoted %q", got)
	}
	for i := range 100 {
		fmt.Fprintf(o, "line %d\n", i)
	}
	if got := o.quoted(); strings.Count(got, "\n") != keptLines || !strings.Contains(got, "line 80") || strings.Contains(got, "line 79") {
		t.Errorf("quoted %q", got)
	}
}
