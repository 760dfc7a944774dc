package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/store"
)

// handler answers the events of operators' requests; it is a lambda.Handler.
type handler struct {
	operators *admin.Service
	answer    apigateway.Handler
	log       *slog.Logger
	edges     *relay.Pusher // told of what a request changed; nil if there are none

	mu    sync.Mutex
	first *[sha256.Size]byte // hash of the first admin token; nil once it is let in
}

// newHandler returns the function as a value. It asks nothing of the store.
func newHandler(c admin.Config, first *[sha256.Size]byte) (*handler, error) {
	operators, err := admin.New(c)
	if err != nil {
		return nil, fmt.Errorf("making the operators' service: %w", err)
	}
	return &handler{operators: operators, answer: apigateway.Serve(operators.Handler(), c.Log), log: c.Log, first: first}, nil
}

// Invoke answers one event. It fails when the event is none of an HTTP API.
func (h *handler) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	h.letIn(ctx)
	answer, err := h.answer(ctx, event)
	if h.edges != nil {
		h.edges.Settle(ctx)
	}
	return answer, err
}

// letInTimeout bounds how long a request waits for the first admin token to be let in: what is left of Lambda's time must
// do for the request itself, which may take as long as admin.Config's Deadline.
const letInTimeout = 5 * time.Second

// letIn makes the first admin token valid, before the first request of the process is answered. While the store cannot be
// reached it is tried again for each request; other tokens need not wait for it for long.
func (h *handler) letIn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, letInTimeout)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first == nil {
		return
	}
	err := h.operators.BootstrapHash(ctx, *h.first)
	if err != nil && !errors.Is(err, store.ErrRevoked) {
		h.log.WarnContext(ctx, "the first admin token is not let in yet", "error", err)
		return
	}
	if err != nil {
		h.log.InfoContext(ctx, "the first admin token was revoked; the stack's parameter AdminTokenSha256 can be emptied")
	}
	h.first = nil
}
