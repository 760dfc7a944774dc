package aggregate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
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
