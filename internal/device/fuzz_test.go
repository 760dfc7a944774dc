package device_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// FuzzHandler sends any request at all: whatever it is, the answer is JSON with a fitting status, and the service lives.
func FuzzHandler(f *testing.F) {
	w := newWorld(f)
	w.start()
	for _, e := range endpoints() {
		f.Add(e.method, e.path, "", []byte(encode(f, e.good())))
		f.Add(e.method, e.path, "", []byte("["+encode(f, e.good())+"]"))
	}
	f.Add("GET", "/channel_self", "app_id="+app+"&platform=ios&is_prod=true", []byte{})
	f.Add("DELETE", "/channel_self", "app_id="+app+"&platform=ios&device_id="+uuid(1)+"&version_build=1.0&version_name=%31&plugin_version=7.17.0", []byte{})
	f.Add("POST", "/stats", "", []byte(encode(f, says(w.inArm(rollout.ArmCandidate, 1)[0], fields{"action": "download_fail", "version_name": nil}))))
	f.Add("POST", "/telemetry", "", []byte(encode(f, metrics(uuid(1), consent("1.3.0", true), fields{"type": "load_time", "value_ms": 1e300}))))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		w := *w
		w.t = t
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		r.Method, r.URL = method, &url.URL{Path: path, RawQuery: query}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if a := w.sound(rec); method == http.MethodPost && a.status == http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %s", method, path, a.text)
		}
	})
}
