package edgehost

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// status answers GET /edge/status, for the operator, who has the edge token.
func (h *Host) status(w http.ResponseWriter, r *http.Request) {
	if !h.bears(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="palier-edge"`)
		write(w, r, refusal(http.StatusUnauthorized, "invalid_token", "send the header Authorization: Bearer and the edge token"))
		return
	}
	body, err := json.Marshal(h.Status())
	if err != nil { // numbers and strings: cannot happen
		h.busy(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	write(w, r, answer{status: http.StatusOK, body: body})
}

// bears reports whether a request has the edge token. Digests are compared, so that the time it takes tells nothing.
func (h *Host) bears(r *http.Request) bool {
	given, wanted := sha256.Sum256([]byte(r.Header.Get("Authorization"))), sha256.Sum256([]byte("Bearer "+h.config.Token))
	return subtle.ConstantTimeCompare(given[:], wanted[:]) == 1
}

// Status is how an edge does.
type Status struct {
	Apps   []AppStatus      `json:"apps"`
	Queue  QueueStatus      `json:"queue"`
	Counts map[string]int64 `json:"counts"` // since the start
}

// AppStatus is what an edge has of an App. Times are Unix seconds.
type AppStatus struct {
	App      string `json:"app"`
	Revision int64  `json:"revision"` // 0 while there is no Snapshot, as are the times
	Issued   int64  `json:"issued"`
	Expires  int64  `json:"expires"`
	State    string `json:"state"`             // current; stale: expired, and answering by grace; ended: beyond that; missing
	Trouble  string `json:"trouble,omitempty"` // why there is no news
}

// QueueStatus is what waits for the origin.
type QueueStatus struct {
	Requests int   `json:"requests"` // reports of devices
	Bytes    int64 `json:"bytes"`    // of those
	Checks   int   `json:"checks"`   // notes of answered checks
	Dropped  int64 `json:"dropped"`  // of both, since the start
}

// Status returns how the Host does.
func (h *Host) Status() Status {
	requests, bytes := h.backlog.size()
	c := &h.counts
	return Status{
		Apps:  h.snapshots.status(),
		Queue: QueueStatus{Requests: requests, Bytes: bytes, Checks: h.courier.waiting(), Dropped: c.dropped.Load()},
		Counts: map[string]int64{
			"checks": c.checks.Load(), "answered": c.answered.Load(), "stale": c.stale.Load(), "needed_facts": c.neededFacts.Load(),
			"no_snapshot": c.noSnapshot.Load(), "fallback": c.fallback.Load(), "forwarded": c.forwarded.Load(),
			"telemetry": c.telemetry.Load(), "busy": c.busy.Load(), "pushes": c.pushes.Load(), "refused_pushes": c.refusedPushes.Load(),
			"batches": c.batches.Load(), "kept": c.kept.Load(),
		},
	}
}

// status returns what is held of each App, by id.
func (s *snapshots) status() []AppStatus {
	now, grace := s.now().Unix(), int64(s.grace.Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []AppStatus
	for app, f := range s.apps {
		a := AppStatus{App: app, State: "missing", Trouble: f.trouble}
		if f.held {
			a.Revision, a.Issued, a.Expires = f.header.revision, f.header.issued, f.header.expires
			a.State = stateAt(now, f.header.expires, grace)
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b AppStatus) int { return strings.Compare(a.App, b.App) })
	return all
}

// stateAt says what a Snapshot does at a time. All are Unix seconds.
func stateAt(now, expires, grace int64) string {
	switch {
	case now < expires:
		return "current"
	case now < expires+grace:
		return "stale"
	}
	return "ended"
}
