package device

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/palier-ota/palier/internal/browser"
	"github.com/palier-ota/palier/internal/capgo"
)

// buffers are one request's memory: what is read and what is answered.
type buffers struct{ in, out []byte }

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 64 << 10

// maxInFlight is how many requests are worked on at once; more are asked to come back, which costs next to nothing.
const maxInFlight = 4096

// Handler returns Respond as an HTTP handler, which asks requests to come back when it has too many in hand. It also has the
// browser client.
func (s *Service) Handler() http.Handler {
	client := browser.Handler()
	pool := &sync.Pool{New: func() any { return &buffers{in: make([]byte, 0, 2048), out: make([]byte, 0, 1024)} }}
	var inFlight atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer inFlight.Add(-1)
		if inFlight.Add(1) > maxInFlight {
			write(w, s.refuse(capgo.TooManyRequests(capgo.OverloadRetryAfter, 0), nil))
			return
		}
		if AsksForClient(r.Method, r.URL.Path) {
			client.ServeHTTP(w, r)
			return
		}
		b := pool.Get().(*buffers)
		a := s.answer(r, b)
		write(w, a)
		if cap(b.in) <= maxKept && cap(a.Body) <= maxKept {
			b.out = a.Body[:0]
			pool.Put(b)
		}
	})
}

// answer reads the body, as far as the route wants one, and responds.
func (s *Service) answer(r *http.Request, b *buffers) Answer {
	b.in = b.in[:0]
	if limit := bodyLimit(r.Method, r.URL.Path); limit > 0 {
		if r.ContentLength > int64(limit) {
			return s.refused(r, capgo.TooLarge(limit), b)
		}
		var err error
		if b.in, err = readBody(b.in, r.Body, limit); err != nil {
			return s.refused(r, &capgo.Refusal{
				Status: capgo.StatusBadRequest, Code: capgo.CodeParse, Message: "the body did not arrive whole",
			}, b)
		}
	}
	return s.Respond(r.Context(), sourceOf(r), r.Method, r.URL.Path, r.URL.RawQuery, b.in, b.out[:0])
}

// sourceOf says where a request comes from.
func sourceOf(r *http.Request) Source {
	return Source{Peer: r.RemoteAddr, Forwarded: r.Header["X-Forwarded-For"]}
}

// refused answers a request whose body was not read, as Respond would.
func (s *Service) refused(r *http.Request, why *capgo.Refusal, b *buffers) Answer {
	a := s.refuse(why, b.out[:0])
	a.AnyOrigin = r.URL.Path == PathTelemetry
	return a
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
	if a.AnyOrigin {
		for _, c := range CrossOrigin() {
			h.Set(c[0], c[1])
		}
	}
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
