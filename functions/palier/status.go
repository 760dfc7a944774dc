package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// printStatus draws a rollout and its evidence for a terminal.
func printStatus(w io.Writer, m admin.MetricsView) error {
	r, v := m.Rollout, m.Verdict
	fmt.Fprintf(w, "%s\n", describe(r))
	fmt.Fprintf(w, "  %s %s %%\n", bar(r.Percent.Share(), 40), r.Percent)
	if r.State.Live() {
		limit := "no limit"
		if r.Hold.Max > 0 {
			limit = r.Hold.Max.String()
		}
		fmt.Fprintf(w, "  in phase %q for %s (at least %s, at most %s)\n", r.PhaseName, short(r.Held), r.Hold.Min, limit)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, "  why: %s\n", r.Reason)
	}
	if r.Waiting != "" {
		fmt.Fprintf(w, "  waits for a person to promote, halt or roll it back\n")
	}
	fmt.Fprintf(w, "  verdict: %s — %s\n", v.Decision, v.Sentence)
	fmt.Fprintf(w, "  devices compared: %d candidate, %d control\n\n", v.Candidate, v.Control)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "metric\tcandidate\tcontrol\tratio\tbounds\tharm\tsafe\tstate\t")
	for _, e := range v.Metrics {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Metric, e.Candidate, control(e), number(e.Ratio), bounds(e),
			toward(e.EValue, e.Threshold), toward(e.SafeEValue, 1/r.Plan.Beta), state(e))
	}
	return t.Flush()
}

// bar draws a share of one.
func bar(share float64, width int) string {
	n := int(math.Round(max(0, min(1, share)) * float64(width)))
	return strings.Repeat("█", n) + strings.Repeat("░", width-n)
}

// short rounds a duration to whole minutes, for people.
func short(d rollout.Duration) string {
	return rollout.Duration(d.Std().Truncate(60e9)).String()
}

func control(e judge.Evidence) string {
	if i := e.Metric.Index(); i >= 0 && rollout.AllMetrics()[i].Comparison == rollout.AgainstLimit {
		return "–"
	}
	return fmt.Sprint(e.Control)
}

func number(x float64) string {
	if x == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3g", x)
}

func bounds(e judge.Evidence) string {
	if e.Lower == 0 && e.Upper == 0 {
		return "–"
	}
	upper := "∞"
	if e.Upper > 0 {
		upper = fmt.Sprintf("%.3g", e.Upper)
	}
	return fmt.Sprintf("%.3g … %s", e.Lower, upper)
}

// toward shows how far an e-value has come on the way to its threshold, on a logarithmic scale.
func toward(e, threshold float64) string {
	if threshold <= 1 {
		return "–"
	}
	return bar(math.Log(max(1, e))/math.Log(threshold), 6)
}

func state(e judge.Evidence) string {
	switch {
	case e.Severe:
		return "severe harm"
	case e.Alarm:
		return "harm"
	case e.Safe:
		return "proven safe"
	}
	return "open"
}
