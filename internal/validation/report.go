package validation

import (
	"context"
	"fmt"
	"time"
)

// Report is everything that a validation found.
type Report struct {
	Runs int // of each cell of the matrix
	Seed uint64

	Alarms     []Alarms
	Coverage   []Coverage
	Detections []Detection
	Rivals     []Rivals
	Vectors    []Vector
	Attacks    []Attack
	Healthy    []Healthy
	Killers    []Killer
	Order      Order

	Full time.Duration // about what FullRuns would take on this machine; not part of what is written down
}

// Run does it all. It takes as long as Options.Runs asks for, and ends early with an error when ctx does or when the fold
// fails. The same options give the same Report, but for Full, whatever the number of workers.
func Run(ctx context.Context, o Options) (Report, error) {
	s := newStudy(ctx, o)
	r := Report{Runs: s.Runs, Seed: s.Seed, Vectors: Vectors()}
	steps := []func() error{
		func() (err error) { r.Alarms, err = s.falseAlarms(worlds()); return err },
		func() (err error) { r.Coverage, err = s.coverage(); return err },
		func() (err error) { r.Detections, err = s.detections(); return err },
		func() (err error) { r.Rivals, err = s.rivals(); return err },
		func() (err error) { r.Attacks, err = s.attacks(); return err },
		func() (err error) { r.Healthy, r.Killers, err = s.smallApp(); return err },
		func() (err error) { r.Order, err = s.order(); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Report{}, fmt.Errorf("validate the judge: %w", err)
		}
	}
	r.Full = s.full
	return r, nil
}

// Failures lists in plain words what the judge does not live up to; nothing when all is well. What so few runs cannot show
// is no failure.
func (r Report) Failures() []string {
	var out []string
	fail := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, a := range r.Alarms {
		for i, alpha := range alphas {
			if Shown(a.Stopped[i], a.Runs, alpha) == refuted {
				fail("%s: %d of %d harmless bundles stopped at alpha %v", a.World, a.Stopped[i], a.Runs, alpha)
			}
			if Shown(a.Held[i], a.Runs, alpha) == refuted {
				fail("%s: %d of %d rollouts held for their arms' sizes at alpha %v", a.World, a.Held[i], a.Runs, alpha)
			}
		}
	}
	for _, c := range r.Coverage {
		for _, missed := range []int{c.Missed, c.Above, c.Below} {
			if Shown(missed, c.Runs, coverageAlpha) == refuted {
				fail("ratio %v: a bound missed it in %d of %d runs", c.Ratio, missed, c.Runs)
			}
		}
	}
	for _, d := range r.Detections {
		if !d.Holds() {
			fail("base %s, share %s, ratio %v, after %v healthy: %v devices until alarm, more than %v",
				percent(d.Base), percent(d.Share), d.Ratio, d.Healthy, number(d.Median), number(d.Limit))
		}
	}
	for _, s := range r.Rivals {
		if s.Harmless && Shown(s.Rules[0].Stopped, s.Runs, alphas[1]) == refuted {
			fail("side by side, %s: %d of %d harmless bundles stopped", s.Scenario, s.Rules[0].Stopped, s.Runs)
		}
	}
	for _, v := range r.Vectors {
		if v.Code != v.Want {
			fail("%s: the judge says %s, want %s", v.Name, v.Code, v.Want)
		}
	}
	return append(out, r.failuresOfRollouts()...)
}

// failuresOfRollouts is the part of Failures about attacks, the small app and the order of events.
func (r Report) failuresOfRollouts() []string {
	var out []string
	fail := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, a := range r.Attacks {
		if a.How == floodName && (never(a.Held) || !never(a.RolledBack)) {
			fail("%d devices: a flood of candidates is not held but %v", a.Devices, a)
		}
	}
	for i, h := range r.Healthy {
		if h.Stopped > 0 && Shown(h.Stopped, h.Runs, alphas[0]) == refuted {
			fail("plan %s: %d of %d harmless bundles stopped in a small app", h.Plan, h.Stopped, h.Runs)
		}
		if i > 0 && h.Completed*100 < h.Runs*95 {
			fail("plan %s: only %d of %d harmless bundles completed in a small app", h.Plan, h.Completed, h.Runs)
		}
	}
	for _, k := range r.Killers {
		if k.How == reportedName && (k.Stopped < k.Runs || k.Median > killedDevices) {
			fail("plan %s: %d of %d killers stopped, after %v devices", k.Plan, k.Stopped, k.Runs, k.Median)
		}
	}
	if r.Order.Different > 0 {
		fail("%d foldings of the same events gave another verdict", r.Order.Different)
	}
	return out
}
