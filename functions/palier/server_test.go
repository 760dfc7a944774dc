package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
)

const testToken = "plr_test-token-that-is-long-enough-to-be-one"

// running is a server that serves in this process.
type running struct {
	*server
	stop func(*testing.T) // stops it and waits; calling it again does nothing
}

// startServer runs a whole server in this process on a free port, until the test ends.
func startServer(t *testing.T, scale float64) *server {
	t.Helper()
	return startServerIn(t, t.TempDir(), scale, testToken).server
}

// startServerIn is startServer on a data directory; without a token the server makes its own.
func startServerIn(t *testing.T, data string, scale float64, token string) running {
	t.Helper()
	return startServerWith(t, serveOptions{
		data: data, listen: "127.0.0.1:0", scale: scale, token: token, log: slog.New(slog.DiscardHandler),
	})
}

func startServerWith(t *testing.T, o serveOptions) running {
	t.Helper()
	s, err := openServer(t.Context(), o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	var once sync.Once
	r := running{server: s, stop: func(t *testing.T) {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}}
	t.Cleanup(func() { r.stop(t) })
	return r
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
