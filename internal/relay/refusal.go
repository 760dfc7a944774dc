package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Codes of refusals, which edges may rely on. Those that the operators' API has too mean the same there.
const (
	CodeMissingToken     = "missing_token"      // 401
	CodeInvalidToken     = "invalid_token"      // 401: malformed, unknown or revoked
	CodeExpiredToken     = "expired_token"      // 401
	CodeForbidden        = "forbidden"          // 403: of another role, or limited to other apps
	CodeUnknownApp       = "unknown_app"        // 404
	CodeNotFound         = "not_found"          // 404: no such address
	CodeMethodNotAllowed = "method_not_allowed" // 405
	CodeMalformed        = "malformed"          // 400: the body of a relay is not as it should be
	CodeTooLarge         = "too_large"          // 413: the body of a relay
	CodeSnapshotTooLarge = "snapshot_too_large" // 422: no edge would take it
	CodeTooManyRequests  = "too_many_requests"  // 429
	CodeStoreUnavailable = "store_unavailable"  // 503: the snapshot cannot be read now
)

// refusal is an answer that is not what was asked for.
type refusal struct {
	Code    string `json:"error"`
	Message string `json:"message"`

	status     int
	retryAfter int    // seconds; 0 is no header
	allow      string // the method that is possible
}

// Error returns the code and the message.
func (r *refusal) Error() string { return r.Code + ": " + r.Message }

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{Code: code, Message: fmt.Sprintf(format, args...), status: status}
}

func retryLater(status int, code, message string, seconds int) *refusal {
	return &refusal{Code: code, Message: message, status: status, retryAfter: seconds}
}

// write answers with the refusal.
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if r.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="palier"`)
	}
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(r) // the edge is gone; there is nobody left to tell
}
