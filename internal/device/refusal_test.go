package device_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/telemetry"
)

// endpoint is a call with a body, and a body that it takes.
type endpoint struct {
	method, path string
	limit        int
	good         func() fields
}

func (e endpoint) String() string { return e.method + " " + e.path }

func endpoints() []endpoint {
	plain := func(over fields) func() fields { return func() fields { return says(uuid(1), over) } }
	old := fields{"plugin_version": "7.17.0", "channel": "beta"}
	return []endpoint{
		{"POST", "/updates", capgo.MaxCheckBody, plain(nil)},
		{"POST", "/stats", capgo.MaxStatsBody, plain(event("set", "1.0.1"))},
		{"POST", "/channel_self", capgo.MaxCheckBody, plain(old)},
		{"PUT", "/channel_self", capgo.MaxCheckBody, plain(old)},
		{"DELETE", "/channel_self", capgo.MaxCheckBody, plain(old)},
		{"POST", "/updates/manifest_size", capgo.MaxManifestBody, plain(fields{"manifest": []fields{
			{"file_name": "a.js", "file_hash": "aa", "download_url": "https://cdn.example.com/a.js"},
		}})},
		{"POST", "/telemetry", telemetry.MaxMetricsBytes, func() fields { return metrics(uuid(1), fields{"type": "feature_use", "name": "cart"}) }},
	}
}

// metrics is a body of /telemetry.
func metrics(id string, events ...fields) fields {
	return fields{
		"app_id": app, "device_id": id, "platform": "android", "version_name": "1.0.1", "version_build": "1.0.0",
		"plugin_version": "8.51.23", "events": events,
	}
}

// unchanged fails the test if anything was left by requests that were refused.
func (w *world) unchanged() {
	w.t.Helper()
	state, err := w.apps.Load(w.t.Context(), app)
	if err != nil || state.Revision != 1 {
		w.t.Errorf("app: revision %d, %v", state.Revision, err)
	}
	facts, err := w.devices.Facts(w.t.Context(), app, uuid(1))
	if err != nil || facts.Channel != "" || len(facts.Failed)+len(facts.Consented) > 0 {
		w.t.Errorf("device: %+v, %v", facts, err)
	}
	if events := w.flushed(); len(events) > 0 {
		w.t.Errorf("stream: %+v", events)
	}
}

func (w *world) refuses(status int, code, method, target string, body any) {
	w.t.Helper()
	if a := w.ask(method, target, body); a.status != status || a.code() != code {
		shown, _ := body.(string)
		w.t.Errorf("%s %s %.80q: want %d %s, got %d %.300s", method, target, shown, status, code, a.status, a.text)
	}
}

func TestBodiesThatAreNoRequest(t *testing.T) {
	w := newWorld(t)
	for _, e := range endpoints() {
		good := encode(t, e.good())
		parse := capgo.CodeParse
		if e.path == "/telemetry" {
			parse = capgo.CodeBody
		}
		deep := strings.Repeat("[", 10_000)
		for _, body := range []string{
			"hello", "{", "{\"a\"}", good[:len(good)-1], good[:len(good)/2], good + "}", good + good, "\x00", good[:20] + "\x00" + good[20:],
			deep, deep + strings.Repeat("]", 10_000), `{"app_id":` + deep + strings.Repeat("]", 10_000) + "}", strings.Repeat(`{"a":`, 10_000),
			"[" + good, "\xff\xfe", strings.Replace(good, app, "com.example.\xff\xfe", 1), `{"device_id":"\ud8"}`, "nul", "{'app_id':1}", "\ufeff" + good,
		} {
			w.refuses(400, parse, e.method, e.path, body)
		}
		scalar := capgo.CodeBody
		if e.path == "/stats" {
			scalar = capgo.CodeAppID // its first question is which app
		}
		for _, body := range []string{"17", `"text"`, "true", "1e999999", strings.Repeat("9", 60_000)} {
			w.refuses(400, scalar, e.method, e.path, body)
		}
	}
	w.unchanged()
}

func TestEmptyBodies(t *testing.T) {
	w := newWorld(t)
	for _, e := range endpoints() {
		code := capgo.CodeParse
		switch {
		case e.method == "DELETE":
			code = capgo.CodeQuery // the query is where newer plugins put it
		case e.path == "/telemetry":
			code = capgo.CodeBody
		}
		w.refuses(400, code, e.method, e.path, "")
		w.refuses(400, code, e.method, e.path, " \n\t")
	}
	w.refuses(400, capgo.CodeBody, "POST", "/updates", "{}")
	w.refuses(400, capgo.CodeAppID, "POST", "/stats", "{}")
	w.refuses(400, capgo.CodeNoAppID, "POST", "/telemetry", "{}")
	if a := w.ask("POST", "/stats", "[]"); a.status != 200 {
		t.Errorf("no events: %d %s", a.status, a.text)
	}
	w.unchanged()
}

// unsized hides a body's length, as a chunked request does, and counts what is read of it.
type unsized struct {
	io.Reader
	read int
}

func (u *unsized) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	u.read += n
	return n, err
}

func TestBodiesOfTenMegabytes(t *testing.T) {
	w := newWorld(t)
	for _, e := range endpoints() {
		good := encode(t, e.good())
		for _, huge := range []string{strings.Repeat("[", 10<<20), good[:len(good)-1] + strings.Repeat(" ", 10<<20) + "}"} {
			w.refuses(400, capgo.CodeBody, e.method, e.path, huge)
			body := &unsized{Reader: strings.NewReader(huge)}
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, httptest.NewRequest(e.method, e.path, body))
			if a := w.sound(rec); a.status != 400 || a.code() != capgo.CodeBody {
				t.Errorf("%v: %d %.300s", e, a.status, a.text)
			}
			if body.read > 4*e.limit {
				t.Errorf("%v: %d bytes were read before it was refused", e, body.read)
			}
		}
		if fits := good[:len(good)-1] + strings.Repeat(" ", e.limit-len(good)) + "}"; len(fits) == e.limit {
			if a := w.ask(e.method, e.path, fits); a.status != 200 {
				t.Errorf("%v: a body of exactly the limit: %d %.300s", e, a.status, a.text)
			}
		}
	}
}

func TestBodiesThatStopHalfWay(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	for _, e := range endpoints() {
		good := encode(t, e.good())
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest(e.method, server.URL+e.path, strings.NewReader(good))
		var wire strings.Builder
		if err := req.Write(&wire); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, wire.String()[:wire.Len()-len(good)/2]); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			t.Fatalf("%v: %v", e, err)
		}
		rec := httptest.NewRecorder()
		rec.Code = resp.StatusCode
		rec.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		_, _ = io.Copy(rec.Body, resp.Body)
		if a := w.sound(rec); a.status != 400 || a.code() != capgo.CodeParse {
			t.Errorf("%v: %d %s", e, a.status, a.text)
		}
		_ = conn.Close()
	}
	w.unchanged()
}

// wrong holds one value of every JSON type.
var wrong = map[string]string{
	"null": `null`, "true": `true`, "number": `17`, "huge": `1e999999`, "text": `"\u0000\ud800\""`, "array": `["a"]`, "object": `{"a":"b"}`,
}

func TestFieldsOfTheWrongType(t *testing.T) {
	w := newWorld(t)
	texts := []string{
		"platform", "device_id", "app_id", "custom_id", "version_build", "version_code", "version_os", "version_name", "plugin_version",
		"install_source", "defaultChannel", "key_id",
	}
	for _, e := range endpoints()[:6] {
		own := map[string][]string{"/stats": {"action", "old_version_name", "metadata"}, "/channel_self": {"channel"}, "/updates/manifest_size": {"manifest"}}
		for _, field := range append(append(texts[:len(texts):len(texts)], "is_prod", "is_emulator"), own[e.path]...) {
			for kind, value := range wrong {
				a := w.ask(e.method, e.path, withRaw(t, e.good(), field, value))
				switch {
				case kind == "text" || kind == "null", kind == "true" && strings.HasPrefix(field, "is_"), kind == "object" && field == "metadata":
					// may be right; what every answer must have is checked all the same
				case a.status != 400:
					t.Errorf("%v: %s = %s: %d %s", e, field, value, a.status, a.text)
				}
			}
		}
	}
	if a := w.ask("DELETE", "/channel_self?app_id="+app+"&device_id="+uuid(1)+"&platform=ios&version_build=1.0.0&version_name=1&is_prod=perhaps", nil); a.status != 400 || a.code() != capgo.CodeQuery {
		t.Errorf("%d %s", a.status, a.text)
	}
}

// withRaw returns the body with one field's value replaced by raw JSON.
func withRaw(t testing.TB, f fields, field, raw string) string {
	t.Helper()
	const mark = "\"@raw@\""
	f[field] = "@raw@"
	return strings.Replace(encode(t, f), mark, raw, 1)
}

func TestTelemetryFieldsOfTheWrongType(t *testing.T) {
	w := newWorld(t)
	for _, field := range []string{"app_id", "device_id", "platform", "version_name", "version_build", "plugin_version", "custom_id", "is_emulator", "events"} {
		for _, kind := range []string{"number", "huge", "object"} {
			w.refuses(400, capgo.CodeBody, "POST", "/telemetry", withRaw(t, metrics(uuid(1)), field, wrong[kind]))
		}
	}
	for _, field := range []string{"type", "at", "value_ms", "name", "score", "negative", "message", "bundle", "granted"} {
		for kind, value := range wrong {
			bad := withRaw(t, fields{"type": "feature_use", "name": "cart"}, field, value)
			good := encode(t, fields{"type": "feature_use", "name": "cart"})
			body := strings.Replace(encode(t, metrics(uuid(1), fields{"type": "@"})), `{"type":"@"}`, good+","+bad+","+good, 1)
			a := w.ask("POST", "/telemetry", body)
			if taken, _ := a.json["taken"].(float64); a.status != 200 || taken < 2 {
				t.Errorf("%s = %s (%s): %d %s", field, value, kind, a.status, a.text)
			}
		}
	}
	long := strings.Repeat("x", 500_000)
	if a := w.ask("POST", "/telemetry", metrics(uuid(1), fields{"type": "feature_use", "name": "a", long: 1})); a.status != 200 || len(a.text) > 2000 {
		t.Errorf("%d, %d bytes: %.200s", a.status, len(a.text), a.text)
	}
	if a := w.ask("POST", "/telemetry", fields{long: 1}); a.status != 400 || len(a.text) > 2000 {
		t.Errorf("%d, %d bytes: %.200s", a.status, len(a.text), a.text)
	}
}

func TestRequestsWithCodesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		over         fields
		status       int
		code         string
	}{
		{"POST", "/updates", fields{"device_id": nil}, 400, capgo.CodeNoDeviceID},
		{"POST", "/updates", fields{"device_id": ""}, 400, capgo.CodeNoDeviceID},
		{"POST", "/updates", fields{"device_id": 12345}, 400, capgo.CodeBody},
		{"POST", "/updates", fields{"device_id": "12345"}, 400, capgo.CodeBody},
		{"POST", "/updates", fields{"app_id": nil}, 400, capgo.CodeNoAppID},
		{"POST", "/updates", fields{"app_id": "shop"}, 400, capgo.CodeBody},
		{"POST", "/updates", fields{"app_id": "com.example.unknown"}, 429, capgo.CodeUnknownApp},
		{"POST", "/updates", fields{"app_id": "com." + strings.Repeat("x", 60_000)}, 429, capgo.CodeUnknownApp},
		{"POST", "/updates", fields{"version_build": "abc"}, 400, capgo.CodeSemver},
		{"POST", "/updates", fields{"version_build": "99999999999999999999.0.0"}, 400, capgo.CodeSemver},
		{"POST", "/updates", fields{"plugin_version": "new"}, 400, capgo.CodeBody},
		{"POST", "/updates", fields{"key_id": strings.Repeat("k", 21)}, 400, capgo.CodeBody},
		{"POST", "/stats", fields{"action": nil}, 400, capgo.CodeBody},
		{"POST", "/stats", fields{"action": "no such thing!"}, 400, capgo.CodeBody},
		{"POST", "/stats", fields{"action": "set", "device_id": nil}, 400, capgo.CodeNoDeviceID},
		{"POST", "/stats", fields{"action": "set", "app_id": "com.example.unknown"}, 429, capgo.CodeUnknownApp},
		{"POST", "/stats", fields{"action": "set", "app_id": nil}, 400, capgo.CodeAppID},
		{"POST", "/channel_self", fields{"channel": "beta", "app_id": "com.example.unknown"}, 429, capgo.CodeUnknownApp},
		{"PUT", "/channel_self", fields{"device_id": nil}, 400, capgo.CodeNoDeviceID},
		{"POST", "/updates/manifest_size", nil, 400, capgo.CodeBody},
		{"POST", "/updates/manifest_size", fields{"manifest": []any{1}}, 400, capgo.CodeBody},
		{"POST", "/updates/manifest_size", fields{"manifest": []fields{}, "app_id": "com.example.unknown"}, 429, capgo.CodeUnknownApp},
		{"GET", "/updates/", nil, 404, "not_found"},
		{"POST", "/", nil, 404, "not_found"},
		{"POST", "/updates/../stats", nil, 404, "not_found"},
		{"PUT", "/updates", nil, 405, "method_not_allowed"},
		{"HEAD", "/updates", nil, 405, "method_not_allowed"},
		{"DELETE", "/stats", nil, 405, "method_not_allowed"},
		{"PATCH", "/channel_self", nil, 405, "method_not_allowed"},
		{"GET", "/telemetry", nil, 405, "method_not_allowed"},
		{"GET", "/updates/manifest_size", nil, 405, "method_not_allowed"},
	} {
		w.refuses(c.status, c.code, c.method, c.path, says(uuid(1), c.over))
	}
	w.refuses(400, "missing_device_id", "POST", "/telemetry", fields{"app_id": app, "events": []fields{}})
	w.refuses(429, capgo.CodeUnknownApp, "POST", "/telemetry", fields{"app_id": "a#b", "device_id": uuid(1)})
	w.refuses(400, capgo.CodeQuery, "GET", "/channel_self?app_id=%zz", nil)
	w.refuses(400, capgo.CodeNoAppID, "GET", "/channel_self?platform=ios", nil)
	for _, path := range []string{"/updates", "/stats", "/healthz"} {
		if a := w.ask("GET", path, nil); a.status != 200 || a.text != capgo.HealthBody {
			t.Errorf("GET %s: %d %s", path, a.status, a.text)
		}
	}
	w.unchanged()
}
