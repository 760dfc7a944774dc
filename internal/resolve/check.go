package resolve

import (
	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// Platform is where an app runs.
type Platform uint8

// The platforms. PlatformOther only occurs in telemetry.
const (
	PlatformOther Platform = iota
	Android
	IOS
	Electron
)

// String returns the wire name: android, ios, electron, or "other".
func (p Platform) String() string {
	switch p {
	case Android:
		return "android"
	case IOS:
		return "ios"
	case Electron:
		return "electron"
	}
	return "other"
}

// Check is one device's question, already validated and normalised by the protocol layer. Its strings may point into
// the request's buffer: they are valid only while that is.
type Check struct {
	AppID          string // as sent; apps are matched exactly
	DeviceID       string // lower case
	CustomID       string
	Platform       Platform
	VersionBuild   string  // native version, coerced to three parts
	Native         Version // VersionBuild, parsed
	VersionName    string  // running bundle; "builtin" already replaced by VersionBuild
	RunsBuiltin    bool    // the device said "builtin" itself
	VersionOS      string
	VersionCode    string
	PluginVersion  string
	Plugin         Version // PluginVersion, parsed; zero when absent (channel calls)
	DefaultChannel string
	KeyID          string
	InstallSource  string
	IsEmulator     bool
	IsProd         bool
}

// Fingerprint returns the device's Fingerprint. Its id is in lower case already.
func (c *Check) Fingerprint() uint64 { return xxhash.Sum64String(c.DeviceID) }

// Facts is what only one device's record knows. The zero value is a device without a record.
type Facts struct {
	Channel   string   `json:"channel,omitempty"`   // its own channel, set by an operator or by an old plugin's setChannel
	SetBy     string   `json:"set_by,omitempty"`    // "operator" or "device"
	Failed    []string `json:"failed,omitempty"`    // bundle versions that failed on it
	Consented []string `json:"consented,omitempty"` // bundle versions its user agreed to

	// Generation is that of the App that the Facts were written for; see Of.
	Generation int64 `json:"generation,omitempty"`
}

// Of returns f as the generation of an App sees it: f itself if it was written for that one, else empty Facts of it. The
// records of devices outlive a deleted App, since nobody has a list of them, and must not speak to a new one of its id.
func (f Facts) Of(generation int64) Facts {
	if f.Generation != generation {
		return Facts{Generation: generation}
	}
	return f
}

// Reason is why a Decision came out as it did. Its Code is the wire error where the answer is not an offer.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	ReasonNone   Reason = iota
	NeedFacts           // not an answer: call again with the device's Facts
	Offer               // install Decision.Bundle
	OfferBuiltin        // go back to the store build
	UnsupportedPlugin
	NoChannel
	NoBundle
	KeyIDMismatch
	NoNewVersion
	DisabledPlatform // ios, android or electron by the check's platform
	DisableMajor
	PrivateChannel
	DisableMinor
	DisablePatch
	MisconfiguredChannel
	DisableMetadata
	DisableUnderNative
	DisableProd
	DisableDev
	DisableDevice
	DisableEmulator
	AlreadyOnBuiltin
	BuiltinPluginTooOld
	NoBundleURL
	BundleFailedOnDevice
	ConsentRequired
	NumReasons
)

// Kind is the protocol's coarse class of an answer without an offer.
type Kind uint8

// The kinds.
const (
	KindNone Kind = iota
	UpToDate
	Blocked
	Failed
)

// Source says what chose the channel.
type Source uint8

// The sources of a channel.
const (
	SourceNone    Source = iota
	SourceOwn            // the device's own channel from its Facts
	SourceDefault        // defaultChannel in the check
	SourcePublic         // the platform's public channel
)

// Decision is the answer to a Check, as indices and pointers into the Snapshot.
type Decision struct {
	Reason    Reason
	Kind      Kind
	Bundle    *Bundle // the bundle the answer is about: offered, refused or already running; nil when there is none
	Channel   *Channel
	Source    Source
	Rollout   *Rollout    // the live rollout on the channel, if any
	Arm       rollout.Arm // the device's arm in it; ArmNone outside the comparison
	Phase     int         // the rollout's current phase
	Admitted  bool        // the rollout's audience so far includes the device
	Candidate bool        // Bundle is the rollout's candidate (or a kept one)
}
