package validation

import (
	"math"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Coverage is how often the interval of the ratio held the truth when somebody stopped to look.
type Coverage struct {
	Ratio float64 // the truth
	Runs  int
	// Missed counts runs whose interval did not hold the ratio, with every gate on: crash then has its part of alpha only.
	Missed int
	// Above and Below count, with the crash gate alone and all of alpha for either bound, the lower bounds above the ratio and
	// the upper bounds below it.
	Above, Below int
}

// coverageAlpha is the alpha of the plans whose intervals are looked at.
const coverageAlpha = .05

// coverage plays rollouts with a true ratio of crashes until somebody stops to look: at a time drawn at random, or when the
// arms seem to differ by two standard errors, whichever comes first.
func (s *study) coverage() ([]Coverage, error) {
	var out []Coverage
	for _, ratio := range []float64{.5, 1, 3} {
		w := walking(96)
		w.name, w.ratio, w.devices, w.sessions = "coverage", ratio, 3000, 5./96
		w.rates = [numHappenings]float64{crash: .008}
		w.plan.Alpha = coverageAlpha
		misses := make([]Coverage, s.fraction(4))
		err := s.each("coverage of a ratio of "+number(ratio), 4, func(stage *stage, run int) error {
			in, err := stage.stopped(w, seeded(s.Seed, w.name+number(ratio), run))
			if err != nil {
				return err
			}
			misses[run] = missed(in, ratio)
			return nil
		})
		if err != nil {
			return nil, err
		}
		sum := Coverage{Ratio: ratio, Runs: len(misses)}
		for _, m := range misses {
			sum.Missed, sum.Above, sum.Below = sum.Missed+m.Missed, sum.Above+m.Above, sum.Below+m.Below
		}
		out = append(out, sum)
	}
	return out, nil
}

// stopped returns what the judge reads when somebody stops to look.
func (s *stage) stopped(w world, rng source) (judge.Input, error) {
	var last judge.Input
	until := 6 + rng.IntN(w.hours-6)
	err := s.play(&w, rng, func(hour int, in judge.Input) move {
		last = in
		if hour >= until || hour >= 6 && striking(in.Strata) {
			return leave
		}
		return stay
	})
	return last, err
}

// striking reports whether crashes fall on the arms in another proportion than the design has it, by two standard errors.
func striking(strata []judge.Stratum) bool {
	excess, variance := 0.0, 0.0
	for i := range strata {
		ours := float64(strata[i].Candidate.Events[rollout.Crash.Index()])
		all := ours + float64(strata[i].Control.Events[rollout.Crash.Index()])
		excess += ours - all*strata[i].Share
		variance += all * strata[i].Share * (1 - strata[i].Share)
	}
	return variance > 1 && math.Abs(excess) > 2*math.Sqrt(variance)
}

// missed holds the interval of crashes against the truth, in the plan as it is and with the crash gate alone.
func missed(in judge.Input, ratio float64) Coverage {
	var m Coverage
	lower, upper := interval(in)
	m.Missed = one(ratio < lower || ratio > upper)
	in.Plan = onlyCrash(in.Plan)
	lower, upper = interval(in)
	m.Above, m.Below = one(lower > ratio), one(upper < ratio)
	return m
}

// interval is the confidence sequence of the ratio of crashes as the verdict shows it.
func interval(in judge.Input) (lower, upper float64) {
	for _, e := range judge.Judge(in).Metrics {
		if e.Metric != rollout.Crash {
			continue
		}
		if e.Upper == 0 {
			return e.Lower, math.Inf(1)
		}
		return e.Lower, e.Upper
	}
	return 0, math.Inf(1)
}

// onlyCrash is a plan with the gates of all other metrics off.
func onlyCrash(plan rollout.Plan) rollout.Plan {
	gates := make([]rollout.Gate, 0, rollout.NumMetrics)
	for _, gate := range rollout.Resolve(plan).Gates {
		gate.Off = gate.Metric != rollout.Crash
		gates = append(gates, gate)
	}
	plan.Gates = gates
	return plan
}
