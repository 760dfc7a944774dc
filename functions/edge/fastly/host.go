//go:build wasip1

package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fastly/compute-sdk-go/fsthttp"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/telemetry"
)

// host is the edge of one sandbox.
type host struct {
	settings settings
	core     *edge.Edge
	origin   *origin
	log      *slog.Logger
	held     map[string]*held
	notes    []note
	notesDue time.Time // before that the origin is not tried
	request  capgo.Request
}

func newHost(s settings, log *slog.Logger) *host {
	h := &host{settings: s, core: edge.New(), origin: &origin{url: s.origin, token: s.token}, log: log, held: map[string]*held{}}
	for _, key := range s.keys {
		h.core.Trust(key[:])
	}
	for _, app := range s.apps {
		h.held[app] = &held{app: app}
	}
	return h
}

// serve answers a request, and then does what nobody should wait for.
func (h *host) serve(ctx context.Context, w fsthttp.ResponseWriter, r *fsthttp.Request) {
	h.answer(ctx, r).send(w, r.URL.Path)
	_ = w.Close()
	h.handOverSome(ctx)
}

func (h *host) answer(ctx context.Context, r *fsthttp.Request) answer {
	switch r.Method + " " + r.URL.Path {
	case "POST /updates":
		return h.check(ctx, r)
	case "POST /stats":
		return h.report(ctx, r, capgo.MaxStatsBody)
	case "POST /telemetry":
		return h.report(ctx, r, telemetry.MaxMetricsBytes)
	case "GET /updates", "GET /stats", "GET /healthz", "OPTIONS /telemetry":
		return answer{status: fsthttp.StatusOK, body: []byte(capgo.HealthBody)}
	case "GET /edge/status":
		return h.status(ctx, r)
	}
	if app, ok := strings.CutPrefix(r.URL.Path, "/snapshots/"); ok && r.Method == fsthttp.MethodPut {
		return h.push(ctx, r, app)
	}
	return h.through(ctx, r)
}

// check answers an update check, nearly always without the origin.
func (h *host) check(ctx context.Context, r *fsthttp.Request) answer {
	body, err := bodyOf(r, capgo.MaxCheckBody)
	if err != nil {
		return badBody(err, capgo.MaxCheckBody)
	}
	if h.request.ParseCheck(body) == nil {
		if of := h.held[h.request.Check.AppID]; of != nil {
			h.refresh(ctx, of)
		}
	}
	result := h.core.Check(body, nil, seconds(time.Now()))
	if result.Verdict != edge.Answered {
		got, err := h.origin.forward(ctx, r, body)
		if err == nil && strings.HasPrefix(got.header.Get("Content-Type"), capgo.ContentType) {
			return *got
		}
	}
	h.note(result.Note, sourceOf(r))
	return answer{status: result.Status, body: result.Answer, retryAfter: result.RetryAfter}
}

// report hands over what a device says and answers what the origin says to it. Nothing here could keep it, so if the origin cannot
// be reached, the device has to.
func (h *host) report(ctx context.Context, r *fsthttp.Request, limit int) answer {
	body, err := bodyOf(r, limit)
	if err != nil {
		return badBody(err, limit)
	}
	if len(body) > maxReport || !utf8.Valid(body) {
		return h.pass(ctx, r, body)
	}
	answers, err := h.relay(ctx, report{r.URL.Path, string(body), sourceOf(r)})
	switch {
	case err == nil:
		return answers[0]
	case errors.Is(err, errRefused):
		h.log.Warn("a report goes to the origin as it is", "problem", err)
		return h.pass(ctx, r, body)
	}
	return refused(capgo.Unavailable())
}

// notForDevices is what an origin has for its operators and its edges. It is not carried there through an address that everybody
// knows.
var notForDevices = []string{"/api", "/metrics", "/snapshots", "/relay", "/edge"}

// isForDevices reports whether the origin may be asked for a path. One that is written in an odd way is not the plugin's.
func isForDevices(asked string) bool {
	clean := path.Clean(asked)
	for _, p := range notForDevices {
		if clean == p || strings.HasPrefix(clean, p+"/") {
			return false
		}
	}
	return clean == asked || clean+"/" == asked
}

// through forwards what is the origin's to answer.
func (h *host) through(ctx context.Context, r *fsthttp.Request) answer {
	if !isForDevices(r.URL.Path) {
		return answer{status: fsthttp.StatusNotFound, body: []byte(capgo.NotFoundBody)}
	}
	limit := capgo.MaxCheckBody
	if r.URL.Path == "/updates/manifest_size" {
		limit = capgo.MaxManifestBody
	}
	body, err := bodyOf(r, limit)
	if err != nil {
		return badBody(err, limit)
	}
	return h.pass(ctx, r, body)
}

// pass has the origin answer a request as it is.
func (h *host) pass(ctx context.Context, r *fsthttp.Request, body []byte) answer {
	got, err := h.origin.forward(ctx, r, body)
	if err != nil {
		return refused(capgo.Unavailable())
	}
	return *got
}

// status tells the operator, who has the edge token, how this sandbox does; the next request may come to another.
func (h *host) status(ctx context.Context, r *fsthttp.Request) answer {
	given, wanted := sha256.Sum256([]byte(r.Header.Get("Authorization"))), sha256.Sum256([]byte("Bearer "+h.settings.token))
	if subtle.ConstantTimeCompare(given[:], wanted[:]) == 0 { // digests, so that the time it takes tells nothing
		a := refusal(fsthttp.StatusUnauthorized, "invalid_token", "send the header Authorization: Bearer and the edge token")
		a.header = own("Www-Authenticate", `Bearer realm="palier-edge"`)
		return a
	}
	var said struct {
		Apps  []heldStatus `json:"apps"`
		Notes int          `json:"notes"` // that wait for the origin
	}
	for _, id := range h.settings.apps {
		h.refresh(ctx, h.held[id])
		said.Apps = append(said.Apps, h.held[id].status(time.Now(), h.settings.grace))
	}
	said.Notes = len(h.notes)
	body, err := json.Marshal(said)
	if err != nil { // numbers and strings: cannot happen
		return refused(capgo.Unavailable())
	}
	return answer{status: fsthttp.StatusOK, body: body, header: own("Cache-Control", "no-store")}
}
