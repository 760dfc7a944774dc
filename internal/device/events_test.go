package device_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// refuse makes the stream fail with err until it is nil.
func (s *faultyStream) refuse(err error) {
	if err == nil {
		s.refusal.Store(nil)
		return
	}
	s.refusal.Store(&err)
}

// of returns the events of one device.
func of(events []telemetry.Event, id string) []telemetry.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e telemetry.Event) bool { return e.Device != telemetry.Fingerprint(id) })
}

func TestTelemetryThatCannotBeKeptIsNotAcknowledged(t *testing.T) {
	w := newWorld(t)
	bodies := map[string]any{
		"/stats":     []fields{says(uuid(1), event("set", "1.0.1")), says(uuid(1), event("app_crash", "1.0.1"))},
		"/telemetry": metrics(uuid(1), fields{"type": "js_error", "message": "oops"}),
	}
	for _, err := range []error{stream.ErrOverloaded, errors.New("disk on fire")} {
		w.stream.refuse(err)
		for path, body := range bodies {
			a := w.ask("POST", path, body)
			if a.status != 429 || a.code() != capgo.CodeTooMany || a.header.Get("Retry-After") != "30" || a.json["kind"] != "blocked" {
				t.Errorf("%s with %v: %d %v %s", path, err, a.status, a.header, a.text)
			}
			reset, _ := a.json["rateLimitResetAt"].(float64)
			if int64(reset) != w.clock.Now().Add(30*time.Second).UnixMilli() {
				t.Errorf("%s: reset at %v", path, a.json["rateLimitResetAt"])
			}
		}
	}
	if s := w.service.Stats(); s.Overloads != 4 || s.Events != 0 {
		t.Errorf("%+v", s)
	}
	w.stream.refuse(nil)
	for path, body := range bodies {
		if a := w.ask("POST", path, body); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if events := w.events(); len(events) != 3 {
		t.Errorf("%d events: %+v", len(events), events)
	}
}

func TestFailureThatCannotBeNotedIsNotAcknowledged(t *testing.T) {
	w := newWorld(t)
	w.check(uuid(1), nil)
	w.store.down.Store(true)
	w.refuses(429, capgo.CodeTooMany, "POST", "/stats", says(uuid(1), event("update_fail", "1.0.1")))
	consent := metrics(uuid(1), fields{"type": "consent", "bundle": "1.3.0", "granted": true})
	w.refuses(429, capgo.CodeTooMany, "POST", "/telemetry", consent)
	if a := w.ask("POST", "/stats", says(uuid(1), event("app_crash", "1.0.1"))); a.status != 200 {
		t.Errorf("an event that needs no record: %d %s", a.status, a.text)
	}
	w.store.down.Store(false)
	if events := w.events(); len(events) != 1 || events[0].Action != "app_crash" {
		t.Errorf("%+v", events)
	}
}

func TestOneBadEventDoesNotCostTheBatch(t *testing.T) {
	w := newWorld(t)
	bad := []any{
		17, nil, "text", []any{}, fields{}, fields{"app_id": "com.example.other"}, says(uuid(1), fields{"action": nil}), says("no-uuid", event("set", "1.0.1")),
		says(uuid(1), event("set", "9.9.9")), says(uuid(1), fields{"action": "set", "version_name": "1.0.1", "metadata": 17}), says(uuid(1), event("bad action", "1.0.1")),
		says(uuid(1), fields{"action": "update_fail", "version_name": nil}),
	}
	batch := []any{says(uuid(1), event("set", "1.0.1"))}
	for _, b := range bad {
		batch = append(batch, b, says(uuid(1), event("app_crash", "1.0.1")))
	}
	a := w.ask("POST", "/stats", batch)
	results, _ := a.json["results"].([]any)
	if a.status != 200 || len(results) != len(batch) {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for i, r := range results {
		r := r.(map[string]any)
		if want := i%2 == 0; (r["status"] == "ok") != want || r["index"] != float64(i) {
			t.Errorf("event %d: %v", i, r)
		}
	}
	if events := w.events(); len(events) != 1+len(bad) {
		t.Errorf("%d events", len(events))
	}
	facts, err := w.devices.Facts(t.Context(), app, uuid(1))
	if err != nil || len(facts.Failed) > 0 {
		t.Errorf("%+v %v", facts, err)
	}
}

func TestBatchThatGrowsBeyondOneAppend(t *testing.T) {
	w := newWorld(t)
	var many []fields
	for i := range 1200 {
		many = append(many, says(uuid(i), event("set", "1.0.1")))
	}
	// JSON in the log writes < as six characters, so that a megabyte becomes more than the stream takes at once
	heavy := says(uuid(1), event("webview_javascript_error", "1.0.1"))
	markup := fields{}
	for _, key := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		markup[key] = strings.Repeat("<", 2000)
	}
	heavy["metadata"] = markup
	text := strings.ReplaceAll(encode(t, heavy), `\u003c`, "<")
	body := "[" + strings.Repeat(text+",", capgo.MaxStatsBody/len(text)-2) + text + "]"
	for _, batch := range []any{many, body} {
		if a := w.ask("POST", "/stats", batch); a.status != 200 {
			t.Errorf("%d %.300s", a.status, a.text)
		}
	}
	if got, want := len(w.events()), 1200+capgo.MaxStatsBody/len(text)-1; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
}

func TestEventsAsTheyRestOnTheStream(t *testing.T) {
	w := newWorld(t)
	w.start()
	candidate, control := w.inArm(rollout.ArmCandidate, 1)[0], w.inArm(rollout.ArmControl, 1)[0]
	inArm := func(arm rollout.Arm, onCandidate bool) []telemetry.Exposure {
		return []telemetry.Exposure{{Rollout: rolloutID, Arm: arm, Candidate: onCandidate}}
	}
	for _, c := range []struct {
		name string
		id   string
		over fields
		want telemetry.Event // but for App, Device, Kind and Time
	}{
		{"candidate on the candidate", candidate, event("app_crash", "1.1.0"),
			telemetry.Event{Action: "app_crash", Version: "1.1.0", OldVersion: "builtin", Platform: "android", Exposures: inArm(rollout.ArmCandidate, true)}},
		{"candidate not yet on it", candidate, event("app_crash", "1.0.1"),
			telemetry.Event{Action: "app_crash", Version: "1.0.1", OldVersion: "builtin", Platform: "android", Exposures: inArm(rollout.ArmCandidate, false)}},
		{"control", control, event("set", "1.0.1"),
			telemetry.Event{Action: "set", Version: "1.0.1", OldVersion: "builtin", Platform: "android", Exposures: inArm(rollout.ArmControl, false)}},
		{"file of a bundle", control, fields{"action": "download_manifest_file_fail", "version_name": "1.0.1:main.js"},
			telemetry.Event{Action: "download_manifest_file_fail", Version: "1.0.1", Platform: "android", Exposures: inArm(rollout.ArmControl, false)}},
		{"emulator", candidate, fields{"action": "app_crash", "version_name": "1.1.0", "is_emulator": true},
			telemetry.Event{Action: "app_crash", Version: "1.1.0", Platform: "android", Test: true}},
		{"development build", control, fields{"action": "app_crash", "version_name": "1.0.1", "is_prod": false, "platform": "ios"},
			telemetry.Event{Action: "app_crash", Version: "1.0.1", Platform: "ios", Test: true}},
		{"no bundle named: candidate", candidate, fields{"action": "download_fail", "version_name": nil},
			telemetry.Event{Action: "download_fail", Version: "1.1.0", Platform: "android", Exposures: inArm(rollout.ArmCandidate, true)}},
		{"no bundle named: control", control, fields{"action": "checksum_fail", "version_name": nil},
			telemetry.Event{Action: "checksum_fail", Version: "1.0.1", Platform: "android", Exposures: inArm(rollout.ArmControl, false)}},
		{"unknown action, metadata, time", control, fields{"action": "app_sneezed", "version_name": "builtin", "metadata": fields{"loud": "yes"}, "timestamp": 1790000000123},
			telemetry.Event{Action: "app_sneezed", Version: "builtin", Platform: "android", ClientTime: 1790000000123, Metadata: map[string]string{"loud": "yes"}, Exposures: inArm(rollout.ArmControl, false)}},
	} {
		seen := len(w.events())
		if a := w.ask("POST", "/stats", []fields{says(c.id, c.over)}); a.status != 200 || a.code() != "" {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
			continue
		}
		events := of(w.events(), c.id)
		if len(w.events()) != seen+1 {
			t.Errorf("%s: %d new events", c.name, len(w.events())-seen)
			continue
		}
		got := events[len(events)-1]
		c.want.App, c.want.Device, c.want.Kind, c.want.Time = app, telemetry.Fingerprint(c.id), telemetry.KindAction, w.clock.Now().UnixMilli()
		if encode(t, got) != encode(t, c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, encode(t, got), encode(t, c.want))
		}
	}
	if s := w.service.Stats(); s.UnknownEvents != 1 || s.Events != 9 {
		t.Errorf("%+v", s)
	}
}

func TestDownloadFailureIsAboutWhatTheDeviceWasOffered(t *testing.T) {
	w := newWorld(t)
	w.change(func(s *rollout.State) {
		s.Devices = map[string]rollout.Device{uuid(1): {DeviceID: uuid(1), Channel: "private"}}
	})
	w.offers("1.2.0", uuid(1), nil)
	w.ask("POST", "/stats", []fields{says(uuid(1), fields{"action": "download_fail", "version_name": nil})})
	if events := w.events(); len(events) != 1 || events[0].Version != "1.2.0" {
		t.Errorf("%+v", events)
	}
}

func TestNoExposureWithoutARollout(t *testing.T) {
	w := newWorld(t)
	w.ask("POST", "/stats", says(uuid(1), event("set", "1.0.1")))
	w.check(uuid(1), nil)
	if events := w.flushed(); len(events) != 1 || len(events[0].Exposures) != 0 {
		t.Errorf("%+v", events)
	}
}

func TestChecksAreNotedOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	candidate, control := w.inArm(rollout.ArmCandidate, 1)[0], w.inArm(rollout.ArmControl, 1)[0]
	for range 5 {
		w.check(candidate, nil)
		w.check(control, fields{"version_name": "1.0.1", "platform": "ios"})
		w.check(uuid(5000), fields{"defaultChannel": "beta"}) // another channel
		w.check(candidate, fields{"is_emulator": true})       // never compared
		w.check(control, fields{"defaultChannel": "consent"})
	}
	events := w.flushed()
	want := []telemetry.Event{
		{Version: "1.0.0", Platform: "android", Exposures: []telemetry.Exposure{{Rollout: rolloutID, Arm: rollout.ArmCandidate}}},
		{Version: "1.0.1", Platform: "ios", Exposures: []telemetry.Exposure{{Rollout: rolloutID, Arm: rollout.ArmControl}}},
	}
	if len(events) != len(want) {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for i, id := range []string{candidate, control} {
		want[i].Kind, want[i].App, want[i].Device, want[i].Time = telemetry.KindCheck, app, telemetry.Fingerprint(id), w.clock.Now().UnixMilli()
		if got := of(events, id); len(got) != 1 || encode(t, got[0]) != encode(t, want[i]) {
			t.Errorf("got %s, want %s", encode(t, got), encode(t, want[i]))
		}
	}
}

func TestChecksAreNotedAgain(t *testing.T) {
	w := newWorld(t)
	w.start()
	id := w.inArm(rollout.ArmCandidate, 1)[0]
	count := 0
	noted := func(what string, want int, over fields) {
		t.Helper()
		w.check(id, over)
		w.check(id, over)
		count += want
		w.service.Close()
		if got := len(w.events()); got != count {
			t.Errorf("%s: %d events on the stream, want %d", what, got, count)
		}
	}
	noted("first", 1, nil)
	w.serve()
	noted("a new process does not know", 1, nil)
	w.serve()
	w.check(id, nil)
	w.check(id, fields{"version_name": "1.1.0"})
	w.clock.pass(time.Hour)
	count += 2
	noted("by bundle and hour", 1, fields{"version_name": "1.1.0"})
	events := of(w.events(), id)
	if last := events[len(events)-1]; !last.Exposures[0].Candidate || last.Version != "1.1.0" {
		t.Errorf("%+v", last)
	}
	w.serve()
	w.check(id, fields{"version_name": "1.1.0"})
	count++
	before, err := w.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := rollout.Operate(before, rolloutID, rollout.Command{Verb: rollout.VerbPromote, Actor: "test", At: w.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	w.commit(before, tr.ApplyTo(before))
	w.service.Forget(app)
	noted("by phase", 1, fields{"version_name": "1.1.0"})
	events = of(w.events(), id)
	if last := events[len(events)-1].Exposures[0]; last.Phase != 1 || last.Arm != rollout.ArmCandidate {
		t.Errorf("%+v", last)
	}
}

func TestDroppedChecksAreNotedAtTheNextCheck(t *testing.T) {
	w := newWorld(t)
	w.start()
	ids := w.inArm(rollout.ArmControl, 20)
	w.stream.refuse(stream.ErrOverloaded)
	for _, id := range ids {
		w.offers("1.0.1", id, nil) // the answer does not depend on the stream
	}
	w.until("the events are dropped", func() bool { return w.service.Stats().ChecksDropped == 20 })
	w.stream.refuse(nil)
	for range 3 {
		for _, id := range ids {
			w.offers("1.0.1", id, nil)
		}
	}
	if events := w.flushed(); len(events) != 20 {
		t.Errorf("%d events", len(events))
	}
}

func TestStreamThatHangsDelaysNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.stream.hang.Store(true)
	var crowd sync.WaitGroup
	for i := range 20_000 { // more than the queue holds
		if i%5000 == 0 {
			crowd.Wait()
		}
		crowd.Go(func() { w.offersNothing("disable_auto_update_under_native", uuid(i), fields{"version_build": "1.9.0"}) })
	}
	crowd.Wait()
	w.until("some are dropped", func() bool { return w.service.Stats().ChecksDropped > 0 })
	w.stream.hang.Store(false)
}

func TestStatsAddUp(t *testing.T) {
	w := newWorld(t)
	w.offers("1.0.1", uuid(1), nil)
	w.offersNothing("no_new_version_available", uuid(1), fields{"version_name": "1.0.1"})
	w.refuses(400, capgo.CodeParse, "POST", "/updates", "{")
	w.ask("POST", "/stats", says(uuid(1), event("set", "1.0.1")))
	s := w.service.Stats()
	total := int64(0)
	for _, n := range s.Decisions {
		total += n
	}
	if total != 2 || s.Refused != 1 || s.Events != 1 {
		t.Errorf("%+v", s)
	}
}
