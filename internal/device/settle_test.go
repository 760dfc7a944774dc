package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// log is a stream that keeps what was appended, unless it is told how to fail.
type log struct {
	stream.Stream
	fail    func(ctx context.Context) error
	batches []int
}

func (l *log) Append(ctx context.Context, batch []stream.Record) error {
	if l.fail != nil {
		return l.fail(ctx)
	}
	l.batches = append(l.batches, len(batch))
	return nil
}

// TestSettlesThatFlush walks through a process's life by hand: what it notes, how real time passes, and what a Settle then
// puts on the stream.
func TestSettlesThatFlush(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	out := &log{}
	b := newBeacon(out, slog.New(slog.DiscardHandler))
	b.real = func() time.Time { return now }
	device := uint64(0)
	refuse := func(context.Context) error { return stream.ErrOverloaded }
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, step := range []struct {
		what   string
		pass   time.Duration
		notes  int
		fail   func(context.Context) error
		want   string // batches appended
		queued int
	}{
		{"nothing to tell", 0, 0, nil, "[]", 0},
		{"the first request", 0, 1, nil, "[1]", 0},
		{"another within the second", 400 * time.Millisecond, 1, nil, "[]", 1},
		{"many within the second", 400 * time.Millisecond, settleMany - 1, nil, fmt.Sprintf("[%d]", settleMany), 0},
		{"a second after", time.Second, 2, nil, "[2]", 0},
		{"more than a batch", time.Second, stream.MaxBatch + 1, nil, fmt.Sprintf("[%d 1]", stream.MaxBatch), 0},
		{"the stream refuses", time.Second, 3, refuse, "[]", 3},
		{"it is left alone", 5 * time.Second, 200, nil, "[]", 203},
		{"it takes more again", 5 * time.Second, 0, nil, "[203]", 0},
		{"it does not answer", time.Second, 3, hang, "[]", 3},
		{"after minutes of standing still", 5 * time.Minute, 0, nil, "[3]", 0},
	} {
		now = now.Add(step.pass)
		for range step.notes {
			device++
			hash, _ := b.first(device, "1.0.0", "r", 0, 0)
			b.note(hash, telemetry.Event{Kind: telemetry.KindCheck, App: "com.example.shop", Device: device, Time: now.UnixMilli(), Version: "1.0.0", Platform: "ios"})
		}
		out.fail, out.batches = step.fail, nil
		b.settle(t.Context())
		if got := fmt.Sprint(out.batches); got != step.want || len(b.queue) != step.queued {
			t.Errorf("%s: %s went to the stream and %d wait, want %s and %d", step.what, got, len(b.queue), step.want, step.queued)
		}
	}
	if b.dropped.Load() != 0 || int(b.sent.Load()) != int(device) {
		t.Errorf("%d dropped and %d sent of %d", b.dropped.Load(), b.sent.Load(), device)
	}
}

// slept is a store in whose first Get the process was stopped.
type slept struct {
	store.Store
	gets  int
	stop  func()
	fail  error // of the first Get
	again error // of the second
}

func (s *slept) Get(context.Context, store.Key, store.Consistency) (store.Item, error) {
	s.gets++
	if s.gets == 1 {
		s.stop()
		return store.Item{Version: 6, Value: []byte(`{"app":"com.example.shop","revision":6}`)}, s.fail
	}
	if s.again != nil {
		return store.Item{}, s.again
	}
	return store.Item{Version: 7, Value: []byte(`{"app":"com.example.shop","revision":7}`)}, nil
}

func TestLoadThatWasStoppedInTheMiddleIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		frozen bool
		sleep  time.Duration
		fail   error
		gets   int
	}{
		{"deadline passed while frozen", true, time.Hour, context.DeadlineExceeded, 2},
		{"connection died while frozen", true, time.Minute, store.ErrUnavailable, 2},
		{"slow", true, loadTimeout, context.DeadlineExceeded, 1},
		{"failed at once", true, 0, store.ErrUnavailable, 1},
		{"unknown app, told after a pause", true, time.Hour, store.ErrNotFound, 1},
		{"on a host that does not freeze", false, time.Hour, context.DeadlineExceeded, 1},
	} {
		now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		db := &slept{stop: func() { now = now.Add(c.sleep) }, fail: c.fail}
		s := newSnapshots(store.Apps{Store: db}, time.Now, time.Minute, slog.New(slog.DiscardHandler))
		s.frozen, s.real = c.frozen, func() time.Time { return now }
		_, err := s.patiently(loadTimeout, "com.example.shop", nil)
		if db.gets != c.gets || (err == nil) != (c.gets == 2) {
			t.Errorf("%s: asked %d times, want %d: %v", c.name, db.gets, c.gets, err)
		}
		if c.gets == 1 && !errors.Is(err, c.fail) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestSnapshotReadBeforeAPauseIsReadAgain: the store had answered when the process was stopped, an hour ago.
func TestSnapshotReadBeforeAPauseIsReadAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		frozen   bool
		sleep    time.Duration
		again    error
		revision int64
		fails    error
	}{
		{"a newer one", true, time.Hour, nil, 7, nil},
		{"nothing newer to be had", true, time.Hour, store.ErrUnavailable, 6, nil},
		{"it was deleted", true, time.Hour, store.ErrNotFound, 0, store.ErrNotFound},
		{"a short pause", true, loadTimeout, nil, 6, nil},
		{"on a host that does not freeze", false, time.Hour, nil, 6, nil},
	} {
		now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		db := &slept{stop: func() { now = now.Add(c.sleep) }, again: c.again}
		s := newSnapshots(store.Apps{Store: db}, time.Now, time.Minute, slog.New(slog.DiscardHandler))
		s.frozen, s.real = c.frozen, func() time.Time { return now }
		l, err := s.patiently(loadTimeout, "com.example.shop", nil)
		if !errors.Is(err, c.fails) || err == nil && l.revision != c.revision {
			t.Errorf("%s: %+v, %v, want revision %d, %v", c.name, l, err, c.revision, c.fails)
		}
	}
}
