package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/admin"
)

// quickPlan is a file with a plan that is over soon, so that it is played soon.
func quickPlan(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quick.yaml")
	plan := "on_timeout: promote\nholdback: 1\nmargin: auto\nphases:\n- {percent: 10, hold: {min: 6h, max: 12h}}\n- {percent: 100, hold: {min: 6h, max: 12h}}\n"
	if err := os.WriteFile(path, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// alone runs a command that has no server to talk to.
func alone(args ...string) result {
	var out, errOut bytes.Buffer
	code := run(context.Background(), append(args, "--server", "127.0.0.1:1"), nil, &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

func TestSimulateNeedsNoServer(t *testing.T) {
	svg, pixels := filepath.Join(t.TempDir(), "f.svg"), filepath.Join(t.TempDir(), "f.png")
	r := alone("simulate", "--plan", quickPlan(t), "--devices", "3000", "--rate", "crash=1%", "--rate", "anr=0.001", "--runs", "6", "--ratios", "3,30", "--svg", svg, "--png", pixels)
	if r.code != exitOK {
		t.Fatalf("exit %d: %s", r.code, r.errOut)
	}
	for _, want := range []string{
		"plan quick on 3000 active devices", "as given: anr 0.1%, crash 1%, devices", "a harmless bundle", "everyone", "completes on time", "6 of 6",
		"is stopped for nothing", "3× crash", "30× crash", "100 % boot_failure", "margins", "silence", "days", "stopped, 30× crash",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s", want, r.out)
		}
	}
	checkWidth(t, r.out)
	if text, err := os.ReadFile(svg); err != nil || !strings.Contains(string(text), "30× crash") {
		t.Errorf("the drawing: %v", err)
	}
	file, err := os.Open(pixels)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := png.Decode(file); err != nil {
		t.Error(err)
	}
}

func TestSimulateForScripts(t *testing.T) {
	args := []string{"simulate", "--plan", quickPlan(t), "--devices", "2000", "--runs", "4", "--seed", "3", "--budget", "2000@10x", "--segment", "internal=1%", "--json"}
	first := alone(args...)
	if first.code != exitOK {
		t.Fatalf("exit %d: %s", first.code, first.errOut)
	}
	var view admin.ForecastView
	if err := json.Unmarshal([]byte(first.out), &view); err != nil {
		t.Fatal(err)
	}
	if view.Runs != 4 || view.Seed != 3 || view.Audience.Devices != 2000 || view.Audience.Segments["internal"] != .01 || view.Advice == nil || !view.Advice.Within || len(view.Margins) != 12 {
		t.Errorf("%+v", view.Audience)
	}
}

func TestSimulateRefusals(t *testing.T) {
	misspelt := filepath.Join(t.TempDir(), "misspelt.yaml")
	if err := os.WriteFile(misspelt, []byte("phases: [{percnt: 10, hold: {min: 24h}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--rate", "crash"}, exitUsage, "crash=0.5%"},
		{[]string{"--rate", "boredom=1%"}, exitUsage, "is not a metric"},
		{[]string{"--rate", "crash=150%"}, exitUsage, "share of devices"},
		{[]string{"--budget", "20"}, exitUsage, "20@5x"},
		{[]string{"--budget", "20@1x"}, exitUsage, "above 1"},
		{[]string{"--plan", "bold"}, exitUsage, "without an app there are only"},
		{[]string{"--plan", "missing.yaml"}, exitFailed, "reading the plan"},
		{[]string{"--plan", misspelt}, exitUsage, "did you mean percent?"},
		{[]string{"--devices", "-1"}, exitUsage, "devices"},
		{[]string{"--devices", "0"}, exitUsage, "above 0"},
		{[]string{"--metric", "adoption"}, exitUsage, "good events"},
		{[]string{"--ratios", "0.5"}, exitUsage, "above 1"},
		{[]string{"a", "b"}, exitUsage, "APP or nothing"},
		{[]string{"com.example.shop", "--token", "x"}, exitUnreachable, "palier serve"},
	} {
		r := alone(append([]string{"simulate", "--runs", "1"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.errOut, c.says) {
			t.Errorf("palier simulate %v: exit %d, %s", c.args, r.code, r.errOut)
		}
	}
}

// With an app, the server says what is known and what its plans are; the plays run here.
func TestSimulateAsksTheServerWhatIsKnown(t *testing.T) {
	s := newShell(t)
	s.ok("plans: [{name: brisk, phases: [{percent: 10, hold: {min: 1h, max: 6h}}], on_timeout: promote}]\napp: com.example.shop\n", []string{"apply", "-f", "-"})
	s.ok("", []string{"simulate", shop, "--plan", "brisk", "--runs", "3", "--devices", "1000"}, "plan brisk on 1000 active devices", "nothing could be learned", "taken to be typical")
	s.refused(exitRefused, "not_found", "", "simulate", shop, "--plan", "bold")
	s.refused(exitRefused, "not_found", "", "simulate", "com.example.none")
}
