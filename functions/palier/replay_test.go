package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// replayed has the command as it is shipped recompute every verdict on a rollout, which must come out identical.
func (s *served) replayed(t *testing.T, id string) {
	t.Helper()
	out, err := command(t, "replay", testApp, id, "--server", s.url(), "--json").Output()
	var r replayReport
	if jsonErr := json.Unmarshal(out, &r); err != nil || jsonErr != nil {
		t.Fatalf("replay: %v, %v: %s", err, jsonErr, out)
	}
	if r.Verdicts < 5 || r.Identical != r.Verdicts || r.First != nil {
		t.Errorf("of %d verdicts %d are identical when recomputed: %s", r.Verdicts, r.Identical, out)
	}
	t.Logf("replayed %d verdicts (%v), all identical", r.Verdicts, r.Decisions)
}

// recording is a rollout of a shell's app whose verdicts the test writes.
type recording struct {
	shell
	id    string
	plan  rollout.Plan
	start time.Time
}

// record starts a shadow rollout and gives a verdict on it every ten minutes for six hours: a hundred candidates come an
// hour, of which so many crash, and as many controls of which one does.
func record(t *testing.T, crashing int64) recording {
	t.Helper()
	s := newShell(t)
	r := recording{shell: s, start: time.Now().UTC().Truncate(time.Millisecond)}
	r.plan = rollout.Resolve(rollout.Plan{OnTimeout: rollout.TimeoutPromote, Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(2), Max: hours(4)}}}})
	var view admin.RolloutView
	in := map[string]any{"channel": "production", "bundle": "1.1.0", "plan": r.plan, "shadow": true}
	must(t, s.server.operator().send(t.Context(), "POST", appPath(shop, "rollouts"), in, &view))
	r.id = view.ID
	for tick := range 36 {
		at := r.start.Add(time.Duration(tick) * 10 * time.Minute)
		in := judge.Input{Plan: r.plan, Held: at.Sub(r.start), Now: at, Newest: at, Complete: at}
		for hour := range int64(tick/6 + 1) {
			arm := func(crashes int64) (c judge.Counts) {
				c.Devices, c.Adopted, c.Returned = 100, 100, [3]int64{90, 95, 99}
				c.Events[rollout.Crash.Index()] = crashes
				return c
			}
			in.Strata = append(in.Strata, judge.Stratum{Hour: r.start.Unix()/3600 + hour, Share: .5, Candidate: arm(crashing), Control: arm(1)})
		}
		r.give(in, judge.Version, func(text string) string { return text })
	}
	return r
}

// give stores a verdict, changed by spoil.
func (r recording) give(in judge.Input, version int, spoil func(string) string) {
	r.t.Helper()
	text, err := json.Marshal(judge.Judge(in))
	must(r.t, err)
	_, err = store.Verdicts{Store: r.server.store}.Append(r.t.Context(), shop, r.id, store.VerdictRecord{
		Judge: version, Arch: "amd64", Input: in, Verdict: json.RawMessage(spoil(string(text))),
	})
	must(r.t, err)
}

// tells runs a command that must exit so and say all of the words, wherever its lines break.
func (s shell) tells(code int, args []string, words ...string) {
	s.t.Helper()
	r := s.run("", args...)
	text := strings.Join(strings.Fields(r.out), " ")
	for _, w := range words {
		if r.code != code || !strings.Contains(text, w) {
			s.t.Errorf("palier %s: exit %d, want %d and %q in\n%s%s", strings.Join(args, " "), r.code, code, w, r.out, r.errOut)
		}
	}
}

func TestReplayComparesEveryVerdict(t *testing.T) {
	r := record(t, 2)
	r.ok("", []string{"replay", shop}, "36 verdicts", "all identical")
	var report replayReport
	must(t, json.Unmarshal([]byte(r.ok("", []string{"replay", shop, "1.1.0", "--json"})), &report))
	if report.Verdicts != 36 || report.Identical != 36 || report.Rollout != r.id || report.Judge != judge.Version {
		t.Errorf("%+v", report)
	}
	in := judge.Input{Plan: r.plan, Now: r.start.Add(7 * time.Hour)}
	r.give(in, judge.Version, func(text string) string { return strings.Replace(text, `"wait"`, `"promote"`, 1) })
	r.tells(exitFailed, []string{"replay", shop}, "36 identical, 1 NOT", `decision: was "promote", is "wait"`, "not what was given")
	r.refused(exitRefused, "not_found", "", "replay", "com.example.none")
	r.refused(exitUsage, "wants APP", "", "replay")
}

// TestReplaySaysThatAnotherJudgeGaveAVerdict, whether it comes out the same or not.
func TestReplaySaysThatAnotherJudgeGaveAVerdict(t *testing.T) {
	r := record(t, 2)
	in := judge.Input{Plan: r.plan, Now: r.start.Add(-time.Minute)}
	r.give(in, judge.Version+1, func(text string) string { return text })
	r.tells(exitOK, []string{"replay", shop}, "37 verdicts", "all identical", "1 of them were given by another version of the judge")
	in.Now = r.start.Add(-2 * time.Minute)
	r.give(in, judge.Version+1, func(text string) string { return strings.Replace(text, `"metrics":[{`, `"metrics":[{"novelty":1,`, 1) })
	r.tells(exitFailed, []string{"replay", shop}, "37 identical, 1 NOT", "metrics[crash].novelty: was 1, is nothing", "replay with the palier that gave it")
}

func TestReplayNeedsVerdicts(t *testing.T) {
	s := newShell(t)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0"})
	s.refused(exitFailed, "no verdict", "", "replay", shop)
	s.refused(exitFailed, "no verdict", "", "backtest", shop, "1.1.0", "--plan", "cautious")
}

func TestBacktestTellsBothStories(t *testing.T) {
	r := record(t, 40)
	strict := filepath.Join(t.TempDir(), "strict.yaml")
	must(t, os.WriteFile(strict, []byte("on_timeout: promote\nphases: [{percent: 50, hold: {min: 2h, max: 4h}}]\n"), 0o600))
	r.tells(exitOK, []string{"backtest", shop, "1.1.0", "--plan", strict}, "plan strict on what was recorded of 1.1.0", "36 verdicts in 5h", "◀",
		"rollback, after 100 candidate devices", "would be rolled back", "Really it is", "start by admin-")
	blind := "on_timeout: promote\nphases: [{percent: 20, hold: {min: 2h, max: 4h}}, {percent: 100, hold: {min: 2h, max: 9h}}]\ngates:\n"
	for _, info := range rollout.AllMetrics() {
		blind += "  - {metric: " + string(info.Metric) + ", off: true}\n"
	}
	lax := filepath.Join(t.TempDir(), "lax.yaml")
	must(t, os.WriteFile(lax, []byte(blind), 0o600))
	var report backtestReport
	must(t, json.Unmarshal([]byte(r.ok("", []string{"backtest", shop, r.id, "--plan", lax, "--json"})), &report))
	if report.State != rollout.Running || report.BacktestResult.Phase != 1 || len(report.Plan) != 1 || len(report.Notes) != 2 || report.PlanName != "lax" {
		t.Errorf("%+v", report)
	}
	r.tells(exitOK, []string{"backtest", shop, "1.1.0", "--plan", lax}, "the plan is behind, at 20 %", "the plan is ahead, at 100 %", "in phase 2 (everyone) when the recording ends")
	r.refused(exitRefused, "not_found", "", "backtest", shop, "1.1.0", "--plan", "none")
	r.refused(exitUsage, "required flag", "", "backtest", shop, "1.1.0")
	must(t, os.WriteFile(lax, []byte("phases: []\n"), 0o600))
	r.refused(exitUsage, "phase", "", "backtest", shop, "1.1.0", "--plan", lax)
}

func TestAShadowIsShown(t *testing.T) {
	s := newShell(t)
	s.ok("", []string{"rollout", "start", shop, "--bundle", "1.1.0", "--shadow"}, "a shadow: moved by time alone")
	s.ok("", []string{"rollout", "list", shop}, "running (shadow)")
	s.tells(exitOK, []string{"rollout", "status", shop}, "a shadow: moved by time alone", "verdict, which does not act in a shadow: wait")
	if l := headline(look{MetricsView: admin.MetricsView{Rollout: admin.RolloutView{State: rollout.Running, Shadow: true}}}); !strings.Contains(l, "shadow") {
		t.Errorf("watched as %q", l)
	}
}
