package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/palier-ota/palier/internal/store"
)

const writers = 50

// together runs f for each writer at once, and waits.
func together(n int, f func(writer int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	group.Wait()
}

func testRaces(t *testing.T, e Engine) {
	t.Run("one winner", func(t *testing.T) { testOneWinner(t, e) })
	t.Run("a counter loses no increment", func(t *testing.T) { testCounter(t, e) })
	t.Run("two items never disagree", func(t *testing.T) { testNeverHalf(t, e) })
}

// testOneWinner lets all writers change the same revision: one may.
func testOneWinner(t *testing.T, e Engine) {
	s := e.Open(t)
	write(t, s, store.Put(item("W", "app", 1, "start"), store.Absent()))
	var won atomic.Int64
	together(writers, func(w int) {
		name := fmt.Sprint("writer ", w)
		err := s.Write(t.Context(),
			store.Put(item("W", name, 1, name), store.Absent()),
			store.Put(item("W", "app", 2, name), store.AtVersion(1)),
			store.Delete(key("W", "none "+name), store.Always()))
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("%s: %v", name, err)
		}
	})
	if won.Load() != 1 {
		t.Fatalf("%d writers won, want 1", won.Load())
	}
	app, err := s.Get(t.Context(), key("W", "app"), store.Strong)
	if err != nil || app.Version != 2 {
		t.Fatalf("app: %+v, %v", app, err)
	}
	left, err := s.Query(t.Context(), store.Range{PK: "W", Prefix: "writer"}, store.Strong)
	if err != nil || len(left) != 1 || left[0].SK != string(app.Value) {
		t.Errorf("left by the losers: %v, %v; the winner is %s", left, err, app.Value)
	}
}

// testCounter lets every writer try a few times: the version at the end is the number of those who won.
func testCounter(t *testing.T, e Engine) {
	s := e.Open(t)
	const tries = 6
	var won atomic.Int64
	together(writers, func(w int) {
		for try := range tries {
			at, err := s.Get(t.Context(), key("N", "app"), store.Strong)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("get: %v", err)
				return
			}
			mark := fmt.Sprintf("mark %d %d", w, try)
			err = s.Write(t.Context(),
				store.Put(item("N", "app", at.Version+1, string(at.Value)+"."), store.AtVersion(at.Version)),
				store.Put(item("N", mark, at.Version+1, ""), store.Absent()))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrConflict):
				t.Errorf("write: %v", err)
			}
		}
	})
	if won.Load() == 0 {
		t.Fatal("nobody ever won")
	}
	wantItem(t, s, item("N", "app", won.Load(), strings.Repeat(".", int(won.Load()))))
	marks, err := s.Query(t.Context(), store.Range{PK: "N", Prefix: "mark"}, store.Strong)
	if err != nil || int64(len(marks)) != won.Load() {
		t.Errorf("%d marks for %d winners, %v", len(marks), won.Load(), err)
	}
	versions := map[int64]bool{}
	for _, m := range marks {
		versions[m.Version] = true
	}
	if int64(len(versions)) != won.Load() {
		t.Errorf("%d different versions for %d winners", len(versions), won.Load())
	}
}

// testNeverHalf moves units between two items while others do too: the sum stays, in the end and after every Write.
func testNeverHalf(t *testing.T, e Engine) {
	s := e.Open(t)
	write(t, s, store.Put(item("S", "a", 1, strings.Repeat("x", 100)), store.Absent()), store.Put(item("S", "b", 1, ""), store.Absent()))
	var moved atomic.Int64
	together(8, func(int) {
		for range 20 {
			both, err := s.Query(t.Context(), store.Range{PK: "S"}, store.Strong)
			if err != nil || len(both) != 2 {
				t.Errorf("query: %v, %v", both, err)
				return
			}
			a, b := both[0], both[1]
			if len(a.Value) == 0 {
				return
			}
			err = s.Write(t.Context(),
				store.Put(item("S", "a", a.Version+1, string(a.Value[1:])), store.AtVersion(a.Version)),
				store.Put(item("S", "b", b.Version+1, string(b.Value)+"x"), store.AtVersion(b.Version)))
			switch {
			case err == nil:
				moved.Add(1)
			case !errors.Is(err, store.ErrConflict):
				t.Errorf("write: %v", err)
			}
		}
	})
	n := moved.Load()
	wantItem(t, s, item("S", "a", n+1, strings.Repeat("x", 100-int(n))))
	wantItem(t, s, item("S", "b", n+1, strings.Repeat("x", int(n))))
}
