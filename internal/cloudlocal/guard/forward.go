package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// newUpstream is the part that passes calls on.
func (p *Proxy) newUpstream(to *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // as signed
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     2 * time.Second, // before the servers end idle connections themselves
			DisableCompression:  true,
		},
		BufferPool:     &buffers{},
		ModifyResponse: p.answered,
		ErrorHandler:   p.failed,
		ErrorLog:       slog.NewLogLogger(p.options.Log.Handler(), slog.LevelDebug),
	}
}

// callKey is under what a request's context has its call.
type callKey struct{}

// buffers lends what answers are copied through.
type buffers struct{ pool sync.Pool }

// Get and Put make buffers an httputil.BufferPool.
func (b *buffers) Get() []byte {
	if lent, ok := b.pool.Get().(*[]byte); ok {
		return *lent
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(back []byte) { b.pool.Put(&back) }

// pass sends the call on and its answer back.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, c *call) {
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	if c.body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
		r.Header.Set("Content-Length", strconv.Itoa(len(c.body)))
	}
	if c.refused != nil {
		r.Header.Del("Accept-Encoding") // the answer will be read here
	}
	p.upstream.ServeHTTP(w, r)
}

// errCut is the fault of an answer that never arrives.
var errCut = errors.New("cut by the guard")

// answered sees an answer of the component before it goes back. The component has then done what it was asked.
func (p *Proxy) answered(resp *http.Response) error {
	c, ok := resp.Request.Context().Value(callKey{}).(*call)
	if !ok {
		return nil
	}
	if p.chance(c.faults.cut(c)) {
		return errCut
	}
	if c.refused != nil {
		return mergeRefused(c, resp)
	}
	if p.options.Service == S3 {
		return p.hideMissing(c, resp)
	}
	return nil
}

// failed ends the connection of a call that the component did not answer, as a network would.
func (p *Proxy) failed(_ http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
		p.options.Log.Warn("component does not answer", "service", p.options.Service, "error", err)
	}
	panic(http.ErrAbortHandler)
}
