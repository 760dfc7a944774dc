package device_test

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// generations are plugins of every kind that the protocol tells apart.
var generations = []string{"5.9.5", "6.14.26", "6.51.16", "7.17.0", "7.33.9", "7.34.0", "7.51.21", "8.0.0", "8.41.12", "8.45.3", "8.51.23", "9.0.0", "10.0.0"}

func event(action, version string) fields {
	return fields{"action": action, "version_name": version, "old_version_name": "builtin"}
}

func TestBundleThatFailedIsNotOfferedAgain(t *testing.T) {
	for i, plugin := range generations {
		for j, action := range []string{"update_fail", "set_fail"} {
			t.Run(plugin+" "+action, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				id, runs := uuid(2*i+j), fields{"plugin_version": plugin}
				w.offers("1.0.1", id, runs)
				report := says(id, event(action, "1.0.1"))
				report["plugin_version"] = plugin
				if a := w.ask("POST", "/stats", report); a.status != 200 || a.code() != "" {
					t.Fatalf("%d %s", a.status, a.text)
				}
				w.offersNothing("bundle_failed_on_device", id, runs)
				w.offers("1.0.1", uuid(1000), runs) // nobody else is concerned
				clearFailures := func(f *resolve.Facts) bool { f.Failed = nil; return true }
				if err := w.devices.Update(t.Context(), app, id, clearFailures); err != nil {
					t.Fatal(err)
				}
				w.offers("1.0.1", id, runs)
			})
		}
	}
}

func TestCandidateThatFailedGivesWayToTheBaseline(t *testing.T) {
	w := newWorld(t)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	w.offers("1.1.0", id, nil)
	w.ask("POST", "/stats", []fields{says(id, event("set", "1.1.0")), says(id, event("update_fail", "1.1.0"))})
	w.offers("1.0.1", id, nil)
	w.offersNothing("bundle_failed_on_device", id, fields{"version_name": "1.0.1"}) // it has the baseline already
	w.ask("POST", "/stats", says(id, event("set_fail", "1.0.1")))
	w.offersNothing("bundle_failed_on_device", id, nil)
}

// TestRecordsDoNotOutliveTheApp deletes the app and makes it anew: what failed on a device and what it chose was said to
// the old one.
func TestRecordsDoNotOutliveTheApp(t *testing.T) {
	w := newWorld(t)
	old := fields{"plugin_version": "7.17.0"}
	failed := func(id string) { w.ask("POST", "/stats", says(id, event("update_fail", "1.0.1"))) }
	failed(uuid(1))
	w.ask("POST", "/channel_self", says(uuid(2), fields{"plugin_version": "7.17.0", "channel": "beta"}))
	w.offersNothing("bundle_failed_on_device", uuid(1), nil)
	w.offers("1.2.0", uuid(2), old)

	state, err := w.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.apps.Delete(t.Context(), state, nil); err != nil {
		t.Fatal(err)
	}
	w.commit(rollout.State{}, shop(app))
	w.service.Forget(app)
	w.offers("1.0.1", uuid(1), nil)
	w.offers("1.0.1", uuid(2), old)
	failed(uuid(2)) // a record of the old app gives way to one of the new
	w.offersNothing("bundle_failed_on_device", uuid(2), old)
}

// TestFailuresOfOneRequestAreWrittenOncePerDevice sends a full request of failures: what it costs the store is bounded.
func TestFailuresOfOneRequestAreWrittenOncePerDevice(t *testing.T) {
	w := newWorld(t)
	const devices, most = 30, 20
	var batch []fields
	for i := range 2000 {
		batch = append(batch, says(uuid(i%devices), event("update_fail", []string{"1.0.1", "1.1.0"}[i/devices%2])))
	}
	batch[1999] = says(uuid(devices-1), event("set", "1.0.1")) // of a device too many, but no failure
	before := w.store.writes.Load()
	a := w.ask("POST", "/stats", batch)
	if n := w.store.writes.Load() - before; n != most {
		t.Errorf("%d writes, want %d", n, most)
	}
	results, _ := a.json["results"].([]any)
	if a.status != 200 || len(results) != len(batch) {
		t.Fatalf("%d %.300s", a.status, a.text)
	}
	taken := 0
	for i, r := range results {
		code, _ := r.(map[string]any)["error"].(string)
		want := capgo.CodeTooMany
		if i%devices < most || i == 1999 {
			want = ""
			taken++
		}
		if code != want {
			t.Errorf("event %d: %v", i, r)
		}
	}
	if n := len(w.events()); n != taken {
		t.Errorf("%d events, %d acknowledged", n, taken)
	}
	for i := range devices {
		want := []string{"1.0.1", "1.1.0"}
		if i >= most {
			want = nil
		}
		facts, err := w.devices.Facts(t.Context(), app, uuid(i))
		if slices.Sort(facts.Failed); err != nil || !slices.Equal(facts.Failed, want) {
			t.Errorf("device %d: %+v %v", i, facts, err)
		}
	}
}

func TestDeviceIDsOfAnyCaseAreOneDevice(t *testing.T) {
	w := newWorld(t)
	w.ask("POST", "/stats", says("ABCDEF00-0000-4000-8000-ABCDEFABCDEF", event("update_fail", "1.0.1")))
	w.offersNothing("bundle_failed_on_device", "abcdef00-0000-4000-8000-abcdefabcdef", nil)
}

func TestOtherEventsAndUnknownBundlesLeaveNoFact(t *testing.T) {
	w := newWorld(t)
	for _, e := range []fields{event("download_fail", "1.0.1"), event("update_fail", "9.9.9"), event("update_fail", "builtin"), event("app_crash", "1.0.1")} {
		w.ask("POST", "/stats", says(uuid(1), e))
	}
	w.ask("POST", "/stats", []fields{says(uuid(1), event("update_fail", "9.9.9"))})
	facts, err := w.devices.Facts(t.Context(), app, uuid(1))
	if err != nil || len(facts.Failed) != 0 {
		t.Fatalf("%+v %v", facts, err)
	}
	w.offers("1.0.1", uuid(1), nil)
}

func TestOperatorsChannelOfADevice(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.change(func(s *rollout.State) {
		s.Devices = map[string]rollout.Device{uuid(1): {DeviceID: uuid(1), Channel: "private"}}
	})
	w.service.Forget(app)
	w.offers("1.2.0", uuid(1), nil)
	w.offers("1.2.0", uuid(1), fields{"version_name": "1.0.1"}) // though it has what everyone else has
	w.offers("1.0.1", uuid(2), nil)
	w.offersNothing("no_new_version_available", uuid(1), fields{"version_name": "1.2.0"})
}

func TestOldPluginsChannelIsKeptForIt(t *testing.T) {
	for _, way := range []string{"body", "query"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t)
			old := fields{"plugin_version": "7.17.0"}
			w.offers("1.0.1", uuid(1), old)
			set := says(uuid(1), fields{"plugin_version": "7.17.0", "channel": "beta"})
			if a := w.ask("POST", "/channel_self", set); a.status != 200 || a.json["status"] != "ok" {
				t.Fatalf("%d %s", a.status, a.text)
			}
			w.offers("1.2.0", uuid(1), old)
			if a := w.ask("PUT", "/channel_self", says(uuid(1), old)); a.json["channel"] != "beta" || a.json["status"] != "override" {
				t.Errorf("getChannel: %s", a.text)
			}
			w.offers("1.0.1", uuid(2), old)

			if a := w.unset(way, says(uuid(1), old)); a.status != 200 || a.json["status"] != "ok" {
				t.Fatalf("%d %s", a.status, a.text)
			}
			w.offers("1.0.1", uuid(1), old)
			if facts, err := w.devices.Facts(t.Context(), app, uuid(1)); err != nil || facts.Channel != "" {
				t.Errorf("%+v %v", facts, err)
			}
		})
	}
}

func (w *world) unset(way string, f fields) answer {
	w.t.Helper()
	if way == "body" {
		return w.ask("DELETE", "/channel_self", f)
	}
	query := url.Values{}
	for name, value := range f {
		query.Set(name, fmt.Sprint(value))
	}
	return w.ask("DELETE", "/channel_self?"+query.Encode(), nil)
}

func TestChannelThatMayNotBeChosenIsRefusedAndNotKept(t *testing.T) {
	w := newWorld(t)
	for channel, code := range map[string]string{
		"private": "channel_self_set_not_allowed", "production": "public_channel_self_set_not_allowed", "nowhere": "channel_not_found", "": "missing_channel",
	} {
		a := w.ask("POST", "/channel_self", says(uuid(1), fields{"plugin_version": "7.17.0", "channel": channel}))
		if a.status != 200 || a.code() != code {
			t.Errorf("%s: %d %s, want %s", channel, a.status, a.text, code)
		}
	}
	w.offers("1.0.1", uuid(1), fields{"plugin_version": "7.17.0"})
}

func TestPluginsThatKeepTheirChannelWriteNothing(t *testing.T) {
	w := newWorld(t)
	for i, plugin := range []string{"5.34.0", "6.34.0", "7.34.0", "7.51.21", "8.0.0", "8.51.23"} {
		f := fields{"plugin_version": plugin, "channel": "beta"}
		if a := w.ask("POST", "/channel_self", says(uuid(i), f)); a.json["allowSet"] != true {
			t.Errorf("%s: %s", plugin, a.text)
		}
		w.unset("query", says(uuid(i), f))
		w.offers("1.2.0", uuid(i), fields{"plugin_version": plugin, "defaultChannel": "beta"})
		w.offers("1.0.1", uuid(i), fields{"plugin_version": plugin})
		if facts, err := w.devices.Facts(t.Context(), app, uuid(i)); err != nil || facts.Channel != "" {
			t.Errorf("%s: %+v %v", plugin, facts, err)
		}
	}
	if state, err := w.apps.Load(t.Context(), app); err != nil || state.Revision != 1 {
		t.Errorf("the app was changed: revision %d, %v", state.Revision, err)
	}
}

func TestCrowdOfOldPluginsChoosingChannels(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	const crowd = 40
	for i := range crowd {
		wg.Go(func() {
			if a := w.ask("POST", "/channel_self", says(uuid(i), fields{"plugin_version": "7.17.0", "channel": "beta"})); a.json["status"] != "ok" {
				t.Errorf("device %d: %s", i, a.text)
			}
		})
	}
	wg.Wait()
	for i := range crowd {
		w.offers("1.2.0", uuid(i), fields{"plugin_version": "7.17.0"})
	}
}

func TestChannelThatCannotBeStoredIsNotPromised(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.store.down.Store(true)
	a := w.ask("POST", "/channel_self", says(uuid(1), fields{"plugin_version": "7.17.0", "channel": "beta"}))
	if a.status != 200 || a.code() != "channel_self_server_storage_unavailable" {
		t.Errorf("%d %s", a.status, a.text)
	}
	// a plugin that keeps its channel itself needs no record
	if a := w.ask("POST", "/channel_self", says(uuid(1), fields{"channel": "beta"})); a.json["allowSet"] != true {
		t.Errorf("%d %s", a.status, a.text)
	}
	w.store.down.Store(false)
	w.offers("1.0.1", uuid(1), fields{"plugin_version": "7.17.0"})
}

func TestListChannels(t *testing.T) {
	w := newWorld(t)
	a := w.ask("GET", "/channel_self?app_id="+app+"&platform=android&is_prod=true&is_emulator=false", nil)
	const want = `[{"id":1,"name":"production","public":true,"allow_self_set":false},` +
		`{"id":2,"name":"beta","public":false,"allow_self_set":true},{"id":3,"name":"consent","public":false,"allow_self_set":true}]`
	if a.status != 200 || a.text != want {
		t.Errorf("%d %s", a.status, a.text)
	}
}
