package judge

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// BenchmarkTick judges 1 000 live rollouts with events of every metric in each of 168 hours, a week in three phases: what
// the promoting function does in one tick, less its reading and writing.
func BenchmarkTick(b *testing.B) {
	const live = 1000
	inputs := make([]Input, 16) // different ones, so that no processor remembers the answers
	for i := range inputs {
		inputs[i] = week(i)
	}
	for _, c := range []struct {
		name string
		one  func(Input)
	}{
		{"Judge", func(in Input) { Judge(in) }},
		{"Quick", func(in Input) { Quick(in) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := range live {
					c.one(inputs[i%len(inputs)])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/tick")
			b.ReportMetric(heap(func() { c.one(inputs[0]) }), "heap-KB/rollout")
		})
	}
}

// heap returns the kilobytes that f allocates.
func heap(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / 1024
}

// BenchmarkStrata shows how the time of one verdict grows with the hours that are read.
func BenchmarkStrata(b *testing.B) {
	for _, hours := range []int64{24, 168, 672} {
		in := busyRollout(1, hours)
		b.Run(fmt.Sprintf("%d hours", hours), func(b *testing.B) {
			for b.Loop() {
				Judge(in)
			}
		})
	}
}

// week is a rollout of an innocent, busy bundle after 168 hours in three phases.
func week(run int) Input { return busyRollout(run, 168) }

// busyRollout is a rollout of an innocent bundle through three phases of equal length, 2 000 devices an hour, with events
// of every metric in every hour.
func busyRollout(run int, hours int64) Input {
	rng := seeded(run)
	in := Input{Plan: rollout.Plan{Phases: phases(5, 20, 50), OnTimeout: rollout.TimeoutPromote}, Phase: 2, Held: 30 * time.Hour}
	for hour := range hours {
		phase := int(3 * hour / hours)
		share := in.Plan.Phases[phase].Percent.Share()
		n := binomial(rng, 2000, share)
		in.Strata = append(in.Strata, Stratum{
			Phase: phase, Hour: epochHour + hour, Share: share, Candidate: arm(rng, n), Control: arm(rng, 2000-n),
		})
	}
	return in.at(hours)
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
