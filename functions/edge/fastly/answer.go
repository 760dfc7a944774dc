//go:build wasip1

package main

import (
	"errors"
	"io"
	"strconv"

	"github.com/fastly/compute-sdk-go/fsthttp"

	"github.com/palier-ota/palier/internal/capgo"
)

// answer is what somebody gets.
type answer struct {
	status     int
	body       []byte
	retryAfter int            // seconds; 0 is no header
	header     fsthttp.Header // of the origin's answer; nil if it is the edge's own, which is JSON
}

// refused returns the protocol's answer to what gets no decision.
func refused(r *capgo.Refusal) answer {
	return answer{status: r.Status, body: r.Append(nil), retryAfter: r.RetryAfter}
}

// refusal is an answer for operators and origins, in the words of the operators' API.
func refusal(status int, code, message string) answer {
	return answer{status: status, body: []byte(`{"error":` + strconv.Quote(code) + `,"message":` + strconv.Quote(message) + `}`)}
}

// own returns the headers of an answer of the edge itself, with one more.
func own(name, value string) fsthttp.Header {
	return fsthttp.Header{"Content-Type": {capgo.ContentType}, name: {value}}
}

// send sends the answer to a request for a path. Pages of any origin may send telemetry and read what is answered, as at the
// origin: device.CrossOrigin.
func (a answer) send(w fsthttp.ResponseWriter, path string) {
	header := w.Header()
	if a.header != nil {
		copyHeader(header, a.header)
	} else if a.status != fsthttp.StatusNoContent {
		header.Set("Content-Type", capgo.ContentType)
	}
	if path == "/telemetry" && a.header == nil {
		header.Set("Access-Control-Allow-Origin", "*")
		header.Set("Access-Control-Allow-Methods", "POST")
		header.Set("Access-Control-Allow-Headers", "Content-Type")
		header.Set("Access-Control-Expose-Headers", "Retry-After")
		header.Set("Access-Control-Max-Age", "86400")
	}
	if a.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // whoever hung up needs no answer
}

var (
	errTooLarge = errors.New("it is too large")
	errBroken   = errors.New("it broke off")
)

// bodyOf reads a request's body, unless it has, or says that it has, more than limit bytes. Its errors are errTooLarge and
// errBroken.
func bodyOf(r *fsthttp.Request, limit int) ([]byte, error) {
	if announced, err := strconv.ParseUint(r.Header.Get("Content-Length"), 10, 64); err == nil && announced > uint64(limit) {
		return nil, errTooLarge
	}
	return readBody(r.Body, limit)
}

func readBody(from io.Reader, limit int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, int64(limit)+1))
	switch {
	case err != nil:
		return nil, errBroken
	case len(body) > limit:
		return nil, errTooLarge
	}
	return body, nil
}

// badBody is the origin's answer to a device whose body bodyOf could not read.
func badBody(err error, limit int) answer {
	if errors.Is(err, errTooLarge) {
		return refused(capgo.TooLarge(limit))
	}
	return refused(&capgo.Refusal{Status: capgo.StatusBadRequest, Code: capgo.CodeParse, Message: "the body did not arrive whole"})
}
