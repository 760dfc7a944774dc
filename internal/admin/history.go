package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// lastEnded returns the rollout that ended last among those on the channel that any device could have noticed, and false
// when there is none. Bundle "" asks for any bundle.
func lastEnded(s rollout.State, channel, bundle string) (last rollout.Rollout, found bool) {
	for _, r := range listed(s.Rollouts) {
		if r.Channel != channel || bundle != "" && r.Bundle != bundle || r.State.Live() || r.PhaseStartedAt.IsZero() {
			continue
		}
		if !found || !r.EndedAt.Before(last.EndedAt) {
			last, found = r, true
		}
	}
	return last, found
}

// lastCompleted is lastEnded among the completed ones.
func lastCompleted(s rollout.State, channel string) (last rollout.Rollout, found bool) {
	for _, r := range listed(s.Rollouts) {
		if r.Channel == channel && r.State == rollout.Completed && (!found || !r.EndedAt.Before(last.EndedAt)) {
			last, found = r, true
		}
	}
	return last, found
}

// warnStart says what speaks against starting the bundle on the channel again: that its last rollout there was stopped.
func warnStart(s rollout.State, channel, bundle string, now time.Time) []string {
	last, found := lastEnded(s, channel, bundle)
	if !found || last.State != rollout.RolledBack && last.State != rollout.Halted {
		return nil
	}
	return []string{fmt.Sprintf("%s %s on %s %s%s", bundle, ending(last.State), channel, ago(now.Sub(last.EndedAt)), because(last.Reason))}
}

// warnApply says which channels are pointed away, from before to after, from what a rollout on them completed.
func warnApply(before, after rollout.State) []string {
	var warnings []string
	for _, was := range listed(before.Channels) {
		is, stays := after.Channels[was.Name]
		done, found := lastCompleted(before, was.Name)
		if !stays || !found || was.Bundle != done.Bundle || is.Bundle == was.Bundle {
			continue
		}
		if newer(is.Bundle, was.Bundle) {
			warnings = append(warnings, fmt.Sprintf("%s: goes on from what rollout %s completed (%s) to %s without a rollout", was.Name, done.ID, done.Bundle, is.Bundle))
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s: takes back what rollout %s completed (%s)", was.Name, done.ID, done.Bundle))
	}
	return warnings
}

// newer reports whether bundle a comes after b. The store build comes before all.
func newer(a, b string) bool {
	x, known := resolve.ParseVersion(a)
	y, _ := resolve.ParseVersion(b)
	return known && x.Compare(y) > 0
}

// history tells how the last rollout on a channel ended, for a device that wonders why it has what it has.
func history(r rollout.Rollout, now time.Time) string {
	text := fmt.Sprintf("rollout %s of bundle %s %s %s", r.ID, r.Bundle, ending(r.State), ago(now.Sub(r.EndedAt)))
	if r.Actor != "" {
		text += " by " + r.Actor
	}
	return text + because(r.Reason)
}

// ending is the state of an ended rollout as a verb.
func ending(state rollout.RolloutState) string {
	switch state {
	case rollout.Completed:
		return "completed"
	case rollout.Halted:
		return "was halted"
	case rollout.RolledBack:
		return "was rolled back"
	case rollout.Superseded:
		return "was superseded"
	}
	return "is " + string(state)
}

func because(reason string) string {
	if reason = strings.TrimSuffix(strings.TrimSpace(reason), "."); reason != "" {
		return ": " + reason
	}
	return ""
}

// ago says how long something is past, to the largest unit that leaves a number people can compare.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}
