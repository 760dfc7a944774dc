package edgehost

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// at is a clock that the test sets.
type at struct{ now time.Time }

func (c *at) Now() time.Time { return c.now }

func TestANoteIsSeenOnceAnHour(t *testing.T) {
	var s seen
	hour := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	one, other := note{text: []byte("one"), at: hour}, note{text: []byte("other"), at: hour}
	if !s.first(one) || !s.first(other) || s.first(one) || s.first(note{text: one.text, at: hour.Add(59 * time.Minute)}) {
		t.Error("not once in its hour")
	}
	if !s.first(note{text: one.text, at: hour.Add(time.Hour)}) {
		t.Error("not in the next hour")
	}
	for n := range 3 * maxSeen {
		s.first(note{text: []byte{byte(n), byte(n >> 8), byte(n >> 16)}, at: hour})
		if len(s.young)+len(s.old) > 2*maxSeen {
			t.Fatal("it remembers too many")
		}
	}
}

// After a few failures in a row nobody is made to wait for the origin, but for one who finds out now and then.
func TestReach(t *testing.T) {
	clock := &at{time.Unix(1_795_392_000, 0)}
	back := 0
	r := reach{now: clock.Now, back: func() { back++ }}
	for range pauseAfter - 1 {
		r.failed()
		if !r.allows() {
			t.Fatal("it pauses too early")
		}
	}
	r.failed()
	if r.allows() {
		t.Error("it does not pause")
	}
	clock.now = clock.now.Add(pauseFor)
	if !r.allows() || r.allows() {
		t.Error("after the pause not exactly one finds out")
	}
	r.failed()
	clock.now = clock.now.Add(pauseFor / 2)
	if r.allows() {
		t.Error("it does not pause again")
	}
	r.worked()
	if !r.allows() || back != 1 {
		t.Errorf("it works, and that was said %d times", back)
	}
	r.worked()
	if back != 1 {
		t.Error("it was said without need")
	}
}

// away is an origin that answers every relay with a status.
func away(t *testing.T, status int) *origin {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return newOrigin(base, "token", time.Second, time.Now)
}

// Notes for which there is no room are lost. When there is room again, those who note are told to note anew.
func TestLostNotesAreNotedAnew(t *testing.T) {
	renoted := 0
	c := newCourier(&courier{
		origin: away(t, http.StatusServiceUnavailable), backlog: &memory{}, log: quiet(), counts: &counts{}, renote: func() { renoted++ },
		random: func() float64 { return 0 },
	})
	long := strings.Repeat("x", maxNoteBytes/4)
	for n := range 6 {
		c.note(note{text: []byte(long + string(rune('a'+n))), at: time.Now()})
	}
	if c.waiting() != 3 || c.counts.dropped.Load() != 3 {
		t.Fatalf("%d wait, %d were dropped", c.waiting(), c.counts.dropped.Load())
	}
	notes, _ := c.take(time.Time{})
	if len(notes) != 3 || renoted != 1 {
		t.Errorf("%d taken, renoted %d times", len(notes), renoted)
	}
	if c.deliver(context.Background(), notes, nil) || c.waiting() != 3 {
		t.Errorf("the origin is away, and %d wait", c.waiting())
	}
	if again, _ := c.take(time.Now()); len(again) != 0 {
		t.Error("they are tried again at once")
	}
	again, _ := c.take(time.Now().Add(time.Minute))
	c.note(note{text: []byte(long + "a"), at: time.Now()})
	if len(again) != 3 || c.waiting() != 1 || renoted != 1 {
		t.Errorf("%d taken, %d wait, renoted %d times", len(again), c.waiting(), renoted)
	}
}

// However long it fails, the pauses between attempts stay within bounds, and differ from edge to edge.
func TestPauses(t *testing.T) {
	for _, random := range []float64{0, 0.5, 0.999} {
		c := courier{random: func() float64 { return random }}
		s := snapshots{poll: 5 * time.Second, random: c.random}
		for failures := 1; failures < 2000; failures++ {
			if d := c.pause(failures); d < firstPause/2 || d > lastPause {
				t.Fatalf("after %d failures the backlog waits %s", failures, d)
			}
			if d := s.pause(failures); d < 4500*time.Millisecond || d > 33*time.Second {
				t.Fatalf("after %d failures a fetch waits %s", failures, d)
			}
		}
		if d := s.pause(0); d < 4500*time.Millisecond || d > 5500*time.Millisecond {
			t.Errorf("without failures a fetch waits %s", d)
		}
		if d := (&snapshots{poll: time.Hour, random: c.random}).pause(9); d < 54*time.Minute || d > 66*time.Minute {
			t.Errorf("a rare poll waits %s", d)
		}
	}
}

func TestErrorsOfTheOrigin(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusServiceUnavailable: &errUnreachable{}, http.StatusTooManyRequests: &errUnreachable{},
		http.StatusUnauthorized: &errRefused{}, http.StatusForbidden: &errRefused{}, http.StatusMovedPermanently: &errRefused{},
		http.StatusNoContent: &errRefused{},
	} {
		_, err := away(t, status).relay(t.Context(), nil, []report{{path: pathStats, body: []byte("{}")}})
		var unreachable *errUnreachable
		if _, later := want.(*errUnreachable); errors.As(err, &unreachable) != later {
			t.Errorf("%d: %v", status, err)
		}
		var refused *errRefused
		if _, never := want.(*errRefused); errors.As(err, &refused) != never {
			t.Errorf("%d: %v", status, err)
		}
		if err == nil || strings.Contains(err.Error(), "http://") {
			t.Errorf("%d: %v", status, err)
		}
	}
	stop, cancel := context.WithCancel(t.Context())
	cancel()
	o := away(t, http.StatusOK)
	if _, err := o.relay(stop, nil, nil); !errors.Is(err, context.Canceled) || o.reach.failures.Load() != 0 {
		t.Errorf("who gave up himself: %v", err)
	}
}
