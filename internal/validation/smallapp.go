package validation

import (
	"fmt"
	"math"

	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Healthy is how harmless bundles fared in an app of smallApp devices, moved by verdicts alone.
type Healthy struct {
	Plan      string
	Runs      int
	Completed int
	Asked     int     // a person was asked
	Stopped   int     // by a gate
	Days      float64 // median until completion
}

// Killer is how bundles that kill the app on every device fared there.
type Killer struct {
	Plan, How string
	Runs      int
	Stopped   int
	Median    float64 // candidate devices when it was stopped
	Most      float64
	Hours     float64 // median until then
}

// smallApp is the number of devices of a small app, and smallSessions how often each starts it in a day.
const (
	smallApp      = 500
	smallSessions = 3
)

// smallPlans are the default plan and the one that the forecast proposes to an app of this size for which a bundle that
// starts nowhere shall harm killedDevices at most.
func (s *study) smallPlans() ([]rollout.Plan, error) {
	standard, _ := rollout.BuiltinPlan(rollout.DefaultPlan)
	audience := forecast.Typical(smallApp)
	audience.SessionsPerDay = smallSessions
	budget := forecast.Budget{Harmed: killedDevices, Regression: forecast.Deadly()}
	advice, err := forecast.Recommend(s.ctx, audience, budget, forecast.Options{Seed: s.Seed})
	if err != nil {
		return nil, fmt.Errorf("ask the forecast for a plan: %w", err)
	}
	advice.Plan.Name += ", proposed"
	return []rollout.Plan{standard, advice.Plan}, nil
}

// killedDevices is how many devices a bundle that starts nowhere may reach.
const killedDevices = 10

func smallWorld(plan rollout.Plan) world {
	w := calm(24*14, 0)
	w.name, w.plan, w.begins, w.devices, w.sessions, w.install = "small app", plan, nil, smallApp, smallSessions/24., .8
	w.rates = [numHappenings]float64{
		crash: .0004, anr: .0001, scriptError: .001, loadTime: .2, apiTime: .2, sessionLength: .2, featureUse: .1, feedback: .0005,
		bootFailure: .002, downloadFailure: .005, checksumFailure: .0005,
	}
	return w
}

func (s *study) smallApp() ([]Healthy, []Killer, error) {
	var healthy []Healthy
	var killers []Killer
	plans, err := s.smallPlans()
	if err != nil {
		return nil, nil, err
	}
	for _, plan := range plans {
		h, err := s.healthy(plan)
		if err != nil {
			return nil, nil, err
		}
		healthy = append(healthy, h)
		for _, kill := range killings() {
			k, err := s.killer(plan, kill)
			if err != nil {
				return nil, nil, err
			}
			killers = append(killers, k)
		}
	}
	return healthy, killers, nil
}

// ending is how one rollout ended.
type ending struct {
	decision judge.Decision // Promote for completion; Wait if it never ended
	hours    float64
	treated  int
}

// walk plays a rollout that verdicts move, until it is completed, stopped, or a person is asked.
func (s *stage) walk(w world, rng source) (ending, error) {
	end := ending{decision: judge.Wait}
	ticks := 0
	err := s.play(&w, rng, func(_ int, in judge.Input) move {
		ticks++
		decision, _ := judge.Quick(in)
		if decision == judge.Wait {
			return stay
		}
		end = ending{decision, float64(ticks) / float64(w.ticks), s.crowd.treated}
		if decision != judge.Promote {
			return leave
		}
		if in.Phase < len(w.plan.Phases)-1 {
			end.decision = judge.Wait
		}
		return advance
	})
	return end, err
}

func (s *study) healthy(plan rollout.Plan) (Healthy, error) {
	ends := make([]ending, s.fraction(40))
	err := s.each("small app, healthy: "+plan.Name, 40, func(stage *stage, run int) (err error) {
		ends[run], err = stage.walk(smallWorld(plan), seeded(s.Seed, "small app "+plan.Name, run))
		return err
	})
	h := Healthy{Plan: plan.Name, Runs: len(ends)}
	var hours []float64
	for _, end := range ends {
		switch end.decision {
		case judge.Promote:
			h.Completed++
			hours = append(hours, end.hours)
		case judge.Hold, judge.Wait:
			h.Asked++
		default:
			h.Stopped++
		}
	}
	h.Days = quantile(hours, .5) / 24
	return h, err
}

// killing is a way to kill an app on every device.
type killing struct {
	name  string
	apply func(*world)
}

func killings() []killing {
	return []killing{
		{reportedName, func(w *world) { w.rates[bootFailure] = 1 }},
		{"the device is never heard of again", func(w *world) { w.kill = 1 }},
	}
}

const reportedName = "the plugin reports update_fail"

func (s *study) killer(plan rollout.Plan, how killing) (Killer, error) {
	w := smallWorld(plan)
	how.apply(&w)
	w.ticks = 12 // every five minutes
	ends := make([]ending, s.fraction(40))
	err := s.each("small app, killed: "+plan.Name+", "+how.name, 40, func(stage *stage, run int) (err error) {
		ends[run], err = stage.walk(w, seeded(s.Seed, "killer "+plan.Name+how.name, run))
		return err
	})
	k := Killer{Plan: plan.Name, How: how.name, Runs: len(ends)}
	var devices, hours []float64
	for _, end := range ends {
		switch end.decision {
		case judge.Pause, judge.Halt, judge.Rollback:
			k.Stopped++
			k.Most = math.Max(k.Most, float64(end.treated))
			devices, hours = append(devices, float64(end.treated)), append(hours, end.hours)
		}
	}
	k.Median, k.Hours = quantile(devices, .5), quantile(hours, .5)
	return k, err
}
