package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/device/onlambda"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

// full is a real stream that takes nothing more once it is told so.
type full struct {
	stream.Stream
	now bool
}

// Append refuses, or appends.
func (f *full) Append(ctx context.Context, batch []stream.Record) error {
	if f.now {
		return stream.ErrOverloaded
	}
	return f.Stream.Append(ctx, batch)
}

// newFunction returns the function on real engines, with an app of the golden ones.
func newFunction(t *testing.T) (*onlambda.Handler, *full) {
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
	out := &full{Stream: log}
	h := onlambda.New(device.Config{
		Apps: store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}, Devices: store.Devices{Store: db}, Stream: out,
		Now: now, Log: slog.New(slog.DiscardHandler), Frozen: true,
	}, paths()...)
	t.Cleanup(func() {
		h.Devices.Close()
		if err := errors.Join(log.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := devicetest.Load(t.Context(), db, "../../testdata/golden", nil); err != nil {
		t.Fatal(err)
	}
	return h, out
}

func ask(t *testing.T, h *onlambda.Handler, method, path, body string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	return gatewaytest.Invoke(t, h, gatewaytest.Request(method, path, body))
}

const (
	crash = `{"platform":"ios","device_id":"3ad0fac0-0ed2-acf2-c604-abd2332c482c","app_id":"com.golden.channels","version_build":"1.0.0",` +
		`"version_os":"17","version_name":"1.0.0","plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"action":"app_crash"}`
	session = `{"app_id":"com.golden.channels","device_id":"3ad0fac0-0ed2-acf2-c604-abd2332c482c","platform":"ios","version_name":"1.0.0",` +
		`"metrics":[{"type":"session","ms":60000}]}`
)

// actions returns what is on the stream.
func actions(t *testing.T, s stream.Stream) (list []string) {
	t.Helper()
	shards, err := s.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		records, err := s.Read(t.Context(), shard, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			e, err := telemetry.Decode(r.Data)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, e.Action)
		}
	}
	return list
}

func TestWhatIsAcknowledgedIsOnTheStream(t *testing.T) {
	h, out := newFunction(t)
	if a := ask(t, h, "POST", device.PathStats, crash); a.StatusCode != 200 || !strings.Contains(a.Body, `"ok"`) {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	if list := actions(t, out); len(list) != 1 || list[0] != "app_crash" {
		t.Errorf("on the stream: %q", list)
	}
}

func TestFullStreamAsksForPatience(t *testing.T) {
	h, out := newFunction(t)
	out.now = true
	a := ask(t, h, "POST", device.PathStats, crash)
	if a.StatusCode != 429 || a.Headers["Retry-After"] == "" || !strings.Contains(a.Body, "too_many_requests") {
		t.Errorf("%d %v %s", a.StatusCode, a.Headers, a.Body)
	}
	if list := actions(t, out); len(list) != 0 {
		t.Errorf("refused, and on the stream: %q", list)
	}
}

func TestPagesMayAsk(t *testing.T) {
	h, _ := newFunction(t)
	for _, c := range []struct{ method, body string }{{"OPTIONS", ""}, {"POST", session}, {"POST", "{"}} {
		a := ask(t, h, c.method, device.PathTelemetry, c.body)
		if a.Headers["Access-Control-Allow-Origin"] != "*" || a.Headers["Access-Control-Allow-Headers"] != "Content-Type" {
			t.Errorf("%s %s: %d %v", c.method, c.body, a.StatusCode, a.Headers)
		}
	}
}

func TestAnswersOnlyWhatItIsFor(t *testing.T) {
	h, _ := newFunction(t)
	for path, status := range map[string]int{
		device.PathHealth: 404, device.PathStats: 200, device.PathUpdates: 404, device.PathChannelSelf: 404, device.PathManifestSize: 404,
		device.PathClient: 200,
	} {
		if a := ask(t, h, "GET", path, ""); a.StatusCode != status {
			t.Errorf("GET %s: %d %s", path, a.StatusCode, a.Body)
		}
	}
}
