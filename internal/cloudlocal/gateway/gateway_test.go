package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

var noon = time.Date(2026, 3, 12, 12, 3, 58, 390e6, time.UTC)

func options() gateway.Options {
	return gateway.Options{Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)}
}

func newGateway(t *testing.T, o gateway.Options, routes ...gateway.Route) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(routes, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// says is a function that answers every event with this payload.
func says(payload string) gateway.Invoke {
	return func(context.Context, []byte) ([]byte, string, error) { return []byte(payload), "", nil }
}

func send(g http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result()
}

// expect checks an answer's status, content type and body.
func expect(t *testing.T, what string, got *http.Response, status int, contentType, body string) {
	t.Helper()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != status || got.Header.Get("Content-Type") != contentType || string(text) != body {
		t.Errorf("%s: %d %s %q, want %d %s %q", what, got.StatusCode, got.Header.Get("Content-Type"), text, status,
			contentType, body)
	}
}

func TestRouteSelection(t *testing.T) {
	var chosen string
	var routes []gateway.Route
	for _, key := range []string{
		"$default", "ANY /{proxy+}", "GET /pets/{proxy+}", "GET /pets/dog/{id}", "GET /pets/dog/1", "POST /pets/dog/1",
		"ANY /pets/dog/1", "GET /", "GET /{kind}/dog/{id}/name", "GET /pets/{a}/{b}",
	} {
		method, path, _ := strings.Cut(key, " ")
		if path == "" {
			path = method
		}
		routes = append(routes, gateway.Route{
			Method: method, Path: path,
			Invoke: func(_ context.Context, event []byte) ([]byte, string, error) {
				var e struct {
					RouteKey       string
					PathParameters map[string]string
				}
				if err := json.Unmarshal(event, &e); err != nil {
					return nil, "", err
				}
				if e.RouteKey != key {
					t.Errorf("route %s got the event of %s", key, e.RouteKey)
				}
				chosen = strings.TrimSpace(key + " " + parameters(e.PathParameters))
				return []byte(`{}`), "", nil
			},
		})
	}
	g := newGateway(t, options(), routes...)
	for request, want := range map[string]string{
		"GET /pets/dog/1":        "GET /pets/dog/1",
		"POST /pets/dog/1":       "POST /pets/dog/1",
		"DELETE /pets/dog/1":     "ANY /pets/dog/1",
		"GET /pets/dog/2":        "GET /pets/dog/{id} id=2",
		"GET /pets/dog/":         "GET /pets/{proxy+} proxy=dog/",
		"GET /pets/cat/1":        "GET /pets/{a}/{b} a=cat b=1",
		"GET /pets/cat":          "GET /pets/{proxy+} proxy=cat",
		"GET /pets/cat/1/2":      "GET /pets/{proxy+} proxy=cat/1/2",
		"GET /pets/dog/7/name":   "GET /{kind}/dog/{id}/name id=7 kind=pets",
		"POST /test/5":           "ANY /{proxy+} proxy=test/5",
		"POST /pets/dog/2":       "ANY /{proxy+} proxy=pets/dog/2",
		"GET /pets":              "ANY /{proxy+} proxy=pets",
		"GET /":                  "GET /",
		"POST /":                 "$default",
		"GET /pets/dog/a%2520b":  "GET /pets/dog/{id} id=a%20b",
		"GET /pets/dog/%C3%BC+1": "GET /pets/dog/{id} id=ü+1",
	} {
		method, path, _ := strings.Cut(request, " ")
		chosen = ""
		send(g, httptest.NewRequest(method, path, nil))
		if chosen != want {
			t.Errorf("%s went to %q, want %q", request, chosen, want)
		}
	}
}

// parameters prints them in order.
func parameters(values map[string]string) string {
	text := fmt.Sprint(values) // sorts
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(text, "map["), "]"), ":", "=")
}

func TestMalformedRoutes(t *testing.T) {
	for _, keys := range [][]string{
		{"GET pets"},
		{" /pets"},
		{"get /pets"},
		{"GET /{all+}/more"},
		{"GET /{}"},
		{"GET /{id"},
		{"GET /id}"},
		{"GET /a{id}"},
		{"GET /{a}", "GET /{b}"},
		{"GET /pets", "GET /pets"},
	} {
		var routes []gateway.Route
		for _, key := range keys {
			method, path, _ := strings.Cut(key, " ")
			routes = append(routes, gateway.Route{Method: method, Path: path, Invoke: says(`{}`)})
		}
		if _, err := gateway.New(routes, options()); err == nil {
			t.Errorf("%q was taken", keys)
		}
	}
}

func TestAnswers(t *testing.T) {
	const text, plain = "application/json", "text/plain;charset=UTF-8"
	tests := []struct {
		payload     string
		status      int
		contentType string
		body        string
	}{
		{`{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{\"a\":1}"}`, 200, text, `{"a":1}`},
		{`{"statusCode":404,"body":"gone"}`, 404, plain, "gone"},
		{`{"statusCode":"201","body":null}`, 201, plain, ""},
		{`{"statusCode":204}`, 204, plain, ""},
		{` {"body":"AP8K","isBase64Encoded":true,"statusCode":200,"headers":{"A":"b"}}`, 200, plain, "\x00\xff\n"},
		{`{"message":"no status"}`, 200, text, `{"message":"no status"}`},
		{`[1,2]`, 200, text, `[1,2]`},
		{`"Hello from Lambda!"`, 200, text, `Hello from Lambda!`},
		{`null`, 200, text, `null`},
	}
	const internal = `{"message":"Internal Server Error"}`
	for _, malformed := range []string{
		``, `{`, `<html>`, `{"statusCode":"ok"}`, `{"statusCode":0}`, `{"statusCode":1000}`,
		`{"statusCode":200,"body":{"a":1}}`,
		`{"statusCode":200,"headers":{"a":["b"]}}`, `{"statusCode":200,"headers":[]}`, `{"statusCode":null}`,
		`{"statusCode":200,"body":"*","isBase64Encoded":true}`, `{"statusCode":200} {}`,
	} {
		tests = append(tests, struct {
			payload     string
			status      int
			contentType string
			body        string
		}{malformed, 500, text, internal})
	}
	for _, test := range tests {
		g := newGateway(t, options(), gateway.Route{Path: "$default", Invoke: says(test.payload)})
		expect(t, test.payload, send(g, httptest.NewRequest("GET", "/", nil)), test.status, test.contentType, test.body)
	}
}

func TestAnswerHeaders(t *testing.T) {
	g := newGateway(t, options(), gateway.Route{Path: "$default", Invoke: says(`{"statusCode":200,
		"headers":{"retry-after":30,"x-flag":true,"x-text":"a, b","connection":"close","content-length":"5"},
		"cookies":["a=1; Secure","b=2"],"body":"x"}`)})
	got := send(g, httptest.NewRequest("GET", "/", nil)).Header
	for name, want := range map[string][]string{
		"Set-Cookie": {"a=1; Secure", "b=2"}, "Retry-After": {"30"}, "X-Flag": {"true"}, "X-Text": {"a, b"},
		"Connection": nil, "Content-Length": nil,
	} {
		if fmt.Sprint(got[name]) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if len(got.Get("Apigw-Requestid")) != 16 {
		t.Errorf("request id %q", got.Get("Apigw-Requestid"))
	}
}

func TestRefusals(t *testing.T) {
	fails := func(functionError string, err error) gateway.Invoke {
		return func(context.Context, []byte) ([]byte, string, error) {
			return []byte(`{"statusCode":200}`), functionError, err
		}
	}
	hangs := func(ctx context.Context, _ []byte) ([]byte, string, error) {
		<-ctx.Done()
		return nil, "", fmt.Errorf("waiting: %w", ctx.Err())
	}
	large := bytes.Repeat([]byte("x"), gateway.MaxBodyBytes+1)
	tests := []struct {
		what    string
		invoke  gateway.Invoke
		body    []byte
		status  int
		message string
	}{
		{"the function fails", fails("Sandbox.Timedout", nil), nil, 500, "Internal Server Error"},
		{"the function cannot be run", fails("", errors.New("no such file")), nil, 500, "Internal Server Error"},
		{"the function is throttled", fails("", runtimeapi.ErrTooManyRequests), nil, 503, "Service Unavailable"},
		{"the event is too large", fails("", runtimeapi.ErrRequestTooLarge), nil, 413, "Request Entity Too Large"},
		{"the function hangs", hangs, nil, 503, "Service Unavailable"},
		{"the body is too large", says(`{}`), large, 413, "Request Entity Too Large"},
		{"the body is as large as may be", says(`{}`), large[1:], 200, ""},
	}
	for _, test := range tests {
		o := options()
		o.Timeout = 10 * time.Millisecond
		g := newGateway(t, o, gateway.Route{Method: "POST", Path: "/", Invoke: test.invoke})
		want := `{"message":"` + test.message + `"}`
		if test.status == 200 {
			want = `{}`
		}
		got := send(g, httptest.NewRequest("POST", "/", bytes.NewReader(test.body)))
		expect(t, test.what, got, test.status, "application/json", want)
	}
	g := newGateway(t, options(), gateway.Route{Method: "POST", Path: "/updates", Invoke: says(`{}`)})
	for _, key := range []string{"POST /", "POST /updates/", "POST /Updates", "POST /updates/x", "GET /updates"} {
		method, path, _ := strings.Cut(key, " ")
		got := send(g, httptest.NewRequest(method, path, nil))
		expect(t, key, got, 404, "application/json", `{"message":"Not Found"}`)
	}
}

// A stage's throttle is a bucket of burst tokens that fills at the rate.
func TestThrottle(t *testing.T) {
	now := noon
	o := options()
	o.Rate, o.Burst, o.Now = 2, 3, func() time.Time { return now }
	g := newGateway(t, o, gateway.Route{Path: "$default", Invoke: says(`{}`)})
	passed := func() (n int) {
		for {
			got := send(g, httptest.NewRequest("GET", "/", nil))
			if got.StatusCode != 200 {
				expect(t, "over the rate", got, 429, "application/json", `{"message":"Too Many Requests"}`)
				return n
			}
			n++
		}
	}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{0, 3}, {500 * time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 3}} {
		now = now.Add(step.wait)
		if got := passed(); got != step.want {
			t.Errorf("after %v %d passed, want %d", step.wait, got, step.want)
		}
	}
}
