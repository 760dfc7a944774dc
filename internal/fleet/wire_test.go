package fleet

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/telemetry"
)

// payload is one recorded request of a real plugin.
type payload struct {
	Name          string            `json:"name"`
	PluginVersion string            `json:"plugin_version"`
	Platform      string            `json:"platform"`
	Path          string            `json:"path"`
	Headers       map[string]string `json:"headers"`
	Body          json.RawMessage   `json:"body"`
}

// keysOf returns the keys of a JSON object in their order.
func keysOf(t *testing.T, object []byte) (keys []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	depth, key := 0, true
	for {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			key = true
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			key = true
			continue
		}
		if depth == 1 && key {
			keys = append(keys, token.(string))
		}
		key = !key
	}
}

// wireFleet is a fleet whose devices can be made by hand.
func wireFleet(t testing.TB, c Config) *fleet {
	t.Helper()
	c.BaseURL, c.App = "http://palier.test", "com.example.shop"
	f, err := newFleet(c.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func deviceFor(t *testing.T, f *fleet, plugin, platform, system string) *device {
	t.Helper()
	p, err := newPlugin(plugin)
	if err != nil {
		t.Fatal(err)
	}
	d := &device{dice: diceOf(1, 1), plugin: p, platform: platform, osVersion: system, prod: true, running: f.store, previous: f.store, installSource: "-"}
	d.id = d.dice.uuid()
	if p.installSource {
		d.installSource = installSource(platform, true)
	}
	d.header = f.pluginHeader(d)
	return d
}

// Real plugins' requests and the fleet's have the same fields, on Android in the same order, and the same headers.
func TestRequestsLookLikeRecordedOnes(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/protocol/payloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var payloads []payload
	if err := json.Unmarshal(raw, &payloads); err != nil {
		t.Fatal(err)
	}
	f, compared := wireFleet(t, Config{}), 0
	for _, p := range payloads {
		var info struct {
			OS     string `json:"version_os"`
			Action string `json:"action"`
			Key    string `json:"key_id"`
		}
		_ = json.Unmarshal(p.Body, &info) // a batch leaves it empty
		if p.Path != "<updateUrl>" && (p.Path != "<statsUrl>" || info.Action == "") {
			continue
		}
		compared++
		d := deviceFor(t, f, p.PluginVersion, p.Platform, info.OS)
		body := f.appendCheck(nil, d)
		if info.Action != "" {
			body = f.appendEvent(nil, d, event{action: info.Action, version: "4.0.2", worker: strings.Contains(p.Name, "worker")})
		}
		got, want := keysOf(t, body), keysOf(t, p.Body)
		if info.Key != "" {
			want = slices.DeleteFunc(want, func(k string) bool { return k == "key_id" }) // the fleet encrypts nothing
		}
		if p.Platform == "ios" {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: fields\n%v\nrecorded\n%v", p.Name, got, want)
		}
		for name, value := range p.Headers {
			if name == "User-Agent" && strings.HasPrefix(value, "(") || p.Path == "<statsUrl>" && name == "Content-Type" {
				continue // of the HTTP library; and both spellings of JSON are the same
			}
			if d.header.Get(name) != value {
				t.Errorf("%s: header %s %q, recorded %q", p.Name, name, d.header.Get(name), value)
			}
		}
	}
	if compared < 8 {
		t.Errorf("only %d recorded requests compared", compared)
	}
}

func TestBatchLooksLikeARecordedOne(t *testing.T) {
	f := wireFleet(t, Config{})
	d := deviceFor(t, f, "8.51.23", "android", "15")
	f.boot(d)
	body := f.appendBatch(nil, d, d.queue)
	var events []json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil || len(events) != 3 {
		t.Fatalf("%v: %s", err, body)
	}
	want := []string{
		"platform", "device_id", "app_id", "custom_id", "version_build", "version_code", "version_os", "version_name",
		"plugin_version", "is_emulator", "is_prod", "install_source", "defaultChannel", "old_version_name", "action",
		"timestamp", "metadata",
	}
	if got := keysOf(t, events[1]); !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}

func TestStoreBuildsName(t *testing.T) {
	f := wireFleet(t, Config{StoreVersion: "3.2.1"})
	for plugin, want := range map[string]string{
		"5.9.5": "builtin", "7.17.0": "builtin", "8.43.11": "builtin", "8.44.0": "3.2.1", "8.51.23": "3.2.1", "7.51.20": "3.2.1", "10.0.0": "builtin",
	} {
		var check map[string]any
		if err := json.Unmarshal(f.appendCheck(nil, deviceFor(t, f, plugin, "android", "15")), &check); err != nil {
			t.Fatal(err)
		}
		if check["version_name"] != want || check["version_build"] != "3.2.1" {
			t.Errorf("plugin %s: %v on %v, want %s on 3.2.1", plugin, check["version_name"], check["version_build"], want)
		}
	}
}

func TestOldIOSSendsUpperCaseIDs(t *testing.T) {
	s := &script{}
	c := mixed()
	play(t, c, s)
	upper := 0
	for _, r := range s.requests {
		id := r.bodies[0]["device_id"].(string)
		old := r.bodies[0]["platform"] == "ios" && r.bodies[0]["plugin_version"] == "5.9.5"
		if old {
			upper++
		}
		if (id == strings.ToUpper(id)) != old {
			t.Fatalf("%s from %v %v", id, r.bodies[0]["platform"], r.bodies[0]["plugin_version"])
		}
	}
	if upper == 0 {
		t.Error("no old iOS device in the fleet: choose another seed")
	}
}

func TestOldPluginsSendOneEventARequest(t *testing.T) {
	s := &script{check: offering("1.1.0")}
	play(t, mixed(), s)
	for _, r := range s.requests {
		if r.path != "/stats" {
			continue
		}
		v := r.bodies[0]["plugin_version"].(string)
		batches := v == "8.51.23" || v == "7.51.20"
		worker := strings.HasPrefix(r.bodies[0]["action"].(string), "download_zip_")
		if r.array != (batches && !worker) {
			t.Fatalf("plugin %s sent %s", v, r.raw)
		}
		if _, timed := r.bodies[0]["timestamp"]; timed != r.array {
			t.Fatalf("plugin %s: timestamp %v: %s", v, timed, r.raw)
		}
	}
}

func TestStringsAreEscaped(t *testing.T) {
	for _, text := range []string{"", "1.0.0", `a"b\c`, "line\nend", "Zürich", "\x7f", "bad \xff byte"} {
		var got string
		if err := json.Unmarshal(appendString(nil, text), &got); err != nil || got != strings.ToValidUTF8(text, "\uFFFD") {
			t.Errorf("%q became %s (%v)", text, appendString(nil, text), err)
		}
	}
}

// The body of /telemetry is what the server's own parser takes without a remark.
func TestMetricsAreValid(t *testing.T) {
	c, s := mixed(), &script{check: offering("1.1.0")}
	c.Metrics = .5
	c.Baseline = Behaviour{ErrorRate: .5, NegativeFeedback: .5, FeatureUse: .5}
	r := play(t, c, s)
	wantNoViolations(t, r)
	types, devices := map[telemetry.MetricType]int{}, map[string]bool{}
	for _, q := range s.requests {
		if q.path != "/telemetry" {
			continue
		}
		batch, err := telemetry.ParseMetrics([]byte(q.raw))
		if err != nil || len(batch.Rejected) > 0 {
			t.Fatalf("%v, rejected %v: %s", err, batch.Rejected, q.raw)
		}
		devices[batch.DeviceID] = true
		for _, m := range batch.Metrics {
			types[m.Type]++
			if m.At == 0 {
				t.Fatalf("no time: %s", q.raw)
			}
		}
	}
	for _, want := range []telemetry.MetricType{
		telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricSessionLength, telemetry.MetricFeatureUse,
		telemetry.MetricJSError, telemetry.MetricFeedback,
	} {
		if types[want] == 0 {
			t.Errorf("no %s among %v", want, types)
		}
	}
	if len(devices) < 18 || len(devices) > 42 {
		t.Errorf("%d of 60 devices report metrics, want about half", len(devices))
	}
}

func TestPluginTable(t *testing.T) {
	for _, c := range []struct {
		version                                    string
		batches, requeues, muted, manifest, launch bool
		refusal                                    refusal
	}{
		{"5.9.5", false, false, false, false, false, refusalAsDownloadFail},
		{"5.10.0", false, false, false, true, false, refusalAsDownloadFail},
		{"6.14.24", false, false, false, false, false, refusalAsDownloadFail},
		{"6.14.26", false, false, false, false, false, refusalAsBackend},
		{"6.25.0", false, false, false, true, false, refusalAsBackend},
		{"7.16.0", false, false, false, true, false, refusalAsDownloadFail},
		{"7.17.0", false, false, false, true, false, refusalAsBackend},
		{"7.23.8", false, false, true, true, false, refusalAsBackend},
		{"7.51.20", true, true, false, true, true, refusalByKind},
		{"8.40.5", false, false, true, true, false, refusalQuiet},
		{"8.45.10", true, false, true, true, false, refusalQuiet},
		{"8.51.4", true, false, true, true, true, refusalByKind},
		{"8.51.23", true, true, false, true, true, refusalByKind},
		{"10.0.0", false, false, false, false, false, refusalAsDownloadFail},
	} {
		p, err := newPlugin(c.version)
		if err != nil {
			t.Fatal(err)
		}
		if p.batches != c.batches || p.requeues != c.requeues || p.mutedBy429 != c.muted || p.manifests != c.manifest ||
			p.launches != c.launch || p.refusal != c.refusal {
			t.Errorf("plugin %s: %+v, want %+v", c.version, p, c)
		}
	}
	for _, bad := range []string{"", "8", "4.61.11", "latest"} {
		if _, err := newPlugin(bad); err == nil {
			t.Errorf("plugin version %q taken", bad)
		}
	}
}

func TestHeadersAreShared(t *testing.T) {
	f := wireFleet(t, Config{Devices: 500})
	if n := len(f.headers); n > 60 {
		t.Errorf("%d header sets for 500 devices", n)
	}
	if h := f.devices[0].header; h.Get("Content-Type") == "" || !headerKnown(f, h) {
		t.Errorf("header %v is not among the shared ones", h)
	}
}

func headerKnown(f *fleet, h http.Header) bool {
	for _, shared := range f.headers {
		if shared.Get("User-Agent") == h.Get("User-Agent") {
			return true
		}
	}
	return false
}
