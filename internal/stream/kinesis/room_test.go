package kinesis

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/stream"
)

// TestHashKey checks that shards, which are ranges of the hash key, are ranges of the key.
func TestHashKey(t *testing.T) {
	for key, want := range map[uint64]string{
		0: "0", 1: "18446744073709551616", math.MaxUint64: "340282366920938463444927863358058659840",
	} {
		if got := hashKey(key); got != want {
			t.Errorf("key %d: %s, want %s", key, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Uint64().Draw(t, "key")
		n, ok := new(big.Int).SetString(hashKey(key), 10)
		if !ok || n.Rsh(n, 64).Uint64() != key || len(hashKey(key)) > 39 {
			t.Fatalf("key %d: hash key %s", key, hashKey(key))
		}
	})
}

func TestSequenceNumber(t *testing.T) {
	longest := strings.Repeat("9", positionDigits)
	for _, p := range []string{"", "1", "10", "49590338271490256608559692538361571095921575989136588898", longest} {
		if !sequenceNumber(stream.Position(p)) {
			t.Errorf("%q was refused", p)
		}
	}
	for _, p := range []string{"0", "01", "x", "-1", "+1", "1.5", "1e3", " 1", "1 ", "LATEST", "1\n", longest + "9"} {
		if sequenceNumber(stream.Position(p)) {
			t.Errorf("%q was taken", p)
		}
	}
}

// TestRoom checks the accounts: what has left makes no lasting claim, and what is larger than the room passes alone.
func TestRoom(t *testing.T) {
	var r room
	r.init(10, 1000)
	enter := func(records, bytes int, want error) {
		t.Helper()
		if err := r.enter(records, bytes); !errors.Is(err, want) {
			t.Errorf("%d records of %d bytes: %v, want %v", records, bytes, err, want)
		}
	}
	for range 30 {
		enter(6, 10, nil)
		enter(5, 10, stream.ErrOverloaded)
		enter(4, 10, nil)
		r.leave(6, 10)
		enter(1, 991, stream.ErrOverloaded)
		enter(1, 990, nil)
		r.leave(4, 10)
		r.leave(1, 990)
		enter(11, 1001, nil)
		enter(1, 1, stream.ErrOverloaded)
		r.leave(11, 1001)
	}
	enter(1, 1, nil)
	closed := make(chan struct{})
	go func() {
		r.close()
		close(closed)
	}()
	for r.enter(1, 1) == nil { // until it is closing
		r.leave(1, 1)
	}
	select {
	case <-closed:
		t.Error("closed with something under way")
	default:
	}
	r.leave(1, 1)
	<-closed
	if r.records != 0 || r.bytes != 0 {
		t.Errorf("%d records and %d bytes are still accounted for", r.records, r.bytes)
	}
}

// TestPauses checks that the bound of the pauses doubles up to the longest, and that a pause may be any up to it.
func TestPauses(t *testing.T) {
	share := 0.0
	s := New(nil, "any", Options{FirstPause: 10, LongestPause: 100, Random: func() float64 { return share }})
	for attempt, bound := range []time.Duration{1: 10, 2: 20, 3: 40, 4: 80, 5: 100, 6: 100, 1000: 100} {
		if bound == 0 {
			continue
		}
		for _, share = range []float64{0, 0.5, 1} {
			if got := s.pause(attempt); got != time.Duration(share*float64(bound)) {
				t.Errorf("pause %d at %v: %v, bound %v", attempt, share, got, bound)
			}
		}
	}
}
