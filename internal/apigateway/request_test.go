package apigateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"pgregory.net/rapid"
)

// checkBody is what a device sends.
const checkBody = `{"platform":"android","device_id":"3ad0fac0-0ed2-acf2-c604-abd2332c482c","app_id":"com.example.shop","custom_id":"","version_build":"1.0.0","version_code":"1","version_os":"14","version_name":"0.9.0","plugin_version":"8.51.23","is_emulator":false,"is_prod":true,"defaultChannel":""}`

// eventWith is an event as API Gateway sends it, with all of its members.
func eventWith(change func(*events.APIGatewayV2HTTPRequest)) []byte {
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "POST /updates", RawPath: "/updates", RawQueryString: "a=1&b=%20",
		Cookies: []string{"one=1", "two=2"},
		Headers: map[string]string{
			"accept": "*/*", "accept-encoding": "gzip", "content-length": fmt.Sprint(len(checkBody)), "content-type": "application/json; charset=utf-8",
			"host": "abcdefghij.execute-api.eu-west-1.amazonaws.com", "user-agent": "CapacitorUpdater/8.51.23 (com.example.shop) android/14",
			"x-amzn-trace-id": "Root=1-5f84c7a9-0e5c1d1d1d1d1d1d1d1d1d1d", "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443", "x-forwarded-proto": "https",
		},
		QueryStringParameters: map[string]string{"a": "1", "b": " "},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: "POST /updates", AccountID: "123456789012", Stage: "$default", RequestID: "JKJaXmPLvHcESHA=", APIID: "abcdefghij",
			DomainName: "abcdefghij.execute-api.eu-west-1.amazonaws.com", DomainPrefix: "abcdefghij", Time: "12/Mar/2026:19:03:58 +0000", TimeEpoch: 1773342238000,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: "POST", Path: "/updates", Protocol: "HTTP/1.1", SourceIP: "203.0.113.7", UserAgent: "CapacitorUpdater/8.51.23 (com.example.shop) android/14",
			},
		},
		StageVariables: map[string]string{"color": "blue"},
		Body:           checkBody,
	}
	if change != nil {
		change(&e)
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings only
	}
	return text
}

func TestParse(t *testing.T) {
	var r Request
	got, err := scanned(&r, eventWith(nil))
	want := seen{"POST", "/updates", "a=1&b=%20", checkBody, "203.0.113.7", "203.0.113.7", "JKJaXmPLvHcESHA="}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	type event = events.APIGatewayV2HTTPRequest
	for _, c := range []struct {
		name   string
		change func(*event)
		want   func(*seen)
	}{
		{"no body", func(e *event) { e.Body = "" }, func(s *seen) { s.Body = "" }},
		{"base64", func(e *event) {
			e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte("\x00\xff\n")), true
		}, func(s *seen) { s.Body = "\x00\xff\n" }},
		{"a header that the client sent", func(e *event) { e.Headers["x-forwarded-for"] = "8.8.8.8, 203.0.113.7" }, func(s *seen) {
			s.Forwarded = "8.8.8.8, 203.0.113.7"
		}},
		{"no headers", func(e *event) { e.Headers = nil }, func(s *seen) { s.Forwarded = "" }},
		{"another stage", func(e *event) { e.RequestContext.Stage, e.RawPath = "staging", "/staging/updates" }, nil},
		{"another stage behind a domain of its own", func(e *event) { e.RequestContext.Stage = "staging" }, nil},
		{"a stage that begins a name", func(e *event) { e.RequestContext.Stage = "up" }, nil},
		{"escapes", func(e *event) { e.Body, e.RawPath = "\"\\\b\f\n\r\t\u2028<😀\u007f", "/é<" }, func(s *seen) {
			s.Body, s.Path = "\"\\\b\f\n\r\t\u2028<😀\u007f", "/é<"
		}},
	} {
		want := want
		if c.want != nil {
			c.want(&want)
		}
		if got, err := scanned(&r, eventWith(c.change)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// texts are events written by hand, where an encoder would write others.
var texts = []string{
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	` { "body" : "\u0022\ud83d\ude00\ud83d\/" , "requestContext" : { "http" : { "method" : "PUT" , "x" : [ 1 , -2.5e+3 , { } , [ ] , null , true , false ] } } , "rawPath" : "\/a\u00e9" , "version" : "2.0" } `,
	`{"isBase64Encoded":true,"body":"\/\/8=","version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"isBase64Encoded":true,"body":"?","version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"isBase64Encoded":null,"body":null,"rawQueryString":null,"version":"2.0","rawPath":"/","requestContext":{"requestId":null,"http":{"method":"GET"}}}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"requestId":"a","http":{"method":"GET"}},"requestContext":{"http":{"method":"PUT"}}}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"requestContext":null}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"},"http":null}}`,
	`{"headers":{"x-forwarded-for":"a","x-forwarded-for":"b\u002c"},"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"headers":{"x-forwarded-for":"a"},"headers":{},"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"headers":[],"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"headers":{"x-forwarded-for":1},"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"version":"2.0","raw\u0050ath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"version":"1.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"version":2.0,"rawPath":"/","requestContext":{"http":{"method":"GET"}}}`,
	`{"version":"2.0","rawPath":"x","requestContext":{"http":{"method":"GET"}}}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":[]}}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"body":{}}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"isBase64Encoded":"true"}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}} x`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":01}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":1.}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":1e}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":nul}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":"\x"}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":"\u12"}`,
	"{\"version\":\"2.0\",\"rawPath\":\"/\",\"requestContext\":{\"http\":{\"method\":\"GET\"}},\"x\":\"\n\"}",
	"{\"version\":\"2.0\",\"rawPath\":\"/\",\"requestContext\":{\"http\":{\"method\":\"GET\"}},\"x\":\"\xff\"}",
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
	`{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"GET"}},"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	`{}`, `null`, `[]`, ``, `{"Records":[]}`, `"`, `{"`, `{"version`, `{"version":`, "\x00", `{"version":"2.0"`,
}

// agree demands that Parse and its twin take the same events and see the same in them.
func agree(t interface{ Errorf(string, ...any) }, r *Request, event []byte) (taken bool) {
	want, refusal := plain(event)
	got, err := scanned(r, event)
	if (err == nil) != (refusal == nil) || got != want {
		t.Errorf("%q:\n got %+v, %v\nwant %+v, %v", event, got, err, want, refusal)
	}
	return err == nil
}

func TestParseAgreesWithItsPlainTwin(t *testing.T) {
	var r Request
	taken := 0
	for _, text := range texts {
		if agree(t, &r, []byte(text)) {
			taken++
		}
	}
	if taken != 9 {
		t.Errorf("%d of the events were taken", taken)
	}
}

// TestParseAgreesWithTheTypedEvent: what AWS's own types encode is read as AWS's own types read it.
func TestParseAgreesWithTheTypedEvent(t *testing.T) {
	var r Request
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		event := eventWith(func(e *events.APIGatewayV2HTTPRequest) {
			e.RawPath, e.RawQueryString, e.Body = "/"+text.Draw(t, "path"), text.Draw(t, "query"), text.Draw(t, "body")
			e.RequestContext.HTTP.Method, e.RequestContext.HTTP.SourceIP = "M"+text.Draw(t, "method"), text.Draw(t, "address")
			e.RequestContext.RequestID, e.Headers[text.Draw(t, "header")] = text.Draw(t, "id"), text.Draw(t, "value")
			if rapid.Bool().Draw(t, "base64") {
				e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")), true
			}
		})
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(event, &e); err != nil {
			t.Fatal(err)
		}
		if e.IsBase64Encoded {
			body, err := base64.StdEncoding.DecodeString(e.Body)
			if err != nil {
				t.Fatal(err)
			}
			e.Body = string(body)
		}
		want := seen{e.RequestContext.HTTP.Method, e.RawPath, e.RawQueryString, e.Body, e.RequestContext.HTTP.SourceIP,
			e.Headers["x-forwarded-for"], e.RequestContext.RequestID}
		if got, err := scanned(&r, event); err != nil || got != want {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	var r Request
	if err := r.Parse(make([]byte, MaxPayloadBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := r.Parse([]byte(`{"Records":[]}`)); !errors.Is(err, ErrNoEvent) {
		t.Errorf("another kind of event: %v", err)
	}
	if r.Method != "" || r.Body != nil {
		t.Errorf("a refused event left %+v", r)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	for name, event := range map[string][]byte{
		"text": eventWith(nil),
		"base64": eventWith(func(e *events.APIGatewayV2HTTPRequest) {
			e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(e.Body)), true
		}),
	} {
		var r Request
		n := testing.AllocsPerRun(100, func() {
			if err := r.Parse(event); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Add(eventWith(nil))
	var r Request
	f.Fuzz(func(t *testing.T, event []byte) { agree(t, &r, event) })
}
