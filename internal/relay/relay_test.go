package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

// goodCheck is a check as edges hand it over.
const goodCheck = `{"app":"com.example.shop","device":"00c0ffee00c0ffee","version":"1.1.0","platform":"ios","rollout":"01R","phase":2,"arm":"candidate","candidate":true,"age":3}`

// result is the answer to a relay.
type result struct {
	Checks struct {
		Taken      bool
		RetryAfter int `json:"retry_after"`
	}
	Answers []struct {
		Status     int
		Body       string
		RetryAfter int `json:"retry_after"`
	}
}

// relay hands over a body, which must be taken.
func (w *world) relay(body string) result {
	w.t.Helper()
	a := w.ask("POST", "/relay", edgeToken, body)
	var out result
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		w.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return out
}

// batch is the body of a relay.
func batch(t testing.TB, checks []string, requests ...[2]string) string {
	t.Helper()
	type request struct {
		Path string `json:"path"`
		Body string `json:"body"`
	}
	b := struct {
		Checks   []json.RawMessage `json:"checks,omitempty"`
		Requests []request         `json:"requests,omitempty"`
	}{}
	for _, c := range checks {
		b.Checks = append(b.Checks, json.RawMessage(c))
	}
	for _, r := range requests {
		b.Requests = append(b.Requests, request{r[0], r[1]})
	}
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// stats is what a plugin reports of an action.
func stats(id, action, version string) string {
	return fmt.Sprintf(`{"platform":"android","device_id":%q,"app_id":%q,"version_build":"1.0.0","version_os":"15","version_name":%q,"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"action":%q}`, id, shop, version, action)
}

// consent is what an app reports of its user's answers.
func consent(id string, granted ...bool) string {
	var events []string
	for _, g := range granted {
		events = append(events, fmt.Sprintf(`{"type":"consent","bundle":"1.1.0","granted":%t}`, g))
	}
	return fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"android","version_name":"1.0.0","version_build":"1.0.0","plugin_version":"8.51.23","events":[%s]}`, shop, id, strings.Join(events, ","))
}

func uuid(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i) }

// TestRelayedRequestsAreAnsweredAsDevicesAre: byte for byte, with the same events and records left behind.
func TestRelayedRequestsAreAnsweredAsDevicesAre(t *testing.T) {
	requests := [][2]string{
		{device.PathStats, stats(deviceID, "app_crash", "1.0.0")},
		{device.PathStats, "[" + stats(deviceID, "set", "1.0.0") + "," + stats(deviceID, "nonsense", "9.9.9") + "]"},
		{device.PathStats, stats(deviceID, "update_fail", "1.1.0")},
		{device.PathStats, strings.Replace(stats(deviceID, "set", "1.0.0"), shop, "com.example.none", 1)},
		{device.PathStats, "{"}, {device.PathStats, ""}, {device.PathStats, "[]"}, {device.PathStats, "\"\u2028\\ud83d\\ude80é\x00"},
		{device.PathTelemetry, consent(deviceID, true)}, {device.PathTelemetry, consent(deviceID, false, true)},
		{device.PathTelemetry, "{}"}, {device.PathTelemetry, consent("no-device", true)},
	}
	direct, relayed := newWorld(t), newWorld(t)
	out := relayed.relay(batch(t, nil, requests...))
	if !out.Checks.Taken || len(out.Answers) != len(requests) {
		t.Fatalf("%+v", out)
	}
	devices := direct.devices()
	for i, r := range requests {
		want := devices.Respond(t.Context(), device.Source{}, http.MethodPost, r[0], "", []byte(r[1]), nil)
		if got := out.Answers[i]; got.Status != want.Status || got.Body != string(want.Body) || got.RetryAfter != want.RetryAfter {
			t.Errorf("%s %s:\n got %+v\nwant %d %s %d", r[0], r[1], got, want.Status, want.Body, want.RetryAfter)
		}
	}
	got, want := count(relayed.events()), count(direct.events())
	if len(want) < 4 || !reflect.DeepEqual(got, want) {
		t.Errorf("events\n got %v\nwant %v", got, want)
	}
	for _, w := range []*world{direct, relayed} {
		facts, err := store.Devices{Store: w.store}.Facts(t.Context(), shop, deviceID)
		if err != nil || !reflect.DeepEqual(facts.Failed, []string{"1.1.0"}) || !reflect.DeepEqual(facts.Consented, []string{"1.1.0"}) {
			t.Errorf("the device's record is %+v, %v", facts, err)
		}
	}
}

// count counts events; their order on the stream means nothing.
func count(events []telemetry.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[fmt.Sprintf("%+v", e)]++
	}
	return n
}

// TestConsentIsTakenInItsOrder: what the user said last counts, however many reports come at once.
func TestConsentIsTakenInItsOrder(t *testing.T) {
	w := newWorld(t)
	var requests [][2]string
	for i := range 50 {
		requests = append(requests, [2]string{device.PathTelemetry, consent(deviceID, i%2 == 0)}, [2]string{device.PathStats, stats(uuid(i), "set", "1.0.0")})
	}
	for i, a := range w.relay(batch(t, nil, requests...)).Answers {
		if a.Status != 200 {
			t.Errorf("request %d: %d %s", i, a.Status, a.Body)
		}
	}
	facts, err := store.Devices{Store: w.store}.Facts(t.Context(), shop, deviceID)
	if err != nil || len(facts.Consented) != 0 {
		t.Errorf("the user took it back at last, and the record says %v, %v", facts.Consented, err)
	}
	if n := len(w.events()); n != 100 {
		t.Errorf("%d events, want 100", n)
	}
}

// TestRelayedChecksRestOnTheStream when they are answered.
func TestRelayedChecksRestOnTheStream(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("9", 128)
	checks := []string{
		goodCheck,
		`{"app":"com.example.other","device":"FFFFFFFFFFFFFFFF","version":"` + long + `","platform":"other","rollout":"01S","phase":0,"arm":"control","candidate":false,"age":0}`,
		strings.Replace(goodCheck, `"age":3`, `"age":86399`, 1),
		strings.Replace(goodCheck, `"age":3`, `"age":9000000000`, 1), // longer than a day is a day
		strings.Replace(goodCheck, `"age":3`, `"age":-5`, 1),         // a host's clock was set back
	}
	if out := w.relay(batch(t, checks)); !out.Checks.Taken || len(out.Answers) != 0 {
		t.Fatalf("%+v", out)
	}
	event := func(age time.Duration) telemetry.Event {
		return telemetry.Event{
			Kind: telemetry.KindCheck, App: shop, Device: 0x00c0ffee00c0ffee, Time: noon.Add(-age).UnixMilli(), Version: "1.1.0", Platform: "ios",
			Exposures: []telemetry.Exposure{{Rollout: "01R", Phase: 2, Arm: rollout.ArmCandidate, Candidate: true}},
		}
	}
	want := []telemetry.Event{
		event(3 * time.Second),
		{
			App: other, Device: ^uint64(0), Time: noon.UnixMilli(), Version: long, Platform: "other",
			Exposures: []telemetry.Exposure{{Rollout: "01S", Arm: rollout.ArmControl}},
		},
		event(86399 * time.Second), event(24 * time.Hour), event(0),
	}
	if got := w.events(); !reflect.DeepEqual(count(got), count(want)) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

// TestMostChecksAtOnce are more than one batch of the stream.
func TestMostChecksAtOnce(t *testing.T) {
	w := newWorld(t)
	var checks []string
	for i := range relay.MaxChecks {
		checks = append(checks, strings.Replace(goodCheck, "00c0ffee00c0ffee", fmt.Sprintf("%016x", i), 1))
	}
	if out := w.relay(batch(t, checks)); !out.Checks.Taken {
		t.Fatalf("%+v", out)
	}
	if n := len(w.events()); n != relay.MaxChecks {
		t.Errorf("%d events", n)
	}
}

// TestRelayedCheckIsTheOriginsOwn: the event is the one that the origin makes when it answers the device itself.
func TestRelayedCheckIsTheOriginsOwn(t *testing.T) {
	w := newWorld(t)
	w.start()
	check := strings.Replace(stats(deviceID, "", "1.0.0"), `"action":""`, `"custom_id":"","version_code":"1","defaultChannel":"","key_id":""`, 1)
	devices := w.devices()
	if a := devices.Respond(t.Context(), device.Source{}, http.MethodPost, device.PathUpdates, "", []byte(check), nil); a.Status != 200 || !strings.Contains(string(a.Body), "1.1.0.zip") {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	devices.Close() // puts what it noted on the stream
	w.relay(batch(t, []string{fmt.Sprintf(
		`{"app":%q,"device":"%016x","version":"1.0.0","platform":"android","rollout":"01M0000000000000000000000A","phase":0,"arm":"candidate","candidate":false,"age":0}`,
		shop, telemetry.Fingerprint(deviceID))}))
	events := w.events()
	if len(events) != 2 || !reflect.DeepEqual(events[0], events[1]) {
		t.Errorf("%+v", events)
	}
}

// TestFullStreamIsNoFailure: the edge keeps its checks, and each device is told to come back as it would be here.
func TestFullStreamIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.stream.full.Store(true)
	body := batch(t, []string{goodCheck}, [2]string{device.PathStats, stats(deviceID, "set", "1.0.0")}, [2]string{device.PathTelemetry, consent(deviceID, true)})
	out := w.relay(body)
	if out.Checks.Taken || out.Checks.RetryAfter == 0 || len(out.Answers) != 2 {
		t.Fatalf("%+v", out)
	}
	for _, a := range out.Answers {
		if a.Status != 429 || a.RetryAfter == 0 || !json.Valid([]byte(a.Body)) {
			t.Errorf("%+v", a)
		}
	}
	if n := len(w.events()); n != 0 {
		t.Errorf("%d events", n)
	}
	w.stream.full.Store(false)
	out = w.relay(body)
	if !out.Checks.Taken || out.Answers[0].Status != 200 || out.Answers[1].Status != 200 || len(w.events()) != 3 {
		t.Errorf("%+v, %d events", out, len(w.events()))
	}
}

// TestRelayWhileTheStoreIsDown: who is known is served as far as memory goes; who is not is asked to come back.
func TestRelayWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t)
	w.store.down.Store(true)
	w.refused(429, relay.CodeTooManyRequests, w.ask("POST", "/relay", edgeToken, "{}"))
	w.store.down.Store(false)
	w.relay(batch(t, nil, [2]string{device.PathStats, stats(deviceID, "set", "1.0.0")}))
	w.store.down.Store(true)
	out := w.relay(batch(t, []string{goodCheck}, [2]string{device.PathStats, stats(deviceID, "set", "1.0.0")}, [2]string{device.PathStats, stats(deviceID, "update_fail", "1.1.0")}))
	if !out.Checks.Taken || out.Answers[0].Status != 200 || out.Answers[1].Status != 429 {
		t.Errorf("%+v", out)
	}
}

// TestTooManyRelaysAtOnce are asked to come back, before they are read.
func TestTooManyRelaysAtOnce(t *testing.T) {
	const most = 64
	w := newWorld(t)
	w.fetch() // the token is known, so that only the stream is waited for
	hold := make(chan struct{})
	w.stream.hold.Store(&hold)
	var under sync.WaitGroup
	for range most {
		under.Go(func() {
			if a := w.ask("POST", "/relay", edgeToken, batch(t, []string{goodCheck})); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	until(t, "all are under way", func() bool { return w.stream.waiting.Load() == most })
	w.refused(429, relay.CodeTooManyRequests, w.ask("POST", "/relay", edgeToken, "{}"))
	w.stream.hold.Store(nil)
	close(hold)
	under.Wait()
	w.relay("{}")
	if n := len(w.events()); n != most {
		t.Errorf("%d events, want %d", n, most)
	}
}

// TestAgesAreOfTheRealTime: how long ago that is on the origin's clock is for the clock to say.
func TestAgesAreOfTheRealTime(t *testing.T) {
	w := newWorld(t)
	w.origin = relay.New(relay.Config{
		Apps: w.apps(), Tokens: store.Tokens{Store: w.store}, Keys: w.keys(), Devices: w.devices(), Now: w.clock.Now, Log: w.logger(),
		Ago: func(age time.Duration) time.Time { return noon.Add(-60 * age) },
	})
	w.relay(batch(t, []string{goodCheck}))
	if events := w.events(); len(events) != 1 || events[0].Time != noon.Add(-3*time.Minute).UnixMilli() {
		t.Errorf("%+v", events)
	}
	if h, _, ok := seal.Read([]byte(w.fetch().body)); !ok || time.Since(time.Unix(h.Issued, 0)) > time.Hour+time.Minute {
		t.Errorf("issued by another clock than the real one: %+v", h)
	}
}

// TestCutBody is refused, and nothing of it is done.
func TestCutBody(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("POST", "/relay", io.MultiReader(strings.NewReader(batch(t, []string{goodCheck})), iotest.ErrReader(io.ErrUnexpectedEOF)))
	r.Header.Set("Authorization", "Bearer "+edgeToken)
	rec := httptest.NewRecorder()
	w.origin.Handler().ServeHTTP(rec, r)
	w.refused(400, relay.CodeMalformed, answer{rec.Code, rec.Header(), rec.Body.String()})
	if n := len(w.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestWhoMayRelay(t *testing.T) {
	w := newWorld(t)
	w.token("limited", store.RoleEdge, "plr_limited", other)
	w.token("brief", store.RoleEdge, "plr_brief")
	good := batch(t, []string{goodCheck})
	w.refused(401, relay.CodeMissingToken, w.ask("POST", "/relay", "", good))
	w.refused(401, relay.CodeInvalidToken, w.ask("POST", "/relay", "plr_unknown", good))
	w.refused(403, relay.CodeForbidden, w.ask("POST", "/relay", adminToken, good))
	w.refused(403, relay.CodeForbidden, w.ask("POST", "/relay", "plr_limited", good))
	w.refused(405, relay.CodeMethodNotAllowed, w.ask("GET", "/relay", edgeToken, ""))
	w.refused(404, relay.CodeNotFound, w.ask("POST", "/relay/more", edgeToken, good))
	w.clock.pass(time.Hour)
	w.refused(401, relay.CodeExpiredToken, w.ask("POST", "/relay", "plr_brief", good))
	if n := len(w.events()); n != 0 {
		t.Errorf("%d events of strangers", n)
	}
	// A device may say anything of itself, so an edge may pass it on, whatever its apps.
	if a := w.ask("POST", "/relay", "plr_limited", batch(t, nil, [2]string{device.PathStats, stats(deviceID, "set", "1.0.0")})); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestWhatIsNoRelay is refused as a whole, without a word of what devices said.
func TestWhatIsNoRelay(t *testing.T) {
	w := newWorld(t)
	change := func(old, with string) string {
		return batch(t, []string{goodCheck, strings.Replace(goodCheck, old, with, 1)})
	}
	ten := strings.Repeat("0123456789", 10)
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"nothing":            {"", 400, "object"},
		"a list":             {"[]", 400, "object"},
		"null":               {"null", 400, "object"},
		"half":               {`{"checks":[` + goodCheck, 400, ""},
		"more":               {"{}{}", 400, "more behind"},
		"another member":     {`{"events":[]}`, 400, "nothing else"},
		"a member twice":     {`{"checks":[],"checks":[]}`, 400, "twice"},
		"checks as object":   {`{"checks":{}}`, 400, "no list"},
		"checks as null":     {`{"checks":null}`, 400, "no list"},
		"a check as text":    {`{"checks":["x"]}`, 400, "checks[0]"},
		"an unknown field":   {change(`"age"`, `"agee":1,"age"`), 400, "checks[1]"},
		"device too short":   {change("00c0ffee00c0ffee", "c0ffee"), 400, "checks[1].device"},
		"device no hex":      {change("00c0ffee00c0ffee", "00c0ffee00c0ffeg"), 400, "checks[1].device"},
		"device with a sign": {change("00c0ffee00c0ffee", "+0c0ffee00c0ffee"), 400, "checks[1].device"},
		"no app":             {change(shop, ""), 400, "checks[1].app"},
		"a long app":         {change(shop, ten+ten), 400, "checks[1].app"},
		"an app with a #":    {change(shop, "a#b"), 400, "checks[1].app"},
		"no rollout":         {change("01R", ""), 400, "checks[1].rollout"},
		"a long rollout":     {change("01R", ten), 400, "checks[1].rollout"},
		"a long version":     {change("1.1.0", strings.Repeat(ten, 6)), 400, "checks[1].version"},
		"another platform":   {change("ios", "iOS"), 400, "checks[1].platform"},
		"no arm":             {change("candidate", "none"), 400, "checks[1].arm"},
		"a negative phase":   {change(`"phase":2`, `"phase":-1`), 400, "checks[1].phase"},
		"half a phase":       {change(`"phase":2`, `"phase":1.5`), 400, "checks[1]"},
		"an age as text":     {change(`"age":3`, `"age":"3"`), 400, "checks[1]"},
		"too many checks":    {`{"checks":[` + strings.Repeat(goodCheck+",", relay.MaxChecks) + goodCheck + `]}`, 400, "more than 1000 checks"},
		"another path":       {batch(t, nil, [2]string{"/updates", "{}"}), 400, "requests[0].path"},
		"a body as object":   {`{"requests":[{"path":"/stats","body":{"device_id":"` + deviceID + `"}}]}`, 400, "requests[0]"},
		"too many requests":  {`{"requests":[` + strings.Repeat(`{"path":"/stats","body":""},`, relay.MaxRequests) + `{"path":"/stats","body":""}]}`, 400, "more than 100 requests"},
		"too large":          {`{"requests":[{"path":"/stats","body":"` + strings.Repeat(" ", relay.MaxBytes) + `"}]}`, 413, "less at once"},
	} {
		a := w.ask("POST", "/relay", edgeToken, c.body)
		code := relay.CodeMalformed
		if c.status == 413 {
			code = relay.CodeTooLarge
		}
		if a.status != c.status || a.code() != code || !strings.Contains(a.body, c.says) || strings.Contains(a.body, deviceID) || len(a.body) > 400 {
			t.Errorf("%s: %d %s, want %d that says %q", name, a.status, a.body, c.status, c.says)
		}
	}
	if n := len(w.events()); n != 0 {
		t.Errorf("%d events of what was refused", n)
	}
}

// TestRelaysAreCounted by what hosts report.
func TestRelaysAreCounted(t *testing.T) {
	w := newWorld(t)
	w.fetch("If-None-Match", w.fetch().header.Get("ETag"))
	w.relay(batch(t, []string{goodCheck, goodCheck}, [2]string{device.PathStats, "{}"}))
	w.ask("POST", "/relay", "", "")
	got := map[string]int64{}
	for name, total := range w.origin.Totals {
		got[name] = total
	}
	want := map[string]int64{"SnapshotsSent": 1, "SnapshotsUnchanged": 1, "Relays": 1, "RelayedChecks": 2, "RelayedRequests": 1, "RelaysRefused": 1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for range w.origin.Totals {
		break
	}
}

// FuzzRelay sends anything: the answer is JSON, is 200, 400 or 413, and has one answer for each request.
func FuzzRelay(f *testing.F) {
	w := newWorld(f)
	for _, seed := range []string{
		batch(f, []string{goodCheck}, [2]string{device.PathStats, stats(deviceID, "set", "1.0.0")}, [2]string{device.PathTelemetry, consent(deviceID, true)}),
		"{}", "[]", `{"checks":[{}]}`, `{"requests":[{"path":"/stats"}]}`, `{"checks":[],"requests":[]}`, "\xff", strings.Repeat("[", 1000),
		strings.Replace(batch(f, []string{goodCheck}), "1.1.0", "\xff\\ud800", 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := *w
		w.t = t
		a := w.ask("POST", "/relay", edgeToken, body)
		if !json.Valid([]byte(a.body)) || a.status != 200 && a.status != 400 && a.status != 413 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a.status != 200 {
			return
		}
		var in struct{ Requests []struct{ Path, Body string } }
		var out result
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatalf("%q was taken: %v", body, err)
		}
		if err := json.Unmarshal([]byte(a.body), &out); err != nil || len(out.Answers) != len(in.Requests) || !out.Checks.Taken {
			t.Fatalf("%d requests: %s, %v", len(in.Requests), a.body, err)
		}
		for _, one := range out.Answers {
			if one.Status < 200 || one.Status >= 500 || !json.Valid([]byte(one.Body)) {
				t.Errorf("%+v", one)
			}
		}
	})
}
