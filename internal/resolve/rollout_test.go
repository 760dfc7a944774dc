package resolve

import (
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// person is a device in the tables below: who it is and what it says.
type person struct {
	name    string
	device  string
	running string
	facts   Facts
	change  func(*Check)
}

// outcome is what a table expects of a person.
type outcome struct {
	reason    Reason
	bundle    string
	arm       rollout.Arm
	admitted  bool
	candidate bool
}

func (p person) ask(t *testing.T, s *Snapshot) outcome {
	t.Helper()
	c := checkOf(p.device)
	c.VersionName = p.running
	if p.change != nil {
		p.change(&c)
	}
	d := s.Resolve(&c, &p.facts)
	o := outcome{reason: d.Reason, arm: d.Arm, admitted: d.Admitted, candidate: d.Candidate}
	if d.Bundle != nil {
		o.bundle = d.Bundle.Version
	}
	return o
}

func expect(t *testing.T, s *Snapshot, p person, want outcome) {
	t.Helper()
	if got := p.ask(t, s); got != want {
		t.Errorf("%s:\n got %s %+v\nwant %s %+v", p.name, got.reason, got, want.reason, want)
	}
}

const (
	none      = rollout.ArmNone
	candidate = rollout.ArmCandidate
	control   = rollout.ArmControl
)

func TestRunningRollout(t *testing.T) {
	s := mustCompile(t, NewSpec(withRollout(appState(), runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent}))))
	in, out := deviceAt(t, testSalt, 0, 20), deviceAt(t, testSalt, 20, 100)
	emulator := func(c *Check) { c.IsEmulator = true }
	debug := func(c *Check) { c.IsProd = false }
	expect(t, s, person{name: "inside", device: in, running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "inside, has it", device: in, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "outside", device: out, running: "0.9.0"}, outcome{Offer, "1.0.0", control, false, false})
	expect(t, s, person{name: "outside, up to date", device: out, running: "1.0.0"}, outcome{NoNewVersion, "1.0.0", control, false, false})
	expect(t, s, person{name: "outside, yet has it", device: out, running: "1.1.0"}, outcome{Offer, "1.0.0", control, false, false})
	expect(t, s, person{name: "emulator", device: in, running: "0.9.0", change: emulator}, outcome{Offer, "1.1.0", none, true, true})
	expect(t, s, person{name: "debug build", device: out, running: "0.9.0", change: debug}, outcome{Offer, "1.0.0", none, false, false})
	expect(t, s, person{name: "on another channel", device: in, running: "0.9.0", facts: Facts{Channel: "beta"}},
		outcome{Offer, "1.2.0", none, false, false})
}

func TestPausedRollout(t *testing.T) {
	r := runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent})
	r.State = rollout.Paused
	s := mustCompile(t, NewSpec(withRollout(appState(), r)))
	in, out := deviceAt(t, testSalt, 0, 20), deviceAt(t, testSalt, 20, 100)
	expect(t, s, person{name: "inside", device: in, running: "0.9.0"}, outcome{Offer, "1.0.0", candidate, true, false})
	expect(t, s, person{name: "inside, has it", device: in, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "outside, has it", device: out, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", control, false, true})
	expect(t, s, person{name: "outside", device: out, running: "0.9.0"}, outcome{Offer, "1.0.0", control, false, false})
}

func TestHaltedRolloutIsKept(t *testing.T) {
	r := runningRollout(rollout.Phase{Percent: rollout.Everyone})
	r.State = rollout.Halted
	state := withRollout(appState(), r)
	production := state.Channels["production"]
	production.Kept = []string{"1.1.0", "7.7.7"} // the second was deleted
	state.Channels["production"] = production
	s := mustCompile(t, NewSpec(state))
	id := deviceIDs(1)[0]
	expect(t, s, person{name: "has it", device: id, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", none, false, true})
	expect(t, s, person{name: "new", device: id, running: "0.9.0"}, outcome{Offer, "1.0.0", none, false, false})

	next := runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent})
	next.ID, next.Bundle = "r2", "1.3.0"
	s = mustCompile(t, NewSpec(withRollout(state, next)))
	in, out := deviceAt(t, testSalt, 0, 20), deviceAt(t, testSalt, 20, 100)
	expect(t, s, person{name: "kept, next admits", device: in, running: "1.1.0"}, outcome{Offer, "1.3.0", candidate, true, true})
	expect(t, s, person{name: "kept, next does not admit", device: out, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", control, false, true})
	expect(t, s, person{name: "kept, next failed", device: in, running: "1.1.0", facts: Facts{Failed: []string{"1.3.0"}}},
		outcome{BundleFailedOnDevice, "1.3.0", candidate, true, true})
}

func TestRolledBackRolloutIsTakenBack(t *testing.T) {
	r := runningRollout(rollout.Phase{Percent: rollout.Everyone})
	r.State = rollout.RolledBack
	s := mustCompile(t, NewSpec(withRollout(appState(), r)))
	expect(t, s, person{name: "had it", device: deviceIDs(1)[0], running: "1.1.0"}, outcome{Offer, "1.0.0", none, false, false})
	if s.Rollout("r1") != nil || s.Bundle("1.1.0") != nil || !s.HasVersion("1.1.0") {
		t.Error("an ended rollout and its bundle are still in the snapshot, or the version is unknown to telemetry")
	}
}

// TestHotfixFollows: the devices exposed to the replaced candidate get the hotfix, whatever their position in it, and
// are not compared.
func TestHotfixFollows(t *testing.T) {
	r := runningRollout(rollout.Phase{Percent: 10 * rollout.OnePercent})
	r.Bundle, r.Salt = "1.3.0", otherSalt
	r.Follows = []rollout.Audience{{Salt: testSalt, Cuts: []rollout.Cut{{Percent: 20 * rollout.OnePercent}}}}
	s := mustCompile(t, NewSpec(withRollout(appState(), r)))
	find := func(old, now bool) string {
		x := splitMix(3)
		for {
			id := x.uuid()
			if (Position(testSalt, id) < 200_000_000) == old && (Position(otherSalt, id) < 100_000_000) == now {
				return id
			}
		}
	}
	expect(t, s, person{name: "exposed", device: find(true, false), running: "1.1.0"}, outcome{Offer, "1.3.0", none, true, true})
	expect(t, s, person{name: "exposed and inside", device: find(true, true), running: "1.1.0"}, outcome{Offer, "1.3.0", none, true, true})
	expect(t, s, person{name: "inside", device: find(false, true), running: "1.0.0"}, outcome{Offer, "1.3.0", candidate, true, true})
	expect(t, s, person{name: "outside", device: find(false, false), running: "1.0.0"}, outcome{NoNewVersion, "1.0.0", control, false, false})
}

// TestSegmentsAdmit walks the cautious way: listed testers first, then a share of everyone.
func TestSegmentsAdmit(t *testing.T) {
	state := appState()
	tester, member, stranger := deviceAt(t, testSalt, 50, 100), deviceAt(t, testSalt, 30, 50), deviceAt(t, testSalt, 20, 30)
	state.Segments["internal"] = rollout.Segment{Name: "internal", DeviceIDs: []string{tester, tester}, CustomIDs: []string{"Ann"}}
	state.Segments["tablets"] = rollout.Segment{Name: "tablets", When: &rollout.Rule{Platform: []string{"ios"}, VersionOS: ">=17"}}
	testers := rollout.Phase{Percent: rollout.Everyone, Segments: []string{"internal", "tablets"}}
	everyone := rollout.Phase{Percent: 10 * rollout.OnePercent}
	asAnn := func(c *Check) { c.CustomID = "Ann" }
	asANN := func(c *Check) { c.CustomID = "ANN" }
	tablet := func(os string) func(*Check) {
		return func(c *Check) { c.Platform, c.VersionOS = IOS, os }
	}

	first := mustCompile(t, NewSpec(withRollout(state, runningRollout(testers))))
	second := mustCompile(t, NewSpec(withRollout(state, runningRollout(testers, everyone))))
	for s, arm := range map[*Snapshot]rollout.Arm{first: candidate, second: none} {
		for _, p := range []person{
			{name: "by device id", device: tester},
			{name: "by custom id", device: member, change: asAnn},
			{name: "by rule", device: member, change: tablet("17.5")},
		} {
			p.running = "0.9.0"
			expect(t, s, p, outcome{Offer, "1.1.0", arm, true, true})
		}
	}
	for _, p := range []person{
		{name: "stranger", device: stranger},
		{name: "custom ids keep their case", device: stranger, change: asANN},
		{name: "rule misses", device: stranger, change: tablet("16.9")},
		{name: "system that is no version", device: stranger, change: tablet("Tiramisu")},
	} {
		p.running = "0.9.0"
		expect(t, first, p, outcome{Offer, "1.0.0", none, false, false})
		expect(t, second, p, outcome{Offer, "1.0.0", control, false, false})
	}
}

// TestNoCustomIDIsInNoSegment: a segment that lists the empty custom id must not take in everyone without one.
func TestNoCustomIDIsInNoSegment(t *testing.T) {
	state := appState()
	state.Segments["named"] = rollout.Segment{Name: "named", CustomIDs: []string{"", "ann"}}
	s := mustCompile(t, NewSpec(withRollout(state, runningRollout(rollout.Phase{Percent: rollout.Everyone, Segments: []string{"named"}}))))
	expect(t, s, person{name: "without custom id", device: deviceIDs(1)[0], running: "0.9.0"}, outcome{Offer, "1.0.0", none, false, false})
}

// TestShrinkingAudienceIsNotCompared: half of the testers were admitted, then a tenth of everyone. Testers are left out
// of the comparison on both sides, or those not admitted would all count as control.
func TestShrinkingAudienceIsNotCompared(t *testing.T) {
	state := appState()
	state.Segments["ios"] = rollout.Segment{Name: "ios", When: &rollout.Rule{Platform: []string{"ios"}}}
	s := mustCompile(t, NewSpec(withRollout(state, runningRollout(
		rollout.Phase{Percent: 50 * rollout.OnePercent, Segments: []string{"ios"}}, rollout.Phase{Percent: 10 * rollout.OnePercent}))))
	ios := func(c *Check) { c.Platform = IOS }
	expect(t, s, person{name: "tester at 5", device: deviceAt(t, testSalt, 0, 10), running: "0.9.0", change: ios}, outcome{Offer, "1.1.0", none, true, true})
	expect(t, s, person{name: "tester at 30", device: deviceAt(t, testSalt, 10, 50), running: "0.9.0", change: ios}, outcome{Offer, "1.1.0", none, true, true})
	expect(t, s, person{name: "tester at 70", device: deviceAt(t, testSalt, 50, 100), running: "0.9.0", change: ios}, outcome{Offer, "1.0.0", none, false, false})
	expect(t, s, person{name: "other at 5", device: deviceAt(t, testSalt, 0, 10), running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "other at 70", device: deviceAt(t, testSalt, 50, 100), running: "0.9.0"}, outcome{Offer, "1.0.0", control, false, false})
}

// TestRuleOnRunningBundleDoesNotLoop: a rule for devices below 1.1.0 must not send a device back once it has followed.
func TestRuleOnRunningBundleDoesNotLoop(t *testing.T) {
	state := appState()
	state.Segments["old"] = rollout.Segment{Name: "old", When: &rollout.Rule{VersionName: "<1.1.0"}}
	s := mustCompile(t, NewSpec(withRollout(state, runningRollout(rollout.Phase{Percent: 50 * rollout.OnePercent, Segments: []string{"old"}}))))
	in := deviceAt(t, testSalt, 0, 50)
	expect(t, s, person{name: "old", device: in, running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "followed", device: in, running: "1.1.0"}, outcome{NoNewVersion, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "ahead", device: in, running: "1.2.0"}, outcome{Offer, "1.0.0", none, false, false})
}

func TestHoldbackKeepsAControl(t *testing.T) {
	r := runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent}, rollout.Phase{Percent: rollout.Everyone})
	r.Plan.Holdback = rollout.OnePercent
	s := mustCompile(t, NewSpec(withRollout(appState(), r)))
	expect(t, s, person{name: "held back", device: deviceAt(t, testSalt, 99, 100), running: "0.9.0"}, outcome{Offer, "1.0.0", control, false, false})
	expect(t, s, person{name: "nearly held back", device: deviceAt(t, testSalt, 98, 99), running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})

	r.Plan.Holdback = 0
	s = mustCompile(t, NewSpec(withRollout(appState(), r)))
	expect(t, s, person{name: "everyone", device: deviceAt(t, testSalt, 99, 100), running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})
}

func TestBuiltinBaseline(t *testing.T) {
	state := appState()
	production := state.Channels["production"]
	production.Bundle = ""
	state.Channels["production"] = production
	r := runningRollout(rollout.Phase{Percent: 20 * rollout.OnePercent})
	r.Baseline = ""
	s := mustCompile(t, NewSpec(withRollout(state, r)))
	in, out := deviceAt(t, testSalt, 0, 20), deviceAt(t, testSalt, 20, 100)
	old := func(c *Check) { c.Plugin = Version{Major: 6, Minor: 1} }
	builtin := func(c *Check) { c.RunsBuiltin, c.VersionName = true, c.VersionBuild }
	failed := Facts{Failed: []string{"1.1.0"}}
	expect(t, s, person{name: "inside", device: in, running: "0.9.0"}, outcome{Offer, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "outside", device: out, running: "0.9.0"}, outcome{OfferBuiltin, "", control, false, false})
	expect(t, s, person{name: "outside, old plugin", device: out, running: "0.9.0", change: old}, outcome{BuiltinPluginTooOld, "", control, false, false})
	expect(t, s, person{name: "outside, store build", device: out, running: "1.0.0"}, outcome{AlreadyOnBuiltin, "", control, false, false})
	expect(t, s, person{name: "outside, builtin", device: out, change: builtin}, outcome{AlreadyOnBuiltin, "", control, false, false})
	expect(t, s, person{name: "failed", device: in, running: "0.9.0", facts: failed}, outcome{OfferBuiltin, "", candidate, true, false})
	expect(t, s, person{name: "failed, store build", device: in, facts: failed, change: builtin}, outcome{BundleFailedOnDevice, "1.1.0", candidate, true, true})
}

func TestFailedAndConsent(t *testing.T) {
	state := withRollout(appState(), runningRollout(rollout.Phase{Percent: rollout.Everyone}))
	id := deviceIDs(1)[0]
	s := mustCompile(t, NewSpec(state))
	failed := func(versions ...string) Facts { return Facts{Failed: versions} }
	expect(t, s, person{name: "failed", device: id, running: "0.9.0", facts: failed("1.1.0")}, outcome{Offer, "1.0.0", candidate, true, false})
	expect(t, s, person{name: "failed, on stable", device: id, running: "1.0.0", facts: failed("1.1.0")}, outcome{BundleFailedOnDevice, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "both failed", device: id, running: "0.9.0", facts: failed("1.1.0", "1.0.0")}, outcome{BundleFailedOnDevice, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "failed but runs", device: id, running: "1.1.0", facts: failed("1.1.0")}, outcome{NoNewVersion, "1.1.0", candidate, true, true})

	careful := state.Bundles["1.1.0"]
	careful.RequiresConsent = true
	state.Bundles["1.1.0"] = careful
	s = mustCompile(t, NewSpec(state))
	expect(t, s, person{name: "no consent", device: id, running: "0.9.0"}, outcome{Offer, "1.0.0", candidate, true, false})
	expect(t, s, person{name: "no consent, on stable", device: id, running: "1.0.0"}, outcome{ConsentRequired, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "consent", device: id, running: "1.0.0", facts: Facts{Consented: []string{"1.1.0"}}}, outcome{Offer, "1.1.0", candidate, true, true})
	expect(t, s, person{name: "consent to another", device: id, running: "1.0.0", facts: Facts{Consented: []string{"1.2.0"}}}, outcome{ConsentRequired, "1.1.0", candidate, true, true})
}

// TestPrivateChannel covers a row of Capgo's order that choosing a channel already rules out: a private channel is only
// ever reached by a device's own record.
func TestPrivateChannel(t *testing.T) {
	s := mustCompile(t, NewSpec(appState()))
	c := checkOf(deviceIDs(1)[0])
	beta := s.ChannelByName("beta")
	for source, want := range map[Source]Reason{SourceDefault: PrivateChannel, SourcePublic: PrivateChannel, SourceOwn: Offer} {
		if got := beta.weigh(&c, source, beta.Stable()); got != want {
			t.Errorf("reached by %s: got %s, want %s", source, got, want)
		}
	}
}
