package admin_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/store/sqlite"
)

// rootToken is the first admin token of every test server.
const rootToken = "plr_root-token-of-the-tests"

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2025, 3, 1, 9, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// server is the operator API over a real SQLite store.
type server struct {
	t       testing.TB
	clock   *clock
	store   *sqlite.Store
	service *admin.Service
	http    *httptest.Server
}

func newServer(t testing.TB) *server {
	t.Helper()
	c := newClock()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"), sqlite.Options{Now: c.now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	service, err := admin.New(admin.Config{Store: db, Now: c.now, Rand: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Bootstrap(context.Background(), rootToken); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(service.Handler())
	t.Cleanup(web.Close)
	return &server{t: t, clock: c, store: db, service: service, http: web}
}

// request is one call; zero fields take what is usual.
type request struct {
	method, path string
	body         string
	contentType  string
	token        string // rootToken if empty
	noToken      bool
	accept       string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *server) do(r request) answer {
	s.t.Helper()
	req, err := http.NewRequest(r.method, s.http.URL+r.path, bytes.NewReader([]byte(r.body)))
	if err != nil {
		s.t.Fatal(err)
	}
	if r.token == "" {
		r.token = rootToken
	}
	if !r.noToken {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: strings.TrimSpace(string(body))}
}

// ok makes the call and demands a success.
func (s *server) ok(method, path, body string) answer {
	s.t.Helper()
	a := s.do(request{method: method, path: path, body: body})
	if a.status/100 != 2 {
		s.t.Fatalf("%s %s: status %d: %s", method, path, a.status, a.body)
	}
	return a
}

// handlerClient calls a handler without a network.
type handlerClient struct{ handler http.Handler }

func (c *handlerClient) do(method, path, contentType, body string) (status int, answer string) {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+rootToken)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}
