package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// clock is the one clock of a server: real time, or time that runs scale times faster from an anchor. The anchor is kept
// in the data directory, so that after a restart accelerated time goes on from where it would be and never runs
// backwards.
type clock struct {
	scale  float64
	anchor anchor
	start  time.Time // real time with a monotonic reading
}

type anchor struct {
	Real  time.Time `json:"real"`
	Clock time.Time `json:"clock"`
	Scale float64   `json:"scale"`
}

// newClock returns a clock for the data directory. It fails if the directory's anchor cannot be read or written, or if
// scale is not in 1…1,000,000.
func newClock(dir string, scale float64) (*clock, error) {
	if !(scale >= 1 && scale <= 1e6) {
		return nil, usageError{fmt.Errorf("--time-scale %g: want 1 to 1000000", scale)}
	}
	now := time.Now()
	path := filepath.Join(dir, clockFile)
	kept, err := readAnchor(path)
	if err != nil {
		return nil, err
	}
	c := &clock{scale: scale, start: now, anchor: anchor{Real: now, Clock: now, Scale: scale}}
	if kept.Scale != 0 {
		c.anchor.Clock = kept.at(now)
	}
	if c.anchor.Clock.Before(now) {
		c.anchor.Clock = now
	}
	if scale == 1 && kept.Scale == 0 {
		return c, nil // nothing to remember about real time
	}
	raw, err := json.Marshal(c.anchor)
	if err != nil {
		return nil, fmt.Errorf("encoding the clock: %w", err)
	}
	if err := replaceFile(path, raw); err != nil {
		return nil, fmt.Errorf("keeping the clock: %w", err)
	}
	return c, nil
}

func readAnchor(path string) (a anchor, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("reading the clock: %w", err)
	}
	if err := json.Unmarshal(raw, &a); err != nil || a.Scale < 1 {
		return a, fmt.Errorf("the clock in %s is damaged; remove the file to start from real time", path)
	}
	return a, nil
}

// at returns the clock's time at the real instant now; never less than at the anchor, should the machine's clock have been
// set back.
func (a anchor) at(now time.Time) time.Time {
	return a.Clock.Add(max(0, scaled(now.Sub(a.Real), a.Scale)))
}

// farthest is how far a clock runs ahead of its anchor at most: what a time.Duration holds is soon used up at high scales.
const farthest = 100 * 365 * 24 * time.Hour

// scaled returns how far a clock of this scale has come in d of real time.
func scaled(d time.Duration, scale float64) time.Duration {
	return time.Duration(min(float64(d)*scale, float64(farthest)))
}

// Now returns the clock's time.
func (c *clock) Now() time.Time {
	if c.scale == 1 && c.anchor.Clock.Equal(c.anchor.Real) {
		return time.Now()
	}
	return c.anchor.Clock.Add(scaled(time.Since(c.start), c.scale))
}

// notes says what an operator should know of a clock that does not tell the real time.
func (c *clock) notes() []string {
	var notes []string
	if c.scale > 1 {
		notes = append(notes, fmt.Sprintf("the clock runs %.6g times faster: %s pass every second", c.scale, rollout.Duration(time.Duration(c.scale)*time.Second)))
	}
	if ahead := c.anchor.Clock.Sub(c.anchor.Real); ahead > time.Minute {
		notes = append(notes, fmt.Sprintf("this directory's clock is %s ahead of real time, since it once ran faster; a new directory starts with the real one", rollout.Duration(ahead.Truncate(time.Minute))))
	}
	return notes
}

// real returns how long d of the clock takes in real time, at least floor.
func (c *clock) real(d, floor time.Duration) time.Duration {
	return max(floor, time.Duration(float64(d)/c.scale))
}
