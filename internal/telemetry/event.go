package telemetry

import "github.com/palier-ota/palier/internal/rollout"

// Kind is where an Event comes from.
type Kind uint8

// The kinds.
const (
	KindCheck  Kind = iota // the resolver answered an update check of a device in an arm
	KindAction             // the plugin reported an action
	KindMetric             // the app reported a metric through /telemetry
)

// Event is one thing that happened on one device, as it rests on the stream. It is self-contained: whoever folds it
// needs no snapshot, so the same log gives the same tallies at any later time.
type Event struct {
	Kind       Kind              `json:"kind,omitempty"`
	App        string            `json:"app"`
	Device     uint64            `json:"device"`            // Fingerprint of the device id
	Time       int64             `json:"time"`              // server clock when it was received, Unix milliseconds
	Action     string            `json:"action,omitempty"`  // plugin action or app metric name; empty for checks
	Version    string            `json:"version,omitempty"` // running bundle for checks, else the bundle the event is about
	OldVersion string            `json:"old_version,omitempty"`
	Platform   string            `json:"platform,omitempty"`
	ClientTime int64             `json:"client_time,omitempty"` // device clock, Unix milliseconds
	Value      float64           `json:"value,omitempty"`       // of a metric: milliseconds or a count
	Test       bool              `json:"test,omitempty"`        // emulator or not a production build: kept, never counted
	Capped     bool              `json:"capped,omitempty"`      // too much of its kind came from where it came from: kept, never counted
	Spurious   bool              `json:"spurious,omitempty"`    // a failure that old plugins report where nothing failed: kept, never counted
	Exposures  []Exposure        `json:"exposures,omitempty"`   // live rollouts on whose channel the device was
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Exposure says where the device stood in one live rollout when the event was received.
type Exposure struct {
	Rollout   string      `json:"rollout"`
	Phase     int         `json:"phase"`
	Arm       rollout.Arm `json:"arm"`
	Candidate bool        `json:"candidate,omitempty"` // the event's Version is the rollout's candidate
}
