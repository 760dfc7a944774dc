package judge

import (
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// BenchmarkJudge weighs a busy rollout after a week in each of three phases: every metric has events in every hour.
func BenchmarkJudge(b *testing.B) {
	in := Input{
		Plan:  rollout.Plan{Phases: phases(5, 20, 50), OnTimeout: rollout.TimeoutPromote},
		Phase: 2, Held: 168 * time.Hour,
	}
	for phase, share := range []float64{.05, .2, .5} {
		for hour := range int64(168) {
			in.Strata = append(in.Strata, busy(phase, int64(phase*168)+hour, share))
		}
	}
	in.Newest = time.Unix(3*168*3600, 0)
	in.Now = in.Newest
	b.ReportAllocs()
	for b.Loop() {
		Judge(in)
	}
}

// busy is a stratum in which an innocent candidate shows a little of everything.
func busy(phase int, hour int64, share float64) Stratum {
	arm := func(n float64) Counts {
		c := Counts{Devices: int64(n), Adopted: int64(n * .8)}
		for i := range c.Returned {
			c.Returned[i] = int64(n * []float64{.3, .6, .9}[i])
		}
		for i := range c.Events {
			c.Events[i] = int64(n * .01)
		}
		return c
	}
	return Stratum{Phase: phase, Hour: hour, Share: share, Candidate: arm(2000 * share), Control: arm(2000 * (1 - share))}
}

// phases are phases of so many percent, held for one day at least and two at most.
func phases(percents ...int) []rollout.Phase {
	var out []rollout.Phase
	for _, p := range percents {
		out = append(out, rollout.Phase{
			Percent: rollout.Percent(p) * rollout.OnePercent,
			Hold:    rollout.Hold{Min: rollout.Duration(24 * time.Hour), Max: rollout.Duration(48 * time.Hour)},
		})
	}
	return out
}
