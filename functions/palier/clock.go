package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/palier-ota/palier/internal/clock"
	"github.com/palier-ota/palier/internal/rollout"
)

// newClock returns the clock of a server. Its anchor is kept in the data directory, so that after a restart accelerated
// time goes on from where it would be and never runs backwards. It fails if the directory's anchor cannot be read or
// written, or if scale is not in 1…clock.MaxScale.
func newClock(dir string, scale float64) (*clock.Clock, error) {
	now := time.Now()
	path := filepath.Join(dir, clockFile)
	kept, err := readAnchor(path)
	if err != nil {
		return nil, err
	}
	if scale == 1 && kept.Scale == 0 {
		return clock.Real(), nil // nothing to remember about real time
	}
	anchor := clock.Anchor{Real: now, Clock: now, Scale: scale}
	if at := kept.At(now); kept.Scale != 0 && at.After(now) {
		anchor.Clock = at
	}
	c, err := clock.New(anchor)
	if err != nil {
		return nil, usageError{fmt.Errorf("--time-scale: %w", err)}
	}
	if scale == 1 && anchor.Clock.Equal(now) {
		c = clock.Real() // the real time has caught up
	}
	raw, err := json.Marshal(anchor)
	if err != nil {
		return nil, fmt.Errorf("encoding the clock: %w", err)
	}
	if err := replaceFile(path, raw); err != nil {
		return nil, fmt.Errorf("keeping the clock: %w", err)
	}
	return c, nil
}

// readAnchor returns what newClock kept; the zero Anchor if there is none.
func readAnchor(path string) (a clock.Anchor, err error) {
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

// clockNotes says what an operator should know of a clock that does not tell the real time.
func clockNotes(c *clock.Clock) []string {
	var notes []string
	if scale := c.Scale(); scale > 1 {
		notes = append(notes, fmt.Sprintf("the clock runs %.6g times faster: %s pass every second", scale, rollout.Duration(time.Duration(scale)*time.Second)))
	}
	if ahead := c.Ahead(); ahead > time.Minute {
		notes = append(notes, fmt.Sprintf("this directory's clock is %s ahead of real time, since it once ran faster; a new directory starts with the real one", rollout.Duration(ahead.Truncate(time.Minute))))
	}
	return notes
}
