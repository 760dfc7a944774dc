package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// Codes of errors that callers may rely on. The domain's own refusals (package rollout) pass through with theirs.
const (
	CodeMalformed        = "malformed"              // 400: the body is not JSON or YAML of the shape that was asked for
	CodeInvalidParameter = "invalid_parameter"      // 400: a path or query parameter
	CodeInvalidDocument  = "invalid_document"       // 400: well-formed, but the result would not be valid
	CodeMissingToken     = "missing_token"          // 401
	CodeInvalidToken     = "invalid_token"          // 401: malformed, unknown or revoked
	CodeExpiredToken     = "expired_token"          // 401
	CodeForbidden        = "forbidden"              // 403: the token's role is too low
	CodeNotFound         = "not_found"              // 404
	CodeMethodNotAllowed = "method_not_allowed"     // 405
	CodeConflict         = "conflict"               // 409: changed by someone else meanwhile
	CodeNoNextKey        = "no_next_key"            // 409: no signing key is prepared
	CodeInUse            = "in_use"                 // 409: something still refers to what should be removed
	CodeBundleImmutable  = "bundle_immutable"       // 409: the bundle was already served
	CodeTooLarge         = "too_large"              // 413
	CodeUnsupportedMedia = "unsupported_media_type" // 415
	CodeTooManyRequests  = "too_many_requests"      // 429
	CodeInternal         = "internal"               // 500
	CodeStoreUnavailable = "store_unavailable"      // 503
	CodeRequestTimeout   = "request_timeout"        // 408: the body did not arrive in time
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	Path    string `json:"path,omitempty" doc:"Where: a field's path in the body, or a parameter" example:"channels[0].bundle"`
	Code    string `json:"code,omitempty" doc:"Stable code of this problem" example:"unknown_bundle"`
	Message string `json:"message" doc:"What is wrong there" example:"bundle 2.0.0 does not exist"`
}

// Error is every answer that is not a success. It travels as {error, message, details?}.
type Error struct {
	Code    string    `json:"error" doc:"Stable code in snake_case" example:"not_found"`
	Message string    `json:"message" doc:"What happened and what to do about it"`
	Details []Problem `json:"details,omitempty" doc:"Each thing that is wrong, where that can be told; of very many the first"`

	status int
	header http.Header
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// GetStatus returns the HTTP status.
func (e *Error) GetStatus() int { return e.status }

// GetHeaders returns the headers that go with the error, such as Retry-After; nil when there are none.
func (e *Error) GetHeaders() http.Header { return e.header }

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), status: status}
}

func notFound(kind, name string) *Error {
	return refuse(http.StatusNotFound, CodeNotFound, "there is no %s %q", kind, clip(name))
}

// invalid refuses thing for its problems, of which found were found and at least one is given.
func invalid(code, thing string, problems []Problem, found int) *Error {
	return &Error{Code: code, Message: sum(thing, problems, found), Details: problems, status: http.StatusBadRequest}
}

// sum is the message that goes with problems: the problem itself when it is alone, else how many there are.
func sum(thing string, problems []Problem, found int) string {
	first := problems[0]
	switch {
	case found == 1 && first.Path == "":
		return first.Message
	case found == 1:
		return first.Path + ": " + first.Message
	case found > len(problems):
		return fmt.Sprintf("%d problems in %s, of which the first %d are listed", found, thing, len(problems))
	}
	return fmt.Sprintf("%d problems in %s", found, thing)
}

func retryLater(status int, code, message string, after time.Duration) *Error {
	seconds := max(1, int((after+time.Second-1)/time.Second))
	return &Error{
		Code: code, Message: message, status: status,
		header: http.Header{"Retry-After": {strconv.Itoa(seconds)}},
	}
}

// failure turns what the layers below returned into the answer for the caller. The second result is false when the cause
// is the server's own and worth logging.
func failure(err error) (*Error, bool) {
	var known *Error
	var tooLarge *store.TooLargeError
	var unservable *store.UnservableError
	switch {
	case errors.As(err, &known):
		return known, true
	case rollout.CodeOf(err) != "":
		return refusal("the request", err), true
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, CodeTooLarge, "%s", tooLarge.Error()), true
	case errors.As(err, &unservable):
		return refuse(http.StatusBadRequest, CodeInvalidDocument,
			"devices could not be served the result (%s): correct that and repeat the request; nothing was written", clip(unservable.Cause.Error())), true
	case errors.Is(err, store.ErrInvalid):
		return refuse(http.StatusBadRequest, CodeInvalidDocument, "a name is too long or empty, or has characters that the store does not take"), true
	case errors.Is(err, store.ErrConflict):
		return refuse(http.StatusConflict, CodeConflict,
			"someone else changed the same thing at the same time: look at it again and repeat the request"), true
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, CodeNotFound, "there is no such thing"), true
	case errors.Is(err, store.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, CodeTooLarge,
			"the result is larger than the store takes: split the document into smaller ones and apply them in turn"), true
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return retryLater(http.StatusServiceUnavailable, CodeStoreUnavailable,
			"the store does not answer: nothing is known to have been written, try again", 2*time.Second), false
	}
	return refuse(http.StatusInternalServerError, CodeInternal,
		"something went wrong on the server: its log has the cause"), false
}

// refusal turns what the domain refused of thing into an answer. One kind of refusal keeps its own code; a mixture is
// invalid_document, and the details have the codes.
func refusal(thing string, err error) *Error {
	var list rollout.Errors
	if !errors.As(err, &list) {
		var one rollout.Error
		errors.As(err, &one)
		list = rollout.Errors{one}
	}
	code, status := list[0].Code, refusalStatus(list[0].Code)
	problems := make([]Problem, 0, min(len(list), maxProblems))
	for _, e := range list {
		if e.Code != code {
			code = CodeInvalidDocument
		}
		status = min(status, refusalStatus(e.Code)) // what is wrong in itself comes before what is wrong for now
		if len(problems) < maxProblems {
			problems = append(problems, Problem{Path: e.Field, Code: e.Code, Message: e.Message})
		}
	}
	return &Error{Code: code, Message: sum(thing, problems, len(list)), Details: problems, status: status}
}

// refusalStatus returns the HTTP status of a domain code: 404 for a rollout that is not there, 409 for what is well formed
// but not possible as things stand, 400 for what is wrong in itself.
func refusalStatus(code string) int {
	switch code {
	case rollout.CodeRolloutNotFound:
		return http.StatusNotFound
	case rollout.CodePublicChannelConflict, rollout.CodeBundleImmutable, rollout.CodeLiveRolloutExists,
		rollout.CodeRolloutExists, rollout.CodeAlreadyCurrent, rollout.CodeHotfixScheduled, rollout.CodeRolloutEnded,
		rollout.CodeNotStarted, rollout.CodeAlreadyStarted, rollout.CodeStartsLater, rollout.CodePaused,
		rollout.CodeNotPaused, rollout.CodeApprovalNeeded, rollout.CodeApprovalNotNeeded, rollout.CodeAlreadyApproved:
		return http.StatusConflict
	}
	return http.StatusBadRequest
}

// clip keeps what a caller sent from filling an answer or a log.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
