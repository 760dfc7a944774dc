package apigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// Handler answers events; it is a lambda.Handler.
type Handler func(ctx context.Context, event []byte) ([]byte, error)

// Invoke answers one event. It fails when the event is none of an HTTP API.
func (h Handler) Invoke(ctx context.Context, event []byte) ([]byte, error) { return h(ctx, event) }

// Serve returns a Handler that lets h answer. A panic of h is logged and answered 500, as is an answer that is larger than
// Lambda passes on. Answers are sent when they are complete; h can neither stream nor take over the connection.
func Serve(h http.Handler, log *slog.Logger) Handler {
	return func(ctx context.Context, event []byte) ([]byte, error) {
		r, err := newRequest(ctx, event)
		if err != nil {
			return nil, err
		}
		a := &recorder{header: http.Header{}}
		if cause, stack := a.serve(h, r); cause != nil {
			log.ErrorContext(ctx, "handler panicked", "method", r.Method, "cause", cause, "stack", stack)
			a = failure("internal_error", "something went wrong on the server: its log has the cause")
		}
		answer := AppendResponse(nil, a.status, a.headers(), a.body.Bytes())
		if len(answer) > MaxPayloadBytes {
			log.ErrorContext(ctx, "answer is too large for this host", "method", r.Method, "bytes", len(answer))
			a = failure("answer_too_large", fmt.Sprintf("the answer has more than the %d bytes that can be sent from here: ask for less at once", MaxPayloadBytes))
			answer = AppendResponse(answer[:0], a.status, a.headers(), a.body.Bytes())
		}
		return answer, nil
	}
}

// wireEvent is an event with all that an http.Request has.
type wireEvent struct {
	Cookies []string          `json:"cookies"`
	Headers map[string]string `json:"headers"`
	Context struct {
		Domain string `json:"domainName"`
		HTTP   struct {
			Protocol string `json:"protocol"`
		} `json:"http"`
	} `json:"requestContext"`
}

// newRequest returns the http.Request that an event stands for. It keeps nothing of the event.
func newRequest(ctx context.Context, event []byte) (*http.Request, error) {
	event = slices.Clone(event)
	var known Request
	if err := known.Parse(event); err != nil {
		return nil, err
	}
	var e wireEvent
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEvent, err)
	}
	u := &url.URL{Path: known.Path, RawQuery: known.Query} // whatever its name says, API Gateway has decoded the path
	r := (&http.Request{
		Method: known.Method, URL: u, RequestURI: u.RequestURI(), Header: make(http.Header, len(e.Headers)+1),
		Body: io.NopCloser(bytes.NewReader(known.Body)), ContentLength: int64(len(known.Body)), Host: e.Context.Domain,
		RemoteAddr: net.JoinHostPort(known.SourceIP, "0"), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if major, minor, ok := http.ParseHTTPVersion(e.Context.HTTP.Protocol); ok {
		r.Proto, r.ProtoMajor, r.ProtoMinor = e.Context.HTTP.Protocol, major, minor
	}
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	if len(e.Cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host") // as net/http's own server does
	}
	return r, nil
}

// recorder keeps what a handler answers.
type recorder struct {
	header http.Header
	sent   http.Header // the headers as they were when the answer began
	status int
	body   bytes.Buffer
}

// serve runs the handler, and returns why it panicked, and where, if it did.
func (a *recorder) serve(h http.Handler, r *http.Request) (cause any, stack string) {
	defer func() {
		if cause = recover(); cause != nil {
			stack = string(debug.Stack())
		}
	}()
	h.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK) // does nothing if the handler said more
	return nil, ""
}

// failure is the answer when there is none of the handler's.
func failure(code, message string) *recorder {
	a := &recorder{header: http.Header{"Content-Type": {"application/json"}}}
	a.WriteHeader(http.StatusInternalServerError)
	_ = json.NewEncoder(a).Encode(map[string]string{"error": code, "message": message}) // into memory
	return a
}

// Header returns the headers to fill.
func (a *recorder) Header() http.Header { return a.header }

// WriteHeader begins the answer, if it was not begun yet. Informational statuses are not passed on.
func (a *recorder) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status, a.sent = status, a.header.Clone()
	}
}

// errBodyTooLarge ends a handler that writes more than can be answered, before memory does.
var errBodyTooLarge = errors.New("apigateway: the answer is too large for this host")

// Write adds to the body.
func (a *recorder) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len() > MaxPayloadBytes {
		return 0, errBodyTooLarge
	}
	return a.body.Write(p)
}

// headers returns the answer's headers, sorted by name. A body without a type is given one, as net/http does.
func (a *recorder) headers() []Header {
	if a.sent.Get("Content-Type") == "" && a.sent.Get("Content-Encoding") == "" && a.body.Len() > 0 {
		a.sent.Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
	var list []Header
	for name, values := range a.sent {
		if name == setCookie {
			for _, value := range values {
				list = append(list, Header{name, value})
			}
			continue
		}
		list = append(list, Header{name, strings.Join(values, ", ")})
	}
	slices.SortStableFunc(list, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	return list
}
