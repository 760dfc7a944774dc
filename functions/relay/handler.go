package main

import (
	"context"
	"iter"

	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/relay"
)

// handler answers the events of edges' requests; it is a lambda.Handler.
type handler struct {
	origin  *relay.Origin
	devices *device.Service
	answer  apigateway.Handler
	report  func(totals iter.Seq2[string, int64]) // if set, takes what was counted, at the end of every request
}

// newHandler returns the function as a value. It asks nothing of the store. The configuration's Devices must be Frozen.
func newHandler(c relay.Config) *handler {
	origin := relay.New(c)
	return &handler{origin: origin, devices: c.Devices, answer: apigateway.Serve(origin.Handler(), c.Log)}
}

// Invoke answers one event, and leaves nothing under way. It fails when the event is none of an HTTP API.
func (h *handler) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	answer, err := h.answer(ctx, event)
	h.devices.Settle(ctx)
	if h.report != nil {
		h.report(h.totals)
	}
	return answer, err
}

// totals yields what edges did, and what devices did through them.
func (h *handler) totals(yield func(name string, total int64) bool) {
	for name, total := range h.origin.Totals {
		if !yield(name, total) {
			return
		}
	}
	h.devices.Totals(yield)
}
