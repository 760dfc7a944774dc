package resolve

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// reference decides straight from the operator's state, slowly and by the letter: no compiled form, no hashed members,
// another semver library, big-number positions. It shares nothing with the package but the types.
type reference struct{ state rollout.State }

// verdict is what both sides must agree on.
type verdict struct {
	Reason    Reason
	Kind      Kind
	Bundle    string // "" for none and for the store build
	Channel   string
	Rollout   string
	Arm       rollout.Arm
	Phase     int
	Admitted  bool
	Candidate bool
	Source    Source
}

func verdictOf(d Decision) verdict {
	v := verdict{
		Reason: d.Reason, Kind: d.Kind, Source: d.Source, Arm: d.Arm, Phase: d.Phase, Admitted: d.Admitted, Candidate: d.Candidate,
	}
	if d.Bundle != nil {
		v.Bundle = d.Bundle.Version
	}
	if d.Channel != nil {
		v.Channel = d.Channel.Name
	}
	if d.Rollout != nil {
		v.Rollout = d.Rollout.ID
	}
	return v
}

func (ref reference) decide(c Check, f Facts) verdict {
	if strings.HasPrefix(c.PluginVersion, "4.") { // row 10
		return verdict{Reason: UnsupportedPlugin, Kind: Failed}
	}
	ch, source := ref.channel(c, f)
	if source == SourceNone { // row 12
		return verdict{Reason: NoChannel, Kind: Failed}
	}
	v := verdict{Channel: ch.Name, Source: source}
	target := ref.stable(ch)
	if slices.Contains(ch.Kept, c.VersionName) {
		target = c.VersionName
		v.Candidate = target != ref.stable(ch)
	}
	fallback := target
	if r, ok := ref.live(ch); ok {
		v.Rollout, v.Phase = r.ID, r.Phase
		v.Admitted, v.Arm = ref.assign(r, c)
		if r.State == rollout.Running && v.Admitted || r.State == rollout.Paused && c.VersionName == r.Bundle {
			target, v.Candidate = r.Bundle, true
		}
	}
	v.Bundle = target
	v.Reason, v.Kind = ref.rows(ch, source, c, target)
	if v.Kind != KindNone || target == "" {
		return v
	}
	bar := ref.bar(f, target)
	if bar == ReasonNone {
		return v
	}
	if reason, kind := ref.rows(ch, source, c, fallback); fallback != target && kind == KindNone && ref.bar(f, fallback) == ReasonNone {
		v.Reason, v.Bundle, v.Candidate = reason, fallback, false
		return v
	}
	v.Reason, v.Kind = bar, Blocked
	return v
}

func (ref reference) stable(ch rollout.Channel) string {
	if ch.Bundle == rollout.Builtin {
		return ""
	}
	return ch.Bundle
}

func (ref reference) live(ch rollout.Channel) (rollout.Rollout, bool) {
	for _, r := range ref.state.Rollouts {
		if r.Channel == ch.Name && (r.State == rollout.Running || r.State == rollout.Paused) {
			return r, true
		}
	}
	return rollout.Rollout{}, false
}

func (ref reference) bar(f Facts, version string) Reason {
	if version == "" {
		return ReasonNone
	}
	if slices.Contains(f.Failed, version) {
		return BundleFailedOnDevice
	}
	if ref.state.Bundles[version].RequiresConsent && !slices.Contains(f.Consented, version) {
		return ConsentRequired
	}
	return ReasonNone
}

func enabled(ch rollout.Channel, p Platform) bool {
	return p == Android && ch.Android || p == IOS && ch.IOS || p == Electron && ch.Electron
}

func (ref reference) channel(c Check, f Facts) (rollout.Channel, Source) {
	if own, ok := ref.state.Channels[f.Channel]; ok {
		return own, SourceOwn
	}
	if c.DefaultChannel != "" {
		ch, ok := ref.state.Channels[c.DefaultChannel]
		if ok && enabled(ch, c.Platform) && (ch.Public || ch.AllowDeviceSelfSet) {
			return ch, SourceDefault
		}
		return rollout.Channel{}, SourceNone
	}
	var names []string
	for name, ch := range ref.state.Channels {
		if ch.Public && enabled(ch, c.Platform) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return rollout.Channel{}, SourceNone
	}
	return ref.state.Channels[slices.Min(names)], SourcePublic
}

// rows are the rows 14 to 33 of Capgo's order, with Palier's differences.
func (ref reference) rows(ch rollout.Channel, source Source, c Check, version string) (Reason, Kind) {
	b := ref.state.Bundles[version]
	builtin := version == ""
	plugin, native := semver.MustParse(c.PluginVersion), semver.MustParse(c.VersionBuild)
	bundle := native // no policy can refuse the store build
	if !builtin {
		bundle = semver.MustParse(version)
	}
	zipped := strings.HasPrefix(strings.ToLower(b.URL), "http://") || strings.HasPrefix(strings.ToLower(b.URL), "https://")
	policy := ch.DisableAutoUpdate
	switch {
	case !builtin && b.URL == "" && len(b.Manifest) == 0:
		return NoBundle, Failed // 14
	case !builtin && !zipped && len(b.Manifest) > 0 && !refSupportsManifest(plugin):
		return NoBundle, Blocked // difference 4
	case !builtin && b.KeyID != "" && c.KeyID != "" && b.KeyID != c.KeyID && plugin.GreaterThan(semver.MustParse("8.40.7")):
		return KeyIDMismatch, Blocked // 15
	case !builtin && version == c.VersionName:
		return NoNewVersion, UpToDate // 16
	case !enabled(ch, c.Platform):
		return DisabledPlatform, Blocked // 17
	case policy == rollout.PolicyMajor && bundle.Major() > native.Major():
		return DisableMajor, Blocked // 18
	case !ch.Public && !ch.AllowDeviceSelfSet && source != SourceOwn:
		return PrivateChannel, Blocked // 19
	case policy == rollout.PolicyMinor && (bundle.Major() != native.Major() || bundle.Minor() != native.Minor()):
		return DisableMinor, Blocked // 20
	case policy == rollout.PolicyPatch && (bundle.Major() != native.Major() || bundle.Minor() != native.Minor() || bundle.Patch() != native.Patch()):
		return DisablePatch, Blocked // 21
	case !builtin && policy == rollout.PolicyVersionNumber && b.MinUpdateVersion == "":
		return MisconfiguredChannel, Failed // 22
	case !builtin && policy == rollout.PolicyVersionNumber && semver.MustParse(b.MinUpdateVersion).GreaterThan(native):
		return DisableMetadata, Blocked // 23
	case ch.DisableAutoUpdateUnderNative && bundle.LessThan(native):
		return DisableUnderNative, Blocked // 24
	case !ch.AllowProd && c.IsProd:
		return DisableProd, Blocked // 25
	case !ch.AllowDev && !c.IsProd:
		return DisableDev, Blocked // 26
	case !ch.AllowDevice && !c.IsEmulator:
		return DisableDevice, Blocked // 27
	case !ch.AllowEmulator && c.IsEmulator:
		return DisableEmulator, Blocked // 28
	case builtin && (plugin.LessThan(semver.MustParse("6.2.0")) || plugin.Major() >= 9):
		return BuiltinPluginTooOld, Failed // 30
	case builtin && (c.RunsBuiltin || c.VersionName == c.VersionBuild):
		return AlreadyOnBuiltin, UpToDate // 29
	case builtin:
		return OfferBuiltin, KindNone // difference 3
	case !zipped && len(b.Manifest) == 0:
		return NoBundleURL, Failed // 31
	}
	return Offer, KindNone // 32
}

func refSupportsManifest(plugin *semver.Version) bool {
	least := map[uint64]string{5: "5.10.0", 6: "6.25.0", 7: "7.0.35", 8: "8.0.0-0"}[plugin.Major()]
	return least != "" && !plugin.LessThan(semver.MustParse(least))
}

// refPosition is hi32(XXH64(salt ‖ id)) · 10⁹ >> 32, in big numbers.
func refPosition(salt rollout.Salt, id string) int64 {
	h := xxhash.New()
	_, _ = h.Write(append(salt[:], id...))
	n := new(big.Int).SetUint64(h.Sum64())
	n.Rsh(n, 32)
	n.Mul(n, big.NewInt(1_000_000_000))
	return n.Rsh(n, 32).Int64()
}

func (ref reference) assign(r rollout.Rollout, c Check) (admitted bool, arm rollout.Arm) {
	at := refPosition(r.Salt, c.DeviceID)
	cuts := rollout.Cuts(r.Plan, r.Phase)
	now := cuts[r.Phase]
	compared := ref.inAny(now.Segments, c, r.Bundle) && c.IsProd && !c.IsEmulator && now.Percent > 0
	for _, k := range cuts {
		if !ref.inAny(k.Segments, c, r.Bundle) {
			continue
		}
		admitted = admitted || at < int64(k.Percent)
		compared = compared && k.Percent <= now.Percent
	}
	for _, old := range r.Follows {
		for _, k := range old.Cuts {
			if ref.inAny(k.Segments, c, r.Bundle) && refPosition(old.Salt, c.DeviceID) < int64(k.Percent) {
				admitted, compared = true, false
			}
		}
	}
	switch {
	case !compared:
		return admitted, rollout.ArmNone
	case at < int64(now.Percent):
		return admitted, rollout.ArmCandidate
	}
	return admitted, rollout.ArmControl
}

func (ref reference) inAny(segments []string, c Check, candidate string) bool {
	for _, name := range segments {
		g := ref.state.Segments[name]
		for _, id := range g.DeviceIDs {
			if strings.ToLower(id) == c.DeviceID {
				return true
			}
		}
		if slices.Contains(g.CustomIDs, c.CustomID) || g.When != nil && refMatch(*g.When, c, candidate) {
			return true
		}
	}
	return len(segments) == 0
}

// refConditions are the version conditions that random and golden rules use, each with its meaning written out by hand.
var refConditions = map[string]func(v *semver.Version) bool{
	"":              func(*semver.Version) bool { return true },
	">=1.1.0":       func(v *semver.Version) bool { return !v.LessThan(semver.MustParse("1.1.0")) },
	"<2":            func(v *semver.Version) bool { return v.Major() < 2 },
	">=8.0.0,<9":    func(v *semver.Version) bool { return !v.LessThan(semver.MustParse("8.0.0")) && v.Major() < 9 },
	"=17":           func(v *semver.Version) bool { return v.Major() == 17 },
	">17.4":         func(v *semver.Version) bool { return v.Major() > 17 || v.Major() == 17 && v.Minor() > 4 },
	"!=1.2.0-rc.1":  func(v *semver.Version) bool { return !v.Equal(semver.MustParse("1.2.0-rc.1")) },
	">=17,<18":      func(v *semver.Version) bool { return v.Major() == 17 },
	">=1.5.0":       func(v *semver.Version) bool { return !v.LessThan(semver.MustParse("1.5.0")) },
	"<1.0.0":        func(v *semver.Version) bool { return v.LessThan(semver.MustParse("1.0.0")) },
	"<= 1.2.0-rc.1": func(v *semver.Version) bool { return !v.GreaterThan(semver.MustParse("1.2.0-rc.1")) },
}

func refMatch(r rollout.Rule, c Check, candidate string) bool {
	if empty, _ := json.Marshal(r); string(empty) == "{}" {
		return false
	}
	holds := func(condition, version string) bool {
		v, err := semver.NewVersion(version)
		return condition == "" || err == nil && refConditions[condition](v)
	}
	return (len(r.Platform) == 0 || slices.Contains(r.Platform, c.Platform.String())) &&
		holds(r.VersionOS, c.VersionOS) && holds(r.VersionBuild, c.VersionBuild) && holds(r.PluginVersion, c.PluginVersion) &&
		(c.VersionName == candidate || holds(r.VersionName, c.VersionName)) &&
		(r.IsProd == nil || *r.IsProd == c.IsProd) && (r.IsEmulator == nil || *r.IsEmulator == c.IsEmulator) &&
		(len(r.InstallSource) == 0 || slices.Contains(r.InstallSource, c.InstallSource))
}

// TestResolveAgreesWithReference compares both on random apps and random devices, and demands that the random choice
// reached every reason that a device can get.
func TestResolveAgreesWithReference(t *testing.T) {
	apps, checks := 2_000, 100
	if testing.Short() {
		apps = 200
	}
	x := splitMix(2026)
	seen := map[Reason]int{}
	arms := map[rollout.Arm]int{}
	for range apps {
		state := randomState(&x)
		ref, s := reference{state}, mustCompile(t, NewSpec(state))
		for range checks {
			c, f := randomCheck(&x, state), randomFacts(&x, state)
			want, got := ref.decide(c, f), verdictOf(s.Resolve(&c, &f))
			if got != want {
				t.Fatalf("state %s\ncheck %s\nfacts %s\n got %+v\nwant %+v", asJSON(state), asJSON(c), asJSON(f), got, want)
			}
			seen[got.Reason]++
			arms[got.Arm]++
			checkUnknownFacts(t, s, &c, f, got)
		}
	}
	for r := ReasonNone + 1; r < NumReasons; r++ {
		if seen[r] == 0 && r != NeedFacts && r != PrivateChannel { // the first is no answer, the second see TestPrivateChannel
			t.Errorf("no random check came out as %s", r)
		}
	}
	if len(arms) != 3 {
		t.Errorf("arms reached: %v", arms)
	}
	t.Logf("%d decisions: %v %v", apps*checks, seen, arms)
}

// checkUnknownFacts compares the answer without facts with the one with them: the same, or NeedFacts, and NeedFacts only
// where facts can matter.
func checkUnknownFacts(t *testing.T, s *Snapshot, c *Check, f Facts, known verdict) {
	t.Helper()
	d := s.Resolve(c, nil)
	if d.Reason == NeedFacts {
		plain := s.Resolve(c, &Facts{})
		offers := plain.Reason == Offer || plain.Reason == OfferBuiltin || plain.Reason == ConsentRequired
		if !offers && !MayOwn(s.owned, c.DeviceID) {
			t.Fatalf("facts asked for without need: %+v", plain)
		}
		return
	}
	if f.Channel == "" && verdictOf(d) != known {
		t.Fatalf("without facts %+v, with them %+v", verdictOf(d), known)
	}
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
