package sketch_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

// loaded is a page load of a device.
func loaded(device int, millis float64) telemetry.Event {
	return telemetry.Event{
		Kind: telemetry.KindMetric, Action: string(telemetry.MetricLoadTime), Value: millis,
		Device: telemetry.Fingerprint(fmt.Sprint("device-", device)),
	}
}

func in(a rollout.Arm) telemetry.Exposure { return telemetry.Exposure{Rollout: "01A", Arm: a} }

// add has s observe e, which must say something.
func add(t testing.TB, s *sketch.Sketch, e telemetry.Event, x telemetry.Exposure) {
	t.Helper()
	o, ok := sketch.Observe(e, x)
	if !ok {
		t.Fatalf("%+v says nothing", e)
	}
	s.Add(o)
}

// near reports whether got is within share of want.
func near(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

func TestPercentilesAreWithinTwoPercent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 10, 1000, 20_000} {
		var s sketch.Sketch
		var values []float64
		for i := range n {
			v := 700 * math.Exp(random.NormFloat64())
			values = append(values, v)
			add(t, &s, loaded(i, v), in(rollout.ArmControl))
		}
		slices.Sort(values)
		got, ok := s.Percentiles(rollout.ArmControl, rollout.LoadTime)
		if !ok || got.Count != int64(n) {
			t.Fatalf("%d values: %v, %+v", n, ok, got)
		}
		for share, p := range map[float64]float64{0.5: got.P50, 0.75: got.P75, 0.95: got.P95, 0.99: got.P99} {
			if want := values[int(share*float64(n-1))]; !near(p, want, sketch.Accuracy+1e-9) {
				t.Errorf("%d values: the %g quantile is %g, want %g", n, share, p, want)
			}
		}
	}
}

func TestDevicesAreEstimated(t *testing.T) {
	for _, n := range []int{1, 30, 500, 5000, 200_000} {
		var s sketch.Sketch
		for i := range n {
			e := telemetry.Event{Device: telemetry.Fingerprint(fmt.Sprint("device-", i))}
			add(t, &s, e, in(rollout.ArmCandidate))
			if i%3 == 0 { // devices come back
				add(t, &s, e, in(rollout.ArmCandidate))
			}
		}
		// Four standard errors, and one device.
		if got := float64(s.Devices(rollout.ArmCandidate)); math.Abs(got-float64(n)) > 1+4*0.016*float64(n) {
			t.Errorf("%d devices are estimated as %g", n, got)
		}
		if again, err := sketch.Decode(s.Encode()); err != nil || !near(float64(again.Devices(rollout.ArmCandidate)), float64(n), 4*0.016+1/float64(n)) {
			t.Errorf("%v: %d devices are stored as %d", err, n, again.Devices(rollout.ArmCandidate))
		}
		if got := s.Devices(rollout.ArmControl) + s.Devices(rollout.ArmNone); got != 0 {
			t.Errorf("%d devices in the other arms", got)
		}
	}
}

func TestWhatIsNotCountedIsNotShown(t *testing.T) {
	for name, change := range map[string]func(*telemetry.Event, *telemetry.Exposure){
		"a test device":              func(e *telemetry.Event, _ *telemetry.Exposure) { e.Test = true },
		"more than its source may":   func(e *telemetry.Event, _ *telemetry.Exposure) { e.Capped = true },
		"no failure":                 func(e *telemetry.Event, _ *telemetry.Exposure) { e.Spurious = true },
		"outside the comparison":     func(_ *telemetry.Event, x *telemetry.Exposure) { x.Arm = rollout.ArmNone },
		"a phase that no plan has":   func(_ *telemetry.Event, x *telemetry.Exposure) { x.Phase = telemetry.MaxPhase + 1 },
		"an arm that does not exist": func(_ *telemetry.Event, x *telemetry.Exposure) { x.Arm = 77 },
	} {
		e, x := loaded(1, 500), in(rollout.ArmCandidate)
		change(&e, &x)
		if o, ok := sketch.Observe(e, x); ok {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestEachMeasureHasItsPercentiles(t *testing.T) {
	metric := func(m telemetry.MetricType, v float64) telemetry.Event {
		return telemetry.Event{Kind: telemetry.KindMetric, Action: string(m), Value: v}
	}
	launch := func(duration string) telemetry.Event {
		return telemetry.Event{Kind: telemetry.KindAction, Action: "app_launch_ready", Metadata: map[string]string{"duration_ms": duration}}
	}
	const day = 24 * 3600 * 1000
	for _, c := range []struct {
		event telemetry.Event
		of    rollout.Metric // "" for none
		want  float64
	}{
		{metric(telemetry.MetricLoadTime, 1200), rollout.LoadTime, 1200},
		{metric(telemetry.MetricAPITime, 80), rollout.APITime, 80},
		{metric(telemetry.MetricSessionLength, 90_000), rollout.SessionLength, 90_000},
		{metric(telemetry.MetricSessionLength, 30*day), rollout.SessionLength, day},
		{metric(telemetry.MetricLoadTime, 1), rollout.LoadTime, 1},
		{metric(telemetry.MetricLoadTime, 0.4), rollout.LoadTime, 0},
		{metric(telemetry.MetricLoadTime, 0), rollout.LoadTime, 0},
		{launch("843"), rollout.LoadTime, 843},
		{launch("soon"), "", 0},
		{metric(telemetry.MetricLoadTime, -1), "", 0},
		{metric(telemetry.MetricLoadTime, math.NaN()), "", 0},
		{metric(telemetry.MetricFeedback, 5), "", 0},
		{telemetry.Event{}, "", 0},
	} {
		var s sketch.Sketch
		add(t, &s, c.event, in(rollout.ArmCandidate))
		for _, info := range rollout.AllMetrics() {
			got, ok := s.Percentiles(rollout.ArmCandidate, info.Metric)
			if ok != (info.Metric == c.of) || ok && !near(got.P50, c.want, sketch.Accuracy+1e-9) {
				t.Errorf("%+v: %s is %+v, %v", c.event, info.Metric, got, ok)
			}
		}
		if got := s.Devices(rollout.ArmCandidate); got != 1 {
			t.Errorf("%+v is of %d devices", c.event, got)
		}
	}
}

// TestPartsMergedAreTheWhole cuts what was heard into parts, stores some of them on the way, and merges them in any order.
func TestPartsMergedAreTheWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	for round := range 20 {
		var whole sketch.Sketch
		parts := make([]sketch.Sketch, 1+random.IntN(5))
		for range random.IntN(4000) {
			e := loaded(random.IntN(2000), 100_000_000*random.Float64()*random.Float64()*random.Float64())
			e.Action = string([]telemetry.MetricType{telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricFeatureUse}[random.IntN(3)])
			x := in(1 + rollout.Arm(random.IntN(2)))
			add(t, &whole, e, x)
			add(t, &parts[random.IntN(len(parts))], e, x)
		}
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var merged sketch.Sketch
		for i := range parts {
			before := parts[i].Encode()
			part := &parts[i]
			if random.IntN(2) == 0 {
				var err error
				if part, err = sketch.Decode(before); err != nil {
					t.Fatal(err)
				}
			}
			merged.Merge(part)
			if !bytes.Equal(parts[i].Encode(), before) {
				t.Fatal("merging changed what was merged")
			}
		}
		if got, want := merged.Encode(), whole.Encode(); !bytes.Equal(got, want) {
			t.Fatalf("round %d: %d parts give %d bytes, want %d", round, len(parts), len(got), len(want))
		}
	}
}
