// Package gateway does here what an API Gateway HTTP API does in front of Lambda functions: it chooses the route of a
// request, makes the event of payload format 2.0 that the route's function gets, and turns what the function answers
// back into HTTP.
//
// The rules are those of the API Gateway developer guide ("Create routes for HTTP APIs", "Create AWS Lambda proxy
// integrations for HTTP APIs", "Quotas for HTTP APIs"). Where it is silent, what clients have observed is followed:
// which content types are text, that the path arrives decoded, what each failure is answered. Not emulated:
// authorizers, CORS, custom domains, stages but $default, other integrations than Lambda, and the access log.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// Quotas of an HTTP API.
const (
	MaxBodyBytes   = 10 << 20         // of a request
	DefaultTimeout = 30 * time.Second // of an integration
)

// Invoke runs a function with an event and returns its response; or the error's document and type, when the function
// failed; or an error when it was not run, or did not answer before the context ended.
type Invoke func(ctx context.Context, event []byte) (payload []byte, functionError string, err error)

// Route sends the requests it matches to a function.
type Route struct {
	// Method is an HTTP method, or ANY.
	Method string
	// Path is the pattern to match: segments are literal or a parameter as in {id}, and the last may be greedy as in
	// {proxy+}. The path $default, with any method, takes what no other route does.
	Path   string
	Invoke Invoke
}

// Options are the settings of the API and its stage. Now and Log are required.
type Options struct {
	Rate    float64       // requests per second of the stage; zero: not throttled
	Burst   int           // requests at once; zero: as many as Rate has in a second
	Timeout time.Duration // of an integration; zero: DefaultTimeout
	Now     func() time.Time
	Log     *slog.Logger
}

// Gateway is one HTTP API.
type Gateway struct {
	options Options
	routes  []route
	limit   *rate.Limiter
}

// New returns the API with these routes. It fails when a pattern is malformed or two routes have the same key.
func New(routes []Route, o Options) (*Gateway, error) {
	table, err := compile(routes)
	if err != nil {
		return nil, fmt.Errorf("reading the routes of the HTTP API: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Gateway{options: o, routes: table, limit: limiter(o)}, nil
}

func limiter(o Options) *rate.Limiter {
	switch {
	case o.Rate == 0:
		return rate.NewLimiter(rate.Inf, 0)
	case o.Burst == 0:
		return rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate)))
	default:
		return rate.NewLimiter(rate.Limit(o.Rate), o.Burst)
	}
}

// refusal is an answer of the gateway itself.
type refusal struct {
	status  int
	message string
}

// The gateway's own answers, in API Gateway's words.
var (
	notFound        = refusal{http.StatusNotFound, "Not Found"}
	tooManyRequests = refusal{http.StatusTooManyRequests, "Too Many Requests"}
	tooLarge        = refusal{http.StatusRequestEntityTooLarge, "Request Entity Too Large"}
	badRequest      = refusal{http.StatusBadRequest, "Bad Request"}
	internalError   = refusal{http.StatusInternalServerError, "Internal Server Error"}
	unavailable     = refusal{http.StatusServiceUnavailable, "Service Unavailable"}
)

// request is one request on its way to a function.
type request struct {
	*http.Request
	id         string
	at         time.Time
	route      *route
	parameters map[string]string // of the path
	body       []byte
}

// ServeHTTP answers as the API would.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := request{Request: r, id: requestID(), at: g.options.Now()}
	w.Header().Set("Apigw-Requestid", q.id)
	if q.route, q.parameters = match(g.routes, r.Method, r.URL.Path); q.route == nil {
		notFound.send(w)
		return
	}
	if !g.limit.AllowN(q.at, 1) {
		tooManyRequests.send(w)
		return
	}
	var err error
	if q.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes)); err != nil {
		unreadable(err).send(w)
		return
	}
	answer, instead, err := g.integrate(&q)
	if err != nil {
		g.explain(&q, instead, err)
		instead.send(w)
		return
	}
	answer.send(w)
}

// integrate has the route's function answer. When that fails, the refusal is what the client gets instead.
func (g *Gateway) integrate(q *request) (answer, refusal, error) {
	event, err := newEvent(q)
	if err != nil {
		return answer{}, internalError, err
	}
	ctx, cancel := context.WithTimeout(q.Context(), g.options.Timeout)
	defer cancel()
	payload, functionError, err := q.route.invoke(ctx, event)
	if err != nil {
		return answer{}, notRun(err), err
	}
	if functionError != "" {
		return answer{}, internalError, fmt.Errorf("the function failed: %s: %.1000s", functionError, payload)
	}
	a, err := readAnswer(payload)
	return a, internalError, err
}

// unreadable is the answer to a request whose body cannot be had.
func unreadable(err error) refusal {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge
	}
	return badRequest
}

// notRun is the answer when Lambda could not run the function, or did not in time.
func notRun(err error) refusal {
	switch {
	case errors.Is(err, runtimeapi.ErrRequestTooLarge):
		return tooLarge
	case errors.Is(err, runtimeapi.ErrTooManyRequests), errors.Is(err, context.DeadlineExceeded):
		return unavailable
	default:
		return internalError
	}
}

// explain tells the log what the client is not told. A client that left needs no explanation.
func (g *Gateway) explain(q *request, instead refusal, cause error) {
	if q.Context().Err() == nil {
		g.options.Log.Warn("integration failed", "method", q.Method, "path", q.URL.Path, "request", q.id,
			"status", instead.status, "cause", cause)
	}
}

func (f refusal) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, `{"message":"`+f.message+`"}`) // a client that left is no error
}
