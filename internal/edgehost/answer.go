package edgehost

import (
	"net/http"
	"strconv"
)

// What devices ask, and edges of their origin.
const (
	pathUpdates      = "/updates"
	pathManifestSize = "/updates/manifest_size"
	pathChannelSelf  = "/channel_self"
	pathStats        = "/stats"
	pathTelemetry    = "/telemetry"
	pathHealth       = "/healthz"
	pathSnapshots    = "/snapshots/"
	pathRelay        = "/relay"
	pathStatus       = "/edge/status"
)

const contentType = "application/json"

// okBody answers what needs no more words, byte for byte as the origin does.
const okBody = `{"status":"ok"}`

// answer is what a device gets.
type answer struct {
	status     int
	body       []byte // JSON
	retryAfter int    // seconds; 0 is no header
}

// ok reports whether the origin has what the device said.
func (a *answer) ok() bool { return a.status/100 == 2 }

// final reports whether the same need not be sent again: the origin has it, or will never take it. A Palier refuses a report with
// 400, or with 429 when it does not have the App; whatever else comes may be the word of somebody in between.
func (a *answer) final() bool {
	code := codeOf(a.body)
	return a.ok() || a.status == http.StatusBadRequest && code != "" || a.status == http.StatusTooManyRequests && code == "on_premise_app"
}

func healthy() answer { return answer{status: http.StatusOK, body: []byte(okBody)} }

// refusal is an answer for operators and origins, in the words of the operator's API.
func refusal(status int, code, message string) answer {
	return answer{status: status, body: []byte(`{"error":` + strconv.Quote(code) + `,"message":` + strconv.Quote(message) + `}`)}
}

// tooLarge is the origin's answer to a report with more than limit bytes.
func tooLarge(limit int) answer {
	return answer{status: http.StatusBadRequest, body: []byte(
		`{"error":"invalid_json_body","message":"the body is too large","moreInfo":{"body":"at most ` + strconv.Itoa(limit) + ` bytes"}}`)}
}

// broken is the origin's answer to a body that ends before its time.
func broken() answer {
	return answer{status: http.StatusBadRequest, body: []byte(
		`{"error":"invalid_json_parse_body","message":"the body did not arrive whole","moreInfo":{}}`)}
}

// write sends an answer. Pages of any origin may send telemetry and read what is answered, as at the origin.
func write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if r.URL.Path == pathTelemetry {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Expose-Headers", "Retry-After")
		h.Set("Access-Control-Max-Age", "86400")
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}
