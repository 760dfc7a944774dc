package rollout

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Builtin is the name of the build that the app store delivered; a Channel that points at it sends devices home.
const Builtin = "builtin"

// State is one App's whole record at one revision: what a change is computed from.
type State struct {
	App      App                `json:"app"`
	Revision int64              `json:"revision"` // rises by one with every committed change; 0 means the App does not exist
	Bundles  map[string]Bundle  `json:"bundles"`  // by version
	Channels map[string]Channel `json:"channels"` // by name
	Segments map[string]Segment `json:"segments"` // by name
	Devices  map[string]Device  `json:"devices"`  // by lower-case device id: only those an operator named
	Plans    map[string]Plan    `json:"plans"`    // by name: only the operator's own, not the built-in ones
	Rollouts map[string]Rollout `json:"rollouts"` // by id, ended ones included

	// Owned is the bitmap of resolve.Spec.Owned: which devices may have a channel of their own. Bits are only ever set.
	Owned []byte `json:"owned,omitempty"`

	// Retired are the served bundles that were removed, the latest last: what was served under a version stays what that
	// version means, should it come back. There are MaxRetired at most.
	Retired []RetiredBundle `json:"retired,omitempty"`

	// Generation counts the Apps of this id that were deleted before this one. The Store sets it. What devices' records say
	// was said to one generation and means nothing to the next.
	Generation int64 `json:"generation,omitempty"`
}

// App is one Capacitor app.
type App struct {
	ID                  string `json:"app"` // reverse-domain id, as the plugin sends it
	Name                string `json:"name,omitempty"`
	ExposeMetadata      bool   `json:"expose_metadata"`        // send link and comment to plugins that show them
	AllowDeviceCustomID bool   `json:"allow_device_custom_id"` // let devices put a custom id in telemetry
}

// NewApp returns an App with the defaults that a document may leave out.
func NewApp(id string) App { return App{ID: id, AllowDeviceCustomID: true} }

// Bundle is one web build. It never changes after it was served: see Served.
type Bundle struct {
	Version          string         `json:"version"`       // semver
	URL              string         `json:"url,omitempty"` // absolute http(s) URL of the zip
	Checksum         string         `json:"checksum,omitempty"`
	SessionKey       string         `json:"session_key,omitempty"`
	KeyID            string         `json:"key_id,omitempty"`
	Manifest         []ManifestFile `json:"manifest,omitempty"`
	MinUpdateVersion string         `json:"min_update_version,omitempty"` // least native version, for policy version_number
	Link             string         `json:"link,omitempty"`
	Comment          string         `json:"comment,omitempty"`
	RequiresConsent  bool           `json:"requires_consent,omitempty"`

	// Served is set by the server when a Channel or Rollout first points at the bundle. From then on its content is fixed.
	Served bool `json:"served,omitempty"`
}

// MaxRetired is how many removed bundles a State remembers; beyond it the oldest are forgotten.
const MaxRetired = 1000

// RetiredBundle is what is remembered of a served Bundle that was removed.
type RetiredBundle struct {
	Version string `json:"version"`
	Content string `json:"content"` // its fingerprint
}

// ManifestFile is one file of a Bundle that devices may fetch on its own.
type ManifestFile struct {
	FileName    string `json:"file_name"`
	FileHash    string `json:"file_hash"`
	DownloadURL string `json:"download_url"`
}

// Policy says which steps a Channel refuses, comparing the bundle with the device's native version.
type Policy string

// The policies, with the names that Capgo's users know.
const (
	PolicyMajor         Policy = "major"
	PolicyMinor         Policy = "minor"
	PolicyPatch         Policy = "patch"
	PolicyVersionNumber Policy = "version_number"
	PolicyNone          Policy = "none"
)

// Channel is a named lane with its stable Bundle and delivery rules. NewChannel has the defaults.
type Channel struct {
	Name                         string `json:"name"`
	Bundle                       string `json:"bundle"` // version, or "" / "builtin" for the store build
	Public                       bool   `json:"public"`
	IOS                          bool   `json:"ios"`
	Android                      bool   `json:"android"`
	Electron                     bool   `json:"electron"`
	AllowDeviceSelfSet           bool   `json:"allow_device_self_set"`
	AllowDev                     bool   `json:"allow_dev"`
	AllowProd                    bool   `json:"allow_prod"`
	AllowEmulator                bool   `json:"allow_emulator"`
	AllowDevice                  bool   `json:"allow_device"`
	DisableAutoUpdate            Policy `json:"disable_auto_update"`
	DisableAutoUpdateUnderNative bool   `json:"disable_auto_update_under_native"`

	// Number identifies the channel to the plugin's listChannels, which wants an integer. The server sets it once.
	Number int64 `json:"number,omitempty"`
	// Kept lists candidates of halted rollouts: a device that runs one keeps it until another rollout completes on the
	// channel or an operator points the channel at another bundle. The server sets it.
	Kept []string `json:"kept,omitempty"`
}

// NewChannel returns a Channel with the defaults that a document may leave out.
func NewChannel(name string) Channel {
	return Channel{
		Name: name, IOS: true, Android: true, Electron: true,
		AllowDev: true, AllowProd: true, AllowEmulator: true, AllowDevice: true,
		DisableAutoUpdate: PolicyMajor, DisableAutoUpdateUnderNative: true,
	}
}

// Segment is a named set of devices: the listed ones, and those that match When if it says anything.
type Segment struct {
	Name      string   `json:"name"`
	DeviceIDs []string `json:"device_ids,omitempty"` // any case; compared in lower case
	CustomIDs []string `json:"custom_ids,omitempty"`
	When      *Rule    `json:"when,omitempty"`
}

// Rule matches devices by what they say of themselves; every condition given must hold. A version condition is a
// comma-separated list of comparisons, all of which must hold: ">=17", ">=8.0.0,<9".
type Rule struct {
	Platform      []string `json:"platform,omitempty"` // ios, android, electron
	VersionOS     string   `json:"version_os,omitempty"`
	VersionBuild  string   `json:"version_build,omitempty"`
	VersionName   string   `json:"version_name,omitempty"`
	PluginVersion string   `json:"plugin_version,omitempty"`
	IsProd        *bool    `json:"is_prod,omitempty"`
	IsEmulator    *bool    `json:"is_emulator,omitempty"`
	InstallSource []string `json:"install_source,omitempty"`
}

// Device is an operator's word on one device.
type Device struct {
	DeviceID string `json:"device_id"` // lower case
	Channel  string `json:"channel,omitempty"`
}

// TimeoutPolicy says what happens when a phase has been held for its longest and nothing was proven either way.
type TimeoutPolicy string

// The timeout policies.
const (
	TimeoutPromote  TimeoutPolicy = "promote" // go on if data is fresh, the sample floor is met and no gate shows harm
	TimeoutHold     TimeoutPolicy = "hold"    // stay, and ask a person
	TimeoutRollback TimeoutPolicy = "rollback"
)

// Plan is the way a Rollout walks.
type Plan struct {
	Name      string        `json:"name,omitempty"`
	Phases    []Phase       `json:"phases"`
	OnTimeout TimeoutPolicy `json:"on_timeout,omitempty"` // default hold
	Holdback  Percent       `json:"holdback,omitempty"`   // kept as control through the last phase
	Gates     []Gate        `json:"gates,omitempty"`      // overrides of the default gates, by metric
	Alpha     float64       `json:"alpha,omitempty"`      // chance that a harmless bundle is ever stopped; default 0.01
	Beta      float64       `json:"beta,omitempty"`       // chance that a harmful bundle is ever certified; default 0.05
	Margin    Margin        `json:"margin,omitempty"`     // of the gates of stability that name none
}

// Phase is one step of a Plan.
type Phase struct {
	Name       string   `json:"name,omitempty"`
	Percent    Percent  `json:"percent"`
	Segments   []string `json:"segments,omitempty"` // the audience; none means every device of the channel
	Hold       Hold     `json:"hold"`
	MinDevices int      `json:"min_devices,omitempty"` // least candidate devices seen before the phase may pass by time
	Approval   bool     `json:"approval,omitempty"`    // a person must approve before the phase is left

	Margins map[Metric]Margin `json:"margins,omitempty"` // in this phase, instead of the gates'; never auto
}

// Hold is how long a phase lasts at least and at most. A Max of zero never times out.
type Hold struct {
	Min Duration `json:"min"`
	Max Duration `json:"max,omitempty"`
}

// Action is what a gate does when it shows harm.
type Action string

// The actions, from mild to strict.
const (
	ActionHold     Action = "hold" // do not promote; ask a person
	ActionPause    Action = "pause"
	ActionHalt     Action = "halt"
	ActionRollback Action = "rollback"
)

// Gate watches one Metric of a Rollout.
type Gate struct {
	Metric Metric  `json:"metric"`
	Margin Margin  `json:"margin,omitempty"` // ratio candidate/control that a certificate must exclude
	Severe float64 `json:"severe,omitempty"` // lower bound on the ratio from which the action becomes rollback; 0 = never, in an override the default
	Limit  float64 `json:"limit,omitempty"`  // for metrics without a control: the rate that is still normal, 0…1
	Action Action  `json:"action,omitempty"`
	Off    bool    `json:"off,omitempty"` // do not watch this metric
}

// RolloutState is where a Rollout is in its life.
type RolloutState string

// The states. The last four are ends.
const (
	Scheduled  RolloutState = "scheduled"
	Running    RolloutState = "running"
	Paused     RolloutState = "paused"
	Completed  RolloutState = "completed"
	Halted     RolloutState = "halted"
	RolledBack RolloutState = "rolled_back"
	Superseded RolloutState = "superseded"
)

// Live reports whether a rollout in this state may still change: scheduled, running or paused.
func (s RolloutState) Live() bool { return s == Scheduled || s == Running || s == Paused }

// Salt makes the positions of one rollout independent of every other's. It is secret: it never leaves the server in a
// device answer, a log or the operator API.
type Salt [16]byte

// MarshalJSON writes the salt as 32 hex digits.
func (s Salt) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(s[:])) }

// UnmarshalJSON reads 32 hex digits.
func (s *Salt) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	digits, err := hex.DecodeString(text)
	if err != nil || len(digits) != len(s) {
		return fmt.Errorf("salt: want %d hex digits", 2*len(s))
	}
	copy(s[:], digits)
	return nil
}

// Rollout is a candidate Bundle walking a Plan on a Channel. It is stored whole; Public strips what only the server
// may know.
type Rollout struct {
	ID       string       `json:"id"` // ULID
	App      string       `json:"app"`
	Channel  string       `json:"channel"`
	Bundle   string       `json:"bundle"`   // the candidate's version
	Baseline string       `json:"baseline"` // what the channel served at the start: a version, or "" for the store build
	State    RolloutState `json:"state"`
	Plan     Plan         `json:"plan"` // complete: defaults filled in, gates resolved
	Salt     Salt         `json:"salt"`
	Version  int64        `json:"version"` // rises by one with every transition

	Phase          int       `json:"phase"`   // index into Plan.Phases
	Percent        Percent   `json:"percent"` // admitted of the phase's audience, after holdback; 0 when scheduled, 100 when completed
	CreatedAt      time.Time `json:"created_at"`
	StartsAt       time.Time `json:"starts_at,omitzero"`        // for a scheduled start
	PhaseStartedAt time.Time `json:"phase_started_at,omitzero"` // when the current phase began
	PausedAt       time.Time `json:"paused_at,omitzero"`        // set while paused
	PausedFor      Duration  `json:"paused_for,omitempty"`      // paused time within the current phase, finished pauses only
	EndedAt        time.Time `json:"ended_at,omitzero"`
	Approved       bool      `json:"approved,omitempty"` // the current phase has its approval
	Reason         string    `json:"reason,omitempty"`   // of the latest transition
	Actor          string    `json:"actor,omitempty"`    // of the latest transition: a token's name, or "palier"
	Supersedes     string    `json:"supersedes,omitempty"`
	SupersededBy   string    `json:"superseded_by,omitempty"`

	// Shadow rollouts are judged and reported on, but only time moves them.
	Shadow bool `json:"shadow,omitempty"`
	// Counting is the version of Counting by which its events were classified; 0 before there were versions.
	Counting int `json:"counting,omitempty"`
	// Record is what the app's devices did before, as it was known at the start; nil when nothing was.
	Record *Record `json:"record,omitempty"`

	// Waiting says what a person is asked to look at: the code of the verdict that holds the current phase.
	Waiting string `json:"waiting,omitempty"`
	// Alarms are the metrics whose harm paused the rollout. Waived are those of earlier pauses that a person resumed
	// from: they no longer pause it, but they hold it, and severe harm still takes the bundle back.
	Alarms []Metric `json:"alarms,omitempty"`
	Waived []Metric `json:"waived,omitempty"`

	// Follows are audiences exposed to the candidates this rollout replaced: they get this candidate from the start.
	Follows []Audience `json:"follows,omitempty"`
}

// Audience is the set of devices one rollout had admitted when another took over.
type Audience struct {
	Salt Salt  `json:"salt"`
	Cuts []Cut `json:"cuts"` // a device is in if any cut admits it
}

// Cut admits the devices of its segments (all devices, if none) whose position is below Percent.
type Cut struct {
	Percent  Percent  `json:"percent"`
	Segments []string `json:"segments,omitempty"`
}

// Held returns how long the current phase has been running at the instant now, without paused time and not beyond the
// rollout's end. It is never negative, whatever the clocks of those who wrote the times.
func (r Rollout) Held(now time.Time) time.Duration {
	if r.PhaseStartedAt.IsZero() {
		return 0
	}
	end := now
	for _, stop := range [...]time.Time{r.PausedAt, r.EndedAt} {
		if !stop.IsZero() && stop.Before(end) {
			end = stop
		}
	}
	return max(0, end.Sub(r.PhaseStartedAt)-r.PausedFor.Std())
}

// Arm is a device's side in a rollout's comparison.
type Arm uint8

// The arms. A device of neither is not compared: it is outside the phase's audience, or it was admitted whatever its
// position, so that it has no counterpart.
const (
	ArmNone Arm = iota
	ArmCandidate
	ArmControl
)

// String returns none, candidate or control.
func (a Arm) String() string {
	switch a {
	case ArmCandidate:
		return "candidate"
	case ArmControl:
		return "control"
	}
	return "none"
}
