//go:build wasip1

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fastly/compute-sdk-go/fsthttp"
)

const (
	patience     = 5 * time.Second  // for an answer that a device waits for
	patienceNews = 2 * time.Second  // for a Snapshot, for which a device may wait too
	patienceOwn  = 14 * time.Second // for a batch: the origin gives one up after twelve seconds
	maxAnswer    = 8 << 20          // bytes of what the origin answers
)

// errNoApp says that the origin does not have an App, or has it no more.
var errNoApp = errors.New("the origin has no such app")

// origin is the way there. Fastly follows no redirect, which could take the token elsewhere.
type origin struct{ url, token string }

// do sends a request and reads the answer. An error says that the origin is of no help now: it does not answer in time or at all,
// or answers 5xx.
func (o *origin) do(ctx context.Context, req *fsthttp.Request, within time.Duration) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	res, err := req.Send(ctx, backend)
	if err != nil {
		return nil, fmt.Errorf("the origin cannot be reached: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode >= fsthttp.StatusInternalServerError {
		return nil, fmt.Errorf("the origin answers %d", res.StatusCode)
	}
	body, err := readBody(res.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("the origin's answer: %w", err)
	}
	return &answer{status: res.StatusCode, body: body, header: res.Header}, nil
}

// own returns a request of the edge itself, which bears the token.
func (o *origin) own(method, path string, body io.Reader) (*fsthttp.Request, error) {
	req, err := fsthttp.NewRequest(method, o.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("making a request of the origin: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	req.CacheOptions.Pass = true
	return req, nil
}

// snapshot fetches an App's sealed Snapshot through the cache, where it is new for poll seconds. When the origin is away, the cache
// may have one that is older, and there is an error beside it.
func (o *origin) snapshot(ctx context.Context, app string, poll, grace uint32) ([]byte, error) {
	cached, err := o.fetch(ctx, app, fsthttp.CacheOptions{TTL: poll, StaleWhileRevalidate: grace, SurrogateKey: surrogateKey(app)})
	if err != nil {
		return nil, err
	}
	if age, _ := strconv.ParseUint(cached.header.Get("Age"), 10, 32); age <= 2*uint64(poll) {
		return cached.body, nil
	}
	fresh, err := o.fetch(ctx, app, fsthttp.CacheOptions{Pass: true}) // nobody asked here for a while
	if err != nil {
		return cached.body, err
	}
	return fresh.body, nil
}

func (o *origin) fetch(ctx context.Context, app string, cache fsthttp.CacheOptions) (*answer, error) {
	req, err := o.own(fsthttp.MethodGet, "/snapshots/"+url.PathEscape(app), nil)
	if err != nil {
		return nil, err
	}
	req.CacheOptions = cache
	r, err := o.do(ctx, req, patienceNews)
	switch {
	case err != nil:
		return nil, err
	case r.status == fsthttp.StatusNotFound:
		return nil, errNoApp
	case r.status != fsthttp.StatusOK:
		return nil, fmt.Errorf("the origin answers %d [the token needs the role edge, and must be good for this app]", r.status)
	}
	return r, nil
}

// surrogateKey is what the cache calls an App's Snapshot, so that it can be purged.
func surrogateKey(app string) string { return "palier-snapshot/" + app }

// forward sends a device's request as it came, but for what concerns the connection only.
func (o *origin) forward(ctx context.Context, r *fsthttp.Request, body []byte) (*answer, error) {
	req, err := fsthttp.NewRequest(r.Method, o.url+r.URL.RequestURI(), nil)
	if err != nil {
		return nil, fmt.Errorf("making a request of the origin: %w", err)
	}
	if len(body) > 0 {
		req.SetBody(bytes.NewReader(body))
	}
	copyHeader(req.Header, r.Header)
	appendPeer(req.Header, r.RemoteAddr)
	req.CacheOptions.Pass = true
	return o.do(ctx, req, patience)
}

// ofTheConnection are the headers that concern one connection only, RFC 9110 section 7.6.1, and those that the next one makes
// itself.
var ofTheConnection = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Expect", "Host", "Content-Length",
}

// appendPeer says who asked here, as proxies do. An origin that trusts this edge believes it.
func appendPeer(to fsthttp.Header, peer string) {
	if peer != "" {
		to.Set("X-Forwarded-For", strings.Join(append(to.Values("X-Forwarded-For"), peer), ", "))
	}
}

func copyHeader(to, from fsthttp.Header) {
	to.Apply(from)
	for _, name := range ofTheConnection {
		to.Del(name)
	}
}
