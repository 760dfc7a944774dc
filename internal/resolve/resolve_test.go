package resolve

import (
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// TestFactsAreAskedForOnlyWhenTheyMatter is the promise that the common answer costs no read.
func TestFactsAreAskedForOnlyWhenTheyMatter(t *testing.T) {
	state := appState()
	owner := deviceIDs(2)[1]
	state.Devices = map[string]rollout.Device{owner: {DeviceID: owner, Channel: "beta"}, "x": {DeviceID: "x"}}
	s := mustCompile(t, NewSpec(state))
	none := deviceIDs(1)[0]
	for _, test := range []struct {
		name   string
		device string
		change func(*Check)
		want   Reason
	}{
		{"up to date", none, func(c *Check) { c.VersionName = "1.0.0" }, NoNewVersion},
		{"offer", none, func(c *Check) {}, NeedFacts},
		{"may own a channel", owner, func(c *Check) { c.VersionName = "1.0.0" }, NeedFacts},
		{"unsupported whatever it owns", owner, func(c *Check) { c.Plugin = Version{Major: 4} }, UnsupportedPlugin},
		{"no channel", none, func(c *Check) { c.DefaultChannel = "nowhere" }, NoChannel},
		{"no channel but may own one", owner, func(c *Check) { c.DefaultChannel = "nowhere" }, NeedFacts},
	} {
		c := checkOf(test.device)
		test.change(&c)
		if got := s.Resolve(&c, nil).Reason; got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	c := checkOf(owner)
	if d := s.Resolve(&c, &Facts{Channel: "beta"}); d.Reason != Offer || d.Channel.Name != "beta" || d.Source != SourceOwn {
		t.Errorf("own channel: %s", d.Reason)
	}
	if d := s.Resolve(&c, &Facts{Channel: "gone"}); d.Reason != Offer || d.Channel.Name != "production" || d.Source != SourcePublic {
		t.Errorf("own channel that no longer exists: %s", d.Reason)
	}
}

func TestOfferOfBuiltinNeedsFacts(t *testing.T) {
	state := appState()
	production := state.Channels["production"]
	production.Bundle = rollout.Builtin
	state.Channels["production"] = production
	s := mustCompile(t, NewSpec(state))
	c := checkOf(deviceIDs(1)[0])
	if got := s.Resolve(&c, nil).Reason; got != NeedFacts {
		t.Errorf("got %s", got)
	}
	c.VersionName = c.VersionBuild
	if got := s.Resolve(&c, nil).Reason; got != AlreadyOnBuiltin {
		t.Errorf("on the store build: got %s", got)
	}
	c.Plugin = Version{Major: 6, Minor: 1, Patch: 99}
	if got := s.Resolve(&c, nil).Reason; got != BuiltinPluginTooOld {
		t.Errorf("on the store build with a plugin that knows no way back: got %s", got)
	}
}

func TestStandingAndAssign(t *testing.T) {
	state := withRollout(appState(), runningRollout(rollout.Phase{Percent: 1}, rollout.Phase{Percent: 20 * rollout.OnePercent}))
	s := mustCompile(t, NewSpec(state))
	r := s.Rollout("r1")
	c := checkOf(deviceAt(t, testSalt, 1, 20))
	if st, ok := s.Standing(&c, nil); !ok || st != (Standing{Rollout: r, Phase: 1, Arm: candidate, Admitted: true}) {
		t.Errorf("standing %+v, %v", st, ok)
	}
	if admitted, arm := s.Assign(&c, nil, r); !admitted || arm != candidate {
		t.Errorf("assigned %v, %s", admitted, arm)
	}
	if arm := r.Arm(&c); arm != candidate {
		t.Errorf("arm %s", arm)
	}
	elsewhere := &Facts{Channel: "beta"}
	if st, ok := s.Standing(&c, elsewhere); ok {
		t.Errorf("on a channel without a rollout: %+v", st)
	}
	if admitted, arm := s.Assign(&c, elsewhere, r); admitted || arm != none {
		t.Errorf("on a channel without a rollout: %v, %s", admitted, arm)
	}
	c.Platform = PlatformOther
	if st, ok := s.Standing(&c, nil); ok {
		t.Errorf("on no channel: %+v", st)
	}
}

// TestNothingAllocates covers every call that a request makes.
func TestNothingAllocates(t *testing.T) {
	s := mustCompile(t, NewSpec(fullState()))
	c := checkOf(deviceIDs(3)[2])
	c.CustomID, c.VersionOS = "ann", "17.1"
	long := checkOf(strings.Repeat("x", 200))
	facts := &Facts{Failed: []string{"1.1.0"}}
	for name, call := range map[string]func(){
		"offer":         func() { s.Resolve(&c, facts) },
		"need facts":    func() { s.Resolve(&c, nil) },
		"long id":       func() { s.Resolve(&long, facts) },
		"standing":      func() { s.Standing(&c, nil) },
		"has version":   func() { s.HasVersion("1.1.0") },
		"parse version": func() { ParseVersion("1.2.3-rc.1+build.5") },
		"fingerprint":   func() { Fingerprint(c.DeviceID) },
		"wording":       func() { DisabledPlatform.Code(IOS) },
	} {
		if n := testing.AllocsPerRun(200, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestExplainDecidesTheSame on random apps, and says why in its last step.
func TestExplainDecidesTheSame(t *testing.T) {
	x := splitMix(7)
	for range 300 {
		state := randomState(&x)
		s := mustCompile(t, NewSpec(state))
		for range 30 {
			c, f := randomCheck(&x, state), randomFacts(&x, state)
			facts := pick(&x, nil, &f)
			want := s.Resolve(&c, facts)
			d, steps := s.Explain(&c, facts)
			if d != want || len(steps) == 0 {
				t.Fatalf("explained %+v in %d steps, resolved %+v", d, len(steps), want)
			}
			last := steps[len(steps)-1]
			if last.Name != "decision" || !strings.Contains(last.Detail, d.Reason.String()) {
				t.Fatalf("decision %s, last step %+v", d.Reason, last)
			}
		}
	}
}

func TestExplainTellsTheWholeStory(t *testing.T) {
	state := fullState()
	careful := state.Bundles["1.1.0"]
	careful.RequiresConsent = true
	state.Bundles["1.1.0"] = careful
	s := mustCompile(t, NewSpec(state))
	c := checkOf(deviceAt(t, testSalt, 40, 41))
	c.CustomID = "ann"
	_, steps := s.Explain(&c, &Facts{Channel: "gone"})
	var story []string
	for _, step := range steps {
		story = append(story, step.Name+": "+step.Detail)
	}
	at := rollout.Percent(Position(testSalt, c.DeviceID)).String()
	want := []string{
		`own channel: the device's own channel "gone" does not exist; ignored`,
		`channel: "production": the public channel of android`,
		`rollout: r1 of 1.1.0 against 1.0.0, phase 2, running`,
		`position: ` + at + ` %`,
		`phase 1: 100 % of segments "internal": admits the device`,
		`phase 2: 5 % of every device: the device's position is not below that`,
		`bundle 1.1.0: policy none, native 1.0.0, running 0.9.0, plugin 8.51.23: offer`,
		`facts: 1.1.0 needs the user's consent, which the device has not reported`,
		`bundle 1.0.0: policy none, native 1.0.0, running 0.9.0, plugin 8.51.23: offer`,
		`decision: offer, bundle 1.0.0, arm none`,
	}
	if !slices.Equal(story, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(story, "\n"), strings.Join(want, "\n"))
	}
}

func TestWordings(t *testing.T) {
	codes := map[string]Reason{}
	for r := ReasonNone; r < NumReasons; r++ {
		code := r.Code(Android)
		offers := r == ReasonNone || r == Offer || r == OfferBuiltin
		if offers != (code == "") || offers != (r.Message() == "") || (offers || r == NeedFacts) != (r.Kind() == KindNone) {
			t.Errorf("%d: code %q, message %q, kind %q", r, code, r.Message(), r.Kind())
		}
		if other, taken := codes[code]; taken && !offers {
			t.Errorf("%s is the code of %d and %d", code, other, r)
		}
		codes[code] = r
		if strings.ContainsAny(code+r.Message(), "\"\\<>&") {
			t.Errorf("%s would have to be escaped in JSON", r)
		}
		if r.String() == "" {
			t.Errorf("%d has no name", r)
		}
	}
	for p, want := range map[Platform]string{
		Android: "disabled_platform_android", IOS: "disabled_platform_ios", Electron: "disabled_platform_electron", PlatformOther: "disabled_platform",
	} {
		if got := DisabledPlatform.Code(p); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if r := Reason(200); r.Code(IOS) != "" || r.Kind() != KindNone || r.MajorStep() {
		t.Error("a number that is no reason says something")
	}
	for _, r := range []Reason{DisableMajor, DisableMinor, DisablePatch, DisableMetadata} {
		if !r.MajorStep() {
			t.Errorf("%s does not say major", r)
		}
	}
}
