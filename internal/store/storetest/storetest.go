// Package storetest is what every engine of package store must do, as tests. An engine's own test opens it and calls
// Run; nothing in here knows which engine it is.
//
// The suite has three parts: the three verbs (verbs, conditions, ranges, limits), what holds when many write at once
// or the process goes away (races, durability), and the typed layer of package store on top of the engine.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

// Engine opens the store under test. Open is required, the others are for engines that can.
type Engine struct {
	// Open returns an empty store, and closes it when the test ends.
	Open func(t *testing.T) store.Store
	// OpenAt is Open with the clock that decides what has expired.
	OpenAt func(t *testing.T, now func() time.Time) store.Store
	// Reopen returns a function that opens one and the same store anew with every call, even while another is open; the
	// caller closes what it opened.
	Reopen func(t *testing.T) (open func() store.Store)
}

// Run runs the whole suite.
func Run(t *testing.T, e Engine) {
	t.Run("verbs", func(t *testing.T) { testVerbs(t, e) })
	t.Run("conditions", func(t *testing.T) { testConditions(t, e) })
	t.Run("ranges", func(t *testing.T) { testRanges(t, e) })
	t.Run("any history", func(t *testing.T) { testModel(t, e) })
	t.Run("limits", func(t *testing.T) { testLimits(t, e) })
	t.Run("context", func(t *testing.T) { testContext(t, e) })
	t.Run("races", func(t *testing.T) { testRaces(t, e) })
	if e.OpenAt != nil {
		t.Run("expiry", func(t *testing.T) { testExpiry(t, e) })
	}
	if e.Reopen != nil {
		t.Run("durability", func(t *testing.T) { testDurability(t, e) })
	}
	t.Run("apps", func(t *testing.T) { testApps(t, e) })
	t.Run("large snapshots", func(t *testing.T) { testLarge(t, e) })
	t.Run("devices", func(t *testing.T) { testDevices(t, e) })
	t.Run("tokens", func(t *testing.T) { testTokens(t, e) })
	t.Run("signing keys", func(t *testing.T) { testSigningKeys(t, e) })
}

func key(pk, sk string) store.Key { return store.Key{PK: pk, SK: sk} }

func item(pk, sk string, version int64, value string) store.Item {
	return store.Item{Key: key(pk, sk), Version: version, Value: []byte(value)}
}

func write(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Write(t.Context(), ops...); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// wantItem fails unless exactly this item is at its key.
func wantItem(t *testing.T, s store.Store, want store.Item) {
	t.Helper()
	got, err := s.Get(t.Context(), want.Key, store.Strong)
	if err != nil {
		t.Fatalf("get %s: %v", want.Key, err)
	}
	if got.Key != want.Key || got.Version != want.Version || !bytes.Equal(got.Value, want.Value) || !got.Expires.Equal(want.Expires) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func wantAbsent(t *testing.T, s store.Store, k store.Key) {
	t.Helper()
	if got, err := s.Get(t.Context(), k, store.Strong); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get %s: %+v, %v, want ErrNotFound", k, got, err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func testVerbs(t *testing.T, e Engine) {
	s := e.Open(t)
	t.Run("absent", func(t *testing.T) { wantAbsent(t, s, key("A", "a")) })
	t.Run("put and get", func(t *testing.T) {
		want := item("A", "a", 7, "one")
		write(t, s, store.Put(want, store.Always()))
		wantItem(t, s, want)
		for _, near := range []store.Key{key("A", "aa"), key("AA", "a"), key("a", "a"), key("A", "A")} {
			wantAbsent(t, s, near)
		}
	})
	t.Run("put replaces whole, also by a lower version", func(t *testing.T) {
		first := item("A", "r", 9, "long value")
		first.Expires = time.Now().Add(time.Hour).Truncate(time.Second)
		want := item("A", "r", 2, "")
		write(t, s, store.Put(first, store.Always()))
		wantItem(t, s, first)
		write(t, s, store.Put(want, store.Always()))
		wantItem(t, s, want)
	})
	t.Run("delete, and delete again", func(t *testing.T) {
		write(t, s, store.Put(item("A", "d", 1, "x"), store.Always()))
		write(t, s, store.Delete(key("A", "d"), store.Always()))
		wantAbsent(t, s, key("A", "d"))
		write(t, s, store.Delete(key("A", "d"), store.Always()))
	})
	t.Run("no operations", func(t *testing.T) { write(t, s) })
	t.Run("several at once, over partitions", func(t *testing.T) {
		write(t, s, store.Put(item("M", "gone", 1, "x"), store.Always()))
		write(t, s,
			store.Put(item("M", "1", 1, "x"), store.Absent()),
			store.Put(item("N", "1", 1, "y"), store.Absent()),
			store.Delete(key("M", "gone"), store.AtVersion(1)),
			store.Check(key("M", "none"), store.Absent()))
		wantItem(t, s, item("M", "1", 1, "x"))
		wantItem(t, s, item("N", "1", 1, "y"))
		wantAbsent(t, s, key("M", "gone"))
		wantAbsent(t, s, key("M", "none"))
	})
	t.Run("any text as key, any bytes as value", func(t *testing.T) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		for i, name := range []string{"ü", "日本語", "🚀", "a\x00b", "a\nb", "%_'\"", " ", "\u200b", strings.Repeat("é", 512)} {
			want := store.Item{Key: key("T#"+name, name), Version: int64(i + 1), Value: every}
			write(t, s, store.Put(want, store.Absent()))
			wantItem(t, s, want)
		}
	})
	t.Run("what is returned is the caller's", func(t *testing.T) {
		want := item("C", "c", 1, "kept")
		given := item("C", "c", 1, "kept")
		write(t, s, store.Put(given, store.Always()))
		given.Value[0] = 'X'
		got, err := s.Get(t.Context(), want.Key, store.Strong)
		if err != nil {
			t.Fatal(err)
		}
		got.Value[0] = 'Y'
		wantItem(t, s, want)
	})
}

func testConditions(t *testing.T, e Engine) {
	present, absent := key("C", "present"), key("C", "absent")
	cases := []struct {
		name  string
		at    store.Key
		cond  store.Condition
		holds bool
	}{
		{"always, present", present, store.Always(), true},
		{"always, absent", absent, store.Always(), true},
		{"absent, absent", absent, store.Absent(), true},
		{"absent, present", present, store.Absent(), false},
		{"at version, right", present, store.AtVersion(5), true},
		{"at version, older", present, store.AtVersion(4), false},
		{"at version, newer", present, store.AtVersion(6), false},
		{"at version, absent", absent, store.AtVersion(1), false},
		{"at version 0, absent", absent, store.AtVersion(0), true},
		{"at version 0, present", present, store.AtVersion(0), false},
	}
	ops := map[string]func(store.Key, store.Condition) store.Op{
		"put": func(k store.Key, c store.Condition) store.Op {
			return store.Put(store.Item{Key: k, Version: 6, Value: []byte("new")}, c)
		},
		"delete": store.Delete,
		"check":  store.Check,
	}
	s := e.Open(t)
	for kind, op := range ops {
		for _, c := range cases {
			// The guarded operation stands first, in the middle and last: what is before and after it must follow it.
			for place := range 3 {
				t.Run(fmt.Sprintf("%s/%s/%d", kind, c.name, place), func(t *testing.T) {
					others := []store.Op{
						store.Put(item("C", "other1", 1, "x"), store.Always()),
						store.Delete(key("C", "other2"), store.Always()),
					}
					write(t, s, store.Put(item("C", "present", 5, "old"), store.Always()), store.Delete(absent, store.Always()),
						store.Delete(key("C", "other1"), store.Always()), store.Put(item("C", "other2", 1, "y"), store.Always()))
					all := append(append(append([]store.Op{}, others[:place]...), op(c.at, c.cond)), others[place:]...)
					err := s.Write(t.Context(), all...)
					if !c.holds {
						wantError(t, err, store.ErrConflict)
						wantItem(t, s, item("C", "present", 5, "old"))
						wantAbsent(t, s, absent)
						wantAbsent(t, s, key("C", "other1"))
						wantItem(t, s, item("C", "other2", 1, "y"))
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					wantItem(t, s, item("C", "other1", 1, "x"))
					wantAbsent(t, s, key("C", "other2"))
					switch {
					case kind == "put":
						wantItem(t, s, item("C", c.at.SK, 6, "new"))
					case kind == "delete" || c.at == absent:
						wantAbsent(t, s, c.at)
					default:
						wantItem(t, s, item("C", "present", 5, "old"))
					}
				})
			}
		}
	}
}

func testLimits(t *testing.T, e Engine) {
	s := e.Open(t)
	puts := func(n, size int) []store.Op {
		ops := make([]store.Op, n)
		for i := range ops {
			k := key("L", fmt.Sprintf("%03d", i))
			ops[i] = store.Put(store.Item{Key: k, Version: 1, Value: make([]byte, size-len(k.PK)-len(k.SK))}, store.Absent())
		}
		return ops
	}
	refused := func(name string, want error, ops ...store.Op) {
		t.Run(name, func(t *testing.T) {
			wantError(t, s.Write(t.Context(), ops...), want)
			if left, err := s.Query(t.Context(), store.Range{PK: "L"}, store.Strong); err != nil || len(left) > 0 {
				t.Errorf("%d items were written, %v", len(left), err)
			}
		})
	}
	valid := store.Put(item("L", "valid", 1, "x"), store.Always())
	refused("one operation too many", store.ErrTooLarge, puts(store.MaxWriteItems+1, 10)...)
	refused("one byte too many in an item", store.ErrTooLarge, append(puts(1, store.MaxItemBytes+1), valid)...)
	refused("one byte too many in all", store.ErrTooLarge, append(puts(10, store.MaxWriteBytes/10), valid)...)
	refused("two puts on one key", store.ErrInvalid, valid, valid)
	refused("put and check of one key", store.ErrInvalid, valid, store.Check(key("L", "valid"), store.Absent()))
	refused("no partition key", store.ErrInvalid, valid, store.Put(item("", "a", 1, ""), store.Always()))
	refused("no sort key", store.ErrInvalid, valid, store.Delete(key("L", ""), store.Always()))
	refused("partition key too long", store.ErrInvalid, valid, store.Put(item(strings.Repeat("p", store.MaxPKBytes+1), "a", 1, ""), store.Always()))
	refused("sort key too long", store.ErrInvalid, valid, store.Put(item("L", strings.Repeat("s", store.MaxSKBytes+1), 1, ""), store.Always()))
	refused("key not UTF-8", store.ErrInvalid, valid, store.Put(item("L", "a\xff", 1, ""), store.Always()))
	refused("version 0", store.ErrInvalid, valid, store.Put(item("L", "v", 0, ""), store.Always()))

	t.Run("just right", func(t *testing.T) {
		write(t, s, puts(store.MaxWriteItems, 10)...)
		got, err := s.Query(t.Context(), store.Range{PK: "L"}, store.Strong)
		if err != nil || len(got) != store.MaxWriteItems {
			t.Errorf("%d items, %v", len(got), err)
		}
		big := store.Item{Key: key("L2", "big"), Version: 1, Value: bytes.Repeat([]byte{0xab}, store.MaxItemBytes-len("L2big"))}
		write(t, s, store.Put(big, store.Absent()))
		wantItem(t, s, big)
		longest := item(strings.Repeat("p", store.MaxPKBytes), strings.Repeat("s", store.MaxSKBytes), 1<<62, "x")
		write(t, s, store.Put(longest, store.Absent()))
		wantItem(t, s, longest)
	})
}

func testContext(t *testing.T, e Engine) {
	s := e.Open(t)
	write(t, s, store.Put(item("X", "x", 1, "old"), store.Always()))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(over, key("X", "x"), store.Strong)
	wantError(t, err, context.Canceled)
	_, err = s.Query(over, store.Range{PK: "X"}, store.Strong)
	wantError(t, err, context.Canceled)
	wantError(t, s.Write(over, store.Put(item("X", "x", 2, "new"), store.Always())), context.Canceled)
	wantItem(t, s, item("X", "x", 1, "old"))

	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.Get(late, key("X", "x"), store.Strong)
	wantError(t, err, context.DeadlineExceeded)
	wantError(t, s.Write(late, store.Put(item("X", "x", 2, "new"), store.Always())), context.DeadlineExceeded)
	wantItem(t, s, item("X", "x", 1, "old"))
}

func testExpiry(t *testing.T, e Engine) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var clock clock
	clock.set(start)
	s := e.OpenAt(t, clock.now)
	brief := item("E", "brief", 3, "x")
	brief.Expires = start.Add(10 * time.Second)
	forever := item("E", "forever", 1, "y")
	fraction := item("E", "fraction", 1, "z")
	fraction.Expires = start.Add(9*time.Second + time.Millisecond)
	write(t, s, store.Put(brief, store.Absent()), store.Put(forever, store.Absent()), store.Put(fraction, store.Absent()))
	fraction.Expires = start.Add(10 * time.Second) // rounded up to the second
	wantItem(t, s, fraction)

	clock.set(start.Add(10*time.Second - time.Nanosecond))
	wantItem(t, s, brief)
	wantError(t, s.Write(t.Context(), store.Check(brief.Key, store.Absent())), store.ErrConflict)

	clock.set(brief.Expires)
	wantAbsent(t, s, brief.Key)
	wantItem(t, s, forever)
	for _, backward := range []bool{false, true} {
		got, err := s.Query(t.Context(), store.Range{PK: "E", Limit: 1, Backward: backward}, store.Strong)
		if err != nil || len(got) != 1 || got[0].SK != "forever" {
			t.Errorf("query, backward %v: %v, %v: want only the item that lasts, and an expired one takes no place", backward, got, err)
		}
	}
	wantError(t, s.Write(t.Context(), store.Check(brief.Key, store.AtVersion(3))), store.ErrConflict)
	again := item("E", "brief", 1, "second life")
	write(t, s, store.Put(again, store.Absent()))
	wantItem(t, s, again)

	clock.set(start.Add(24 * time.Hour))
	write(t, s, store.Put(item("E", "later", 1, ""), store.Always()))
	wantItem(t, s, again)
	wantItem(t, s, forever)
}

func testDurability(t *testing.T, e Engine) {
	open := e.Reopen(t)
	first := open()
	for i := range 20 {
		write(t, first, store.Put(item("D", fmt.Sprint(i%7), int64(i+1), fmt.Sprint("value ", i)), store.Always()))
	}
	write(t, first, store.Delete(key("D", "0"), store.Always()))
	check := func(s store.Store) {
		t.Helper()
		wantAbsent(t, s, key("D", "0"))
		for i := 14; i < 20; i++ {
			if i%7 != 0 {
				wantItem(t, s, item("D", fmt.Sprint(i%7), int64(i+1), fmt.Sprint("value ", i)))
			}
		}
	}
	beside := open() // as after a crash: the first was never closed
	check(beside)
	write(t, beside, store.Put(item("D", "beside", 1, "x"), store.Absent()))
	wantItem(t, first, item("D", "beside", 1, "x"))
	wantError(t, first.Write(t.Context(), store.Put(item("D", "beside", 1, "x"), store.Absent())), store.ErrConflict)
	for _, s := range []store.Store{first, beside} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	last := open()
	check(last)
	wantItem(t, last, item("D", "beside", 1, "x"))
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
}
