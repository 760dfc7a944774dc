package cost

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/stream"
)

var update = flag.Bool("update", false, "write units.yaml from what is measured")

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

const app = "com.example.shop"

// meter is Palier on DynamoDB, counting what it consumes, with a stream that keeps what it is given.
type meter struct {
	t       *testing.T
	at      time.Time
	store   store.Store
	apps    store.Apps
	devices *device.Service
	rollout string

	mu      sync.Mutex
	used    Call
	records [][]byte
}

func newMeter(t *testing.T) *meter {
	m := &meter{t: t, at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), rollout: "01M0000000000000000000000A"}
	client, table := componenttest.DynamoDBClient(t), componenttest.Table(t)
	m.store = metered{dynamo.New(client, table, dynamo.Options{Now: m.now, Consumed: m.consumed}), m}
	m.apps = store.Apps{Store: m.store, NewID: store.NewULID(rand.Reader)}
	m.seed()
	m.devices = device.New(device.Config{
		Apps: m.apps, Devices: store.Devices{Store: m.store}, Stream: m, Now: m.now, Log: slog.New(slog.DiscardHandler), Frozen: true,
	})
	t.Cleanup(m.devices.Close)
	return m
}

func (m *meter) now() time.Time { return m.at }

func (m *meter) consumed(u dynamo.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used.Reads += u.Read
	m.used.StoreCalls++
}

// metered counts what Writes consume by DynamoDB's rule: DynamoDB Local counts transactions as half of what they are.
type metered struct {
	store.Store
	meter *meter
}

func (s metered) Write(ctx context.Context, ops ...store.Op) error {
	if err := s.Store.Write(ctx, ops...); err != nil {
		return err
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	s.meter.used.Writes += dynamo.WriteUnits(ops...)
	return nil
}

// Append keeps the batch: m is the stream that the device side writes to.
func (m *meter) Append(_ context.Context, batch []stream.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used.StreamCalls++
	for _, r := range batch {
		m.used.Records++
		m.used.RecordBytes += float64(len(r.Data))
		m.records = append(m.records, append([]byte(nil), r.Data...))
	}
	return nil
}

func (m *meter) Shards(context.Context) ([]string, error) { return nil, nil }
func (m *meter) Read(context.Context, string, stream.Position, int) ([]stream.Delivered, error) {
	return nil, nil
}
func (m *meter) Trim(context.Context, string, stream.Position) error { return nil }
func (m *meter) Close() error                                        { return nil }

// measure returns what do uses, divided by n.
func (m *meter) measure(n int, do func()) Call {
	m.t.Helper()
	m.mu.Lock()
	m.used = Call{}
	m.mu.Unlock()
	do()
	m.mu.Lock()
	defer m.mu.Unlock()
	c, by := m.used, float64(n)
	if c.Records > 0 {
		c.RecordBytes /= c.Records
	}
	return Call{c.Reads / by, c.Writes / by, c.StoreCalls / by, c.StreamCalls / by, c.Records / by, c.RecordBytes}
}

// seed makes an app of a usual size: 30 bundles, three channels, a rollout in its first phase of 5 %.
func (m *meter) seed() {
	s := rollout.State{App: rollout.App{ID: app, Name: "Shop"}, Bundles: map[string]rollout.Bundle{}, Channels: map[string]rollout.Channel{}}
	for i := range 30 {
		version := fmt.Sprintf("1.%d.0", i)
		s.Bundles[version] = rollout.Bundle{
			Version: version, URL: "https://cdn.example.com/shop/" + version + ".zip", Checksum: strings.Repeat("ab", 32), Comment: "Faster checkout",
		}
	}
	for i, name := range []string{"production", "beta", "internal"} {
		c := rollout.NewChannel(name)
		c.Bundle, c.Number, c.Public = "1.28.0", int64(i+1), name == "production"
		s.Channels[name] = c
	}
	if _, err := m.apps.Commit(m.t.Context(), rollout.State{}, s, nil); err != nil {
		m.t.Fatal(err)
	}
}

func (m *meter) start() {
	before, err := m.apps.Load(m.t.Context(), app)
	if err != nil {
		m.t.Fatal(err)
	}
	plan, _ := rollout.BuiltinPlan("progressive")
	tr, err := rollout.Start(before, rollout.StartRequest{
		ID: m.rollout, Salt: rollout.Salt{7}, Channel: "production", Bundle: "1.29.0", Plan: plan, Actor: "test", At: m.at,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.apps.Commit(m.t.Context(), before, tr.ApplyTo(before), tr.Events); err != nil {
		m.t.Fatal(err)
	}
	m.devices.Forget(app)
}

// says is what a device's plugin sends.
func says(device int, version, more string) []byte {
	return fmt.Appendf(nil, `{"platform":"android","device_id":"%08x-0000-4000-8000-%012x","app_id":%q,"custom_id":"","version_build":"1.0.0",`+
		`"version_code":"1","version_os":"15","version_name":%q,"plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"defaultChannel":"","key_id":""%s}`,
		uint32(device*0x9e3779b1), device, app, version, more)
}

// checks has devices ask, each once, and waits until their check events are on the stream.
func (m *meter) checks(from, n int, version string) {
	for i := range n {
		if a := m.devices.Updates(m.t.Context(), device.Source{}, says(from+i, version, ""), nil); a.Status != 200 {
			m.t.Fatalf("%d %s", a.Status, a.Body)
		}
		m.devices.Settle(m.t.Context())
	}
}

// fold pushes the records to a new aggregator, in batches.
func (m *meter) fold(records [][]byte, batch int) {
	m.t.Helper()
	a := &aggregate.Aggregator{Store: m.store, Name: "telemetry", Log: slog.New(slog.DiscardHandler)}
	for from := 0; from < len(records); from += batch {
		var pushed []stream.Delivered
		for i, data := range records[from:min(len(records), from+batch)] {
			pushed = append(pushed, stream.Delivered{Position: stream.Position(fmt.Sprint(from + i + 1)), Data: data})
		}
		if _, err := a.FoldBatch(m.t.Context(), pushed); err != nil {
			m.t.Fatal(err)
		}
	}
}

// measureUnits runs every kind of call against DynamoDB and counts.
func measureUnits(t *testing.T) Units {
	m := newMeter(t)
	var u Units
	m.checks(0, 1, "1.28.0") // loads the Snapshot
	u.Check = m.measure(500, func() { m.checks(0, 500, "1.28.0") })
	u.Offer = m.measure(500, func() { m.checks(0, 500, "1.0.0") })
	u.Refresh = m.measure(1, func() { m.devices.Forget(app); m.checks(0, 1, "1.28.0") })
	m.start()
	m.checks(0, 1, "1.28.0")
	m.records = nil
	const devices = 8000
	u.Note = m.measure(devices, func() { m.checks(1, devices, "1.28.0"); m.awaitRecords(devices) })
	u.Note.Reads, u.Note.Writes, u.Note.StoreCalls, u.Note.StreamCalls = 0, 0, 0, 1 // a quiet process sends each by itself
	u.Stats = m.measure(500, func() {
		for i := range 500 {
			body := says(i, "1.28.0", `,"action":"app_moved_to_foreground","old_version_name":"","timestamp":1790000000000`)
			if a := m.devices.RecordStats(t.Context(), device.Source{}, body, nil); a.Status != 200 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
		}
	})
	u.FoldSlot, u.FoldOne = m.measureFold(m.records[:devices])
	m.measureEdge(&u)
	m.tick(time.Hour) // an hour's first verdict brings the frame of the others
	u.Tick = m.measure(10, func() {
		for range 10 {
			m.tick(time.Minute)
		}
	})
	return u
}

// measureEdge measures what an edge's requests use, of an origin that knows the edge's token already.
func (m *meter) measureEdge(u *Units) {
	const secret = "plr_the-token-of-an-edge"
	tokens := store.Tokens{Store: m.store}
	if err := tokens.Create(m.t.Context(), store.Token{Name: "edge", Role: store.RoleEdge}, sha256.Sum256([]byte(secret))); err != nil {
		m.t.Fatal(err)
	}
	origin := relay.New(relay.Config{
		Apps: m.apps, Tokens: tokens, Keys: store.Keys{Store: m.store, Now: m.now}, Devices: m.devices, Now: m.now,
		Log: slog.New(slog.DiscardHandler),
	}).Handler()
	ask := func(method, path, etag, body string, want int) http.Header {
		r := httptest.NewRequestWithContext(m.t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		origin.ServeHTTP(w, r)
		if w.Code != want {
			m.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w.Header()
	}
	const polls, reports, notes = 50, relayReports, relayNotes / 2
	etag := ask(http.MethodGet, relay.PathSnapshots+app, "", "", http.StatusOK).Get("ETag")
	u.Poll = m.measure(polls, func() {
		for range polls {
			ask(http.MethodGet, relay.PathSnapshots+app, etag, "", http.StatusNotModified)
		}
	})
	u.RelayedReport = m.measure(reports, func() { ask(http.MethodPost, relay.PathRelay, "", m.reports(reports), http.StatusOK) })
	u.RelayedNote = m.measure(notes, func() { ask(http.MethodPost, relay.PathRelay, "", m.notes(notes), http.StatusOK) })
}

// reports is a relay of so many devices' reports.
func (m *meter) reports(n int) string {
	list := make([]string, n)
	for i := range list {
		report := says(i, "1.28.0", `,"action":"app_moved_to_foreground","old_version_name":"","timestamp":1790000000000`)
		list[i] = fmt.Sprintf(`{"path":%q,"body":%q}`, device.PathStats, report)
	}
	return `{"checks":[],"requests":[` + strings.Join(list, ",") + `]}`
}

// notes is a relay of so many devices' checks.
func (m *meter) notes(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"app":%q,"device":"%016x","version":"1.28.0","platform":"android","rollout":%q,"phase":0,"arm":"control",`+
			`"candidate":false,"age":3}`, app, i, m.rollout)
	}
	return `{"checks":[` + strings.Join(list, ",") + `],"requests":[]}`
}

func (m *meter) awaitRecords(n int) {
	deadline := time.Now().Add(30 * time.Second)
	for have := 0; have < n; {
		m.devices.Settle(m.t.Context())
		m.mu.Lock()
		have = len(m.records)
		m.mu.Unlock()
		if time.Now().After(deadline) {
			m.t.Fatalf("%d of %d check events reached the stream", have, n)
		}
	}
}

// measureFold folds the same number of events in small and in large batches, of which there are different numbers of
// slots to write: two equations for what a slot costs and what an event costs.
func (m *meter) measureFold(records [][]byte) (slot, one Call) {
	half := len(records) / 2
	const small, large = 64, 2000 // events of a batch, and so 4 and 125 of a slot
	a := m.measure(1, func() { m.fold(records[:half], small) })
	b := m.measure(1, func() { m.fold(records[half:], large) })
	slotsA, slotsB, n := float64(half/small*aggregate.Slots), float64(half/large*aggregate.Slots), float64(half)
	solve := func(x, y float64) (perSlot, perEvent float64) {
		perSlot = (x - y) / (slotsA - slotsB)
		return perSlot, max(0, (y-perSlot*slotsB)/n)
	}
	slot.Reads, one.Reads = solve(a.Reads, b.Reads)
	slot.Writes, one.Writes = solve(a.Writes, b.Writes)
	slot.StoreCalls, one.StoreCalls = solve(a.StoreCalls, b.StoreCalls)
	return slot, one
}

// tick judges the live rollout when so much time has passed.
func (m *meter) tick(later time.Duration) {
	m.at = m.at.Add(later)
	ticker := promote.Ticker{
		Apps: m.apps, Tallies: store.Tallies{Store: m.store}, Verdicts: store.Verdicts{Store: m.store}, Now: m.now, Log: slog.New(slog.DiscardHandler),
	}
	outcomes, err := ticker.Tick(m.t.Context())
	if err != nil || len(outcomes) != 1 || outcomes[0].Err != nil {
		m.t.Fatalf("%v %v", outcomes, err)
	}
}

// TestUnitsAreAsMeasured measures what every kind of call consumes on DynamoDB Local, and holds the units that the bill is
// computed from against it.
func TestUnitsAreAsMeasured(t *testing.T) {
	measured := measureUnits(t)
	text, err := yaml.Marshal(rounded3(measured))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		head := "# What one call uses, measured by this package's test on DynamoDB Local. Write it anew with\n" +
			"# go test ./internal/cost -run Units -update\n"
		if err := os.WriteFile("units.yaml", append([]byte(head), text...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := ParseUnits(nil)
	if err != nil {
		t.Fatal(err)
	}
	want, got := flat(t, committed), flat(t, measured)
	if len(want) != len(got) || len(got) == 0 {
		t.Fatalf("%d figures committed, %d measured", len(want), len(got))
	}
	for name, value := range got {
		if math.Abs(value-want[name]) > 0.02+0.1*math.Abs(want[name]) {
			t.Errorf("%s: measured %.3g, but units.yaml says %.3g", name, value, want[name])
		}
	}
}

// flat returns the figures by name.
func flat(t *testing.T, u Units) map[string]float64 {
	t.Helper()
	text, err := yaml.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var calls map[string]map[string]float64
	if err := yaml.Unmarshal(text, &calls); err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for call, figures := range calls {
		for figure, value := range maps.All(figures) {
			all[call+"."+figure] = value
		}
	}
	return all
}

// rounded3 rounds every figure to thousandths.
func rounded3(u Units) Units {
	for _, c := range []*Call{&u.Check, &u.Offer, &u.Note, &u.Stats, &u.Refresh, &u.FoldSlot, &u.FoldOne, &u.Tick, &u.Poll, &u.RelayedReport, &u.RelayedNote} {
		for _, f := range []*float64{&c.Reads, &c.Writes, &c.StoreCalls, &c.StreamCalls, &c.Records, &c.RecordBytes} {
			*f = math.Round(*f*1000) / 1000
		}
	}
	return u
}
