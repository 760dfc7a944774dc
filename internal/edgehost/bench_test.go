package edgehost_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/edgehost"
)

// BenchmarkUpdates measures a check through the whole Host, over HTTP on loopback and without, beside a handler that reads the body
// and answers a constant: that is what net/http costs here.
func BenchmarkUpdates(b *testing.B) {
	o := newOrigin(b)
	o.serves("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Log = quiet() })
	body := says(id(1), "1.1.0", "")
	want := e.check(id(1), "1.1.0").text
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, want)
	})
	server := httptest.NewServer(echo)
	defer server.Close()
	for _, h := range []struct {
		name    string
		handler http.Handler
	}{{"echo", echo}, {"edge", e.host}} {
		b.Run("handler/"+h.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rec := httptest.NewRecorder()
				h.handler.ServeHTTP(rec, httptest.NewRequest("POST", "/updates", strings.NewReader(body)))
				if rec.Body.String() != want {
					b.Fatal(rec.Body)
				}
			}
		})
	}
	for name, url := range map[string]string{"echo": server.URL, "edge": e.url} {
		b.Run("loopback/"+name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := client.Post(url+"/updates", "application/json", strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					text, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || !bytes.Equal(text, []byte(want)) {
						b.Errorf("%s %v", text, err)
					}
				}
			})
		})
	}
}
