package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
)

// shell runs commands against one server, as a user does.
type shell struct {
	t      *testing.T
	server *server
}

// result is what a command did.
type result struct {
	code        int
	out, errOut string
}

func (s shell) run(stdin string, args ...string) result {
	s.t.Helper()
	var out, errOut bytes.Buffer
	args = append(args, "--server", s.server.url(), "--token", testToken)
	code := run(context.Background(), args, strings.NewReader(stdin), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// ok runs a command that must succeed and say all of the words.
func (s shell) ok(stdin string, args []string, words ...string) string {
	s.t.Helper()
	r := s.run(stdin, args...)
	if r.code != exitOK {
		s.t.Fatalf("palier %s: exit %d: %s", strings.Join(args, " "), r.code, r.errOut)
	}
	for _, w := range words {
		if !strings.Contains(r.out, w) {
			s.t.Errorf("palier %s: %q is missing in\n%s", strings.Join(args, " "), w, r.out)
		}
	}
	return r.out
}

// refused runs a command that must fail with the code and say the word.
func (s shell) refused(code int, word, stdin string, args ...string) {
	s.t.Helper()
	r := s.run(stdin, args...)
	if r.code != code || !strings.Contains(r.errOut, word) {
		s.t.Errorf("palier %s: exit %d, said %q; want exit %d and %q", strings.Join(args, " "), r.code, r.errOut, code, word)
	}
}

const shopDocument = `app: com.example.shop
bundles:
  - {version: 1.0.0, url: "https://cdn.example.com/1.0.0.zip", checksum: aa}
  - {version: 1.1.0, url: "https://cdn.example.com/1.1.0.zip", checksum: bb}
channels:
  - {name: production, bundle: 1.0.0, public: true}
`

const shop = "com.example.shop"

func newShell(t *testing.T) shell {
	t.Helper()
	s := shell{t, startServer(t, 1)}
	s.ok(shopDocument, []string{"apply", "-f", "-"}, "+ app com.example.shop", "+ channel production", "revision 1")
	return s
}

func TestApplyAndExport(t *testing.T) {
	s := newShell(t)
	s.ok(shopDocument, []string{"apply", "-f", "-"}, "already as the document says")
	s.ok("app: com.example.shop\nname: Shop\n", []string{"apply", "-f", "-", "--dry-run"}, "~ app", "dry run")
	document := s.ok("", []string{"export", shop}, "app: com.example.shop", "version: 1.1.0")
	s.ok(document, []string{"apply", "-f", "-"}, "already as the document says")
	var exported map[string]any
	must(t, json.Unmarshal([]byte(s.ok("", []string{"export", shop, "--json"})), &exported))
	s.ok("", []string{"app", "list"}, shop)

	s.refused(exitRefused, "unknown_bundle", "app: com.example.shop\nchannels: [{name: beta, bundle: 9.9.9}]\n", "apply", "-f", "-")
	s.refused(exitRefused, "chanels", "app: com.example.shop\nchanels: []\n", "apply", "-f", "-")
	s.refused(exitFailed, "no such file", "", "apply", "-f", "missing.yaml")
	s.refused(exitFailed, `has no "app"`, "name: x\n", "apply", "-f", "-")
	s.refused(exitUsage, "wants a document", "", "apply")
	s.refused(exitRefused, "not_found", "", "export", "com.example.none")
}

func TestRolloutCommands(t *testing.T) {
	s := newShell(t)
	s.refused(exitUsage, "has no rollout yet", "", "rollout", "status", shop)
	plan := filepath.Join(t.TempDir(), "careful.yaml")
	must(t, os.WriteFile(plan, []byte("phases:\n  - {percent: 5, hold: {min: 1h}}\n  - {percent: 100, hold: {min: 1h}}\n"), 0o600))
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", plan}, "running, phase 1 of 2 (5 %)")
	s.refused(exitRefused, "live_rollout_exists", "", "rollout", "start", shop, "--bundle", "1.1.0")
	s.ok("", []string{"rollout", "list", shop}, "1.1.0", "running", "1/2")
	s.ok("", []string{"rollout", "status", shop}, "crash", "boot_failure", "verdict: wait")
	var metrics admin.MetricsView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"rollout", "status", shop, "--json"})), &metrics))
	if metrics.Rollout.Bundle != "1.1.0" || len(metrics.Verdict.Metrics) == 0 {
		t.Errorf("metrics %+v", metrics)
	}
	s.ok("", []string{"rollout", "pause", shop, "--reason", "tickets"}, "is paused")
	s.refused(exitRefused, "paused", "", "rollout", "promote", shop)
	s.ok("", []string{"rollout", "resume", shop}, "is running")
	s.ok("", []string{"rollout", "promote", shop}, "phase 2 of 2 (100 %)")
	s.refused(exitRefused, "approval_not_needed", "", "rollout", "approve", shop)
	s.ok("", []string{"rollout", "rollback", shop, "--reason", "broken"}, "rolled back")
	if r := s.run("", "rollout", "watch", shop); r.code != exitNotHealthy || !strings.Contains(r.out, "rolled back") {
		t.Errorf("watching a rollout that was rolled back: exit %d: %s", r.code, r.out)
	}
	s.refused(exitRefused, "rollout_ended", "", "rollout", "resume", shop)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant", "--at", time.Now().Add(time.Hour).Format(time.RFC3339)}, "scheduled")
	s.refused(exitUsage, "--at", "", "rollout", "start", shop, "--bundle", "1.1.0", "--at", "tomorrow")
}

func TestExplainCommand(t *testing.T) {
	s := newShell(t)
	device := "00009a6b-eefe-490a-9c60-8e965132ae51"
	s.ok("", []string{"explain", shop, device, "--platform", "ios", "--version-name", "0.9.0", "--version-build", "1.0.0"},
		"1.0.0", "channel", "production")
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant"})
	s.ok("", []string{"explain", shop, device, "--version-name", "1.0.0", "--version-build", "1.0.0"}, "1.1.0", "position", "phase")
	s.refused(exitRefused, "device_id", "", "explain", shop, "not-a-device")
}

func TestTokenCommands(t *testing.T) {
	s := newShell(t)
	var made admin.NewTokenView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"token", "create", "ci", "--role", "viewer", "--ttl", "90d", "--json"})), &made))
	s.ok("", []string{"token", "list"}, "ci", "viewer")
	viewer := s.server.operator()
	viewer.token = made.Token
	must(t, viewer.get(t.Context(), appPath(shop), nil))
	if err := viewer.send(t.Context(), "PUT", appPath(shop), map[string]any{"app": shop}, nil); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("a viewer could apply: %v", err)
	}
	s.ok("", []string{"token", "revoke", "ci"}, "no longer works")
	if err := viewer.get(t.Context(), appPath(shop), nil); err == nil || !strings.Contains(err.Error(), "invalid_token") {
		t.Errorf("a revoked token works: %v", err)
	}
	s.refused(exitRefused, "role", "", "token", "create", "x", "--role", "king")
	s.refused(exitUsage, "--ttl", "", "token", "create", "x", "--ttl", "soon")
}

func TestExitCodes(t *testing.T) {
	var out, errOut bytes.Buffer
	codes := map[int][]string{
		exitOK:          {"--help"},
		exitUsage:       {"export"},
		exitUnreachable: {"app", "list", "--server", "http://127.0.0.1:1", "--token", testToken},
		exitFailed:      {"app", "list", "--data", t.TempDir()},
	}
	t.Setenv("PALIER_TOKEN", "")
	for want, args := range codes {
		if got := run(context.Background(), args, strings.NewReader(""), &out, &errOut); got != want {
			t.Errorf("palier %v: exit %d, want %d", args, got, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := run(context.Background(), []string{"completion", shell}, strings.NewReader(""), &out, &errOut); got != exitOK {
			t.Errorf("completion %s: exit %d", shell, got)
		}
	}
	if got := run(context.Background(), []string{"frobnicate"}, strings.NewReader(""), &out, &errOut); got != exitUsage {
		t.Errorf("an unknown command: exit %d, want %d", got, exitUsage)
	}
}

// TestEveryCommandHasHelp demands a sentence and an example of every command that does something.
func TestEveryCommandHasHelp(t *testing.T) {
	root := newRoot()
	checked := 0
	for _, cmd := range root.Commands() {
		for _, c := range append(cmd.Commands(), cmd) {
			if !c.Runnable() || c.Name() == "help" || strings.HasPrefix(c.CommandPath(), "palier completion") {
				continue
			}
			checked++
			if c.Short == "" || c.Example == "" {
				t.Errorf("%s has no description or no example", c.CommandPath())
			}
		}
	}
	if checked < 18 {
		t.Errorf("only %d commands were found", checked)
	}
}

func TestClockGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	first, err := newClock(dir, 100_000)
	must(t, err)
	deadline := first.Now().Add(24 * time.Hour)
	for first.Now().Before(deadline) { // under a second
		time.Sleep(time.Millisecond)
	}
	last := first.Now()
	second, err := newClock(dir, 1)
	must(t, err)
	if second.Now().Before(last) {
		t.Errorf("after a restart in real time the clock says %s, it was %s", second.Now(), last)
	}
	if _, err := newClock(dir, 0.5); err == nil {
		t.Error("a clock slower than real time was accepted")
	}
	must(t, os.WriteFile(filepath.Join(dir, "clock.json"), []byte("{"), 0o600))
	if _, err := newClock(dir, 1); err == nil {
		t.Error("a damaged clock file was accepted")
	}
}

// TestServerKeepsItsTokenAndState restarts a server on the same data.
func TestServerKeepsItsTokenAndState(t *testing.T) {
	dir := t.TempDir()
	var secret string
	for round := range 2 {
		s := startServerIn(t, dir, 1, "")
		raw, err := os.ReadFile(s.tokenPath())
		must(t, err)
		info, err := os.Stat(s.tokenPath())
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the token's file has mode %v", info.Mode().Perm())
		}
		c := &connection{server: s.url(), data: dir}
		if round == 0 {
			secret = string(raw)
			must(t, c.call(t.Context(), "PUT", appPath(shop), "application/yaml", []byte(shopDocument), nil))
		} else if string(raw) != secret {
			t.Error("a restart made another token")
		}
		must(t, c.get(t.Context(), appPath(shop), nil))
		status, _, body := request(t, "GET", s.url()+"/metrics", nil)
		if status != 401 {
			t.Errorf("metrics without a token: %d %s", status, body)
		}
		s.stop(t)
	}
}
