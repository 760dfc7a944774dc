package judge

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// sayHarm is "crash ratio 9.8, at least 3.1 with 99 % confidence, after 74 candidate devices".
func (h *hearing) sayHarm(e Evidence, others int) string {
	text := fmt.Sprintf("%s with %s confidence", harmful(e), percent(1-h.alpha))
	if e.SinceHour > 0 {
		text += fmt.Sprintf(", since hour %d of the rollout", e.SinceHour)
	}
	text += ", after " + numbered(h.candidate, "candidate")
	switch {
	case others == 1:
		text += "; one other metric shows harm too"
	case others > 1:
		text += fmt.Sprintf("; %d other metrics show harm too", others)
	}
	return text
}

func harmful(e Evidence) string {
	switch {
	case e.Limit > 0:
		return fmt.Sprintf("%s rate %s, at least %s where %s is the limit",
			name(e.Metric), percent(e.Ratio*e.Limit), percent(floor(e.Lower*e.Limit)), percent(e.Limit))
	case e.Past > 0:
		text := fmt.Sprintf("%s ratio %s to the app's own past (%s of devices), which is weaker than a control",
			of(e), known(e.Ratio), percent(e.Past))
		if e.Lower <= 1 {
			return text
		}
		return text + ", at least " + short(floor(e.Lower))
	case e.Boundary > 0 && e.Lower <= 1: // the boundaries together show what none shows alone
		return fmt.Sprintf("%s ratio %s, and over all boundaries worse than the control", of(e), known(e.Ratio))
	}
	return fmt.Sprintf("%s ratio %s, at least %s", of(e), known(e.Ratio), short(floor(e.Lower)))
}

// of is the metric in words, with the boundary that is shown: "load time (4 s or more)".
func of(e Evidence) string {
	switch {
	case e.Boundary <= 0:
		return name(e.Metric)
	case e.Metric == rollout.SessionLength:
		return fmt.Sprintf("%s (below %s)", name(e.Metric), seconds(e.Boundary))
	}
	return fmt.Sprintf("%s (%s or more)", name(e.Metric), seconds(e.Boundary))
}

// seconds is a time in milliseconds as "707 ms" or "4 s".
func seconds(millis float64) string {
	if millis < 1000 {
		return short(millis) + " ms"
	}
	return short(millis/1000) + " s"
}

// sayUncompared says what a phase without control was held against, if anything.
func (h *hearing) sayUncompared() string {
	if h.recalled {
		return "this phase leaves no control, so it was held against the app's own past only, which is weaker, and showed no harm"
	}
	return "this phase leaves no control, so nothing was compared"
}

func (h *hearing) sayMismatch() string {
	return fmt.Sprintf("%s and %s do not fit the shares that the plan gives them (%s confidence), so no comparison can be trusted; a person must look",
		numbered(h.candidate, "candidate"), numbered(h.control, "control"), percent(1-h.alpha))
}

func (h *hearing) sayStale() string {
	return fmt.Sprintf("the newest check is %s old; missing data is not health", hours(h.in.Now.Sub(h.in.Newest)))
}

func (h *hearing) sayMinHold() string {
	return fmt.Sprintf("held for %s of at least %s", hours(h.in.Held), hours(h.phase.Hold.Min.Std()))
}

func (h *hearing) saySample() string {
	return fmt.Sprintf("%s seen in this phase where %d are wanted", numbered(h.inPhase, "candidate"), h.phase.MinDevices)
}

func (h *hearing) sayUnproven() string {
	return fmt.Sprintf("no harm shown after %s and %s, but safety is not shown for %s",
		numbered(h.candidate, "candidate"), numbered(h.control, "control"), list(h.unsafe()))
}

func (h *hearing) sayCertified() string {
	var cleared []string
	for _, i := range h.guardrails() {
		e := h.metrics[i]
		cleared = append(cleared, fmt.Sprintf("%s (margin %s)", name(e.Metric), short(e.Margin)))
	}
	return fmt.Sprintf("shown with %s confidence to be within the margin or negligible: %s, after %s and %s",
		percent(1-h.beta), list(cleared), numbered(h.candidate, "candidate"), numbered(h.control, "control"))
}

// sayTimeout names the largest harm that the data still allows.
func (h *hearing) sayTimeout(outcome string) func() string {
	return func() string { return h.sayUndecided(outcome) }
}

func (h *hearing) sayUndecided(outcome string) string {
	var possible, unknown []string
	for _, i := range h.guardrails() {
		e := h.metrics[i]
		if e.Upper == 0 {
			unknown = append(unknown, name(e.Metric))
			continue
		}
		possible = append(possible, possibleHarm(e))
	}
	said := fmt.Sprintf("held for %s without proof either way: %s; ", hours(h.in.Held), outcome)
	if len(possible) == 0 {
		return said + "nothing is known of the harm still possible"
	}
	said += fmt.Sprintf("largest harm still possible with %s confidence: %s", percent(1-h.alpha), strings.Join(possible, ", "))
	if len(unknown) > 0 {
		said += "; nothing is known yet of " + list(unknown)
	}
	return said
}

// possibleHarm names the upper bound of a metric that has one.
func possibleHarm(e Evidence) string {
	switch {
	case e.Limit > 0:
		return fmt.Sprintf("%s rate %s", name(e.Metric), percent(ceil(e.Upper*e.Limit)))
	}
	return fmt.Sprintf("%s ratio %s", name(e.Metric), short(ceil(e.Upper)))
}

// unsafe names the guardrails that are not cleared, or says why nothing can be when there are none of those.
func (h *hearing) unsafe() []string {
	var names []string
	for _, i := range h.guardrails() {
		e := h.metrics[i]
		if !e.Safe {
			names = append(names, name(e.Metric))
		}
	}
	if len(names) == 0 {
		return []string{"want of a control or of a stability metric"}
	}
	return names
}

// name is the metric in words.
func name(m rollout.Metric) string { return strings.ReplaceAll(string(m), "_", " ") }

// known is a ratio in words.
func known(ratio float64) string {
	if ratio == 0 {
		return "unknown"
	}
	return short(ratio)
}

// numbered is "1 candidate device", "74 candidate devices".
func numbered(n int64, arm string) string {
	if n == 1 {
		return "1 " + arm + " device"
	}
	return strconv.FormatInt(n, 10) + " " + arm + " devices"
}

// list is "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// hours is a duration to the minute, or to the second below one.
func hours(d time.Duration) string {
	if d >= time.Minute {
		d = d.Truncate(time.Minute)
	} else {
		d = d.Truncate(time.Second)
	}
	return rollout.Duration(d).String()
}

// short writes a number with at most three significant digits below 1000, and whole above.
func short(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	}
	three, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return "unknown"
	}
	return strconv.FormatFloat(three, 'f', -1, 64)
}

func percent(share float64) string { return short(share*100) + " %" }

// floor and ceil keep two significant digits without ever overstating what a bound says.
func floor(x float64) float64 { return outward(x, math.Floor) }
func ceil(x float64) float64  { return outward(x, math.Ceil) }

func outward(x float64, round func(float64) float64) float64 {
	if x <= 0 {
		return 0
	}
	unit := math.Pow10(int(math.Floor(math.Log10(x))) - 1)
	return round(float64(x/unit)) * unit
}
