package main_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// gate stands before a server. It tells what went through, and can be closed for some of it.
type gate struct {
	server *httptest.Server
	proxy  *httputil.ReverseProxy

	mu      sync.Mutex
	target  *url.URL
	seen    []passed
	closed  func(*http.Request) bool               // whose requests find nobody; nil: nobody's
	odd     func(*http.Request) int                // the status that a request is answered instead, hang, or 0; nil: 0
	changed func(app string, sealed []byte) []byte // what becomes of fetched snapshots; nil: they stay as they are
}

// passed is a request that came to a gate.
type passed struct {
	method, path  string
	authorization string
	forwardedFor  string
	body          string
	status        int // 0: it did not get through
}

// newGate returns a gate before nobody yet.
func newGate(t testing.TB) *gate {
	t.Helper()
	g := &gate{}
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			g.mu.Lock()
			defer g.mu.Unlock()
			r.SetURL(g.target)
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if nobody were here
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64},
	}
	g.server = httptest.NewServer(http.HandlerFunc(g.pass))
	t.Cleanup(g.server.Close)
	return g
}

func (g *gate) url() string { return g.server.URL }

// before makes the gate stand before a server.
func (g *gate) before(t testing.TB, address string) {
	t.Helper()
	target, err := url.Parse(address)
	must(t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
}

// hang is no status: the request is not answered.
const hang = -1

// answer has the gate answer by itself.
func (g *gate) answer(with func(*http.Request) int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.odd = with
}

// close lets no request through for which what is true; none is closed for nobody.
func (g *gate) close(what func(*http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = what
}

// change has fetched snapshots changed.
func (g *gate) change(how func(app string, sealed []byte) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = how
}

func (g *gate) pass(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	shut := g.target == nil || g.closed != nil && g.closed(r)
	changed, odd := g.changed, 0
	if g.odd != nil {
		odd = g.odd(r)
	}
	g.mu.Unlock()
	p := passed{
		method: r.Method, path: r.URL.Path, authorization: r.Header.Get("Authorization"), forwardedFor: strings.Join(r.Header.Values("X-Forwarded-For"), ", "),
		body: string(body),
	}
	if shut {
		g.note(p)
		panic(http.ErrAbortHandler)
	}
	if odd != 0 {
		g.note(p)
		if odd == hang {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		http.Error(w, `{"error":"odd","message":"from the gate"}`, odd)
		return
	}
	app, snapshot := strings.CutPrefix(r.URL.Path, "/snapshots/")
	if changed == nil || !snapshot || r.Method != http.MethodGet {
		status := &statusWriter{ResponseWriter: w}
		defer func() {
			p.status = status.code
			g.note(p)
		}()
		g.proxy.ServeHTTP(status, r)
		return
	}
	r.Header.Del("If-None-Match")
	answered := httptest.NewRecorder()
	g.proxy.ServeHTTP(answered, r)
	p.status = http.StatusOK
	_, _ = w.Write(changed(app, answered.Body.Bytes()))
	g.note(p)
}

func (g *gate) note(p passed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, p)
}

// requests returns what came so far, of one method and path, or all if these are empty.
func (g *gate) requests(method, path string) (found []passed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.seen {
		if (method == "" || p.method == method) && (path == "" || p.path == path) {
			found = append(found, p)
		}
	}
	return found
}

// statusWriter remembers the status that was written.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (s *statusWriter) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find the writer below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
