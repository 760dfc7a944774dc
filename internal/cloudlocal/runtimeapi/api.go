package runtimeapi

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Paths and headers of the Runtime API, version 2018-06-01.
const (
	version = "/2018-06-01/runtime"

	headerRequestID = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline  = "Lambda-Runtime-Deadline-Ms"
	headerARN       = "Lambda-Runtime-Invoked-Function-Arn"
	headerTrace     = "Lambda-Runtime-Trace-Id"

	// headerErrorType is a header of error reports, and a trailer of responses that broke off; headerErrorBody is the
	// trailer with the error document in base64.
	headerErrorType = "Lambda-Runtime-Function-Error-Type"
	headerErrorBody = "Lambda-Runtime-Function-Error-Body"
)

func (s *sandbox) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+version+"/invocation/next", s.next)
	mux.HandleFunc("POST "+version+"/invocation/{id}/response", s.response)
	mux.HandleFunc("POST "+version+"/invocation/{id}/error", s.invocationError)
	mux.HandleFunc("POST "+version+"/init/error", s.initError)
	return mux
}

// next holds the poll until there is an event, and so ends the invocation before.
func (s *sandbox) next(w http.ResponseWriter, r *http.Request) {
	if !s.poll() {
		s.refuseState(w, "Ready")
		return
	}
	select {
	case i := <-s.work:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(i.payload)))
		h.Set(headerRequestID, i.id)
		h.Set(headerDeadline, strconv.FormatInt(i.deadline.UnixMilli(), 10))
		h.Set(headerARN, i.arn)
		h.Set(headerTrace, i.trace)
		_, _ = w.Write(i.payload) // a process that is gone is noticed by its end
	case <-r.Context().Done():
	}
}

// poll notes that the process asks for work; false when it owes an answer first. Asking again, on a new connection, is
// no change.
func (s *sandbox) poll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case starting, responded:
		s.state = polling
		s.polled <- struct{}{}
		return true
	default:
		return s.state == polling
	}
}

func (s *sandbox) response(w http.ResponseWriter, r *http.Request) {
	if !s.claim(w, r) {
		return
	}
	body, err := readAtMost(r, MaxResponseBytes)
	switch {
	case errors.Is(err, errTooLarge):
		s.deliver(failure("Function.ResponseSizeTooLarge", fmt.Sprintf(
			"Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponseBytes)))
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", MaxResponseBytes))
	case err != nil:
		s.deliver(failure("Runtime.TruncatedResponse", "Response payload is truncated"))
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	case r.Trailer.Get(headerErrorType) != "":
		s.deliver(brokenOff(r))
		accept(w)
	default:
		s.deliver(Result{Payload: body})
		accept(w)
	}
}

// brokenOff is the Result of a response whose writer failed midway, which it says in trailers.
func brokenOff(r *http.Request) Result {
	kind := r.Trailer.Get(headerErrorType)
	document, err := base64.StdEncoding.DecodeString(r.Trailer.Get(headerErrorBody))
	if err != nil || len(document) == 0 {
		return failure(kind, "the response broke off")
	}
	return Result{Payload: document, FunctionError: kind}
}

func (s *sandbox) invocationError(w http.ResponseWriter, r *http.Request) {
	if !s.claim(w, r) {
		return
	}
	s.deliver(readError(r))
	accept(w)
}

// initError takes the reason why the process cannot start; it counts only before the first poll.
func (s *sandbox) initError(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	early := s.state == starting
	if early {
		s.state = responding
	}
	s.mu.Unlock()
	if !early {
		s.refuseState(w, "InitError")
		return
	}
	s.deliver(readError(r))
	accept(w)
}

// readError returns the Result that an error report tells of, as it was told.
func readError(r *http.Request) Result {
	body, err := readAtMost(r, MaxResponseBytes)
	if err != nil {
		return failure("Runtime.TruncatedResponse", "the error report could not be read: "+err.Error())
	}
	var document struct {
		ErrorType string `json:"errorType"`
	}
	malformed := json.Unmarshal(body, &document) != nil
	kind := cmp.Or(r.Header.Get(headerErrorType), document.ErrorType, "Unhandled")
	if malformed {
		return failure(kind, string(body))
	}
	return Result{Payload: body, FunctionError: kind}
}

// claim takes the right to answer the current invocation, once; otherwise it refuses the call.
func (s *sandbox) claim(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	owes := s.state == invoked
	mine := owes && s.current.id == r.PathValue("id")
	if mine {
		s.state = responding
	}
	s.mu.Unlock()
	switch {
	case mine:
		return true
	case owes:
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
	default:
		s.refuseState(w, "ResponseSent")
	}
	return false
}

// deliver hands the answer over to whoever waits for it.
func (s *sandbox) deliver(r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = responded
	s.answers <- r
}

func (s *sandbox) refuseState(w http.ResponseWriter, to string) {
	s.mu.Lock()
	from := s.state
	s.mu.Unlock()
	refuse(w, http.StatusForbidden, "InvalidStateTransition",
		fmt.Sprintf("Transition from %s to %s is not allowed", from, to))
}

// accept answers as the API's OpenAPI document says: 202 and a status.
func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

// refuse answers with the API's error document.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(failure(kind, message).Payload)
}

var errTooLarge = errors.New("body too large")

// readAtMost returns the body, or errTooLarge when it is longer than limit bytes.
func readAtMost(r *http.Request, limit int64) ([]byte, error) {
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	if n > limit {
		return nil, errTooLarge
	}
	return body.Bytes(), nil
}
