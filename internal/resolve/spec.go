package resolve

import "github.com/palier-ota/palier/internal/rollout"

// Spec is everything one App's decisions need, as it is stored, signed and shipped to edges. It holds salts, so it is
// secret; it holds no device or custom ids, only their hashes. Its JSON form is the snapshot's wire form.
type Spec struct {
	App                 string        `json:"app"`
	Revision            int64         `json:"revision"`
	ExposeMetadata      bool          `json:"expose_metadata,omitempty"`
	AllowDeviceCustomID bool          `json:"allow_device_custom_id,omitempty"`
	Bundles             []BundleSpec  `json:"bundles"`            // those a device may be offered or may be keeping, sorted by version text
	Versions            []string      `json:"versions"`           // every bundle version the app has, sorted: telemetry is checked against it
	Channels            []ChannelSpec `json:"channels"`           // sorted by name
	Segments            []SegmentSpec `json:"segments,omitempty"` // sorted by name
	Rollouts            []RolloutSpec `json:"rollouts,omitempty"` // live ones that have started, running or paused; sorted by id

	// Owned is a bitmap of 1<<16 bits over XXH64(device id)>>48: a set bit says that some device with that hash prefix
	// may have a channel of its own in its Facts. Empty means that none has.
	Owned []byte `json:"owned,omitempty"`

	// Generation tells this App from deleted ones of the same id; see Facts.Of.
	Generation int64 `json:"generation,omitempty"`
}

// BundleSpec is a bundle as devices are told of it.
type BundleSpec struct {
	rollout.Bundle
}

// ChannelSpec is a channel as devices are told of it.
type ChannelSpec struct {
	rollout.Channel
}

// SegmentSpec is a segment with its members hashed: XXH64 of the lower-case device id, or of the custom id as given;
// each list sorted ascending and packed little-endian, 8 bytes a member.
type SegmentSpec struct {
	Name      string        `json:"name"`
	DeviceIDs []byte        `json:"device_ids,omitempty"`
	CustomIDs []byte        `json:"custom_ids,omitempty"`
	When      *rollout.Rule `json:"when,omitempty"`
}

// RolloutSpec is what a decision needs of a live rollout.
type RolloutSpec struct {
	ID       string             `json:"id"`
	Channel  string             `json:"channel"`
	Bundle   string             `json:"bundle"`
	Baseline string             `json:"baseline"`
	Paused   bool               `json:"paused,omitempty"`
	Salt     rollout.Salt       `json:"salt"`
	Phase    int                `json:"phase"`
	Cuts     []rollout.Cut      `json:"cuts"` // of phases 0…Phase, holdback applied; the last one is the current phase
	Follows  []rollout.Audience `json:"follows,omitempty"`
}
