package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

const (
	statusWidth = 80  // no line of a status is longer
	plainWidth  = 100 // of a table that is not printed on a terminal
)

// look is a rollout as a person sees it: its numbers and, when it is paused or over, what brought it there.
type look struct {
	admin.MetricsView
	last rollout.Event // zero when nobody needs to know, or nobody can tell
	now  time.Time     // of the server
}

// look asks for the rollout of that id.
func (c *connection) look(ctx context.Context, app, id string) (l look, err error) {
	if err := c.get(ctx, appPath(app, "rollouts", id, "metrics"), &l.MetricsView); err != nil {
		return l, err
	}
	l.now = c.now()
	if l.Rollout.State.Live() && l.Rollout.State != rollout.Paused {
		return l, nil
	}
	var log admin.Items[rollout.Event]
	if err := c.get(ctx, appPath(app, "events")+"?limit=200", &log); err != nil {
		return l, nil // what is known is worth showing without it
	}
	for _, e := range log.Items {
		if e.Rollout == id && e.To == l.Rollout.State && e.From != e.To {
			l.last = e
			break
		}
	}
	return l, nil
}

// printStatus draws all that is known of a rollout for a terminal.
func printStatus(w io.Writer, l look) {
	printStanding(w, l)
	printPercentiles(w, l.Display)
}

// printStanding draws a rollout and its evidence.
func printStanding(w io.Writer, l look) {
	r, v := l.Rollout, l.Verdict
	fmt.Fprintln(w, wrap(describe(r), 0))
	fmt.Fprintf(w, "  %s %s %%\n", bar(r.Percent.Share(), 40), r.Percent)
	if r.State == rollout.Running || r.State == rollout.Paused {
		printPhase(w, l.MetricsView)
	}
	if !r.State.Live() || r.State == rollout.Paused {
		fmt.Fprintln(w, wrap("  "+lastChange(l), 4))
	}
	if r.State == rollout.Running || r.State == rollout.Paused && v.Sentence != r.Reason {
		verdict := "verdict"
		if r.Shadow {
			verdict = "verdict, which does not act in a shadow"
		}
		fmt.Fprintln(w, wrap(fmt.Sprintf("  %s: %s — %s", verdict, v.Decision, v.Sentence), 4))
	}
	if r.State == rollout.Scheduled {
		return // nothing has been measured
	}
	printDevices(w, l.MetricsView)
	fmt.Fprintln(w)
	printEvidence(w, l.MetricsView)
}

// printPhase says how long the phase lasts and what it waits for.
func printPhase(w io.Writer, m admin.MetricsView) {
	r := m.Rollout
	longest := "no limit"
	if r.Hold.Max > 0 {
		longest = "at most " + short(r.Hold.Max)
	}
	fmt.Fprintf(w, "  in phase %q for %s (at least %s, %s)\n", r.PhaseName, short(r.Held), short(r.Hold.Min), longest)
	if least := r.Plan.Phases[r.Phase].MinDevices; least > 0 && !r.Shadow {
		seen := int64(0)
		if r.Phase < len(m.Phases) {
			seen = m.Phases[r.Phase].Candidate.Devices
		}
		fmt.Fprintf(w, "  passes by time only with %d candidate devices in this phase; %d seen\n", least, seen)
	}
	switch {
	case r.Approved:
		fmt.Fprintln(w, "  approved: a person has agreed that it may be left")
	case r.Waiting == judge.CodeApproval:
		fmt.Fprintf(w, "  waits for approval: palier rollout approve %s\n", r.App)
	case r.Approval:
		fmt.Fprintf(w, "  will want approval before it is left: palier rollout approve %s\n", r.App)
	}
	if r.Waiting != "" && r.Waiting != judge.CodeApproval {
		fmt.Fprintln(w, "  waits for a person to promote, halt or roll it back")
	}
}

// lastChange says who paused or ended the rollout, when and why.
func lastChange(l look) string {
	text := "last change"
	if e := l.last; e.Verb != "" {
		text += fmt.Sprintf(": %s by %s %s", e.Verb, e.Actor, ago(e.Time, l.now))
	}
	if l.Rollout.Reason == "" {
		return text
	}
	return text + ": " + l.Rollout.Reason
}

// printEvidence draws a line for every metric of which something is known, and names those of which nobody reported
// anything.
func printEvidence(w io.Writer, m admin.MetricsView) {
	v, safe := m.Verdict, 1/m.Rollout.Plan.Beta
	var known []judge.Evidence
	var silent []string
	for _, e := range v.Metrics {
		unknown := v.Candidate == 0 || e.Lower+e.Upper+e.Ratio == 0 && !e.Alarm && !e.Safe
		if e.Candidate+e.Control == 0 && unknown {
			if percentiles(m.Display.Candidate, e.Metric) == nil && percentiles(m.Display.Control, e.Metric) == nil {
				silent = append(silent, string(e.Metric))
			}
			continue
		}
		known = append(known, e)
	}
	if len(known) > 0 {
		const row = "%-16s %-6s %9s %7s %7s  %-14s %-6s %s\n"
		fmt.Fprintf(w, row, "metric", "state", "candidate", "control", "ratio", "bounds", "harm", "safe")
		for _, e := range known {
			harmBar, safeBar := "–", "–"
			if v.Candidate > 0 {
				harmBar, safeBar = toward(e.EValue, e.Threshold, e.Alarm), toward(e.SafeEValue, safe, e.Safe)
			}
			fmt.Fprintf(w, row, e.Metric, state(e), fmt.Sprint(e.Candidate), control(e), estimate(e), bounds(e), harmBar, safeBar)
		}
		fmt.Fprintln(w, "ratio 1: like control, more: worse; %: rate of failure, ≤ limit; full bar: shown")
		fmt.Fprintln(w, "safe: within the margin of the plan, at its beta; bounds are for its alpha")
		for _, note := range footnotes(known) {
			fmt.Fprintln(w, wrap(note, 2))
		}
	}
	if len(silent) > 0 {
		fmt.Fprintln(w, wrap("not reported yet: "+strings.Join(silent, ", "), 2))
	}
}

// bar draws a share of one. It is full for everyone only.
func bar(share float64, width int) string {
	return blocks(int(max(0, min(1, share))*float64(width)), width)
}

func blocks(n, width int) string { return strings.Repeat("█", n) + strings.Repeat("░", width-n) }

// toward shows how far an e-value has come on the way to its threshold, on a logarithmic scale. The bar is full exactly
// when the judge calls it shown.
func toward(e, threshold float64, shown bool) string {
	const width = 5
	switch {
	case shown:
		return blocks(width, width)
	case threshold <= 1:
		return "–"
	}
	way := math.Log(max(1, e)) / math.Log(threshold)
	return blocks(min(width-1, int(way*width)), width)
}

func state(e judge.Evidence) string {
	switch {
	case e.Severe:
		return "severe"
	case e.Alarm:
		return "harm"
	case e.Safe:
		return "safe"
	}
	return "open"
}

// control is what the candidate is held against: the other arm's events, a limit, or what the app's devices did before.
func control(e judge.Evidence) string {
	switch {
	case e.Limit > 0:
		return "≤ " + figure(1, e) + " %"
	case e.Past > 0:
		return "~" + figure(1, judge.Evidence{Limit: e.Past}) + " %"
	}
	return fmt.Sprint(e.Control)
}

func estimate(e judge.Evidence) string {
	if e.Ratio == 0 && (e.Limit == 0 || e.Upper == 0) {
		return "–"
	}
	return figure(e.Ratio, e) + unit(e)
}

func bounds(e judge.Evidence) string {
	if e.Lower == 0 && e.Upper == 0 {
		return "–"
	}
	upper := "∞"
	if e.Upper > 0 {
		upper = figure(e.Upper, e)
	}
	return figure(e.Lower, e) + "–" + upper + unit(e)
}

// unit is that of the figures: percent where a metric is held against a limit, else none.
func unit(e judge.Evidence) string {
	if e.Limit > 0 {
		return " %"
	}
	return ""
}

// figure writes a ratio, or the rate in percent that it stands for, in at most five characters.
func figure(ratio float64, e judge.Evidence) string {
	x := ratio
	if e.Limit > 0 {
		x = 100 * ratio * e.Limit
	}
	switch {
	case x == 0:
		return "0"
	case x < 0.01:
		return "<0.01"
	case x < 10:
		return trimmed(x, 2)
	case x < 100:
		return trimmed(x, 1)
	case x < 10000:
		return trimmed(x, 0)
	}
	return ">9999"
}

// trimmed writes x with so many decimals, less the zeros at the end.
func trimmed(x float64, decimals int) string {
	text := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// short rounds a duration to whole minutes, or to seconds below one, for people.
func short(d rollout.Duration) string {
	unit := time.Minute
	if d.Std() < time.Minute {
		unit = time.Second
	}
	if d = rollout.Duration(d.Std().Truncate(unit)); d == 0 {
		return "0 s"
	}
	return d.String()
}

// age is a span in its largest unit: 40 s, 5 min, 3 h, 2 d.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, d)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}

// ago says when t was. A time to come, as on a server whose clock runs faster than it tells, is given as it is.
func ago(t, now time.Time) string {
	if toCome(t, now) {
		return "on " + t.Format("2006-01-02 15:04")
	}
	return age(now.Sub(t)) + " ago"
}

// toCome allows for clocks that differ a little.
func toCome(t, now time.Time) bool { return t.After(now.Add(time.Minute)) }

// wrap breaks text into lines of at most statusWidth, the later ones indented by so many spaces. What stands before the
// first word stays.
func wrap(text string, indent int) string {
	body := strings.TrimLeft(text, " ")
	line := text[:len(text)-len(body)]
	var lines []string
	for i, word := range strings.Fields(body) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > statusWidth:
			lines = append(lines, line)
			line = strings.Repeat(" ", indent) + word
		default:
			line += " " + word
		}
	}
	return strings.Join(append(lines, line), "\n")
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:max(0, n-1)]) + "…"
}

// terminalWidth is the number of columns that a table on w may have.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return plainWidth
}
