package edgehost_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/device/devicetest"
	"github.com/palier-ota/palier/internal/edgehost"
)

// Whatever a device asks, through the edge it gets the very bytes that the origin would answer.
func TestGoldenAnswers(t *testing.T) {
	o := newOrigin(t)
	vectors, err := devicetest.Answers(goldenDir)
	must(t, err)
	apps := o.golden(vectors)
	e := o.edge(func(c *edgehost.Config) { c.Apps = apps })
	for _, v := range vectors {
		r := ask(t, "POST", e.url+"/updates", v.Body)
		if r.status != v.Status || r.text != v.Answer {
			t.Errorf("%s:\n got %d %s\nwant %d %s", v.Name, r.status, r.text, v.Status, v.Answer)
		}
	}
	forwarded := o.times("POST /updates")
	t.Logf("%d of %d were answered without the origin", len(vectors)-forwarded, len(vectors))
	if forwarded == 0 || forwarded > 2*len(vectors)/3 {
		t.Errorf("%d were forwarded: too few or too many to mean anything", forwarded)
	}
	if s := e.status(); s.Counts["checks"] != int64(len(vectors)) || s.Counts["answered"] != int64(len(vectors)-forwarded) {
		t.Errorf("counted %v", s.Counts)
	}
}

// Whatever else is asked is answered as the origin answers it, wherever the answer comes from.
func TestAnswersLikeTheOrigin(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(nil)
	long := func(n int) string { return `{"x":"` + strings.Repeat("x", n) + `"}` }
	channel := fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"ios","version_build":"1.0.0","version_name":"1.0.0","plugin_version":"8.51.23","channel":"production"}`, app, id(1))
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/updates", ""}, {"GET", "/stats", ""}, {"GET", "/healthz", ""}, {"POST", "/healthz", ""}, {"DELETE", "/updates", ""},
		{"OPTIONS", "/telemetry", ""}, {"GET", "/telemetry", ""}, {"OPTIONS", "/updates", ""},
		{"POST", "/channel_self", channel}, {"PUT", "/channel_self", channel}, {"POST", "/channel_self", "no"},
		{"GET", "/channel_self?app_id=" + app + "&device_id=" + id(1) + "&platform=ios&version_build=1.0.0", ""},
		{"DELETE", "/channel_self", long(70_000)}, {"POST", "/channel_self", long(70_000)},
		{"POST", "/updates/manifest_size", "{}"}, {"POST", "/updates/manifest_size", long(3 << 20)},
		{"POST", "/updates", long(70_000)}, {"POST", "/updates", ""}, {"POST", "/updates", says(id(1), "1.0.0", "")},
		{"POST", "/stats", says(id(1), "1.0.0", "set")}, {"POST", "/stats", "[]"}, {"POST", "/stats", "no"}, {"POST", "/stats", ""},
		{"POST", "/stats", long(2 << 20)}, {"POST", "/stats", "[" + strings.Repeat(says(id(1), "1.0.0", "set")+",", 3) + says(id(1), "1.0.0", "get") + "]"},
		{"POST", "/stats", long(900_000)}, {"POST", "/stats", "\xff\xfe"}, {"POST", "/stats", strings.ReplaceAll(says(id(1), "1.0.0", "set"), app, "com.example.other")},
		{"POST", "/telemetry", "{}"}, {"POST", "/telemetry", "\xff"}, {"POST", "/telemetry", metrics(id(1), 250)},
		{"GET", "/palier.js", ""}, {"HEAD", "/palier.js", ""}, {"POST", "/palier.js", ""},
		{"GET", "/", ""}, {"GET", "/favicon.ico", ""}, {"POST", "/nowhere", "{}"}, {"GET", "/snapshot", ""}, {"HEAD", "/updates", ""},
	} {
		want, got := ask(t, c.method, o.server.URL+c.target, c.body), ask(t, c.method, e.url+c.target, c.body)
		name := fmt.Sprintf("%s %s %.40q", c.method, c.target, c.body)
		if got.status != want.status || got.text != want.text {
			t.Errorf("%s:\n got %d %s\nwant %d %s", name, got.status, got.text, want.status, want.text)
		}
		for _, h := range []string{"Content-Type", "Retry-After", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Etag", "Cache-Control", "Content-Encoding"} {
			if got.header.Get(h) != want.header.Get(h) {
				t.Errorf("%s: %s %q, want %q", name, h, got.header.Get(h), want.header.Get(h))
			}
		}
	}
}

// metrics is a body of POST /telemetry.
func metrics(device string, load int) string {
	return fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"ios","version_name":"1.0.0","version_build":"1.0.0","plugin_version":"8.51.23","events":[{"type":"load_time","value_ms":%d}]}`, app, device, load)
}

// An edge's address leads devices to the origin and nobody to what the origin has for others. Nothing that is forwarded has the
// edge's token.
func TestLeadsNowhereElse(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(nil)
	for _, target := range []string{
		"/api/v1/apps", "/api", "/metrics", "/snapshots/" + app, "/relay", "/edge/status/", "/edge", "/%61pi/v1/apps", "//api/v1", "/x/../api/v1", "/./relay",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if r := ask(t, method, e.url+target, "{}"); r.status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, target, r.status, r.text)
			}
		}
	}
	for _, what := range []string{"GET /api", "POST /api", "DELETE /api", "GET /metrics", "POST /metrics", "GET /edge", "DELETE /relay"} {
		if n := o.times(what); n != 0 {
			t.Errorf("%s was forwarded %d times", what, n)
		}
	}
	ask(t, "GET", e.url+"/channel_self?app_id="+app+"&device_id="+id(1)+"&platform=ios", "")
	e.check(id(1), "1.0.0")
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, path := range o.token {
		if path != "/relay" && path != "/snapshots/"+app {
			t.Errorf("a request for %s had an Authorization header", path)
		}
	}
	if len(o.token) == 0 {
		t.Error("no request at all had one")
	}
	if log := e.log.String(); strings.Contains(log, edgeToken) || strings.Contains(log, id(1)) {
		t.Errorf("the log has the token or a device's id:\n%s", log)
	}
}

func TestStatusWantsTheToken(t *testing.T) {
	o := newOrigin(t)
	revision := o.serves("1.1.0")
	e := o.edge(nil)
	for _, header := range []string{"", "Bearer", "Bearer x", "Bearer " + edgeToken + "x", edgeToken} {
		if r := ask(t, "GET", e.url+"/edge/status", "", "Authorization", header); r.status != http.StatusUnauthorized || strings.Contains(r.text, app) {
			t.Errorf("with %q: %d %s", header, r.status, r.text)
		}
	}
	s := e.status()
	if len(s.Apps) != 1 || s.Apps[0].App != app || s.Apps[0].Revision != revision || s.Apps[0].State != "current" || s.Apps[0].Expires <= time.Now().Unix() {
		t.Errorf("%+v", s)
	}
}

// With the origin away, in whatever way, checks are answered as before; where the device's record would be needed, it keeps what it
// has.
func TestChecksWithoutTheOrigin(t *testing.T) {
	for name, state := range map[string]int32{"cut": cut, "failing": failing, "hanging": hanging, "strange": strange} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.serves("1.1.0")
			e := o.edge(func(c *edgehost.Config) { c.Wait = 200 * time.Millisecond })
			latest, offer := e.check(id(1), "1.1.0"), response{}
			eventually(t, "an offer is made", func() bool {
				offer = e.check(id(1), "1.0.0")
				return strings.Contains(offer.text, `"version":"1.1.0"`)
			})
			before := e.status().Counts
			o.state.Store(state)
			for range 5 { // more than it takes to pause
				if got := e.check(id(1), "1.1.0"); got.status != 200 || got.text != latest.text {
					t.Errorf("the latest version: %d %s", got.status, got.text)
				}
				if got := e.check(id(1), "1.0.0"); got.status != 200 || got.text != latest.text {
					t.Errorf("an older version: %d %s", got.status, got.text)
				}
				if got := ask(t, "POST", e.url+"/channel_self", "{}"); state != strange && (got.status != 429 || got.header.Get("Retry-After") == "") {
					t.Errorf("channel_self: %d %s", got.status, got.text)
				}
			}
			if got := ask(t, "POST", e.url+"/updates", strings.ReplaceAll(says(id(1), "1.0.0", ""), app, "com.example.other")); got.status != 429 || got.header.Get("Retry-After") == "" {
				t.Errorf("another app: %d %s", got.status, got.text)
			}
			after := e.status().Counts
			if after["fallback"]-before["fallback"] != 6 || state != strange && after["busy"]-before["busy"] != 5 {
				t.Errorf("counted %v, before %v", after, before)
			}
			o.state.Store(fine)
			eventually(t, "the offer is made again", func() bool { return e.check(id(1), "1.0.0").text == offer.text })
		})
	}
}
