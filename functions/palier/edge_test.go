package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/rollout"
)

// edged is a `palier edge` in a process of its own, for a server in another one.
type edged struct {
	origin  *served
	token   string // of the role edge
	key     string // with which the server signs
	spool   string
	address string // kept over restarts
	log     *os.File
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has ended
}

// edgeProcess starts an edge with a spool, until the test ends.
func edgeProcess(t *testing.T, origin *served) *edged {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "edge.log"))
	must(t, err)
	e := &edged{origin: origin, spool: filepath.Join(dir, "spool"), address: "127.0.0.1:0", log: log, exited: make(chan struct{})}
	close(e.exited) // nothing to wait for if the start fails
	t.Cleanup(func() {
		<-e.exited
		if raw, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the edge's log ends:\n%s", raw[max(0, len(raw)-4000):])
		}
		_ = log.Close()
	})
	var token admin.NewTokenView
	must(t, origin.operator().send(t.Context(), http.MethodPost, "/tokens", map[string]any{"name": "edge", "role": "edge"}, &token))
	var keys admin.KeysView
	must(t, origin.operator().get(t.Context(), "/keys", &keys))
	e.token, e.key = token.Token, keys.Current.Key
	e.start(t)
	return e
}

// start runs the edge and waits for the line that says it is ready.
func (e *edged) start(t *testing.T) {
	t.Helper()
	args := []string{"edge", "--origin", e.origin.url(), "--apps", testApp, "--key", e.key, "--listen", e.address, "--spool", e.spool, "--poll", "500ms"}
	ready := &firstLine{line: make(chan string, 1)}
	e.cmd = command(t, append(args, builtModule()...)...)
	e.cmd.Env = append(e.cmd.Env, "PALIER_EDGE_TOKEN="+e.token)
	e.cmd.Stdout, e.cmd.Stderr = ready, e.log
	must(t, e.cmd.Start())
	cmd, exited := e.cmd, make(chan struct{})
	e.exited = exited
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
		e.address = at[1]
	case <-exited:
		t.Fatalf("palier edge ended at its start: %v", cmd.ProcessState)
	case <-time.After(startLimit):
		t.Fatalf("palier edge not ready after %s", startLimit)
	}
}

// builtModule lets the edge run another build of the module than the one in the command, if $PALIER_EDGE_MODULE names one.
func builtModule() []string {
	if named := os.Getenv("PALIER_EDGE_MODULE"); named != "" {
		return []string{"--module", named}
	}
	return nil
}

// kill ends the edge at once, as kill -9 does.
func (e *edged) kill(t *testing.T) {
	t.Helper()
	must(t, e.cmd.Process.Kill())
	<-e.exited
}

// stop ends the edge in good order.
func (e *edged) stop(t *testing.T) {
	t.Helper()
	must(t, e.cmd.Process.Signal(os.Interrupt))
	select {
	case <-e.exited:
	case <-time.After(startLimit):
		t.Fatalf("palier edge did not stop within %s", startLimit)
	}
	if code := e.cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("palier edge, interrupted, exits with %d", code)
	}
}

func (e *edged) url() string { return "http://" + e.address }

// status asks how the edge does.
func (e *edged) status(t *testing.T) (s edgehost.Status) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url()+"/edge/status", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+e.token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status: %s", res.Status)
	}
	must(t, json.NewDecoder(res.Body).Decode(&s))
	return s
}

// A whole fleet lives behind an edge. The origin goes away and the edge is killed, twice, with a spool full of what it has
// acknowledged. Afterwards all of that is at the origin, and is counted exactly once.
func TestEdgeKillNine(t *testing.T) {
	s := serveProcess(t, 600)
	s.apply(t, rollout.Builtin)
	id := s.begin(t, manyShortPhases()).ID
	e := edgeProcess(t, s)
	acks := filepath.Join(t.TempDir(), "acknowledged.jsonl")
	load := e.fleet(t, 1500, "--check-every", "30m", "--duplicate", "0.02", "--ack-log", acks,
		"--behaviour", "baseline:crash=0.05", "--behaviour", testCandidate+":crash=0.05,boot_fail=0.2")
	more := func(what string) {
		t.Helper()
		size := fileSize(acks) + 30_000
		eventually(t, time.Minute, "more is acknowledged "+what, func() bool { return fileSize(acks) > size })
	}
	more("with the origin")
	s.kill(t)
	more("without the origin")
	e.kill(t)
	e.start(t)
	more("after the first kill")
	full := e.status(t)
	e.kill(t)
	e.start(t)
	s.start(t)
	more("with the origin again")
	report := load.stop(t)
	eventually(t, time.Minute, "the spool is handed over", func() bool { return e.status(t).Queue.Requests == 0 })
	last := e.status(t)
	e.stop(t)
	onlyViolations(t, report)
	s.stop(t)

	log := openLog(t, s.data)
	found := readLog(t, log)
	acknowledged := checkAcknowledged(t, acks, found)
	rows := checkRefold(t, log, s.data, id)
	t.Logf("%d events acknowledged, %d on the log, %d rows of tallies; %d requests in the spool when it was killed", acknowledged, found.events, rows, full.Queue.Requests)
	t.Logf("%d requests (%d failed); since its last start the edge has counted %v", report.Requests, report.ErrorCount(), last.Counts)
	if full.Queue.Requests == 0 || full.Counts["answered"] == 0 || last.Counts["batches"] == 0 || report.ErrorCount() == 0 {
		t.Errorf("the spool was empty, or nothing was answered or handed over, or nothing was killed: %+v", full)
	}
}

// fleet lets devices live behind the edge.
func (e *edged) fleet(t *testing.T, devices int, args ...string) *load {
	t.Helper()
	behind := *e.origin
	behind.address = e.address
	return behind.fleet(t, devices, args...)
}

// Who makes a mistake is told what it is and what to do, before anything listens.
func TestEdgeRefusesNonsense(t *testing.T) {
	for _, c := range []struct {
		name, flag, value string
		says              []string
	}{
		{"no token", "token", "", []string{"PALIER_EDGE_TOKEN", "palier token create"}},
		{"no origin", "--origin", "", []string{"origin", "https://"}},
		{"an origin with a password", "--origin", "https://me:secret@example.com", []string{"user"}},
		{"no app", "--apps", "", []string{"0 apps"}},
		{"an odd app", "--apps", "shop/../../x.y", []string{"no app's id"}},
		{"no key", "--key", "", []string{"palier keys"}},
		{"half a key", "--key", "AAAA", []string{"44 characters"}},
		{"an odd poll", "--poll", "1ms", []string{"poll", "100ms"}},
		{"an odd address", "--listen", "nowhere", []string{"--listen"}},
		{"no file", "--module", "/nowhere/edge.wasm", []string{"module", "no such file"}},
	} {
		settings := map[string]string{
			"token": "t", "--origin": "http://127.0.0.1:1", "--apps": testApp, "--key": strings.Repeat("A", 43) + "=", "--listen": "127.0.0.1:0",
		}
		settings[c.flag] = c.value
		args := append([]string{"edge"}, builtModule()...)
		for name, value := range settings {
			if name != "token" {
				args = append(args, name+"="+value)
			}
		}
		cmd := command(t, args...)
		cmd.Env = append(cmd.Env, "PALIER_EDGE_TOKEN="+settings["token"])
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		want := exitUsage
		if c.flag == "--module" {
			want = exitFailed
		}
		if !errors.As(err, &exit) || exit.ExitCode() != want {
			t.Errorf("%s: %v, want exit code %d", c.name, err, want)
		}
		for _, word := range c.says {
			if !bytes.Contains(out, []byte(word)) {
				t.Errorf("%s: it does not say %q:\n%s", c.name, word, out)
			}
		}
		if bytes.Contains(out, []byte("secret")) {
			t.Errorf("%s: it repeats a secret:\n%s", c.name, out)
		}
	}
}
