package sketch_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

// heardOf returns a sketch of devices that reported all measures so many times, of which those of one slot only, or all.
func heardOf(t testing.TB, devices, reports int, oneSlot bool) *sketch.Sketch {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(devices), 9))
	s := &sketch.Sketch{}
	for i := range devices {
		fingerprint := random.Uint64()
		if oneSlot {
			fingerprint >>= 4
		}
		for range reports {
			for _, m := range []telemetry.MetricType{telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricSessionLength} {
				e := telemetry.Event{Kind: telemetry.KindMetric, Action: string(m), Device: fingerprint, Value: 900 * math.Exp(0.8*random.NormFloat64())}
				add(t, s, e, in(1+rollout.Arm(i%2)))
			}
		}
	}
	return s
}

// TestSketchesStaySmall fixes what the store is charged for.
func TestSketchesStaySmall(t *testing.T) {
	widest := &sketch.Sketch{} // every register, every bin, many values in each
	for i := range 60_000 {
		e := telemetry.Event{Device: uint64(i) * 0x9e3779b97f4a7c15, Kind: telemetry.KindMetric}
		for _, m := range []telemetry.MetricType{telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricSessionLength} {
			e.Action, e.Value = string(m), math.Exp(float64(i%1000)/1000*math.Log(24*3600*1000))
			add(t, widest, e, in(1+rollout.Arm(i/1000%2)))
		}
	}
	for range 15 {
		widest.Merge(widest)
	}
	for _, c := range []struct {
		name   string
		sketch *sketch.Sketch
		most   int
	}{
		{"nothing", &sketch.Sketch{}, 30},
		{"a slot of an app of 500 devices", heardOf(t, 500/16, 3, true), 1 << 10},
		{"a slot of an app of 100,000 devices", heardOf(t, 100_000/16, 3, true), 2 << 10},
		{"one shard of an app of 20,000 devices", heardOf(t, 20_000, 3, false), 11 << 10},
		{"all that there can be", widest, 17 << 10},
	} {
		if got := len(c.sketch.Encode()); got > c.most {
			t.Errorf("%s: %d bytes, more than %d", c.name, got, c.most)
		} else {
			t.Logf("%s: %d bytes", c.name, got)
		}
	}
}

func TestBytesThatAreNoSketchAreRefused(t *testing.T) {
	whole := heardOf(t, 40, 1, true).Encode()
	for name, data := range map[string][]byte{
		"nothing":              {},
		"another format":       append([]byte{9}, whole[1:]...),
		"more than a sketch":   append(bytes.Clone(whole), 0),
		"too much":             append(bytes.Clone(whole), make([]byte, sketch.MaxBytes)...),
		"a register too large": []byte("\x01\x40\x00\x00" + strings.Repeat("\x00", 60)),
		"a register too far":   []byte("\x01\x00\x80\x20\x01\x00\x00" + strings.Repeat("\x00", 60)),
		"a bin too far":        []byte("\x01\x00\x00\x00\x00\xc9\x03\x01\x00\x00" + strings.Repeat("\x00", 60)),
		"a count too large":    []byte("\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + strings.Repeat("\x00", 60)),
		"a number too long":    []byte("\x01" + strings.Repeat("\xff", 20)),
	} {
		if s, err := sketch.Decode(data); !errors.Is(err, sketch.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for n := range len(whole) {
		if _, err := sketch.Decode(whole[:n]); !errors.Is(err, sketch.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// FuzzDecode: no bytes break Decode, and what it takes is a Sketch that can be asked, merged and stored.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add((&sketch.Sketch{}).Encode())
	f.Add(heardOf(f, 3, 1, true).Encode())
	f.Add(heardOf(f, 300, 2, false).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := sketch.Decode(data)
		if err != nil {
			if !errors.Is(err, sketch.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		stored := s.Encode()
		again, err := sketch.Decode(stored)
		if err != nil || !bytes.Equal(again.Encode(), stored) {
			t.Fatalf("%v: stored again it is something else", err)
		}
		if s.Devices(rollout.ArmCandidate) > 1<<62 {
			t.Error("more devices than there are")
		}
		if p, ok := s.Percentiles(rollout.ArmControl, rollout.APITime); ok && !(p.Count > 0 && p.P50 <= p.P75 && p.P75 <= p.P95 && p.P95 <= p.P99) {
			t.Errorf("percentiles %+v", p)
		}
		s.Merge(again)
		if _, err := sketch.Decode(s.Encode()); err != nil {
			t.Error(err)
		}
	})
}
