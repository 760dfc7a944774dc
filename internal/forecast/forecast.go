package forecast

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/rollout"
)

// The bounds of Options.
const (
	DefaultRuns    = 200
	MaxRuns        = 10_000
	MaxRegressions = 8
)

// Options are how a plan is played. The zero value is what most want.
type Options struct {
	Runs        int          // plays of each bundle; DefaultRuns if 0
	Seed        uint64       // the same seed gives the same forecast
	Regressions []Regression // bundles besides the harmless one; StandardRegressions if nil
	// Record is what the app's devices did before, for phases that leave no control; nil when nothing is known.
	Record *rollout.Record
	// Brief makes Recommend try fewer plans, with fewer plays, for callers that cannot wait.
	Brief bool
	// Progress, if set, is told of every play that is done, by one caller at a time; and, while a plan is searched for, of
	// every plan that has been tried.
	Progress func(done, total int)
}

// StandardRegressions are bundles that crash on two, five and ten times as many devices, and one that starts on none.
func StandardRegressions() []Regression {
	return []Regression{Crashes(2), Crashes(5), Crashes(10), Deadly()}
}

// Forecast is what playing a plan showed.
type Forecast struct {
	Plan     rollout.Plan `json:"plan"` // resolved, with the margins that were chosen
	Audience Audience     `json:"audience"`
	Runs     int          `json:"runs"` // plays of each bundle
	Seed     uint64       `json:"seed"`
	Healthy  Healthy      `json:"healthy"`
	Harmful  []Caught     `json:"harmful"`
	Margins  []Choice     `json:"margins,omitempty"` // where the plan left them to the judge
	Curve    Curve        `json:"curve"`
	Warnings []string     `json:"warnings,omitempty"`
}

// Healthy is what happens to a bundle that does no harm.
type Healthy struct {
	Phases    []PhaseForecast `json:"phases"`
	FalseStop Chance          `json:"false_stop"` // paused, halted or taken back for harm that is none
	GivenUp   Chance          `json:"given_up"`   // taken back because the plan says so when nothing is proven in time
	Waiting   Chance          `json:"waiting"`    // still waiting for a person, a week after the longest hold of a phase
	Completes Chance          `json:"completes"`
	OnTime    Chance          `json:"on_time"` // completes within the longest holds of all phases
	Hours     Spread          `json:"hours"`   // until it completes, of the plays in which it does
}

// PhaseForecast is one phase of the plays of a harmless bundle that reached it.
type PhaseForecast struct {
	Phase     int    `json:"phase"`
	Name      string `json:"name"`
	Reached   int    `json:"reached"` // plays
	Hours     Spread `json:"hours"`   // until it was left, of the plays in which it was
	Devices   Spread `json:"devices"` // candidates seen in it
	Certified Chance `json:"certified"`
	ByTime    Chance `json:"by_time"` // left for its longest hold, with nothing proven
}

// Caught is what happens to a harmful bundle.
type Caught struct {
	Regression Regression `json:"regression"`
	Name       string     `json:"name"`
	Stopped    Chance     `json:"stopped"` // before the rollout completed
	// Exposed and Harmed are devices until the bundle was stopped, or the rollout ended otherwise. Exposed have run it or
	// tried to; harmed were hit by more than the base rate explains.
	Exposed Spread `json:"exposed"`
	Harmed  Spread `json:"harmed"`
	Hours   Spread `json:"hours"` // until it was stopped, of the plays in which it was
}

// Run plays plan against a. The plan is resolved first, and margins that it leaves to the judge are chosen. It is a pure
// function of its arguments: neither the number of processors nor the order of plays changes a digit. It refuses with
// rollout.Error or rollout.Errors a plan, audience or option that makes no sense, and returns ctx's error when ctx ends.
func Run(ctx context.Context, plan rollout.Plan, a Audience, o Options) (Forecast, error) {
	o = o.withDefaults()
	if err := check(plan, a, o); err != nil {
		return Forecast{}, err
	}
	plan, choices, err := Margins(ctx, plan, a)
	if err != nil {
		return Forecast{}, err
	}
	s := stage{plan: plan, audience: a, record: o.Record, seed: o.Seed, grid: gridOf(plan)}
	bundles := append([]Regression{{}}, o.Regressions...)
	plays, err := s.playAll(ctx, bundles, o)
	if err != nil {
		return Forecast{}, err
	}
	f := Forecast{
		Plan: plan, Audience: a, Runs: o.Runs, Seed: o.Seed, Margins: choices,
		Healthy: healthy(plan, plays[0]), Harmful: []Caught{}, Curve: s.curve(plays, o.Regressions),
	}
	for i, r := range o.Regressions {
		f.Harmful = append(f.Harmful, caught(r, plays[i+1]))
	}
	f.Warnings = warnings(plan, a, o)
	return f, nil
}

func (o Options) withDefaults() Options {
	if o.Runs == 0 {
		o.Runs = DefaultRuns
	}
	if o.Regressions == nil {
		o.Regressions = StandardRegressions()
	}
	return o
}

func check(plan rollout.Plan, a Audience, o Options) error {
	if err := errors.Join(o.validate(), a.Validate()); err != nil {
		return errorsOf(err)
	}
	if err := plan.Validate(); err != nil {
		return rollout.Within("plan", err)
	}
	return checkLength(plan)
}

func (o Options) validate() error {
	if o.Runs < 1 || o.Runs > MaxRuns {
		return rollout.Error{Code: CodeInvalidOptions, Field: "runs", Message: fmt.Sprintf("%d is not from 1 to %d plays", o.Runs, MaxRuns)}
	}
	if len(o.Regressions) > MaxRegressions {
		return rollout.Error{Code: CodeInvalidOptions, Field: "regressions", Message: fmt.Sprintf("%d regressions are more than %d; ask in several forecasts", len(o.Regressions), MaxRegressions)}
	}
	for i, r := range o.Regressions {
		if err := r.validate(fmt.Sprintf("regressions[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

// maxDays is how long a plan may be to be played: its longest holds, with the patience for a person.
const maxDays = 400

func checkLength(plan rollout.Plan) error {
	hours := 0.0
	for _, phase := range plan.Phases {
		hours += longest(phase)
	}
	if segments := len(segmentsOf(plan)); segments > maxSegments {
		return rollout.Error{Code: CodePlanTooLong, Field: "plan.phases", Message: fmt.Sprintf("the phases name %d segments, and a plan of more than %d is not played; name fewer", segments, maxSegments)}
	}
	if hours > maxDays*24 {
		return rollout.Error{Code: CodePlanTooLong, Field: "plan.phases", Message: fmt.Sprintf("the holds come to %.0f days, and a plan of more than %d is not played; shorten them", hours/24, maxDays)}
	}
	return nil
}

// maxSegments is how many different segments the phases of a played plan may name.
const maxSegments = 64

// playAll plays every bundle as often as o says, on all processors. plays[i] are those of bundles[i].
func (s stage) playAll(ctx context.Context, bundles []Regression, o Options) ([][]play, error) {
	plays := make([][]play, len(bundles))
	var telling sync.Mutex
	done, total := 0, len(bundles)*o.Runs
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, r := range bundles {
		plays[i] = make([]play, o.Runs)
		for number := range o.Runs {
			group.Go(func() (err error) {
				if plays[i][number], err = s.run(ctx, i, number, r); err != nil || o.Progress == nil {
					return err
				}
				telling.Lock()
				defer telling.Unlock()
				done++
				o.Progress(done, total)
				return nil
			})
		}
	}
	return plays, group.Wait()
}

func healthy(plan rollout.Plan, plays []play) Healthy {
	var ends [waiting + 1]int
	onTime, limit, hours := 0, onTimeHours(plan), []float64{}
	for _, p := range plays {
		ends[p.end]++
		if p.end != completed {
			continue
		}
		hours = append(hours, p.hours)
		if p.hours <= limit {
			onTime++
		}
	}
	n := len(plays)
	h := Healthy{
		FalseStop: chanceOf(ends[stopped], n), GivenUp: chanceOf(ends[gaveUp], n), Waiting: chanceOf(ends[waiting], n),
		Completes: chanceOf(ends[completed], n), OnTime: chanceOf(onTime, n), Hours: spreadOf(hours),
	}
	for i := range plan.Phases {
		h.Phases = append(h.Phases, phaseForecast(plan, i, plays))
	}
	return h
}

// onTimeHours is the time within which a plan means to complete, with a step for each phase to notice that it is over.
func onTimeHours(plan rollout.Plan) float64 {
	hours := 0.0
	for _, phase := range plan.Phases {
		hold := max(phase.Hold.Min, phase.Hold.Max).Std().Hours()
		hours += hold + step(0, hold)
	}
	return hours
}

func phaseForecast(plan rollout.Plan, phase int, plays []play) PhaseForecast {
	f := PhaseForecast{Phase: phase, Name: plan.Phases[phase].Name}
	certified, byTime := 0, 0
	var hours, devices []float64
	for _, p := range plays {
		if phase >= len(p.phases) {
			continue
		}
		at := p.phases[phase]
		f.Reached++
		devices = append(devices, float64(at.devices))
		if !at.left {
			continue
		}
		hours = append(hours, at.hours)
		if at.certified {
			certified++
		} else {
			byTime++
		}
	}
	f.Hours, f.Devices = spreadOf(hours), spreadOf(devices)
	f.Certified, f.ByTime = chanceOf(certified, f.Reached), chanceOf(byTime, f.Reached)
	return f
}

func caught(r Regression, plays []play) Caught {
	var exposed, harmed, hours []float64
	for _, p := range plays {
		exposed, harmed = append(exposed, float64(p.exposed)), append(harmed, float64(p.harmed))
		if p.wasStopped() {
			hours = append(hours, p.hours)
		}
	}
	return Caught{
		Regression: r, Name: r.String(), Stopped: chanceOf(len(hours), len(plays)),
		Exposed: spreadOf(exposed), Harmed: spreadOf(harmed), Hours: spreadOf(hours),
	}
}

func (p play) wasStopped() bool { return p.end == stopped || p.end == gaveUp }

// warnings are what to know before relying on a forecast.
func warnings(plan rollout.Plan, a Audience, o Options) []string {
	var list []string
	for _, r := range o.Regressions {
		if r.Ratio > 0 && a.Base[r.Metric] == 0 && r.Metric != rollout.Silence {
			list = append(list, fmt.Sprintf("no device is known to have %s, so a bundle that multiplies it does nothing; give its rate", r.Metric))
			break
		}
	}
	for _, name := range segmentsOf(plan) {
		if _, known := a.Segments[name]; !known {
			list = append(list, fmt.Sprintf("segment %s is taken to hold %g %% of the devices", name, 100*SegmentShare(name)))
		}
	}
	if slices.ContainsFunc(plan.Phases, func(p rollout.Phase) bool { return p.Approval }) {
		list = append(list, "every approval is taken to be given at once")
	}
	return list
}

// errorsOf flattens joined errors of the domain into one list.
func errorsOf(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var list rollout.Errors
	for _, e := range joined.Unwrap() {
		switch e := e.(type) {
		case rollout.Errors:
			list = append(list, e...)
		case rollout.Error:
			list = append(list, e)
		}
	}
	return list
}
