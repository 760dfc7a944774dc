package edgehost

import (
	"net/http"
	"path"
	"strings"
	"time"
)

// What bodies may have at most, in bytes: as at the origin.
const (
	maxStats     = 1 << 20
	maxTelemetry = 1 << 20
	maxManifest  = 2 << 20
	maxOther     = 64 << 10
)

// notForDevices are what an origin has for its operators and its edges. An edge's address is known to everybody, so it leads
// there for nobody.
var notForDevices = [...]string{"/api", "/metrics", "/snapshots", "/relay", "/edge"}

// notFoundBody answers paths that are nobody's, byte for byte as the origin does.
const notFoundBody = `{"error":"not_found","message":"no such path: the plugin's are /updates, /stats and /channel_self"}`

// ServeHTTP answers devices, pushes of Snapshots, and the operator's GET /edge/status.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.inFlight.Add(-1)
	switch {
	case h.inFlight.Add(1) > maxInFlight:
		h.busy(w, r)
	case r.Method == http.MethodPost && r.URL.Path == pathUpdates:
		h.updates(w, r)
	default:
		h.others(w, r)
	}
}

// updates answers a check: nearly all requests.
func (h *Host) updates(w http.ResponseWriter, r *http.Request) {
	h.counts.checks.Add(1)
	if r.ContentLength > maxCheck {
		write(w, r, h.tooLarge)
		return
	}
	b := h.buffers.Get().(*buffers)
	defer h.release(b)
	var err error
	if b.body, err = readBody(b.body[:0], r.Body, maxCheck); err != nil {
		write(w, r, broken())
		return
	}
	now := h.config.Now()
	if err := h.module.Check(r.Context(), b.body, seconds(now), &b.result); err != nil {
		if r.Context().Err() != nil {
			return // nobody waits for it
		}
		h.log.Error("a check was not answered; it is forwarded", "error", err)
		h.forward(w, r, b.body, h.unavailable)
		return
	}
	if b.result.Verdict != Answered && h.asked(w, r, b) {
		return
	}
	h.decided(w, r, b, now)
}

// release lets a check's memory be used again. What is forwarded has been read to its end by then.
func (h *Host) release(b *buffers) {
	if cap(b.body) <= maxKept && cap(b.result.Answer) <= maxKept {
		h.buffers.Put(b)
	}
}

// asked asks the origin what the module cannot answer, and reports whether that answered the device. What is no JSON was said by
// somebody in between.
func (h *Host) asked(w http.ResponseWriter, r *http.Request, b *buffers) bool {
	if b.result.Verdict == NeedsFacts {
		h.counts.neededFacts.Add(1)
	} else {
		h.counts.noSnapshot.Add(1)
	}
	got, err := h.origin.forward(r, b.body)
	if err != nil || !strings.HasPrefix(got.header.Get("Content-Type"), contentType) {
		h.counts.fallback.Add(1)
		return false
	}
	pass(w, got)
	return true
}

// decided sends the module's answer, and sees to it that the origin learns who asked.
func (h *Host) decided(w http.ResponseWriter, r *http.Request, b *buffers, now time.Time) {
	if b.result.Verdict == Answered {
		h.counts.answered.Add(1)
	}
	if b.result.Stale {
		h.counts.stale.Add(1)
	}
	if len(b.result.Note) > 0 {
		h.courier.note(note{text: append([]byte(nil), b.result.Note...), at: now, source: sourceOf(r)})
	}
	write(w, r, b.result.answer())
}

// others answers everything but checks.
func (h *Host) others(w http.ResponseWriter, r *http.Request) {
	app, snapshot := strings.CutPrefix(r.URL.Path, pathSnapshots)
	switch r.Method + " " + r.URL.Path {
	case "GET " + pathUpdates, "GET " + pathStats, "GET " + pathHealth, "OPTIONS " + pathTelemetry:
		write(w, r, healthy())
	case "POST " + pathStats:
		h.telemetry(w, r, maxStats)
	case "POST " + pathTelemetry:
		h.telemetry(w, r, maxTelemetry)
	case "GET " + pathStatus:
		h.status(w, r)
	default:
		switch {
		case snapshot && r.Method == http.MethodPut:
			h.push(w, r, app)
		case isForDevices(r.URL.Path):
			h.through(w, r)
		default:
			write(w, r, answer{status: http.StatusNotFound, body: []byte(notFoundBody)})
		}
	}
}

// telemetry takes a report.
func (h *Host) telemetry(w http.ResponseWriter, r *http.Request, limit int) {
	h.withBody(w, r, limit, func(body []byte) {
		write(w, r, h.courier.carry(r.Context(), report{path: r.URL.Path, body: body, source: sourceOf(r)}))
	})
}

// withBody reads a body and does something with it, or answers why not.
func (h *Host) withBody(w http.ResponseWriter, r *http.Request, limit int, do func(body []byte)) {
	size := int64(limit)
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	if size > int64(limit) {
		write(w, r, tooLarge(limit))
		return
	}
	defer h.inHand.Add(-size)
	if h.inHand.Add(size) > maxInHand {
		h.busy(w, r)
		return
	}
	body, err := readBody(make([]byte, 0, min(size+1, 64<<10)), r.Body, limit)
	switch {
	case err != nil:
		write(w, r, broken())
	case len(body) > limit:
		write(w, r, tooLarge(limit))
	default:
		do(body)
	}
}

// isForDevices reports whether the origin may be asked for a path, however it is written.
func isForDevices(asked string) bool {
	asked = path.Clean("/" + asked)
	for _, p := range notForDevices {
		if asked == p || strings.HasPrefix(asked, p+"/") {
			return false
		}
	}
	return true
}

// through forwards what is the origin's to answer.
func (h *Host) through(w http.ResponseWriter, r *http.Request) {
	limit := maxOther
	if r.URL.Path == pathManifestSize {
		limit = maxManifest
	}
	h.withBody(w, r, limit, func(body []byte) {
		h.counts.forwarded.Add(1)
		h.forward(w, r, body, h.unavailable)
	})
}

// forward asks the origin, and sends the other answer if it cannot be reached.
func (h *Host) forward(w http.ResponseWriter, r *http.Request, body []byte, otherwise answer) {
	got, err := h.origin.forward(r, body)
	if err != nil {
		h.counts.busy.Add(1)
		write(w, r, otherwise)
		return
	}
	pass(w, got)
}

// pass sends the origin's answer as it is.
func pass(w http.ResponseWriter, got *reply) {
	copyHeader(w.Header(), got.header)
	w.WriteHeader(got.status)
	_, _ = w.Write(got.body)
}

// busy asks a device to come back.
func (h *Host) busy(w http.ResponseWriter, r *http.Request) {
	h.counts.busy.Add(1)
	write(w, r, h.unavailable)
}
