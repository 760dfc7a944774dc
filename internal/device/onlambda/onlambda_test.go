package onlambda_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/device/onlambda"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
)

const goldenDir = "../../../testdata/golden"

var _ lambda.Handler = (*onlambda.Handler)(nil)

// newHandler returns a handler of all paths on real engines with the golden apps.
func newHandler(t *testing.T) (*onlambda.Handler, store.Store, *streamsqlite.Stream, []devicetest.Vector) {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
	db, err := storesqlite.Open(filepath.Join(t.TempDir(), "palier.db"), storesqlite.Options{Now: now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := streamsqlite.Open(filepath.Join(t.TempDir(), "telemetry.db"), streamsqlite.Options{Now: now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	h := onlambda.New(device.Config{
		Apps: store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}, Devices: store.Devices{Store: db}, Stream: log,
		Now: now, Log: slog.New(slog.DiscardHandler), Frozen: true,
	}, device.PathUpdates, device.PathChannelSelf, device.PathStats, device.PathTelemetry, device.PathHealth)
	t.Cleanup(func() {
		h.Devices.Close()
		if err := errors.Join(log.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	vectors, err := devicetest.Answers(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := devicetest.Load(t.Context(), db, goldenDir, vectors); err != nil {
		t.Fatal(err)
	}
	return h, db, log, vectors
}

// request is an event as API Gateway sends it.
func request(method, path, query, body string) events.APIGatewayV2HTTPRequest {
	r := gatewaytest.Request(method, path, body)
	r.RawQueryString, r.Headers["content-type"] = query, "application/json"
	return r
}

// ask invokes the handler, whose answer must be JSON in plain text.
func ask(t *testing.T, h *onlambda.Handler, r events.APIGatewayV2HTTPRequest) events.APIGatewayV2HTTPResponse {
	t.Helper()
	a := gatewaytest.Invoke(t, h, r)
	if a.IsBase64Encoded || a.Headers["Content-Type"] != "application/json" || !json.Valid([]byte(a.Body)) {
		t.Errorf("%+v", a)
	}
	return a
}

func TestGoldenAnswers(t *testing.T) {
	h, _, _, vectors := newHandler(t)
	for i, v := range vectors {
		r := request("POST", device.PathUpdates, "", v.Body)
		if i%2 == 1 {
			r.Body, r.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(v.Body)), true
		}
		if a := ask(t, h, r); a.StatusCode != v.Status || a.Body != v.Answer {
			t.Errorf("%s:\n got %d %s\nwant %d %s", v.Name, a.StatusCode, a.Body, v.Status, v.Answer)
		}
	}
}

func TestAnswers(t *testing.T) {
	h, _, _, vectors := newHandler(t)
	for _, c := range []struct {
		name                      string
		method, path, query, body string
		status                    int
		body0                     string // what the answer contains
		header, value             string
	}{
		{"health", "GET", "/healthz", "", "", 200, `"ok"`, "", ""},
		{"a probe", "GET", "/updates", "", "", 200, `"ok"`, "", ""},
		{"not this function's", "POST", "/updates/manifest_size", "", "{}", 404, `"error"`, "", ""},
		{"nobody's", "GET", "/api/v1/apps", "", "", 404, `"error"`, "", ""},
		{"another method", "PUT", "/updates", "", vectors[0].Body, 405, "method_not_allowed", "", ""},
		{"too large", "POST", "/updates", "", strings.Repeat(" ", 70_000), 400, "too large", "", ""},
		{"patience", "POST", "/updates", "", strings.Replace(vectors[0].Body, "com.golden.channels", "com.golden.nobody", 1), 429, "on_premise_app", "Retry-After", "300"},
		{"the query", "GET", "/channel_self", channelsQuery, "", 200, `[`, "", ""},
		{"a page asks", "OPTIONS", "/telemetry", "", "", 200, `"ok"`, "Access-Control-Allow-Origin", "*"},
		{"a page is refused", "POST", "/telemetry", "", "{}", 400, `"error"`, "Access-Control-Allow-Origin", "*"},
	} {
		a := ask(t, h, request(c.method, c.path, c.query, c.body))
		if a.StatusCode != c.status || !strings.Contains(a.Body, c.body0) || a.Headers[c.header] != c.value {
			t.Errorf("%s: %d %s %v", c.name, a.StatusCode, a.Body, a.Headers)
		}
	}
}

func TestInvokeRefusesOtherEvents(t *testing.T) {
	h, _, _, _ := newHandler(t)
	if _, err := h.Invoke(t.Context(), []byte(`{"Records":[]}`)); !errors.Is(err, apigateway.ErrNoEvent) {
		t.Errorf("%v", err)
	}
}

// TestNothingIsLeftWhenTheAnswerIsHandedOver: the check event of a device in a live rollout is on the stream by then.
func TestNothingIsLeftWhenTheAnswerIsHandedOver(t *testing.T) {
	h, _, log, vectors := newHandler(t)
	told := 0
	h.Answered = func() { told++ }
	asked := 0
	for _, v := range vectors {
		if v.Snapshot == "walk-running-20" && asked == 0 {
			asked++
			ask(t, h, request("POST", device.PathUpdates, "", v.Body))
		}
	}
	if asked != 1 || told != 1 {
		t.Fatalf("asked %d times, told %d times", asked, told)
	}
	shards, err := log.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, shard := range shards {
		list, err := log.Read(t.Context(), shard, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		records += len(list)
	}
	if records != 1 {
		t.Errorf("%d records on the stream, want the check event", records)
	}
}

// TestReportsAreOfTheirSource: of the address that API Gateway was asked from, or that a proxy it was told of names.
func TestReportsAreOfTheirSource(t *testing.T) {
	h, _, log, vectors := newHandler(t)
	at := slices.IndexFunc(vectors, func(v devicetest.Vector) bool { return v.Snapshot == "walk-running-20" })
	var check map[string]any
	if err := json.Unmarshal([]byte(vectors[at].Body), &check); err != nil {
		t.Fatal(err)
	}
	check["action"] = "app_crash"
	const devices = 30
	for n := range devices {
		check["device_id"] = fmt.Sprintf("%08x-0000-4000-8000-000000000000", n)
		body, err := json.Marshal(check)
		if err != nil {
			t.Fatal(err)
		}
		r := request("POST", device.PathStats, "", string(body))
		r.Headers["x-forwarded-for"] = fmt.Sprintf("198.51.%d.7, 203.0.113.7", n) // which anybody can write
		if a := ask(t, h, r); a.StatusCode != 200 {
			t.Fatalf("%+v", a)
		}
	}
	if s := h.Devices.Stats(); s.Events != devices || s.EventsCapped < devices/2 || s.EventsCapped > devices-5 {
		t.Errorf("%d of %d events are capped", s.EventsCapped, s.Events)
	}
	if capped := strings.Count(onStream(t, log), `"capped":true`); int64(capped) != h.Devices.Stats().EventsCapped {
		t.Errorf("%d are marked on the stream", capped)
	}
}

// onStream returns all that is on the stream.
func onStream(t *testing.T, log *streamsqlite.Stream) string {
	t.Helper()
	shards, err := log.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, shard := range shards {
		list, err := log.Read(t.Context(), shard, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			all.Write(r.Data)
		}
	}
	return all.String()
}

// channelsQuery lists the channels that a device may choose, for which the Snapshot is enough.
const channelsQuery = "app_id=com.golden.channels&device_id=3ad0fac0-0ed2-acf2-c604-abd2332c482c&platform=ios&is_emulator=false&is_prod=true&version_build=1.0.0&key_id="

func TestPrefetch(t *testing.T) {
	for _, provisioned := range []bool{true, false} {
		h, db, _, _ := newHandler(t)
		listed := store.Item{Key: store.Key{PK: "APPS", SK: "com.golden.channels"}, Version: 1}
		if err := db.Write(t.Context(), store.Put(listed, store.Always())); err != nil {
			t.Fatal(err)
		}
		var failures atomic.Int64
		h.Prefetch(provisioned, func(err error) { failures.Add(1) })
		if a := ask(t, h, request("GET", device.PathHealth, "", "")); a.StatusCode != 200 || failures.Load() != 0 {
			t.Errorf("provisioned %t: %d, %d failures", provisioned, a.StatusCode, failures.Load())
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if provisioned {
			if a := ask(t, h, request("GET", device.PathChannelSelf, channelsQuery, "")); !strings.HasPrefix(a.Body, "[") {
				t.Errorf("the snapshot was not there before the first request: %s", a.Body)
			}
		}
		failed := make(chan error, 1)
		h.Prefetch(provisioned, func(err error) { failed <- err })
		if provisioned && len(failed) == 0 {
			t.Error("Prefetch came back before it was done")
		}
		if err := <-failed; err == nil {
			t.Errorf("provisioned %t: a store that is gone was not told of", provisioned)
		}
	}
}
