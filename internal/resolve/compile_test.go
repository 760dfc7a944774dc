package resolve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// fullState uses every part of a Spec.
func fullState() rollout.State {
	s := appState()
	s.Segments["internal"] = rollout.Segment{
		Name: "internal", DeviceIDs: deviceIDs(5), CustomIDs: []string{"ann", "bob"}, When: &rollout.Rule{VersionOS: ">=17"},
	}
	s.Segments["unused"] = rollout.Segment{Name: "unused", DeviceIDs: deviceIDs(9)}
	s.Devices = map[string]rollout.Device{deviceIDs(1)[0]: {DeviceID: deviceIDs(1)[0], Channel: "beta"}}
	r := runningRollout(rollout.Phase{Percent: rollout.Everyone, Segments: []string{"internal"}}, rollout.Phase{Percent: 50_000_000})
	r.Follows = []rollout.Audience{{Salt: otherSalt, Cuts: []rollout.Cut{{Percent: 10_000_000, Segments: []string{"internal"}}}}}
	beta := s.Channels["beta"]
	beta.Kept = []string{"0.9.0"}
	s.Channels["beta"] = beta
	return withRollout(s, r)
}

func TestCustomIDsCountOnlyWhereDevicesMayHaveThem(t *testing.T) {
	state := fullState()
	state.App.AllowDeviceCustomID = false
	segment := NewSpec(state).Segments[0]
	if len(segment.CustomIDs) != 0 || len(segment.DeviceIDs) == 0 {
		t.Errorf("segment %+v: a device could name itself into it", segment)
	}
}

func TestSpecHoldsWhatDecisionsNeedAndNoIDs(t *testing.T) {
	state := fullState()
	scheduled := runningRollout(rollout.Phase{Percent: 1})
	scheduled.ID, scheduled.Channel, scheduled.Bundle, scheduled.State = "r0", "beta", "1.3.0", rollout.Scheduled
	spec := NewSpec(withRollout(state, scheduled))
	var bundles []string
	for _, b := range spec.Bundles {
		bundles = append(bundles, b.Version)
	}
	if want := []string{"0.9.0", "1.0.0", "1.1.0", "1.2.0"}; !slices.Equal(bundles, want) {
		t.Errorf("bundles %v, want those in use: %v", bundles, want)
	}
	if want := []string{"0.9.0", "1.0.0", "1.1.0", "1.2.0", "1.3.0"}; !slices.Equal(spec.Versions, want) {
		t.Errorf("versions %v, want all: %v", spec.Versions, want)
	}
	if len(spec.Segments) != 1 || len(spec.Segments[0].DeviceIDs) != 5*8 || len(spec.Segments[0].CustomIDs) != 2*8 {
		t.Errorf("segments %+v, want the one in use, hashed", spec.Segments)
	}
	if len(spec.Rollouts) != 1 || spec.Rollouts[0].ID != "r1" {
		t.Errorf("rollouts %+v, want the started one", spec.Rollouts)
	}
	text := asJSON(spec)
	for _, id := range deviceIDs(9) {
		if strings.Contains(text, id) {
			t.Errorf("the snapshot names device %s", id)
		}
	}
	if text != asJSON(NewSpec(withRollout(fullState(), scheduled))) {
		t.Error("the same state gave two texts")
	}
	var back Spec
	if err := json.Unmarshal([]byte(text), &back); err != nil || asJSON(back) != text {
		t.Errorf("the JSON form does not survive a round trip: %v", err)
	}
}

func TestCompileRefusesDamagedSpecs(t *testing.T) {
	for name, damage := range map[string]func(*Spec){
		"channel to unknown bundle":   func(s *Spec) { s.Channels[0].Bundle = "9.9.9" },
		"kept unknown bundle":         func(s *Spec) { s.Channels[0].Kept = []string{"9.9.9"} },
		"channels out of order":       func(s *Spec) { slices.Reverse(s.Channels) },
		"channel twice":               func(s *Spec) { s.Channels[1] = s.Channels[0] },
		"channel without name":        func(s *Spec) { s.Channels[0].Name = "" },
		"channel with a huge name":    func(s *Spec) { s.Channels[0].Name = strings.Repeat("a", maxText+1) },
		"unknown policy":              func(s *Spec) { s.Channels[0].DisableAutoUpdate = "sometimes" },
		"bundle twice":                func(s *Spec) { s.Bundles = append(s.Bundles, s.Bundles[0]) },
		"bundle without semver":       func(s *Spec) { s.Bundles[0].Version = "1.0" },
		"bundle with bad minimum":     func(s *Spec) { s.Bundles[0].MinUpdateVersion = "one" },
		"bundle with a huge URL":      func(s *Spec) { s.Bundles[0].URL = strings.Repeat("a", maxText+1) },
		"versions out of order":       func(s *Spec) { slices.Reverse(s.Versions) },
		"version twice":               func(s *Spec) { s.Versions[1] = s.Versions[0] },
		"rollout of unknown bundle":   func(s *Spec) { s.Rollouts[0].Bundle = "9.9.9" },
		"rollout of the store build":  func(s *Spec) { s.Rollouts[0].Bundle = "" },
		"rollout from unknown bundle": func(s *Spec) { s.Rollouts[0].Baseline = "9.9.9" },
		"rollout on unknown channel":  func(s *Spec) { s.Rollouts[0].Channel = "nowhere" },
		"rollout twice":               func(s *Spec) { s.Rollouts = append(s.Rollouts, s.Rollouts[0]) },
		"two rollouts on a channel": func(s *Spec) {
			second := s.Rollouts[0]
			second.ID = "r2"
			s.Rollouts = append(s.Rollouts, second)
		},
		"no cuts":                    func(s *Spec) { s.Rollouts[0].Cuts = nil },
		"fewer cuts than phases":     func(s *Spec) { s.Rollouts[0].Phase++ },
		"negative phase":             func(s *Spec) { s.Rollouts[0].Phase, s.Rollouts[0].Cuts = -1, nil },
		"negative percent":           func(s *Spec) { s.Rollouts[0].Cuts[0].Percent = -1 },
		"percent above all":          func(s *Spec) { s.Rollouts[0].Cuts[0].Percent = rollout.Everyone + 1 },
		"percent beyond 32 bits":     func(s *Spec) { s.Rollouts[0].Cuts[0].Percent = 1 << 32 },
		"cut of unknown segment":     func(s *Spec) { s.Rollouts[0].Cuts[0].Segments = []string{"nobody"} },
		"too many cuts":              func(s *Spec) { s.Rollouts[0].Cuts, s.Rollouts[0].Phase = make([]rollout.Cut, maxCuts+1), maxCuts },
		"too many followed":          func(s *Spec) { s.Rollouts[0].Follows = make([]rollout.Audience, maxCuts+1) },
		"followed unknown segment":   func(s *Spec) { s.Rollouts[0].Follows[0].Cuts[0].Segments = []string{"nobody"} },
		"followed percent above all": func(s *Spec) { s.Rollouts[0].Follows[0].Cuts[0].Percent = 1 << 40 },
		"segment twice":              func(s *Spec) { s.Segments = append(s.Segments, s.Segments[0]) },
		"cut member":                 func(s *Spec) { s.Segments[0].DeviceIDs = s.Segments[0].DeviceIDs[:13] },
		"members out of order":       func(s *Spec) { ids := s.Segments[0].CustomIDs; s.Segments[0].CustomIDs = append(ids[8:], ids[:8]...) },
		"member twice":               func(s *Spec) { s.Segments[0].CustomIDs = make([]byte, 16) },
		"too many members":           func(s *Spec) { s.Segments[0].DeviceIDs = make([]byte, 8*maxMembers+8) },
		"bad condition":              func(s *Spec) { s.Segments[0].When = &rollout.Rule{VersionOS: "new"} },
		"bad platform":               func(s *Spec) { s.Segments[0].When = &rollout.Rule{Platform: []string{"other"}} },
		"short bitmap":               func(s *Spec) { s.Owned = s.Owned[:100] },
		"too many channels":          func(s *Spec) { s.Channels = make([]ChannelSpec, maxChannels+1) },
		"too many bundles":           func(s *Spec) { s.Bundles = make([]BundleSpec, maxBundles+1) },
	} {
		t.Run(name, func(t *testing.T) {
			spec := NewSpec(fullState())
			mustCompile(t, spec)
			damage(&spec)
			var problem *SpecError
			if s, err := Compile(spec); !errors.As(err, &problem) || s != nil {
				t.Fatalf("got snapshot %v, error %v; want a SpecError", s, err)
			}
			if problem.Where == "" || problem.Problem == "" || len(problem.Error()) > 500 {
				t.Errorf("the error does not help: %q", problem)
			}
		})
	}
}

// FuzzCompile feeds damaged snapshots as text.
func FuzzCompile(f *testing.F) {
	spec := NewSpec(fullState())
	spec.Owned = nil // 11 KB of text in which there is nothing to find
	f.Add(asJSON(spec), "production")
	f.Add(`{"channels":[{"name":"a","disable_auto_update":"none"}],"rollouts":[{"cuts":[{}]}]}`, "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		var spec Spec
		if json.Unmarshal([]byte(text), &spec) == nil {
			compileAndAsk(t, spec, name)
		}
	})
}

// TestDamageNeverPanics replaces, removes and copies random parts of a valid snapshot: an error or a Snapshot that
// answers every platform, never a panic.
func TestDamageNeverPanics(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 1_000
	}
	spec := NewSpec(fullState())
	spec.Owned = nil
	text := []byte(asJSON(spec))
	x := splitMix(31)
	refused, answered := 0, 0
	for range rounds {
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		for range 1 + x.below(3) {
			damage(&x, tree)
		}
		var damaged Spec
		if json.Unmarshal([]byte(asJSON(tree)), &damaged) != nil {
			continue
		}
		if compileAndAsk(t, damaged, "beta") {
			answered++
		} else {
			refused++
		}
	}
	if refused < rounds/20 || answered < rounds/20 {
		t.Errorf("of %d rounds %d were refused and %d answered: the damage is not varied enough", rounds, refused, answered)
	}
}

// damage changes one random place of a JSON tree.
func damage(x *splitMix, tree any) {
	odd := []any{nil, "", "1.1.0", "beta", "r1", "internal", "AAAAAAAAAAA=", -1.0, 0.0, 100.0, []any{}, map[string]any{}, true}
	for {
		switch node := tree.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(node))
			if len(keys) == 0 {
				return
			}
			key := pick(x, keys...)
			if tree = node[key]; x.chance(30) {
				node[key] = pick(x, odd...)
				return
			}
		case []any:
			if len(node) == 0 {
				return
			}
			i := x.below(len(node))
			if tree = node[i]; x.chance(30) {
				node[i] = pick(x, append(odd, node[x.below(len(node))])...)
				return
			}
		default:
			return
		}
	}
}

// compileAndAsk reports whether the Spec could be compiled; then every kind of question must have an answer.
func compileAndAsk(t *testing.T, spec Spec, name string) bool {
	t.Helper()
	s, err := Compile(spec)
	if err != nil {
		return false
	}
	c := checkOf(deviceIDs(1)[0])
	c.DefaultChannel = name
	for p := PlatformOther; p <= Electron+1; p++ {
		c.Platform = p
		for _, facts := range []*Facts{nil, {}, {Channel: name, Failed: []string{c.VersionName}}} {
			if d := s.Resolve(&c, facts); d.Reason == ReasonNone {
				t.Fatalf("no reason for %+v", c)
			}
			s.Standing(&c, facts)
		}
		s.Explain(&c, &Facts{Channel: name})
	}
	return true
}

// TestSnapshotPrintsNoSecrets: a snapshot in a log line must not give its salts away.
func TestSnapshotPrintsNoSecrets(t *testing.T) {
	s := mustCompile(t, NewSpec(fullState()))
	for _, format := range []string{"%v", "%+v", "%s"} {
		if got := fmt.Sprintf(format, s); got != "com.example.shop at revision 7" {
			t.Errorf("%s prints %.200s", format, got)
		}
	}
}

func TestLookups(t *testing.T) {
	s := mustCompile(t, NewSpec(fullState()))
	if s.App() != "com.example.shop" || s.Revision() != 7 || s.ExposeMetadata() || !s.AllowDeviceCustomID() {
		t.Errorf("app %s, revision %d", s.App(), s.Revision())
	}
	for _, want := range []string{"beta", "production"} {
		if c := s.ChannelByName(want); c == nil || c.Name != want {
			t.Errorf("channel %s: %v", want, c)
		}
	}
	for _, missing := range []string{"", "a", "m", "z"} {
		if s.ChannelByName(missing) != nil || s.Rollout(missing) != nil || s.Bundle(missing) != nil || s.HasVersion(missing) {
			t.Errorf("something is named %q", missing)
		}
	}
	if len(s.Channels()) != 2 || len(s.Bundles()) != 4 || len(s.Rollouts()) != 1 {
		t.Errorf("%d channels, %d bundles, %d rollouts", len(s.Channels()), len(s.Bundles()), len(s.Rollouts()))
	}
	production := s.ChannelByName("production")
	if production.Live() != s.Rollout("r1") || production.Live().Candidate() != s.Bundle("1.1.0") || production.Stable() != s.Bundle("1.0.0") {
		t.Error("the channel's rollout or bundle is another one")
	}
	for p, want := range map[Platform]*Channel{Android: production, IOS: production, Electron: production, PlatformOther: nil, 200: nil} {
		if s.PublicChannel(p) != want || production.On(p) != (want != nil) {
			t.Errorf("public channel of %s: %v", p, s.PublicChannel(p))
		}
	}
}

func TestFetchable(t *testing.T) {
	for url, want := range map[string]bool{
		"https://a": true, "http://a": true, "HTTPS://A": true, "HtTp://a": true,
		"": false, "https://": false, "ftp://a": false, "https:/a": false, "//a": false, "javascript:http://a": false, " https://a": false,
	} {
		if fetchable(url) != want {
			t.Errorf("%q: want %v", url, want)
		}
	}
}
