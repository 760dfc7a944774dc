package resolve

import (
	"strconv"

	"github.com/palier-ota/palier/internal/rollout"
)

// Random apps and devices, drawn from pools small enough that everything meets everything.

var (
	poolVersions = []string{"0.9.0", "1.0.0-beta.1", "1.0.0", "1.0.7", "1.1.0", "1.2.0-rc.1", "1.2.0-rc.10", "1.2.0", "2.0.0"}
	poolNatives  = []string{"0.9.0", "1.0.0", "1.0.0", "1.1.0", "1.2.0", "2.0.0-alpha", "2.1.0"}
	poolPlugins  = []string{
		"4.61.11", "5.9.5", "5.10.0", "6.1.0", "6.2.0", "6.24.9", "6.25.0", "7.0.34", "7.0.35", "8.0.0-rc.1", "8.40.7", "8.41.0",
		"8.51.23", "8.51.23", "9.0.0", "10.0.0",
	}
	poolChannels = []string{"alpha", "beta", "production", "staging"}
	poolCustom   = []string{"", "ann", "bob", "tester"}
	poolSources  = []string{"", "google_play", "testflight"}
	poolPercents = []rollout.Percent{0, 1, 50_000_000, 200_000_000, 333_333_333, 500_000_000, 999_999_999, rollout.Everyone}
	poolDevices  = deviceIDs(32)
)

func randomState(x *splitMix) rollout.State {
	s := rollout.State{
		App: rollout.App{ID: "com.example.random", AllowDeviceCustomID: true}, Bundles: map[string]rollout.Bundle{}, Channels: map[string]rollout.Channel{},
		Segments: map[string]rollout.Segment{}, Rollouts: map[string]rollout.Rollout{},
	}
	for _, version := range poolVersions {
		s.Bundles[version] = randomBundle(x, version)
	}
	for i := range 3 {
		g := randomSegment(x, "s"+strconv.Itoa(i))
		s.Segments[g.Name] = g
	}
	for i, name := range poolChannels {
		if x.chance(70) {
			c := randomChannel(x, name)
			c.Number = int64(i + 1)
			s.Channels[name] = c
			if x.chance(60) {
				r := randomRollout(x, c)
				s.Rollouts[r.ID] = r
			}
		}
	}
	return s
}

func randomBundle(x *splitMix, version string) rollout.Bundle {
	b := zip(version)
	switch x.below(12) {
	case 0:
		b.URL = ""
	case 1:
		b.URL = "ftp://cdn.example.com/b.zip"
	case 2:
		b.URL = "HTTPS://CDN.example.com/b.zip"
	}
	if x.chance(25) {
		b.Manifest = []rollout.ManifestFile{{FileName: "index.html", FileHash: "00", DownloadURL: "https://cdn.example.com/f"}}
	}
	if x.chance(20) {
		b.KeyID = pick(x, "MIIBCgKCAQEAaaaaaaaa", "MIIBCgKCAQEAbbbbbbbb")
	}
	if x.chance(60) {
		b.MinUpdateVersion = pick(x, "0.1.0", "1.0.0", "1.1.0")
	}
	b.RequiresConsent = x.chance(20)
	return b
}

func randomSegment(x *splitMix, name string) rollout.Segment {
	g := rollout.Segment{Name: name}
	for range x.below(4) {
		g.DeviceIDs = append(g.DeviceIDs, pick(x, poolDevices...))
	}
	if x.chance(30) {
		g.CustomIDs = []string{pick(x, poolCustom[1:]...)}
	}
	if x.chance(70) {
		g.When = &rollout.Rule{}
		randomRule(x, g.When)
	}
	return g
}

func randomRule(x *splitMix, r *rollout.Rule) {
	yes, no := true, false
	if x.chance(30) {
		r.Platform = []string{pick(x, "ios", "android", "electron"), "ios"}
	}
	if x.chance(30) {
		r.VersionOS = pick(x, "=17", ">17.4", "<2")
	}
	if x.chance(20) {
		r.VersionBuild = pick(x, ">=1.1.0", "<2", "!=1.2.0-rc.1")
	}
	if x.chance(20) {
		r.VersionName = pick(x, ">=1.1.0", "<= 1.2.0-rc.1")
	}
	if x.chance(20) {
		r.PluginVersion = ">=8.0.0,<9"
	}
	if x.chance(10) {
		r.IsProd = pick(x, &yes, &no)
	}
	if x.chance(10) {
		r.IsEmulator = pick(x, &yes, &no)
	}
	if x.chance(10) {
		r.InstallSource = []string{"google_play"}
	}
}

func randomChannel(x *splitMix, name string) rollout.Channel {
	c := rollout.Channel{
		Name: name, Bundle: pick(x, append(poolVersions, "", rollout.Builtin)...), Public: x.chance(60),
		IOS: x.chance(85), Android: x.chance(85), Electron: x.chance(85), AllowDeviceSelfSet: x.chance(40),
		AllowDev: x.chance(85), AllowProd: x.chance(92), AllowEmulator: x.chance(85), AllowDevice: x.chance(92),
		DisableAutoUpdate: pick(x, rollout.PolicyMajor, rollout.PolicyMinor, rollout.PolicyPatch, rollout.PolicyVersionNumber,
			rollout.PolicyNone, rollout.PolicyNone, rollout.PolicyNone),
		DisableAutoUpdateUnderNative: x.chance(30),
	}
	for range x.below(3) {
		c.Kept = append(c.Kept, pick(x, poolVersions...))
	}
	return c
}

func randomRollout(x *splitMix, c rollout.Channel) rollout.Rollout {
	r := rollout.Rollout{
		ID: "r-" + c.Name, Channel: c.Name, Bundle: pick(x, poolVersions...), Baseline: c.Bundle,
		State: pick(x, rollout.Running, rollout.Running, rollout.Running, rollout.Paused, rollout.Scheduled, rollout.Halted),
		Salt:  rollout.Salt{byte(x.next()), byte(x.next())},
	}
	if x.chance(20) {
		r.Plan.Holdback = rollout.OnePercent
	}
	for range 1 + x.below(4) {
		r.Plan.Phases = append(r.Plan.Phases, rollout.Phase{Percent: pick(x, poolPercents...), Segments: randomNames(x)})
	}
	r.Phase = x.below(len(r.Plan.Phases))
	for range x.below(3) {
		r.Follows = append(r.Follows, rollout.Audience{
			Salt: rollout.Salt{byte(x.next())}, Cuts: []rollout.Cut{{Percent: pick(x, poolPercents[:5]...), Segments: randomNames(x)}},
		})
	}
	return r
}

func randomNames(x *splitMix) []string {
	var names []string
	if x.chance(40) {
		for range 1 + x.below(2) {
			names = append(names, "s"+strconv.Itoa(x.below(3)))
		}
	}
	return names
}

func randomCheck(x *splitMix, s rollout.State) Check {
	c := Check{
		AppID: s.App.ID, DeviceID: pick(x, poolDevices...), CustomID: pick(x, poolCustom...),
		Platform: pick(x, Android, IOS, Electron), VersionBuild: pick(x, poolNatives...),
		VersionName: pick(x, append(poolVersions, "7.7.7", "unknown")...), VersionOS: pick(x, "13", "17", "17.4.1", "17.5", "1.0.0", ""),
		PluginVersion: pick(x, poolPlugins...), InstallSource: pick(x, poolSources...), IsProd: x.chance(80), IsEmulator: x.chance(15),
	}
	if x.chance(30) {
		c.DefaultChannel = pick(x, append(poolChannels, "nowhere")...)
	}
	if x.chance(40) {
		c.KeyID = pick(x, "MIIBCgKCAQEAaaaaaaaa", "MIIBCgKCAQEAbbbbbbbb")
	}
	if x.chance(15) {
		c.RunsBuiltin, c.VersionName = true, c.VersionBuild
	}
	c.Native, _ = ParseVersion(c.VersionBuild)
	c.Plugin, _ = ParseVersion(c.PluginVersion)
	return c
}

func randomFacts(x *splitMix, s rollout.State) Facts {
	var f Facts
	if x.chance(20) {
		f.Channel, f.SetBy = pick(x, append(poolChannels, "nowhere")...), "operator"
	}
	for range x.below(4) {
		f.Failed = append(f.Failed, pick(x, poolVersions...))
	}
	for range x.below(4) {
		f.Consented = append(f.Consented, pick(x, poolVersions...))
	}
	return f
}
