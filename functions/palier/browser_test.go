package main

import (
	"context"
	"encoding/json"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// The browser client is tested where it runs: pages of a shop, in Chromium, load it from a server and report there. The
// scenarios are in testdata/browser, in JavaScript; the shop and what they need to know of the server are here.

const browserDir = "testdata/browser"

// candidateDevice has asked for an update, and is in the rollout that the scenarios run beside.
const candidateDevice = "0b5c1f0e-3d1f-4f0a-9d52-1c6e5d0a7b11"

// chromium returns the path of a Chromium.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("the browser client is tested in Chromium, which is not in PATH [apt-get install chromium]")
	return ""
}

func TestBrowserClient(t *testing.T) {
	browser := chromium(t)
	tools, err := component.Packages(t.Context(), component.Options{}, "browser", os.DirFS("../../internal/browser/testdata/tools"))
	must(t, err)
	s := startServer(t, 1)
	must(t, createShop(t.Context(), s, testApp))
	id := exposeDevice(t, s)
	shop := startShop(t, s)

	cmd := exec.CommandContext(t.Context(), "node", "--test-reporter=spec", filepath.Join(browserDir, "scenarios.mjs"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // on which it ends the browser
	cmd.WaitDelay = startLimit
	cmd.Env = append(os.Environ(), "PALIER="+s.url(), "SHOP="+shop.URL, "NOBODY="+nobody(t), "CHROMIUM="+browser, "TOOLS="+tools,
		"CANDIDATE="+candidateDevice)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	must(t, err)
	checkCounted(t, s, id)
}

// nobody returns an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	closed := httptest.NewServer(nil)
	defer closed.Close()
	return closed.URL
}

// createShop makes an app with a baseline and a candidate.
func createShop(ctx context.Context, s *server, app string) error {
	bundle := func(version string) map[string]any {
		return map[string]any{"version": version, "checksum": "c0ffee", "url": "https://cdn.example.com/shop/" + version + ".zip"}
	}
	return s.operator().send(ctx, http.MethodPut, appPath(app), map[string]any{
		"app": app, "bundles": []any{bundle("1.0.0"), bundle(testCandidate)},
		"channels": []any{map[string]any{"name": "production", "bundle": "1.0.0", "public": true}},
	}, nil)
}

// exposeDevice starts a rollout to everyone, and lets one device ask for an update that runs the candidate already. It
// returns the rollout's id.
func exposeDevice(t *testing.T, s *server) (id string) {
	t.Helper()
	var r admin.RolloutView
	start := map[string]any{"channel": "production", "bundle": testCandidate, "plan": "instant"}
	must(t, s.operator().send(t.Context(), http.MethodPost, appPath(testApp, "rollouts"), start, &r))
	check, err := json.Marshal(map[string]any{
		"app_id": testApp, "device_id": candidateDevice, "platform": "ios", "version_name": testCandidate, "version_build": "1.0",
		"version_os": "18", "plugin_version": "8.45.11",
	})
	must(t, err)
	if status, _, answer := request(t, http.MethodPost, s.url()+"/updates", check); status != http.StatusOK {
		t.Fatalf("the update check is answered %d %s", status, answer)
	}
	return r.ID
}

// checkCounted waits until the rollout's numbers have what the candidate's page reported: the errors count once.
func checkCounted(t *testing.T, s *server, id string) {
	t.Helper()
	eventually(t, startLimit, "the page's error counts against the candidate", func() bool {
		var m admin.MetricsView
		must(t, s.operator().get(t.Context(), appPath(testApp, "rollouts", id, "metrics"), &m))
		return m.Arms.Candidate.Events["error"] == 1
	})
}

// startShop serves the shop, whose origin is not the server's, and what the scenarios want to know.
func startShop(t *testing.T, s *server) *httptest.Server {
	t.Helper()
	page, err := template.ParseFiles(filepath.Join(browserDir, "page.html"))
	must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline' "+s.url()+"; connect-src * data:")
		_ = page.Execute(w, map[string]string{"Palier": s.url()})
	})
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/api/held", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/api/missing", http.NotFound)
	mux.HandleFunc("GET /harness/arrived", func(w http.ResponseWriter, r *http.Request) {
		list, err := arrived(r.Context(), s, r.FormValue("device"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("POST /harness/create", func(w http.ResponseWriter, r *http.Request) {
		if err := createShop(r.Context(), s, r.FormValue("app")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	shop := httptest.NewServer(mux)
	t.Cleanup(shop.Close)
	return shop
}

// metric is an app metric as it rests on the stream.
type metric struct {
	Type     string  `json:"type"`
	Name     string  `json:"name,omitempty"`
	Message  string  `json:"message,omitempty"`
	Negative string  `json:"negative,omitempty"`
	Granted  string  `json:"granted,omitempty"`
	Value    float64 `json:"value"`
	At       int64   `json:"at"`
	Version  string  `json:"version"`
	Platform string  `json:"platform"`
}

// arrived returns what of a device's app metrics rests on the stream, in the order in which it came.
func arrived(ctx context.Context, s *server, device string) ([]metric, error) {
	list := []metric{}
	shards, err := s.stream.Shards(ctx)
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		for after := stream.Position(""); ; {
			records, err := s.stream.Read(ctx, shard, after, 0)
			if err != nil {
				return nil, err
			}
			if len(records) == 0 {
				break
			}
			for _, record := range records {
				e, err := telemetry.Decode(record.Data)
				if err != nil {
					return nil, err
				}
				if e.Kind == telemetry.KindMetric && e.Device == telemetry.Fingerprint(device) {
					list = append(list, metricOf(e))
				}
				after = record.Position
			}
		}
	}
	return list, nil
}

func metricOf(e telemetry.Event) metric {
	return metric{
		Type: e.Action, Name: e.Metadata["name"], Message: e.Metadata["message"], Negative: e.Metadata["negative"],
		Granted: e.Metadata["granted"], Value: e.Value, At: e.ClientTime, Version: e.Version, Platform: e.Platform,
	}
}
