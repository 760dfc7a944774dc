package storetest

import (
	"sync/atomic"
	"time"
)

// clock is a clock that stands still until it is set.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) set(t time.Time) { c.at.Store(&t) }
func (c *clock) now() time.Time  { return *c.at.Load() }
