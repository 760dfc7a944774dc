package rollout

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestStateValidate(t *testing.T) {
	const device = "00009a6b-eefe-490a-9c60-8e965132ae51"
	live := Rollout{
		ID: "R1", Channel: "beta", Bundle: "1.1.0", Baseline: "1.0.0", State: Running,
		Plan:    Plan{Phases: []Phase{{Percent: 1, Segments: []string{"internal"}}}},
		Follows: []Audience{{Cuts: []Cut{{Percent: 1, Segments: []string{"internal"}}}}},
	}
	cases := []struct {
		name   string
		change func(*State)
		want   []string
	}{
		{"empty", func(s *State) { *s = State{} }, nil},
		{"whole", func(s *State) {
			s.Rollouts = map[string]Rollout{"R1": live}
			s.Devices = map[string]Device{device: {DeviceID: device, Channel: "beta"}}
			s.Plans = map[string]Plan{"ours": {Name: "ours", Phases: live.Plan.Phases}}
		}, nil},
		{"rollout from the store build", func(s *State) {
			r := live
			r.Baseline = ""
			s.Rollouts = map[string]Rollout{"R1": r}
		}, nil},
		{"channel without its bundle", func(s *State) { delete(s.Bundles, "1.0.0") }, []string{"unknown_bundle channels[production].bundle"}},
		{"kept bundle gone", func(s *State) {
			c := s.Channels["beta"]
			c.Kept = []string{"1.0.0", "0.1.0"}
			s.Channels["beta"] = c
		}, []string{"unknown_bundle channels[beta].kept[1]"}},
		{"device without its channel", func(s *State) {
			s.Devices = map[string]Device{device: {DeviceID: device, Channel: "gone"}, "x": {DeviceID: "x"}}
		}, []string{"unknown_channel devices[" + device + "].channel"}},
		{"plan without its segment", func(s *State) {
			s.Plans = map[string]Plan{"ours": {Name: "ours", Phases: []Phase{{Percent: 1}, {Percent: 1, Segments: []string{"internal", "gone"}}}}}
		}, []string{"unknown_segment plans[ours].phases[1].segments[1]"}},
		{"plan with a built-in name", func(s *State) {
			s.Plans = map[string]Plan{"instant": {Name: "instant", Phases: []Phase{{Percent: 1}}}}
		}, []string{"reserved_name plans[instant].name"}},
		{"live rollout without anything", func(s *State) {
			s.Rollouts = map[string]Rollout{"R1": live}
			s.Bundles, s.Channels, s.Segments = nil, nil, nil
		}, []string{
			"unknown_channel rollouts[R1].channel", "unknown_bundle rollouts[R1].bundle", "unknown_bundle rollouts[R1].baseline",
			"unknown_segment rollouts[R1].plan.phases[0].segments[0]", "unknown_segment rollouts[R1].follows[0].cuts[0].segments[0]",
		}},
		{"live rollout of the store build", func(s *State) {
			r := live
			r.Bundle = ""
			s.Rollouts = map[string]Rollout{"R1": r}
		}, []string{"unknown_bundle rollouts[R1].bundle"}},
		{"ended rollout without anything", func(s *State) {
			r := live
			r.State, r.Channel, r.Bundle = Completed, "gone", "gone"
			s.Rollouts = map[string]Rollout{"R1": r}
		}, nil},
		{"two live rollouts", func(s *State) {
			second := live
			second.ID, second.State = "R2", Scheduled
			s.Rollouts = map[string]Rollout{"R1": live, "R2": second}
		}, []string{"live_rollout_exists rollouts[R2].channel"}},
		{"two public channels", func(s *State) {
			c := s.Channels["beta"]
			c.Public = true
			s.Channels["beta"] = c
		}, []string{
			"public_channel_conflict channels[production].ios", "public_channel_conflict channels[production].android",
			"public_channel_conflict channels[production].electron",
		}},
		{"two public channels of one platform", func(s *State) {
			c := s.Channels["beta"]
			c.Public, c.Android, c.Electron = true, false, false
			s.Channels["beta"] = c
		}, []string{"public_channel_conflict channels[production].ios"}},
		{"a public channel per platform", func(s *State) {
			beta, production := s.Channels["beta"], s.Channels["production"]
			beta.Public, beta.Android, beta.Electron, production.IOS = true, false, false, false
			s.Channels["beta"], s.Channels["production"] = beta, production
		}, nil},
		{"filed under another name", func(s *State) { s.Segments["testers"] = Segment{Name: "internal"} }, []string{"name_mismatch segments[testers]"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := shop()
			c.change(&s)
			if got := faults(s.Validate()); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWithBundle(t *testing.T) {
	s := shop()
	added, err := s.WithBundle(Bundle{Version: "2.0.0", Served: true})
	if err != nil || added.Bundles["2.0.0"].Served || len(added.Bundles) != 4 || len(s.Bundles) != 3 {
		t.Errorf("added %+v to %+v: %v", added.Bundles, s.Bundles, err)
	}
	if _, err := s.WithBundle(Bundle{Version: "2"}); CodeOf(err) != CodeInvalidSemver {
		t.Errorf("invalid bundle: %v", err)
	}
	replaced, err := s.WithBundle(Bundle{Version: "1.1.0", Comment: "better"})
	if err != nil || replaced.Bundles["1.1.0"].Comment != "better" {
		t.Errorf("replaced an unserved one: %v", err)
	}
	same, err := s.WithBundle(Bundle{Version: "1.0.0"})
	if err != nil || !same.Bundles["1.0.0"].Served {
		t.Errorf("the same again: %+v, %v", same.Bundles["1.0.0"], err)
	}
	if _, err := s.WithBundle(Bundle{Version: "1.0.0", URL: "https://example.com/b.zip"}); CodeOf(err) != CodeBundleImmutable {
		t.Errorf("changed a served one: %v", err)
	}
}

// TestSameContentSeesEveryField sets each field of Bundle in turn, so that a field added later cannot be forgotten.
func TestSameContentSeesEveryField(t *testing.T) {
	fields := reflect.TypeFor[Bundle]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		var changed Bundle
		switch field := reflect.ValueOf(&changed).Elem().Field(i); field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		default:
			t.Fatalf("field %s of a kind this test does not know", name)
		}
		if same := changed.SameContent(Bundle{}); same != (name == "Served") {
			t.Errorf("a bundle that differs in %s: same content is %v", name, same)
		}
		if same := changed.fingerprint() == (Bundle{}).fingerprint(); same != (name == "Served") {
			t.Errorf("a bundle that differs in %s: same fingerprint is %v", name, same)
		}
	}
	if !(Bundle{Manifest: []ManifestFile{}}).SameContent(Bundle{}) {
		t.Error("an empty manifest is not the same as none")
	}
	if (Bundle{Manifest: []ManifestFile{}}).fingerprint() != (Bundle{}).fingerprint() {
		t.Error("an empty manifest has another fingerprint than none")
	}
	// Stored fingerprints must be recognised by every later version.
	if got := (Bundle{Version: "1.0.0", URL: "https://example.com/b.zip"}).fingerprint(); got != "952ed8fd881a642db51555057912fa88" {
		t.Errorf("fingerprint %s", got)
	}
}

func TestRemovedBundlesComeBackAsTheyWere(t *testing.T) {
	s := shop()
	served, unserved := s.Bundles["1.0.0"], s.Bundles["1.1.0"]
	left := s.WithoutBundles("1.0.0", "1.1.0", "9.9.9")
	if len(left.Bundles) != 1 || len(left.Retired) != 1 || len(s.Bundles) != 3 || len(s.Retired) != 0 {
		t.Fatalf("left %+v, retired %+v of %+v", left.Bundles, left.Retired, s.Bundles)
	}
	other := served
	other.Comment = "other words"
	if _, err := left.WithBundle(other); CodeOf(err) != CodeBundleImmutable {
		t.Errorf("a served bundle came back with other content: %v", err)
	}
	unserved.Comment = "other words"
	if back, err := left.WithBundle(unserved); err != nil || back.Bundles["1.1.0"].Served {
		t.Errorf("one that was never served: %+v, %v", back.Bundles["1.1.0"], err)
	}
	served.Served = false
	back, err := left.WithBundle(served)
	if err != nil || !back.Bundles["1.0.0"].Served {
		t.Fatalf("the same content: %+v, %v", back.Bundles["1.0.0"], err)
	}
	if again := back.WithoutBundles("1.0.0"); len(again.Retired) != 1 {
		t.Errorf("removed twice, it is remembered as %+v", again.Retired)
	}
}

func TestRetiredBundlesAreBounded(t *testing.T) {
	s := State{Bundles: map[string]Bundle{}}
	var versions []string
	for i := range MaxRetired + 2 {
		v := "1.0." + strconv.Itoa(i)
		versions = append(versions, v)
		s.Bundles[v] = Bundle{Version: v, Served: true}
	}
	s = s.WithoutBundles(versions...)
	if len(s.Retired) != MaxRetired || s.Retired[0].Version != versions[2] {
		t.Errorf("%d are remembered, from %+v", len(s.Retired), s.Retired[0])
	}
}

func TestWithChannel(t *testing.T) {
	s := shop()
	production := s.Channels["production"]
	production.Number, production.Kept = 4, []string{"1.1.0"}
	s.Channels["production"] = production

	gamma := NewChannel("gamma")
	gamma.Bundle, gamma.Number, gamma.Kept = "1.2.0", 77, []string{"1.0.0"}
	added, err := s.WithChannel(gamma)
	if got := added.Channels["gamma"]; err != nil || got.Number != 5 || got.Kept != nil || !added.Bundles["1.2.0"].Served {
		t.Errorf("added %+v: %v", got, err)
	}
	if len(s.Channels) != 2 || s.Bundles["1.2.0"].Served {
		t.Error("the input was changed")
	}
	same := NewChannel("production")
	same.Bundle = "1.0.0"
	kept, err := s.WithChannel(same)
	if got := kept.Channels["production"]; err != nil || got.Number != 4 || !slices.Equal(got.Kept, []string{"1.1.0"}) || got.Public {
		t.Errorf("same bundle: %+v, %v", got, err)
	}
	moved, err := s.WithChannel(NewChannel("production"))
	if got := moved.Channels["production"]; err != nil || got.Number != 4 || got.Kept != nil || got.Bundle != "" {
		t.Errorf("another bundle: %+v, %v", got, err)
	}
	gamma.Bundle = "9.0.0"
	if _, err := s.WithChannel(gamma); CodeOf(err) != CodeUnknownBundle {
		t.Errorf("unknown bundle: %v", err)
	}
	if _, err := s.WithChannel(Channel{Name: "gamma"}); CodeOf(err) != CodeInvalidPolicy {
		t.Errorf("invalid channel: %v", err)
	}
	busy := started(t, s, startRequest("R1", "1.1.0", twoPhases()))
	if _, err := busy.WithChannel(same); err != nil {
		t.Errorf("same bundle during a rollout: %v", err)
	}
	if _, err := busy.WithChannel(NewChannel("production")); CodeOf(err) != CodeLiveRolloutExists || !strings.Contains(err.Error(), "R1") {
		t.Errorf("another bundle during a rollout: %v", err)
	}
	store := NewChannel("beta")
	store.Bundle = Builtin
	onBeta := startRequest("R2", "1.1.0", twoPhases())
	onBeta.Channel = "beta"
	if _, err := started(t, s, onBeta).WithChannel(store); err != nil {
		t.Errorf("the store build by its other name during a rollout: %v", err)
	}
}
