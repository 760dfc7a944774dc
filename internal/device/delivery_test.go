package device_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Recorded requests of real plugins to /stats.
const (
	queued = "android_v8_stats_batch"                  // an array, from the plugin itself
	worker = "android_v8_stats_download_worker_single" // one object, from Android's download worker
	single = "ios_v7_stats_single"
)

// recorded returns the events of a recorded request, as if the device had sent them.
func recorded(t *testing.T, name, id string, over fields) []fields {
	t.Helper()
	text, err := os.ReadFile("../../testdata/protocol/payloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var payloads []struct {
		Name string
		Body json.RawMessage
	}
	if err := json.Unmarshal(text, &payloads); err != nil {
		t.Fatal(err)
	}
	for _, p := range payloads {
		if p.Name != name {
			continue
		}
		events := make([]fields, 1)
		if p.Body[0] == '[' {
			err = json.Unmarshal(p.Body, &events)
		} else {
			err = json.Unmarshal(p.Body, &events[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			e["device_id"], e["version_build"] = id, "1.0.0"
			for field, value := range over {
				if e[field] = value; value == nil {
					delete(e, field)
				}
			}
		}
		return events
	}
	t.Fatalf("no payload %s", name)
	return nil
}

// TestFailuresOfDeliveryAreAboutWhatWasOffered has plugins report, in the shapes in which they do, failures that name the
// running bundle, the one on its way, a file of it, or none. In the rollout the candidate is 1.1.0 and the baseline 1.0.1.
func TestFailuresOfDeliveryAreAboutWhatWasOffered(t *testing.T) {
	w := newWorld(t)
	w.start()
	candidate, control := w.inArm(rollout.ArmCandidate, 1)[0], w.inArm(rollout.ArmControl, 1)[0]
	for _, c := range []struct {
		name, shape, id string
		over            fields
		version, before string
		ofCandidate     bool
		counted         rollout.Metric // "" for none
	}{
		{"download, running the baseline", queued, candidate, event("download_fail", "1.0.1"), "1.1.0", "1.0.1", true, rollout.DownloadFailure},
		{"download, running the store build", queued, candidate, event("download_fail", "builtin"), "1.1.0", "builtin", true, rollout.DownloadFailure},
		{"download, running the store build by its version", queued, candidate, event("download_fail", "1.0.0"), "1.1.0", "1.0.0", true, rollout.DownloadFailure},
		{"download, naming none", worker, candidate, fields{"action": "download_fail", "version_name": nil}, "1.1.0", "", true, rollout.DownloadFailure},
		{"disk, naming none", worker, candidate, fields{"action": "insufficient_disk_space", "version_name": nil}, "1.1.0", "", true, rollout.DownloadFailure},
		{"checksum on Android", queued, candidate, event("checksum_fail", "1.0.1"), "1.1.0", "1.0.1", true, rollout.ChecksumFailure},
		{"checksum on iOS", single, candidate, event("checksum_fail", "1.1.0"), "1.1.0", "builtin", true, rollout.ChecksumFailure},
		{"checksum on iOS, of another bundle", single, candidate, event("checksum_fail", "1.0.1"), "1.0.1", "builtin", false, ""},
		{"decryption on Android", queued, candidate, event("decrypt_fail", "1.0.1"), "1.1.0", "1.0.1", true, rollout.DecryptFailure},
		{"unpacking on iOS", single, candidate, event("unzip_fail", "1.0.1"), "1.1.0", "1.0.1", true, rollout.UnzipFailure},
		{"a path on Android", queued, candidate, event("windows_path_fail", "1.0.1"), "1.1.0", "1.0.1", true, rollout.UnzipFailure},
		{"a file of the candidate", worker, candidate, event("download_manifest_checksum_fail", "1.1.0:main.js"), "1.1.0", "builtin", true, rollout.ChecksumFailure},
		{"a file of another bundle", worker, candidate, event("download_manifest_file_fail", "1.0.1:main.js"), "1.0.1", "builtin", false, ""},
		{"the worker names what is on its way", worker, candidate, event("session_key_required", "1.1.0"), "1.1.0", "builtin", true, rollout.DecryptFailure},
		{"naming what is on its way", queued, candidate, event("download_fail", "1.1.0"), "1.1.0", "builtin", true, rollout.DownloadFailure},
		{"control, nothing on its way", queued, control, event("download_fail", "1.0.1"), "1.0.1", "builtin", false, rollout.DownloadFailure},
		{"control, the baseline on its way", queued, control, event("checksum_fail", "builtin"), "1.0.1", "builtin", false, rollout.ChecksumFailure},
		{"no failure of delivery", queued, candidate, event("set_next", "1.0.1"), "1.0.1", "builtin", false, ""},
		{"a bundle that does not start names itself", queued, candidate, event("update_fail", "1.0.1"), "1.0.1", "builtin", false, ""},
	} {
		before := len(of(w.events(), c.id))
		body := recorded(t, c.shape, c.id, c.over)[0]
		var sent any = body
		if c.shape == queued {
			sent = []fields{body}
		}
		if a := w.ask("POST", "/stats", sent); a.status != 200 || a.code() != "" {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
			continue
		}
		events := of(w.events(), c.id)
		if len(events) != before+1 {
			t.Errorf("%s: %d new events", c.name, len(events)-before)
			continue
		}
		e := events[before]
		if e.Version != c.version || e.OldVersion != c.before || e.Exposures[0].Candidate != c.ofCandidate {
			t.Errorf("%s: %s", c.name, encode(t, e))
		}
		counted := !telemetry.Observe(e, e.Exposures[0]).IsZero()
		if counted != (c.counted != "") || counted && telemetry.Classify(e).Metric != c.counted {
			t.Errorf("%s: counted %t as %+v, want %q", c.name, counted, telemetry.Classify(e), c.counted)
		}
	}
}

// TestFailuresWhereNothingFailedAreKeptAndNotCounted has plugins report that a check brought no update. Those up to 7.16,
// but for the latest of 6.x, say download_fail whatever the answer was.
func TestFailuresWhereNothingFailedAreKeptAndNotCounted(t *testing.T) {
	w := newWorld(t)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	for plugin, counted := range map[string]bool{"5.9.5": false, "6.14.24": false, "7.16.9": false, "6.14.26": true, "7.17.0": true} {
		before := len(w.events())
		over := event("download_fail", "1.0.1")
		over["plugin_version"] = plugin
		if a := w.ask("POST", "/stats", recorded(t, single, id, over)[0]); a.status != 200 || a.code() != "" {
			t.Errorf("plugin %s: %d %s", plugin, a.status, a.text)
		}
		events := w.events()
		if len(events) != before+1 {
			t.Fatalf("plugin %s: the event is not kept", plugin)
		}
		e := events[before]
		if got := !telemetry.Observe(e, e.Exposures[0]).IsZero(); got != counted || e.Spurious == counted {
			t.Errorf("plugin %s: counted %t: %s", plugin, got, encode(t, e))
		}
	}
}

// TestOneRequestReadsFewRecords has one request report failures of many devices, each with a record of its own.
func TestOneRequestReadsFewRecords(t *testing.T) {
	w := newWorld(t)
	w.start()
	var batch []fields
	for _, id := range w.inArm(rollout.ArmCandidate, 100) {
		for range 2 {
			batch = append(batch, says(id, event("download_fail", "1.0.1")))
		}
	}
	w.check(uuid(1), nil) // loads the app
	before := w.store.facts.Load()
	if a := w.ask("POST", "/stats", batch); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if reads := w.store.facts.Load() - before; reads != 20 {
		t.Errorf("%d records read, want 20", reads)
	}
	for _, e := range w.flushed() {
		if e.Kind == telemetry.KindAction && e.Version != "1.1.0" {
			t.Fatalf("about %q: a guess is better than none", e.Version)
		}
	}
}

// TestRealLaunchIsMeasured sends what a plugin sends about a launch.
func TestRealLaunchIsMeasured(t *testing.T) {
	w := newWorld(t)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	if a := w.ask("POST", "/stats", recorded(t, queued, id, fields{"version_name": "1.1.0"})); a.status != 200 || a.code() != "" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	var measured []telemetry.Class
	for _, e := range w.events() {
		if class := telemetry.Classify(e); class.Metric != "" {
			measured = append(measured, class)
		}
	}
	want := telemetry.Class{Category: telemetry.CategoryLaunch, Metric: rollout.LoadTime, Known: true, Level: 5, Millis: 810}
	if len(measured) != 1 || measured[0] != want {
		t.Errorf("got %+v, want %+v", measured, want)
	}
}
