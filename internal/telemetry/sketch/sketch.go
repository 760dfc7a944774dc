// Package sketch sums up what devices report in a few kilobytes, for people to look at: how many devices were heard of,
// and the percentiles of load times, response times and session lengths, in either arm of a rollout.
//
// Nothing is ever decided by it. A verdict needs numbers that are exact and count every device once, which package
// telemetry keeps; a person who looks at a rollout wants to know whether a page takes one second or four, and for that a
// summary that is a little off will do. So this package may be given up, counted twice or lost, and no decision changes.
//
// Devices are counted by HyperLogLog (Flajolet, Fusy, Gandouet, Meunier: AofA 2007; here with the LogLog-Beta estimate of
// Qin, Kim, Tung, arXiv 1612.02284) and values by DDSketch (Masson, Rim, Lee: VLDB 2019, arXiv 1908.10693). Both can be
// merged in any order. Merging a HyperLogLog twice changes nothing; merging values twice counts them twice.
//
// The libraries that do the work bring Protocol Buffers with them, which start slowly. That is why package telemetry,
// which every function imports, knows nothing of this one.
package sketch

import (
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/axiomhq/hyperloglog"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	// Precision is the logarithm to base 2 of how many registers count an arm's devices: 4096, whose standard error is
	// 1.04/√4096 = 1.6 %. A register is chosen by the top bits of a device's fingerprint, as a slot of a pushed stream is
	// (see aggregate.Slot), so that each of sixteen slots fills only 256 of them.
	Precision = 12

	// Accuracy is how far a percentile may be off, as a share of its value.
	Accuracy = 0.02

	maxMillis = 24 * 3600 * 1000 // more is shown as a day
	maxBins   = 457              // from 1 ms to a day at that Accuracy, so that none is ever merged with its neighbour
)

// arms is how many arms are summed up: candidate and control.
const arms = 2

// Sketch is the summary of one rollout, or of a part of what was heard of it. The zero value has heard nothing. It must
// not be used by two goroutines at once.
type Sketch struct {
	arms [arms]arm
}

// arm is the summary of one arm. What is nil has heard nothing.
type arm struct {
	devices  *hyperloglog.Sketch
	measures [rollout.NumMeasured]*ddsketch.DDSketch // milliseconds
}

// Observation is what one event says to a Sketch.
type Observation struct {
	device  uint64
	millis  float64
	arm     int8 // place in Sketch.arms
	measure int8 // place in arm.measures, or -1
}

// Observe returns what e says of the rollout of x, and false if that is nothing. Like telemetry.Observe it passes over test
// devices, more than a source may report, failures where nothing failed, devices outside the comparison and phases beyond
// telemetry.MaxPhase. A value counts for the arm that its device was in when it came, whichever bundle ran.
func Observe(e telemetry.Event, x telemetry.Exposure) (Observation, bool) {
	at := place(x.Arm)
	if at < 0 || e.Test || e.Capped || e.Spurious || x.Phase > telemetry.MaxPhase {
		return Observation{}, false
	}
	o := Observation{device: e.Device, arm: int8(at), measure: -1}
	if class := telemetry.Classify(e); class.Metric.Measured() >= 0 && class.Millis >= 0 {
		o.measure, o.millis = int8(class.Metric.Measured()), shown(class.Millis)
	}
	return o, true
}

// place returns where an arm stands in a Sketch, or -1 for devices outside the comparison.
func place(a rollout.Arm) int {
	switch a {
	case rollout.ArmCandidate:
		return 0
	case rollout.ArmControl:
		return 1
	}
	return -1
}

// shown cuts a value to what is told apart: less than a millisecond is none, more than a day is a day.
func shown(millis float64) float64 {
	if millis < 1 {
		return 0
	}
	return min(millis, maxMillis)
}

// Add takes o in.
func (s *Sketch) Add(o Observation) {
	a := &s.arms[o.arm]
	if a.devices == nil {
		a.devices = newDevices(true)
	}
	a.devices.InsertHash(o.device)
	if o.measure >= 0 {
		_ = a.measure(int(o.measure)).Add(o.millis) // refuses only what shown cuts off
	}
}

// newDevices returns an empty count of devices: a sparse one is small while it has few, a dense one has all its registers.
func newDevices(sparse bool) *hyperloglog.Sketch {
	devices, err := hyperloglog.NewSketch(Precision, sparse)
	if err != nil {
		panic(err) // Precision is in range: a test would know
	}
	return devices
}

// measure returns the summary of the measured metric at place i, which is made if there is none.
func (a *arm) measure(i int) *ddsketch.DDSketch {
	if a.measures[i] == nil {
		values, err := ddsketch.LogCollapsingLowestDenseDDSketch(Accuracy, maxBins)
		if err != nil {
			panic(err) // Accuracy is in range: a test would know
		}
		a.measures[i] = values
	}
	return a.measures[i]
}

// Merge adds what other has heard, which stays as it is.
func (s *Sketch) Merge(other *Sketch) {
	for i := range s.arms {
		s.arms[i].merge(&other.arms[i])
	}
}

func (a *arm) merge(other *arm) {
	if other.devices != nil {
		if a.devices == nil {
			a.devices = newDevices(true)
		}
		_ = a.devices.Merge(other.devices) // refuses only another precision
	}
	for i, values := range other.measures {
		if values != nil {
			_ = a.measure(i).MergeWith(values) // refuses only another accuracy
		}
	}
}

// Devices estimates how many devices of an arm were heard of, at a standard error of 1.6 %.
func (s *Sketch) Devices(of rollout.Arm) uint64 {
	i := place(of)
	if i < 0 || s.arms[i].devices == nil {
		return 0
	}
	return s.arms[i].devices.Estimate()
}

// Percentiles are those of a measured metric's values, in milliseconds, each within Accuracy of a value that was reported.
type Percentiles struct {
	Count              int64 // of values
	P50, P75, P95, P99 float64
}

// Percentiles returns those of the values of a measured metric that an arm reported, or false if it reported none.
func (s *Sketch) Percentiles(of rollout.Arm, m rollout.Metric) (Percentiles, bool) {
	i, measure := place(of), m.Measured()
	if i < 0 || measure < 0 || s.arms[i].measures[measure] == nil {
		return Percentiles{}, false
	}
	values := s.arms[i].measures[measure]
	at, err := values.GetValuesAtQuantiles([]float64{0.50, 0.75, 0.95, 0.99})
	if err != nil { // there is none
		return Percentiles{}, false
	}
	return Percentiles{Count: int64(math.Round(values.GetCount())), P50: at[0], P75: at[1], P95: at[2], P99: at[3]}, true
}
