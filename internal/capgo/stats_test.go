package capgo_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
)

// event returns a good event's fields with changes; a nil change removes the field.
func event(changes map[string]any) map[string]any {
	e := map[string]any{
		"platform": "android", "device_id": "00009a6b-eefe-490a-9c60-8e965132ae51", "app_id": "com.demo.app", "custom_id": "",
		"version_build": "1.0.0", "version_code": "1", "version_os": "13", "version_name": "1.0.0", "plugin_version": "8.51.23",
		"is_emulator": false, "is_prod": true, "action": "set", "old_version_name": "",
	}
	maps.Copy(e, changes)
	maps.DeleteFunc(e, func(_ string, v any) bool { return v == nil })
	return e
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rawNull is a JSON null that event does not take for "remove".
var rawNull = json.RawMessage("null")

func TestEventRules(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, c := range map[string]struct {
		change map[string]any
		code   string // "" is taken
	}{
		"good":                              {nil, ""},
		"no action":                         {map[string]any{"action": nil}, capgo.CodeBody},
		"empty action":                      {map[string]any{"action": ""}, capgo.CodeBody},
		"numeric action":                    {map[string]any{"action": 3}, capgo.CodeBody},
		"action of 65":                      {map[string]any{"action": long}, capgo.CodeBody},
		"action with a space":               {map[string]any{"action": "set it"}, capgo.CodeBody},
		"action beyond ASCII":               {map[string]any{"action": "sét"}, capgo.CodeBody},
		"numeric device id":                 {map[string]any{"device_id": 7}, capgo.CodeBody},
		"no device id":                      {map[string]any{"device_id": nil}, capgo.CodeNoDeviceID},
		"bad version_build":                 {map[string]any{"version_build": "one"}, capgo.CodeSemver},
		"no version_build":                  {map[string]any{"version_build": nil}, ""},
		"empty version_build":               {map[string]any{"version_build": ""}, ""},
		"numeric version_build":             {map[string]any{"version_build": 1}, capgo.CodeBody},
		"bad plugin_version":                {map[string]any{"plugin_version": "x"}, ""},
		"no plugin_version":                 {map[string]any{"plugin_version": nil}, ""},
		"numeric plugin_version":            {map[string]any{"plugin_version": 8}, capgo.CodeBody},
		"no version_os":                     {map[string]any{"version_os": nil}, capgo.CodeBody},
		"null booleans":                     {map[string]any{"is_prod": rawNull, "is_emulator": rawNull}, ""},
		"boolean as text":                   {map[string]any{"is_prod": "true"}, capgo.CodeBody},
		"other platform":                    {map[string]any{"platform": "harmony"}, ""},
		"no platform":                       {map[string]any{"platform": nil}, capgo.CodeBody},
		"custom_id of 36":                   {map[string]any{"custom_id": long[:36]}, ""},
		"custom_id of 37":                   {map[string]any{"custom_id": long[:37]}, capgo.CodeBody},
		"key_id of 21":                      {map[string]any{"key_id": long[:21]}, capgo.CodeBody},
		"install_source of 65":              {map[string]any{"install_source": long}, capgo.CodeBody},
		"no version_name on set":            {map[string]any{"version_name": nil}, capgo.CodeBody},
		"no version_name on update_fail":    {map[string]any{"version_name": nil, "action": "update_fail"}, capgo.CodeBody},
		"no version_name on download_fail":  {map[string]any{"version_name": nil, "action": "download_fail"}, ""},
		"null version_name on low_mem_fail": {map[string]any{"version_name": rawNull, "action": "low_mem_fail"}, ""},
		"no version_name, disk full":        {map[string]any{"version_name": nil, "action": "insufficient_disk_space"}, ""},
		"numeric version_name":              {map[string]any{"version_name": 1}, capgo.CodeBody},
		"numeric old_version_name":          {map[string]any{"old_version_name": 1}, capgo.CodeBody},
		"no old_version_name":               {map[string]any{"old_version_name": nil}, ""},
		"old_version_name of 128":           {map[string]any{"old_version_name": strings.Repeat("é", 128)}, ""},
		"old_version_name of 129":           {map[string]any{"old_version_name": strings.Repeat("v", 129)}, capgo.CodeBody},
		"version_name of 128":               {map[string]any{"version_name": strings.Repeat("é", 128)}, ""},
		"version_name of 129":               {map[string]any{"version_name": strings.Repeat("v", 129)}, capgo.CodeBody},
		"file of 1024":                      {map[string]any{"version_name": strings.Repeat("v", 128) + ":" + strings.Repeat("é", 1024)}, ""},
		"file of 1025":                      {map[string]any{"version_name": "1.0.0:" + strings.Repeat("f", 1025)}, capgo.CodeBody},
		"metadata value no string":          {map[string]any{"metadata": map[string]any{"a": 1}}, capgo.CodeBody},
		"metadata key of 65":                {map[string]any{"metadata": map[string]any{long: "v"}}, capgo.CodeBody},
		"metadata value of 2048":            {map[string]any{"metadata": map[string]any{"k": strings.Repeat("é", 2048)}}, ""},
		"metadata value of 2049":            {map[string]any{"metadata": map[string]any{"k": strings.Repeat("é", 2049)}}, capgo.CodeBody},
		"metadata null":                     {map[string]any{"metadata": rawNull}, capgo.CodeBody},
		"timestamp is text":                 {map[string]any{"timestamp": "soon"}, ""},
	} {
		good := event(map[string]any{"action": "get"})
		_, refusal := capgo.ParseStats(encode(t, event(c.change)))
		if (refusal == nil) != (c.code == "") || refusal != nil && (refusal.Code != c.code || refusal.Status != capgo.StatusBadRequest) {
			t.Errorf("%s alone: %+v, want %q", name, refusal, c.code)
		}
		batch, refusal := capgo.ParseStats(encode(t, []any{good, event(c.change), good}))
		if refusal != nil {
			t.Errorf("%s cost its batch: %+v", name, refusal)
			continue
		}
		var got string
		if batch.Items[1].Refusal != nil {
			got = batch.Items[1].Refusal.Code
		}
		if got != c.code || !batch.Items[0].Use() || !batch.Items[2].Use() {
			t.Errorf("%s in a batch: %q, want %q", name, got, c.code)
		}
	}
}

// TestUnknownActions sends actions of plugins yet to come: they are kept in a batch and refused alone.
func TestUnknownActions(t *testing.T) {
	for _, action := range []string{"brand_new_event", strings.Repeat("x", 64)} {
		e := event(map[string]any{"action": action})
		if _, refusal := capgo.ParseStats(encode(t, e)); refusal == nil || refusal.Code != capgo.CodeBody || refusal.Field != "action" {
			t.Errorf("%s alone: %+v", action, refusal)
		}
		batch, refusal := capgo.ParseStats(encode(t, []any{e}))
		if refusal != nil || !batch.Items[0].Use() || batch.Items[0].Event.Known {
			t.Errorf("%s in a batch: %+v", action, refusal)
		}
	}
}

func TestEventFields(t *testing.T) {
	body := encode(t, event(map[string]any{
		"device_id": "00009A6B-EEFE-490A-9C60-8E965132AE51", "action": "download_manifest_file_fail", "version_build": "1.0",
		"version_name": "1.2.3:assets/a:b.js", "old_version_name": "1.2.2", "timestamp": 1790000000000.5,
		"metadata": map[string]string{"a": "b", "ü\n": `"`}, "is_prod": false,
	}))
	batch, refusal := capgo.ParseStats(body)
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	e := batch.Items[0].Event
	if e.Version != "1.2.3" || e.File != "assets/a:b.js" || e.OldVersion != "1.2.2" || e.Timestamp != 1790000000000 || !e.Known ||
		e.VersionMissing || !maps.Equal(e.Metadata, map[string]string{"a": "b", "ü\n": `"`}) {
		t.Errorf("%+v", e)
	}
	if c := e.Check; c.DeviceID != "00009a6b-eefe-490a-9c60-8e965132ae51" || c.VersionName != "1.2.3" || c.VersionBuild != "1.0.0" || c.IsProd {
		t.Errorf("%+v", c)
	}
}

// TestEventsDoNotShareText parses events whose texts all need scratch memory and looks at all of them afterwards.
func TestEventsDoNotShareText(t *testing.T) {
	var events []string
	for i := range 200 {
		events = append(events, strings.Replace(string(encode(t, event(map[string]any{"version_name": fmt.Sprintf("1.0.%d", i)}))),
			`"version_name":"1`, `"version_name":"\u0031`, 1))
	}
	batch, refusal := capgo.ParseStats([]byte("[" + strings.Join(events, " , ") + "]"))
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	for i, it := range batch.Items {
		if want := fmt.Sprintf("1.0.%d", i); it.Event.Version != want {
			t.Errorf("event %d is about %s, want %s", i, it.Event.Version, want)
		}
	}
}

// TestTheLastOfEqualKeysCounts doubles keys with values of other types.
func TestTheLastOfEqualKeysCounts(t *testing.T) {
	good := strings.TrimSuffix(string(encode(t, event(nil))), "}")
	for members, ok := range map[string]bool{
		`"metadata":{"a":"b"},"metadata":""`:          false,
		`"metadata":"","metadata":{"a":"b"}`:          true,
		`"metadata":true,"metadata":{}`:               true,
		`"timestamp":1,"timestamp":""`:                true,
		`"timestamp":"","timestamp":7`:                true,
		`"old_version_name":1`:                        false,
		`"action":1,"action":"set"`:                   true,
		`"action":"set","action":1`:                   false,
		`"version_name":null,"version_name":"1"`:      true,
		`"is_prod":"x","is_prod":true`:                true,
		`"is_prod":true,"is_prod":"x"`:                false,
		`"is_prod":false,"is_prod":true,"a":{},"a":1`: true,
	} {
		_, refusal := capgo.ParseStats([]byte(good + "," + members + "}"))
		if (refusal == nil) != ok {
			t.Errorf("%s: %+v", members, refusal)
		}
	}
}

func TestTimestamps(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1790000000000": 1790000000000, "1.79e12": 1790000000000, "-5": 0, "1e300": 0, "1e999": 0, "true": 0} {
		batch, refusal := capgo.ParseStats(encode(t, event(map[string]any{"timestamp": json.RawMessage(text)})))
		if refusal != nil || batch.Items[0].Event.Timestamp != want {
			t.Errorf("%s: %+v %+v", text, batch, refusal)
		}
	}
}

func TestVersionsOfEvents(t *testing.T) {
	has := func(version string) bool { return version == "2.0.0" }
	for name, c := range map[string]struct {
		change map[string]any
		ok     bool
	}{
		"a bundle":              {map[string]any{"version_name": "2.0.0"}, true},
		"a file of a bundle":    {map[string]any{"version_name": "2.0.0:index.html"}, true},
		"no bundle":             {map[string]any{"version_name": "2.0.1"}, false},
		"a file of no bundle":   {map[string]any{"version_name": "2.0.1:a.js"}, false},
		"empty":                 {map[string]any{"version_name": ""}, false},
		"empty with a file":     {map[string]any{"version_name": ":index.html"}, false},
		"builtin":               {map[string]any{"version_name": "builtin"}, true},
		"unknown":               {map[string]any{"version_name": "unknown"}, true},
		"native":                {map[string]any{"version_name": "3.1.0", "version_build": "3.1.0"}, true},
		"native as it was sent": {map[string]any{"version_name": "3.1", "version_build": "3.1"}, true},
		"missing":               {map[string]any{"version_name": nil, "action": "download_fail"}, true},
	} {
		batch, refusal := capgo.ParseStats(encode(t, event(c.change)))
		if refusal != nil {
			t.Fatalf("%s: %+v", name, refusal)
		}
		batch.CheckVersions(has)
		answer := decode(t, batch.Append(nil))
		if batch.Items[0].Use() != c.ok || (answer["status"] == "ok") != c.ok || (answer["error"] == capgo.CodeNoVersion) == c.ok {
			t.Errorf("%s: %v", name, answer)
		}
		if !c.ok && (answer["version_name"] != c.change["version_name"] || answer["app_id"] != "com.demo.app") {
			t.Errorf("%s: the answer must say what was not found: %v", name, answer)
		}
	}
}

func TestLegacyDownloadFailures(t *testing.T) {
	for plugin, spurious := range map[string]bool{
		"4.61.11": true, "5.50.2": true, "6.14.24": true, "6.14.25": false, "6.51.16": false, "7.0.0": true, "7.16.9": true,
		"7.17.0": false, "8.51.23": false, "": true, "latest": true,
	} {
		for action, legacy := range map[string]bool{"download_fail": true, "update_fail": false} {
			batch, refusal := capgo.ParseStats(encode(t, event(map[string]any{"plugin_version": plugin, "action": action})))
			if refusal != nil {
				t.Fatalf("%s of %s: %+v", action, plugin, refusal)
			}
			if it := batch.Items[0]; it.Event.Spurious != (spurious && legacy) || !it.Use() {
				t.Errorf("%s of %s: %+v", action, plugin, it)
			}
		}
	}
}

func TestLegacyFailuresAreAboutNoBundle(t *testing.T) {
	batch, refusal := capgo.ParseStats(encode(t, event(map[string]any{
		"plugin_version": "7.16.9", "action": "download_fail", "version_name": "9.9.9",
	})))
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	if batch.CheckVersions(func(string) bool { return false }); !batch.Items[0].Use() {
		t.Errorf("refused: %+v", batch.Items[0].Refusal)
	}
}

// TestBatchOfSeveralApps takes the events of the first app and says of each other one why it was not taken.
func TestBatchOfSeveralApps(t *testing.T) {
	body := encode(t, []any{nil, event(map[string]any{"app_id": 3}), event(nil), event(map[string]any{"app_id": "com.other.app"}), event(nil), "x"})
	batch, refusal := capgo.ParseStats(body)
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	var answer struct {
		Status, Error string
		Results       []struct {
			Status, Error string
			Index         int
		}
	}
	if err := json.Unmarshal(batch.Append(nil), &answer); err != nil {
		t.Fatal(err)
	}
	var codes []string
	for i, r := range answer.Results {
		if r.Index != i || (r.Status == "ok") != (r.Error == "") || (r.Error == "") != batch.Items[i].Use() {
			t.Errorf("result %d: %+v", i, r)
		}
		codes = append(codes, r.Error)
	}
	want := []string{capgo.CodeAppID, capgo.CodeAppID, "", capgo.CodeMixedApps, "", capgo.CodeAppID}
	if batch.AppID != "com.demo.app" || answer.Error != capgo.CodeAppID || !slices.Equal(codes, want) {
		t.Errorf("app %s, error %s, codes %q", batch.AppID, answer.Error, codes)
	}
}

func TestRefusedBatches(t *testing.T) {
	many := "[" + strings.Repeat("{},", capgo.MaxEvents) + "{}]"
	for body, want := range map[string]string{
		"": capgo.CodeParse, "[": capgo.CodeParse, "[]]": capgo.CodeParse, "[1,]": capgo.CodeParse, "[1 2]": capgo.CodeParse,
		"[{]": capgo.CodeParse, "[,]": capgo.CodeParse, `[{}`: capgo.CodeParse, "null": capgo.CodeAppID, `"x"`: capgo.CodeAppID, "7": capgo.CodeAppID,
		"{}": capgo.CodeAppID, "[{}]": capgo.CodeAppID, "[null]": capgo.CodeAppID, many: capgo.CodeBody,
	} {
		_, refusal := capgo.ParseStats([]byte(body))
		if refusal == nil || refusal.Code != want || refusal.Status != capgo.StatusBadRequest {
			t.Errorf("%.40s: %+v, want %s", body, refusal, want)
		}
	}
}

func TestRefuseAll(t *testing.T) {
	batch, refusal := capgo.ParseStats(encode(t, []any{event(nil), event(nil)}))
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	if r := batch.RefuseAll(capgo.UnknownApp()); r.Code != capgo.CodeUnknownApp || batch.Items[0].Use() || batch.Items[1].Use() {
		t.Errorf("%+v", batch)
	}
}

// TestKnownActions reads every action of the recorded requests and some that nobody sends.
func TestKnownActions(t *testing.T) {
	for action, known := range map[string]bool{
		"set": true, "download_0": true, "download_90": true, "download_100": false, "app_crash": true, "webview_page_loaded": true,
		"InvalidIp": true, "session_key_required": true, "Set": false, "x": false, "backend_refusal": true,
	} {
		batch, refusal := capgo.ParseStats(encode(t, []any{event(map[string]any{"action": action})}))
		if refusal != nil || batch.Items[0].Event.Known != known {
			t.Errorf("%s: %+v", action, refusal)
		}
	}
	for _, p := range loadPayloads(t) {
		if p.Path != "<statsUrl>" {
			continue
		}
		batch, refusal := capgo.ParseStats(p.compact(t))
		if refusal != nil {
			t.Fatal(refusal.Message)
		}
		for _, it := range batch.Items {
			if !it.Use() || !it.Event.Known || it.Event.Check.Platform == resolve.PlatformOther {
				t.Errorf("%s: %+v", p.Name, it)
			}
		}
	}
}
