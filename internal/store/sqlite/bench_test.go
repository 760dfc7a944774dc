package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
)

func benchStore(b *testing.B) *sqlite.Store {
	b.Helper()
	s := open(b, filepath.Join(b.TempDir(), "store.db"), sqlite.Options{})
	b.Cleanup(func() { s.Close() })
	return s
}

func benchItem(i, size int) store.Item {
	return store.Item{Key: store.Key{PK: "BENCH", SK: fmt.Sprintf("%08d", i)}, Version: 1, Value: make([]byte, size)}
}

// BenchmarkGet reads one of 10,000 items of 300 bytes.
func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	for from := 0; from < 10_000; from += 100 {
		var ops []store.Op
		for i := range 100 {
			ops = append(ops, store.Put(benchItem(from+i, 300), store.Always()))
		}
		if err := s.Write(b.Context(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	get := func(i int) {
		if _, err := s.Get(b.Context(), benchItem(i*7919%10_000, 0).Key, store.Strong); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			get(i)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				get(i)
			}
		})
	})
}

// BenchmarkWrite writes items of 300 bytes, forced to disk.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprintf("%d items", n), func(b *testing.B) {
			s := benchStore(b)
			ops := make([]store.Op, n)
			for i := 0; b.Loop(); i++ {
				for j := range ops {
					ops[j] = store.Put(benchItem(i*n+j, 300), store.Absent())
				}
				if err := s.Write(b.Context(), ops...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
