package edgehost

import (
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxPushes is how many pushes are read at once. Anybody may try one, so they must not fill the memory.
	maxPushes = 8
	// refusedPushes and refusedPushBurst are how many pushes may be refused before others have to wait: to find out that a
	// signature is wrong takes a moment.
	refusedPushes    = rate.Limit(1) // per second
	refusedPushBurst = 16
)

// push takes a Snapshot that the origin sends of its own accord. It needs no secret: the signature says whether to take it,
// whoever brings it.
func (h *Host) push(w http.ResponseWriter, r *http.Request, app string) {
	if !h.snapshots.serves(app) {
		write(w, r, refusal(http.StatusNotFound, "unknown_app", "this edge does not serve such an app"))
		return
	}
	if h.suspicious.Tokens() < 1 || !h.beginPush() {
		a := refusal(http.StatusTooManyRequests, "too_many_requests", "too many pushes at once, or too many that were refused")
		a.retryAfter = int(1 / refusedPushes)
		write(w, r, a)
		return
	}
	defer func() { <-h.pushing }()
	sealed, ok := h.readPush(w, r)
	if !ok {
		return
	}
	outcome, err := h.snapshots.offer(r.Context(), app, sealed)
	switch {
	case err != nil:
		h.log.Error("a pushed snapshot could not be loaded", "app", app, "error", err)
		write(w, r, refusal(http.StatusInternalServerError, "failed", "this edge could not load the snapshot"))
	case outcome.taken():
		h.counts.pushes.Add(1)
		w.WriteHeader(http.StatusNoContent)
	default:
		h.suspicious.Allow()
		h.counts.refusedPushes.Add(1)
		h.log.Warn("a pushed snapshot is refused", "app", app, "outcome", outcome)
		write(w, r, refusal(pushStatus(outcome), outcome.String(), "this edge does not take the snapshot"))
	}
}

func (h *Host) beginPush() bool {
	select {
	case h.pushing <- struct{}{}:
		return true
	default:
		return false
	}
}

// readPush reads a pushed Snapshot, or answers why not. Whoever is slow holds a slot, so he has little time.
func (h *Host) readPush(w http.ResponseWriter, r *http.Request) (sealed []byte, ok bool) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pushPatience)) // a server that cannot has others
	var err error
	if r.ContentLength <= maxSealed {
		sealed, err = readBody(nil, r.Body, maxSealed)
	}
	switch {
	case r.ContentLength > maxSealed || len(sealed) > maxSealed:
		write(w, r, refusal(http.StatusRequestEntityTooLarge, "body_too_large", "a snapshot has at most "+strconv.Itoa(maxSealed)+" bytes"))
	case err != nil:
		write(w, r, refusal(http.StatusRequestTimeout, "timeout", "the snapshot did not arrive whole, or not in time"))
	default:
		return sealed, true
	}
	return nil, false
}

const pushPatience = 10 * time.Second

func pushStatus(o Outcome) int {
	switch o {
	case Older:
		return http.StatusConflict
	case Untrusted, Expired, OtherApp:
		return http.StatusForbidden
	case Full:
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}
