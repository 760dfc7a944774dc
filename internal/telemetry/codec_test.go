package telemetry

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

func sampleEvent() Event {
	return Event{
		Kind: KindAction, App: "com.example.shop", Device: Fingerprint("0000-1"), Time: 1_795_000_000_123,
		Action: "app_crash", Version: "1.4.0", OldVersion: "1.3.0", Platform: "android", ClientTime: 1_795_000_000_000,
		Exposures: []Exposure{{Rollout: "01J", Phase: 1, Arm: rollout.ArmCandidate, Candidate: true}},
		Metadata:  map[string]string{"exit_reason": "CRASH"},
	}
}

func TestEventsReadBack(t *testing.T) {
	want := sampleEvent()
	want.Capped, want.Spurious, want.Value = true, true, 1.5
	data, err := Append([]byte("before "), want)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(string(data), "before ")
	if !ok {
		t.Fatalf("Append lost what was there: %s", data)
	}
	got, err := Decode([]byte(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v:\n got %+v\nwant %+v", err, got, want)
	}
}

func TestEventsThatCannotBeCountedAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Event){
		"kind":             func(e *Event) { e.Kind = 3 },
		"no app":           func(e *Event) { e.App = "" },
		"app breaks keys":  func(e *Event) { e.App = "a#b" },
		"app too long":     func(e *Event) { e.App = strings.Repeat("a", 257) },
		"app is no text":   func(e *Event) { e.App = "\xff" },
		"negative time":    func(e *Event) { e.Time = -1 },
		"absurd time":      func(e *Event) { e.Time = math.MaxInt64 },
		"infinite value":   func(e *Event) { e.Value = math.Inf(1) },
		"value":            func(e *Event) { e.Value = math.NaN() },
		"no rollout":       func(e *Event) { e.Exposures[0].Rollout = "" },
		"rollout in keys":  func(e *Event) { e.Exposures[0].Rollout = "#" },
		"negative phase":   func(e *Event) { e.Exposures[0].Phase = -1 },
		"arm":              func(e *Event) { e.Exposures[0].Arm = 3 },
		"many exposures":   func(e *Event) { e.Exposures = make([]Exposure, MaxExposures+1) },
		"none of the rest": func(e *Event) { *e = Event{} },
	} {
		t.Run(name, func(t *testing.T) {
			e := sampleEvent()
			spoil(&e)
			if data, err := Append(nil, e); err == nil {
				t.Errorf("written as %s", data)
			}
		})
	}
}

func TestFingerprintIgnoresCase(t *testing.T) {
	if Fingerprint("ABC-Def") != Fingerprint("abc-def") {
		t.Error("case matters")
	}
	// The XXH64 of "abc" with seed 0, from the algorithm's published test vectors.
	if got, want := Fingerprint("ABC"), uint64(0x44bc2cf5ad770999); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Append(nil, sampleEvent())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"app":"a","device":1,"time":1,"exposures":[{"rollout":"r","phase":31,"arm":2}]}`))
	f.Add([]byte(`{"app":"a","kind":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(data)
		if err != nil {
			return
		}
		Classify(e)
		for _, x := range e.Exposures {
			r := Observe(e, x)
			back, err := DecodePage(EncodePage([]Device{{e.Device, r}}))
			if err != nil || !back[0].Record.Equal(r) {
				t.Fatalf("%v: record %+v became %+v", err, r, back)
			}
		}
		text, err := Append(nil, e)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		if _, err := Decode(text); err != nil {
			t.Fatalf("encoded but not decoded: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data, err := Append(nil, sampleEvent())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
