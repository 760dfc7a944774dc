package resolve

import "slices"

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
	case f == nil && len(s.owned) != 0 && marked(s.owned, c.Fingerprint()):
		d.conclude(NeedFacts, nil)
	default:
		s.decideInChannel(c, f, d, t)
	}
	if t != nil {
		t.outcome(c, d)
	}
}

// WithoutFacts returns what to answer where a Decision needs Facts that cannot be had: the device keeps what it has, since an
// offer might be one that already failed on it.
func (d Decision) WithoutFacts() Decision {
	d.Reason, d.Kind, d.Bundle = NoNewVersion, UpToDate, nil
	return d
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
// that holds, else Offer. A nil b is the store build, which has no version to compare. PrivateChannel keeps its place in
// that order although channelOf lets nobody into a private channel from outside.
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

// backToBuiltin answers a device whose channel has the store build. A plugin that cannot be sent back is told so first,
// whatever it runs.
func backToBuiltin(c *Check) Reason {
	switch {
	case !SupportsBuiltin(c.Plugin):
		return BuiltinPluginTooOld
	case c.RunsBuiltin || c.VersionName == c.VersionBuild:
		return AlreadyOnBuiltin
	}
	return OfferBuiltin
}
