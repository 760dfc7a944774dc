package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// defaultType is the content type of a response that has a status code and no type.
const defaultType = "text/plain;charset=UTF-8"

// errMalformed: the function's response is none that API Gateway takes.
var errMalformed = errors.New("the function's response is malformed")

// answer is a function's response, understood.
type answer struct {
	status  int
	headers map[string]string
	cookies []string
	body    []byte
}

// response is what a function may answer with; where it has no type, API Gateway takes several.
type response struct {
	StatusCode json.RawMessage            `json:"statusCode"` // a number, or a string of one
	Headers    map[string]json.RawMessage `json:"headers"`    // strings, numbers, booleans
	Cookies    []string                   `json:"cookies"`
	Body       *string                    `json:"body"`
	Base64     bool                       `json:"isBase64Encoded"`
}

// readAnswer understands a function's response. Valid JSON without a status code is itself the body of a 200; a string
// is sent without its quotes. It fails with errMalformed.
func readAnswer(payload []byte) (answer, error) {
	if !json.Valid(payload) {
		return answer{}, fmt.Errorf("%w: not JSON: %.200q", errMalformed, payload)
	}
	if !hasStatus(payload) {
		return inferred(payload), nil
	}
	var r response
	if err := json.Unmarshal(payload, &r); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	status, err := strconv.Atoi(scalar(r.StatusCode))
	if err != nil || status < 200 || status > 599 {
		return answer{}, fmt.Errorf("%w: status code %.20s", errMalformed, r.StatusCode)
	}
	a := answer{status: status, headers: map[string]string{"Content-Type": defaultType}, cookies: r.Cookies}
	for name, value := range r.Headers {
		if len(value) > 0 && (value[0] == '{' || value[0] == '[') {
			return answer{}, fmt.Errorf("%w: header %.50q is no text", errMalformed, name)
		}
		a.headers[http.CanonicalHeaderKey(name)] = scalar(value)
	}
	if r.Body != nil {
		a.body = []byte(*r.Body)
	}
	if r.Base64 {
		if a.body, err = base64.StdEncoding.DecodeString(string(a.body)); err != nil {
			return answer{}, fmt.Errorf("%w: its body is not base64: %w", errMalformed, err)
		}
	}
	return a, nil
}

// hasStatus reports whether the payload is an object with a status code.
func hasStatus(payload []byte) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(payload), []byte("{")) {
		return false
	}
	var status struct {
		StatusCode json.RawMessage `json:"statusCode"`
	}
	return json.Unmarshal(payload, &status) == nil && status.StatusCode != nil
}

// inferred is the answer when the function gave only a body.
func inferred(payload []byte) answer {
	body := payload
	var text string
	if json.Unmarshal(payload, &text) == nil && !bytes.Equal(bytes.TrimSpace(payload), []byte("null")) {
		body = []byte(text)
	}
	return answer{status: http.StatusOK, headers: map[string]string{"Content-Type": "application/json"}, body: body}
}

// scalar is a JSON string without its quotes; other values as they are written.
func scalar(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil && !bytes.Equal(value, []byte("null")) {
		return text
	}
	return string(value)
}

func (a answer) send(w http.ResponseWriter) {
	h := w.Header()
	for name, value := range a.headers {
		switch name {
		// these are the gateway's to say
		case "Content-Length", "Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Trailer":
		default:
			h.Set(name, value)
		}
	}
	for _, cookie := range a.cookies {
		h.Add("Set-Cookie", cookie)
	}
	w.WriteHeader(a.status)
	_, _ = io.Copy(w, bytes.NewReader(a.body)) // a client that left is no error
}
