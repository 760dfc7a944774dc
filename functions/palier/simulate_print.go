package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/rollout"
)

// printForecast tells a person what the plays showed, in lines of statusWidth at most. learning says whether the server was
// asked what it knows.
func printForecast(w io.Writer, v admin.ForecastView, learning bool) {
	f := v.Forecast
	fmt.Fprintln(w, wrap(fmt.Sprintf("plan %s on %d active devices that ask %.3g times a day; %d plays of each bundle", f.Plan.Name, f.Audience.Devices, f.Audience.SessionsPerDay, f.Runs), 2))
	printSources(w, v.Audience, learning)
	printHealthy(w, f)
	printHarmful(w, f.Harmful)
	printMargins(w, f.Margins)
	printCurves(w, f.Curve)
	for _, warning := range f.Warnings {
		fmt.Fprintln(w, wrap("note: "+warning, 6))
	}
	if v.Advice != nil {
		printAdvice(w, *v.Advice)
	}
}

// printSources says where the numbers come from.
func printSources(w io.Writer, a admin.AudienceView, learning bool) {
	for _, source := range []struct{ name, text string }{{"given", "as given"}, {"learned", "learned"}, {"default", "taken to be typical"}} {
		var names []string
		for name, from := range a.Sources {
			metric, isRate := strings.CutPrefix(name, "base.")
			switch {
			case from != source.name:
			case isRate && a.Base[rollout.Metric(metric)] > 0:
				names = append(names, fmt.Sprintf("%s %.2g%%", metric, 100*a.Base[rollout.Metric(metric)]))
			case !isRate:
				names = append(names, strings.ReplaceAll(name, "_", " "))
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			fmt.Fprintln(w, wrap("  "+source.text+": "+strings.Join(names, ", "), 4))
		}
	}
	switch {
	case len(a.Learned) > 0:
		fmt.Fprintf(w, "  from the controls of %d past rollouts, %d devices\n", len(a.Learned), a.Record.Devices)
	case learning:
		fmt.Fprintln(w, "  nothing could be learned: no past rollout has enough controls")
	}
}

func printHealthy(w io.Writer, f forecast.Forecast) {
	const row = "  %-14s %-14s %10s  %s\n"
	fmt.Fprintln(w, "\na harmless bundle")
	fmt.Fprintf(w, row, "phase", "lasts (9 of 10)", "devices", "is left certified in")
	for _, p := range f.Healthy.Phases {
		if p.Reached == 0 {
			fmt.Fprintf(w, row, clip(p.Name, 14), "–", "–", "never reached")
			continue
		}
		fmt.Fprintf(w, row, clip(p.Name, 14), hoursOf(p.Hours), fmt.Sprintf("%.0f", p.Devices.Median), p.Certified)
	}
	fmt.Fprintf(w, "  completes on time       %s\n", f.Healthy.OnTime)
	if f.Healthy.Hours.Of > 0 {
		fmt.Fprintf(w, "  after                   %s\n", hoursOf(f.Healthy.Hours))
	}
	fmt.Fprintf(w, "  is stopped for nothing  %s\n", f.Healthy.FalseStop)
	if f.Healthy.GivenUp.Times > 0 {
		fmt.Fprintf(w, "  is taken back unproven  %s\n", f.Healthy.GivenUp)
	}
	if f.Healthy.Waiting.Times > 0 {
		fmt.Fprintf(w, "  waits for a person      %s\n", f.Healthy.Waiting)
	}
}

// hoursOf is a median with what nine of ten do not exceed, in hours or days.
func hoursOf(s forecast.Spread) string {
	if s.Of == 0 {
		return "–"
	}
	unit, divisor := "h", 1.
	if s.P90 >= 96 {
		unit, divisor = "d", 24
	}
	number := func(hours float64) string { return trimmed(hours/divisor, 1) }
	return fmt.Sprintf("%s %s (%s)", number(s.Median), unit, number(s.P90))
}

func printHarmful(w io.Writer, harmful []forecast.Caught) {
	if len(harmful) == 0 {
		return
	}
	const row = "  %-18s %-23s %-12s %-11s %s\n"
	fmt.Fprintln(w, "\na harmful bundle")
	fmt.Fprintf(w, row, "", "is stopped in", "after", "has harmed", "of exposed")
	count := func(s forecast.Spread) string { return fmt.Sprintf("%.0f (%.0f)", s.Median, s.P90) }
	for _, c := range harmful {
		fmt.Fprintf(w, row, clip(c.Name, 18), shorter(c.Stopped), hoursOf(c.Hours), count(c.Harmed), fmt.Sprintf("%.0f", c.Exposed.Median))
	}
	fmt.Fprintln(w, wrap("harmed: devices hit beyond the usual rate until it was stopped, or the rollout ended; in brackets, what nine plays of ten do not exceed", 2))
}

// shorter is a chance without the word for its bound.
func shorter(c forecast.Chance) string {
	return strings.NewReplacer("at most ", "≤ ", "at least ", "≥ ").Replace(c.String())
}

// printMargins lists the margins that the plan left to the judge, a line for each phase; nothing if there are none.
func printMargins(w io.Writer, choices []forecast.Choice) {
	if len(choices) == 0 {
		return
	}
	fmt.Fprintln(w, "\nmargins that a certificate excludes, chosen for this audience")
	uncertain := false
	for _, phase := range slices.CompactFunc(slices.Clone(choices), func(a, b forecast.Choice) bool { return a.Phase == b.Phase }) {
		var parts []string
		for _, c := range choices {
			if c.Phase != phase.Phase {
				continue
			}
			mark := ""
			if !c.Certifies {
				mark, uncertain = "*", true
			}
			parts = append(parts, fmt.Sprintf("%s %g×%s", c.Metric, float64(c.Margin), mark))
		}
		fmt.Fprintln(w, wrap(fmt.Sprintf("  %-9s %s", clip(phase.Name, 9), strings.Join(parts, ", ")), 12))
	}
	if uncertain {
		fmt.Fprintln(w, "  * cannot be certified by the phase's longest time: then on_timeout decides")
	}
}

// curveWidth is how many columns a drawn curve has.
const curveWidth = 56

// printCurves draws every curve as a row of blocks over the same days.
func printCurves(w io.Writer, c forecast.Curve) {
	if len(c.Hours) < 2 {
		return
	}
	fmt.Fprintf(w, "\n%-22s %s\n", "days", axis(c.Hours[len(c.Hours)-1]/24))
	fmt.Fprintf(w, "%-22s %s\n", "run it, harmless", blockRow(c.Exposed.Median))
	for _, s := range c.Stopped {
		fmt.Fprintf(w, "%-22s %s\n", clip("stopped, "+s.Name, 22), blockRow(s.Share))
	}
	fmt.Fprintln(w, "an empty column is none, a full one all, of the devices or of the plays")
}

// axis is a ruler of whole days.
func axis(days float64) string {
	step := math.Max(1, math.Ceil(days/8))
	ruler := []rune(strings.Repeat(" ", curveWidth+2))
	for day := 0.; day <= days; day += step {
		at := int(day / days * (curveWidth - 1))
		for i, r := range fmt.Sprintf("%.0f", day) {
			if at+i < len(ruler) {
				ruler[at+i] = r
			}
		}
	}
	return strings.TrimRight(string(ruler), " ")
}

// blockRow draws shares as columns of eight heights.
func blockRow(shares []float64) string {
	heights := []rune(" ▁▂▃▄▅▆▇█")
	var row strings.Builder
	for column := range curveWidth {
		share := shares[column*(len(shares)-1)/(curveWidth-1)]
		height := int(math.Ceil(share * 8))
		if height == 8 && share < 1 {
			height = 7
		}
		row.WriteRune(heights[max(0, min(8, height))])
	}
	return row.String()
}

// printAdvice says which plan fits the budget, and how it would be written down.
func printAdvice(w io.Writer, a forecast.Advice) {
	fmt.Fprintln(w, "\n"+wrap("recommended: "+a.Sentence, 2))
	for _, p := range a.Plan.Phases {
		fmt.Fprintf(w, "  - {percent: %s, hold: {min: %s, max: %s}, min_devices: %d}\n", p.Percent, p.Hold.Min, p.Hold.Max, p.MinDevices)
	}
	h := a.Forecast.Healthy
	fmt.Fprintf(w, "  with on_timeout: %s, holdback: %s, margin: auto\n", a.Plan.OnTimeout, a.Plan.Holdback)
	fmt.Fprintf(w, "  a harmless bundle completes on time in %s, after %s\n", h.OnTime, hoursOf(h.Hours))
}
