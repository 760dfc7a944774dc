package edgehost

import (
	"sync/atomic"
	"time"
)

const (
	pauseAfter = 3               // failures in a row
	pauseFor   = 1 * time.Second // at a time
)

// reach says whether it is worth while to make a device wait for the origin. After a few failures in a row it is not, for a moment;
// then one request is allowed to find out.
type reach struct {
	now      func() time.Time
	back     func() // called when it works again
	failures atomic.Int64
	until    atomic.Int64 // Unix nanoseconds; 0 is no pause
}

func (r *reach) worked() {
	if r.failures.Load() != 0 && r.failures.Swap(0) != 0 {
		r.until.Store(0)
		r.back()
	}
}

func (r *reach) failed() {
	if r.failures.Add(1) >= pauseAfter {
		r.until.Store(r.now().Add(pauseFor).UnixNano())
	}
}

// allows reports whether a request may be tried now.
func (r *reach) allows() bool {
	until := r.until.Load()
	if until == 0 {
		return true
	}
	now := r.now()
	return now.UnixNano() >= until && r.until.CompareAndSwap(until, now.Add(pauseFor).UnixNano())
}
