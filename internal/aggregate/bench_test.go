package aggregate_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// meter adds up what a store that bills by started kilobyte, twice in a transaction, would charge for writes.
type meter struct {
	store.Store
	units atomic.Int64
}

func (m *meter) Write(ctx context.Context, ops ...store.Op) error {
	for _, op := range ops {
		size := len(op.Item.PK) + len(op.Item.SK) + len(op.Item.Value)
		m.units.Add(2 * int64((size+1023)/1024))
	}
	return m.Store.Write(ctx, ops...)
}

// BenchmarkFoldBatch folds checks and crashes of random devices in batches of several sizes, where so many devices
// have entered a rollout. The small batches are a quiet app's, whose fixed costs show.
func BenchmarkFoldBatch(b *testing.B) {
	for _, devices := range []int{10_000, 250_000} {
		for _, batch := range []int{100, 1000} {
			b.Run(fmt.Sprintf("devices=%d/batch=%d", devices, batch), func(b *testing.B) {
				_, st := engines(b)
				random := rand.New(rand.NewPCG(1, 1))
				position := 0
				pushed := func(n int, device func(i int) int) []stream.Delivered {
					out := make([]stream.Delivered, n)
					for i := range out {
						position++
						out[i] = stream.Delivered{
							Position: stream.Position(fmt.Sprint(position)),
							Data:     benchmarkEvent(b, random, device(i), int64(position)),
						}
					}
					return out
				}
				metered := &meter{Store: st}
				a := &aggregate.Aggregator{Store: metered, Name: streamName}
				for first := 0; first < devices; first += 5000 {
					if _, err := a.FoldBatch(b.Context(), pushed(5000, func(i int) int { return first + i })); err != nil {
						b.Fatal(err)
					}
				}
				before, folded := metered.units.Load(), 0
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					records := pushed(batch, func(int) int { return random.IntN(devices) })
					b.StartTimer()
					if _, err := a.FoldBatch(b.Context(), records); err != nil {
						b.Fatal(err)
					}
					folded += batch
				}
				b.ReportMetric(float64(folded)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(metered.units.Load()-before)/float64(folded), "write-units/event")
			})
		}
	}
}

// benchmarkEvent is a check, or every fiftieth time a crash, in a clock that moves an hour every hundred thousand.
func benchmarkEvent(b *testing.B, random *rand.Rand, device int, n int64) []byte {
	e := telemetry.Event{
		App: "com.example.shop", Device: telemetry.Fingerprint(fmt.Sprint("device-", device)), Version: "1.3.0", Platform: "android",
		Time:      (epochHour+n/100_000)*hourMillis + n%100_000,
		Exposures: []telemetry.Exposure{{Rollout: "01JD0000000000000000000000", Arm: 1 + rollout.Arm(device%2)}},
	}
	if random.IntN(50) == 0 {
		e.Kind, e.Action = telemetry.KindAction, "app_crash"
	}
	data, err := telemetry.Append(nil, e)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// displayMeter adds up what the sketches cost: their writes, with the checkpoints of commits that were made for them alone,
// and the reads before them.
type displayMeter struct {
	store.Store
	sketches, units, readUnits, all atomic.Int64
}

func (m *displayMeter) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	item, err := m.Store.Get(ctx, k, c)
	if isSketch(k) {
		m.readUnits.Add(int64(1 + len(item.Value)/4096))
	}
	return item, err
}

func (m *displayMeter) Write(ctx context.Context, ops ...store.Op) error {
	own := slices.DeleteFunc(slices.Clone(ops), func(op store.Op) bool { return !isSketch(op.Item.Key) })
	m.sketches.Add(int64(len(own)))
	if len(own) == len(ops)-1 { // all but the checkpoint
		own = ops
	}
	for _, op := range own {
		m.units.Add(2 * int64(dynamo.WriteUnits(op))) // twice, as in any transaction
	}
	m.all.Add(int64(dynamo.WriteUnits(ops...)))
	return m.Store.Write(ctx, ops...)
}

// BenchmarkDisplay folds half an hour of an app with so many events a day, half of them measures, as they come with the
// template's batch window of thirty seconds, and reports what the display costs beside the counting.
func BenchmarkDisplay(b *testing.B) {
	const span, window, perDevice = 30 * time.Minute, 30 * time.Second, 2
	for _, perDay := range []int{10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("events=%d", perDay), func(b *testing.B) {
			_, st := engines(b)
			random := rand.New(rand.NewPCG(1, 2))
			metered, clock := &displayMeter{Store: st}, newWall()
			a := &aggregate.Aggregator{Store: metered, Name: streamName, Now: clock.now}
			perWindow := float64(perDay) * window.Hours() / 24
			events, due := 0, 0.0
			for b.Loop() {
				for range int(span / window) {
					var batch []stream.Record
					for due += perWindow; due >= 1; due-- {
						data, err := telemetry.Append(nil, measuredEvent(random, random.IntN(perDay/perDevice), clock.now().UnixMilli()))
						if err != nil {
							b.Fatal(err)
						}
						batch = append(batch, stream.Record{Data: data})
					}
					if _, err := a.FoldBatch(b.Context(), pushed(batch, events)); err != nil {
						b.Fatal(err)
					}
					events += len(batch)
					clock.forward(window)
				}
			}
			million := 1e6 / float64(events)
			b.ReportMetric(float64(metered.units.Load())*million, "display-write-units/million")
			b.ReportMetric(float64(metered.all.Load())*million, "write-units/million")
			b.ReportMetric(float64(metered.readUnits.Load())*million, "display-read-units/million")
			b.ReportMetric(float64(metered.units.Load())/float64(max(1, metered.sketches.Load())), "units/display-write")
		})
	}
}

// measuredEvent is a check, or every other time a load, a response or a session.
func measuredEvent(random *rand.Rand, device int, at int64) telemetry.Event {
	e := telemetry.Event{
		App: "com.example.shop", Device: telemetry.Fingerprint(fmt.Sprint("device-", device)), Version: "1.3.0", Platform: "android", Time: at,
		Exposures: []telemetry.Exposure{{Rollout: "01JD0000000000000000000000", Arm: 1 + rollout.Arm(device%2)}},
	}
	if random.IntN(2) == 0 {
		measures := []telemetry.MetricType{telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricSessionLength}
		e.Kind, e.Action, e.Value = telemetry.KindMetric, string(measures[random.IntN(3)]), 900*math.Exp(0.8*random.NormFloat64())
	}
	return e
}
