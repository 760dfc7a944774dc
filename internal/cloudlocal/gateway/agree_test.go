package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/cloudlocal/gateway"
)

// told is what reaches a handler of a request, whichever way it came.
func told(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %q ?%q %q %q %q %q %d %x", r.Method, r.URL.Path, r.URL.RawQuery, r.Host,
		r.Header.Get("Content-Type"), r.Header.Get("Cookie"), r.Header.Get("X-Test"), len(body), sha256.Sum256(body))
}

// The gateway and internal/apigateway are written by the same rules: a handler behind both is told what it would be
// told by net/http alone, and its answer comes through, whatever the bytes.
func TestRoundTripThroughEvents(t *testing.T) {
	var heard string
	var say answerTo
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard = told(r)
		say.write(w)
	})
	serve := apigateway.Serve(handler, slog.New(slog.DiscardHandler))
	var scanned apigateway.Request
	g := newGateway(t, options(), gateway.Route{
		Path: "$default",
		Invoke: func(ctx context.Context, event []byte) ([]byte, string, error) {
			if err := scanned.Parse(event); err != nil {
				return nil, "", err
			}
			answer, err := serve(ctx, event)
			return answer, "", err
		},
	})

	rapid.Check(t, func(t *rapid.T) {
		body := hostile().Draw(t, "body")
		r := func() *http.Request { return httptest.NewRequest("POST", "/", bytes.NewReader(body)) }
		request, plain := r(), r()
		path := "/" + paths().Draw(t, "path")
		query := rapid.StringMatching(`[a-z=&%+ü]{0,20}`).Draw(t, "query")
		contentType := contentTypes().Draw(t, "type")
		for _, each := range []*http.Request{request, plain} {
			each.URL.Path, each.URL.RawPath, each.URL.RawQuery = path, "", query
			each.Header.Set("Cookie", "a=1; b=2")
			each.Header.Set("X-Test", `"\,; x`)
			if contentType != "" {
				each.Header.Set("Content-Type", contentType)
			}
		}
		say = answerTo{rapid.IntRange(200, 599).Draw(t, "status"), contentType, hostile().Draw(t, "answer")}

		got := send(g, request)
		if want := told(plain); heard != want {
			t.Fatalf("the handler was told\n%s\nwant\n%s", heard, want)
		}
		if scanned.Path != path || scanned.Query != query || !bytes.Equal(scanned.Body, body) {
			t.Fatalf("scanned %q ?%q and %d bytes", scanned.Path, scanned.Query, len(scanned.Body))
		}
		say.check(t, got)
	})
}

// paths generates what is left of paths when they are decoded, which may look encoded again.
func paths() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.StringMatching(`(%41|%|\?|#|\+| |ü|/)*`))
}

func contentTypes() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "application/json", "text/plain; charset=utf-8", "image/png"})
}

// hostile generates what has to be escaped, what is not UTF-8, and what is large.
func hostile() *rapid.Generator[[]byte] {
	fixed := []string{
		"", `{"a":"\u0000\ud800\"\\"}`, "\u2028\u2029<script>&amp;</script>", "\x00\x01\x1f\x7f", "\xff\xfe\xed\xa0\x80",
		"naïve 日本語 \U0001f6f0",
		strings.Repeat(`{"k":"vü\n"},`, 100<<10/14), string(bytes.Repeat([]byte{0xf0}, 100<<10)),
	}
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.Bool().Draw(t, "fixed") {
			return []byte(rapid.SampledFrom(fixed).Draw(t, "text"))
		}
		if rapid.Bool().Draw(t, "text") {
			return []byte(rapid.String().Draw(t, "text"))
		}
		return rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	})
}

// answerTo is what the handler answers.
type answerTo struct {
	status      int
	contentType string
	body        []byte
}

func (a answerTo) write(w http.ResponseWriter) {
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	}
	w.Header().Add("Set-Cookie", "c=3; Secure")
	w.Header().Add("Set-Cookie", "d=4")
	w.Header().Set("X-Answer", `"\, é`)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func (a answerTo) check(t *rapid.T, got *http.Response) {
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != a.status || !bytes.Equal(body, a.body) {
		t.Fatalf("answered %d with %d bytes, want %d with %d", got.StatusCode, len(body), a.status, len(a.body))
	}
	if a.contentType != "" && got.Header.Get("Content-Type") != a.contentType {
		t.Fatalf("content type %q, want %q", got.Header.Get("Content-Type"), a.contentType)
	}
	cookies := []string{"c=3; Secure", "d=4"}
	if !slices.Equal(got.Header["Set-Cookie"], cookies) || got.Header.Get("X-Answer") != `"\, é` {
		t.Fatalf("headers %q", got.Header)
	}
}
