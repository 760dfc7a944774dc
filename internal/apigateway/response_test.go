package apigateway

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// answered decodes an answer with AWS's own type, as a strict reader would.
func answered(t *testing.T, answer []byte) (status int, headers map[string]string, cookies []string, body string) {
	t.Helper()
	var e events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(answer, &e); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	if !e.IsBase64Encoded {
		return e.StatusCode, e.Headers, e.Cookies, e.Body
	}
	raw, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	return e.StatusCode, e.Headers, e.Cookies, string(raw)
}

func TestAppendResponse(t *testing.T) {
	json := Header{"Content-Type", "application/json"}
	for _, c := range []struct {
		name    string
		status  int
		headers []Header
		body    string
		want    string
	}{
		{"nothing", 204, nil, "", `{"statusCode":204,"headers":{},"isBase64Encoded":false,"body":""}`},
		{"json", 200, []Header{json}, `{"a":"\u00e9é"}`,
			`{"statusCode":200,"headers":{"Content-Type":"application/json"},"isBase64Encoded":false,"body":"{\"a\":\"\\u00e9é\"}"}`},
		{"two headers", 429, []Header{json, {"Retry-After", "5"}}, "\n\r\t\x01",
			`{"statusCode":429,"headers":{"Content-Type":"application/json","Retry-After":"5"},"isBase64Encoded":false,"body":"\n\r\t\u0001"}`},
		{"cookies", 200, []Header{{"Set-Cookie", "a=1"}, json, {"set-cookie", "b=2"}}, "x",
			`{"statusCode":200,"headers":{"Content-Type":"application/json"},"cookies":["a=1","b=2"],"isBase64Encoded":false,"body":"x"}`},
		{"bytes", 200, nil, "\xff\x00", `{"statusCode":200,"headers":{},"isBase64Encoded":true,"body":"/wA="}`},
		{"a header that is not UTF-8", 200, []Header{{"X", "a\xffb"}}, "", `{"statusCode":200,"headers":{"X":"a` + "\ufffd" + `b"},"isBase64Encoded":false,"body":""}`},
	} {
		if got := AppendResponse([]byte("before"), c.status, c.headers, []byte(c.body)); string(got) != "before"+c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestAppendResponseAllocatesNothing(t *testing.T) {
	headers, body, dst := []Header{{"Content-Type", "application/json"}}, []byte(checkBody), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = AppendResponse(dst[:0], 200, headers, body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzResponse: whatever is answered arrives as it was, read by AWS's own type.
func FuzzResponse(f *testing.F) {
	f.Add(200, "Content-Type", "text/plain", "a=1", []byte("hello"))
	f.Add(500, "\"", "\xff", "\n", []byte("\xff\xfe"))
	f.Add(302, "", "😀", "", []byte("\u2028\\\"\x00\x7f"))
	f.Fuzz(func(t *testing.T, status int, name, value, cookie string, body []byte) {
		gotStatus, headers, cookies, gotBody := answered(t, AppendResponse(nil, status, []Header{{name, value}, {"Set-Cookie", cookie}}, body))
		if gotStatus != status || gotBody != string(body) {
			t.Errorf("%d %q became %d %q", status, body, gotStatus, gotBody)
		}
		if !utf8.ValidString(name + value + cookie) {
			return
		}
		if len(cookies) == 1 && (cookies[0] != cookie || !maps.Equal(headers, map[string]string{name: value})) {
			t.Errorf("%q: %q and %q became %q and %q", name, value, cookie, headers, cookies)
		}
		if len(cookies) == 2 && !slices.Equal(cookies, []string{value, cookie}) {
			t.Errorf("cookies %q", cookies)
		}
	})
}
