package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/store"
)

const (
	// relayTimeout bounds the work of one relay. What is not durable by then is answered as overload.
	relayTimeout = 12 * time.Second
	// maxRelays is how many relays are worked on at once; more are asked to come back.
	maxRelays = 64
	// statsAtOnce is how many reports of one relay are worked on at once.
	statsAtOnce = 8
	// retryChecks is after how many seconds an edge may hand over the checks again that the stream did not take.
	retryChecks = capgo.OverloadRetryAfter
)

// result is the answer to a relay.
type result struct {
	Checks  taken    `json:"checks"`
	Answers []answer `json:"answers"` // one for each request
}

// taken says whether the checks rest on the stream.
type taken struct {
	Taken      bool `json:"taken"`
	RetryAfter int  `json:"retry_after,omitempty"` // seconds
}

// answer is what a device is to be told.
type answer struct {
	Status     int    `json:"status"`
	Body       string `json:"body"`
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
}

// relay answers POST /relay. Overload is never an error of the server: the edge is told to come back, and keeps what it
// has meanwhile.
func (o *Origin) relay(w http.ResponseWriter, r *http.Request) error {
	defer o.counts.inFlight.Add(-1)
	if o.counts.inFlight.Add(1) > maxRelays {
		return overloaded()
	}
	ctx, cancel := context.WithTimeout(r.Context(), relayTimeout)
	defer cancel()
	token, err := o.door.admit(ctx, r.Header.Get("Authorization"), store.RoleEdge)
	if err != nil {
		return o.patient(err)
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	b, err := parse(body)
	if err != nil {
		return refuse(http.StatusBadRequest, CodeMalformed, "the body is wrong: %s", err)
	}
	for i := range b.checks {
		if !sees(token, b.checks[i].App) {
			return refuse(http.StatusForbidden, CodeForbidden, "the token %q is limited to other apps than that of checks[%d]", token.Name, i)
		}
	}
	out := o.carryOut(ctx, b)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(out) // the edge is gone; it repeats what it does not know to be taken
	return nil
}

// patient turns the trouble of a store into patience; what the edge itself did wrong stays.
func (o *Origin) patient(err error) error {
	var known *refusal
	if errors.As(err, &known) {
		return err
	}
	if o.trouble.now(o.config.Real()) {
		o.config.Log.Error("edge not let in", "error", err)
	}
	return overloaded()
}

func overloaded() *refusal {
	return retryLater(http.StatusTooManyRequests, CodeTooManyRequests, "too much at once: keep what you have and come back", retryChecks)
}

// readBody returns the body of a relay, or a *refusal.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refuse(http.StatusRequestEntityTooLarge, CodeTooLarge, "a relay has at most %d bytes: hand over less at once", MaxBytes)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, CodeMalformed, "the body did not arrive whole")
	}
	return body, nil
}

// carryOut makes the checks durable and answers the requests, all at once. Reports of app metrics are worked on in their
// order, because a user's later answer to a question of consent replaces the earlier one; in the plugin's reports the order
// means nothing.
func (o *Origin) carryOut(ctx context.Context, b batch) result {
	o.counts.relays.Add(1)
	out := result{Answers: make([]answer, len(b.requests))}
	var work errgroup.Group // nothing in it fails: what goes wrong is an answer
	work.Go(func() error {
		out.Checks = o.noteChecks(ctx, b.checks)
		return nil
	})
	respond := func(i int) {
		out.Answers[i] = o.respond(ctx, b.requests[i])
	}
	work.Go(func() error {
		for i, r := range b.requests {
			if r.Path != device.PathStats {
				respond(i)
			}
		}
		return nil
	})
	var reports errgroup.Group
	reports.SetLimit(statsAtOnce)
	for i, r := range b.requests {
		if r.Path == device.PathStats {
			reports.Go(func() error {
				respond(i)
				return nil
			})
		}
	}
	_, _ = work.Wait(), reports.Wait()
	return out
}

// noteChecks puts the checks on the stream.
func (o *Origin) noteChecks(ctx context.Context, checks []check) taken {
	if len(checks) == 0 {
		return taken{Taken: true}
	}
	relayed := make([]device.RelayedCheck, len(checks))
	for i := range checks {
		relayed[i] = checks[i].relayed(o.config.Ago)
	}
	if err := o.config.Devices.NoteChecks(ctx, relayed); err != nil {
		if o.trouble.now(o.config.Real()) {
			o.config.Log.Warn("relayed checks not appended; the edge keeps them", "checks", len(checks), "error", err)
		}
		return taken{RetryAfter: retryChecks}
	}
	o.counts.checks.Add(int64(len(checks)))
	return taken{Taken: true}
}

// respond answers one device.
func (o *Origin) respond(ctx context.Context, r request) answer {
	o.counts.requests.Add(1)
	a := o.config.Devices.Respond(ctx, sourceOf(r.Source), http.MethodPost, r.Path, "", []byte(r.Body), nil)
	return answer{Status: a.Status, Body: string(a.Body), RetryAfter: a.RetryAfter}
}
