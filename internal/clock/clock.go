// Package clock is the one clock of a process: the real time, or time that runs faster from an anchor.
//
// A plan takes a week. To watch or test one in a minute, every duration of Palier goes through a clock, and a clock can
// be scaled: from an anchor, which says what it showed at one real instant, it runs a fixed number of times faster than
// the real time. Processes that are given the same anchor show the same time, so the anchor is also how a clock is kept
// over a restart and handed to other processes, as text in an environment variable.
//
// A clock never runs backwards, whatever happens to the machine's: only a clock of the real time follows that.
package clock

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxScale is how many times faster than the real time a clock can run.
const MaxScale = 1e6

// farthest is how far a clock runs ahead of its anchor at most: what a time.Duration holds is soon used up at high scales.
const farthest = 100 * 365 * 24 * time.Hour

// Anchor is what a clock showed at one real instant, and how many times faster than the real time it runs from there.
type Anchor struct {
	Real  time.Time `json:"real"`
	Clock time.Time `json:"clock"`
	Scale float64   `json:"scale"`
}

// At returns what the clock shows at a real instant; never less than at the anchor, should the machine's clock have been
// set back.
func (a Anchor) At(real time.Time) time.Time { return a.after(real.Sub(a.Real)) }

// after returns what the clock shows when this much real time has passed since the anchor.
func (a Anchor) after(elapsed time.Duration) time.Time {
	scaled := min(max(0, float64(elapsed))*a.Scale, float64(farthest))
	return a.Clock.Add(time.Duration(scaled))
}

// Clock tells the time. Its methods may be called concurrently.
type Clock struct {
	anchor Anchor
	start  time.Time     // with a monotonic reading
	passed time.Duration // from the anchor to start; negative while the anchor is to come
	real   bool          // this is the real time
}

// Real returns the clock that shows the real time.
func Real() *Clock { return &Clock{anchor: Anchor{Scale: 1}, real: true} }

// New returns the clock that runs from the anchor. It fails if the scale is not in 1…MaxScale.
func New(a Anchor) (*Clock, error) {
	if !(a.Scale >= 1 && a.Scale <= MaxScale) {
		return nil, fmt.Errorf("a clock that runs %g times faster: want 1 to %.0f", a.Scale, MaxScale)
	}
	start := time.Now()
	return &Clock{anchor: a, start: start, passed: start.Sub(a.Real)}, nil
}

// Parse returns the clock that a text names, as String returns it: "" is the real time, and "REAL CLOCK SCALE" a scaled
// one, with both instants in RFC 3339, such as "2026-11-22T12:00:00Z 2026-11-29T00:00:00Z 3600".
func Parse(text string) (*Clock, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return Real(), nil
	}
	if len(fields) != 3 {
		return nil, fmt.Errorf("clock %q: want REAL CLOCK SCALE, or nothing for the real time", text)
	}
	var a Anchor
	var err error
	if a.Real, err = time.Parse(time.RFC3339Nano, fields[0]); err != nil {
		return nil, fmt.Errorf("clock %q: the real instant: %w", text, err)
	}
	if a.Clock, err = time.Parse(time.RFC3339Nano, fields[1]); err != nil {
		return nil, fmt.Errorf("clock %q: the clock's instant: %w", text, err)
	}
	if a.Scale, err = strconv.ParseFloat(fields[2], 64); err != nil {
		return nil, fmt.Errorf("clock %q: the scale: %w", text, err)
	}
	return New(a)
}

// String returns the text from which Parse makes a clock that shows the same.
func (c *Clock) String() string {
	if c.real {
		return ""
	}
	a := c.anchor
	return a.Real.UTC().Format(time.RFC3339Nano) + " " + a.Clock.UTC().Format(time.RFC3339Nano) + " " + strconv.FormatFloat(a.Scale, 'g', -1, 64)
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	if c.real {
		return time.Now()
	}
	return c.anchor.after(c.passed + time.Since(c.start))
}

// Ago returns what the clock showed when d of real time less had passed. A clock that runs faster has no past before its
// anchor: there it showed what it showed at the anchor.
func (c *Clock) Ago(d time.Duration) time.Time {
	if c.real {
		return time.Now().Add(-d)
	}
	return c.anchor.after(c.passed + time.Since(c.start) - d)
}

// Scale returns how many times faster than the real time the clock runs; 1 for the real time.
func (c *Clock) Scale() float64 { return c.anchor.Scale }

// Ahead returns how far the clock was ahead of the real time at its anchor.
func (c *Clock) Ahead() time.Duration { return c.anchor.Clock.Sub(c.anchor.Real) }

// Real returns how much real time passes while d of the clock does, at least floor.
func (c *Clock) Real(d, floor time.Duration) time.Duration {
	return max(floor, time.Duration(float64(d)/c.anchor.Scale))
}
