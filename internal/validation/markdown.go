package validation

import (
	"fmt"
	"math"
	"strings"

	"github.com/palier-ota/palier/internal/judge"
)

// Markdown writes the report as the document that is kept beside the judge. It names no machine and no date: the same
// options give the same bytes.
func (r Report) Markdown() string {
	var d document
	d.say("# What the judge keeps of its promises")
	d.say("This file is written by `make validate-judge RUNS=%d SEED=%d`; do not edit it. %s", r.Runs, r.Seed, versionLine())
	d.say("Simulated devices check for updates and report what happens to them. Their events go through the code that counts " +
		"in production, and the judge looks at the tallies every hour with every gate on. How it is done, and why so, is said in " +
		"the package `internal/validation`.")
	r.writeAlarms(&d)
	r.writeCoverage(&d)
	r.writeDetections(&d)
	r.writeRivals(&d)
	r.writeVectors(&d)
	r.writeAttacks(&d)
	r.writeSmallApp(&d)
	d.say("## The order of events")
	d.say("%d rollouts, all at once, of %s events on average, were each folded %d times: shuffled, partly repeated, cut into other "+
		"batches, over one to four shards, with the devices' records written to pages and read back in between. Verdicts with other bytes: %d.",
		r.Order.Rollouts, number(r.Order.Events), r.Order.Rearrangement, r.Order.Different)
	return d.String()
}

// versionLine says which judge the figures are of.
func versionLine() string { return fmt.Sprintf("The judge's version is %d.", judge.Version) }

// document is Markdown under construction.
type document struct{ strings.Builder }

func (d *document) say(format string, args ...any) {
	fmt.Fprintf(d, format+"\n\n", args...)
}

// table writes a table; the first column is aligned to the left.
func (d *document) table(head []string, rows [][]string) {
	d.WriteString("| " + strings.Join(head, " | ") + " |\n|---|" + strings.Repeat("---:|", len(head)-1) + "\n")
	for _, row := range rows {
		d.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	d.WriteString("\n")
}

func (r Report) writeAlarms(d *document) {
	d.say("## False alarms")
	d.say("A harmless bundle goes through each world %d times. *Stopped* counts the runs in which any gate showed harm at any tick, "+
		"at an alpha of 0.05 and of 0.01, the default; *held* those in which the arms' sizes seemed not to fit. In brackets is the upper "+
		"99 %% Clopper-Pearson bound of the true rate; it must not exceed alpha. About as many devices crash in a run as is written "+
		"there: a crash rate five times as high is found after some 30 of them, a tripled one after 40 to 90.", r.Runs)
	var rows [][]string
	for _, a := range r.Alarms {
		rows = append(rows, []string{
			a.World, counted(a.Stopped[0], a.Runs), counted(a.Stopped[1], a.Runs), counted(a.Held[0], a.Runs), counted(a.Held[1], a.Runs),
			fmt.Sprint(a.Ticks), number(a.Crashes), number(a.Events),
			Shown(a.Stopped[0], a.Runs, alphas[0]) + ", " + Shown(a.Stopped[1], a.Runs, alphas[1]),
		})
	}
	d.table([]string{"world", "stopped, 0.05", "stopped, 0.01", "held, 0.05", "held, 0.01", "ticks", "crashed devices", "events", "bound ≤ 0.05, ≤ 0.01"}, rows)
}

// counted writes so many of so many with the bound of the rate.
func counted(count, runs int) string {
	return fmt.Sprintf("%d (%.2f %%)", count, 100*clopperPearson(count, runs))
}

func (r Report) writeCoverage(d *document) {
	d.say("## Coverage")
	d.say("The interval of the ratio of crashes, read from the verdict at a time drawn at random, or when the arms seem to differ by two "+
		"standard errors, whichever comes first; alpha is %v. With every gate on, crash has its part of alpha and the interval must miss the "+
		"truth with probability alpha at most. With the crash gate alone, either bound has all of alpha, and each must keep to it.", coverageAlpha)
	var rows [][]string
	for _, c := range r.Coverage {
		rows = append(rows, []string{
			number(c.Ratio), fmt.Sprint(c.Runs), fmt.Sprintf("%.2f %%", 100-100*float64(c.Missed)/float64(c.Runs)),
			counted(c.Missed, c.Runs), counted(c.Above, c.Runs), counted(c.Below, c.Runs),
		})
	}
	d.table([]string{"true ratio", "runs", "covered, all gates", "missed, all gates", "crash alone: lower bound above", "upper bound below"}, rows)
}

func (r Report) writeDetections(d *document) {
	d.say("## Devices until a regression is stopped")
	d.say("Candidate devices until the crash gate, with an alpha of 0.01 to itself, stops a bundle that crashes on so many times as many " +
		"devices; asked after every crash of a candidate. The limit is the median of an independent simulation of the method and a tenth " +
		"for chance. For a late regression it is what a test that only starts with the rollout needs.")
	var rows [][]string
	for _, c := range r.Detections {
		limit := "–"
		if c.Limit > 0 {
			limit = number(c.Limit)
		}
		begins := "at once"
		if c.Healthy > 0 {
			begins = "after " + number(c.Healthy) + " healthy devices"
		}
		rows = append(rows, []string{
			percent(c.Base), percent(c.Share), "×" + number(c.Ratio), begins, number(c.Median), number(c.P90), limit, yesNo(c.Holds()),
		})
	}
	d.table([]string{"base rate", "candidates", "ratio", "begins", "median", "9 of 10 within", "limit", "holds"}, rows)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func (r Report) writeRivals(d *document) {
	d.say("## Side by side")
	d.say("The same rollouts before every rule: 20 000 devices that start the app once a day, 5, 20 and 50 %% of them for a day each, and a " +
		"day beyond. A harmful bundle crashes so many times as often, and as many times as many of its installations fail: Capgo's rule sees " +
		"only those. Operators know what is normal and set thresholds to twice that, in the last scenario to three times.")
	d.say("Harmless bundles that were stopped; each is a false alarm:")
	d.rivals(r.Rivals, true, func(rule Ruled, runs int) string { return share(rule.Stopped, runs) })
	d.say("Harmful bundles: how many were stopped, the median of the devices that had been candidates by then, and how many " +
		"candidates had crashed until then, or until the end, on average. A rule that stops harmless rollouts in every second run is early " +
		"here for the same reason.")
	d.rivals(r.Rivals, false, func(rule Ruled, runs int) string {
		return share(rule.Stopped, runs) + " · " + number(rule.Devices) + " · " + number(rule.Harmed)
	})
	d.say("Capgo: lower 95 %% Wilson bound of failures among the attempts of the last hour, which are installations and failures, at least 20, " +
		"against the threshold; asked hourly here, every five minutes there. Kayenta: Mann-Whitney on the crashes per app start of every hour, " +
		"98 %% interval of the shift beyond a quarter of its Hodges-Lehmann estimate, missing points removed.")
}

// rivals writes a row per rule and a column per scenario.
func (d *document) rivals(scenarios []Rivals, harmless bool, cell func(Ruled, int) string) {
	head, rows := []string{"rule"}, [][]string(nil)
	for _, s := range scenarios {
		if s.Harmless != harmless {
			continue
		}
		head = append(head, fmt.Sprintf("%s (%d runs)", s.Scenario, s.Runs))
		for i, rule := range s.Rules {
			if i == len(rows) {
				rows = append(rows, []string{rule.Rule})
			}
			rows[i] = append(rows[i], cell(rule, s.Runs))
		}
	}
	d.table(head, rows)
}

// share writes so many of so many as a percentage.
func share(count, runs int) string { return fmt.Sprintf("%.1f %%", 100*float64(count)/float64(runs)) }

func (r Report) writeVectors(d *document) {
	d.say("## Three series on which Kayenta is reported to fail")
	d.say("Points are devices that crashed in an hour, of a hundred that came. Kayenta's classification is of its rule as written here, which " +
		"agrees with what the report of the last series prints.")
	var rows [][]string
	for _, v := range r.Vectors {
		rows = append(rows, []string{
			v.Name, v.Reported, series(v.Experiment), series(v.Control), percent(v.Share), v.Kayenta, string(v.Decision) + " (" + v.Code + ")", v.Why,
		})
	}
	d.table([]string{"case", "reported", "candidate", "control", "candidates", "Kayenta", "judge", "why"}, rows)
}

func series(points []float64) string {
	out := make([]string, len(points))
	for i, p := range points {
		out[i] = number(p)
	}
	return strings.Join(out, " ")
}

func (r Report) writeAttacks(d *document) {
	d.say("## Forged devices")
	d.say("Scripted devices attack a harmless rollout at 5 %%, a day old, whose devices crash in one case of 200. They know the protocol but not " +
		"the salt, so an id's arm shows only when it asks. Every device that asks is counted, in the arm that its hash gives it. The number is " +
		"the median of forged devices until the rollout is held for its arms' sizes, paused, or taken back. " +
		"Where a source is capped, only the larger of 5 devices and a quarter of those that asked from it may have a crash counted in a day. " +
		"Not counted at all, with any number of them: a device that reports again what it reported before, and one that never asked.")
	var rows [][]string
	for _, a := range r.Attacks {
		rows = append(rows, []string{fmt.Sprint(a.Devices), a.How, number(a.Held), number(a.Paused), number(a.RolledBack)})
	}
	d.table([]string{"real devices", "attack", "held", "paused", "taken back"}, rows)
}

func (r Report) writeSmallApp(d *document) {
	d.say("## An app of %d devices", smallApp)
	d.say("Each device starts the app three times a day; verdicts alone move the rollout. The proposed plan is what the forecast answers for "+
		"such an app when a bundle that starts nowhere shall harm %d devices at most. A bundle that leaves no trace is only told by silence, "+
		"which takes hours to be one.", killedDevices)
	var rows [][]string
	for _, h := range r.Healthy {
		rows = append(rows, []string{
			h.Plan, fmt.Sprint(h.Runs), share(h.Completed, h.Runs), share(h.Asked, h.Runs), share(h.Stopped, h.Runs), number(h.Days),
		})
	}
	d.table([]string{"plan, harmless bundle", "runs", "completed", "a person was asked", "stopped", "days until completed"}, rows)
	rows = nil
	for _, k := range r.Killers {
		rows = append(rows, []string{
			k.Plan, k.How, share(k.Stopped, k.Runs), number(k.Median), number(k.Most), number(k.Hours),
		})
	}
	d.table([]string{"plan, bundle that kills every app", "what is heard of it", "stopped", "candidate devices, median", "most", "hours"}, rows)
}

func never(x float64) bool { return math.IsInf(x, 1) }
