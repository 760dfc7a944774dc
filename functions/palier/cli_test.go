package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
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
	s.refused(exitUsage, "palier apply -f shop.yaml", "", "apply", "shop.yaml")
	s.refused(exitRefused, "not_found", "", "export", "com.example.none")
}

func TestRolloutCommands(t *testing.T) {
	s := newShell(t)
	s.refused(exitFailed, "palier rollout start "+shop, "", "rollout", "status", shop)
	s.refused(exitFailed, "has no rollout yet", "", "rollout", "watch", shop)
	plan := filepath.Join(t.TempDir(), "careful.yaml")
	must(t, os.WriteFile(plan, []byte("phases:\n  - {percent: 5, hold: {min: 1h}}\n  - {percent: 100, hold: {min: 1h}}\n"), 0o600))
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", plan}, "running, phase 1 of 2 (5 %)")
	s.refused(exitRefused, "live_rollout_exists", "", "rollout", "start", shop, "--bundle", "1.1.0")
	s.ok("", []string{"rollout", "list", shop}, "1.1.0", "running", "1/2")
	s.ok("", []string{"rollout", "status", shop}, "verdict: wait", "at least 1h, no limit", "not reported yet: crash, anr, boot_failure")
	var metrics admin.MetricsView
	must(t, json.Unmarshal([]byte(s.ok("", []string{"rollout", "status", shop, "--json"})), &metrics))
	if metrics.Rollout.Bundle != "1.1.0" || len(metrics.Verdict.Metrics) == 0 {
		t.Errorf("metrics %+v", metrics)
	}
	s.ok("", []string{"rollout", "pause", shop, "1.1.0", "--reason", "tickets"}, "is paused")
	s.ok("", []string{"rollout", "status", shop, metrics.Rollout.ID[:12]}, "last change: pause by admin-", " ago: tickets")
	s.refused(exitFailed, "palier rollout list "+shop, "", "rollout", "status", shop, "9.9.9")
	s.refused(exitRefused, "paused", "", "rollout", "promote", shop)
	s.ok("", []string{"rollout", "resume", shop}, "is running")
	s.ok("", []string{"rollout", "promote", shop}, "phase 2 of 2 (everyone)")
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

// TestStartWarnsOfAStoppedBundle and of nothing else.
func TestStartWarnsOfAStoppedBundle(t *testing.T) {
	s := newShell(t)
	start := []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant"}
	if r := s.run("", start...); r.code != exitOK || r.errOut != "" {
		t.Errorf("a first start: exit %d, said %q", r.code, r.errOut)
	}
	s.ok("", []string{"rollout", "rollback", shop, "--reason", "checkout is broken"})
	r := s.run("", start...)
	if r.code != exitOK || !strings.HasPrefix(r.errOut, "warning: 1.1.0 was rolled back on production ") || !strings.HasSuffix(r.errOut, ": checkout is broken\n") {
		t.Errorf("a second start: exit %d, said %q", r.code, r.errOut)
	}
}

// TestApplyWarnsOfTakingBack applies the document of before a rollout again.
func TestApplyWarnsOfTakingBack(t *testing.T) {
	s := newShell(t)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant"})
	s.ok("", []string{"rollout", "promote", shop, "--reason", "urgent"}, "is completed")
	for range 2 { // the second time nothing is taken back any more
		r := s.run(shopDocument, "apply", "-f", "-")
		warned := strings.Contains(r.errOut, "takes back what rollout") && strings.Contains(r.errOut, "1.1.0")
		if changed := strings.Contains(r.out, "~ channel production"); r.code != exitOK || warned != changed {
			t.Errorf("exit %d, changed %t, said %q", r.code, changed, r.errOut)
		}
	}
	if r := s.run(strings.ReplaceAll(shopDocument, "bundle: 1.0.0", "bundle: 1.1.0"), "apply", "-f", "-"); r.errOut != "" {
		t.Errorf("a channel that no rollout brought to 1.0.0: %q", r.errOut)
	}
}

func TestRolloutList(t *testing.T) {
	s := newShell(t)
	var list admin.Items[admin.RolloutView]
	empty := s.ok("", []string{"rollout", "list", shop, "--json"}, `"items": []`)
	must(t, json.Unmarshal([]byte(empty), &list))

	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rollouts := []admin.RolloutView{
		{ID: "01M8A5EDXG9HCV50K3RJ4JMS54", Channel: "production", Bundle: "1.2.0", State: rollout.Running, Phases: 4, PhaseStartedAt: now.Add(-3 * time.Hour)},
		{ID: "01M8A5EDXGAHCV50K3RJ4JMS54", Channel: "production", Bundle: "1.1.0", State: rollout.RolledBack, Phases: 4, EndedAt: now.Add(-50 * time.Hour), Reason: strings.Repeat("long\n", 40)},
	}
	var out bytes.Buffer
	must(t, printRollouts(&out, rollouts, now))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[1], "3 h") || !strings.Contains(lines[2], "rolled back") || !strings.Contains(lines[2], "2 d") || !strings.HasSuffix(lines[2], "…") {
		t.Errorf("the list is\n%s", out.String())
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > plainWidth {
			t.Errorf("longer than %d: %s", plainWidth, line)
		}
	}
	if got := shortest(rollouts[0].ID, rollouts); got != "01M8A5EDXG9" {
		t.Errorf("the short id is %s", got)
	}
}

func TestFindRollout(t *testing.T) {
	list := []admin.RolloutView{
		{ID: "01M8D", Bundle: "1.3.0", State: rollout.Running},
		{ID: "01M8C", Bundle: "1.3.0", State: rollout.Halted},
		{ID: "01M8B", Bundle: "1.2.0", State: rollout.RolledBack},
		{ID: "01M8A", Bundle: "1.2.0", State: rollout.Halted},
		{ID: "01M7A", Bundle: "1.1.0", State: rollout.Completed},
	}
	for name, want := range map[string]string{"01M8C": "01M8C", "01m7": "01M7A", "1.3.0": "01M8D", "1.1.0": "01M7A"} {
		if got, err := find(shop, list, name); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"01M8": "01M8D, 01M8C, 01M8B, 01M8A", "1.2.0": "01M8B, 01M8A", "9": "palier rollout list"} {
		if got, err := find(shop, list, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %s, %v; want an error with %s", name, got, err, want)
		}
	}
}

func TestShare(t *testing.T) {
	plan, _ := rollout.BuiltinPlan("cautious")
	last := len(plan.Phases) - 1
	for _, c := range []struct {
		percent rollout.Percent
		phase   int
		want    string
	}{
		{rollout.Everyone, 0, "everyone in internal"},
		{10 * rollout.OnePercent, 1, "10 %"},
		{99 * rollout.OnePercent, last, "everyone but the 1 % control"},
		{rollout.Everyone, last, "everyone"},
	} {
		if got := shareOf(c.percent, plan, c.phase); got != c.want {
			t.Errorf("%s %% in phase %d: %q, want %q", c.percent, c.phase, got, c.want)
		}
	}
	done := admin.RolloutView{State: rollout.Completed, Plan: plan, Percent: rollout.Everyone}
	if got := share(done); got != "everyone" {
		t.Errorf("a completed rollout is for %q", got)
	}
}

// exampleLook is a rollout with one metric in each state.
func exampleLook() look {
	plan, _ := rollout.BuiltinPlan("progressive")
	plan.Phases[3].Approval, plan.Phases[3].MinDevices = true, 200
	return look{MetricsView: admin.MetricsView{
		Rollout: admin.RolloutView{
			App: shop, Channel: "production", Bundle: "1.1.0", Baseline: "1.0.0", State: rollout.Running, Phase: 3, Phases: 4,
			Percent: 99 * rollout.OnePercent, PhaseName: "99%", Plan: plan, Hold: plan.Phases[3].Hold, Approval: true,
		},
		Verdict: judge.Verdict{
			Decision: judge.Wait, Code: judge.CodeMinHold, Sentence: "held for 0 s of at least 24h" + strings.Repeat(" and more", 10),
			Candidate: 1234567, Control: 1234567,
			Metrics: []judge.Evidence{
				{Metric: rollout.Crash, Candidate: 1234567, Control: 7654321, Ratio: 123.456, Lower: 99.96, Upper: 1e6, EValue: 1e9, Threshold: 286, Alarm: true},
				{Metric: rollout.ANR, EValue: 1, Threshold: 2000, SafeEValue: 1},
				{Metric: rollout.BootFailure, Candidate: 3, Ratio: 0.5, Lower: 0.001, Upper: 2, EValue: 1, Threshold: 600, SafeEValue: 19.999, Limit: 0.02},
				{Metric: rollout.Silence, Candidate: 2, Control: 93, Ratio: 0.409, Lower: 0.264, EValue: 599, Threshold: 600, SafeEValue: 20, Safe: true},
			},
		},
	}}
}

// checkWidth holds that no line is longer than a terminal's.
func checkWidth(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > statusWidth {
			t.Errorf("longer than %d: %s", statusWidth, line)
		}
	}
}

func TestStatus(t *testing.T) {
	var out bytes.Buffer
	printStatus(&out, exampleLook())
	for _, want := range []string{
		"phase 4 of 4 (everyone but the 1 %\ncontrol)", "███░ 99 %", "for 0 s (at least 24h, at most 48h)", "200 candidate devices in this phase; 0 seen",
		"will want approval", "verdict: wait — held", "not reported yet: anr",
		"crash            harm     1234567 7654321     123  100–>9999      █████  ░░░░░",
		"boot_failure     open           3   ≤ 2 %     1 %  <0.01–4 %      ░░░░░  ████░",
		"silence          safe           2      93    0.41  0.26–∞         ████░  █████",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	checkWidth(t, out.String())
}

// TestStatusByState checks what is said only of some rollouts.
func TestStatusByState(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(*look)
		say, keepBack []string
	}{
		"no device yet": {func(l *look) { l.Verdict.Candidate = 0 }, []string{"0.26–∞         –      –"}, []string{"█████  ░"}},
		"waiting for approval": {func(l *look) { l.Rollout.Waiting = judge.CodeApproval },
			[]string{"waits for approval: palier rollout approve " + shop}, []string{"will want", "waits for a person"}},
		"approved":          {func(l *look) { l.Rollout.Approved = true }, []string{"approved: a person"}, []string{"will want"}},
		"held for a person": {func(l *look) { l.Rollout.Waiting = judge.CodeHarm }, []string{"waits for a person to promote"}, nil},
		"paused by the judge": {func(l *look) {
			l.Rollout.State, l.Rollout.Reason = rollout.Paused, l.Verdict.Sentence
			l.last = rollout.Event{Verb: "pause", Actor: "palier", Time: l.now}
		}, []string{"last change: pause by palier 0 s ago: held"}, []string{"verdict:"}},
		"paused by a person": {func(l *look) { l.Rollout.State, l.Rollout.Reason = rollout.Paused, "tickets" },
			[]string{"last change: tickets", "verdict: wait"}, nil},
		"halted without a reason": {func(l *look) { l.Rollout.State = rollout.Halted }, []string{"last change\n"}, []string{"verdict:", "in phase"}},
		"scheduled": {func(l *look) {
			l.Rollout.State, l.Rollout.StartsAt = rollout.Scheduled, time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
		},
			[]string{"is scheduled for 2026-12-01 08:00 UTC"}, []string{"verdict:", "metric"}},
	} {
		l := exampleLook()
		c.change(&l)
		var out bytes.Buffer
		printStatus(&out, l)
		for _, want := range c.say {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, out.String())
			}
		}
		for _, no := range c.keepBack {
			if strings.Contains(out.String(), no) {
				t.Errorf("%s: %q is said in\n%s", name, no, out.String())
			}
		}
	}
}

func TestWatchView(t *testing.T) {
	l := exampleLook()
	l.Rollout.ID = "01M8A"
	if view := (watcher{seen: l}).View().Content; !strings.Contains(view, "q leaves") {
		t.Errorf("a live rollout:\n%s", view)
	}
	l.Rollout.State = rollout.Halted
	if view := (watcher{seen: l}).View().Content; strings.Contains(view, "goes on") {
		t.Errorf("a rollout that has ended:\n%s", view)
	}
	if line := headline(l); !strings.HasSuffix(line, "is halted") {
		t.Errorf("without a reason the headline is %q", line)
	}
}

// TestWatchJSON demands one document per line and change.
func TestWatchJSON(t *testing.T) {
	s := newShell(t)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant"})
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"rollout", "watch", shop, "--json", "--server", s.server.url(), "--token", testToken}, nil, writer, io.Discard)
		writer.Close()
	}()
	var states []rollout.RolloutState
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m admin.MetricsView
		must(t, json.Unmarshal(lines.Bytes(), &m))
		states = append(states, m.Rollout.State)
		if m.Rollout.State == rollout.Running {
			s.ok("", []string{"rollout", "halt", shop})
		}
	}
	if want := []rollout.RolloutState{rollout.Running, rollout.Halted}; !slices.Equal(states, want) || <-code != exitNotHealthy {
		t.Errorf("the lines tell of %v, want %v", states, want)
	}
}

// TestWatchInterrupted leaves a watch as Ctrl-C does.
func TestWatchInterrupted(t *testing.T) {
	s := newShell(t)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--plan", "instant"})
	ctx, cancel := context.WithCancel(t.Context())
	var errOut bytes.Buffer
	out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	code := run(ctx, []string{"rollout", "watch", shop, "--server", s.server.url(), "--token", testToken}, nil, out, &errOut)
	if code != exitOK || errOut.Len() > 0 {
		t.Errorf("exit %d, said %q", code, errOut.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestErrorMessages(t *testing.T) {
	one := admin.Problem{Path: "bundles[1.4.0].checksum", Message: "is missing"}
	for want, err := range map[string]*apiError{
		"there is no app (not_found)":                                                           {Code: "not_found", Message: "there is no app"},
		"bundles[1.4.0].checksum: is missing (malformed)":                                       {Code: "malformed", Message: "the document is invalid", Details: []admin.Problem{one}},
		"is empty (malformed)":                                                                  {Code: "malformed", Message: "is empty", Details: []admin.Problem{{Message: "is empty"}}},
		"no good (malformed)\n  - bundles[1.4.0].checksum: is missing\n  - too long":            {Code: "malformed", Message: "no good", Details: []admin.Problem{one, {Message: "too long"}}},
		"2 things are wrong (malformed)\n  - bundles[1.4.0].checksum: is missing\n  - too long": {Code: "malformed", Message: "bundles[1.4.0].checksum: is missing (and 1 more)", Details: []admin.Problem{one, {Message: "too long"}}},
	} {
		if err.Error() != want {
			t.Errorf("said %q, want %q", err.Error(), want)
		}
	}
	for code, err := range map[string]error{
		"not_found":   fmt.Errorf("exporting: %w", &apiError{Code: "not_found", Details: []admin.Problem{one}}),
		"usage":       usageError{errors.New("what?")},
		"unreachable": unreachable("no answer"),
		"failed":      errors.New("no disk"),
	} {
		var out bytes.Buffer
		printError(&out, err, true)
		var document apiError
		must(t, json.Unmarshal(out.Bytes(), &document))
		if document.Code != code || (document.Message == "") != (code == "not_found") || len(document.Details) > 0 != (code == "not_found") {
			t.Errorf("%v as JSON: %s", err, out.String())
		}
		out.Reset()
		printError(&out, err, false)
		if out.String() != "palier: "+err.Error()+"\n" {
			t.Errorf("%v as text: %s", err, out.String())
		}
	}
}

func TestServerAddress(t *testing.T) {
	s := newShell(t)
	var out, errOut bytes.Buffer
	args := []string{"app", "list", "--token", testToken, "--server"}
	if code := run(t.Context(), append(args, strings.TrimPrefix(s.server.url(), "http://")), nil, &out, &errOut); code != exitOK {
		t.Errorf("an address without a scheme: exit %d: %s", code, errOut.String())
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusBadGateway)
		}
		fmt.Fprint(w, "<html>welcome</html>")
	}))
	defer stranger.Close()
	c := &connection{server: stranger.URL, token: testToken}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
		err := c.call(t.Context(), method, "/apps", "", nil, nil)
		if !errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), stranger.URL+" is not a Palier server") {
			t.Errorf("%s to a web site: %v", method, err)
		}
	}
	c.server = "127.0.0.1:1"
	err := c.get(t.Context(), "/apps", nil)
	if !errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), "http://127.0.0.1:1 (connection refused); is `palier serve` running?") {
		t.Errorf("a server that is down: %v", err)
	}
	t.Setenv("PALIER_TOKEN", "")
	if err := (&connection{data: t.TempDir()}).get(t.Context(), "/apps", nil); err == nil || !strings.Contains(err.Error(), "--data DIR") {
		t.Errorf("without a token: %v", err)
	}
}

func TestParentCommands(t *testing.T) {
	s := newShell(t)
	for _, name := range []string{"rollout", "token", "app"} {
		s.ok("", []string{name}, "Examples:", "Available Commands:")
		s.refused(exitUsage, "palier "+name+" list", "", name, "lst")
		s.refused(exitUsage, "palier "+name+" --help", "", name, "frobnicate")
	}
	s.refused(exitUsage, "palier app delete", "", "app", "remove")
	s.refused(exitUsage, "palier rollout rollback", "", "rollout", "undo")
	s.ok("", []string{"rollout", "approve", "--help"}, "the testers are content")
	s.ok("", []string{"app", "list", "--help"}, "--token string")
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.ok("plans: [{name: slow, phases: [{percent: 100, hold: {min: 1h}}]}]\napp: com.example.shop\n", []string{"apply", "-f", "-"})
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0"})
	complete := func(server string, args ...string) string {
		var out bytes.Buffer
		args = append([]string{"__complete", "--server", server, "--token", testToken}, args...)
		if code := run(t.Context(), args, nil, &out, io.Discard); code != exitOK {
			t.Errorf("palier %v: exit %d", args, code)
		}
		return out.String()
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"export", ""}, []string{shop}},
		{[]string{"rollout", "status", ""}, []string{shop}},
		{[]string{"rollout", "pause", shop, ""}, []string{"1.1.0 on production, running"}},
		{[]string{"rollout", "start", shop, "--bundle", ""}, []string{"1.0.0", "1.1.0"}},
		{[]string{"rollout", "start", shop, "--channel", ""}, []string{"production"}},
		{[]string{"rollout", "start", shop, "--plan", ""}, []string{"slow", "progressive", "instant"}},
		{[]string{"rollout", "start", "--plan", ""}, []string{"progressive"}},
		{[]string{"token", "revoke", ""}, []string{"admin-"}},
		{[]string{"token", "create", "ci", "--role", ""}, []string{"operator", "edge"}},
		{[]string{"explain", shop, "--platform", ""}, []string{"electron"}},
	} {
		got := complete(s.server.url(), c.args...)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("palier %v offers no %q: %s", c.args, want, got)
			}
		}
	}
	if got := complete("127.0.0.1:1", "export", ""); got != ":4\n" {
		t.Errorf("without a server: %q", got)
	}
}

func TestTokenListMarksExpired(t *testing.T) {
	now := time.Now().UTC().Add(24 * time.Hour) // of a server whose clock is ahead
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", now.Format(http.TimeFormat))
		_ = json.NewEncoder(w).Encode(admin.Items[admin.TokenView]{Items: []admin.TokenView{
			{Name: "old", ExpiresAt: now.Add(-time.Hour)}, {Name: "new", ExpiresAt: now.Add(time.Hour)}, {Name: "eternal"},
		}})
	}))
	defer s.Close()
	var out bytes.Buffer
	if code := run(t.Context(), []string{"token", "list", "--server", s.URL, "--token", testToken}, nil, &out, io.Discard); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "(expired)") != strings.HasPrefix(line, "old") {
			t.Errorf("said %s", line)
		}
	}
}

// TestFailingToStart says why, in words, and touches nothing.
func TestFailingToStart(t *testing.T) {
	dir := t.TempDir()
	first := startServerIn(t, dir, 1, testToken)
	taken := strings.TrimPrefix(first.url(), "http://")
	for _, c := range []struct {
		name string
		code int
		says string
		args []string
	}{
		{"address in use", exitFailed, "in use", []string{"--listen", taken, "--data", t.TempDir()}},
		{"demo on an address in use", exitFailed, "in use", []string{"--demo", "--listen", taken, "--data", filepath.Dir(dir)}},
		{"directory in use", exitFailed, "another palier is using", []string{"--listen", "127.0.0.1:0", "--data", dir}},
		{"no address", exitUsage, "--listen", []string{"--listen", "nonsense", "--data", t.TempDir()}},
		{"no network", exitUsage, "--trust-proxy", []string{"--listen", "127.0.0.1:0", "--trust-proxy", "proxy.example.com", "--data", t.TempDir()}},
		{"slow clock", exitUsage, "--time-scale", []string{"--listen", "127.0.0.1:0", "--time-scale", "0.5", "--data", t.TempDir()}},
	} {
		var out, errOut bytes.Buffer
		code := run(context.Background(), append([]string{"serve"}, c.args...), strings.NewReader(""), &out, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.says) {
			t.Errorf("%s: exit %d, said %q; want exit %d and %q", c.name, code, errOut.String(), c.code, c.says)
		}
	}
	must(t, first.operator().get(t.Context(), "/apps", nil))
}

func TestClearingTouchesOnlyWhatAServerKeeps(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"palier.db", "palier.db-wal", "telemetry.db", "clock.json", "token", "thesis.txt"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "objects", "snapshots"), 0o700))
	must(t, clearData(dir))
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 1 || left[0].Name() != "thesis.txt" {
		t.Errorf("left %v, want only what is not the server's", left)
	}
}
