package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/store"
)

// sortKeys are chosen for their order: prefixes of each other, neighbours of '#', characters of one to four bytes.
var sortKeys = []string{
	"APP", "APP#", "APP#a", "APP#b", "APP$", "a", "aa", "ab", "a~", "a\u007f", "aé", "a日", "a🚀", "b",
	"EVENT#01", "EVENT#02", "EVENT#10", "EVENT#é", "EVENT$", "~", "ÿ", "\U0010ffff", " ", "\x00",
}

func testRanges(t *testing.T, e Engine) {
	s := e.Open(t)
	for _, sk := range sortKeys {
		write(t, s, store.Put(item("R", sk, 1, "value of "+sk), store.Always()))
		write(t, s, store.Put(item("R#", sk, 2, "other"), store.Always()), store.Put(item("Q", sk, 2, "other"), store.Always()))
	}
	t.Run("every prefix, start, limit and direction", func(t *testing.T) {
		starts := append(slices.Clone(sortKeys), "", "APP#aa", "b\x00", "zz", "EVENT#", "\u0001")
		prefixes := []string{"", "A", "APP", "APP#", "a", "aé", "EVENT#", "é", "\U0010ffff", "nothing"}
		for _, prefix := range prefixes {
			for _, after := range starts {
				for _, limit := range []int{0, 1, 3, 100} {
					for _, backward := range []bool{false, true} {
						checkRange(t, s, store.Range{PK: "R", Prefix: prefix, After: after, Limit: limit, Backward: backward})
					}
				}
			}
		}
	})
	t.Run("random ranges", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		pick := func() string {
			sk := sortKeys[random.IntN(len(sortKeys))]
			return strings.ToValidUTF8(sk[:random.IntN(len(sk)+1)], "")
		}
		for range 300 {
			checkRange(t, s, store.Range{PK: "R", Prefix: pick(), After: pick(), Limit: random.IntN(5), Backward: random.IntN(2) == 0})
		}
	})
	t.Run("unknown partition", func(t *testing.T) {
		got, err := s.Query(t.Context(), store.Range{PK: "none"}, store.Eventual)
		if err != nil || len(got) != 0 {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("more than a page", func(t *testing.T) { testLargeRange(t, e) })
}

// checkRange compares a Query with the plain reading of the contract.
func checkRange(t *testing.T, s store.Store, r store.Range) {
	t.Helper()
	got, err := s.Query(t.Context(), r, store.Strong)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	want := slices.Clone(sortKeys)
	slices.Sort(want) // Go compares strings by bytes
	if r.Backward {
		slices.Reverse(want)
	}
	want = slices.DeleteFunc(want, func(sk string) bool {
		beyond := r.After == "" || sk > r.After
		if r.Backward {
			beyond = r.After == "" || sk < r.After
		}
		return !strings.HasPrefix(sk, r.Prefix) || !beyond
	})
	if r.Limit > 0 && len(want) > r.Limit {
		want = want[:r.Limit]
	}
	var keys []string
	for _, i := range got {
		keys = append(keys, i.SK)
		if i.PK != "R" || i.Version != 1 || string(i.Value) != "value of "+i.SK {
			t.Errorf("%+v: item %+v", r, i)
		}
	}
	if !slices.Equal(keys, want) {
		t.Errorf("%+v\n got %q\nwant %q", r, keys, want)
	}
}

// testLargeRange reads more than the megabyte that engines return at once, in one Query and page by page.
func testLargeRange(t *testing.T, e Engine) {
	const items, size = 48, 60_000
	s := e.Open(t)
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	for i := range items {
		write(t, s, store.Put(store.Item{Key: key("BIG", fmt.Sprintf("k%02d", i)), Version: int64(i + 1), Value: value(i)}, store.Absent()))
	}
	check := func(got []store.Item, from int) {
		t.Helper()
		for n, i := range got {
			if want := from + n; i.SK != fmt.Sprintf("k%02d", want) || i.Version != int64(want+1) || !bytes.Equal(i.Value, value(want)) {
				t.Fatalf("item %d is %s, version %d, %d bytes", want, i.Key, i.Version, len(i.Value))
			}
		}
	}
	all, err := s.Query(t.Context(), store.Range{PK: "BIG", Prefix: "k"}, store.Strong)
	if err != nil || len(all) != items {
		t.Fatalf("%d items, %v", len(all), err)
	}
	check(all, 0)
	back, err := s.Query(t.Context(), store.Range{PK: "BIG", Backward: true}, store.Eventual)
	if err != nil || len(back) != items {
		t.Fatalf("%d items backward, %v", len(back), err)
	}
	slices.Reverse(back)
	check(back, 0)
	after, seen := "", 0
	for {
		page, err := s.Query(t.Context(), store.Range{PK: "BIG", After: after, Limit: 31}, store.Strong)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		check(page, seen)
		seen += len(page)
		after = page[len(page)-1].SK
	}
	if seen != items {
		t.Errorf("%d items in pages, want %d", seen, items)
	}
}
