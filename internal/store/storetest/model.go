package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/store"
)

// testModel writes at random and compares the store with a plain map after every step.
func testModel(t *testing.T, e Engine) {
	const steps, keys = 400, 12
	s := e.Open(t)
	random := rand.New(rand.NewPCG(3, 4))
	model := map[store.Key]store.Item{}
	applied, refused := 0, 0
	for step := range steps {
		ops := randomWrite(random, keys)
		next, holds := modelWrite(model, ops)
		err := s.Write(t.Context(), ops...)
		if holds != (err == nil) || (err != nil && !errors.Is(err, store.ErrConflict)) {
			t.Fatalf("step %d, %+v: %v, want it to hold: %v", step, ops, err, holds)
		}
		if holds {
			model = next
			applied++
		} else {
			refused++
		}
		compareModel(t, s, model, step)
	}
	if applied < steps/10 || refused < steps/10 {
		t.Errorf("%d writes applied and %d refused: the history was too one-sided to mean anything", applied, refused)
	}
}

func randomWrite(random *rand.Rand, keys int) []store.Op {
	var ops []store.Op
	for _, k := range random.Perm(keys)[:1+random.IntN(3)] {
		k := key(fmt.Sprint("P", k%2), fmt.Sprintf("k%02d", k))
		c := store.Always()
		if random.IntN(3) > 0 {
			c = store.AtVersion(int64(random.IntN(3))) // 0 is absence
		}
		switch random.IntN(4) {
		case 0:
			ops = append(ops, store.Delete(k, c))
		case 1:
			ops = append(ops, store.Check(k, c))
		default:
			value := bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(20))
			ops = append(ops, store.Put(store.Item{Key: k, Version: int64(1 + random.IntN(2)), Value: value}, c))
		}
	}
	return ops
}

// modelWrite is the contract of Write on a map.
func modelWrite(model map[store.Key]store.Item, ops []store.Op) (map[store.Key]store.Item, bool) {
	next := maps.Clone(model)
	for _, op := range ops {
		if want := op.If.Split(); want >= 0 && model[op.Item.Key].Version != want {
			return nil, false
		}
		switch op.Kind {
		case store.OpPut:
			next[op.Item.Key] = op.Item
		case store.OpDelete:
			delete(next, op.Item.Key)
		}
	}
	return next, true
}

func compareModel(t *testing.T, s store.Store, model map[store.Key]store.Item, step int) {
	t.Helper()
	for _, pk := range []string{"P0", "P1"} {
		got, err := s.Query(t.Context(), store.Range{PK: pk}, store.Strong)
		if err != nil {
			t.Fatal(err)
		}
		var want []store.Item
		for _, k := range slices.SortedFunc(maps.Keys(model), func(a, b store.Key) int { return bytes.Compare([]byte(a.SK), []byte(b.SK)) }) {
			if k.PK == pk {
				want = append(want, model[k])
			}
		}
		if !slices.EqualFunc(got, want, func(a, b store.Item) bool {
			return a.Key == b.Key && a.Version == b.Version && bytes.Equal(a.Value, b.Value)
		}) {
			t.Fatalf("step %d: got %+v\nwant %+v", step, got, want)
		}
	}
}
