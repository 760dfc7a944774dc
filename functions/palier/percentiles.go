package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// printDevices says how many devices were compared and heard of, and how soon they ran the candidate.
func printDevices(w io.Writer, m admin.MetricsView) {
	fmt.Fprintf(w, "  devices compared: %d candidate, %d control\n", m.Verdict.Candidate, m.Verdict.Control)
	if d := m.Display; d.Candidate.Devices+d.Control.Devices > 0 {
		fmt.Fprintf(w, "  devices heard of: about %d candidate, %d control\n", d.Candidate.Devices, d.Control.Devices)
	}
	if half := m.AdoptionTimes.P50; half != nil {
		line := "  half of the candidates ran it after " + afterHours(*half)
		if most := m.AdoptionTimes.P90; most != nil {
			line += ", nine in ten after " + afterHours(*most)
		}
		fmt.Fprintln(w, line)
	}
}

func afterHours(n float64) string { return short(rollout.Duration(n * float64(time.Hour))) }

// printPercentiles draws a line for each arm and measured metric that anything was reported of, or nothing at all.
func printPercentiles(w io.Writer, d admin.DisplayView) {
	const row = "%-16s %-9s %9s %9s %9s %9s %9s\n"
	begun := false
	for _, m := range []rollout.Metric{rollout.LoadTime, rollout.APITime, rollout.SessionLength} {
		name, candidate, control := string(m), percentiles(d.Candidate, m), percentiles(d.Control, m)
		for _, arm := range []struct {
			name string
			*admin.Percentiles
		}{{"candidate", candidate}, {"control", control}} {
			if arm.Percentiles == nil {
				continue
			}
			if !begun {
				fmt.Fprintf(w, "\n"+row, "percentiles", "arm", "values", "p50", "p75", "p95", "p99")
				begun = true
			}
			fmt.Fprintf(w, row, name, arm.name, fmt.Sprint(arm.Count), span(arm.P50), span(arm.P75), span(arm.P95), span(arm.P99))
			name = ""
		}
	}
}

// percentiles returns those of a metric, nil if there are none.
func percentiles(d admin.ArmDisplay, m rollout.Metric) *admin.Percentiles {
	switch m {
	case rollout.LoadTime:
		return d.LoadTime
	case rollout.APITime:
		return d.APITime
	case rollout.SessionLength:
		return d.SessionLength
	}
	return nil
}

// span writes milliseconds in their largest unit, in at most eight characters: 177 ms, 1.41 s, 85.3 min, 24 h.
func span(millis float64) string {
	switch d := millis / 1000; {
	case millis < 999.5:
		return trimmed(millis, 0) + " ms"
	case d < 9.995:
		return trimmed(d, 2) + " s"
	case d < 59.95:
		return trimmed(d, 1) + " s"
	case d < 5970:
		return trimmed(d/60, 1) + " min"
	default:
		return trimmed(d/3600, 1) + " h"
	}
}

// footnotes explains what the lines of a table of evidence do not say themselves.
func footnotes(known []judge.Evidence) []string {
	var boundaries, since []string
	past := false
	for _, e := range known {
		if e.Boundary > 0 {
			boundaries = append(boundaries, boundary(e))
		}
		if e.SinceHour > 0 {
			since = append(since, fmt.Sprintf("%s since hour %d", e.Metric, e.SinceHour))
		}
		past = past || e.Past > 0
	}
	var notes []string
	if len(boundaries) > 0 {
		notes = append(notes, "counted: "+strings.Join(boundaries, ", "))
	}
	if len(since) > 0 {
		notes = append(notes, "ratio of what happened later on: "+strings.Join(since, ", "))
	}
	if past {
		notes = append(notes, "~: no control; the most that the app's devices did before the rollout")
	}
	return notes
}

// boundary says beyond what a measured metric's devices are counted: load_time ≥ 2 s.
func boundary(e judge.Evidence) string {
	sign := "≥"
	if e.Metric == rollout.SessionLength {
		sign = "<"
	}
	return fmt.Sprintf("%s %s %s", e.Metric, sign, span(e.Boundary))
}
