package forecast

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// Budget is the harm that is accepted: at most so many devices, in nine plays of ten, until a bundle with this regression is stopped.
type Budget struct {
	Harmed     int        `json:"harmed"`
	Regression Regression `json:"regression"`
}

// Advice is the fastest plan found within a Budget.
type Advice struct {
	Plan     rollout.Plan `json:"plan"`
	Forecast Forecast     `json:"forecast"` // its
	Within   bool         `json:"within"`   // the budget; if not, the plan is the one with the least harm
	Tried    int          `json:"tried"`    // plans
	Sentence string       `json:"sentence"`
}

// How often plans are played to sort out the ones that will not do: a few plays first, since most need no more.
const (
	glance      = 10
	look        = 40
	onTimeShare = .9 // of harmless plays must complete on time
)

// Recommend searches a small family of plans, the fastest first, for one that keeps within the budget and completes on
// time when the bundle is harmless; it then plays that one in full, with the budget's regression among the others, and goes
// on if the full forecast says otherwise. Margins are left to the judge. The plans of the family begin with 1, 2, 5, 10 or
// 20 % of the devices, go to half of them at once or by a step between, then to everyone, and hold each phase for 12, 24 or
// 48 hours at least and twice that at most. When none will do, the one is returned, and says so, that completed on time most often of
// those within the budget, or else that harmed least.
func Recommend(ctx context.Context, a Audience, b Budget, o Options) (Advice, error) {
	o = o.withDefaults()
	if err := b.Check(o); err != nil {
		return Advice{}, err
	}
	o.Regressions = b.among(o.Regressions)
	if err := check(family(a)[0], a, o); err != nil {
		return Advice{}, err
	}
	plans := family(a)
	if o.Brief {
		plans = slices.DeleteFunc(plans, func(p rollout.Plan) bool { return len(p.Phases) > 3 })
	}
	closest, leastHarm, late := plans[0], [2]float64{math.Inf(1), math.Inf(1)}, 0.
	for i, plan := range plans {
		if o.Progress != nil {
			o.Progress(i, len(plans))
		}
		s := stage{plan: rollout.Resolve(plan), audience: a, record: o.Record, seed: o.Seed + uint64(i+1)}
		harmed, err := s.harmedIn(ctx, b.Regression, glance)
		if err != nil {
			return Advice{}, err
		}
		if rank := rankOf(harmed); late == 0 && slices.Compare(rank[:], leastHarm[:]) < 0 {
			closest, leastHarm = plan, rank
		}
		if quantile(harmed, .7) > float64(b.Harmed) {
			continue // as it would with margins chosen, which let phases be left sooner
		}
		f, seen, err := s.prove(ctx, plan, b, o)
		if err != nil {
			return Advice{}, err
		}
		if seen.keeps && seen.onTime >= onTimeShare {
			return f.advise(b, i+1, true), nil
		}
		if seen.keeps && seen.onTime > late { // too late is closer than too harmful
			closest, late = plan, seen.onTime
		}
	}
	f, err := Run(ctx, closest, a, o)
	if err != nil {
		return Advice{}, err
	}
	return f.advise(b, len(plans), f.keeps(b) && f.Healthy.OnTime.Share >= onTimeShare), nil
}

// rankOf orders plans that keep within no budget: by how many plays nobody stopped, then by the harm of the others.
func rankOf(harmed []float64) [2]float64 {
	stopped := slices.DeleteFunc(slices.Clone(harmed), func(h float64) bool { return math.IsInf(h, 1) })
	return [2]float64{float64(len(harmed) - len(stopped)), quantile(append(stopped, 0), .9)}
}

// seen is what a closer look at a plan showed.
type seen struct {
	keeps  bool    // within the budget
	onTime float64 // share of the harmless plays that complete on time; 0 where it does not keep
}

// prove chooses the margins of a plan that looks as if it kept within the budget, looks closer, and plays it in full if it
// still does and completes on time.
func (s stage) prove(ctx context.Context, plan rollout.Plan, b Budget, o Options) (f Forecast, found seen, err error) {
	if s.plan, _, err = Margins(ctx, s.plan, s.audience); err != nil {
		return f, found, err
	}
	runs := look
	if o.Brief {
		runs /= 2
	}
	harmed, err := s.harmedIn(ctx, b.Regression, runs)
	if err != nil || quantile(harmed, .9) > float64(b.Harmed) {
		return f, found, err
	}
	if onTime, err := s.onTime(ctx, runs/2); err != nil || onTime < onTimeShare {
		return f, seen{keeps: true, onTime: onTime}, err
	}
	f, err = Run(ctx, plan, s.audience, o)
	return f, seen{keeps: f.keeps(b), onTime: f.Healthy.OnTime.Share}, err
}

// advise puts the outcome of a search into words.
func (f Forecast) advise(b Budget, tried int, within bool) Advice {
	at, name := f.of(b.Regression), f.Plan.Name
	a := Advice{Plan: f.Plan, Forecast: f, Within: within, Tried: tried}
	of := fmt.Sprintf("a bundle with %s is stopped in %d of %d plays and harms %.0f devices at the median and %.0f in nine plays of ten", b.Regression, at.Stopped.Times, at.Stopped.Of, at.Harmed.Median, at.Harmed.P90)
	switch {
	case within:
		a.Sentence = fmt.Sprintf("plan %s, the fastest found: %s, within the budget of %d", name, of, b.Harmed)
	case f.keeps(b):
		a.Sentence = fmt.Sprintf("no plan tried that keeps within %d harmed devices completes a harmless bundle on time; plan %s comes closest", b.Harmed, name)
	default:
		a.Sentence = fmt.Sprintf("no plan tried stops a bundle with %s within %d harmed devices in nine plays of ten; plan %s comes closest: %s", b.Regression, b.Harmed, name, of)
	}
	return a
}

// keeps reports whether nine plays of ten stop the budget's bundle in time.
func (f Forecast) keeps(b Budget) bool {
	at := f.of(b.Regression)
	return at.Stopped.Share >= .9 && at.Harmed.P90 <= float64(b.Harmed)
}

// Check refuses, before anything is played, what Recommend would refuse of a budget and of what is played with it.
func (b Budget) Check(o Options) error {
	if err := b.validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	if o.Regressions = b.among(o.Regressions); len(o.Regressions) > MaxRegressions {
		return rollout.Error{Code: CodeInvalidOptions, Field: "regressions", Message: fmt.Sprintf("with the one of the budget there are %d regressions, more than %d; leave one out, or name the budget's among them", len(o.Regressions), MaxRegressions)}
	}
	return o.validate()
}

// among returns the regressions with the budget's own.
func (b Budget) among(list []Regression) []Regression {
	if slices.Contains(list, b.Regression) {
		return list
	}
	return append([]Regression{b.Regression}, list...)
}

func (b Budget) validate() error {
	if b.Harmed < 0 {
		return rollout.Error{Code: CodeInvalidOptions, Field: "budget.harmed", Message: "must be a number of devices, such as 20"}
	}
	return b.Regression.validate("budget.regression")
}

// of returns what the forecast says of a regression.
func (f Forecast) of(r Regression) Caught {
	for _, c := range f.Harmful {
		if c.Regression == r {
			return c
		}
	}
	return Caught{}
}

// family lists the plans that are tried, the fastest first.
func family(a Audience) []rollout.Plan {
	var plans []rollout.Plan
	for _, first := range [...]int{20, 10, 5, 2, 1} {
		for phases := 3; phases <= 4; phases++ {
			for _, hours := range [...]int{12, 24, 48} {
				plans = append(plans, member(a, first, phases, hours))
			}
		}
	}
	slices.SortStableFunc(plans, func(x, y rollout.Plan) int { return int(leastTime(x) - leastTime(y)) })
	return plans
}

// member returns one plan of the family.
func member(a Audience, first, phases, hours int) rollout.Plan {
	percents := []float64{float64(first), 50, 100}
	if between := math.Round(math.Sqrt(float64(first) * 50)); phases > len(percents) {
		percents = slices.Insert(percents, 1, between)
	}
	plan := rollout.Plan{
		Name: fmt.Sprintf("p%d-%dx%dh", first, phases, hours), OnTimeout: rollout.TimeoutPromote,
		Holdback: rollout.OnePercent, Margin: rollout.MarginAuto,
	}
	for _, percent := range percents {
		least := rollout.Duration(time.Duration(hours) * time.Hour)
		plan.Phases = append(plan.Phases, rollout.Phase{
			Percent: rollout.Percent(percent * float64(rollout.OnePercent)), Hold: rollout.Hold{Min: least, Max: 2 * least},
			MinDevices: floorFor(a, percent),
		})
	}
	return plan
}

// floorFor asks for twenty devices, as plans do by default, or half of a phase that has fewer than forty.
func floorFor(a Audience, percent float64) int {
	half := int(float64(a.Devices) * percent / 200)
	return max(1, min(20, half))
}

func leastTime(plan rollout.Plan) time.Duration {
	var sum time.Duration
	for _, phase := range plan.Phases {
		sum += phase.Hold.Min.Std()
	}
	return sum / time.Hour
}

// harmedIn returns the devices harmed in each of so many plays.
func (s stage) harmedIn(ctx context.Context, r Regression, runs int) ([]float64, error) {
	plays, err := s.playAll(ctx, []Regression{r}, Options{Runs: runs})
	if err != nil {
		return nil, err
	}
	harmed := make([]float64, 0, runs)
	for _, p := range plays[0] {
		if !p.wasStopped() { // a plan that is over before harm shows has not kept within any budget
			harmed = append(harmed, math.Inf(1))
			continue
		}
		harmed = append(harmed, float64(p.harmed))
	}
	return harmed, nil
}

// onTime returns the share of so many plays in which a harmless bundle completes on time.
func (s stage) onTime(ctx context.Context, runs int) (float64, error) {
	plays, err := s.playAll(ctx, []Regression{{}}, Options{Runs: runs})
	if err != nil {
		return 0, err
	}
	return healthy(s.plan, plays[0]).OnTime.Share, nil
}
