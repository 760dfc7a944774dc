// Package streamtest is what every engine of package stream must do, as tests. An engine's own test opens it and calls
// Run; nothing in here knows which engine it is.
//
// What is asked of a log: a record that was acknowledged is there, also after the process died without a word; the
// records of one device come in the order of their acknowledgements, whoever else appends; what was not read is never
// forgotten; and under overload senders are told so, instead of records being lost in silence.
package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/stream"
)

// Engine opens the log under test. Open is required, the others are for engines that can.
type Engine struct {
	// Open returns an empty log with at least two shards, which nobody splits or merges, and closes it when the test ends.
	Open func(t *testing.T) stream.Stream
	// OpenRetaining is Open with a retention and the clock that it is measured by.
	OpenRetaining func(t *testing.T, retention time.Duration, now func() time.Time) stream.Stream
	// OpenTight is Open with room for this many waiting records only.
	OpenTight func(t *testing.T, pending int) stream.Stream
	// Reopen returns a function that opens one and the same log anew with every call, even while another is open; the
	// caller closes what it opened.
	Reopen func(t *testing.T) (open func() stream.Stream)
}

// Run runs the whole suite.
func Run(t *testing.T, e Engine) {
	t.Run("append and read", func(t *testing.T) { testAppendRead(t, e) })
	t.Run("a key keeps its shard", func(t *testing.T) { testShards(t, e) })
	t.Run("order within a device", func(t *testing.T) { testOrder(t, e) })
	t.Run("reading while others append", func(t *testing.T) { testTail(t, e) })
	t.Run("limits", func(t *testing.T) { testLimits(t, e) })
	t.Run("positions", func(t *testing.T) { testPositions(t, e) })
	t.Run("trim", func(t *testing.T) { testTrim(t, e) })
	t.Run("context", func(t *testing.T) { testContext(t, e) })
	t.Run("batch is the caller's again", func(t *testing.T) { testReuse(t, e) })
	if e.OpenRetaining != nil {
		t.Run("retention", func(t *testing.T) { testRetention(t, e) })
	}
	if e.OpenTight != nil {
		t.Run("overload", func(t *testing.T) { testOverload(t, e) })
	}
	if e.Reopen != nil {
		t.Run("durability", func(t *testing.T) { testDurability(t, e) })
	}
}

// record makes a record of the n-th device. Its key is spread over all 64 bits, as hashes are.
func record(device uint64, format string, args ...any) stream.Record {
	return stream.Record{Key: device * 0x9e3779b97f4a7c15, Data: fmt.Appendf(nil, format, args...)}
}

func appendAll(t *testing.T, s stream.Stream, batch ...stream.Record) {
	t.Helper()
	if err := s.Append(t.Context(), batch); err != nil {
		t.Fatalf("append: %v", err)
	}
}

func shards(t *testing.T, s stream.Stream) []string {
	t.Helper()
	names, err := s.Shards(t.Context())
	if err != nil || len(names) < 2 {
		t.Fatalf("shards %q, %v", names, err)
	}
	return names
}

// readShard reads all there is after a position, limit records at a time, and checks that positions rise.
func readShard(t *testing.T, s stream.Stream, shard string, after stream.Position, limit int) []stream.Delivered {
	t.Helper()
	var all []stream.Delivered
	for {
		page, err := s.Read(t.Context(), shard, after, limit)
		if err != nil {
			t.Fatalf("read %s after %q: %v", shard, after, err)
		}
		if len(page) == 0 {
			return all
		}
		if limit > 0 && len(page) > limit {
			t.Fatalf("%d records, asked for %d", len(page), limit)
		}
		for _, r := range page {
			if r.Position.Compare(after) <= 0 {
				t.Fatalf("position %q after %q", r.Position, after)
			}
			after = r.Position
		}
		all = append(all, page...)
	}
}

// readAll returns the data of all records, shard after shard.
func readAll(t *testing.T, s stream.Stream) []string {
	t.Helper()
	var all []string
	for _, shard := range shards(t, s) {
		for _, r := range readShard(t, s, shard, "", 0) {
			all = append(all, string(r.Data))
		}
	}
	return all
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func testAppendRead(t *testing.T, e Engine) {
	s := e.Open(t)
	if got := readAll(t, s); len(got) != 0 {
		t.Errorf("a new log has %q", got)
	}
	appendAll(t, s)
	var want []string
	for i := range 17 {
		batch := make([]stream.Record, i)
		for j := range batch {
			batch[j] = record(uint64(i*j), "%d.%d", i, j)
			want = append(want, string(batch[j].Data))
		}
		appendAll(t, s, batch...)
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	appendAll(t, s, stream.Record{Key: 1, Data: every}, stream.Record{Key: 2, Data: []byte{}}, stream.Record{Key: 3})
	want = append(want, string(every), "", "")
	got := readAll(t, s)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %d records\nwant %d", len(got), len(want))
	}
	for _, shard := range shards(t, s) {
		whole := readShard(t, s, shard, "", 0)
		for _, limit := range []int{1, 7, stream.MaxRead, stream.MaxRead + 1, -1} {
			paged := readShard(t, s, shard, "", limit)
			if !slices.EqualFunc(paged, whole, func(a, b stream.Delivered) bool {
				return a.Position == b.Position && bytes.Equal(a.Data, b.Data)
			}) {
				t.Errorf("shard %s by %d: other records than at once", shard, limit)
			}
		}
	}
}

func testShards(t *testing.T, e Engine) {
	s := e.Open(t)
	const keys, rounds = 200, 3
	for round := range rounds {
		for from := 0; from < keys; from += 50 {
			var batch []stream.Record
			for k := from; k < from+50; k++ {
				batch = append(batch, record(uint64(k), "%d.%d", k, round))
			}
			appendAll(t, s, batch...)
		}
	}
	home, filled := map[int]string{}, 0
	names := shards(t, s)
	for _, shard := range names {
		records := readShard(t, s, shard, "", 0)
		if len(records) > 0 {
			filled++
		}
		for _, r := range records {
			var k, round int
			if _, err := fmt.Sscanf(string(r.Data), "%d.%d", &k, &round); err != nil {
				t.Fatal(err)
			}
			if at, seen := home[k]; seen && at != shard {
				t.Errorf("key %d is on shards %s and %s", k, at, shard)
			}
			home[k] = shard
		}
	}
	if len(home) != keys || filled != len(names) {
		t.Errorf("%d keys on %d shards, want %d on %d", len(home), filled, keys, len(names))
	}
	if again := shards(t, s); !slices.Equal(again, names) {
		t.Errorf("shards %q, then %q", names, again)
	}
}

// testOrder has many devices appending at once, each its own records one after the other, in batches of many sizes.
func testOrder(t *testing.T, e Engine) {
	s := e.Open(t)
	const devices, batches = 12, 20
	var group sync.WaitGroup
	for d := range devices {
		group.Go(func() {
			n := 0
			for b := range batches {
				var batch []stream.Record
				for range 1 + (b+d)%5 {
					batch = append(batch, record(uint64(d), "%d %d", d, n))
					n++
				}
				if err := s.Append(t.Context(), batch); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	next, total := map[int]int{}, 0
	for _, data := range readAll(t, s) {
		var d, n int
		if _, err := fmt.Sscanf(data, "%d %d", &d, &n); err != nil {
			t.Fatal(err)
		}
		if n != next[d] {
			t.Fatalf("device %d: record %d where %d is due", d, n, next[d])
		}
		next[d]++
		total++
	}
	if len(next) != devices || total != devices*batches*3 {
		t.Errorf("%d records of %d devices, want %d of %d", total, len(next), devices*batches*3, devices)
	}
}

// testTail reads on while records come in: none may be overtaken by a record that is read before it.
func testTail(t *testing.T, e Engine) {
	s := e.Open(t)
	const appenders, each = 6, 20
	var left atomic.Int64
	left.Store(appenders)
	var group sync.WaitGroup
	for a := range appenders {
		group.Go(func() {
			defer left.Add(-1)
			for n := range each {
				if err := s.Append(t.Context(), []stream.Record{record(uint64(a), "%d %d", a, n), record(uint64(a+1000), "x")}); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	seen := 0
	at := map[string]stream.Position{}
	next := map[int]int{}
	for last := false; ; {
		for _, shard := range shards(t, s) {
			for _, r := range readShard(t, s, shard, at[shard], 10) {
				at[shard] = r.Position
				seen++
				var a, n int
				if _, err := fmt.Sscanf(string(r.Data), "%d %d", &a, &n); err != nil {
					continue // one of the others
				}
				if n != next[a] {
					t.Fatalf("appender %d: record %d where %d is due", a, n, next[a])
				}
				next[a]++
			}
		}
		if last {
			break
		}
		last = left.Load() == 0
	}
	group.Wait()
	if seen != 2*appenders*each {
		t.Errorf("%d records, want %d", seen, 2*appenders*each)
	}
}

func testLimits(t *testing.T, e Engine) {
	s := e.Open(t)
	many := make([]stream.Record, stream.MaxBatch+1)
	large := stream.Record{Data: make([]byte, stream.MaxRecordBytes)}
	wantError(t, s.Append(t.Context(), many), stream.ErrTooLarge)
	wantError(t, s.Append(t.Context(), []stream.Record{{Data: make([]byte, stream.MaxRecordBytes+1)}}), stream.ErrTooLarge)
	wantError(t, s.Append(t.Context(), slices.Repeat([]stream.Record{large}, stream.MaxBatchBytes/stream.MaxRecordBytes+1)), stream.ErrTooLarge)
	if got := readAll(t, s); len(got) != 0 {
		t.Errorf("%d records of refused batches were written", len(got))
	}
	appendAll(t, s, many[1:]...)
	appendAll(t, s, slices.Repeat([]stream.Record{large}, stream.MaxBatchBytes/stream.MaxRecordBytes)...)
	if got := readAll(t, s); len(got) != stream.MaxBatch+stream.MaxBatchBytes/stream.MaxRecordBytes {
		t.Errorf("%d records", len(got))
	}
}

func testPositions(t *testing.T, e Engine) {
	s := e.Open(t)
	appendAll(t, s, record(1, "a"))
	name := shards(t, s)[0]
	for _, bad := range []string{"", "none", "-1", "999", name + "0"} {
		_, err := s.Read(t.Context(), bad, "", 1)
		wantError(t, err, stream.ErrNoShard)
		wantError(t, s.Trim(t.Context(), bad, "1"), stream.ErrNoShard)
	}
	for _, bad := range []stream.Position{"x", "-1", "1.5", "0x1", " 1", "01"} {
		_, err := s.Read(t.Context(), name, bad, 1)
		wantError(t, err, stream.ErrPosition)
		wantError(t, s.Trim(t.Context(), name, bad), stream.ErrPosition)
	}
}

func testTrim(t *testing.T, e Engine) {
	s := e.Open(t)
	for i := range 60 {
		appendAll(t, s, record(uint64(i), "%d", i))
	}
	kept := map[string][]stream.Delivered{}
	for _, shard := range shards(t, s) {
		all := readShard(t, s, shard, "", 0)
		if len(all) == 0 {
			continue
		}
		middle := len(all) / 2
		kept[shard] = all[middle+1:]
		for range 2 { // a second time changes nothing
			if err := s.Trim(t.Context(), shard, all[middle].Position); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Trim(t.Context(), shard, ""); err != nil {
			t.Fatal(err)
		}
	}
	for shard, want := range kept {
		// What was not read is there, read from where the reader stopped or from before that; more may be left.
		got := readShard(t, s, shard, "", 0)
		if len(got) < len(want) || !slices.EqualFunc(got[len(got)-len(want):], want, func(a, b stream.Delivered) bool {
			return a.Position == b.Position && bytes.Equal(a.Data, b.Data)
		}) {
			t.Errorf("shard %s: trimming took more than it was allowed to", shard)
		}
		last := want[len(want)-1].Position
		if err := s.Trim(t.Context(), shard, last); err != nil {
			t.Fatal(err)
		}
		if got := readShard(t, s, shard, last, 0); len(got) != 0 {
			t.Errorf("shard %s: %v after the last one", shard, got)
		}
		kept[shard] = want[len(want)-1:]
	}
	// A log that was emptied goes on where it was: a reader's checkpoint stays good.
	for i := range 60 {
		appendAll(t, s, record(uint64(i), "later %d", i))
	}
	later := 0
	for shard, last := range kept {
		later += len(readShard(t, s, shard, last[0].Position, 0))
	}
	if later != 60 {
		t.Errorf("%d later records after the checkpoints, want 60", later)
	}
}

func testContext(t *testing.T, e Engine) {
	s := e.Open(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, s.Append(over, []stream.Record{record(1, "never")}), context.Canceled)
	_, err := s.Read(over, shards(t, s)[0], "", 1)
	wantError(t, err, context.Canceled)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	wantError(t, s.Append(late, []stream.Record{record(1, "never")}), context.DeadlineExceeded)
	appendAll(t, s, record(1, "after"))
	if got := readAll(t, s); !slices.Equal(got, []string{"after"}) {
		t.Errorf("got %q", got)
	}

	// Callers who give up at any moment do not disturb those who wait.
	var group sync.WaitGroup
	var acknowledged atomic.Int64
	for i := range 40 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				go cancel()
			}
			defer cancel()
			switch err := s.Append(ctx, []stream.Record{record(uint64(i), "n%d", i)}); {
			case err == nil:
				acknowledged.Add(1)
			case i%2 == 1:
				t.Errorf("append %d: %v", i, err)
			default:
				wantError(t, err, context.Canceled)
			}
		})
	}
	group.Wait()
	appendAll(t, s, record(1, "end"))
	if got := int64(len(readAll(t, s))) - 2; got < acknowledged.Load() || got > 40 {
		t.Errorf("%d records for %d acknowledged", got, acknowledged.Load())
	}
}

// testReuse overwrites a batch as soon as Append has returned, in whatever way.
func testReuse(t *testing.T, e Engine) {
	s := e.Open(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			batch := []stream.Record{{Key: uint64(i), Data: []byte("good")}, {Key: uint64(i), Data: []byte("good")}}
			for n := range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%2 == 0 {
					go cancel()
				}
				copy(batch[0].Data, "good")
				copy(batch[1].Data, "good")
				if err := s.Append(ctx, batch); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("append: %v", err)
				}
				copy(batch[0].Data, "bad!")
				copy(batch[1].Data, "bad!")
				cancel()
			}
		})
	}
	group.Wait()
	appendAll(t, s, record(1, "good"))
	for _, data := range readAll(t, s) {
		if data != "good" {
			t.Fatalf("a record reads %q", data)
		}
	}
}

func testRetention(t *testing.T, e Engine) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	set := func(t time.Time) { clock.Store(&t) }
	set(start)
	s := e.OpenRetaining(t, time.Hour, func() time.Time { return *clock.Load() })
	appendAll(t, s, record(1, "old"))
	set(start.Add(30 * time.Minute))
	appendAll(t, s, record(1, "young"))
	trim := func() {
		for _, shard := range shards(t, s) {
			if all := readShard(t, s, shard, "", 0); len(all) > 0 {
				if err := s.Trim(t.Context(), shard, all[len(all)-1].Position); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	want := func(data ...string) {
		t.Helper()
		if got := readAll(t, s); !slices.Equal(got, data) {
			t.Errorf("got %q, want %q", got, data)
		}
	}
	trim()
	want("old", "young")
	set(start.Add(time.Hour))
	want("old", "young") // age alone forgets nothing
	trim()
	want("young")
	set(start.Add(2 * time.Hour))
	trim()
	want()
}

// testOverload sends far more than there is room for: every record that was acknowledged is there, every other sender
// was told to come back.
func testOverload(t *testing.T, e Engine) {
	s := e.OpenTight(t, 50)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	refused := 0
	var group sync.WaitGroup
	for w := range 40 {
		group.Go(func() {
			for n := range 20 {
				batch := make([]stream.Record, 10)
				for i := range batch {
					batch[i] = record(uint64(w), "%d.%d.%d", w, n, i)
				}
				err := s.Append(t.Context(), batch)
				mu.Lock()
				switch {
				case err == nil:
					for _, r := range batch {
						acknowledged[string(r.Data)] = true
					}
				case errors.Is(err, stream.ErrOverloaded):
					refused++
				default:
					t.Errorf("append: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if refused == 0 || len(acknowledged) == 0 {
		t.Fatalf("%d batches refused, %d records acknowledged: this was no overload", refused, len(acknowledged))
	}
	for _, data := range readAll(t, s) {
		delete(acknowledged, data)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged records are lost", len(acknowledged))
	}
	large := make([]stream.Record, 200) // more than the whole room: passes when it is alone
	appendAll(t, s, large...)
}

func testDurability(t *testing.T, e Engine) {
	open := e.Reopen(t)
	first := open()
	var want []string
	check := func(s stream.Stream) {
		t.Helper()
		got := readAll(t, s)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
	add := func(s stream.Stream, data string) {
		for i := range 8 {
			r := record(uint64(i), "%s %d", data, i)
			appendAll(t, s, r)
			want = append(want, string(r.Data))
		}
	}
	add(first, "first")
	beside := open() // as after a crash: the first was never closed
	check(beside)
	add(beside, "beside")
	add(first, "first again")
	check(first)
	names := shards(t, first)
	last := map[string]stream.Position{}
	for _, shard := range names {
		if all := readShard(t, beside, shard, "", 0); len(all) > 0 {
			last[shard] = all[len(all)-1].Position
			if err := beside.Trim(t.Context(), shard, last[shard]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range []stream.Stream{first, beside} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	// Checkpoints stay good over a new start, even when everything was trimmed.
	again := open()
	if got := shards(t, again); !slices.Equal(got, names) {
		t.Errorf("shards %q, then %q", names, got)
	}
	add(again, "again")
	seen := 0
	for _, shard := range names {
		seen += len(readShard(t, again, shard, last[shard], 0))
	}
	if seen != 8 {
		t.Errorf("%d new records after the checkpoints, want 8", seen)
	}

	// Close ends what is under way: all of it is acknowledged or refused, none of it half.
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var group sync.WaitGroup
	started := make(chan struct{}, 20)
	for w := range 20 {
		group.Go(func() {
			for n := 0; ; n++ {
				r := record(uint64(w), "closing %d %d", w, n)
				err := again.Append(t.Context(), []stream.Record{r})
				if n == 0 {
					started <- struct{}{}
				}
				if err != nil {
					wantError(t, err, stream.ErrOverloaded)
					return
				}
				mu.Lock()
				acknowledged[string(r.Data)] = true
				mu.Unlock()
			}
		})
	}
	for range 20 {
		<-started
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	final := open()
	for _, data := range readAll(t, final) {
		delete(acknowledged, data)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged records are lost", len(acknowledged))
	}
	if err := final.Close(); err != nil {
		t.Fatal(err)
	}
}
