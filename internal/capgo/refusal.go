package capgo

import (
	"strconv"

	"github.com/palier-ota/palier/internal/jsontext"
)

// The HTTP statuses of the protocol.
const (
	StatusOK              = 200 // every decision, and what Capgo answers as an error of the application
	StatusBadRequest      = 400
	StatusNotFound        = 404
	StatusTooManyRequests = 429 // unknown app, and overload; always with a Retry-After header
)

// Limits of what a device may send. The host enforces the sizes, in bytes, before it reads a body into memory, and
// answers TooLarge beyond them.
const (
	MaxCheckBody    = 64 << 10 // /updates and /channel_self: the plugin sends half a kilobyte
	MaxStatsBody    = 1 << 20  // /stats: the plugin queues 200 events of about half a kilobyte
	MaxManifestBody = 2 << 20  // /updates/manifest_size: about 250 bytes a file
	MaxEvents       = 2000     // events of one /stats request
	MaxManifest     = 5000     // files of one /updates/manifest_size request
)

// How long a refused device is asked to wait, in seconds.
const (
	// UnknownAppRetryAfter is short enough for an app that was created after its first device asked.
	UnknownAppRetryAfter = 300
	// OverloadRetryAfter is for answers to overload.
	OverloadRetryAfter = 30
)

// Answers that never change.
const (
	// HealthBody answers GET on /updates and /stats, with StatusOK, and a single event that was taken.
	HealthBody = `{"status":"ok"}`
	// NotFoundBody answers every unknown path, with StatusNotFound.
	NotFoundBody = `{"error":"not_found","message":"no such path: the plugin's are /updates, /stats and /channel_self"}`
	// ContentType is the media type of every answer.
	ContentType = "application/json"
)

// The codes of refusals.
const (
	CodeParse      = "invalid_json_parse_body"
	CodeBody       = "invalid_json_body"
	CodeQuery      = "invalid_query_parameters"
	CodeNoDeviceID = "missing_device_id"
	CodeNoAppID    = "missing_app_id"
	CodeAppID      = "invalid_app_id"
	CodeMixedApps  = "mixed_app_ids"
	CodeSemver     = "semver_error"
	CodeNoVersion  = "version_not_found"
	CodeUnknownApp = "on_premise_app"
	CodeTooMany    = "too_many_requests"
)

// Refusal is an answer to a request that gets no decision. It is made by the parsers of this package, and by
// UnknownApp, TooManyRequests and TooLarge for the host.
type Refusal struct {
	Status     int    // HTTP status
	Code       string // the wire error
	Message    string // for people
	Field      string // the offending field, if it is one; goes to moreInfo
	Problem    string // what is wrong with it
	App        string // the app that was asked, where moreInfo says so
	RetryAfter int    // seconds, for the Retry-After header; 0 means no such header
	ResetAt    int64  // when RetryAfter ends, Unix milliseconds; 0 if not known
}

// UnknownApp is the answer to a device of an app that this server does not have.
func UnknownApp() *Refusal {
	return &Refusal{
		Status: StatusTooManyRequests, Code: CodeUnknownApp, RetryAfter: UnknownAppRetryAfter,
		Message: "this server has no such app: check appId and the plugin's URLs",
	}
}

// TooManyRequests is the answer to overload: come back in seconds, which is at resetAt (Unix milliseconds, 0 if the
// host does not say).
func TooManyRequests(seconds int, resetAt int64) *Refusal {
	return &Refusal{
		Status: StatusTooManyRequests, Code: CodeTooMany, Message: "too many requests, try again later",
		RetryAfter: seconds, ResetAt: resetAt,
	}
}

// TooLarge is the answer to a body beyond limit bytes.
func TooLarge(limit int) *Refusal {
	return refuse(CodeBody, "the body is too large", "body", "at most "+strconv.Itoa(limit)+" bytes")
}

// Unavailable is the answer when the server cannot decide, because it has never seen the app's state and cannot reach
// its store. It asks for patience rather than fail with a 5xx, which older plugins retry without pause.
func Unavailable() *Refusal { return TooManyRequests(OverloadRetryAfter, 0) }

func refuse(code, message, field, problem string) *Refusal {
	return &Refusal{Status: StatusBadRequest, Code: code, Message: message, Field: field, Problem: problem}
}

// refuse is the package's refuse, in the object's own memory: whoever sends nonsense again and again costs no memory.
func (o *object) refuse(code, message, field, problem string) *Refusal {
	o.refusal = Refusal{Status: StatusBadRequest, Code: code, Message: message, Field: field, Problem: problem}
	return &o.refusal
}

func (o *object) notJSON() *Refusal {
	return o.refuse(CodeParse, "the body is not valid JSON", "", "")
}

func (o *object) badField(f field, problem string) *Refusal {
	return o.refuse(CodeBody, "invalid body", f.name(), problem)
}

// Append appends the refusal's JSON body. Refusals with status 429 carry kind "blocked", so that a plugin does not
// report a failed download, and repeat the waiting time for plugins that look for it in the body.
func (r *Refusal) Append(dst []byte) []byte {
	dst = append(dst, '{')
	dst = r.appendMembers(dst)
	return append(dst, '}')
}

func (r *Refusal) appendMembers(dst []byte) []byte {
	dst = appendMember(dst, "error", r.Code)
	dst = append(dst, ',')
	dst = appendMember(dst, "message", r.Message)
	if r.Status == StatusTooManyRequests {
		dst = append(dst, `,"kind":"blocked"`...)
		dst = r.appendHints(append(dst, ','))
		dst = append(dst, `,"moreInfo":{`...)
		dst = r.appendHints(dst)
		return append(dst, '}')
	}
	dst = append(dst, `,"moreInfo":{`...)
	if r.Field != "" {
		dst = r.appendInfo(dst)
	}
	return append(dst, '}')
}

// appendInfo appends what moreInfo holds of a refusal for a field.
func (r *Refusal) appendInfo(dst []byte) []byte {
	if r.App != "" {
		dst = append(appendMember(dst, fAppID.name(), r.App), ',')
	}
	return appendMember(dst, r.Field, r.Problem)
}

func (r *Refusal) appendHints(dst []byte) []byte {
	dst = append(dst, `"retryAfterSeconds":`...)
	dst = strconv.AppendInt(dst, int64(r.RetryAfter), 10)
	if r.ResetAt != 0 {
		dst = append(dst, `,"rateLimitResetAt":`...)
		dst = strconv.AppendInt(dst, r.ResetAt, 10)
	}
	return dst
}

// appendMember appends "key":"value". The key is one of ours and needs no escape.
func appendMember(dst []byte, key, value string) []byte {
	dst = append(dst, '"')
	dst = append(dst, key...)
	dst = append(dst, '"', ':')
	return jsontext.AppendString(dst, value)
}
