package forecast

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

func forecastOf(t testing.TB, plan rollout.Plan, a Audience, o Options) Forecast {
	t.Helper()
	f, err := Run(t.Context(), plan, a, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// quickPlan is over soon, so that many plays of it are.
func quickPlan() rollout.Plan {
	hold := rollout.Hold{Min: day / 2, Max: day}
	return rollout.Plan{
		Name: "quick", OnTimeout: rollout.TimeoutPromote, Holdback: rollout.OnePercent,
		Phases: []rollout.Phase{{Percent: 10 * rollout.OnePercent, Hold: hold}, {Percent: rollout.Everyone, Hold: hold}},
	}
}

func TestForecastHangsOnItsArgumentsOnly(t *testing.T) {
	text := func(processors int, seed uint64) string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		done := 0
		f := forecastOf(t, quickPlan(), Typical(20_000), Options{Runs: 3, Seed: seed, Progress: func(d, total int) {
			if done++; d != done || total != 3*5 {
				t.Errorf("progress %d of %d after %d", d, total, done)
			}
		}})
		raw, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if text(1, 4) != text(3, 4) {
		t.Error("the number of processors changes the forecast")
	}
	if text(3, 4) == text(3, 5) {
		t.Error("another seed gives the same forecast")
	}
}

// A worse bundle is stopped sooner and more surely; the harmless one passes.
func TestWorseBundlesAreStoppedSooner(t *testing.T) {
	f := forecastOf(t, quickPlan(), Typical(200_000), Options{Runs: 24})
	if f.Healthy.OnTime.Share < .9 || f.Healthy.FalseStop.Low > .01 {
		t.Errorf("a harmless bundle completes on time in %s and is stopped in %s", f.Healthy.OnTime, f.Healthy.FalseStop)
	}
	for i := 1; i < len(f.Harmful); i++ {
		milder, worse := f.Harmful[i-1], f.Harmful[i]
		if worse.Stopped.Share < milder.Stopped.Share || milder.Hours.Of > 0 && worse.Hours.Median > milder.Hours.Median {
			t.Errorf("%s is stopped in %s after %v hours, %s in %s after %v", worse.Name, worse.Stopped, worse.Hours.Median, milder.Name, milder.Stopped, milder.Hours.Median)
		}
	}
	for i, hour := range f.Curve.Hours[1:] {
		if f.Curve.Exposed.Median[i+1] < f.Curve.Exposed.Median[i] || f.Curve.Exposed.Low[i+1] > f.Curve.Exposed.High[i+1] {
			t.Errorf("the exposure at %v hours is %v–%v, after %v before", hour, f.Curve.Exposed.Low[i+1], f.Curve.Exposed.High[i+1], f.Curve.Exposed.Median[i])
		}
		for _, s := range f.Curve.Stopped {
			if s.Share[i+1] < s.Share[i] {
				t.Errorf("%s: a stopped bundle came back", s.Name)
			}
		}
	}
}

// An app of 500 devices has a plan that completes when all is well, and gives ten devices at most to a bundle that never
// starts.
func TestFiveHundredDevices(t *testing.T) {
	f := forecastOf(t, builtin(t, "small"), Typical(500), Options{Runs: 40, Regressions: []Regression{Deadly()}})
	if f.Healthy.OnTime.Low < .9 {
		t.Errorf("a harmless bundle completes on time in %s", f.Healthy.OnTime)
	}
	if deadly := f.Harmful[0]; deadly.Stopped.Times != deadly.Stopped.Of || deadly.Exposed.P90 > 10 {
		t.Errorf("a bundle that never starts is stopped in %s after %+v devices", deadly.Stopped, deadly.Exposed)
	}
}

// A plan without control passes by time alone, however good the bundle is, and still stops one that never starts.
func TestWithoutControl(t *testing.T) {
	f := forecastOf(t, builtin(t, "instant"), Typical(5_000), Options{Runs: 8, Regressions: []Regression{Deadly()}})
	if p := f.Healthy.Phases[0]; p.Certified.Times != 0 || p.ByTime.Times != 8 || p.Hours.Median != 48 {
		t.Errorf("the only phase: %+v", p)
	}
	if f.Harmful[0].Stopped.Times != 8 {
		t.Errorf("a bundle that never starts is stopped in %s", f.Harmful[0].Stopped)
	}
}

// A plan that asks a person at its longest hold waits, one that takes the bundle back gives up, and neither is a false stop.
func TestUnprovenEndings(t *testing.T) {
	for policy, want := range map[rollout.TimeoutPolicy]func(Healthy) Chance{
		rollout.TimeoutHold:     func(h Healthy) Chance { return h.Waiting },
		rollout.TimeoutRollback: func(h Healthy) Chance { return h.GivenUp },
	} {
		plan := quickPlan()
		plan.OnTimeout = policy
		f := forecastOf(t, plan, Typical(1_000), Options{Runs: 5, Regressions: []Regression{}})
		if want(f.Healthy).Times != 5 || f.Healthy.Completes.Times != 0 || f.Healthy.FalseStop.Times != 0 {
			t.Errorf("%s: %+v", policy, f.Healthy)
		}
	}
}

func TestRefusals(t *testing.T) {
	plan, good := quickPlan(), Typical(1000)
	with := func(change func(*Audience)) Audience {
		a := Typical(1000)
		change(&a)
		return a
	}
	long := quickPlan()
	long.Phases[0].Hold = rollout.Hold{Min: 300 * day, Max: 500 * day}
	for name, c := range map[string]struct {
		plan rollout.Plan
		a    Audience
		o    Options
		code string
	}{
		"no devices":      {plan, with(func(a *Audience) { a.Devices = 0 }), Options{}, CodeInvalidAudience},
		"too many":        {plan, with(func(a *Audience) { a.Devices = MaxDevices + 1 }), Options{}, CodeInvalidAudience},
		"never ask":       {plan, with(func(a *Audience) { a.SessionsPerDay = 0 }), Options{}, CodeInvalidAudience},
		"no number":       {plan, with(func(a *Audience) { a.SessionsPerDay = math.NaN() }), Options{}, CodeInvalidAudience},
		"unknown metric":  {plan, with(func(a *Audience) { a.Base["boredom"] = .1 }), Options{}, CodeInvalidAudience},
		"all crash":       {plan, with(func(a *Audience) { a.Base[rollout.Crash] = 1 }), Options{}, CodeInvalidAudience},
		"segments beyond": {plan, with(func(a *Audience) { a.Segments = map[string]float64{"a": .6, "b": .6} }), Options{}, CodeInvalidAudience},
		"runs":            {plan, good, Options{Runs: MaxRuns + 1}, CodeInvalidOptions},
		"negative runs":   {plan, good, Options{Runs: -1}, CodeInvalidOptions},
		"milder":          {plan, good, Options{Regressions: []Regression{Crashes(.5)}}, CodeInvalidOptions},
		"no metric":       {plan, good, Options{Regressions: []Regression{{Ratio: 2}}}, CodeInvalidOptions},
		"good events":     {plan, good, Options{Regressions: []Regression{{Metric: rollout.FeatureUse, Ratio: 2}}}, CodeInvalidOptions},
		"too many kinds":  {plan, good, Options{Regressions: make([]Regression, MaxRegressions+1)}, CodeInvalidOptions},
		"no phases":       {rollout.Plan{}, good, Options{}, rollout.CodeNoPhases},
		"too long":        {long, good, Options{}, CodePlanTooLong},
	} {
		if _, err := Run(t.Context(), c.plan, c.a, c.o); rollout.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want code %s", name, err, c.code)
		}
	}
}

func TestForecastEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := Run(ctx, quickPlan(), Typical(1000), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	a := Typical(1000)
	delete(a.Base, rollout.Crash)
	plan := builtin(t, "cautious")
	plan.Phases[1].Approval = true
	text := strings.Join(warnings(plan, a, Options{Regressions: StandardRegressions()}), "\n")
	for _, want := range []string{"no device is known to have crash", "segment internal is taken to hold 3 %", "every approval"} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning says %q: %s", want, text)
		}
	}
}

func TestChance(t *testing.T) {
	for _, c := range []struct {
		times, of int
		low, high float64
		text      string
	}{
		{0, 200, 0, .01487, "0 of 200 (at most 1.5 %)"}, // 1 − 0.05^(1/200)
		{200, 200, .9851, 1, "200 of 200 (at least 98.5 %)"},
		{5, 100, .01991, .1022, "5 of 100 (2–10 %)"}, // published tables: 2.0 % and 10.2 %
		{0, 0, 0, 1, "unknown"},
	} {
		got := chanceOf(c.times, c.of)
		if math.Abs(got.Low-c.low) > 2e-4 || math.Abs(got.High-c.high) > 2e-4 || got.String() != c.text {
			t.Errorf("%d of %d: %v–%v, %q", c.times, c.of, got.Low, got.High, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{9, 1, 8, 2, 7, 3, 6, 4, 5, 10}
	if got := spreadOf(values); got.Median != 5 || got.P90 != 9 || got.Of != 10 {
		t.Errorf("%+v", got)
	}
	if got := spreadOf(nil); got != (Spread{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestRegressionsSayWhatTheyAre(t *testing.T) {
	for want, r := range map[string]Regression{"harmless": {}, "5× crash": Crashes(5), "100 % boot_failure": Deadly(), "1.5× anr": {Metric: rollout.ANR, Ratio: 1.5}} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
