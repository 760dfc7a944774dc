package device_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/browser"
	"github.com/palier-ota/palier/internal/device"
)

// TestClientIsServed shows that the browser client is there for pages, and that nothing else is at its path.
func TestClientIsServed(t *testing.T) {
	w := newWorld(t)
	want := httptest.NewRecorder()
	browser.Handler().ServeHTTP(want, httptest.NewRequest(http.MethodGet, device.PathClient, nil))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		got := httptest.NewRecorder()
		w.handler.ServeHTTP(got, httptest.NewRequest(method, device.PathClient+"?v=1", nil))
		if got.Code != http.StatusOK || got.Header().Get("Etag") != want.Header().Get("Etag") || method == http.MethodGet && got.Body.String() != want.Body.String() {
			t.Errorf("%s: %d, %d bytes, %v", method, got.Code, got.Body.Len(), got.Header())
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if a := w.ask(method, device.PathClient, "{}"); a.status != http.StatusMethodNotAllowed || !strings.Contains(a.text, `"method_not_allowed"`) {
			t.Errorf("%s: %d %s", method, a.status, a.text)
		}
	}
}

// TestPagesMayReadWhenToComeAgain: a page sees no header of another origin that is not exposed to it.
func TestPagesMayReadWhenToComeAgain(t *testing.T) {
	w := newWorld(t)
	metrics := `{"app_id":"com.example.nobody","device_id":"00009a6b-eefe-490a-9c60-8e965132ae51","events":[]}`
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, device.PathTelemetry, strings.NewReader(metrics))
	r.Header.Set("Origin", "capacitor://localhost")
	r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	w.handler.ServeHTTP(rec, r)
	h := rec.Header()
	if rec.Code != http.StatusTooManyRequests || h.Get("Retry-After") == "" || h.Get("Access-Control-Expose-Headers") != "Retry-After" || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", rec.Code, h)
	}
}
