//go:build wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fastly/compute-sdk-go/fsthttp"
	"github.com/fastly/compute-sdk-go/purge"

	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/seal"
)

const (
	// look is how long a sandbox answers without looking into the cache: a push is heard of within that time.
	look = time.Second
	// maxPause is the longest time between two looks that fail.
	maxPause = 30 * time.Second
)

// held is what the sandbox has of an App.
type held struct {
	app      string
	header   seal.Header // of the Snapshot that answers; zero if there is none
	due      time.Time   // of the next look for news
	failures int         // in a row
	trouble  string      // why there is no news
}

// refresh looks for news of an App, when it is time to. Whatever comes of it, the last good Snapshot goes on answering.
func (h *host) refresh(ctx context.Context, of *held) {
	now := time.Now()
	if now.Before(of.due) {
		return
	}
	sealed, err := h.origin.snapshot(ctx, of.app, h.settings.poll, h.settings.grace)
	if sealed != nil {
		if outcome := h.load(of, sealed); outcome > edge.Same {
			err = fmt.Errorf("the snapshot is refused: %s", outcome)
		}
	}
	if errors.Is(err, errNoApp) {
		h.core.Forget(of.app)
		of.header = seal.Header{}
	}
	if err == nil {
		of.failures, of.trouble, of.due = 0, "", now.Add(look)
		return
	}
	of.due = time.Now().Add(min(look<<min(of.failures, 5), maxPause))
	of.failures++
	if of.trouble != err.Error() {
		h.log.Warn("no news of an app", "app", of.app, "problem", err)
	}
	of.trouble = err.Error()
}

// load has the edge take a Snapshot, or refuse it.
func (h *host) load(of *held, sealed []byte) edge.Outcome {
	outcome := h.core.Load(of.app, sealed, seconds(time.Now()), h.settings.grace)
	header, _, ok := seal.Read(sealed)
	renewed := outcome == edge.Same && header.Issued > of.header.Issued // of the same issue the signature was not looked at
	if ok && (outcome == edge.Loaded || renewed) {
		header.App = of.app
		of.header = header
	}
	return outcome
}

// push takes a Snapshot that the origin sends of its own accord, and has all others look for it. It needs no secret: the signature
// says whether to take it. What the cache has is loaded first, so that a sandbox that has just begun knows what is older.
func (h *host) push(ctx context.Context, r *fsthttp.Request, app string) answer {
	of := h.held[app]
	if of == nil {
		return refusal(fsthttp.StatusNotFound, "unknown_app", "this edge does not serve such an app")
	}
	sealed, err := bodyOf(r, seal.MaxBytes)
	switch {
	case errors.Is(err, errTooLarge):
		return refusal(fsthttp.StatusRequestEntityTooLarge, "body_too_large", "a snapshot has at most "+strconv.Itoa(seal.MaxBytes)+" bytes")
	case err != nil:
		return refusal(fsthttp.StatusRequestTimeout, "timeout", "the snapshot did not arrive whole")
	}
	h.refresh(ctx, of)
	outcome := h.load(of, sealed)
	if outcome > edge.Same {
		h.log.Warn("a pushed snapshot is refused", "app", app, "outcome", outcome.String())
		return refusal(pushStatus(outcome), outcome.String(), "this edge does not take the snapshot")
	}
	if outcome == edge.Same {
		return answer{status: fsthttp.StatusNoContent} // anybody can send it again: it must not cost the cache
	}
	if err := purge.PurgeSurrogateKey(surrogateKey(app), purge.PurgeOptions{}); err != nil {
		h.log.Error("the cache was not purged", "app", app, "problem", err)
		return refusal(fsthttp.StatusServiceUnavailable, "not_purged", "only the next poll brings it to all sandboxes")
	}
	return answer{status: fsthttp.StatusNoContent}
}

func pushStatus(o edge.Outcome) int {
	switch o {
	case edge.Older:
		return fsthttp.StatusConflict
	case edge.Untrusted, edge.Expired, edge.OtherApp:
		return fsthttp.StatusForbidden
	case edge.Full:
		return fsthttp.StatusNotFound
	}
	return fsthttp.StatusBadRequest
}

// heldStatus is what the operator is told of an App, in the words of the other hosts. Times are Unix seconds.
type heldStatus struct {
	App      string `json:"app"`
	Revision int64  `json:"revision"` // 0 while there is no Snapshot, as are the times
	Issued   int64  `json:"issued"`
	Expires  int64  `json:"expires"`
	State    string `json:"state"`
	Trouble  string `json:"trouble,omitempty"`
}

func (of *held) status(now time.Time, grace uint32) heldStatus {
	s := heldStatus{of.app, of.header.Revision, of.header.Issued, of.header.Expires, "current", of.trouble}
	switch at := now.Unix(); {
	case s.Expires == 0:
		s.State = "missing"
	case at >= s.Expires+int64(grace):
		s.State = "ended"
	case at >= s.Expires:
		s.State = "stale" // expired, and answering by grace
	}
	return s
}

// seconds is a time as the edge takes it.
func seconds(t time.Time) uint32 { return uint32(t.Unix()) }
