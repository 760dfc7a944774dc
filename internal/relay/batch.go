package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/source"
)

// Limits of one relay.
const (
	MaxBytes    = 1 << 20 // of the body
	MaxChecks   = 1000
	MaxRequests = 100
)

// Limits of a check's fields. All but the version come from the Snapshot and are as long as its own; the version is what
// the device says it runs, of which edges pass on 128 bytes, which may become three times as many where they are no UTF-8.
const (
	maxApp     = 128
	maxRollout = 64
	maxVersion = 512
	maxPhase   = 1 << 16
	maxAge     = 24 * 60 * 60 // seconds; an older check counts as one of this age
)

// batch is what an edge hands over at once.
type batch struct {
	checks   []check
	requests []request
}

// check is an update check that the edge answered.
type check struct {
	App       string `json:"app"`
	Device    string `json:"device"` // resolve.Fingerprint in 16 hexadecimal digits
	Version   string `json:"version"`
	Platform  string `json:"platform"`
	Rollout   string `json:"rollout"`
	Phase     int    `json:"phase"`
	Arm       string `json:"arm"`
	Candidate bool   `json:"candidate"`
	Age       int64  `json:"age"`    // whole seconds since the device asked
	Source    string `json:"source"` // as request's

	fingerprint uint64
	inArm       rollout.Arm
}

// request is a device's POST that the edge could not answer.
type request struct {
	Path string `json:"path"`
	Body string `json:"body"`
	// Source is the network that the device asked from, as 203.0.113.0/24 or 2001:db8:1::/48. It is believed because the edge
	// has a token. Without it, or where it is no network, it is not known where the device asked from, which is no mistake:
	// for that an edge must not lose a batch.
	Source string `json:"source"`
}

// parse reads the body of a relay. Its errors say where it is wrong, and repeat nothing of what devices said.
func parse(body []byte) (batch, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	var b batch
	if err := expect(dec, '{'); err != nil {
		return b, err
	}
	for seen := map[string]bool{}; dec.More(); {
		key, err := dec.Token()
		if err != nil {
			return b, errNotJSON
		}
		name, _ := key.(string)
		if seen[name] {
			return b, fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		switch name {
		case "checks":
			b.checks, err = list(dec, name, MaxChecks, (*check).validate)
		case "requests":
			b.requests, err = list(dec, name, MaxRequests, (*request).validate)
		default:
			err = errors.New("want checks and requests, and nothing else")
		}
		if err != nil {
			return batch{}, err
		}
	}
	if err := expect(dec, '}'); err != nil {
		return batch{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return batch{}, errors.New("there is more behind the object")
	}
	return b, nil
}

var errNotJSON = errors.New("it is not the JSON of an object with checks and requests")

func expect(dec *json.Decoder, want json.Delim) error {
	if got, err := dec.Token(); err != nil || got != want {
		return errNotJSON
	}
	return nil
}

// list reads a list of at most so many elements, one after the other: a body of a million brackets must not take the
// memory of a million checks.
func list[T any](dec *json.Decoder, name string, most int, validate func(*T) error) ([]T, error) {
	if err := expect(dec, '['); err != nil {
		return nil, fmt.Errorf("%s is no list", name)
	}
	var all []T
	for dec.More() {
		if len(all) == most {
			return nil, fmt.Errorf("more than %d %s", most, name)
		}
		var one T
		if err := dec.Decode(&one); err != nil {
			return nil, fmt.Errorf("%s[%d] is not as it should be: %s", name, len(all), reason(err))
		}
		if err := validate(&one); err != nil {
			return nil, fmt.Errorf("%s[%d].%w", name, len(all), err)
		}
		all = append(all, one)
	}
	return all, expect(dec, ']')
}

// reason says what is wrong with an element, without its values.
func reason(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("a %s where %s wants a %s", kind.Value, kind.Field, kind.Type)
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return "it has a field that is not known"
	}
	return "it is not JSON"
}

// validate checks what the stream and the store rely on, and reads what has a form of its own.
func (c *check) validate() (err error) {
	if c.fingerprint, err = strconv.ParseUint(c.Device, 16, 64); err != nil || len(c.Device) != 16 {
		return errors.New("device: want 16 hexadecimal digits")
	}
	switch c.Arm {
	case rollout.ArmCandidate.String():
		c.inArm = rollout.ArmCandidate
	case rollout.ArmControl.String():
		c.inArm = rollout.ArmControl
	default:
		return errors.New("arm: want candidate or control")
	}
	switch {
	case !identifier(c.App, maxApp):
		return fmt.Errorf("app: want an app's id of at most %d bytes", maxApp)
	case !identifier(c.Rollout, maxRollout):
		return fmt.Errorf("rollout: want a rollout's id of at most %d bytes", maxRollout)
	case len(c.Version) > maxVersion:
		return fmt.Errorf("version: want at most %d bytes", maxVersion)
	case resolve.PlatformNamed(c.Platform).String() != c.Platform:
		return errors.New("platform: want android, ios, electron or other")
	case c.Phase < 0 || c.Phase > maxPhase:
		return fmt.Errorf("phase: want 0 to %d", maxPhase)
	}
	return nil
}

// identifier reports whether text can be part of a key in the store, whose parts are joined by '#'.
func identifier(text string, most int) bool {
	return text != "" && len(text) <= most && !strings.Contains(text, "#")
}

// relayed returns the check as package device takes it; ago says what the clock showed so long ago.
func (c *check) relayed(ago func(time.Duration) time.Time) device.RelayedCheck {
	age := time.Duration(min(max(0, c.Age), maxAge)) * time.Second
	return device.RelayedCheck{
		App: c.App, Device: c.fingerprint, Version: c.Version, Platform: c.Platform, Rollout: c.Rollout, Phase: c.Phase,
		Arm: c.inArm, Candidate: c.Candidate, Time: ago(age), Source: sourceOf(c.Source),
	}
}

// sourceOf reads where an edge says that a device asked from.
func sourceOf(text string) device.Source {
	network, _ := source.Network(text)
	return device.Source{Network: network}
}

func (r *request) validate() error {
	if r.Path != device.PathStats && r.Path != device.PathTelemetry {
		return fmt.Errorf("path: want %s or %s", device.PathStats, device.PathTelemetry)
	}
	return nil
}
