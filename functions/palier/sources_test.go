package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/source"
)

// TestServeTrustsProxies: behind a proxy that it was told of, the server sees where each device asks from; otherwise the
// proxy is where all come from, and most of what they report does not count.
func TestServeTrustsProxies(t *testing.T) {
	const devices = 12
	for trust, capped := range map[string]int{"192.0.2.0/24": 0, "": devices - 5} {
		proxies, err := source.ParseTrusted(trust)
		must(t, err)
		s := startServerWith(t, serveOptions{
			data: t.TempDir(), listen: "127.0.0.1:0", scale: 1, token: testToken, trust: proxies, log: slog.New(slog.DiscardHandler),
		})
		document := map[string]any{
			"app": testApp, "channels": []any{map[string]any{"name": "production", "bundle": "1.0.0", "public": true}},
			"bundles": []any{
				map[string]any{"version": "1.0.0", "checksum": "c0ffee", "url": "https://cdn.example.com/1.0.0.zip"},
				map[string]any{"version": testCandidate, "checksum": "c0ffee", "url": "https://cdn.example.com/1.1.0.zip"},
			},
		}
		must(t, s.operator().send(t.Context(), http.MethodPut, appPath(testApp), document, nil))
		start := map[string]any{"channel": "production", "bundle": testCandidate, "plan": "instant"}
		must(t, s.operator().send(t.Context(), http.MethodPost, appPath(testApp, "rollouts"), start, nil))
		for n := range devices {
			body, err := json.Marshal(map[string]any{
				"app_id": testApp, "device_id": fmt.Sprintf("%08x-0000-4000-8000-000000000000", n), "platform": "ios", "version_name": testCandidate,
				"version_build": "1.0.0", "version_os": "18.1", "plugin_version": "8.51.23", "is_prod": true, "is_emulator": false, "action": "app_crash",
			})
			must(t, err)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url()+"/stats", strings.NewReader(string(body)))
			must(t, err)
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.7, 192.0.2.9", n))
			res, err := http.DefaultClient.Do(req)
			must(t, err)
			answer, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%d %s, %v", res.StatusCode, answer, err)
			}
		}
		if line := fmt.Sprintf("\npalier_telemetry_capped_total %d\n", capped); !strings.Contains(s.scrape(t), line) {
			t.Errorf("trusting %q: the metrics lack %q", trust, line)
		}
	}
}

// scrape returns what Prometheus is told.
func (r running) scrape(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url()+"/metrics", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+testToken)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return string(text)
}
