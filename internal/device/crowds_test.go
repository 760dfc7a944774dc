package device

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// TestCrowdsCountAsMapsDo, as long as they have room.
func TestCrowdsCountAsMapsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, noon := newSources(SourceLimits{}, nil), time.Unix(12*3600, 0)
		network := netip.MustParsePrefix("203.0.113.0/24")
		apps, devices := rapid.SampledFrom([]string{"a", "b"}), rapid.Uint64Range(0, 20)
		heard := map[string]map[uint64]bool{"a": {}, "b": {}}
		let := map[string]map[uint64]bool{"a": {}, "b": {}}
		for range rapid.IntRange(0, 200).Draw(t, "calls") {
			app, device := apps.Draw(t, "app"), devices.Draw(t, "device")
			heard[app][device] = true
			n := s.hear(network, app, device, noon)
			if n != len(heard[app]) {
				t.Fatalf("%d were heard, want %d", n, len(heard[app]))
			}
			want := let[app][device] || len(let[app]) < max(DefaultSourceFloor, n/DefaultSourceShare)
			if want {
				let[app][device] = true
			}
			if s.lets(network, app, 1, device, n, noon) != want {
				t.Fatalf("device %d: want %t", device, want)
			}
		}
	})
}

// TestWhatIsPushedOutBeginsAnew: with the floor, and nobody let through yet.
func TestWhatIsPushedOutBeginsAnew(t *testing.T) {
	s, now := newSources(SourceLimits{}, nil), time.Unix(12*3600, 0)
	network := netip.MustParsePrefix("203.0.113.0/24")
	report := func(device uint64) bool {
		n := s.hear(network, "shop", device, now)
		return s.lets(network, "shop", 1, device, n, now)
	}
	for device := range uint64(DefaultSourceFloor) {
		if !report(device) {
			t.Fatalf("device %d is below the floor", device)
		}
	}
	if report(99) {
		t.Fatal("one more was let through")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 * crowdSets * crowdWays { // as many other sources as push out everything
		s.crowds.of(random.Uint64())
	}
	for device := range uint64(DefaultSourceFloor) {
		if !report(100 + device) {
			t.Fatalf("device %d is below the floor of a source that was forgotten", 100+device)
		}
	}
	if report(0) {
		t.Error("a device counts as one that was let through, by a source that was forgotten")
	}
}

// TestSourcesAreOfOneSize: however many there are.
func TestSourcesAreOfOneSize(t *testing.T) {
	const most = 2 << 20
	if n := unsafe.Sizeof(sources{}); n > most {
		t.Errorf("%d bytes, at most %d", n, most)
	}
	s, now, device := newSources(SourceLimits{}, nil), time.Unix(12*3600, 0), uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		device++
		s.enters(Source{Peer: "203.0.113.7:4711"}, "shop", device, now)
	}); n != 0 {
		t.Errorf("%v allocations per device", n)
	}
}

// TestKindsAreApart: no two metrics, and no two boundaries of one, share a bound.
func TestKindsAreApart(t *testing.T) {
	seen := map[kind]string{heardAtAll: "none"}
	for _, k := range allKinds() {
		if other, ok := seen[k.kind]; ok {
			t.Errorf("%s and %s are both kind %d", k.name, other, k.kind)
		}
		seen[k.kind] = k.name
	}
	if len(seen) != 1+10+3*(rollout.ShownLevel+1) {
		t.Errorf("only %d kinds", len(seen))
	}
}

type named struct {
	name string
	kind kind
}

// allKinds returns the kinds of events that say each thing once.
func allKinds() (list []named) {
	add := func(name string, e telemetry.Event) { list = append(list, named{name, kindOf(e)}) }
	for _, action := range []string{"app_crash", "app_anr", "app_killed_low_memory", "update_fail", "download_fail", "checksum_fail", "decrypt_fail", "unzip_fail", "webview_javascript_error"} {
		add(action, telemetry.Event{Kind: telemetry.KindAction, Action: action})
	}
	add("feedback", telemetry.Event{Kind: telemetry.KindMetric, Action: string(telemetry.MetricFeedback), Value: 1})
	for m, of := range map[telemetry.MetricType]rollout.Metric{
		telemetry.MetricLoadTime: rollout.LoadTime, telemetry.MetricAPITime: rollout.APITime, telemetry.MetricSessionLength: rollout.SessionLength,
	} {
		for level, boundary := range of.Levels() {
			if level > rollout.ShownLevel {
				break // all of these are bad, and one kind
			}
			if m == telemetry.MetricSessionLength {
				boundary--
			}
			add(fmt.Sprintf("%s %g", m, boundary), telemetry.Event{Kind: telemetry.KindMetric, Action: string(m), Value: boundary})
		}
	}
	return list
}
