package main_test

import (
	"net/http"
	"strings"
	"testing"
)

// With a report goes the network that it comes from, and with what is forwarded the address: as a proxy on the edge's machine
// tells it, or Cloudflare.
func originHearsTheNetwork(t *testing.T, w *world) {
	from := func(method, path, body, address string) answer {
		t.Helper()
		headers := []string{"Content-Type", "application/json", "X-Forwarded-For", "8.8.8.8, " + address, "Cf-Connecting-Ip", address}
		return call(t, method, w.edge.url+path, body, headers...)
	}
	for address, network := range map[string]string{"203.0.113.77": "203.0.113.0/24", "2001:db8:1:2::3": "2001:db8:1::/48"} {
		if a := from(http.MethodPost, "/stats", statsBody(appPlain, 1, baseline, "set"), address); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		told := 0
		for _, p := range w.back.requests(http.MethodPost, "/relay") {
			told += strings.Count(p.body, `"source":"`+network+`"`)
			if strings.Contains(p.body, address) {
				t.Errorf("the address was told too: %s", p.body)
			}
		}
		if told != 1 {
			t.Errorf("%s was told %d times", network, told)
		}
		before := len(w.back.requests(http.MethodGet, "/nothing/here"))
		from(http.MethodGet, "/nothing/here", "", address)
		last := ", 127.0.0.1" // the proxy
		if w.edge.runtime.name == "workerd" {
			last = ", " + address
		}
		for _, p := range w.back.requests(http.MethodGet, "/nothing/here")[before:] {
			if p.forwardedFor != "8.8.8.8, "+address+last {
				t.Errorf("forwarded for %q", p.forwardedFor)
			}
		}
	}
}
