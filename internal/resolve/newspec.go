package resolve

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// NewSpec returns what decisions need of an app's state: the channels, the bundles that these and the started live
// rollouts point at, the segments that those rollouts name, with their members hashed. The same state gives the same
// Spec, byte for byte. It does not judge the state: Compile does.
func NewSpec(s rollout.State) Spec {
	spec := Spec{
		App: s.App.ID, Revision: s.Revision,
		ExposeMetadata: s.App.ExposeMetadata, AllowDeviceCustomID: s.App.AllowDeviceCustomID,
		Versions: slices.Sorted(maps.Keys(s.Bundles)),
		Bundles:  []BundleSpec{}, Channels: []ChannelSpec{},
		Owned: ownedBy(s), Generation: s.Generation,
	}
	for _, name := range slices.Sorted(maps.Keys(s.Channels)) {
		spec.Channels = append(spec.Channels, channelSpec(s, s.Channels[name]))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Rollouts)) {
		if r := s.Rollouts[id]; r.State == rollout.Running || r.State == rollout.Paused {
			spec.Rollouts = append(spec.Rollouts, rolloutSpec(r))
		}
	}
	for _, version := range spec.bundlesInUse() {
		if b, ok := s.Bundles[version]; ok {
			b.Served = false // no device is told of it
			spec.Bundles = append(spec.Bundles, BundleSpec{b})
		}
	}
	for _, name := range spec.segmentsInUse() {
		if g, ok := s.Segments[name]; ok {
			if !s.App.AllowDeviceCustomID {
				g.CustomIDs = nil // nobody gets into a segment by a name that it gives itself
			}
			spec.Segments = append(spec.Segments, segmentSpec(g))
		}
	}
	return spec
}

// ownedBy adds the devices that an operator put on a channel to the state's bitmap.
func ownedBy(s rollout.State) []byte {
	var named []string
	for id, device := range s.Devices {
		if device.Channel != "" {
			named = append(named, id)
		}
	}
	return WithOwned(s.Owned, named...)
}

// channelSpec leaves out kept bundles that were deleted: whoever runs one moves to the stable bundle.
func channelSpec(s rollout.State, c rollout.Channel) ChannelSpec {
	c.Kept = slices.DeleteFunc(slices.Clone(c.Kept), func(version string) bool {
		_, exists := s.Bundles[version]
		return !exists
	})
	return ChannelSpec{c}
}

func rolloutSpec(r rollout.Rollout) RolloutSpec {
	return RolloutSpec{
		ID: r.ID, Channel: r.Channel, Bundle: r.Bundle, Baseline: r.Baseline,
		Paused: r.State == rollout.Paused, Salt: r.Salt, Phase: r.Phase,
		Cuts: rollout.Cuts(r.Plan, r.Phase), Follows: r.Follows,
	}
}

// bundlesInUse returns the versions that channels and rollouts point at, sorted.
func (s *Spec) bundlesInUse() []string {
	used := map[string]bool{}
	for i := range s.Channels {
		used[s.Channels[i].Bundle] = true
		for _, version := range s.Channels[i].Kept {
			used[version] = true
		}
	}
	for i := range s.Rollouts {
		used[s.Rollouts[i].Bundle] = true
		used[s.Rollouts[i].Baseline] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// segmentsInUse returns the names in the rollouts' cuts, sorted.
func (s *Spec) segmentsInUse() []string {
	used := map[string]bool{}
	use := func(cuts []rollout.Cut) {
		for _, c := range cuts {
			for _, name := range c.Segments {
				used[name] = true
			}
		}
	}
	for _, r := range s.Rollouts {
		use(r.Cuts)
		for _, a := range r.Follows {
			use(a.Cuts)
		}
	}
	return slices.Sorted(maps.Keys(used))
}

func segmentSpec(g rollout.Segment) SegmentSpec {
	return SegmentSpec{
		Name: g.Name, When: g.When,
		DeviceIDs: pack(g.DeviceIDs, Fingerprint),
		CustomIDs: pack(g.CustomIDs, xxhash.Sum64String),
	}
}

// pack hashes members into a sorted list without repeats, 8 bytes each, little-endian.
func pack(members []string, hash func(string) uint64) []byte {
	hashes := make([]uint64, len(members))
	for i, m := range members {
		hashes[i] = hash(m)
	}
	slices.Sort(hashes)
	var packed []byte
	for _, h := range slices.Compact(hashes) {
		packed = binary.LittleEndian.AppendUint64(packed, h)
	}
	return packed
}
