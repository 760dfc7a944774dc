package resolve

import (
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// testSalt is an arbitrary salt; positions in tests follow from it.
var testSalt = rollout.Salt{0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// otherSalt makes an independent rollout.
var otherSalt = rollout.Salt{42}

func zip(version string) rollout.Bundle {
	return rollout.Bundle{Version: version, URL: "https://cdn.example.com/" + version + ".zip", Checksum: "00c0ffee"}
}

// appState is an app with a public channel that serves 1.0.0 and a private one that serves 1.2.0.
func appState() rollout.State {
	production := rollout.NewChannel("production")
	production.Bundle, production.Public, production.Number = "1.0.0", true, 1
	production.DisableAutoUpdate, production.DisableAutoUpdateUnderNative = rollout.PolicyNone, false
	beta := rollout.NewChannel("beta")
	beta.Bundle, beta.Number = "1.2.0", 2
	s := rollout.State{
		App: rollout.App{ID: "com.example.shop", AllowDeviceCustomID: true}, Revision: 7,
		Bundles: map[string]rollout.Bundle{}, Segments: map[string]rollout.Segment{},
		Channels: map[string]rollout.Channel{"production": production, "beta": beta},
		Rollouts: map[string]rollout.Rollout{},
	}
	for _, version := range []string{"0.9.0", "1.0.0", "1.1.0", "1.2.0", "1.3.0"} {
		s.Bundles[version] = zip(version)
	}
	return s
}

// runningRollout brings 1.1.0 to production and is in the last of the given phases.
func runningRollout(phases ...rollout.Phase) rollout.Rollout {
	return rollout.Rollout{
		ID: "r1", App: "com.example.shop", Channel: "production", Bundle: "1.1.0", Baseline: "1.0.0",
		State: rollout.Running, Salt: testSalt, Plan: rollout.Plan{Phases: phases}, Phase: len(phases) - 1,
	}
}

func withRollout(s rollout.State, r rollout.Rollout) rollout.State {
	s.Rollouts[r.ID] = r
	return s
}

func mustCompile(tb testing.TB, spec Spec) *Snapshot {
	tb.Helper()
	s, err := Compile(spec)
	if err != nil {
		tb.Fatalf("compile: %v", err)
	}
	return s
}

// checkOf is an ordinary production device on native 1.0.0 that runs 0.9.0.
func checkOf(deviceID string) Check {
	c := Check{
		AppID: "com.example.shop", DeviceID: deviceID, Platform: Android, VersionBuild: "1.0.0", VersionName: "0.9.0",
		VersionOS: "14", VersionCode: "1", PluginVersion: "8.51.23", IsProd: true,
	}
	c.Native, _ = ParseVersion(c.VersionBuild)
	c.Plugin, _ = ParseVersion(c.PluginVersion)
	return c
}

// deviceAt returns a device whose position under salt is in [from, to), in percent.
func deviceAt(tb testing.TB, salt rollout.Salt, from, to float64) string {
	tb.Helper()
	x := splitMix(99)
	for range 10_000_000 {
		id := x.uuid()
		if at := float64(Position(salt, id)) / float64(rollout.OnePercent); from <= at && at < to {
			return id
		}
	}
	tb.Fatalf("no device between %g and %g", from, to)
	return ""
}
