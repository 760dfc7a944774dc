package capgo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// channelState has a public channel of Android, one of iOS, a private one that devices may choose and one they may not.
func channelState() rollout.State {
	s := benchState()
	channel := func(name string, number int64, public, selfSet, ios, android bool) {
		c := rollout.NewChannel(name)
		c.Number, c.Public, c.AllowDeviceSelfSet, c.IOS, c.Android, c.Bundle = number, public, selfSet, ios, android, "4.0.3"
		s.Channels[name] = c
	}
	s.Channels = map[string]rollout.Channel{}
	channel("stable", 1, true, true, false, true)
	channel("apple", 2, true, false, true, false)
	channel("beta", 3, false, true, true, true)
	channel("secret", 4, false, false, true, true)
	return s
}

const (
	newPlugin = "8.51.23"
	oldPlugin = "7.33.9"
)

func channelCheck(plugin string) *resolve.Check {
	v, _ := resolve.ParseVersion(plugin)
	return &resolve.Check{Platform: resolve.Android, Plugin: v, PluginVersion: plugin, IsProd: true}
}

func TestChannelCalls(t *testing.T) {
	p := newPlayer(t, channelState())
	set := func(plugin, own, name string) capgo.ChannelAnswer {
		return capgo.SetChannel(p.snapshot, channelCheck(plugin), &resolve.Facts{Channel: own}, name)
	}
	get := func(plugin, own, name, keeps string) capgo.ChannelAnswer {
		c := channelCheck(plugin)
		c.DefaultChannel = keeps
		return capgo.GetChannel(p.snapshot, c, &resolve.Facts{Channel: own}, name)
	}
	unset := func(plugin, own string) capgo.ChannelAnswer {
		return capgo.UnsetChannel(p.snapshot, channelCheck(plugin), &resolve.Facts{Channel: own})
	}
	for name, c := range map[string]struct {
		got    capgo.ChannelAnswer
		want   string // the body, or the error of one
		effect capgo.Effect
	}{
		"set nothing":                      {set(newPlugin, "", ""), "missing_channel", capgo.EffectNone},
		"set, no such channel":             {set(newPlugin, "", "nope"), "channel_not_found", capgo.EffectNone},
		"set, public and closed":           {set(newPlugin, "", "apple"), "public_channel_self_set_not_allowed", capgo.EffectNone},
		"set, private and closed":          {set(newPlugin, "", "secret"), "channel_self_set_not_allowed", capgo.EffectNone},
		"set, device keeps it":             {set(newPlugin, "", "beta"), `{"status":"ok","allowSet":true}`, capgo.EffectNone},
		"set, device keeps it, override":   {set(newPlugin, "secret", "beta"), `{"status":"ok","allowSet":true}`, capgo.EffectNone},
		"old set":                          {set(oldPlugin, "", "beta"), `{"status":"ok"}`, capgo.EffectSet},
		"old set to the public one":        {set(oldPlugin, "beta", "stable"), `{"status":"ok"}`, capgo.EffectClear},
		"old set, override closed":         {set(oldPlugin, "secret", "beta"), "cannot_override", capgo.EffectNone},
		"old set, override gone":           {set(oldPlugin, "gone", "beta"), `{"status":"ok"}`, capgo.EffectSet},
		"get, named":                       {get(newPlugin, "", "x", ""), `{"channel":"x","status":"override","allowSet":true}`, capgo.EffectNone},
		"get, kept":                        {get(newPlugin, "", "", "beta"), `{"channel":"beta","status":"default"}`, capgo.EffectNone},
		"get, nothing kept":                {get(newPlugin, "", "", ""), `{"channel":"production","status":"default"}`, capgo.EffectNone},
		"old get, override":                {get(oldPlugin, "beta", "", ""), `{"channel":"beta","status":"override","allowSet":true}`, capgo.EffectNone},
		"old get, closed override":         {get(oldPlugin, "secret", "", ""), `{"channel":"secret","status":"override","allowSet":false}`, capgo.EffectNone},
		"old get, public":                  {get(oldPlugin, "", "", ""), `{"channel":"stable","status":"default"}`, capgo.EffectNone},
		"old get, default channel":         {get(oldPlugin, "", "", "beta"), `{"channel":"beta","status":"default"}`, capgo.EffectNone},
		"old get, default channel closed":  {get(oldPlugin, "", "", "secret"), `{"channel":"secret","status":"default"}`, capgo.EffectNone},
		"old get, default channel of iOS":  {get(oldPlugin, "", "", "apple"), `{"channel":"apple","status":"default"}`, capgo.EffectNone},
		"old get, no such default channel": {get(oldPlugin, "", "", "nope"), "channel_not_found", capgo.EffectNone},
		"unset, device keeps it":           {unset(newPlugin, "secret"), `{"status":"ok"}`, capgo.EffectNone},
		"old unset":                        {unset(oldPlugin, "beta"), `{"status":"ok"}`, capgo.EffectClear},
		"old unset, override closed":       {unset(oldPlugin, "secret"), "cannot_override", capgo.EffectNone},
		"old unset, no override":           {unset(oldPlugin, ""), "cannot_override", capgo.EffectNone},
		"5.x, where the device starts to":  {set("5.34.0", "", "beta"), `{"status":"ok","allowSet":true}`, capgo.EffectNone},
		"6.x, where the server still does": {set("6.33.9", "", "beta"), `{"status":"ok"}`, capgo.EffectSet},
		"9.0.0, which is old":              {set("9.0.0", "", "beta"), `{"status":"ok"}`, capgo.EffectSet},
	} {
		want := c.want
		if !strings.HasPrefix(want, "{") {
			body := decode(t, c.got.Body)
			if body["error"] != want || body["message"] == "" || body["status"] != nil {
				t.Errorf("%s: %s", name, c.got.Body)
			}
		} else if string(c.got.Body) != want {
			t.Errorf("%s: %s, want %s", name, c.got.Body, want)
		}
		if c.got.Effect != c.effect || (c.effect == capgo.EffectSet) != (c.got.Channel == "beta") {
			t.Errorf("%s: effect %d on %q, want %d", name, c.got.Effect, c.got.Channel, c.effect)
		}
	}
}

func TestListChannels(t *testing.T) {
	state := channelState()
	beta := state.Channels["beta"]
	beta.AllowDev, beta.AllowEmulator = false, false
	state.Channels["beta"] = beta
	p := newPlayer(t, state)
	for name, c := range map[string]struct {
		change func(*resolve.Check)
		want   string
	}{
		"android": {func(*resolve.Check) {}, `[{"id":1,"name":"stable","public":true,"allow_self_set":true},{"id":3,"name":"beta","public":false,"allow_self_set":true}]`},
		"ios": {func(c *resolve.Check) { c.Platform = resolve.IOS },
			`[{"id":2,"name":"apple","public":true,"allow_self_set":false},{"id":3,"name":"beta","public":false,"allow_self_set":true}]`},
		"dev build": {func(c *resolve.Check) { c.IsProd = false }, `[{"id":1,"name":"stable","public":true,"allow_self_set":true}]`},
		"emulator":  {func(c *resolve.Check) { c.IsEmulator = true }, `[{"id":1,"name":"stable","public":true,"allow_self_set":true}]`},
		"nowhere":   {func(c *resolve.Check) { c.Platform = resolve.PlatformOther }, `[]`},
	} {
		check := channelCheck(newPlugin)
		c.change(check)
		if got := string(capgo.ListChannels(p.snapshot, check).Body); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestChannelRequests(t *testing.T) {
	good := encode(t, event(map[string]any{"action": nil, "channel": "beta", "version_name": ""}))
	with := func(changes map[string]any) []byte {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		for key, value := range changes {
			m[key] = value
			if value == nil {
				delete(m, key)
			}
		}
		return encode(t, m)
	}
	for name, c := range map[string]struct {
		body []byte
		code string
	}{
		"good":              {good, ""},
		"no plugin_version": {with(map[string]any{"plugin_version": nil}), ""},
		"no version_os":     {with(map[string]any{"version_os": nil}), ""},
		"no version_name":   {with(map[string]any{"version_name": nil}), capgo.CodeBody},
		"bad plugin":        {with(map[string]any{"plugin_version": "x"}), ""},
		"empty build":       {with(map[string]any{"version_build": ""}), ""},
		"bad build":         {with(map[string]any{"version_build": "x"}), capgo.CodeSemver},
		"no build":          {with(map[string]any{"version_build": nil}), capgo.CodeBody},
		"null boolean":      {with(map[string]any{"is_prod": rawNull}), ""},
		"numeric channel":   {with(map[string]any{"channel": 1}), capgo.CodeBody},
		"other platform":    {with(map[string]any{"platform": "web"}), capgo.CodeBody},
		"not JSON":          {[]byte("{"), capgo.CodeParse},
		"array":             {[]byte("[]"), capgo.CodeBody},
	} {
		var r capgo.Request
		for call, refusal := range map[string]*capgo.Refusal{"body": r.ParseChannel(c.body), "unset": r.ParseUnset("", c.body)} {
			if (refusal == nil) != (c.code == "") || refusal != nil && refusal.Code != c.code {
				t.Errorf("%s, %s: %+v", name, call, refusal)
			}
		}
		if c.code == "" && (r.Channel != "beta" || !r.HasChannel || r.Check.DeviceID == "") {
			t.Errorf("%s: %+v", name, r)
		}
		if c.code == "" && resolve.StoresChannelOnDevice(r.Check.Plugin) == (name == "bad plugin") {
			t.Errorf("%s: the plugin counts as %+v", name, r.Check.Plugin)
		}
	}
}

func TestChannelQueries(t *testing.T) {
	const list = "app_id=com.demo.app&platform=ios&is_emulator=true&is_prod=false"
	const whole = list + "&device_id=00009A6B-EEFE-490A-9C60-8E965132AE51&version_build=1.0&version_name=builtin&custom_id=a+b%C3%A9"
	for name, c := range map[string]struct {
		query       string
		list, unset string
	}{
		"what 7.5 sends":   {list, "", capgo.CodeNoDeviceID},
		"whole":            {whole, "", ""},
		"empty":            {"", capgo.CodeQuery, capgo.CodeQuery},
		"bad device":       {"device_id=x&" + whole, "", capgo.CodeQuery},
		"bad escape":       {whole + "&x=%g0", capgo.CodeQuery, capgo.CodeQuery},
		"bad UTF-8":        {whole + "&x=%ff", capgo.CodeQuery, capgo.CodeQuery},
		"bad boolean":      {"is_prod=1&" + whole, capgo.CodeQuery, capgo.CodeQuery},
		"bad build":        {"version_build=x&" + whole, capgo.CodeSemver, capgo.CodeSemver},
		"no platform":      {strings.Replace(whole, "platform=ios", "", 1), capgo.CodeQuery, capgo.CodeQuery},
		"no app":           {"platform=ios", capgo.CodeNoAppID, capgo.CodeNoDeviceID},
		"the first counts": {"platform=ios&" + whole + "&platform=x&app_id=y", "", ""},
	} {
		var list, unset capgo.Request
		for call, got := range map[string][2]any{
			c.list + " list":   {list.ParseList(c.query), c.list},
			c.unset + " unset": {unset.ParseUnset(c.query, nil), c.unset},
		} {
			refusal, code := got[0].(*capgo.Refusal), got[1].(string)
			if (refusal == nil) != (code == "") || refusal != nil && refusal.Code != code {
				t.Errorf("%s, %s: %+v", name, call, refusal)
			}
		}
	}
	var r capgo.Request
	if refusal := r.ParseList(whole); refusal != nil {
		t.Fatal(refusal.Message)
	}
	if c := r.Check; c.DeviceID != "00009a6b-eefe-490a-9c60-8e965132ae51" || c.CustomID != "a bé" || !c.IsEmulator || c.IsProd ||
		c.VersionBuild != "1.0.0" || c.VersionName != "1.0.0" || !c.RunsBuiltin || c.Platform != resolve.IOS {
		t.Errorf("%+v", c)
	}
	if refusal := r.ParseUnset(whole, []byte("{")); refusal != nil {
		t.Errorf("a query and a body: the query counts, not %+v", refusal)
	}
}

func TestManifestSizes(t *testing.T) {
	info := strings.TrimSuffix(string(benchBody), "}")
	entry := `{"file_name":"a","file_hash":"1","download_url":"https://x.example/a","more":[1]}`
	for manifest, want := range map[string]int{
		`[` + entry + ` , ` + strings.Replace(entry, `"a"`, `"b"`, 1) + ` ]`: 2, `[` + entry + `,` + entry + `]`: 1, `[]`: 0, `[ ]`: 0,
		`{}`: -1, `null`: -1, `"x"`: -1, `[1]`: -1, `[[]]`: -1, `[{} , ` + entry + `]`: 1,
		`[{"file_name":"","file_hash":"1","download_url":"u"}]`: 1, `[{"file_name":"a","file_hash":1,"download_url":"u"}]`: 0,
		`[` + strings.Repeat(entry+",", capgo.MaxManifest) + entry + `]`: -1, // -1 is refused
	} {
		var r capgo.Request
		files, refusal := r.ParseManifestSize([]byte(info + `,"version":"4.0.3","manifest":` + manifest + `}`))
		if (refusal != nil) != (want < 0) || refusal != nil && refusal.Code != capgo.CodeBody || refusal == nil && len(files) != want {
			t.Errorf("%.60s: %v %+v", manifest, files, refusal)
		}
	}
	var r capgo.Request
	files, refusal := r.ParseManifestSize([]byte(info + `,"manifest":[` + entry + `,` + strings.Replace(entry, `"1"`, `"\u0032"`, 1) + `]}`))
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	got := string(capgo.AppendManifestSizes(nil, files, func(hash, url string) (int64, bool) { return 42, hash == "2" && url != "" }))
	const want = `{"totalSize":42,"knownFiles":1,"unknownFiles":1,"files":[` +
		`{"file_name":"a","file_hash":"1","download_url":"https://x.example/a","error":"size_unknown"},` +
		`{"file_name":"a","file_hash":"2","download_url":"https://x.example/a","size":42}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r.Check.AppID == "" {
		t.Error("the Check was lost while the manifest was read")
	}
	if all := string(capgo.AppendManifestSizes(nil, files, nil)); !strings.Contains(all, `"unknownFiles":2`) {
		t.Error(all)
	}
	const unsaid = `"files":[{"file_name":null,"file_hash":"1","download_url":null,"error":"size_unknown"}]`
	if got := string(capgo.AppendManifestSizes(nil, []rollout.ManifestFile{{FileHash: "1"}}, nil)); !strings.Contains(got, unsaid) {
		t.Error(got)
	}
}
