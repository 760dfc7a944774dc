package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/palier-ota/palier/internal/stream"
)

const (
	appendAttempts = 8 // of one batch, while the stream is overloaded or cannot be reached
	firstPause     = 100 * time.Millisecond
	longestPause   = 5 * time.Second
)

// Replay appends dead letters to their stream again. Box and Open must be set.
type Replay struct {
	Box Box
	// Open returns the stream of a name, to append to. It may be called often.
	Open func(name string) (Appender, error)
	// Force appends records too that still cannot be read.
	Force bool
}

// Appender is the part of a stream.Stream that a Replay needs.
type Appender interface {
	Append(ctx context.Context, batch []stream.Record) error
}

// Outcome is what a Replay did with one object, or would do.
type Outcome struct {
	Appended   int  // records
	Unreadable int  // records that still cannot be read, and are kept
	Removed    bool // the object is gone
}

// Plan returns what Object would do, and does nothing.
func (r Replay) Plan(ctx context.Context, objectKey string) (Outcome, error) {
	letters, err := r.Box.Open(ctx, objectKey)
	if err != nil {
		return Outcome{}, err
	}
	fit, unfit := r.sort(letters)
	return Outcome{Appended: len(fit), Unreadable: len(unfit), Removed: len(fit) > 0 || len(unfit) == 0}, nil
}

// Object appends the records of one object to their stream and then removes it. Records that still cannot be read are kept,
// each as a Letter of its own. When it fails the object is still there and all of it can be replayed again.
func (r Replay) Object(ctx context.Context, objectKey string) (Outcome, error) {
	letters, err := r.Box.Open(ctx, objectKey)
	if err != nil {
		return Outcome{}, err
	}
	fit, unfit := r.sort(letters)
	out := Outcome{Unreadable: len(unfit)}
	if len(fit) == 0 && len(unfit) > 0 {
		return out, nil
	}
	if err := r.append(ctx, fit); err != nil {
		return out, fmt.Errorf("replaying %s: %w", objectKey, err)
	}
	out.Appended = len(fit)
	for _, l := range unfit {
		if err := r.Box.Put(ctx, l); err != nil {
			return out, err
		}
	}
	if err := r.Box.Store.Delete(ctx, objectKey); err != nil {
		return out, fmt.Errorf("removing dead letter %s, which is replayed: %w", objectKey, err)
	}
	out.Removed = true
	return out, nil
}

// sort tells the letters to replay from those to keep.
func (r Replay) sort(letters []Letter) (fit, unfit []Letter) {
	for _, l := range letters {
		if err := l.Readable(); err != nil && !r.Force {
			l.Error = err.Error()
			unfit = append(unfit, l)
			continue
		}
		fit = append(fit, l)
	}
	return fit, unfit
}

// append puts the letters, which are of one stream, on it again.
func (r Replay) append(ctx context.Context, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	s, err := r.Open(letters[0].Stream)
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", letters[0].Stream, err)
	}
	var batch []stream.Record
	size := 0
	for _, l := range letters {
		if len(batch) == stream.MaxBatch || size+len(l.Data) > stream.MaxBatchBytes {
			if err := appendPatiently(ctx, s, batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		batch = append(batch, l.Record())
		size += len(l.Data)
	}
	return appendPatiently(ctx, s, batch)
}

// appendPatiently appends a batch, again and ever more slowly while the stream takes no more.
func appendPatiently(ctx context.Context, s Appender, batch []stream.Record) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := s.Append(ctx, batch)
		if err == nil || attempt == appendAttempts || !errors.Is(err, stream.ErrOverloaded) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}
