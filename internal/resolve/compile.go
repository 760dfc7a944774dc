package resolve

import (
	"encoding/binary"
	"strconv"

	"github.com/palier-ota/palier/internal/rollout"
)

// Limits of a Spec. They are far above what an app needs and keep a forged snapshot from exhausting whoever compiles it.
const (
	maxBundles  = 10_000
	maxVersions = 100_000
	maxChannels = 10_000
	maxSegments = 10_000
	maxMembers  = 2_000_000 // of all segments together
	maxCuts     = 1_000     // of one rollout, followed audiences included
	maxText     = 1 << 16   // bytes of one name, version or URL
)

func checkSize(spec *Spec) error {
	for _, part := range [...]struct {
		name       string
		have, most int
	}{
		{"bundles", len(spec.Bundles), maxBundles},
		{"versions", len(spec.Versions), maxVersions},
		{"channels", len(spec.Channels), maxChannels},
		{"segments", len(spec.Segments), maxSegments},
		{"rollouts", len(spec.Rollouts), maxChannels},
		{"app", len(spec.App), maxText},
	} {
		if part.have > part.most {
			return specError(part.name, "too many: "+strconv.Itoa(part.have)+", the most is "+strconv.Itoa(part.most))
		}
	}
	if n := len(spec.Owned); n != 0 && n != ownedBytes {
		return specError("owned", "want none or "+strconv.Itoa(ownedBytes)+" bytes, not "+strconv.Itoa(n))
	}
	return nil
}

func (s *Snapshot) compileVersions(spec *Spec) error {
	for i, version := range spec.Versions {
		if i > 0 && version <= spec.Versions[i-1] {
			return outOfOrder("versions", version)
		}
	}
	s.versions = spec.Versions
	return nil
}

func (s *Snapshot) compileBundles(spec *Spec) error {
	s.bundles = make([]Bundle, len(spec.Bundles))
	for i := range spec.Bundles {
		b := &spec.Bundles[i]
		if i > 0 && b.Version <= spec.Bundles[i-1].Version {
			return outOfOrder("bundles", b.Version)
		}
		s.bundles[i].index = i
		if err := s.bundles[i].compile(b); err != nil {
			return within("bundle "+quote(b.Version), err)
		}
	}
	return nil
}

func (b *Bundle) compile(spec *BundleSpec) error {
	b.BundleSpec = *spec
	var ok bool
	if b.semver, ok = ParseVersion(spec.Version); !ok || len(spec.Version) > maxText {
		return specError("version", "is not a semantic version")
	}
	if b.minNative, ok = ParseVersion(spec.MinUpdateVersion); !ok && spec.MinUpdateVersion != "" {
		return specError("min_update_version", "is not a semantic version")
	}
	if len(spec.URL) > maxText {
		return specError("url", "is too long")
	}
	b.hasZip = fetchable(spec.URL)
	b.stored = spec.URL != "" || len(spec.Manifest) > 0
	return nil
}

// fetchable reports whether url begins with http:// or https://, in any case, and goes on.
func fetchable(url string) bool {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(url) > len(scheme) && equalFold(url[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII text with a lower-case one.
func equalFold(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return len(s) == len(lower)
}

func (s *Snapshot) compileSegments(spec *Spec) error {
	members := 0
	s.segments = make([]segment, len(spec.Segments))
	for i := range spec.Segments {
		g := &spec.Segments[i]
		if i > 0 && g.Name <= spec.Segments[i-1].Name {
			return outOfOrder("segments", g.Name)
		}
		if members += (len(g.DeviceIDs) + len(g.CustomIDs)) / 8; members > maxMembers {
			return specError("segments", "more than "+strconv.Itoa(maxMembers)+" members")
		}
		if err := s.segments[i].compile(g); err != nil {
			return within("segment "+quote(g.Name), err)
		}
	}
	return nil
}

func (g *segment) compile(spec *SegmentSpec) (err error) {
	g.name = spec.Name
	if g.deviceIDs, err = unpack(spec.DeviceIDs); err != nil {
		return within("device_ids", err)
	}
	if g.customIDs, err = unpack(spec.CustomIDs); err != nil {
		return within("custom_ids", err)
	}
	g.rule, err = compileRule(spec.When)
	return err
}

// unpack reads a sorted list of hashes, 8 bytes each, little-endian.
func unpack(packed []byte) ([]uint64, error) {
	if len(packed)%8 != 0 {
		return nil, specError("length", strconv.Itoa(len(packed))+" bytes are not a whole number of 8-byte hashes")
	}
	hashes := make([]uint64, len(packed)/8)
	for i := range hashes {
		hashes[i] = binary.LittleEndian.Uint64(packed[8*i:])
		if i > 0 && hashes[i] <= hashes[i-1] {
			return nil, specError("order", "hashes are not ascending at "+strconv.Itoa(i))
		}
	}
	return hashes, nil
}

func (s *Snapshot) compileChannels(spec *Spec) error {
	s.channels = make([]Channel, len(spec.Channels))
	for i := range spec.Channels {
		c := &s.channels[i]
		if i > 0 && spec.Channels[i].Name <= spec.Channels[i-1].Name {
			return outOfOrder("channels", spec.Channels[i].Name)
		}
		if err := s.compileChannel(c, &spec.Channels[i]); err != nil {
			return within("channel "+quote(spec.Channels[i].Name), err)
		}
		for p := range c.platforms {
			if c.Public && c.platforms[p] && s.public[p] == nil {
				s.public[p] = c
			}
		}
	}
	return nil
}

func (s *Snapshot) compileChannel(c *Channel, spec *ChannelSpec) (err error) {
	c.ChannelSpec = *spec
	if spec.Name == "" || len(spec.Name) > maxText {
		return specError("name", "is empty or too long")
	}
	if c.stable, err = s.bundleOrBuiltin(spec.Bundle); err != nil {
		return within("bundle", err)
	}
	for _, version := range spec.Kept {
		b := s.Bundle(version)
		if b == nil {
			return specError("kept", "bundle "+quote(version)+" does not exist")
		}
		c.kept = append(c.kept, b)
	}
	c.platforms = platforms{Android: spec.Android, IOS: spec.IOS, Electron: spec.Electron}
	c.policy, err = compilePolicy(spec.DisableAutoUpdate)
	return err
}

// bundleOrBuiltin returns the bundle of that version, nil for the store build.
func (s *Snapshot) bundleOrBuiltin(version string) (*Bundle, error) {
	if version == "" || version == rollout.Builtin {
		return nil, nil
	}
	b := s.Bundle(version)
	if b == nil {
		return nil, specError(quote(version), "does not exist")
	}
	return b, nil
}

func compilePolicy(p rollout.Policy) (policy, error) {
	switch p {
	case rollout.PolicyNone:
		return policyNone, nil
	case rollout.PolicyMajor:
		return policyMajor, nil
	case rollout.PolicyMinor:
		return policyMinor, nil
	case rollout.PolicyPatch:
		return policyPatch, nil
	case rollout.PolicyVersionNumber:
		return policyVersionNumber, nil
	}
	return policyNone, specError("disable_auto_update", quote(string(p))+" is not a policy")
}

func (s *Snapshot) compileRollouts(spec *Spec) error {
	s.rollouts = make([]Rollout, len(spec.Rollouts))
	for i := range spec.Rollouts {
		r := &spec.Rollouts[i]
		if i > 0 && r.ID <= spec.Rollouts[i-1].ID {
			return outOfOrder("rollouts", r.ID)
		}
		if err := s.compileRollout(&s.rollouts[i], r); err != nil {
			return within("rollout "+quote(r.ID), err)
		}
	}
	return nil
}

func (s *Snapshot) compileRollout(r *Rollout, spec *RolloutSpec) (err error) {
	r.RolloutSpec = *spec
	if r.candidate = s.Bundle(spec.Bundle); r.candidate == nil {
		return specError("bundle", quote(spec.Bundle)+" does not exist")
	}
	if r.baseline, err = s.bundleOrBuiltin(spec.Baseline); err != nil {
		return within("baseline", err)
	}
	if spec.Phase < 0 || len(spec.Cuts) != spec.Phase+1 {
		return specError("cuts", strconv.Itoa(len(spec.Cuts))+" do not fit phase "+strconv.Itoa(spec.Phase))
	}
	if r.cuts, err = s.compileCuts(spec.Cuts); err != nil {
		return err
	}
	if err := s.compileFollows(r); err != nil {
		return err
	}
	channel := s.ChannelByName(spec.Channel)
	switch {
	case channel == nil:
		return specError("channel", quote(spec.Channel)+" does not exist")
	case channel.rollout != nil:
		return specError("channel", quote(spec.Channel)+" has another live rollout")
	}
	channel.rollout = r
	return nil
}

func (s *Snapshot) compileFollows(r *Rollout) (err error) {
	total := len(r.Cuts)
	r.follows = make([]audience, len(r.Follows))
	for i := range r.Follows {
		if total += 1 + len(r.Follows[i].Cuts); total > maxCuts {
			return specError("follows", "more than "+strconv.Itoa(maxCuts)+" cuts")
		}
		r.follows[i].salt = r.Follows[i].Salt
		if r.follows[i].cuts, err = s.compileCuts(r.Follows[i].Cuts); err != nil {
			return within("follows", err)
		}
	}
	return nil
}

func (s *Snapshot) compileCuts(specs []rollout.Cut) ([]cut, error) {
	if len(specs) > maxCuts {
		return nil, specError("cuts", "more than "+strconv.Itoa(maxCuts))
	}
	cuts := make([]cut, len(specs))
	for i := range specs {
		if specs[i].Percent < 0 || specs[i].Percent > rollout.Everyone {
			return nil, specError("cuts", "percent is outside 0 to 100")
		}
		cuts[i].below = uint32(specs[i].Percent)
		for _, name := range specs[i].Segments {
			g := find(s.segments, name, func(g *segment) string { return g.name })
			if g == nil {
				return nil, specError("cuts", "segment "+quote(name)+" does not exist")
			}
			cuts[i].segments = append(cuts[i].segments, g)
		}
	}
	return cuts, nil
}
