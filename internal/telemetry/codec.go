package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// Limits of an Event. What exceeds them cannot have been written by Palier.
const (
	// MaxExposures is how many live rollouts one event may be exposed to.
	MaxExposures = 1024

	maxIdentifier = 256
	maxTime       = 253_402_300_800_000 // the year 10000, in Unix milliseconds
)

// Fingerprint returns the 64-bit name under which a device is counted and by which its events are ordered in the
// stream: XXH64 of the lower-case device id.
func Fingerprint(deviceID string) uint64 { return xxhash.Sum64String(strings.ToLower(deviceID)) }

// Append adds e to dst as one JSON object, so that the log can be read with ordinary tools. It fails on values that
// JSON does not have, such as a Value that is not a number, and on an Event that Decode would refuse.
func Append(dst []byte, e Event) ([]byte, error) {
	if err := e.validate(); err != nil {
		return dst, fmt.Errorf("encode event: %w", err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		return dst, fmt.Errorf("encode event: %w", err)
	}
	return append(dst, text...), nil
}

// Decode reads what Append wrote. Any other bytes give an error and never a panic; fields it does not know are
// ignored, so that an older reader survives a newer writer.
func Decode(data []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	if err := e.validate(); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// validate checks what the fold and the keys of the store rely on.
func (e Event) validate() error {
	if e.Kind > KindMetric {
		return fmt.Errorf("kind %d is none", e.Kind)
	}
	if !validIdentifier(e.App) {
		return errors.New("app is missing or malformed")
	}
	if e.Time < 0 || e.Time >= maxTime {
		return fmt.Errorf("time %d is no Unix time in milliseconds", e.Time)
	}
	if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
		return errors.New("value is not a number")
	}
	if len(e.Exposures) > MaxExposures {
		return fmt.Errorf("%d exposures; at most %d", len(e.Exposures), MaxExposures)
	}
	for _, x := range e.Exposures {
		if err := x.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (x Exposure) validate() error {
	if !validIdentifier(x.Rollout) {
		return errors.New("rollout is missing or malformed")
	}
	if x.Phase < 0 {
		return fmt.Errorf("phase %d of rollout %s is none", x.Phase, x.Rollout)
	}
	if x.Arm > rollout.ArmControl {
		return fmt.Errorf("arm %d is none", x.Arm)
	}
	return nil
}

// validIdentifier reports whether s can be part of a key in the store, whose parts are joined by '#'.
func validIdentifier(s string) bool {
	return s != "" && len(s) <= maxIdentifier && !strings.Contains(s, "#") && utf8.ValidString(s)
}
