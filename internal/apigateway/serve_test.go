package apigateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var _ lambda.Handler = Handler(nil)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestServePassesTheWholeRequest(t *testing.T) {
	event := eventWith(func(e *events.APIGatewayV2HTTPRequest) {
		e.RawPath, e.RequestContext.HTTP.Method = "/api/v1/apps/com.example.shop/bundles/1.0.0+build/a b%2F?", "PUT"
	})
	h := Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		cookie, noCookie := r.Cookie("two")
		if err != nil || string(body) != checkBody || int(r.ContentLength) != len(body) || noCookie != nil || cookie.Value != "2" {
			t.Errorf("body %q, %v, cookie %v", body, err, cookie)
		}
		got := fmt.Sprint(r.Method, r.URL.Path, r.URL.EscapedPath(), r.URL.RawQuery, r.RequestURI, r.Host, r.RemoteAddr, r.Proto, r.Header.Get("Content-Type"), r.Header.Get("Host"))
		want := fmt.Sprint("PUT", "/api/v1/apps/com.example.shop/bundles/1.0.0+build/a b%2F?", "/api/v1/apps/com.example.shop/bundles/1.0.0+build/a%20b%252F%3F", "a=1&b=%20",
			"/api/v1/apps/com.example.shop/bundles/1.0.0+build/a%20b%252F%3F?a=1&b=%20", "abcdefghij.execute-api.eu-west-1.amazonaws.com",
			"203.0.113.7:0", "HTTP/1.1", "application/json; charset=utf-8", "")
		if got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		w.Header().Add("Vary", "Accept")
		w.Header().Add("Vary", "Origin")
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("Late", "is not sent")
		fmt.Fprint(w, `<html>`)
	}), silent())
	answer, err := h.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	status, headers, cookies, body := answered(t, answer)
	if status != 202 || body != "<html>" || headers["Vary"] != "Accept, Origin" || headers["Late"] != "" || headers["Content-Type"] != "text/html; charset=utf-8" {
		t.Errorf("%d %q %q", status, headers, body)
	}
	if fmt.Sprint(cookies) != "[a=1 b=2]" {
		t.Errorf("cookies %q", cookies)
	}
}

func TestServe(t *testing.T) {
	for _, c := range []struct {
		name    string
		path    string
		handler http.HandlerFunc
		status  int
		body    string
	}{
		{"nothing said", "/", func(http.ResponseWriter, *http.Request) {}, 200, ""},
		{"only bytes", "/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0}) }, 200, "\xff\x00"},
		{"information first", "/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(404) }, 404, ""},
		{"a path that would be no escape", "/100%", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }, 200, "/100%"},
		{"a panic", "/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "half"); panic("mishap") }, 500, "internal_error"},
		{"a dropped connection", "/", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 500, "internal_error"},
		{"more than Lambda passes on", "/", func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				fmt.Fprint(w, strings.Repeat("x", 1<<17))
			}
		}, 500, "answer_too_large"},
	} {
		event := eventWith(func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = c.path })
		answer, err := Serve(c.handler, silent())(t.Context(), event)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		status, _, _, body := answered(t, answer)
		if status != c.status || !strings.Contains(body, c.body) || (c.body == "") != (body == "") || len(answer) > MaxPayloadBytes {
			t.Errorf("%s: %d %.100q", c.name, status, body)
		}
	}
}

func TestServeLogsAPanicWithItsPlace(t *testing.T) {
	var log bytes.Buffer
	h := Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("mishap") }), slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := h(t.Context(), eventWith(nil)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "mishap") || !strings.Contains(log.String(), "serve_test.go") {
		t.Errorf("log: %s", &log)
	}
}

func TestServeRefusesOtherEvents(t *testing.T) {
	h := Serve(http.NotFoundHandler(), silent())
	for _, event := range []string{"", "{}", `{"Records":[]}`, strings.Replace(texts[0], "{", `{"headers":{"a":1},`, 1)} {
		if _, err := h(t.Context(), []byte(event)); !errors.Is(err, ErrNoEvent) {
			t.Errorf("%s: %v", event, err)
		}
	}
}
