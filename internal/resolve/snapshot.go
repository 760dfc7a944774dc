package resolve

import (
	"slices"
	"strconv"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// Snapshot is a compiled Spec. It never changes, so any number of goroutines may use it at once.
type Snapshot struct {
	app                 string
	revision            int64
	generation          int64
	exposeMetadata      bool
	allowDeviceCustomID bool

	bundles  []Bundle  // by version
	versions []string  // sorted
	channels []Channel // by name
	rollouts []Rollout // by id
	segments []segment // by name
	public   [Electron + 1]*Channel
	owned    []byte
}

// String returns the app and revision only: the rest holds salts, which must not reach a log.
func (s *Snapshot) String() string {
	return s.app + " at revision " + strconv.FormatInt(s.revision, 10)
}

// App returns the app's id.
func (s *Snapshot) App() string { return s.app }

// Revision returns the revision of the state that the snapshot was made from.
func (s *Snapshot) Revision() int64 { return s.revision }

// Generation tells the app from deleted ones of the same id; see Facts.Of.
func (s *Snapshot) Generation() int64 { return s.generation }

// ExposeMetadata reports whether offers carry link and comment.
func (s *Snapshot) ExposeMetadata() bool { return s.exposeMetadata }

// AllowDeviceCustomID reports whether devices may put a custom id in telemetry.
func (s *Snapshot) AllowDeviceCustomID() bool { return s.allowDeviceCustomID }

// Channels returns every channel, sorted by name. The caller must not change them.
func (s *Snapshot) Channels() []Channel { return s.channels }

// Bundles returns every bundle that a device may be offered or may be keeping, sorted by version text. The caller must
// not change them.
func (s *Snapshot) Bundles() []Bundle { return s.bundles }

// Rollouts returns the live rollouts that have started, sorted by id. The caller must not change them.
func (s *Snapshot) Rollouts() []Rollout { return s.rollouts }

// ChannelByName returns the channel of that name, or nil.
func (s *Snapshot) ChannelByName(name string) *Channel {
	return find(s.channels, name, func(c *Channel) string { return c.Name })
}

// PublicChannel returns the channel of devices on p that have no other, or nil. Where several are public the first by
// name counts.
func (s *Snapshot) PublicChannel(p Platform) *Channel {
	if int(p) >= len(s.public) {
		return nil
	}
	return s.public[p]
}

// Rollout returns the live rollout with that id, or nil.
func (s *Snapshot) Rollout(id string) *Rollout {
	return find(s.rollouts, id, func(r *Rollout) string { return r.ID })
}

// Bundle returns the bundle of that version among those that a device may be offered or may be keeping, or nil.
func (s *Snapshot) Bundle(version string) *Bundle {
	return find(s.bundles, version, func(b *Bundle) string { return b.Version })
}

// HasVersion reports whether the app has a bundle of that version, offered or not. It does not allocate.
func (s *Snapshot) HasVersion(version string) bool {
	_, ok := slices.BinarySearch(s.versions, version)
	return ok
}

// find returns the element of a sorted list whose key is want, or nil.
func find[T any](list []T, want string, key func(*T) string) *T {
	low, high := 0, len(list)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch order := strings.Compare(key(&list[mid]), want); {
		case order == 0:
			return &list[mid]
		case order < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return nil
}

// Bundle is a compiled BundleSpec.
type Bundle struct {
	BundleSpec
	index     int
	semver    Version
	minNative Version // MinUpdateVersion, parsed
	hasZip    bool    // URL can be fetched: it is http or https
	stored    bool    // there is something to fetch in principle: a URL of any kind, or a manifest
}

// Index returns the bundle's place in its Snapshot's Bundles.
func (b *Bundle) Index() int { return b.index }

// HasZip reports whether the bundle's URL is one that devices can fetch: absolute, http or https.
func (b *Bundle) HasZip() bool { return b.hasZip }

// ManifestOnly reports whether the bundle can only be fetched file by file.
func (b *Bundle) ManifestOnly() bool { return !b.hasZip && len(b.Manifest) > 0 }

// Channel is a compiled ChannelSpec.
type Channel struct {
	ChannelSpec
	stable    *Bundle // nil is the store build
	rollout   *Rollout
	kept      []*Bundle
	platforms platforms
	policy    policy
}

// Stable returns the bundle that the channel serves outside of a rollout; nil is the store build.
func (c *Channel) Stable() *Bundle { return c.stable }

// Live returns the rollout on the channel, or nil.
func (c *Channel) Live() *Rollout { return c.rollout }

// On reports whether the channel is enabled for the platform.
func (c *Channel) On(p Platform) bool { return int(p) < len(c.platforms) && c.platforms[p] }

// Rollout is a compiled RolloutSpec.
type Rollout struct {
	RolloutSpec
	candidate *Bundle
	baseline  *Bundle // nil is the store build
	cuts      []cut   // at least one; the last is the current phase's
	follows   []audience
}

// Candidate returns the bundle that the rollout brings.
func (r *Rollout) Candidate() *Bundle { return r.candidate }

// cut is a compiled rollout.Cut.
type cut struct {
	below    uint32     // admits positions below this
	segments []*segment // of these segments; none means every device
}

// audience is a compiled rollout.Audience.
type audience struct {
	salt rollout.Salt
	cuts []cut
}

// segment is a compiled SegmentSpec.
type segment struct {
	name      string
	deviceIDs []uint64 // Fingerprints, ascending
	customIDs []uint64 // XXH64, ascending
	rule      *rule    // nil matches nobody
}

// policy is a compiled rollout.Policy.
type policy uint8

const (
	policyNone policy = iota
	policyMajor
	policyMinor
	policyPatch
	policyVersionNumber
)
