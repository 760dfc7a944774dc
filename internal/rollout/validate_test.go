package rollout

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// validator is any entity.
type validator interface{ Validate() error }

// faults lists err as "code field" lines.
func faults(err error) []string {
	var all Errors
	if !errors.As(err, &all) {
		return nil
	}
	var lines []string
	for _, e := range all {
		lines = append(lines, e.Code+" "+e.Field)
	}
	return lines
}

type validation struct {
	name  string
	value validator
	want  []string // none: valid
}

func checkValidations(t *testing.T, cases []validation) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.value.Validate()
			if got := faults(err); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			var all Errors
			errors.As(err, &all)
			for _, e := range all {
				if len(e.Message) < 10 {
					t.Errorf("%s %s does not say what to do: %q", e.Code, e.Field, e.Message)
				}
			}
		})
	}
}

func TestAppValidate(t *testing.T) {
	checkValidations(t, []validation{
		{"plain", App{ID: "com.demo.app"}, nil},
		{"any case, digits, dashes", App{ID: "Com.De_mo.my-app2", Name: "Кошелёк"}, nil},
		{"empty", App{}, []string{"invalid_app_id app"}},
		{"one part", App{ID: "demo"}, []string{"invalid_app_id app"}},
		{"empty part", App{ID: "com..app"}, []string{"invalid_app_id app"}},
		{"dash in the first part", App{ID: "co-m.app"}, []string{"invalid_app_id app"}},
		{"space", App{ID: "com.my app"}, []string{"invalid_app_id app"}},
		{"final dot", App{ID: "com.app."}, []string{"invalid_app_id app"}},
		{"too long", App{ID: "com." + strings.Repeat("a", 125)}, []string{"invalid_app_id app"}},
		{"name with a line break", App{ID: "com.app", Name: "a\nb"}, []string{"invalid_name name"}},
	})
}

func TestBundleValidate(t *testing.T) {
	file := ManifestFile{FileName: "assets/app.js", FileHash: "11aa", DownloadURL: "https://cdn.example.com/f"}
	named := func(name string) Bundle {
		f := file
		f.FileName = name
		return Bundle{Version: "1.0.0", Manifest: []ManifestFile{f}}
	}
	badName := []string{"invalid_file_name manifest[0].file_name"}
	checkValidations(t, []validation{
		{"no storage at all", Bundle{Version: "1.0.0"}, nil},
		{"complete", Bundle{
			Version: "1.0.0-rc.1+b5", URL: "https://cdn.example.com/1.zip?sig=%20x", Checksum: "3885ee49", SessionKey: "iv:key",
			KeyID: "MIIBCgKCAQEAaaaaaaaa", Manifest: []ManifestFile{file, {"b.js", "22", "https://cdn.example.com/f"}},
			MinUpdateVersion: "1.0.0", Link: "https://example.com/notes", Comment: "Faster\ncheckout",
		}, nil},
		{"a scheme that devices refuse", Bundle{Version: "1.0.0", URL: "ftp://cdn.example.com/b.zip"}, nil},
		{"a path", Bundle{Version: "1.0.0", URL: "/b.zip"}, []string{"invalid_url url"}},
		{"a host", Bundle{Version: "1.0.0", URL: "cdn.example.com/b.zip"}, []string{"invalid_url url"}},
		{"no host", Bundle{Version: "1.0.0", URL: "https:///b.zip"}, []string{"invalid_url url"}},
		{"a space", Bundle{Version: "1.0.0", URL: "https://cdn.example.com/a b.zip"}, []string{"invalid_url url"}},
		{"endless URL", Bundle{Version: "1.0.0", URL: "https://x/" + strings.Repeat("a", 4096)}, []string{"invalid_url url"}},
		{"no version", Bundle{}, []string{"invalid_semver version"}},
		{"builtin", Bundle{Version: "builtin"}, []string{"invalid_semver version"}},
		{"two parts", Bundle{Version: "1.0", MinUpdateVersion: "v1.0.0"}, []string{"invalid_semver version", "invalid_semver min_update_version"}},
		{"endless version", Bundle{Version: "1.0.0-" + strings.Repeat("a", 128)}, []string{"invalid_semver version"}},
		{"every text", Bundle{
			Version: "1.0.0", Checksum: "a b", SessionKey: "key", KeyID: strings.Repeat("k", 21), Link: "notes",
			Comment: strings.Repeat("é", 2049),
		}, []string{
			"invalid_checksum checksum", "invalid_session_key session_key", "invalid_key_id key_id", "invalid_url link", "text_too_long comment",
		}},
		{"comment at its limit", Bundle{Version: "1.0.0", Comment: strings.Repeat("é", 2048)}, nil},
		{"empty file", Bundle{Version: "1.0.0", Manifest: []ManifestFile{{}}}, []string{
			"invalid_file_name manifest[0].file_name", "invalid_checksum manifest[0].file_hash", "invalid_url manifest[0].download_url",
		}},
		{"same file twice", Bundle{Version: "1.0.0", Manifest: []ManifestFile{file, file}}, []string{"duplicate_file manifest[1].file_name"}},
		{"dots in a name", named("a..b/.well-known/x"), nil},
		{"absolute", named("/etc/passwd"), badName},
		{"parent", named("a/../../b"), badName},
		{"itself", named("./a"), badName},
		{"folder", named("a/"), badName},
		{"backslash", named(`a\b`), badName},
		{"drive", named("C:a"), badName},
		{"control character", named("a\x00b"), badName},
		{"not UTF-8", named("a\xff"), badName},
		{"too many files", Bundle{Version: "1.0.0", Manifest: make([]ManifestFile, 20_001)}, []string{"too_many_files manifest"}},
	})
}

func TestChannelValidate(t *testing.T) {
	with := func(change func(*Channel)) Channel {
		c := NewChannel("production")
		change(&c)
		return c
	}
	cases := []validation{
		{"defaults", NewChannel("production"), nil},
		{"store build", with(func(c *Channel) { c.Bundle = "builtin" }), nil},
		{"bundle", with(func(c *Channel) { c.Bundle = "1.0.0" }), nil},
		{"bundle by a wrong name", with(func(c *Channel) { c.Bundle = "latest" }), []string{"invalid_semver bundle"}},
		{"kept by a wrong name", with(func(c *Channel) { c.Kept = []string{"1.0.0", "x"} }), []string{"invalid_semver kept[1]"}},
		{"no name", NewChannel(""), []string{"invalid_name name"}},
		{"space around", NewChannel(" a"), []string{"invalid_name name"}},
		{"long name", NewChannel(strings.Repeat("ü", 128)), nil},
		{"longer name", NewChannel(strings.Repeat("ü", 129)), []string{"invalid_name name"}},
		{"unknown policy", with(func(c *Channel) { c.DisableAutoUpdate = "always" }), []string{"invalid_policy disable_auto_update"}},
	}
	for _, policy := range []Policy{PolicyMajor, PolicyMinor, PolicyPatch, PolicyVersionNumber, PolicyNone} {
		cases = append(cases, validation{string(policy), with(func(c *Channel) { c.DisableAutoUpdate = policy }), nil})
	}
	checkValidations(t, cases)
}

func TestSegmentValidate(t *testing.T) {
	const id = "00009A6B-eefe-490a-9c60-8e965132ae51"
	checkValidations(t, []validation{
		{"nobody yet", Segment{Name: "internal"}, nil},
		{"complete", Segment{
			Name: "internal", DeviceIDs: []string{id}, CustomIDs: []string{"Übung 7"},
			When: &Rule{
				Platform: []string{"ios", "android", "electron"}, VersionOS: ">=17", VersionBuild: "=1.2", VersionName: "!=1.0.0-rc.1",
				PluginVersion: ">=8.0.0,<9", InstallSource: []string{"com.android.vending"},
			},
		}, nil},
		{"members", Segment{Name: "a", DeviceIDs: []string{id, "x", id + "0", "00009a6b_eefe-490a-9c60-8e965132ae51", "g0009a6b-eefe-490a-9c60-8e965132ae51"}, CustomIDs: []string{"", strings.Repeat("c", 37)}}, []string{
			"invalid_device_id device_ids[1]", "invalid_device_id device_ids[2]", "invalid_device_id device_ids[3]",
			"invalid_device_id device_ids[4]", "invalid_custom_id custom_ids[0]", "invalid_custom_id custom_ids[1]",
		}},
		{"rule", Segment{When: &Rule{
			Platform: []string{"iOS"}, VersionOS: "17+", VersionBuild: ">>1", VersionName: "1.2.3.4", PluginVersion: "8.x",
			InstallSource: []string{strings.Repeat("s", 65)},
		}}, []string{
			"invalid_name name", "invalid_platform when.platform[0]", "invalid_constraint when.version_os",
			"invalid_constraint when.version_build", "invalid_constraint when.version_name", "invalid_constraint when.plugin_version",
			"invalid_install_source when.install_source[0]",
		}},
		{"too many members", Segment{Name: "a", DeviceIDs: make([]string, 40_000), CustomIDs: make([]string, 10_001)}, []string{"too_many_members device_ids"}},
	})
}

func TestDeviceValidate(t *testing.T) {
	checkValidations(t, []validation{
		{"with a channel", Device{DeviceID: "00009a6b-eefe-490a-9c60-8e965132ae51", Channel: "beta"}, nil},
		{"without", Device{DeviceID: "00009a6b-eefe-490a-9c60-8e965132ae51"}, nil},
		{"neither", Device{DeviceID: "1", Channel: "\t"}, []string{"invalid_device_id device_id", "invalid_name channel"}},
	})
}

func TestPlanValidate(t *testing.T) {
	everyone := func(percents ...Percent) []Phase {
		var phases []Phase
		for _, p := range percents {
			phases = append(phases, Phase{Percent: p})
		}
		return phases
	}
	gates := func(gates ...Gate) Plan { return Plan{Phases: everyone(Everyone), Gates: gates} }
	cases := []validation{
		{"smallest", Plan{Phases: everyone(1)}, nil},
		{"no phases", Plan{}, []string{"no_phases phases"}},
		{"twenty phases", Plan{Phases: make21()[:20]}, nil},
		{"twenty-one phases", Plan{Phases: make21()}, []string{"too_many_phases phases"}},
		{"zero", Plan{Phases: everyone(0)}, nil},
		{"negative", Plan{Phases: everyone(-1)}, []string{"invalid_percent phases[0].percent"}},
		{"above everyone", Plan{Phases: everyone(Everyone + 1)}, []string{"invalid_percent phases[0].percent"}},
		{"zero after ten", Plan{Phases: everyone(10, 0)}, []string{"phases_shrink phases[1].percent"}},
		{"101 after ten shrinks nothing besides", Plan{Phases: everyone(10, Everyone+1)}, []string{"invalid_percent phases[1].percent"}},
		{"equal phases", Plan{Phases: everyone(5, 5)}, nil},
		{"shrinking", Plan{Phases: everyone(50, 10, 20, 50)}, []string{"phases_shrink phases[1].percent", "phases_shrink phases[2].percent"}},
		{"whole segment, then few of everyone", Plan{Phases: []Phase{
			{Percent: Everyone, Segments: []string{"a"}}, {Percent: 10 * OnePercent}, {Percent: 50 * OnePercent, Segments: []string{"b"}}, {Percent: Everyone},
		}}, nil},
		{"everyone shrinks around a segment", Plan{Phases: []Phase{
			{Percent: 20 * OnePercent}, {Percent: Everyone, Segments: []string{"a"}}, {Percent: 10 * OnePercent},
		}}, []string{"phases_shrink phases[2].percent"}},
		{"same segments in another order", Plan{Phases: []Phase{
			{Percent: 20, Segments: []string{"a", "b"}}, {Percent: 10, Segments: []string{"b", "a", "b"}},
		}}, []string{"phases_shrink phases[1].percent"}},
		{"hold", Plan{Phases: []Phase{
			{Percent: 1, Hold: Hold{Min: Duration(time.Hour)}},
			{Percent: 1, Hold: Hold{Min: Duration(time.Hour), Max: Duration(time.Hour)}},
			{Percent: 1, Hold: Hold{Min: Duration(time.Hour), Max: 1}, MinDevices: -1},
			{Percent: 1, Hold: Hold{Min: -1}, Name: " ", Segments: nil},
		}}, []string{
			"invalid_hold phases[2].hold.max", "invalid_min_devices phases[2].min_devices", "invalid_name phases[3].name", "invalid_hold phases[3].hold.min",
		}},
		{"segment without a name", Plan{Phases: []Phase{{Percent: 1, Segments: []string{"a", ""}}}}, []string{"invalid_name phases[0].segments[1]"}},
		{"holdback", Plan{Phases: everyone(1), Holdback: 50 * OnePercent}, nil},
		{"much holdback", Plan{Phases: everyone(1), Holdback: 50*OnePercent + 1}, []string{"invalid_holdback holdback"}},
		{"negative holdback", Plan{Phases: everyone(1), Holdback: -1}, []string{"invalid_holdback holdback"}},
		{"timeouts", Plan{Phases: everyone(1), OnTimeout: "wait"}, []string{"invalid_timeout on_timeout"}},
		{"error rates", Plan{Phases: everyone(1), Alpha: 0.5, Beta: 1e-9}, nil},
		{"high error rates", Plan{Phases: everyone(1), Alpha: 0.51, Beta: -0.1}, []string{"invalid_alpha alpha", "invalid_beta beta"}},
		{"error rates that are none", Plan{Phases: everyone(1), Alpha: math.NaN(), Beta: math.Inf(1)}, []string{"invalid_alpha alpha", "invalid_beta beta"}},
		{"name", Plan{Name: "a\x00", Phases: everyone(1)}, []string{"invalid_name name"}},
		{"gates", gates(
			Gate{Metric: Crash, Margin: 2, Severe: 2, Action: ActionHold}, Gate{Metric: BootFailure, Limit: 0.99},
			Gate{Metric: Feedback, Off: true}, Gate{Metric: Adoption, Off: true},
		), nil},
		{"unknown metric", gates(Gate{Metric: "crashes"}), []string{"unknown_metric gates[0].metric"}},
		{"metric twice", gates(Gate{Metric: Crash}, Gate{Metric: Crash}), []string{"duplicate_gate gates[1].metric"}},
		{"metric that is only shown", gates(Gate{Metric: Adoption}), []string{"metric_not_judged gates[0].metric"}},
		{"margin of one", gates(Gate{Metric: Crash, Margin: 1}), []string{"invalid_margin gates[0].margin"}},
		{"margin that is none", gates(Gate{Metric: Crash, Margin: Margin(math.NaN())}, Gate{Metric: ANR, Margin: Margin(math.Inf(1))}), []string{
			"invalid_margin gates[0].margin", "invalid_margin gates[1].margin",
		}},
		{"no severe is right for a margin that is none", gates(Gate{Metric: Crash, Margin: Margin(math.NaN()), Severe: 3}), []string{"invalid_margin gates[0].margin"}},
		{"severe below the margin", gates(Gate{Metric: Crash, Margin: 2, Severe: 1.9}), []string{"invalid_severe gates[0].severe"}},
		{"severe below the default margin", gates(Gate{Metric: Crash, Severe: 1.4}), []string{"invalid_severe gates[0].severe"}},
		{"limits", gates(Gate{Metric: BootFailure, Limit: 1}, Gate{Metric: DownloadFailure, Limit: -.1}, Gate{Metric: Crash, Limit: math.NaN()}), []string{
			"invalid_limit gates[0].limit", "invalid_limit gates[1].limit", "invalid_limit gates[2].limit",
		}},
		{"action", gates(Gate{Metric: Crash, Action: "stop"}), []string{"invalid_action gates[0].action"}},
	}
	for _, policy := range []TimeoutPolicy{TimeoutHold, TimeoutPromote, TimeoutRollback} {
		cases = append(cases, validation{string(policy), Plan{Phases: everyone(1), OnTimeout: policy}, nil})
	}
	for _, action := range []Action{ActionHold, ActionPause, ActionHalt, ActionRollback} {
		cases = append(cases, validation{string(action), gates(Gate{Metric: Crash, Action: action}), nil})
	}
	checkValidations(t, cases)
}

func make21() []Phase {
	phases := make([]Phase, 21)
	for i := range phases {
		phases[i].Percent = Percent(i + 1)
	}
	return phases
}

func TestErrorsFromOutside(t *testing.T) {
	err := fmt.Errorf("apply shop: %w", Within("bundles[1]", Bundle{Version: "x", URL: "y"}.Validate()))
	if got := faults(err); !slices.Equal(got, []string{"invalid_semver bundles[1].version", "invalid_url bundles[1].url"}) {
		t.Errorf("within: %q", got)
	}
	if CodeOf(err) != CodeInvalidSemver || CodeOf(errors.New("x")) != "" || CodeOf(nil) != "" {
		t.Errorf("codes %q, %q, %q", CodeOf(err), CodeOf(errors.New("x")), CodeOf(nil))
	}
	if got := faults(Within("plan", Error{Code: "c"})); !slices.Equal(got, []string{"c plan"}) {
		t.Errorf("within of one: %q", got)
	}
	other := errors.New("disk full")
	if Within("a", nil) != nil || Within("a", other) != other {
		t.Error("Within changes errors that are not its own")
	}
	if got := err.Error(); !strings.Contains(got, "bundles[1].version: ") || !strings.Contains(got, "; bundles[1].url: ") {
		t.Errorf("text %q", got)
	}
}
