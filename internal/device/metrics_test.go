package device_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

func consent(bundle string, granted bool) fields {
	return fields{"type": "consent", "bundle": bundle, "granted": granted}
}

func TestConsent(t *testing.T) {
	w := newWorld(t)
	on := fields{"defaultChannel": "consent"}
	say := func(id string, events ...fields) {
		t.Helper()
		if a := w.ask("POST", "/telemetry", metrics(id, events...)); a.status != 200 || a.json["taken"] != float64(len(events)) {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	w.offersNothing("consent_required", uuid(1), on)
	say(uuid(1), consent("1.2.0", true))
	w.offersNothing("consent_required", uuid(1), on)
	say(strings.ToUpper(uuid(1)), consent("1.3.0", true))
	w.offers("1.3.0", uuid(1), on)
	w.offersNothing("consent_required", uuid(2), on)
	say(uuid(1), consent("1.3.0", false))
	w.offersNothing("consent_required", uuid(1), on)
	say(uuid(1), consent("1.3.0", false), consent("1.3.0", true), consent("1.3.0", true)) // the last word counts
	w.offers("1.3.0", uuid(1), on)
	facts, err := w.devices.Facts(t.Context(), app, uuid(1))
	if err != nil || len(facts.Consented) != 2 {
		t.Errorf("%+v %v", facts, err)
	}
}

func TestConsentToNoBundleIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	a := w.ask("POST", "/telemetry", metrics(uuid(1), fields{"type": "dance"}, consent("9.9.9", true), consent("1.3.0", true), fields{"type": "consent"}))
	rejected, _ := a.json["rejected"].([]any)
	if a.status != 200 || a.json["taken"] != 1.0 || len(rejected) != 3 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for i, want := range []struct {
		index float64
		code  string
	}{{0, "unknown_type"}, {1, capgo.CodeNoVersion}, {3, "invalid_field"}} {
		if r := rejected[i].(map[string]any); r["index"] != want.index || r["error"] != want.code || r["message"] == "" {
			t.Errorf("%v, want %+v", r, want)
		}
	}
	facts, err := w.devices.Facts(t.Context(), app, uuid(1))
	if err != nil || len(facts.Consented) != 1 || facts.Consented[0] != "1.3.0" {
		t.Errorf("%+v %v", facts, err)
	}
}

func TestMetricsAsTheyRestOnTheStream(t *testing.T) {
	w := newWorld(t)
	w.start()
	candidate, control := w.inArm(rollout.ArmCandidate, 1)[0], w.inArm(rollout.ArmControl, 1)[0]
	on := metrics(strings.ToUpper(candidate), fields{"type": "load_time", "value_ms": 1234.5, "at": 1790000000123}, fields{"type": "feedback", "score": 1, "message": "slow"}, consent("1.3.0", true))
	on["version_name"] = "1.1.0"
	emulated := metrics(control, fields{"type": "js_error", "message": "x"})
	emulated["is_emulator"] = true
	for _, body := range []fields{on, metrics(control, fields{"type": "feature_use", "name": "cart"}), emulated} {
		if a := w.ask("POST", "/telemetry", body); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	in := func(arm rollout.Arm, candidate bool) []telemetry.Exposure {
		return []telemetry.Exposure{{Rollout: rolloutID, Arm: arm, Candidate: candidate}}
	}
	want := map[string][]telemetry.Event{
		candidate: {
			{Action: "load_time", Version: "1.1.0", Value: 1234.5, ClientTime: 1790000000123, Exposures: in(rollout.ArmCandidate, true)},
			{Action: "feedback", Version: "1.1.0", Value: 1, Metadata: map[string]string{"message": "slow", "negative": "false"}, Exposures: in(rollout.ArmCandidate, true)},
			{Action: "consent", Version: "1.3.0", Metadata: map[string]string{"granted": "true"}, Exposures: in(rollout.ArmCandidate, false)},
		},
		control: {
			{Action: "feature_use", Version: "1.0.1", Metadata: map[string]string{"name": "cart"}, Exposures: in(rollout.ArmControl, false)},
			{Action: "js_error", Version: "1.0.1", Metadata: map[string]string{"message": "x"}, Test: true},
		},
	}
	events := w.events()
	for id, list := range want {
		for i := range list {
			list[i].Kind, list[i].App, list[i].Device, list[i].Platform = telemetry.KindMetric, app, telemetry.Fingerprint(id), "android"
			list[i].Time = w.clock.Now().UnixMilli()
		}
		if got := of(events, id); encode(t, got) != encode(t, list) {
			t.Errorf("got  %s\nwant %s", encode(t, got), encode(t, list))
		}
	}
}

// TestMetricsAreComparedLikeChecks puts a device into a segment by what it says of its native version: an app's metrics
// must find it in the same arm as its update checks do, however short the version is written.
func TestMetricsAreComparedLikeChecks(t *testing.T) {
	w := newWorld(t)
	w.change(func(s *rollout.State) {
		s.Segments = map[string]rollout.Segment{"new": {Name: "new", When: &rollout.Rule{VersionBuild: ">=1.0.0", VersionName: ">=1.0.0"}}}
	})
	w.startFor("new")
	for i, build := range []string{"1", "1.0", "1.0.0"} {
		w.check(uuid(i), fields{"version_build": build})
		body := metrics(uuid(i), fields{"type": "js_error"})
		body["version_build"], body["version_name"] = build, "builtin"
		w.ask("POST", "/telemetry", body)
	}
	events := w.flushed()
	for i := range 3 {
		got := of(events, uuid(i))
		if len(got) != 2 || len(got[0].Exposures) != 1 || encode(t, got[0].Exposures) != encode(t, got[1].Exposures) {
			t.Errorf("device %d: %s", i, encode(t, got))
		}
	}
}

func TestTelemetryFromStrangeDevices(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a\x00b", "#", strings.Repeat("€", 128), "../..", "\u2028"} {
		w.refuses(400, "invalid_field", "POST", "/telemetry", metrics(id, consent("1.3.0", true)))
	}
	many := make([]fields, telemetry.MaxMetricEvents+1)
	for i := range many {
		many[i] = fields{"type": "js_error"}
	}
	w.refuses(400, "too_many_events", "POST", "/telemetry", metrics(uuid(1), many...))
	if a := w.ask("POST", "/telemetry", metrics(uuid(1), many[1:]...)); a.json["taken"] != 500.0 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

// TestPagesMaySendMetrics: a WebView asks first whether it may.
func TestPagesMaySendMetrics(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"OPTIONS", "POST"} {
		rec := httptest.NewRecorder()
		body := strings.NewReader(encode(t, metrics(uuid(1), fields{"type": "js_error"})))
		w.handler.ServeHTTP(rec, httptest.NewRequest(method, "/telemetry", body))
		if rec.Code != 200 || rec.Header().Get("Access-Control-Allow-Origin") != "*" || rec.Header().Get("Access-Control-Allow-Headers") != "Content-Type" {
			t.Errorf("%s: %d %v", method, rec.Code, rec.Header())
		}
	}
}
