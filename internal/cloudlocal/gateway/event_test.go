package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
)

// listening is a gateway whose only function keeps the last event.
func listening(t *testing.T) (*gateway.Gateway, *[]byte) {
	t.Helper()
	last := new([]byte)
	return newGateway(t, options(), gateway.Route{
		Method: "ANY", Path: "/v1/{app}/{rest+}",
		Invoke: func(_ context.Context, event []byte) ([]byte, string, error) {
			*last = bytes.Clone(event)
			return []byte(`{}`), "", nil
		},
	}), last
}

// decode reads an event as aws-lambda-go has it, and demands that there is nothing in it that it does not know.
func decode(t *testing.T, event []byte) events.APIGatewayV2HTTPRequest {
	t.Helper()
	var typed events.APIGatewayV2HTTPRequest
	d := json.NewDecoder(bytes.NewReader(event))
	d.DisallowUnknownFields()
	if err := d.Decode(&typed); err != nil {
		t.Fatalf("%v in %s", err, event)
	}
	return typed
}

func TestEvent(t *testing.T) {
	g, last := listening(t)
	const url = "http://api.example.com:8080/v1/shop%20one/a%2Bb/c?x=1&y=%26&x=%C3%BC&z"
	r := httptest.NewRequest("POST", url, strings.NewReader(`{"é":1}`))
	r.RemoteAddr = "192.0.2.7:40000"
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "curl/8")
	r.Header["X-Many"] = []string{"one", "two, three"}
	r.Header["Cookie"] = []string{"a=1; b=2", "c=3"}
	r.Header.Set("Connection", "keep-alive")
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	send(g, r)

	got := decode(t, *last)
	if id := got.RequestContext.RequestID; len(id) != 16 {
		t.Errorf("request id %q", id)
	}
	if trace := got.Headers["x-amzn-trace-id"]; len(trace) != len("Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e") {
		t.Errorf("trace %q", trace)
	}
	got.RequestContext.RequestID = ""
	delete(got.Headers, "x-amzn-trace-id")
	want := events.APIGatewayV2HTTPRequest{
		Version:        "2.0",
		RouteKey:       "ANY /v1/{app}/{rest+}",
		RawPath:        "/v1/shop one/a+b/c",
		RawQueryString: "x=1&y=%26&x=%C3%BC&z",
		Cookies:        []string{"a=1", "b=2", "c=3"},
		Headers: map[string]string{
			"host": "api.example.com:8080", "content-type": "application/json; charset=utf-8", "content-length": "8",
			"user-agent": "curl/8", "x-many": "one,two, three", "x-forwarded-for": "10.0.0.1, 192.0.2.7",
			"x-forwarded-port": "443", "x-forwarded-proto": "https",
		},
		QueryStringParameters: map[string]string{"x": "1,ü", "y": "&", "z": ""},
		PathParameters:        map[string]string{"app": "shop one", "rest": "a+b/c"},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: "ANY /v1/{app}/{rest+}", AccountID: "123456789012", Stage: "$default", APIID: "local",
			DomainName: "api.example.com", DomainPrefix: "api",
			Time: "12/Mar/2026:12:03:58 +0000", TimeEpoch: noon.UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: "POST", Path: "/v1/shop one/a+b/c", Protocol: "HTTP/1.1", SourceIP: "192.0.2.7",
				UserAgent: "curl/8",
			},
		},
		Body: `{"é":1}`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("event\n%+v\nwant\n%+v", got, want)
	}
}

func TestBodiesInTheEvent(t *testing.T) {
	const text, binary = false, true
	tests := []struct {
		contentType, body string
		base64            bool
	}{
		{"application/json", `{"a":"<&>"}`, text},
		{"APPLICATION/JSON;charset=utf-8", `{}`, text},
		{"application/xml", `<a/>`, text},
		{"application/javascript", `1`, text},
		{"text/plain", "grüße\x00\u2028", text},
		{"text/html; charset=utf-8", "<p>", text},
		{"", `{}`, binary},
		{"nonsense", `{}`, binary},
		{"application/x-www-form-urlencoded", "a=1", binary},
		{"application/octet-stream", "\x00\xff", binary},
		{"multipart/form-data; boundary=x", "--x--", binary},
		{"application/json", "\"\xff\"", binary},
		{"application/octet-stream", "", text},
	}
	for _, test := range tests {
		g, last := listening(t)
		r := httptest.NewRequest("POST", "/v1/a/b", strings.NewReader(test.body))
		if test.contentType != "" {
			r.Header.Set("Content-Type", test.contentType)
		}
		send(g, r)
		e := decode(t, *last)
		want := test.body
		if test.base64 {
			want = base64.StdEncoding.EncodeToString([]byte(test.body))
		}
		if e.Body != want || e.IsBase64Encoded != test.base64 {
			t.Errorf("%s %q: %q, base64 %v", test.contentType, test.body, e.Body, e.IsBase64Encoded)
		}
	}
}
