package browser_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/browser"
)

const servedFile = "palier.min.mjs"

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask asks the handler, with headers given as names and values.
func ask(method string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/palier.js", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	browser.Handler().ServeHTTP(w, r)
	return w
}

func TestHandlerServesAModule(t *testing.T) {
	w := ask(http.MethodGet)
	if w.Code != http.StatusOK || w.Body.String() != read(t, servedFile) {
		t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
	}
	for name, want := range map[string]string{
		"Content-Type": "text/javascript; charset=utf-8", "X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*",
		"Cache-Control": "public, max-age=3600, stale-while-revalidate=86400", "Vary": "Accept-Encoding", "Content-Encoding": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if head := ask(http.MethodHead); head.Code != http.StatusOK || head.Body.Len() != 0 || head.Header().Get("Etag") != w.Header().Get("Etag") {
		t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
}

func TestHandlerCompresses(t *testing.T) {
	for accepted, want := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "deflate, gzip ; q=1": "gzip",
		"": "", "br": "", "gzip;q=0": "", "gzip;q=0.0, br": "", "gzip;q=much": "", "xgzip": "",
	} {
		w := ask(http.MethodGet, "Accept-Encoding", accepted)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Errorf("%q is answered in %q, want %q", accepted, got, want)
			continue
		}
		if text := inflated(t, w); text != read(t, servedFile) {
			t.Errorf("%q: not the module: %.80q", accepted, text)
		}
	}
}

func inflated(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Header().Get("Content-Encoding") == "" {
		return w.Body.String()
	}
	r, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHandlerKnowsWhoHasIt(t *testing.T) {
	plain, compressed := ask(http.MethodGet).Header().Get("Etag"), ask(http.MethodGet, "Accept-Encoding", "gzip").Header().Get("Etag")
	if plain == compressed || len(plain) < 10 || !strings.HasPrefix(plain, `"`) {
		t.Fatalf("tags %s and %s", plain, compressed)
	}
	for _, c := range []struct {
		tag, accepted string
		status        int
	}{
		{plain, "", http.StatusNotModified}, {compressed, "gzip", http.StatusNotModified}, {"W/" + plain, "", http.StatusNotModified},
		{compressed, "", http.StatusOK}, {plain, "gzip", http.StatusOK}, {`"another"`, "", http.StatusOK},
	} {
		w := ask(http.MethodGet, "Accept-Encoding", c.accepted, "If-None-Match", c.tag)
		if w.Code != c.status || (c.status == http.StatusNotModified) != (w.Body.Len() == 0) {
			t.Errorf("%s, %q: %d with %d bytes, want %d", c.tag, c.accepted, w.Code, w.Body.Len(), c.status)
		}
	}
}
