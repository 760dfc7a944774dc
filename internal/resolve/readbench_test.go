package resolve

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// largeSpec is the JSON of a Spec of 100 KB: 140 bundles of which one has a manifest, and a segment of listed devices.
func largeSpec(tb testing.TB) []byte {
	tb.Helper()
	s := appState()
	for i := range 140 {
		b := zip("2.0." + strconv.Itoa(i))
		b.URL += "?Expires=1767225600&Signature=0123456789abcdef0123456789abcdef0123456789abcdef&Key-Pair-Id=APKAEXAMPLE"
		c := rollout.NewChannel("channel-" + strconv.Itoa(i))
		c.Bundle, c.Number = b.Version, int64(i+3)
		for file := range 100 * max(0, 1-i) {
			b.Manifest = append(b.Manifest, rollout.ManifestFile{
				FileName: "assets/chunk-" + strconv.Itoa(file) + ".js", FileHash: "5d41402abc4b2a76b9719d911017c592",
				DownloadURL: "https://cdn.example.com/files/5d41402abc4b2a76b9719d911017c592",
			})
		}
		s.Bundles[b.Version], s.Channels[c.Name] = b, c
	}
	s.Segments["staff"] = rollout.Segment{Name: "staff", DeviceIDs: deviceIDs(1000), When: &rollout.Rule{VersionBuild: ">=1.0.0"}}
	s.Rollouts["r1"] = runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent, Segments: []string{"staff"}})
	text, err := json.Marshal(NewSpec(s))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func BenchmarkParseSpec(b *testing.B) {
	text := largeSpec(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for range b.N {
		if s, err := ParseSpec(text); err != nil || len(s.Channels) != 142 {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseSpecAgainstJSON alternates with encoding/json so that a busy machine slows both alike, and reports the
// ratio of the fastest rounds. It must stay below 1.
func BenchmarkParseSpecAgainstJSON(b *testing.B) {
	text := largeSpec(b)
	own, standard := time.Hour, time.Hour
	for range b.N {
		var want Spec
		start := time.Now()
		got, err := ParseSpec(text)
		between := time.Now()
		err = errors.Join(err, json.Unmarshal(text, &want))
		own, standard = min(own, between.Sub(start)), min(standard, time.Since(between))
		if err != nil || len(got.Channels) != len(want.Channels) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(own.Microseconds()), "own-µs")
	b.ReportMetric(float64(standard.Microseconds()), "json-µs")
	b.ReportMetric(float64(own)/float64(standard), "x-json")
}

func BenchmarkParseFacts(b *testing.B) {
	text := []byte(`{"channel":"beta","set_by":"operator","failed":["1.2.0"],"generation":1}`)
	b.ReportAllocs()
	for range b.N {
		if f, err := ParseFacts(text); err != nil || f.Channel != "beta" {
			b.Fatal(err)
		}
	}
}
