package resolve

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// unsupportedMajor is the plugin line that no server answers any more.
const unsupportedMajor = 4

// Resolve answers one device's check. Facts may be nil, meaning not known yet: if the answer depends on them it is
// NeedFacts, and the caller fetches them and asks again. That is so when something is about to be offered, and when the
// device may have a channel of its own; "up to date" never needs them otherwise. Resolve does not allocate.
func (s *Snapshot) Resolve(c *Check, f *Facts) Decision {
	var d Decision
	s.decide(c, f, &d, nil)
	return d
}

// decide is Resolve, telling t, if there is one, how it goes.
func (s *Snapshot) decide(c *Check, f *Facts, d *Decision, t *tracer) {
	switch {
	case c.Plugin.Major == unsupportedMajor:
		d.conclude(UnsupportedPlugin, nil)
	case f == nil && len(s.owned) != 0 && MayOwn(s.owned, c.DeviceID):
		d.conclude(NeedFacts, nil)
	default:
		s.decideInChannel(c, f, d, t)
	}
	if t != nil {
		t.outcome(c, d)
	}
}

func (s *Snapshot) decideInChannel(c *Check, f *Facts, d *Decision, t *tracer) {
	d.Channel, d.Source = s.channelOf(c, f)
	if t != nil {
		t.channel(s, c, f, d)
	}
	if d.Channel == nil {
		d.conclude(NoChannel, nil)
		return
	}
	target := d.Channel.target(c, d, t)
	reason := d.Channel.weigh(c, d.Source, target)
	if t != nil {
		t.weighed(c, d.Channel, target, reason)
	}
	switch {
	case reason != Offer && reason != OfferBuiltin:
		d.conclude(reason, target)
	case f == nil:
		d.conclude(NeedFacts, target)
	default:
		d.concludeOffer(c, f, reason, target, t)
	}
}

// concludeOffer makes the offer unless the device's record forbids it. Then the bundle that the channel would give
// without the rollout takes its place, if that is one the device lacks and may have.
func (d *Decision) concludeOffer(c *Check, f *Facts, reason Reason, target *Bundle, t *tracer) {
	bar := f.bars(target)
	if t != nil {
		t.facts(f, target, bar)
	}
	if bar == ReasonNone {
		d.conclude(reason, target)
		return
	}
	settled := d.Channel.settled(c)
	if settled != target {
		instead := d.Channel.weigh(c, d.Source, settled)
		if t != nil {
			t.weighed(c, d.Channel, settled, instead)
		}
		if (instead == Offer || instead == OfferBuiltin) && f.bars(settled) == ReasonNone {
			d.Candidate = false
			d.conclude(instead, settled)
			return
		}
	}
	d.conclude(bar, target)
}

// conclude sets the answer. What is stored but cannot be fetched by this plugin is refused, not reported as a failure.
func (d *Decision) conclude(reason Reason, b *Bundle) {
	d.Reason, d.Kind, d.Bundle = reason, reason.Kind(), b
	if reason == NoBundle && b.stored {
		d.Kind = Blocked
	}
}

// bars returns why the device's record forbids an offer of b, ReasonNone if it does not. The store build is never
// forbidden.
func (f *Facts) bars(b *Bundle) Reason {
	switch {
	case b == nil:
		return ReasonNone
	case slices.Contains(f.Failed, b.Version):
		return BundleFailedOnDevice
	case b.RequiresConsent && !slices.Contains(f.Consented, b.Version):
		return ConsentRequired
	}
	return ReasonNone
}

// channelOf returns the device's channel: its own, which may be private; else the one it names, without fallback; else
// the platform's public one. An own channel that no longer exists is ignored.
func (s *Snapshot) channelOf(c *Check, f *Facts) (*Channel, Source) {
	if f != nil && f.Channel != "" {
		if own := s.ChannelByName(f.Channel); own != nil {
			return own, SourceOwn
		}
	}
	if c.DefaultChannel != "" {
		named := s.ChannelByName(c.DefaultChannel)
		if named == nil || !named.On(c.Platform) || !named.Public && !named.AllowDeviceSelfSet {
			return nil, SourceNone
		}
		return named, SourceDefault
	}
	if public := s.PublicChannel(c.Platform); public != nil {
		return public, SourcePublic
	}
	return nil, SourceNone
}

// target returns the bundle that the device should have, nil for the store build, and notes in d where the device
// stands in the channel's rollout. While the rollout is paused only those that run the candidate already have it.
func (ch *Channel) target(c *Check, d *Decision, t *tracer) *Bundle {
	if r := ch.rollout; r != nil {
		d.Rollout, d.Phase = r, r.Phase
		d.Admitted, d.Arm = r.assign(c, t)
		admitted := d.Admitted
		if r.Paused {
			admitted = c.VersionName == r.candidate.Version
		}
		if admitted {
			d.Candidate = true
			return r.candidate
		}
	}
	settled := ch.settled(c)
	d.Candidate = settled != nil && settled != ch.unreleased()
	return settled
}

// settled returns what the device should have if there were no live rollout: a kept candidate of a halted rollout that
// it runs, else what everyone else has.
func (ch *Channel) settled(c *Check) *Bundle {
	for _, b := range ch.kept {
		if b.Version == c.VersionName {
			return b
		}
	}
	return ch.unreleased()
}

// unreleased returns what devices outside of the live rollout have; nil is the store build.
func (ch *Channel) unreleased() *Bundle {
	if ch.rollout != nil {
		return ch.rollout.baseline
	}
	return ch.stable
}

// weigh goes through the reasons not to give b to the device, in the order of Capgo's server, and returns the first
// that holds, else Offer. A nil b is the store build, which has no version to compare.
func (ch *Channel) weigh(c *Check, source Source, b *Bundle) Reason {
	if b != nil {
		if r := b.unfit(c); r != ReasonNone {
			return r
		}
	}
	switch {
	case !ch.On(c.Platform):
		return DisabledPlatform
	case b != nil && ch.policy == policyMajor && b.semver.Major > c.Native.Major:
		return DisableMajor
	case source != SourceOwn && !ch.Public && !ch.AllowDeviceSelfSet:
		return PrivateChannel
	}
	if b != nil {
		if r := ch.policyRefuses(c, b); r != ReasonNone {
			return r
		}
	}
	if r := ch.gateRefuses(c); r != ReasonNone {
		return r
	}
	if b == nil {
		return backToBuiltin(c)
	}
	if !b.hasZip && len(b.Manifest) == 0 {
		return NoBundleURL
	}
	return Offer
}

// unfit returns why b itself is nothing for the device, whatever the channel says.
func (b *Bundle) unfit(c *Check) Reason {
	switch {
	case !b.stored, b.ManifestOnly() && !SupportsManifest(c.Plugin):
		return NoBundle
	case b.KeyID != "" && c.KeyID != "" && b.KeyID != c.KeyID && sendsLongKeyID(c.Plugin):
		return KeyIDMismatch
	case b.Version == c.VersionName:
		return NoNewVersion
	}
	return ReasonNone
}

// policyRefuses compares b with the native version, never with the running bundle.
func (ch *Channel) policyRefuses(c *Check, b *Bundle) Reason {
	v, native := &b.semver, &c.Native
	switch ch.policy {
	case policyMinor:
		if v.Major != native.Major || v.Minor != native.Minor {
			return DisableMinor
		}
	case policyPatch:
		if v.Major != native.Major || v.Minor != native.Minor || v.Patch != native.Patch {
			return DisablePatch
		}
	case policyVersionNumber:
		if b.MinUpdateVersion == "" {
			return MisconfiguredChannel
		}
		if b.minNative.Compare(*native) > 0 {
			return DisableMetadata
		}
	}
	if ch.DisableAutoUpdateUnderNative && v.Compare(*native) < 0 {
		return DisableUnderNative
	}
	return ReasonNone
}

// gateRefuses asks what kind of build on what kind of device the channel serves.
func (ch *Channel) gateRefuses(c *Check) Reason {
	switch {
	case c.IsProd && !ch.AllowProd:
		return DisableProd
	case !c.IsProd && !ch.AllowDev:
		return DisableDev
	case !c.IsEmulator && !ch.AllowDevice:
		return DisableDevice
	case c.IsEmulator && !ch.AllowEmulator:
		return DisableEmulator
	}
	return ReasonNone
}

func backToBuiltin(c *Check) Reason {
	switch {
	case c.RunsBuiltin || c.VersionName == c.VersionBuild:
		return AlreadyOnBuiltin
	case !SupportsBuiltin(c.Plugin):
		return BuiltinPluginTooOld
	}
	return OfferBuiltin
}

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

// assign returns whether any phase so far, or an audience that the rollout took over, admits the device, and its arm.
//
// Compared are devices of the current phase's audience whose side is decided by their position alone, so that the share
// of candidates among them is the phase's percent. That leaves out devices that were admitted whatever their position in
// this rollout: those of an audience taken over, and those of an earlier phase that admitted a larger share of its
// segments than this one does.
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
	case current.below == 0 || uint64(current.below) == Positions: // one arm is empty
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
	if len(g.deviceIDs) > 0 && contains(g.deviceIDs, Fingerprint(c.DeviceID)) {
		return true
	}
	return len(g.customIDs) > 0 && c.CustomID != "" && contains(g.customIDs, xxhash.Sum64String(c.CustomID))
}

func contains(sorted []uint64, h uint64) bool {
	_, ok := slices.BinarySearch(sorted, h)
	return ok
}
