package resolve

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// Standing is where a device stands in the live rollout on its channel.
type Standing struct {
	Rollout  *Rollout
	Phase    int
	Arm      rollout.Arm
	Admitted bool // the rollout's audience so far includes the device
}

// Standing returns where the device stands in the live rollout on its channel, and false when there is none. Facts may
// be nil and then say nothing of an own channel. Unlike Resolve it asks no policy: telemetry needs to know of every
// device that the rollout could reach. It does not allocate.
func (s *Snapshot) Standing(c *Check, f *Facts) (Standing, bool) {
	channel, _ := s.channelOf(c, f)
	if channel == nil || channel.rollout == nil {
		return Standing{}, false
	}
	r := channel.rollout
	admitted, arm := r.assign(c, nil)
	return Standing{Rollout: r, Phase: r.Phase, Arm: arm, Admitted: admitted}, true
}

// Assign returns whether r admits the device and the device's arm: false and ArmNone for a device on another channel.
func (s *Snapshot) Assign(c *Check, f *Facts, r *Rollout) (admitted bool, arm rollout.Arm) {
	if st, ok := s.Standing(c, f); ok && st.Rollout == r {
		return st.Admitted, st.Arm
	}
	return false, rollout.ArmNone
}

// Arm returns the device's arm in r if it were on r's channel. Telemetry asks this: an app's own metrics do not say
// which channel the device is on, and whether it ever entered r is known to who counts them.
func (r *Rollout) Arm(c *Check) rollout.Arm {
	_, arm := r.assign(c, nil)
	return arm
}

// assign returns whether any phase so far, or an audience that the rollout took over, admits the device, and its arm.
//
// Compared are devices of the current phase's audience whose side is decided by their position alone, so that the share
// of candidates among them is the phase's percent. That leaves out devices that were admitted whatever their position in
// this rollout: those of an audience taken over, and those of an earlier phase that admitted a larger share of its
// segments than this one does. Where a phase takes its audience whole there is no control; its devices are candidates all
// the same, for what can be judged without one.
func (r *Rollout) assign(c *Check, t *tracer) (admitted bool, arm rollout.Arm) {
	at := position(&r.Salt, c.DeviceID)
	if t != nil {
		t.rollout(r, at)
	}
	current := &r.cuts[len(r.cuts)-1]
	unmatched := false
	for i := range r.cuts[:len(r.cuts)-1] {
		earlier := &r.cuts[i]
		if at >= earlier.below && earlier.below <= current.below {
			continue // neither admits the device nor keeps it from being compared
		}
		member := earlier.contains(c, r)
		admitted = admitted || member && at < earlier.below
		unmatched = unmatched || member && earlier.below > current.below
		if t != nil {
			t.cut(i, earlier, member, at)
		}
	}
	followed := r.followed(c, t)
	member := current.contains(c, r)
	if t != nil {
		t.cut(len(r.cuts)-1, current, member, at)
	}
	inside := member && at < current.below
	switch {
	case !member || unmatched || followed || !c.IsProd || c.IsEmulator:
		arm = rollout.ArmNone
	case current.below == 0: // nobody new is admitted, so there is nothing to compare with
		arm = rollout.ArmNone
	case inside:
		arm = rollout.ArmCandidate
	default:
		arm = rollout.ArmControl
	}
	return admitted || inside || followed, arm
}

// followed reports whether a rollout that r replaced had admitted the device.
func (r *Rollout) followed(c *Check, t *tracer) bool {
	for i := range r.follows {
		old := &r.follows[i]
		at := position(&old.salt, c.DeviceID)
		for j := range old.cuts {
			if at < old.cuts[j].below && old.cuts[j].contains(c, r) {
				if t != nil {
					t.followed(i, j)
				}
				return true
			}
		}
	}
	return false
}

// contains reports whether the device is of the cut's audience, whatever its position.
func (k *cut) contains(c *Check, r *Rollout) bool {
	if len(k.segments) == 0 {
		return true
	}
	for _, g := range k.segments {
		if g.contains(c, r.candidate.Version) {
			return true
		}
	}
	return false
}

// contains reports whether the device is listed in the segment or matches its rule.
func (g *segment) contains(c *Check, candidate string) bool {
	if g.rule != nil && g.rule.match(c, candidate) {
		return true
	}
	if len(g.deviceIDs) > 0 && contains(g.deviceIDs, c.Fingerprint()) {
		return true
	}
	return len(g.customIDs) > 0 && c.CustomID != "" && contains(g.customIDs, xxhash.Sum64String(c.CustomID))
}

func contains(sorted []uint64, h uint64) bool {
	_, ok := slices.BinarySearch(sorted, h)
	return ok
}
