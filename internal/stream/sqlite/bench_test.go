package sqlite_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/sqlite"
)

// benchBatch has n records of 300 bytes.
func benchBatch(n int, seed uint64) []stream.Record {
	batch := make([]stream.Record, n)
	for i := range batch {
		batch[i] = stream.Record{Key: (seed + uint64(i)) * 0x9e3779b97f4a7c15, Data: make([]byte, 300)}
	}
	return batch
}

func reportRecords(b *testing.B, n int) {
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkAppend is one sender who waits for the disk every time.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 10, 100, 500} {
		b.Run(fmt.Sprintf("%d records", n), func(b *testing.B) {
			s := fresh(b, sqlite.Options{})
			batch := benchBatch(n, 1)
			for b.Loop() {
				if err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			reportRecords(b, n)
		})
	}
}

// BenchmarkAppendParallel is many senders, each of whom waits for the disk every time: they share the waiting.
func BenchmarkAppendParallel(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d records", n), func(b *testing.B) {
			s := fresh(b, sqlite.Options{})
			var seed atomic.Uint64
			b.SetParallelism(128)
			b.RunParallel(func(pb *testing.PB) {
				batch := benchBatch(n, seed.Add(1))
				for pb.Next() {
					if err := s.Append(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
			reportRecords(b, n)
		})
	}
}

// BenchmarkRead reads 1,000 records at a time.
func BenchmarkRead(b *testing.B) {
	s := fresh(b, sqlite.Options{Shards: 1})
	for range 20 {
		if err := s.Append(b.Context(), benchBatch(500, 1)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if got, err := s.Read(b.Context(), "0", "", 1000); err != nil || len(got) != 1000 {
			b.Fatal(len(got), err)
		}
	}
	reportRecords(b, 1000)
}
