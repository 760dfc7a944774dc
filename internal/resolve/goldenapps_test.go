package resolve

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// golden is the deterministic generator of the golden vectors.
type golden struct {
	random  splitMix
	apps    []goldenApp
	index   map[string]int
	vectors []goldenVector
}

func newGolden() *golden {
	g := &golden{random: 20260101, index: map[string]int{}}
	g.channels()
	g.policies()
	g.storage()
	g.storeBuild()
	g.walks()
	g.segments()
	g.boundary()
	g.strangers()
	for i := range g.apps {
		g.apps[i].Spec = NewSpec(g.apps[i].State)
	}
	return g
}

// app adds an app and returns its state, to be filled in.
func (g *golden) app(name string) *rollout.State {
	g.index[name] = len(g.apps)
	state := appState()
	state.App = rollout.App{ID: "com.golden." + strings.ReplaceAll(name, "-", "_"), Name: name, ExposeMetadata: true, AllowDeviceCustomID: true}
	state.Revision = int64(len(g.apps) + 1)
	g.apps = append(g.apps, goldenApp{Name: name, State: state})
	return &g.apps[len(g.apps)-1].State
}

// ask adds a vector to the latest app: a device with a body of its own unless change says otherwise. Facts nil means
// that they are not known.
func (g *golden) ask(name string, facts *Facts, change func(*wireBody)) {
	app := &g.apps[len(g.apps)-1]
	b := wireBody{
		Platform: "android", DeviceID: g.random.uuid(), AppID: app.State.App.ID, VersionBuild: "1.0.0", VersionCode: "1",
		VersionOS: "14", VersionName: "0.9.0", PluginVersion: "8.51.23", IsEmulator: new(bool), IsProd: yes(),
	}
	if change != nil {
		change(&b)
	}
	body, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings and flags only
	}
	v := goldenVector{Name: app.Name + "/" + name, Snapshot: app.Name, Body: string(body), Check: b.check(), Facts: facts}
	if facts != nil && facts.Channel != "" { // a server only looks for a channel of its own where the snapshot says so
		app.State.Owned = WithOwned(app.State.Owned, v.Check.DeviceID)
	}
	g.vectors = append(g.vectors, v)
}

// wireBody is the body of an update check, fields in the order in which Android sends them.
type wireBody struct {
	Platform       string `json:"platform"`
	DeviceID       string `json:"device_id"`
	AppID          string `json:"app_id"`
	CustomID       string `json:"custom_id"`
	VersionBuild   string `json:"version_build"`
	VersionCode    string `json:"version_code"`
	VersionOS      string `json:"version_os"`
	VersionName    string `json:"version_name"`
	PluginVersion  string `json:"plugin_version"`
	IsEmulator     *bool  `json:"is_emulator,omitempty"`
	IsProd         *bool  `json:"is_prod,omitempty"`
	DefaultChannel string `json:"defaultChannel,omitempty"`
	KeyID          string `json:"key_id,omitempty"`
	InstallSource  string `json:"install_source,omitempty"`
}

func yes() *bool { b := true; return &b }

// check is what the body means: the protocol's normalisation, as far as the generator's bodies need it.
func (b wireBody) check() goldenCheck {
	native := b.VersionBuild
	if parts := strings.Count(native, "."); parts < 2 {
		native += strings.Repeat(".0", 2-parts)
	}
	c := goldenCheck{
		AppID: b.AppID, DeviceID: strings.ToLower(b.DeviceID), CustomID: b.CustomID, Platform: b.Platform, VersionBuild: native,
		VersionName: b.VersionName, VersionOS: b.VersionOS, VersionCode: b.VersionCode, PluginVersion: b.PluginVersion,
		DefaultChannel: b.DefaultChannel, KeyID: b.KeyID, InstallSource: b.InstallSource,
		IsEmulator: b.IsEmulator != nil && *b.IsEmulator, IsProd: b.IsProd == nil || *b.IsProd,
	}
	if b.VersionName == rollout.Builtin {
		c.RunsBuiltin, c.VersionName = true, native
	}
	return c
}

func on(channel string) func(*wireBody) { return func(b *wireBody) { b.DefaultChannel = channel } }

func both(changes ...func(*wireBody)) func(*wireBody) {
	return func(b *wireBody) {
		for _, change := range changes {
			change(b)
		}
	}
}

func native(version string) func(*wireBody)  { return func(b *wireBody) { b.VersionBuild = version } }
func running(version string) func(*wireBody) { return func(b *wireBody) { b.VersionName = version } }
func plugin(version string) func(*wireBody)  { return func(b *wireBody) { b.PluginVersion = version } }
func platform(name string) func(*wireBody)   { return func(b *wireBody) { b.Platform = name } }
func emulator(b *wireBody)                   { b.IsEmulator = yes() }
func debug(b *wireBody)                      { b.IsProd = new(bool) }

// lane adds a public channel for no platform in particular that devices may choose: reached by name only.
func lane(s *rollout.State, name, bundle string, change func(*rollout.Channel)) {
	c := rollout.NewChannel(name)
	c.Bundle, c.AllowDeviceSelfSet, c.Number = bundle, true, int64(len(s.Channels)+1)
	c.DisableAutoUpdate, c.DisableAutoUpdateUnderNative = rollout.PolicyNone, false
	if change != nil {
		change(&c)
	}
	s.Channels[name] = c
}

// channels: how a device comes to its channel.
func (g *golden) channels() {
	s := g.app("channels")
	production := s.Channels["production"]
	production.IOS = false
	s.Channels["production"] = production
	lane(s, "development", "1.1.0", func(c *rollout.Channel) { c.Public, c.Android, c.Electron = true, false, false })
	lane(s, "nowhere", "1.2.0", func(c *rollout.Channel) { c.IOS, c.Android, c.Electron = false, false, false })
	lane(s, "open", "1.3.0", nil)
	for _, p := range []string{"android", "ios", "electron"} {
		own := &Facts{Channel: "beta", SetBy: "operator"}
		g.ask("public-"+p, &Facts{}, platform(p))
		g.ask("public-up-to-date-"+p, &Facts{}, both(platform(p), func(b *wireBody) {
			b.VersionName = map[string]string{"android": "1.0.0", "ios": "1.1.0", "electron": "1.0.0"}[p]
		}))
		g.ask("default-open-"+p, &Facts{}, both(platform(p), on("open")))
		g.ask("own-private-"+p, own, platform(p))
		g.ask("own-private-up-to-date-"+p, own, both(platform(p), running("1.2.0")))
		g.ask("own-wins-over-default-"+p, own, both(platform(p), on("open")))
		g.ask("own-off-for-platform-"+p, &Facts{Channel: "nowhere", SetBy: "device"}, platform(p))
		g.ask("default-off-for-platform-"+p, &Facts{}, both(platform(p), on("nowhere")))
	}
	g.ask("default-private-is-hidden", &Facts{}, on("beta"))
	g.ask("default-unknown-has-no-fallback", &Facts{}, on("missing"))
	g.ask("default-name-keeps-its-case", &Facts{}, on("Open"))
	g.ask("default-public-of-other-platform", &Facts{}, on("development"))
	g.ask("own-unknown-is-ignored", &Facts{Channel: "missing"}, nil)
	g.ask("facts-unknown-offer", nil, nil)
	g.ask("facts-unknown-up-to-date", nil, running("1.0.0"))
	g.ask("plugin-4", &Facts{}, plugin("4.61.11"))
	g.ask("plugin-4-facts-unknown", nil, plugin("4.61.11"))
	g.ask("upper-case-device-id", &Facts{Channel: "beta", SetBy: "operator"}, func(b *wireBody) { b.DeviceID = strings.ToUpper(b.DeviceID) })
	g.ask("flags-left-out", &Facts{}, func(b *wireBody) { b.IsEmulator, b.IsProd = nil, nil })
	g.ask("version-build-of-one-part", &Facts{}, native("1"))
	g.ask("version-build-of-two-parts", &Facts{}, native("1.0"))
	g.ask("builtin-is-the-native-version", &Facts{}, running("builtin"))
}

// policies: rows 16 to 28 of Capgo's order, one channel each.
func (g *golden) policies() {
	s := g.app("policies")
	for _, v := range []string{"2.0.0", "1.0.7", "1.0.0-rc.2", "1.0.0-beta.1", "0.9.9"} {
		s.Bundles[v] = zip(v)
	}
	low, high := zip("1.4.0"), zip("1.5.0")
	low.MinUpdateVersion, high.MinUpdateVersion = "1.0.0", "1.1.0"
	s.Bundles[low.Version], s.Bundles[high.Version] = low, high
	step := func(p rollout.Policy) func(*rollout.Channel) {
		return func(c *rollout.Channel) { c.DisableAutoUpdate = p }
	}
	lane(s, "major-up", "2.0.0", step(rollout.PolicyMajor))
	lane(s, "major-same", "1.3.0", step(rollout.PolicyMajor))
	lane(s, "minor-up", "1.1.0", step(rollout.PolicyMinor))
	lane(s, "minor-same", "1.0.7", step(rollout.PolicyMinor))
	lane(s, "patch-up", "1.0.7", step(rollout.PolicyPatch))
	lane(s, "patch-prerelease", "1.0.0-rc.2", step(rollout.PolicyPatch))
	lane(s, "number-none", "1.3.0", step(rollout.PolicyVersionNumber))
	lane(s, "number-met", "1.4.0", step(rollout.PolicyVersionNumber))
	lane(s, "number-missed", "1.5.0", step(rollout.PolicyVersionNumber))
	lane(s, "none", "2.0.0", nil)
	guard := func(c *rollout.Channel) { c.DisableAutoUpdateUnderNative = true }
	lane(s, "under-native", "0.9.9", guard)
	lane(s, "under-native-prerelease", "1.0.0-beta.1", guard)
	lane(s, "native-itself", "1.0.0", guard)
	lane(s, "no-prod", "1.1.0", func(c *rollout.Channel) { c.AllowProd, c.AllowDevice = false, false })
	lane(s, "no-dev", "1.1.0", func(c *rollout.Channel) { c.AllowDev = false })
	lane(s, "no-device", "1.1.0", func(c *rollout.Channel) { c.AllowDevice = false })
	lane(s, "no-emulator", "1.1.0", func(c *rollout.Channel) { c.AllowEmulator = false })
	for _, name := range []string{"major-up", "major-same", "minor-up", "minor-same", "patch-up", "patch-prerelease", "number-none",
		"number-met", "number-missed", "none", "under-native", "under-native-prerelease", "native-itself"} {
		g.ask(name, &Facts{}, on(name))
		g.ask(name+"-on-it", &Facts{}, both(on(name), running(s.Channels[name].Bundle)))
		g.ask(name+"-native-2", &Facts{}, both(on(name), native("2.1.0")))
	}
	for _, name := range []string{"no-prod", "no-dev", "no-device", "no-emulator"} {
		g.ask(name, &Facts{}, on(name))
		g.ask(name+"-debug", &Facts{}, both(on(name), debug))
		g.ask(name+"-emulator", &Facts{}, both(on(name), emulator))
		g.ask(name+"-debug-emulator", nil, both(on(name), debug, emulator))
		g.ask(name+"-up-to-date-comes-first", &Facts{}, both(on(name), debug, emulator, running("1.1.0")))
	}
}

// storage: what a bundle consists of, its key, and the device's own reasons.
func (g *golden) storage() {
	s := g.app("storage")
	files := []rollout.ManifestFile{{FileName: "index.html", FileHash: strings.Repeat("1", 64), DownloadURL: "https://cdn.example.com/f/1"}}
	bundles := map[string]rollout.Bundle{
		"nothing":      {Version: "3.0.0"},
		"ftp":          {Version: "3.1.0", URL: "ftp://cdn.example.com/b.zip", Checksum: "00c0ffee"},
		"manifest":     {Version: "3.2.0", Manifest: files},
		"zip-manifest": {Version: "3.3.0", URL: "https://cdn.example.com/b.zip", Checksum: "00c0ffee", Manifest: files},
		"ftp-manifest": {Version: "3.4.0", URL: "ftp://cdn.example.com/b.zip", Manifest: files},
		"key":          {Version: "3.5.0", URL: "https://cdn.example.com/b.zip", Checksum: "00c0ffee", SessionKey: "iv:key", KeyID: "MIIBCgKCAQEAaaaaaaaa"},
		"consent":      {Version: "3.6.0", URL: "https://cdn.example.com/b.zip", Checksum: "00c0ffee", RequiresConsent: true},
		"notes":        {Version: "3.7.0", URL: "HTTP://cdn.example.com/b.zip", Checksum: "00c0ffee", Link: "https://example.com/n", Comment: "Faster"},
	}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		s.Bundles[bundles[name].Version] = bundles[name]
		lane(s, name, bundles[name].Version, nil)
	}
	for _, name := range []string{"nothing", "ftp", "manifest", "zip-manifest", "ftp-manifest", "notes"} {
		for _, p := range []string{"5.9.5", "5.10.0", "6.24.9", "6.25.0", "7.0.34", "7.0.35", "8.51.23", "9.0.0", "10.0.0"} {
			g.ask(name+"-"+p, &Facts{}, both(on(name), plugin(p)))
		}
	}
	for _, key := range []string{"", "MIIB", "MIIBCgKCAQEAaaaaaaaa", "MIIBCgKCAQEAbbbbbbbb"} {
		for _, p := range []string{"7.51.21", "8.40.7", "8.40.8", "8.51.23"} {
			g.ask("key-"+key+"-"+p, &Facts{}, both(on("key"), plugin(p), func(b *wireBody) { b.KeyID = key }))
		}
	}
	g.ask("consent-missing", &Facts{}, on("consent"))
	g.ask("consent-given", &Facts{Consented: []string{"3.6.0"}}, on("consent"))
	g.ask("consent-to-another", &Facts{Consented: []string{"3.7.0"}}, on("consent"))
	g.ask("consent-given-but-failed", &Facts{Consented: []string{"3.6.0"}, Failed: []string{"3.6.0"}}, on("consent"))
	g.ask("consent-unknown", nil, on("consent"))
	g.ask("failed", &Facts{Failed: []string{"1.0.0"}}, nil)
	g.ask("failed-another", &Facts{Failed: []string{"1.1.0", "3.0.0"}}, nil)
	g.ask("failed-but-runs", &Facts{Failed: []string{"1.0.0"}}, running("1.0.0"))
}

// storeBuild: channels without a bundle.
func (g *golden) storeBuild() {
	s := g.app("store-build")
	production := s.Channels["production"]
	production.Bundle, production.DisableAutoUpdate = "", rollout.PolicyVersionNumber
	s.Channels["production"] = production
	lane(s, "by-name", rollout.Builtin, func(c *rollout.Channel) { c.IOS, c.AllowDev = false, false })
	for _, p := range []string{"5.50.1", "6.1.0", "6.2.0", "7.0.0", "8.51.23", "9.0.0", "10.0.0"} {
		g.ask("away-"+p, &Facts{}, both(plugin(p), running("1.1.0")))
		g.ask("builtin-"+p, &Facts{}, both(plugin(p), running("builtin")))
		g.ask("native-name-"+p, &Facts{}, both(plugin(p), running("1.0.0")))
	}
	g.ask("away-unknown-facts", nil, running("1.1.0"))
	g.ask("by-name-away", &Facts{}, both(on("by-name"), running("1.1.0")))
	g.ask("by-name-home", nil, both(on("by-name"), running("builtin")))
	g.ask("gates-come-first", &Facts{}, both(on("by-name"), debug, running("builtin")))
	g.ask("platform-comes-first", &Facts{Channel: "by-name", SetBy: "operator"}, both(platform("ios"), running("builtin")))
}

// at lets a device have a position in a band of the salt's, in percent.
func (g *golden) at(salt rollout.Salt, from, to float64) func(*wireBody) {
	return func(b *wireBody) {
		for {
			if at := float64(Position(salt, b.DeviceID)) / float64(rollout.OnePercent); from <= at && at < to {
				return
			}
			b.DeviceID = g.random.uuid()
		}
	}
}

// walks: a rollout of 1.1.0 over 1.0.0 in each of its states, asked by devices across the positions.
func (g *golden) walks() {
	const pc = rollout.OnePercent
	phases := func(percents ...rollout.Percent) rollout.Rollout {
		list := make([]rollout.Phase, len(percents))
		for i, p := range percents {
			list[i] = rollout.Phase{Percent: p}
		}
		return runningRollout(list...)
	}
	in := func(r rollout.Rollout, state rollout.RolloutState) rollout.Rollout {
		r.State = state
		return r
	}
	holdback := phases(20*pc, rollout.Everyone)
	holdback.Plan.Holdback = 5 * pc
	hotfix := phases(10 * pc)
	hotfix.Bundle = "1.3.0"
	hotfix.Follows = []rollout.Audience{{Salt: otherSalt, Cuts: []rollout.Cut{{Percent: 5 * pc}, {Percent: 50 * pc}}}}
	for _, walk := range []struct {
		name    string
		rollout rollout.Rollout
		change  func(*rollout.Channel)
	}{
		{"running-20", phases(5*pc, 20*pc), nil},
		{"running-0", phases(0), nil},
		{"running-100", phases(rollout.Everyone), nil},
		{"holdback", holdback, nil},
		{"paused", in(phases(20*pc), rollout.Paused), nil},
		{"halted", in(phases(20*pc), rollout.Halted), func(c *rollout.Channel) { c.Kept = []string{"1.1.0"} }},
		{"rolled-back", in(phases(20*pc), rollout.RolledBack), nil},
		{"scheduled", in(phases(20*pc), rollout.Scheduled), nil},
		{"completed", in(phases(rollout.Everyone), rollout.Completed), func(c *rollout.Channel) { c.Bundle = "1.1.0" }},
		{"superseded", hotfix, nil},
		{"superseded-paused", in(hotfix, rollout.Paused), nil},
		{"after-halt", phases(20 * pc), func(c *rollout.Channel) { c.Kept = []string{"1.2.0", "0.9.0"} }},
		{"from-store-build", phases(20 * pc), func(c *rollout.Channel) { c.Bundle = "" }},
		{"shrinking", phases(60*pc, 20*pc), nil},
		{"major-policy", phases(20 * pc), func(c *rollout.Channel) { c.DisableAutoUpdate = rollout.PolicyMinor }},
	} {
		s := g.app("walk-" + walk.name)
		production := s.Channels["production"]
		if walk.change != nil {
			walk.change(&production)
		}
		s.Channels["production"] = production
		walk.rollout.App = s.App.ID
		walk.rollout.Baseline = production.Bundle
		if walk.rollout.State == rollout.Completed {
			walk.rollout.Baseline = "1.0.0"
		}
		s.Rollouts["r1"] = walk.rollout
		g.askAcross(walk.rollout)
	}
}

// askAcross asks from positions low to high, with the bundles that a device of the walk may run.
func (g *golden) askAcross(r rollout.Rollout) {
	bands := [...]float64{0, 5, 20, 60, 95, 100}
	for i := range len(bands) - 1 {
		spot := g.at(r.Salt, bands[i], bands[i+1])
		where := fmt.Sprintf("at-%g-", bands[i])
		g.ask(where+"old", &Facts{}, both(spot, running("0.9.0")))
		g.ask(where+"stable", nil, both(spot, running("1.0.0")))
		g.ask(where+"candidate", &Facts{}, both(spot, running(r.Bundle), platform("ios")))
	}
	low := g.at(r.Salt, 0, 5)
	failed := &Facts{Failed: []string{r.Bundle}}
	g.ask("failed-old", failed, low)
	g.ask("failed-stable", failed, both(low, running("1.0.0"), platform("electron")))
	g.ask("both-failed", &Facts{Failed: []string{"1.0.0", r.Bundle}}, low)
	g.ask("emulator", &Facts{}, both(low, emulator))
	g.ask("debug", &Facts{}, both(g.at(r.Salt, 60, 100), debug))
	if r.State == rollout.Paused { // in one walk only: the bitmap of channels of their own is most of a snapshot's text
		g.ask("own-channel", &Facts{Channel: "beta", SetBy: "operator"}, low)
	}
	g.ask("builtin", &Facts{}, both(g.at(r.Salt, 60, 100), running("builtin")))
	for i := range r.Follows {
		g.ask(fmt.Sprintf("followed-%d", i), &Facts{}, both(running("1.1.0"), g.at(r.Follows[i].Salt, 0, 50)))
	}
}

// segments: every way of being in one.
func (g *golden) segments() {
	s := g.app("segments")
	listed := g.random.uuid()
	no := false
	rules := map[string]rollout.Rule{
		"platform": {Platform: []string{"ios", "electron"}}, "os": {VersionOS: ">=17,<18"}, "build": {VersionBuild: ">=1.5.0"},
		"name": {VersionName: "<1.0.0"}, "plugin": {PluginVersion: ">=8.0.0,<9"}, "debug": {IsProd: &no},
		"store": {InstallSource: []string{"google_play", "amazon_appstore"}}, "nobody": {},
	}
	s.Segments["people"] = rollout.Segment{Name: "people", DeviceIDs: []string{strings.ToUpper(listed)}, CustomIDs: []string{"Ann"}}
	names := []string{"people", "platform", "os", "build", "name", "plugin", "debug", "store", "nobody"}
	for i, name := range names {
		if rule, ok := rules[name]; ok {
			s.Segments[name] = rollout.Segment{Name: name, When: &rule}
		}
		lane(s, "for-"+name, "1.0.0", nil)
		r := runningRollout(rollout.Phase{Percent: 50 * rollout.OnePercent, Segments: []string{name}})
		r.ID, r.Channel, r.Salt, r.App = fmt.Sprintf("r-%s", name), "for-"+name, rollout.Salt{byte(i), 7}, s.App.ID
		s.Rollouts[r.ID] = r
	}
	members := map[string]func(*wireBody){
		"people": func(b *wireBody) { b.CustomID = "Ann" }, "platform": platform("electron"),
		"os": func(b *wireBody) { b.VersionOS = "17.6.1" }, "build": native("1.5.0"), "name": running("0.9.0"), "plugin": plugin("8.0.1"),
		"debug": debug, "store": func(b *wireBody) { b.InstallSource = "amazon_appstore" }, "nobody": nil,
	}
	strangers := map[string]func(*wireBody){
		"people": func(b *wireBody) { b.CustomID = "ANN" }, "platform": platform("android"),
		"os": func(b *wireBody) { b.VersionOS = "18" }, "build": native("1.4.9"), "name": running("1.2.0"), "plugin": plugin("7.51.21"),
		"debug": nil, "store": func(b *wireBody) { b.InstallSource = "sideload" }, "nobody": nil,
	}
	for i, name := range names {
		salt, lane := rollout.Salt{byte(i), 7}, on("for-"+name)
		for _, who := range []struct {
			name   string
			change func(*wireBody)
		}{{"member", members[name]}, {"stranger", strangers[name]}} {
			change := who.change
			if change == nil {
				change = func(*wireBody) {}
			}
			g.ask(name+"-"+who.name+"-low", &Facts{}, both(g.at(salt, 0, 50), lane, change))
			g.ask(name+"-"+who.name+"-high", &Facts{}, both(g.at(salt, 50, 100), lane, change))
		}
	}
	g.ask("people-listed", &Facts{}, both(on("for-people"), func(b *wireBody) { b.DeviceID = listed }))
	g.ask("name-followed", &Facts{}, both(g.at(rollout.Salt{4, 7}, 0, 50), on("for-name"), running("1.1.0")))
}

// boundary: the percentage is exactly a device's position, then one position more.
func (g *golden) boundary() {
	device := g.random.uuid()
	at := rollout.Percent(Position(testSalt, device))
	for _, edge := range []struct {
		name    string
		percent rollout.Percent
	}{{"boundary-outside", at}, {"boundary-inside", at + 1}} {
		s := g.app(edge.name)
		r := runningRollout(rollout.Phase{Percent: edge.percent})
		r.App = s.App.ID
		s.Rollouts["r1"] = r
		g.ask("device", &Facts{}, func(b *wireBody) { b.DeviceID = device })
	}
}

// strangers: random apps and devices, for what nobody thought of.
func (g *golden) strangers() {
	for i := range 8 {
		name := fmt.Sprintf("random-%d", i)
		s := g.app(name)
		app, revision := s.App, s.Revision
		*s = randomState(&g.random)
		s.App, s.Revision = app, revision
		for j := range 25 {
			c, f := randomCheck(&g.random, *s), randomFacts(&g.random, *s)
			if i > 0 {
				f.Channel, f.SetBy = "", "" // see askAcross
			}
			g.ask(fmt.Sprint(j), &f, func(b *wireBody) {
				b.CustomID, b.Platform, b.VersionBuild, b.VersionName = c.CustomID, c.Platform.String(), c.VersionBuild, c.VersionName
				b.VersionOS, b.PluginVersion, b.DefaultChannel, b.KeyID = c.VersionOS, c.PluginVersion, c.DefaultChannel, c.KeyID
				b.InstallSource, b.IsProd, b.IsEmulator = c.InstallSource, &c.IsProd, &c.IsEmulator
				if c.RunsBuiltin {
					b.VersionName = rollout.Builtin
				}
			})
		}
	}
}
