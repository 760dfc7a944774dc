package device_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// from sends a request as a proxy on this machine would, which was asked from an address.
func (w *world) from(address, path string, body any) answer {
	w.t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(encode(w.t, body)))
	r.RemoteAddr = "127.0.0.1:40000"
	r.Header.Set("X-Forwarded-For", address)
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return w.sound(rec)
}

// asks lets devices ask for updates from an address.
func (w *world) asks(address string, ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if a := w.from(address, "/updates", says(id, nil)); a.status != 200 {
			w.t.Fatalf("%d %s", a.status, a.text)
		}
	}
}

// reports lets devices report an action from an address, and demands that nobody can tell what became of it.
func (w *world) reports(address, action string, ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if a := w.from(address, "/stats", says(id, event(action, "1.1.0"))); a.status != 200 || a.text != `{"status":"ok"}` {
			w.t.Fatalf("%d %s", a.status, a.text)
		}
	}
}

// counted returns how many events of an action rest on the stream and count, and how many are capped.
func (w *world) counted(action string) (count, capped int) {
	w.t.Helper()
	for _, e := range w.events() {
		switch {
		case e.Action != action:
		case e.Capped:
			capped++
		default:
			count++
		}
	}
	return count, capped
}

func (w *world) counts(action string, count, capped int) {
	w.t.Helper()
	if n, c := w.counted(action); n != count || c != capped {
		w.t.Errorf("%d of %s count and %d are capped; want %d and %d", n, action, c, count, capped)
	}
}

// live is a world in which a rollout of 1.1.0 to half of production runs.
func live(t *testing.T) *world {
	w := newWorld(t)
	w.start()
	return w
}

func uuids(from, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid(from + i)
	}
	return ids
}

func TestReportsOfOneSourceAreCapped(t *testing.T) {
	w := live(t)
	w.asks("203.0.113.7", uuids(0, 40)...)
	w.reports("203.0.113.7", "app_crash", uuids(0, 40)...)
	w.counts("app_crash", 10, 30) // a quarter of those heard
	w.reports("203.0.113.200", "app_crash", uuids(0, 1)...)
	w.counts("app_crash", 11, 30) // who was let through stays so
	w.reports("203.0.113.200", "app_crash", uuids(40, 1)...)
	w.counts("app_crash", 11, 31) // another address of the same network
	w.reports("203.0.113.7", "app_anr", uuids(0, 40)...)
	w.counts("app_anr", 10, 30) // another kind
	w.reports("203.0.114.7", "app_crash", uuids(100, 9)...)
	w.counts("app_crash", 16, 35) // another network, of which few were heard
	w.reports("203.0.114.7", "app_moved_to_foreground", uuids(100, 40)...)
	w.counts("app_moved_to_foreground", 40, 0) // counts for nothing as it is
	w.reports("203.0.114.7", "app_crash", uuids(100, 12)...)
	w.counts("app_crash", 26, 37) // of whom more are known now
	w.clock.pass(24 * time.Hour)
	w.reports("203.0.113.7", "app_crash", uuids(50, 6)...)
	w.counts("app_crash", 31, 38) // another day
	if s := w.service.Stats(); s.EventsCapped != 38+30 || s.Events == 0 {
		t.Errorf("%+v", s)
	}
}

func TestAppMetricsOfOneSourceAreCapped(t *testing.T) {
	w := live(t)
	w.asks("2001:db8:1::8", uuids(0, 40)...)
	for i := range 40 {
		body := fields{"app_id": app, "device_id": uuid(i), "platform": "ios", "version_name": "1.1.0", "version_build": "1.0.0", "plugin_version": "8.0.0",
			"events": []fields{
				{"type": "load_time", "value_ms": 9000}, {"type": "load_time", "value_ms": 600 + 1000*(i%2)}, {"type": "js_error", "message": "x"},
				{"type": "api_time", "value_ms": 1},
			}}
		if a := w.from("2001:db8:1::7", "/telemetry", body); a.status != 200 || !strings.Contains(a.text, `"taken":4`) {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	w.counts("js_error", 10, 30)
	w.counts("api_time", 40, 0) // beyond no boundary
	// Of the slow loads a quarter; and of those that took 0.6 and 1.6 seconds a quarter of all devices each.
	w.counts("load_time", 30, 50)
}

// TestNothingIsCappedWhereTheSourceIsNotKnown: one bound for all who cannot be told apart would blind the judge.
func TestNothingIsCappedWhereTheSourceIsNotKnown(t *testing.T) {
	w := live(t)
	for i := range 40 {
		r := httptest.NewRequest("POST", "/stats", strings.NewReader(encode(t, says(uuid(i), event("app_crash", "1.1.0")))))
		r.RemoteAddr = "127.0.0.1:40000"
		w.handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	w.counts("app_crash", 40, 0)
}

// TestWhoCountsNothingUsesNothingUp: reports of emulators count for nothing, so they take no place of those that do.
func TestWhoCountsNothingUsesNothingUp(t *testing.T) {
	w := live(t)
	emulator := event("app_crash", "1.1.0")
	emulator["is_emulator"] = true
	for i := range 40 {
		w.from("203.0.113.7", "/stats", says(uuid(i), emulator))
	}
	w.reports("203.0.113.7", "app_crash", uuids(40, 5)...)
	w.counts("app_crash", 45, 0)
}

// TestArmsAreCappedAlike: the rule must not look at them. The order in which they come is drawn once, and then with the
// arms exchanged: the same places in the order count.
func TestArmsAreCappedAlike(t *testing.T) {
	passed := func(first, second rollout.Arm) (places []int) {
		w := live(t)
		one, other := w.inArm(first, 20), w.inArm(second, 20)
		byDevice := map[uint64]int{}
		for i := range 40 {
			id := one[i/2]
			if i%3 == 1 {
				id = other[i/2]
			}
			byDevice[telemetry.Fingerprint(id)] = i
			w.asks("203.0.113.7", id)
			w.reports("203.0.113.7", "app_crash", id)
		}
		for _, e := range w.events() {
			if e.Action == "app_crash" && !e.Capped {
				places = append(places, byDevice[e.Device])
			}
		}
		return places
	}
	count := func(places []int) (n [40]int) {
		for _, p := range places {
			n[p]++
		}
		return n
	}
	a, b := passed(rollout.ArmCandidate, rollout.ArmControl), passed(rollout.ArmControl, rollout.ArmCandidate)
	if count(a) != count(b) || len(a) < 5 {
		t.Errorf("counted %v, and with the arms exchanged %v", a, b)
	}
}

// TestACompanyBehindOneAddressDoesNotBlindTheJudge: 500 devices, a twentieth of them candidates, and a bundle that starts
// on none of these.
func TestACompanyBehindOneAddressDoesNotBlindTheJudge(t *testing.T) {
	w := live(t)
	candidates := w.inArm(rollout.ArmCandidate, 25)
	early, late := candidates[:5], candidates[5:]
	for _, id := range early { // before any other device was heard
		w.asks("203.0.113.7", id)
		w.reports("203.0.113.7", "update_fail", id)
	}
	w.counts("update_fail", 5, 0)
	w.asks("203.0.113.7", w.inArm(rollout.ArmControl, 475)...)
	w.asks("203.0.113.7", late...)
	w.reports("203.0.113.7", "update_fail", late...)
	w.counts("update_fail", 25, 0)
}

// TestACarrierMayHaveManyCustomers: a crash in two hundred, among devices that share a network, all counts.
func TestACarrierMayHaveManyCustomers(t *testing.T) {
	w := live(t)
	for i := range 2000 {
		w.asks(fmt.Sprintf("100.64.9.%d", i%256), uuid(i))
		if i%200 == 0 {
			w.reports(fmt.Sprintf("100.64.9.%d", i%256), "app_crash", uuid(i))
		}
	}
	w.counts("app_crash", 10, 0)
}

func TestFloodsOfChecksAreAnsweredAndLeftOut(t *testing.T) {
	w := newWorld(t)
	w.limits = device.SourceLimits{Entries: 20}
	w.restart()
	w.start()
	w.asks("203.0.113.7", uuids(0, 50)...)
	w.asks("203.0.113.7", uuids(0, 10)...) // were heard
	w.asks("203.0.115.7", uuids(100, 5)...)
	if s := w.service.Stats(); s.ChecksLeftOut != 30 {
		t.Errorf("%d were left out", s.ChecksLeftOut)
	}
	w.clock.pass(time.Hour)
	w.asks("203.0.113.7", uuids(50, 7)...)
	if events := w.flushed(); len(events) != 20+5+7 {
		t.Errorf("%d checks are on the stream", len(events))
	}
}

func TestRelayedChecksAreBoundedToo(t *testing.T) {
	w := newWorld(t)
	w.limits = device.SourceLimits{Entries: 20}
	w.restart()
	w.start()
	var checks []device.RelayedCheck
	for i := range 50 {
		checks = append(checks, device.RelayedCheck{
			App: app, Device: uint64(i), Version: "1.0.1", Platform: "ios", Rollout: rolloutID, Arm: rollout.ArmControl, Time: w.clock.Now(),
			Source: device.Source{Network: netip.MustParsePrefix("203.0.113.0/24")},
		})
	}
	for range 2 { // an edge repeats what it is not sure of
		if err := w.service.NoteChecks(t.Context(), checks); err != nil {
			t.Fatal(err)
		}
	}
	if events := w.events(); len(events) != 20 { // the rest of the hour, whoever asks
		t.Errorf("%d checks are on the stream", len(events))
	}
}

// TestNoAddressIsKept: neither the log nor the stream nor the store knows where devices asked from.
func TestNoAddressIsKept(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.limits = device.SourceLimits{Entries: 3}
	w.restart()
	w.start()
	w.asks("203.0.113.77", uuids(0, 20)...)
	w.reports("203.0.113.77", "app_crash", uuids(0, 20)...)
	w.reports("203.0.113.77", "update_fail", uuids(0, 20)...)
	w.from("203.0.113.77", "/stats", says(uuid(1), fields{"action": 1}))
	down := errors.New("the disk is full")
	w.stream.refusal.Store(&down)
	w.from("203.0.113.77", "/stats", says(uuid(1), event("app_crash", "1.1.0")))
	w.stream.refusal.Store(nil)
	w.flushed()
	if log.Len() == 0 {
		t.Error("nothing was logged")
	}
	kept := log.Bytes()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the engines' files: %v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, content...)
	}
	for _, address := range []string{"203.0.113", "cb00714d", "\xcb\x00\x71\x4d"} {
		if bytes.Contains(kept, []byte(address)) {
			t.Errorf("%q was kept", address)
		}
	}
}
