package edgehost

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, dir string, bound int64) *spool {
	t.Helper()
	s, err := openSpool(dir, bound, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drained takes everything out of a backlog, oldest first.
func drained(t testing.TB, b backlog) (all []report) {
	t.Helper()
	for {
		some, err := b.first()
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			return all
		}
		for _, r := range some {
			all = append(all, report{r.path, bytes.Clone(r.body), r.source})
		}
		if err := b.done(len(some)); err != nil {
			t.Fatal(err)
		}
	}
}

func same(a, b []report) bool {
	return slices.EqualFunc(a, b, func(x, y report) bool { return x.path == y.path && bytes.Equal(x.body, y.body) })
}

// some returns n reports of all sizes.
func some(n int, seed uint64) []report {
	random := rand.New(rand.NewPCG(seed, 1))
	list := make([]report, n)
	for i := range list {
		list[i] = report{
			path: [...]string{pathStats, pathTelemetry}[random.IntN(2)], source: [...]string{"", "203.0.113.0/24", "2001:db8:ffff::/48"}[random.IntN(3)],
			body: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", random.IntN(1<<random.IntN(12)))),
		}
		if random.IntN(3) == 0 {
			list[i].path = pathTelemetry
		}
	}
	return list
}

// A backlog gives back what it was given, in its order, whatever is done between; one on disk also to another process.
func TestBacklogIsAQueue(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable %v", durable), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				dir := filepath.Join(t.TempDir(), "spool")
				bound := int64(rapid.IntRange(0, 1<<20).Draw(rt, "bound"))
				var b backlog = &memory{bound: bound}
				if durable {
					b = open(t, dir, bound)
				}
				var want []report
				for range rapid.IntRange(0, 12).Draw(rt, "steps") {
					switch rapid.SampledFrom([]string{"add", "add", "take", "restart"}).Draw(rt, "step") {
					case "add":
						batch := some(rapid.IntRange(0, 120).Draw(rt, "reports"), rapid.Uint64().Draw(rt, "seed"))
						kept, err := b.add(batch)
						if err != nil || kept > len(batch) {
							rt.Fatal(kept, err)
						}
						want = append(want, batch[:kept]...)
					case "take":
						got, err := b.first()
						if err != nil || len(got) > maxReports || len(got) == 0 && len(want) > 0 || !same(got, want[:len(got)]) {
							rt.Fatalf("%d of %d, %v", len(got), len(want), err)
						}
						n := rapid.IntRange(0, len(got)).Draw(rt, "done")
						if n == 0 {
							continue
						}
						if err := b.done(n); err != nil {
							rt.Fatal(err)
						}
						want = want[n:]
					case "restart":
						if !durable {
							continue
						}
						reports, _ := b.size()
						if reports != len(want) {
							rt.Fatalf("it says %d, want %d", reports, len(want))
						}
						want = append(restarted(rt, b.(*spool)), want...)
						b = open(t, dir, bound)
					}
					if reports, size := b.size(); reports != len(want) || size > bound+segmentSize {
						rt.Fatalf("it says %d reports of %d bytes, want %d of at most %d", reports, size, len(want), bound)
					}
				}
				if got := drained(t, b); !same(got, want) {
					rt.Fatalf("%d came back, want %d", len(got), len(want))
				}
				if reports, size := b.size(); reports != 0 || size != 0 {
					rt.Fatalf("empty, it says %d reports of %d bytes", reports, size)
				}
				if err := b.close(); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

// restarted closes a spool and returns what of its oldest segment was handed over already, and will be again.
func restarted(rt *rapid.T, s *spool) (again []report) {
	if len(s.head) > 0 {
		all, _, _, err := s.read(s.sealed[0].number)
		if err != nil {
			rt.Fatal(err)
		}
		again = all[:len(all)-len(s.head)]
	}
	if err := s.close(); err != nil {
		rt.Fatal(err)
	}
	return again
}

// A crash may end the last segment anywhere, or leave rubbish there. Whatever was whole is there, and nothing else.
func TestSpoolEndsAnywhere(t *testing.T) {
	batch := some(12, 7)
	var whole []byte
	var ends []int // of each record
	for _, r := range batch {
		whole = appendRecord(whole, r)
		ends = append(ends, len(whole))
	}
	for cut := range len(whole) + 1 {
		for _, tail := range []string{"", strings.Repeat("\x00", 9), "\xff\xff\xff\xff", "\x05\x00\x00\x00rubbish"} {
			got, rest := cutRecords(append(bytes.Clone(whole[:cut]), tail...))
			n, _ := slices.BinarySearch(ends, cut+1)
			if !same(got, batch[:n]) || n > 0 && cut+len(tail)-len(rest) != ends[n-1] {
				t.Fatalf("cut at %d, followed by %q: %d reports, want %d", cut, tail, len(got), n)
			}
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile((&spool{dir: dir}).path(3), whole[:ends[5]+3], 0o600); err != nil {
		t.Fatal(err)
	}
	s, more := open(t, dir, 1<<20), some(3, 8)
	if kept, err := s.add(more); kept != len(more) || err != nil {
		t.Fatal(kept, err)
	}
	if got := drained(t, s); !same(got, slices.Concat(batch[:6], more)) {
		t.Errorf("%d reports came back, want those before the tear and those after the restart", len(got))
	}
}

// Damage costs what follows it in its segment, and nothing in others.
func TestSpoolWithDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 64<<20)
	large := report{path: pathStats, body: bytes.Repeat([]byte("y"), segmentSize)}
	batches := [][]report{append(some(4, 1), large), append(some(4, 2), large), some(4, 3)}
	for _, batch := range batches {
		if kept, err := s.add(batch); kept != len(batch) || err != nil {
			t.Fatal(kept, err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(s.path(1))
	if err != nil {
		t.Fatal(err)
	}
	raw[len(appendRecord(nil, batches[0][0]))+recordHeader+1] ^= 1 // in the second record
	if err := os.WriteFile(s.path(1), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 64<<20)
	if reports, _ := s.size(); reports != 1+5+4 {
		t.Errorf("it says %d reports", reports)
	}
	want := slices.Concat(batches[0][:1], batches[1], batches[2])
	if got := drained(t, s); !same(got, want) {
		t.Errorf("%d came back, want %d", len(got), len(want))
	}
}

// A disk that takes no more is no crash: what could not be written is not kept, and the rest stays.
func TestSpoolThatCannotWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	first := some(3, 1)
	if kept, err := s.add(first); kept != 3 || err != nil {
		t.Fatal(kept, err)
	}
	if err := s.writing.Close(); err != nil { // as good as a full disk: writing fails
		t.Fatal(err)
	}
	if kept, err := s.add(some(2, 2)); kept != 0 || err == nil || !errors.Is(err, os.ErrClosed) {
		t.Errorf("kept %d, %v", kept, err)
	}
	again := some(2, 3)
	if kept, err := s.add(again); kept != 2 || err != nil {
		t.Errorf("afterwards: kept %d, %v", kept, err)
	}
	if got := drained(t, s); !same(got, append(first, again...)) {
		t.Errorf("%d came back", len(got))
	}
}

func BenchmarkSpoolAdd(b *testing.B) {
	s := open(b, b.TempDir(), 1<<40)
	batch := make([]report, maxReports)
	for i := range batch {
		batch[i] = report{path: pathStats, body: bytes.Repeat([]byte("z"), 500)}
	}
	for b.Loop() {
		if _, err := s.add(batch); err != nil {
			b.Fatal(err)
		}
	}
}
