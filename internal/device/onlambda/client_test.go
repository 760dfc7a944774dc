package onlambda_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/onlambda"
)

// TestClientIsTheSameEverywhere holds the browser client from Lambda against that of the single process.
func TestClientIsTheSameEverywhere(t *testing.T) {
	single := device.New(device.Config{Log: slog.New(slog.DiscardHandler)})
	defer single.Close()
	h := onlambda.New(device.Config{Log: slog.New(slog.DiscardHandler), Frozen: true}, device.PathClient)
	defer h.Devices.Close()
	etag := ""
	for _, c := range []struct {
		method, accepted string
		known            bool
		status           int
	}{
		{"GET", "gzip, br", false, 200}, {"GET", "", false, 200}, {"GET", "", true, 304}, {"HEAD", "", false, 200}, {"POST", "", false, 405},
	} {
		r := httptest.NewRequest(c.method, device.PathClient, nil)
		r.Header.Set("Accept-Encoding", c.accepted)
		if c.known {
			r.Header.Set("If-None-Match", etag)
		}
		want := httptest.NewRecorder()
		single.Handler().ServeHTTP(want, r)
		got := invoke(t, h, r)
		if got.StatusCode != c.status || want.Code != c.status || got.Body != want.Body.String() {
			t.Errorf("%+v: %d with %d bytes on Lambda, %d with %d bytes in one process", c, got.StatusCode, len(got.Body), want.Code, want.Body.Len())
		}
		for _, name := range []string{"Content-Type", "Content-Encoding", "Etag", "Cache-Control", "Vary", "Access-Control-Allow-Origin", "X-Content-Type-Options"} {
			if got.Headers[name] != want.Header().Get(name) {
				t.Errorf("%+v: %s: %q on Lambda, %q in one process", c, name, got.Headers[name], want.Header().Get(name))
			}
		}
		etag = want.Header().Get("Etag")
	}
	elsewhere := onlambda.New(device.Config{Log: slog.New(slog.DiscardHandler), Frozen: true}, device.PathStats)
	defer elsewhere.Devices.Close()
	if a := invoke(t, elsewhere, httptest.NewRequest(http.MethodGet, device.PathClient, nil)); a.StatusCode != http.StatusNotFound {
		t.Errorf("a function without the path answers %d", a.StatusCode)
	}
}

// invoke asks the handler as API Gateway does.
func invoke(t *testing.T, h *onlambda.Handler, r *http.Request) events.APIGatewayV2HTTPResponse {
	t.Helper()
	e := gatewaytest.Request(r.Method, r.URL.Path, "")
	for name := range r.Header {
		e.Headers[name] = r.Header.Get(name)
	}
	return gatewaytest.Invoke(t, h, e)
}
