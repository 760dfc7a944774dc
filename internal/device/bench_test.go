package device_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// upToDate returns checks of devices that have what they should have: half of them candidates once start was called.
func (w *world) upToDate(n int) [][]byte {
	bodies := make([][]byte, 0, n)
	for i := range n {
		over := fields{"version_name": "1.0.1"}
		if a := w.check(uuid(i), nil); a.version() != "" {
			over["version_name"] = a.version()
		}
		bodies = append(bodies, []byte(encode(w.t, says(uuid(i), over))))
	}
	return bodies
}

// BenchmarkUpdates answers checks of devices that are up to date, from body to answer. Its floor is the pure core doing
// the same without a Service around it: no pool, no look-up of the app, no counts, no note of the check.
func BenchmarkUpdates(b *testing.B) {
	for _, c := range []struct {
		name string
		live bool
	}{{"no_rollout", false}, {"live_rollout", true}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			if c.live {
				w.start()
			}
			bodies := w.upToDate(512)
			i, dst := 0, make([]byte, 0, 1024)
			subject := func() {
				i++
				if a := w.service.Updates(b.Context(), device.Source{Peer: "203.0.113.7:4711"}, bodies[i&511], dst[:0]); a.Status != capgo.StatusOK || len(a.Body) > 128 {
					b.Fatalf("%d %s", a.Status, a.Body)
				}
			}
			for range bodies {
				subject() // notes each device's check, which is done once an hour
			}
			compare(b, subject, w.core(bodies))
		})
	}
}

// core returns the floor of BenchmarkUpdates.
func (w *world) core(bodies [][]byte) func() {
	state, err := w.apps.Load(w.t.Context(), app)
	if err != nil {
		w.t.Fatal(err)
	}
	snapshot, err := resolve.Compile(resolve.NewSpec(state))
	if err != nil {
		w.t.Fatal(err)
	}
	var r capgo.Request
	answers, i, dst := capgo.NewAnswers(snapshot), 0, make([]byte, 0, 1024)
	return func() {
		i++
		if refusal := r.ParseCheck(bodies[i&511]); refusal != nil {
			w.t.Fatal(refusal.Message)
		}
		d := snapshot.Resolve(&r.Check, nil)
		if dst = answers.Append(dst[:0], &r.Check, d); d.Reason != resolve.NoNewVersion {
			w.t.Fatal(d.Reason)
		}
	}
}

// compare runs subject and floor in turns, so that a busy machine slows both, and reports medians and their ratio. The
// subject must not allocate.
func compare(b *testing.B, subject, floor func()) {
	const batch = 1000
	timed := func(f func()) float64 {
		began := time.Now()
		for range batch {
			f()
		}
		return float64(time.Since(began).Nanoseconds()) / batch
	}
	var mine, least, ratio []float64
	for b.Loop() {
		m, l := timed(subject), timed(floor)
		mine, least, ratio = append(mine, m), append(least, l), append(ratio, m/l)
	}
	allocs := testing.AllocsPerRun(10_000, subject)
	b.ReportMetric(median(mine), "ns/op")
	b.ReportMetric(median(least), "floor-ns/op")
	b.ReportMetric(median(ratio), "×floor")
	b.ReportMetric(allocs, "allocs/check")
	if allocs != 0 {
		b.Errorf("%v allocations for a device that is up to date", allocs)
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkStats reports one batch of ten events, to the disk and back. Its floor is the Append alone.
func BenchmarkStats(b *testing.B) {
	w := newWorld(b)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	batch := make([]fields, 10)
	for i := range batch {
		batch[i] = says(id, event("app_crash", "1.1.0"))
		batch[i]["metadata"] = fields{"message": strings.Repeat("x", 100), "n": fmt.Sprint(i)}
	}
	body := []byte(encode(b, batch))
	w.service.RecordStats(b.Context(), device.Source{Peer: "203.0.113.7:4711"}, body, nil)
	records := w.records()
	var mine, least []float64
	for b.Loop() {
		began := time.Now()
		if a := w.service.RecordStats(b.Context(), device.Source{Peer: "203.0.113.7:4711"}, body, nil); a.Status != capgo.StatusOK {
			b.Fatalf("%d %s", a.Status, a.Body)
		}
		between := time.Now()
		if err := w.stream.Append(b.Context(), records); err != nil {
			b.Fatal(err)
		}
		mine, least = append(mine, float64(between.Sub(began))), append(least, float64(time.Since(between)))
	}
	m, l := median(mine), median(least)
	b.ReportMetric(m, "ns/op")
	b.ReportMetric(l, "append-ns/op")
	b.ReportMetric(m/l, "×append")
}
