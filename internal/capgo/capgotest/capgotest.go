// Package capgotest reads the recorded protocol cases of testdata/protocol/cases.jsonl, one JSON object a line, so that
// the protocol functions, a served process and a deployed one can all be held against the same file.
//
// A case is a state of one app, a request and what the answer must contain. Three things in the file describe Capgo's
// insides: stats_recorded and version_usage (rows of its statistics tables) and side_effect. A player that knows what
// it recorded may compare; Check looks only at the answer.
package capgotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// Case is one line of the file.
type Case struct {
	Name     string  `json:"name"`
	Endpoint string  `json:"endpoint"` // updates, stats or channel_self
	Method   string  `json:"method"`
	Setup    Setup   `json:"setup"`
	Request  Request `json:"request"`
	Expect   Expect  `json:"expect"`
}

// Setup is the app that the request meets.
type Setup struct {
	App struct {
		ID                  string `json:"app_id"`
		ExposeMetadata      bool   `json:"expose_metadata"`
		AllowDeviceCustomID bool   `json:"allow_device_custom_id"`
	} `json:"app"`
	Channels  []json.RawMessage `json:"channels"` // each a rollout.Channel with Capgo's rollout_ columns
	Versions  []Version         `json:"versions"`
	Overrides map[string]string `json:"device_overrides"` // device id to channel name
}

// Version is a bundle as Capgo stores it.
type Version struct {
	Name             string `json:"name"`
	Checksum         string `json:"checksum"`
	Storage          string `json:"storage"` // zip, external or none
	ExternalURL      string `json:"external_url"`
	SessionKey       string `json:"session_key"`
	KeyID            string `json:"key_id"`
	MinUpdateVersion string `json:"min_update_version"`
	Link             string `json:"link"`
	Comment          string `json:"comment"`
	Manifest         []struct {
		FileName string `json:"file_name"`
		FileHash string `json:"file_hash"`
		S3Path   string `json:"s3_path"`
	} `json:"manifest"`
}

// Request is what the device sends.
type Request struct {
	JSON   json.RawMessage   `json:"body"`
	Raw    *string           `json:"raw_body"` // instead of JSON: a body that is none
	Params map[string]string `json:"query"`
	Suffix string            `json:"path"` // below the endpoint
}

// Expect is what must come back.
type Expect struct {
	Status        int             `json:"status"`
	BodyContains  json.RawMessage `json:"body_contains"` // a subset of the answer, to any depth; arrays by index
	BodyAbsent    []string        `json:"body_absent"`   // keys that the answer must not have
	BodyLength    *int            `json:"body_length"`   // of an answer that is an array
	SideEffect    string          `json:"side_effect"`
	StatsRecorded []string        `json:"stats_recorded"`
	VersionUsage  []string        `json:"version_usage"`
}

// Load reads every case of a file. It fails on a line that is no case and on a file without any.
func Load(file string) ([]Case, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the protocol cases: %w", err)
	}
	var cases []Case
	for line := range bytes.Lines(data) {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("%s: case %d: %w", file, len(cases)+1, err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s has no case", file)
	}
	return cases, nil
}

// Path returns the path of the request, such as /updates.
func (c Case) Path() string { return "/" + c.Endpoint + c.Request.Suffix }

// Query returns the raw query string, "" if there is none.
func (c Case) Query() string {
	values := url.Values{}
	for key, value := range c.Request.Params {
		values.Set(key, value)
	}
	return values.Encode()
}

// Body returns the request's body, nil if it has none.
func (c Case) Body() []byte {
	if c.Request.Raw != nil {
		return []byte(*c.Request.Raw)
	}
	return c.Request.JSON
}

// State returns the case's app as a domain state of revision 1. Overrides become devices that an operator put on a
// channel. A rollout that Capgo has switched off is none; one that is on runs, or is paused, in a plan of one phase.
func (c Case) State() (rollout.State, error) {
	s := rollout.State{
		App: rollout.App{
			ID: c.Setup.App.ID, Name: c.Setup.App.ID,
			ExposeMetadata: c.Setup.App.ExposeMetadata, AllowDeviceCustomID: c.Setup.App.AllowDeviceCustomID,
		},
		Revision: 1,
		Bundles:  map[string]rollout.Bundle{}, Channels: map[string]rollout.Channel{}, Segments: map[string]rollout.Segment{},
		Devices: map[string]rollout.Device{}, Plans: map[string]rollout.Plan{}, Rollouts: map[string]rollout.Rollout{},
	}
	for _, v := range c.Setup.Versions {
		s.Bundles[v.Name] = v.bundle()
	}
	for i, text := range c.Setup.Channels {
		if err := addChannel(&s, text, int64(i+1)); err != nil {
			return rollout.State{}, fmt.Errorf("case %s: channel %d: %w", c.Name, i, err)
		}
	}
	for id, channel := range c.Setup.Overrides {
		id = strings.ToLower(id)
		s.Devices[id] = rollout.Device{DeviceID: id, Channel: channel}
	}
	return s, nil
}

const files = "https://files.example.com/"

func (v Version) bundle() rollout.Bundle {
	b := rollout.Bundle{
		Version: v.Name, Checksum: v.Checksum, SessionKey: v.SessionKey, KeyID: v.KeyID,
		MinUpdateVersion: v.MinUpdateVersion, Link: v.Link, Comment: v.Comment,
	}
	switch v.Storage {
	case "zip":
		b.URL = files + v.Name + ".zip"
	case "external":
		b.URL = v.ExternalURL
	}
	for _, f := range v.Manifest {
		b.Manifest = append(b.Manifest, rollout.ManifestFile{FileName: f.FileName, FileHash: f.FileHash, DownloadURL: files + f.S3Path})
	}
	return b
}

// addChannel adds the channel in text, whose columns have Palier's names except for the bundle, and its rollout.
func addChannel(s *rollout.State, text json.RawMessage, number int64) error {
	channel := rollout.NewChannel("")
	var columns struct {
		Version  string     `json:"version"`
		Target   string     `json:"rollout_version"`
		Enabled  bool       `json:"rollout_enabled"`
		Share    int64      `json:"rollout_percentage_bps"`
		PausedAt *time.Time `json:"rollout_paused_at"`
	}
	if err := json.Unmarshal(text, &channel); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &columns); err != nil {
		return err
	}
	channel.Bundle, channel.Number = columns.Version, number
	s.Channels[channel.Name] = channel
	if columns.Target == "" || !columns.Enabled {
		return nil
	}
	percent := rollout.Percent(columns.Share) * rollout.OnePercent / 100
	started := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	r := rollout.Rollout{
		ID: "rollout-" + channel.Name, App: s.App.ID, Channel: channel.Name, Bundle: columns.Target, Baseline: columns.Version,
		State: rollout.Running, Salt: rollout.Salt{1}, Version: 1, Percent: percent,
		Plan:      rollout.Plan{Phases: []rollout.Phase{{Name: "only", Percent: percent}}, OnTimeout: rollout.TimeoutHold},
		CreatedAt: started, PhaseStartedAt: started,
	}
	if columns.PausedAt != nil {
		r.State, r.PausedAt = rollout.Paused, *columns.PausedAt
	}
	s.Rollouts[r.ID] = r
	return nil
}

// Check compares an answer with what the case expects and returns the first difference.
func (c Case) Check(status int, body []byte) error {
	if status != c.Expect.Status {
		return fmt.Errorf("status %d, want %d; body %s", status, c.Expect.Status, body)
	}
	var got any
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("the answer is not JSON: %w: %q", err, body)
	}
	if len(c.Expect.BodyContains) > 0 {
		var want any
		if err := json.Unmarshal(c.Expect.BodyContains, &want); err != nil {
			return fmt.Errorf("the case's body_contains: %w", err)
		}
		if err := contains("body", got, want); err != nil {
			return fmt.Errorf("%w; body %s", err, body)
		}
	}
	if list, isList := got.([]any); c.Expect.BodyLength != nil && (!isList || len(list) != *c.Expect.BodyLength) {
		return fmt.Errorf("want an array of length %d; body %s", *c.Expect.BodyLength, body)
	}
	members, _ := got.(map[string]any)
	for _, key := range c.Expect.BodyAbsent {
		if _, there := members[key]; there {
			return fmt.Errorf("%s must be absent; body %s", key, body)
		}
	}
	return nil
}

// contains reports where got lacks something of want. An empty array in want wants an empty array.
func contains(at string, got, want any) error {
	switch want := want.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", at)
		}
		for key, value := range want {
			have, there := members[key]
			if !there {
				return fmt.Errorf("%s.%s is missing", at, key)
			}
			if err := contains(at+"."+key, have, value); err != nil {
				return err
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) < len(want) || (len(want) == 0 && len(list) > 0) {
			return fmt.Errorf("%s is not an array with %d elements", at, len(want))
		}
		for i := range want {
			if err := contains(fmt.Sprintf("%s[%d]", at, i), list[i], want[i]); err != nil {
				return err
			}
		}
	default:
		if got != want {
			return fmt.Errorf("%s is %v, want %v", at, got, want)
		}
	}
	return nil
}
