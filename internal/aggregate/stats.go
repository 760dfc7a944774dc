package aggregate

import (
	"sync/atomic"
	"time"
)

// Stats is what an Aggregator has done since it started. Except for Newest these count deliveries: an event that comes
// twice is counted twice here, and once in the tallies.
type Stats struct {
	Events      int64     // events read and folded
	Checks      int64     // of those, update checks
	Unknown     int64     // of those, with an action that Palier does not know
	Test        int64     // of those, from emulators or development builds
	Poison      int64     // records that could not be decoded
	Changes     int64     // device records that changed
	Commits     int64     // writes to the store
	Conflicts   int64     // writes refused because someone else had written
	Compactions int64     // journals merged into their leaves
	Failures    int64     // folds that failed for another reason than a conflict
	Newest      time.Time // when the newest event folded was received; zero before the first
}

// Lag returns how far the fold is behind the instant now; 0 before the first event.
func (s Stats) Lag(now time.Time) time.Duration {
	if s.Newest.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.Newest))
}

// counters are the Stats while they are counted.
type counters struct {
	events, checks, unknown, test, poison, changes    atomic.Int64
	commits, conflicts, compactions, failures, newest atomic.Int64
}

// Stats returns the counts so far. It may be called at any time.
func (a *Aggregator) Stats() Stats {
	c := &a.counters
	s := Stats{
		Events: c.events.Load(), Checks: c.checks.Load(), Unknown: c.unknown.Load(), Test: c.test.Load(),
		Poison: c.poison.Load(), Changes: c.changes.Load(), Commits: c.commits.Load(), Conflicts: c.conflicts.Load(),
		Compactions: c.compactions.Load(), Failures: c.failures.Load(),
	}
	if newest := c.newest.Load(); newest > 0 {
		s.Newest = time.UnixMilli(newest).UTC()
	}
	return s
}

// noteNewest raises newest to at, Unix milliseconds.
func (c *counters) noteNewest(at int64) {
	for {
		seen := c.newest.Load()
		if at <= seen || c.newest.CompareAndSwap(seen, at) {
			return
		}
	}
}
