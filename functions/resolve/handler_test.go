package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/device/onlambda"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
)

// TestAnswersOnlyWhatItIsFor asks the function, on real engines, for every path that devices know.
func TestAnswersOnlyWhatItIsFor(t *testing.T) {
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
	}, paths()...)
	defer func() {
		h.Devices.Close()
		if err := errors.Join(log.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}()
	const golden = "../../testdata/golden"
	vectors, err := devicetest.Answers(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := devicetest.Load(t.Context(), db, golden, vectors); err != nil {
		t.Fatal(err)
	}
	body := vectors[0].Body
	for _, c := range []struct {
		method, path string
		status       int
		answer       string // exact; "" is any
	}{
		{"POST", device.PathUpdates, vectors[0].Status, vectors[0].Answer},
		{"GET", device.PathUpdates, 200, `{"status":"ok"}`},
		{"GET", device.PathHealth, 200, `{"status":"ok"}`},
		{"PUT", device.PathChannelSelf, 200, ""},
		{"POST", device.PathManifestSize, 400, ""},
		{"POST", device.PathStats, 404, ""},
		{"POST", device.PathTelemetry, 404, ""},
	} {
		a := gatewaytest.Invoke(t, h, gatewaytest.Request(c.method, c.path, body))
		if a.StatusCode != c.status || c.answer != "" && a.Body != c.answer {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.Body)
		}
	}
}
