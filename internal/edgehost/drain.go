package edgehost

import (
	"context"
	"errors"
	"math"
	"time"
)

const (
	firstPause = 250 * time.Millisecond
	lastPause  = 30 * time.Second // between two attempts to hand something over
)

// drain hands the backlog over until ctx ends.
func (c *courier) drain(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		reports, err := c.backlog.first()
		if err == nil && len(reports) == 0 {
			failures = 0
			select {
			case <-c.more:
			case <-ctx.Done():
			}
			continue
		}
		after := time.Duration(0)
		if err == nil {
			after, err = c.handOver(ctx, reports)
		}
		if err == nil && after == 0 {
			failures = 0
			continue
		}
		failures++
		c.log.Debug("the backlog waits", "error", err)
		c.rest(ctx, max(after, c.pause(failures)))
	}
}

// handOver hands over the oldest of the backlog. It returns how long to wait if the origin wants some of it later.
func (c *courier) handOver(ctx context.Context, reports []report) (after time.Duration, err error) {
	got, err := c.send(ctx, nil, reports)
	for n, a := range got.answers {
		if !a.final() {
			return time.Duration(max(a.retryAfter, 1)) * time.Second, c.backlog.done(n)
		}
		if !a.ok() {
			c.counts.dropped.Add(1)
			c.log.Warn("the origin refuses a report from the backlog, which is dropped", "path", reports[n].path, "status", a.status, "code", codeOf(a.body))
		}
	}
	if n := len(got.answers); n > 0 {
		err = errors.Join(err, c.backlog.done(n))
	}
	var unreachable *errUnreachable
	if errors.As(err, &unreachable) {
		after = unreachable.after
	}
	return after, err
}

// pause returns how long to wait after so many failures in a row, with jitter: half to all of a time that doubles.
func (c *courier) pause(failures int) time.Duration {
	whole := math.Min(float64(lastPause), float64(firstPause)*math.Pow(2, float64(failures-1)))
	return time.Duration(whole * (0.5 + 0.5*c.random()))
}

// rest waits, or until the origin can be reached again.
func (c *courier) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.back:
	case <-ctx.Done():
	}
}
