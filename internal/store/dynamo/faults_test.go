package dynamo_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/store/storetest"
)

// hasty makes tests of many attempts short.
var hasty = dynamo.Options{Attempts: 5, MaxBackoff: 4 * time.Millisecond}

// passing are the faults that a store must get over, by the operations they can happen to.
var passing = map[string][]fault{
	"GetItem":    {throughput, throttling, broken, gateway, cutBefore, cutAfter, cutWithin},
	"Query":      {throughput, throttling, broken, gateway, cutBefore, cutAfter, cutWithin},
	"PutItem":    {throughput, throttling, broken, gateway, cutBefore, cutAfter, cutWithin, ongoing},
	"DeleteItem": {throughput, throttling, broken, gateway, cutBefore, cutAfter, cutWithin, ongoing},
	"TransactWriteItems": {
		throughput, throttling, broken, gateway, cutBefore, cutAfter, cutWithin, inProgress, conflict, overloaded, overThroughput,
	},
}

// TestConformanceThroughFaults runs the suite while every sixth request goes wrong, in all the ways that pass: it must
// not notice. What its races count proves that nothing was lost, applied twice, or called a conflict with itself.
func TestConformanceThroughFaults(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	p, url := newProxy(t, func(r request) fault {
		if random.IntN(6) > 0 {
			return none
		}
		return passing[r.operation][random.IntN(len(passing[r.operation]))]
	})
	options := hasty
	options.Attempts = 15
	storetest.Run(t, engine(url, options))
	for _, f := range slices.Concat(passing["PutItem"], passing["TransactWriteItems"]) {
		if p.faults[f] == 0 {
			t.Errorf("%s never happened", f)
		}
	}
}

// world is a store behind a proxy that does one fault, with an item in it.
type world struct {
	*dynamo.Store
	proxy *proxy
	url   string // of the proxy
	table string
	fault fault // of the requests that follow; guarded by the proxy
	times int
}

var there = store.Item{Key: store.Key{PK: "P", SK: "there"}, Version: 1, Value: []byte("old")}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{table: newTable(t)}
	p, url := newProxy(t, func(request) fault {
		if w.times == 0 {
			return none
		}
		w.times--
		return w.fault
	})
	w.proxy, w.url = p, url
	w.reset(t)
	return w
}

// do has the requests that follow meet a fault, so many of them; -1 is all.
func (w *world) do(f fault, times int) {
	w.proxy.mu.Lock()
	defer w.proxy.mu.Unlock()
	w.fault, w.times = f, times
}

// reset ends the fault and writes the item. The store is a new one, with a fresh budget of retries.
func (w *world) reset(t *testing.T) {
	t.Helper()
	w.do(none, 0)
	w.Store = dynamo.New(connect(w.url), w.table, hasty)
	if err := w.Write(t.Context(), store.Put(there, store.Always())); err != nil {
		t.Fatal(err)
	}
	w.proxy.seen()
}

// calls are one of each kind of request.
func (w *world) calls(ctx context.Context) map[string]func() error {
	next := store.Item{Key: there.Key, Version: 2, Value: []byte("new")}
	beside := store.Item{Key: store.Key{PK: "P", SK: "beside"}, Version: 1}
	return map[string]func() error{
		"GetItem":    func() error { _, err := w.Get(ctx, there.Key, store.Strong); return err },
		"Query":      func() error { _, err := w.Query(ctx, store.Range{PK: "P"}, store.Strong); return err },
		"PutItem":    func() error { return w.Write(ctx, store.Put(next, store.Always())) },
		"DeleteItem": func() error { return w.Write(ctx, store.Delete(beside.Key, store.Always())) },
		"TransactWriteItems": func() error {
			return w.Write(ctx, store.Put(beside, store.Absent()), store.Put(next, store.AtVersion(1)))
		},
	}
}

// TestFaultsThatStay has each fault happen to every attempt: the error says what it was, after as many attempts as are
// worth making, and nothing is written by what was refused.
func TestFaultsThatStay(t *testing.T) {
	all := []string{"GetItem", "Query", "PutItem", "DeleteItem", "TransactWriteItems"}
	plain, transaction := []string{"PutItem", "DeleteItem"}, []string{"TransactWriteItems"}
	w := newWorld(t)
	for _, c := range []struct {
		fault      fault
		operations []string
		want       error
		attempts   int
	}{
		{throughput, all, store.ErrUnavailable, hasty.Attempts},
		{throttling, all, store.ErrUnavailable, hasty.Attempts},
		{broken, all, store.ErrUnavailable, hasty.Attempts},
		{gateway, all, store.ErrUnavailable, hasty.Attempts},
		{cutBefore, all, store.ErrUnavailable, hasty.Attempts},
		{cutWithin, all, store.ErrUnavailable, hasty.Attempts},
		{invalid, all, store.ErrInvalid, 1},
		{collection, plain, store.ErrTooLarge, 1},
		{ongoing, plain, store.ErrUnavailable, hasty.Attempts},
		{inProgress, transaction, store.ErrUnavailable, hasty.Attempts},
		{conflict, transaction, store.ErrConflict, hasty.Attempts},
		{overloaded, transaction, store.ErrUnavailable, hasty.Attempts},
		{overThroughput, transaction, store.ErrUnavailable, hasty.Attempts},
		{overCollection, transaction, store.ErrTooLarge, 1},
		{invalidated, transaction, store.ErrInvalid, 1},
		{conditionFailed, transaction, store.ErrConflict, 1},
		{forbidden, transaction, nil, 1},
	} {
		for _, operation := range c.operations {
			t.Run(string(c.fault)+"/"+operation, func(t *testing.T) {
				w.reset(t)
				w.do(c.fault, -1)
				err := w.calls(t.Context())[operation]()
				wantKind(t, err, c.want)
				seen := w.proxy.seen()
				if len(seen) != c.attempts {
					t.Errorf("%d attempts, want %d", len(seen), c.attempts)
				}
				cancelled := strings.HasPrefix(string(c.fault), "cancelled")
				if cancelled && !strings.Contains(err.Error(), there.Key.String()) {
					t.Errorf("error %q does not name the item", err)
				}
				if operation == "TransactWriteItems" && len(tokens(seen)) != map[bool]int{true: c.attempts, false: 1}[cancelled] {
					t.Errorf("tokens %v: one is kept while the outcome is open, and only then", seen)
				}
				w.do(none, 0)
				item, err := w.Get(t.Context(), there.Key, store.Strong)
				if c.fault != cutWithin && (err != nil || item.Version != 1) {
					t.Errorf("version %d, %v", item.Version, err)
				}
			})
		}
	}
}

// wantKind fails unless err is want of the contract's errors, and no other; nil is an error of another kind.
func wantKind(t *testing.T, err, want error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	kinds := []error{store.ErrNotFound, store.ErrConflict, store.ErrTooLarge, store.ErrInvalid, store.ErrUnavailable}
	for _, kind := range kinds {
		if errors.Is(err, kind) != (kind == want) {
			t.Errorf("%q is %q: %v", err, kind, errors.Is(err, kind))
		}
	}
}

func tokens(seen []request) map[string]int {
	all := map[string]int{}
	for _, r := range seen {
		all[r.token]++
	}
	return all
}

// TestLostAnswers cuts the connection after the server carried out a request: the store finds out, and does it once.
func TestLostAnswers(t *testing.T) {
	w := newWorld(t)
	for _, f := range []fault{cutAfter, cutWithin} {
		for operation, call := range w.calls(t.Context()) {
			t.Run(string(f)+"/"+operation, func(t *testing.T) {
				w.reset(t)
				if err := w.Write(t.Context(), store.Delete(store.Key{PK: "P", SK: "beside"}, store.Always())); err != nil {
					t.Fatal(err)
				}
				w.proxy.seen()
				w.do(f, 2)
				if err := call(); err != nil {
					t.Fatal(err)
				}
				seen := w.proxy.seen()
				if len(seen) != 3 || len(tokens(seen)) != 1 || (seen[0].token == "") == (operation == "TransactWriteItems") {
					t.Errorf("requests %v, want 3 of one token", seen)
				}
			})
		}
	}
	t.Run("another's change in between is a conflict", func(t *testing.T) {
		w.reset(t)
		stale := store.Put(store.Item{Key: there.Key, Version: 2}, store.AtVersion(7))
		w.do(cutAfter, 1)
		wantKind(t, w.Write(t.Context(), stale), store.ErrConflict)
	})
}

// TestLostThenCancelled loses the answer to a transaction that was carried out, and cancels what follows: as long as the
// outcome is open the token stays, and nobody is told that nothing was written.
func TestLostThenCancelled(t *testing.T) {
	for _, c := range []struct {
		cancelled int // attempts, after the first
		want      error
	}{{1, nil}, {hasty.Attempts - 2, nil}, {hasty.Attempts - 1, store.ErrUnavailable}} {
		requests := 0
		p, url := newProxy(t, func(request) fault {
			requests++
			switch {
			case requests == 1:
				return cutAfter
			case requests <= 1+c.cancelled:
				return conflict
			}
			return none
		})
		table := newTable(t)
		err := dynamo.New(connect(url), table, hasty).Write(t.Context(), store.Put(there, store.Absent()))
		if c.want != nil {
			wantKind(t, err, c.want)
		} else if err != nil {
			t.Errorf("cancelled %d times: %v", c.cancelled, err)
		}
		if seen := p.seen(); len(tokens(seen)) != 1 {
			t.Errorf("cancelled %d times: requests %v, want one token", c.cancelled, seen)
		}
		plain := dynamo.New(connect(endpoint(t)), table, hasty)
		if item, err := plain.Get(t.Context(), there.Key, store.Strong); err != nil || item.Version != there.Version {
			t.Errorf("version %d, %v", item.Version, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	w := &world{Store: dynamo.New(connect(s.URL), "any", hasty)}
	for operation, call := range w.calls(t.Context()) {
		t.Run(operation, func(t *testing.T) { wantKind(t, call(), store.ErrUnavailable) })
	}
}

func TestNoTable(t *testing.T) {
	w := &world{Store: dynamo.New(connect(endpoint(t)), "missing", hasty)}
	for operation, call := range w.calls(t.Context()) {
		t.Run(operation, func(t *testing.T) {
			err := call()
			wantKind(t, err, nil)
			if !strings.Contains(err.Error(), "deploy the stack") {
				t.Errorf("%q does not say what to do", err)
			}
		})
	}
}

// TestDeadlines gives a call less time than its attempts would take.
func TestDeadlines(t *testing.T) {
	w := newWorld(t)
	for _, f := range []fault{silent, throttling, conflict} {
		for operation := range passing {
			if f == conflict && operation != "TransactWriteItems" {
				continue
			}
			t.Run(string(f)+"/"+operation, func(t *testing.T) {
				w.reset(t)
				slow := &world{Store: dynamo.New(connect(w.url), w.table, dynamo.Options{MaxBackoff: time.Hour})}
				w.do(f, -1)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				err := slow.calls(ctx)[operation]()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the deadline's error", err)
				}
			})
		}
	}
}
