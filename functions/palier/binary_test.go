package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/rollout"
)

// The end-to-end tests drive the command as it is shipped, in processes of its own: built without the race detector,
// whatever the tests were built with, so that its speed is the real one.

const (
	testApp       = "com.example.shop"
	testCandidate = "1.1.0"
	// startLimit is how long a command may take to do what takes it moments, on a machine with much else to do.
	startLimit = 20 * time.Second
)

// buildDir holds the built command while the tests run.
var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "palier-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "no directory for the built command:", err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// built builds the command, at its first call, and returns its path.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "palier")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building palier: %w\n%s", err, out)
	}
	return path, nil
})

// command returns the built command with these arguments. When the test ends it is interrupted, and killed if that does
// not help.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := built()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "PALIER_TOKEN="+testToken)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = startLimit
	return cmd
}

// eventually asks done again and again until it reports true, and fails the test when that takes longer than limit.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", limit, what)
		case <-again.C:
		}
	}
}

// served is a `palier serve` in a process of its own.
type served struct {
	data    string
	address string // kept over restarts
	scale   float64
	log     *os.File
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has ended
}

// serveProcess starts a server on a free port and an empty data directory, until the test ends.
func serveProcess(t *testing.T, scale float64) *served {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	must(t, err)
	s := &served{data: filepath.Join(dir, "data"), address: "127.0.0.1:0", scale: scale, log: log}
	t.Cleanup(func() {
		<-s.exited
		if raw, err := os.ReadFile(log.Name()); err == nil && len(raw) > 0 && t.Failed() {
			t.Logf("the server's log ends:\n%s", raw[max(0, len(raw)-4000):])
		}
		_ = log.Close()
	})
	s.exited = make(chan struct{})
	close(s.exited) // nothing to wait for if the start fails
	s.start(t)
	return s
}

// start runs the server and waits for the line that says it is ready.
func (s *served) start(t *testing.T) {
	t.Helper()
	ready := &firstLine{line: make(chan string, 1)}
	s.cmd = command(t, "serve", "--data", s.data, "--listen", s.address, "--time-scale", fmt.Sprint(s.scale))
	s.cmd.Stdout, s.cmd.Stderr = ready, s.log
	must(t, s.cmd.Start())
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	select {
	case line := <-ready.line:
		at := regexp.MustCompile(`ready at http://(\S+)`).FindStringSubmatch(line)
		if at == nil {
			t.Fatalf("the ready line has no address: %q", line)
		}
		s.address = at[1]
	case <-exited:
		t.Fatalf("palier serve ended at its start: %v", cmd.ProcessState)
	case <-time.After(startLimit):
		t.Fatalf("palier serve not ready after %s", startLimit)
	}
}

// firstLine is a writer that hands on the first line written to it.
type firstLine struct {
	seen []byte
	line chan string
	done bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.done {
		return len(p), nil
	}
	f.seen = append(f.seen, p...)
	if line, _, whole := bytes.Cut(f.seen, []byte("\n")); whole {
		f.done = true
		f.line <- string(line)
	}
	return len(p), nil
}

// kill ends the server at once, as kill -9 does.
func (s *served) kill(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Kill())
	<-s.exited
}

// stop ends the server in good order.
func (s *served) stop(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Signal(os.Interrupt))
	select {
	case <-s.exited:
	case <-time.After(startLimit):
		t.Fatalf("palier serve did not stop within %s", startLimit)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("palier serve, interrupted, exits with %d", code)
	}
}

func (s *served) url() string { return "http://" + s.address }

func (s *served) operator() *connection { return &connection{server: s.url(), token: testToken} }

// healthy reports whether the server answers.
func (s *served) healthy() bool {
	res, err := http.Get(s.url() + "/healthz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// apply makes the test's app, whose channel serves baseline and which has the candidate.
func (s *served) apply(t *testing.T, baseline string) {
	t.Helper()
	bundle := func(version string) map[string]any {
		return map[string]any{"version": version, "checksum": "c0ffee", "url": "https://cdn.example.com/shop/" + version + ".zip"}
	}
	document := map[string]any{
		"app": testApp, "bundles": []any{bundle("1.0.0"), bundle(testCandidate)},
		"channels": []any{map[string]any{"name": "production", "bundle": baseline, "public": true}},
	}
	must(t, s.operator().send(t.Context(), http.MethodPut, appPath(testApp), document, nil))
}

// begin starts a rollout of the candidate; plan is a name or a plan.
func (s *served) begin(t *testing.T, plan any) admin.RolloutView {
	t.Helper()
	in := map[string]any{"channel": "production", "bundle": testCandidate, "plan": plan}
	var r admin.RolloutView
	must(t, s.operator().send(t.Context(), http.MethodPost, appPath(testApp, "rollouts"), in, &r))
	return r
}

// operate applies a verb to a rollout.
func (s *served) operate(t *testing.T, id string, verb rollout.Verb) {
	t.Helper()
	in := map[string]string{"reason": "test"}
	must(t, s.operator().send(t.Context(), http.MethodPost, appPath(testApp, "rollouts", id, string(verb)), in, nil))
}

func (s *served) rollout(t *testing.T, id string) (r admin.RolloutView) {
	t.Helper()
	must(t, s.operator().get(t.Context(), appPath(testApp, "rollouts", id), &r))
	return r
}

func (s *served) metrics(t *testing.T, id string) (m admin.MetricsView) {
	t.Helper()
	must(t, s.operator().get(t.Context(), appPath(testApp, "rollouts", id, "metrics"), &m))
	return m
}

// checks returns how many update checks the server has answered since it started.
func (s *served) checks(t *testing.T) (total int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url()+"/metrics", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+testToken)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "palier_update_checks_total{"); ok {
			_, value, _ = strings.Cut(value, "} ")
			n, err := strconv.ParseFloat(value, 64)
			must(t, err)
			total += int(n)
		}
	}
	return total
}

// audit returns the rollout's part of the audit log, oldest first.
func (s *served) audit(t *testing.T, id string) []rollout.Event {
	t.Helper()
	var events []rollout.Event
	for before := ""; ; {
		var page admin.Items[rollout.Event]
		must(t, s.operator().get(t.Context(), appPath(testApp, "events")+"?limit=500&before="+before, &page))
		for _, e := range page.Items {
			if e.Rollout == id {
				events = append(events, e)
			}
		}
		if before = page.Next; before == "" {
			slices.Reverse(events)
			return events
		}
	}
}

// load is a `palier fleet` in a process of its own.
type load struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	screen bytes.Buffer
	exited chan error
}

// fleet lets devices live against the server, with its time scale.
func (s *served) fleet(t *testing.T, devices int, args ...string) *load {
	t.Helper()
	args = append([]string{
		"fleet", testApp, "--server", s.url(), "--json",
		"--devices", strconv.Itoa(devices), "--time-scale", fmt.Sprint(s.scale),
	}, args...)
	l := &load{cmd: command(t, args...), exited: make(chan error, 1)}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.screen
	must(t, l.cmd.Start())
	go func() { l.exited <- l.cmd.Wait() }()
	return l
}

// stop ends the fleet now and returns its report.
func (l *load) stop(t *testing.T) fleet.Report {
	t.Helper()
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return l.report(t, startLimit)
}

// report waits until the fleet has ended and returns what it saw.
func (l *load) report(t *testing.T, limit time.Duration) (r fleet.Report) {
	t.Helper()
	select {
	case <-l.exited:
	case <-time.After(limit):
		t.Fatalf("the fleet still lives after %s; it last said: %s", limit, l.lastWords())
	}
	code := l.cmd.ProcessState.ExitCode()
	if err := json.Unmarshal(l.out.Bytes(), &r); err != nil {
		t.Fatalf("the fleet ended with %d and no report: %v\n%s", code, err, l.lastWords())
	}
	want := exitOK
	if r.ViolationCount() > 0 {
		want = exitNotHealthy
	}
	if code != want {
		t.Errorf("a fleet that saw %d violations exits with %d, want %d", r.ViolationCount(), code, want)
	}
	return r
}

// lastWords is the end of what the fleet showed. It must have ended or be about to fail the test.
func (l *load) lastWords() []byte {
	words := l.screen.Bytes()
	return words[max(0, len(words)-600):]
}

// onlyViolations fails the test on every violation that is of none of the kinds.
func onlyViolations(t *testing.T, r fleet.Report, kinds ...fleet.Kind) {
	t.Helper()
	for kind, n := range r.ViolationCounts {
		if !slices.Contains(kinds, kind) {
			t.Errorf("%d violations of kind %s", n, kind)
		}
	}
	if t.Failed() {
		t.Log(r)
	}
}
