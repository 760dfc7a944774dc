// Package onlambda hosts a device.Service on Lambda, behind an HTTP API of API Gateway.
//
// Lambda stops the process as soon as a request is answered, so nothing is left to the background: the Service is asked
// to settle before each answer is handed over.
package onlambda

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/browser"
	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device"
)

// Handler answers API Gateway's events; it is a lambda.Handler.
type Handler struct {
	Devices *device.Service // with Config.Frozen
	Paths   []string        // those to answer; others are not found
	// Answered, if set, is called at the end of every request.
	Answered func()

	client   apigateway.Handler
	requests sync.Pool // of *apigateway.Request
}

// New returns a Handler that answers the paths with a Service of its own.
func New(c device.Config, paths ...string) *Handler {
	return &Handler{Devices: device.New(c), Paths: paths, client: apigateway.Serve(browser.Handler(), c.Log)}
}

// Invoke answers one event. It fails when the event is none of an HTTP API.
func (h *Handler) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	r, ok := h.requests.Get().(*apigateway.Request)
	if !ok {
		r = new(apigateway.Request)
	}
	defer h.requests.Put(r)
	if err := r.Parse(event); err != nil {
		return nil, fmt.Errorf("reading the event: %w", err)
	}
	if device.AsksForClient(r.Method, r.Path) && slices.Contains(h.Paths, r.Path) {
		return h.client.Invoke(ctx, event) // has to do with no device
	}
	a := h.respond(ctx, r)
	h.Devices.Settle(ctx)
	if h.Answered != nil {
		h.Answered()
	}
	return encode(a), nil
}

func (h *Handler) respond(ctx context.Context, r *apigateway.Request) device.Answer {
	if !slices.Contains(h.Paths, r.Path) {
		return device.Answer{Status: capgo.StatusNotFound, Body: []byte(capgo.NotFoundBody)}
	}
	return h.Devices.Respond(ctx, sourceOf(r), r.Method, r.Path, r.Query, r.Body, nil)
}

// sourceOf says where a request comes from.
func sourceOf(r *apigateway.Request) device.Source {
	from := device.Source{Peer: r.SourceIP}
	if r.Forwarded != "" {
		from.Forwarded = []string{r.Forwarded}
	}
	return from
}

// encode returns the event that answers. Its memory is not used again, since the runtime sends it after Invoke.
func encode(a device.Answer) []byte {
	headers := append(make([]apigateway.Header, 0, 8), apigateway.Header{Name: "Content-Type", Value: capgo.ContentType})
	if a.RetryAfter > 0 {
		headers = append(headers, apigateway.Header{Name: "Retry-After", Value: strconv.Itoa(a.RetryAfter)})
	}
	if a.AnyOrigin {
		for _, c := range device.CrossOrigin() {
			headers = append(headers, apigateway.Header{Name: c[0], Value: c[1]})
		}
	}
	return apigateway.AppendResponse(make([]byte, 0, 512+2*len(a.Body)), a.Status, headers, a.Body)
}

// Bounds of Prefetch.
const (
	prefetchApps    = 16
	prefetchTimeout = 5 * time.Second
)

// Prefetch loads the Snapshots that the first requests will want. A process that is started for a request begins to, and
// asks for that request meanwhile; one that is started before there is a request does it first. That it fails is no
// reason not to start: it is tried again for each request.
func (h *Handler) Prefetch(provisioned bool, failed func(error)) {
	load := func() {
		ctx, cancel := context.WithTimeout(context.Background(), prefetchTimeout)
		defer cancel()
		if err := h.Devices.Prefetch(ctx, prefetchApps); err != nil {
			failed(err)
		}
	}
	if provisioned {
		load()
		return
	}
	go load()
}
