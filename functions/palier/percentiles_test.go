package main

import (
	"bytes"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// measuredLook is exampleLook with everything that is measured, in its widest form.
func measuredLook() look {
	l := exampleLook()
	half, most := 7.0, 31.5
	l.AdoptionTimes = admin.AdoptionTimes{P50: &half, P90: &most}
	widest := &admin.Percentiles{Count: 123_456_789, P50: 999.4, P75: 5_969_000, P95: 86_400_000, P99: 86_400_000}
	l.Display = admin.DisplayView{
		Candidate: admin.ArmDisplay{Devices: 12_400_000, LoadTime: widest, SessionLength: widest},
		Control:   admin.ArmDisplay{Devices: 12_300_000, LoadTime: &admin.Percentiles{Count: 3, P50: 0, P75: 177.4, P95: 1414, P99: 10_020}, APITime: widest, SessionLength: widest},
	}
	l.Verdict.Metrics = append(l.Verdict.Metrics,
		judge.Evidence{Metric: rollout.LoadTime, Candidate: 12, Control: 3, Ratio: 4, Lower: 1.2, EValue: 9, Threshold: 600, Boundary: 2000, SinceHour: 30},
		judge.Evidence{Metric: rollout.APITime, Candidate: 7, Ratio: 1.1, Lower: 0.5, EValue: 2, Threshold: 600, Boundary: 88, Past: 0.1234},
		judge.Evidence{Metric: rollout.SessionLength, Candidate: 7, Control: 6, Ratio: 1.1, Lower: 0.5, EValue: 2, Threshold: 600, Boundary: 320_000},
	)
	return l
}

func TestStatusShowsWhatWasMeasured(t *testing.T) {
	var out bytes.Buffer
	printStatus(&out, measuredLook())
	for _, want := range []string{
		"  devices heard of: about 12400000 candidate, 12300000 control\n",
		"  half of the candidates ran it after 7h, nine in ten after 31h30m\n",
		"load_time        open          12       3       4  1.2–∞ ",
		"api_time         open           7 ~12.3 %     1.1  0.5–∞ ",
		"counted: load_time ≥ 2 s, api_time ≥ 88 ms, session_length < 5.3 min\n",
		"ratio of what happened later on: load_time since hour 30\n",
		"~: no control",
		"\n\npercentiles      arm          values       p50       p75       p95       p99\n",
		"\nload_time        candidate 123456789    999 ms  99.5 min      24 h      24 h\n",
		"\n                 control           3      0 ms    177 ms    1.41 s      10 s\n",
		"\napi_time         control   123456789 ",
		"\nsession_length   candidate 123456789 ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	checkWidth(t, out.String())
}

// TestStatusKeepsQuietOfWhatWasNotMeasured: without data there is no table and no footnote.
func TestStatusKeepsQuietOfWhatWasNotMeasured(t *testing.T) {
	var out bytes.Buffer
	l := exampleLook()
	printStatus(&out, l)
	for _, no := range []string{"p50", "heard of", "half of", "counted:", "later on", "no control"} {
		if strings.Contains(out.String(), no) {
			t.Errorf("%q is said in\n%s", no, out.String())
		}
	}
	l.Verdict.Metrics = append(l.Verdict.Metrics, judge.Evidence{Metric: rollout.LoadTime}, judge.Evidence{Metric: rollout.APITime})
	l.Display.Control.APITime = &admin.Percentiles{Count: 1}
	out.Reset()
	half := 0.25
	l.AdoptionTimes.P50 = &half
	printStatus(&out, l)
	for _, want := range []string{"ran it after 15m\n", "not reported yet: anr, load_time\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestSpan(t *testing.T) {
	for millis, want := range map[float64]string{
		0: "0 ms", 0.6: "1 ms", 999.4: "999 ms", 999.6: "1 s", 1414: "1.41 s", 9994: "9.99 s", 9996: "10 s", 59_940: "59.9 s", 59_960: "1 min",
		5_120_000: "85.3 min", 5_969_000: "99.5 min", 5_970_000: "1.7 h", 86_400_000: "24 h",
	} {
		if got := span(millis); got != want {
			t.Errorf("%g ms is %q, want %q", millis, got, want)
		}
	}
}

// TestWatchLeavesOutWhatDoesNotFit: on a small terminal the percentiles go, and the rest stays.
func TestWatchLeavesOutWhatDoesNotFit(t *testing.T) {
	l := measuredLook()
	l.Rollout.ID = "01M8A"
	w := watcher{seen: l}
	lines := strings.Count(w.View().Content, "\n")
	for rows, want := range map[int]bool{lines + 1: true, lines: false, 10: false} {
		sized, _ := w.Update(tea.WindowSizeMsg{Width: 80, Height: rows})
		view := sized.View().Content
		if strings.Contains(view, "p50") != want || !strings.Contains(view, "load_time ≥ 2 s") || !strings.Contains(view, "q leaves") {
			t.Errorf("with %d of %d rows:\n%s", rows, lines, view)
		}
	}
}
