package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
)

const testToken = "plr_test-token-that-is-long-enough-to-be-one"

// startServer runs a whole server in this process on a free port, until the test ends.
func startServer(t *testing.T, scale float64) *server {
	t.Helper()
	s, err := openServer(t.Context(), serveOptions{
		data: t.TempDir(), listen: "127.0.0.1:0", scale: scale, token: testToken, log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s
}

// operator returns a connection that may do everything.
func (s *server) operator() *connection { return &connection{server: s.url(), token: testToken} }

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request sends one HTTP request and returns the status, the headers and the body.
func request(t *testing.T, method, url string, body []byte) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	must(t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, res.Header, answer
}

// toJSON encodes v.
func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	return raw
}
