package device

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/telemetry"
)

// buffers are one request's memory: what is read and what is answered.
type buffers struct{ in, out []byte }

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 64 << 10

// maxInFlight is how many requests are worked on at once; more are asked to come back, which costs next to nothing.
const maxInFlight = 4096

// Handler returns the device side as an HTTP handler: /updates, /updates/manifest_size, /stats, /channel_self,
// /telemetry and /healthz. Every answer is JSON and never empty.
func (s *Service) Handler() http.Handler {
	pool := &sync.Pool{New: func() any { return &buffers{in: make([]byte, 0, 2048), out: make([]byte, 0, 1024)} }}
	var inFlight atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer inFlight.Add(-1)
		if inFlight.Add(1) > maxInFlight {
			write(w, s.refuse(capgo.TooManyRequests(capgo.OverloadRetryAfter, 0), nil))
			return
		}
		b := pool.Get().(*buffers)
		a := s.route(r, b)
		if r.URL.Path == "/telemetry" {
			allowPages(w.Header())
		}
		write(w, a)
		if cap(b.in) <= maxKept && cap(a.Body) <= maxKept {
			b.out = a.Body[:0]
			pool.Put(b)
		}
	})
}

// fixed are answers without a decision. Their bytes are shared and must only be read.
var (
	health   = []byte(capgo.HealthBody)
	notFound = []byte(capgo.NotFoundBody)
)

func (s *Service) route(r *http.Request, b *buffers) Answer {
	ctx, dst := r.Context(), b.out[:0]
	switch r.URL.Path {
	case "/updates":
		if r.Method == http.MethodGet {
			return Answer{Status: capgo.StatusOK, Body: append(dst, health...)}
		}
		if a, ok := s.read(r, b, http.MethodPost, capgo.MaxCheckBody); !ok {
			return a
		}
		return s.Updates(ctx, b.in, dst)
	case "/stats":
		if r.Method == http.MethodGet {
			return Answer{Status: capgo.StatusOK, Body: append(dst, health...)}
		}
		if a, ok := s.read(r, b, http.MethodPost, capgo.MaxStatsBody); !ok {
			return a
		}
		return s.RecordStats(ctx, b.in, dst)
	case "/channel_self":
		if a, ok := s.read(r, b, r.Method, capgo.MaxCheckBody); !ok {
			return a
		}
		return s.ChannelSelf(ctx, r.Method, r.URL.RawQuery, b.in, dst)
	case "/updates/manifest_size":
		if a, ok := s.read(r, b, http.MethodPost, capgo.MaxManifestBody); !ok {
			return a
		}
		return s.ManifestSize(ctx, b.in, dst)
	case "/telemetry":
		if r.Method == http.MethodOptions {
			return Answer{Status: capgo.StatusOK, Body: append(dst, health...)}
		}
		if a, ok := s.read(r, b, http.MethodPost, telemetry.MaxMetricsBytes); !ok {
			return a
		}
		return s.Telemetry(ctx, b.in, dst)
	case "/healthz":
		return Answer{Status: capgo.StatusOK, Body: append(dst, health...)}
	}
	return Answer{Status: capgo.StatusNotFound, Body: append(dst, notFound...)}
}

// allowPages lets any page send app metrics: a Capacitor app's page has an origin of its own, such as
// capacitor://localhost, and sends no credentials.
func allowPages(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "86400")
}

// read reads a body of at most limit bytes into b.in. Where it cannot, or the method is another, it returns the answer
// that says so, and false.
func (s *Service) read(r *http.Request, b *buffers, method string, limit int) (Answer, bool) {
	if r.Method != method {
		return s.refuse(&capgo.Refusal{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "this path wants " + method,
		}, b.out[:0]), false
	}
	if r.ContentLength > int64(limit) {
		return s.refuse(capgo.TooLarge(limit), b.out[:0]), false
	}
	var err error
	if b.in, err = readBody(b.in[:0], r.Body, limit); err != nil {
		return s.refuse(&capgo.Refusal{
			Status: capgo.StatusBadRequest, Code: capgo.CodeParse, Message: "the body did not arrive whole",
		}, b.out[:0]), false
	}
	if len(b.in) > limit {
		return s.refuse(capgo.TooLarge(limit), b.out[:0]), false
	}
	return Answer{}, true
}

// readBody appends r to buf until its end or until more than limit bytes were read.
func readBody(buf []byte, r io.Reader, limit int) ([]byte, error) {
	for {
		if len(buf) > limit {
			return buf, nil
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// selfCounting is the length up to which net/http finds out the Content-Length itself, and cheaper; longer answers would
// be sent in chunks.
const selfCounting = 2048

// contentType is the header value of every answer; net/http only reads it.
var contentType = []string{capgo.ContentType}

func write(w http.ResponseWriter, a Answer) {
	h := w.Header()
	h["Content-Type"] = contentType
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if len(a.Body) > selfCounting {
		h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	if a.Status != http.StatusOK {
		w.WriteHeader(a.Status)
	}
	_, _ = w.Write(a.Body)
}
