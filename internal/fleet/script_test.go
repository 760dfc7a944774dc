package fleet

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script plays a server. Its fields say how it answers; nil answers like a healthy Palier with nothing to offer.
type script struct {
	// check answers an update check by the fields of its body.
	check func(s *script, c map[string]any) answerOf
	// stats answers statistics; nil takes them.
	stats func(s *script, events []map[string]any) answerOf

	mu       sync.Mutex
	requests []request
	failed   map[string][]string // by device: bundles whose update_fail came in
}

type answerOf struct {
	status int // default 200
	body   string
	header map[string]string
}

// request is one request as the server saw it.
type request struct {
	path   string
	at     time.Time
	header http.Header
	array  bool
	bodies []map[string]any // one, or the elements of an array
	raw    string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got := request{path: r.URL.Path, at: time.Now(), header: r.Header.Clone(), raw: string(raw)}
	if got.array = strings.HasPrefix(got.raw, "["); got.array {
		err = json.Unmarshal(raw, &got.bodies)
	} else {
		got.bodies = make([]map[string]any, 1)
		err = json.Unmarshal(raw, &got.bodies[0])
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := s.answer(got)
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	io.WriteString(w, a.body)
}

func (s *script) answer(got request) answerOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, got)
	switch {
	case got.path == "/updates" && s.check != nil:
		return s.check(s, got.bodies[0])
	case got.path == "/updates":
		return upToDate()
	case got.path == "/stats" && s.stats != nil:
		if a := s.stats(s, got.bodies); a.status != 0 || a.body != "" {
			return a
		}
	}
	for _, e := range got.bodies {
		if e["action"] == "update_fail" {
			s.fail(deviceOf(e), e["version_name"].(string))
		}
	}
	return answerOf{body: `{"status":"ok"}`}
}

func (s *script) fail(device, version string) {
	if s.failed == nil {
		s.failed = make(map[string][]string)
	}
	s.failed[device] = append(s.failed[device], version)
}

func deviceOf(body map[string]any) string { return strings.ToLower(body["device_id"].(string)) }

func upToDate() answerOf {
	return answerOf{body: `{"error":"no_new_version_available","message":"No new version available","kind":"up_to_date"}`}
}

func blocked() answerOf {
	return answerOf{body: `{"error":"bundle_failed_on_device","message":"failed","kind":"blocked"}`}
}

func offerOf(version string) answerOf {
	return answerOf{body: `{"version":"` + version + `","url":"https://cdn.example.com/` + version + `.zip","session_key":"","checksum":"abc"}`}
}

// offering is a healthy server's check: everyone gets version, but for the devices on which it failed.
func offering(version string) func(*script, map[string]any) answerOf {
	return func(s *script, c map[string]any) answerOf {
		switch {
		case c["version_name"] == version:
			return upToDate()
		case slices.Contains(s.failed[deviceOf(c)], version):
			return blocked()
		}
		return offerOf(version)
	}
}

// actions returns the statistics that the server saw of one action ("" for all), in order.
func (s *script) actions(action string) []map[string]any {
	var out []map[string]any
	for _, r := range s.requests {
		for _, e := range r.bodies {
			if r.path == "/stats" && (action == "" || e["action"] == action) {
				out = append(out, e)
			}
		}
	}
	return out
}

// RoundTrip serves the request in process, so that a run fits into a bubble of synthetic time.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// config is a small fleet of one plugin that lives for two days.
func config(plugin string) Config {
	return Config{
		BaseURL: "http://palier.test", App: "com.example.shop", Devices: 60, Seed: 7, CheckEvery: 2 * time.Hour,
		Duration: 48 * time.Hour, Progress: time.Hour, Concurrency: 4,
		PluginMix: []PluginShare{{plugin, 1}},
	}
}

// mixed is the same with plugins of every generation.
func mixed() Config {
	c := config("8.51.23")
	c.PluginMix = DefaultPluginMix()
	return c
}

// play runs the fleet against the script in synthetic time.
func play(t *testing.T, c Config, s *script) Report {
	t.Helper()
	var report Report
	synctest.Test(t, func(t *testing.T) {
		c.Client = &http.Client{Transport: s}
		var err error
		if report, err = Run(context.Background(), c, nil); err != nil {
			t.Error(err)
		}
	})
	return report
}

func wantNoViolations(t *testing.T, r Report) {
	t.Helper()
	if len(r.Violations) > 0 || r.ViolationCount() > 0 {
		t.Errorf("violations %v, first %+v", r.ViolationCounts, r.Violations[0])
	}
}

// countFates returns how many devices of c a fate holds for.
func countFates(c Config, version string, holds func(Fate) bool) (n int64) {
	for i := range c.Devices {
		if holds(c.Fate(i, version)) {
			n++
		}
	}
	return n
}
