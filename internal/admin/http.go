package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// exchange is huma.Context under a name that does not hide its method Context when it is embedded.
type exchange huma.Context

// reply stands between huma and the response, so that what huma itself refuses leaves with this API's status and content
// type. Huma offers a package variable for that, which would be shared by everything in the process.
type reply struct {
	exchange
	status int // replaces huma's when not 0
}

// SetStatus sends the status.
func (r *reply) SetStatus(code int) {
	if r.status != 0 {
		code = r.status
	}
	r.exchange.SetStatus(code)
}

// SetHeader sets a response header.
func (r *reply) SetHeader(name, value string) {
	if name == "Content-Type" {
		value = strings.Replace(value, "application/problem+", "application/", 1)
	}
	r.exchange.SetHeader(name, value)
}

// translate is a huma.Transformer that turns huma's own errors into Errors.
func translate(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	e := fromHuma(model)
	if r, ok := ctx.(*reply); ok {
		r.status = e.status
	}
	return e, nil
}

func fromHuma(model *huma.ErrorModel) *Error {
	var problems []Problem
	for _, d := range model.Errors {
		problems = append(problems, Problem{Path: d.Location, Message: clip(d.Message)})
	}
	switch model.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if len(problems) == 0 {
			return malformed(errors.New(model.Detail))
		}
		return invalid(CodeInvalidParameter, "the request", problems, len(problems))
	case http.StatusRequestEntityTooLarge:
		return refuse(model.Status, CodeTooLarge, "the body is too large (%s): send less, or split the document and apply the parts in turn", model.Detail)
	case http.StatusRequestTimeout:
		return refuse(model.Status, CodeRequestTimeout, "the body did not arrive in time: send it again")
	}
	if model.Detail == "cannot read request body" {
		return malformed(errors.New("it did not arrive whole"))
	}
	return refuse(http.StatusInternalServerError, CodeInternal, "something went wrong on the server: its log has the cause")
}

// writeError answers with e outside of huma.
func writeError(w http.ResponseWriter, e *Error) {
	for name, values := range e.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e) // the caller is gone; there is nobody left to tell
}

// contentTypeKey is where guard leaves the request's content type for the calls that parse their own bodies.
type contentTypeKey struct{}

func contentType(ctx context.Context) string {
	text, _ := ctx.Value(contentTypeKey{}).(string)
	return text
}

// needed returns the role for this request. Whether it is a dry run is read as the call itself will read it.
func (c call) needed(ctx huma.Context) Role {
	if dry, err := strconv.ParseBool(ctx.Query("dry_run")); c.dryRun && err == nil && dry {
		return Viewer
	}
	return c.role
}

// guard lets a request through when its token may make the call, and gives it a deadline.
func (s *Service) guard(asked call) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c, cancel := context.WithTimeout(ctx.Context(), s.deadline)
		defer cancel()
		_, w := humago.Unwrap(ctx)
		principal, err := s.admit(c, ctx.RemoteAddr(), ctx.Header("Authorization"))
		if err == nil {
			err = authorize(principal, asked.needed(ctx), ctx.Param("app"))
		}
		if err != nil {
			writeError(w, s.answer(c, ctx.Operation().OperationID, err))
			return
		}
		c = context.WithValue(c, principalKey{}, principal)
		c = context.WithValue(c, contentTypeKey{}, ctx.Header("Content-Type"))
		next(&reply{exchange: huma.WithContext(ctx, c)})
	}
}

// admit authenticates a caller, and slows down who keeps failing. A good token is let in whatever came from its address
// before: behind a proxy all callers share one, and a stranger must not be able to lock the operators out.
func (s *Service) admit(ctx context.Context, remote, authorization string) (Principal, error) {
	principal, err := s.Authenticate(ctx, authorization)
	var refused *Error
	if !errors.As(err, &refused) || refused.Code == CodeMissingToken {
		return principal, err
	}
	if tooMany := s.door.failed(remoteHost(remote), s.now()); tooMany != nil {
		return Principal{}, tooMany
	}
	return Principal{}, err
}

// answer turns err into what the caller is told, and logs what is the server's own fault.
func (s *Service) answer(ctx context.Context, operation string, err error) *Error {
	e, expected := failure(err)
	if !expected {
		s.log.ErrorContext(ctx, "call failed", "operation", operation, "error", err)
	}
	return e
}

// outside wraps the router with what it does not do itself: answers in this API's form when there is no such address or
// method, and one when a call panics.
func (s *Service) outside(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == http.ErrAbortHandler {
				panic(cause) // net/http's own way to drop a connection
			}
			if cause != nil {
				s.log.ErrorContext(r.Context(), "call panicked", "method", r.Method, "cause", cause, "stack", string(debug.Stack()))
				writeError(w, refuse(http.StatusInternalServerError, CodeInternal, "something went wrong on the server: its log has the cause"))
			}
		}()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refusal := &discard{header: http.Header{}}
		mux.ServeHTTP(refusal, r)
		if refusal.status == http.StatusMethodNotAllowed {
			allow := refusal.header.Get("Allow")
			e := refuse(refusal.status, CodeMethodNotAllowed, "%s is not possible here: use %s", clip(r.Method), allow)
			e.header = http.Header{"Allow": {allow}}
			writeError(w, e)
			return
		}
		writeError(w, refuse(http.StatusNotFound, CodeNotFound, "there is no such address: GET /api/v1/openapi.json describes those there are"))
	})
}

// discard keeps the status and headers of a response and drops its body.
type discard struct {
	header http.Header
	status int
}

// Header returns the headers to fill.
func (d *discard) Header() http.Header { return d.header }

// Write drops the bytes.
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader keeps the status.
func (d *discard) WriteHeader(status int) { d.status = status }

// formats are the content types of answers: JSON, and YAML for those who ask with Accept: application/yaml.
func formats() map[string]huma.Format {
	return map[string]huma.Format{
		"application/json": huma.DefaultJSONFormat,
		"json":             huma.DefaultJSONFormat, // what huma calls its own errors, before reply renames them
		"application/yaml": {Marshal: marshalYAML, Unmarshal: json.Unmarshal},
	}
}
