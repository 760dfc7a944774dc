package edgehost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// ownTimeout bounds what the edge asks itself: the origin gives up a batch after twelve seconds.
	ownTimeout = 14 * time.Second
	// maxSealed is the largest sealed Snapshot, in bytes.
	maxSealed = 8 << 20
	// maxAnswer is the largest other answer of the origin, in bytes: a manifest of five thousand files has two megabytes.
	maxAnswer = 8 << 20
)

// errUnreachable says that the origin does not help now and may do so later: there is no connection or no answer in time, or it
// answers 5xx or 429.
type errUnreachable struct {
	cause error
	after time.Duration // how long it asks to wait; 0 if it does not say
}

func (e *errUnreachable) Error() string { return "the origin cannot be reached: " + e.cause.Error() }
func (e *errUnreachable) Unwrap() error { return e.cause }

// errPaused says that it is not even tried.
var errPaused = &errUnreachable{cause: errors.New("it could not be reached a moment ago")}

// errRefused says that the origin understood and does not want it. To ask the same again is of no use.
type errRefused struct {
	status int
	code   string // the origin's
}

func (e *errRefused) Error() string {
	remedy := ""
	switch e.status {
	case http.StatusUnauthorized:
		remedy = " [PALIER_EDGE_TOKEN is no token of this origin, or has expired: palier token create makes one]"
	case http.StatusForbidden:
		remedy = " [the token in PALIER_EDGE_TOKEN needs the role edge, and must not be limited to other apps]"
	}
	return fmt.Sprintf("the origin answers %d %s%s", e.status, e.code, remedy)
}

// origin is the way there, the only part that knows its address and the edge token. It follows no redirect: one could take the
// token elsewhere.
type origin struct {
	base   *url.URL
	token  string
	wait   time.Duration // for what a device waits for
	client *http.Client
	reach  reach
}

func newOrigin(base *url.URL, token string, wait time.Duration, now func() time.Time) *origin {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	transport.MaxIdleConnsPerHost = 256
	transport.DisableCompression = true
	return &origin{
		base: base, token: token, wait: wait, reach: reach{now: now, back: func() {}},
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// reply is what the origin answered, whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer, of limit bytes at most. An error is an *errUnreachable, or the context's if the caller
// gave up.
func (o *origin) do(ctx context.Context, req *http.Request, limit int, timeout time.Duration) (*reply, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := o.exchange(req.WithContext(within), limit)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o.reach.failed()
		return nil, &errUnreachable{cause: err}
	}
	o.reach.worked()
	return r, nil
}

func (o *origin) exchange(req *http.Request, limit int) (*reply, error) {
	res, err := o.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusInternalServerError {
		return nil, fmt.Errorf("it answers %d", res.StatusCode)
	}
	body, err := readBody(nil, res.Body, limit)
	if err != nil {
		return nil, fmt.Errorf("its answer broke off: %w", err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("its answer has more than %d bytes", limit)
	}
	return &reply{status: res.StatusCode, header: res.Header, body: body}, nil
}

// withoutURL takes the URL out of a client's error: a device's has its id in it.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// own returns a request of the edge itself, which carries the token.
func (o *origin) own(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, o.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request of the origin: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	return req, nil
}

// ask sends a request of the edge itself. What is neither 200 nor 304 is an error.
func (o *origin) ask(ctx context.Context, req *http.Request, limit int) (*reply, error) {
	r, err := o.do(ctx, req, limit, ownTimeout)
	switch {
	case err != nil:
		return nil, err
	case r.status == http.StatusOK || r.status == http.StatusNotModified:
		return r, nil
	case r.status == http.StatusTooManyRequests:
		return nil, &errUnreachable{cause: fmt.Errorf("it answers %d %s", r.status, codeOf(r.body)), after: retryAfter(r.header)}
	}
	return nil, &errRefused{r.status, codeOf(r.body)}
}

// codeOf returns the stable code of a refusal, as far as it looks like one.
func codeOf(body []byte) string {
	var refusal struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &refusal) != nil || len(refusal.Error) > 64 {
		return ""
	}
	return refusal.Error
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}

// snapshot fetches an App's sealed Snapshot, unless it is still the one with this ETag: then it returns nil.
func (o *origin) snapshot(ctx context.Context, app, etag string) ([]byte, error) {
	req, err := o.own(ctx, http.MethodGet, pathSnapshots+url.PathEscape(app), nil)
	if err != nil {
		return nil, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	r, err := o.ask(ctx, req, maxSealed)
	if err != nil || r.status == http.StatusNotModified {
		return nil, err
	}
	return r.body, nil
}

// post sends one device's report by itself, without the token.
func (o *origin) post(ctx context.Context, r report) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.base.String()+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, fmt.Errorf("making a request of the origin: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	if network, _, ok := strings.Cut(r.source, "/"); ok {
		req.Header.Set(forwardedFor, network)
	}
	got, err := o.do(ctx, req, maxAnswer, ownTimeout)
	if err != nil {
		return answer{}, err
	}
	if !json.Valid(got.body) {
		return answer{}, &errUnreachable{cause: fmt.Errorf("it answers %d and no JSON: that is no Palier", got.status)}
	}
	return answer{status: got.status, body: got.body, retryAfter: int(retryAfter(got.header) / time.Second)}, nil
}

// forward sends a device's request as it came, but for what concerns the connection only.
func (o *origin) forward(r *http.Request, body []byte) (*reply, error) {
	if !strings.HasPrefix(r.URL.Path, "/") {
		return nil, errors.New("a request for no path")
	}
	if !o.reach.allows() {
		return nil, errPaused
	}
	target := *o.base
	target.Path, target.RawPath = o.base.Path+r.URL.Path, ""
	if r.URL.RawPath != "" {
		target.RawPath = o.base.EscapedPath() + r.URL.RawPath
	}
	target.RawQuery = r.URL.RawQuery
	req, err := http.NewRequestWithContext(r.Context(), r.Method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request of the origin: %w", err)
	}
	copyHeader(req.Header, r.Header)
	appendPeer(req.Header, r.RemoteAddr)
	return o.do(r.Context(), req, maxAnswer, o.wait)
}

// ofTheConnection are the headers that concern one connection only, RFC 9110 section 7.6.1, and those that the next one makes
// itself.
var ofTheConnection = [...]string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Expect", "Content-Length",
}

// copyHeader copies what concerns both ends.
func copyHeader(to, from http.Header) {
	for name, values := range from {
		to[name] = values
	}
	for _, list := range from["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			to.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range ofTheConnection {
		delete(to, name)
	}
}

// readBody appends from to buf until its end, or until more than limit bytes were read.
func readBody(buf []byte, from io.Reader, limit int) ([]byte, error) {
	for len(buf) <= limit {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 512)
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}
