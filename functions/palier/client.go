package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/palier-ota/palier/internal/admin"
)

// errUnreachable marks every error that says that no Palier server answered.
var errUnreachable = errors.New("no Palier server answers")

// unreachable is an errUnreachable in the words of its case.
type unreachable string

func (e unreachable) Error() string        { return string(e) }
func (e unreachable) Is(target error) bool { return target == errUnreachable }

const (
	defaultListen = "127.0.0.1:8787"
	defaultData   = ".palier"
)

// connection is how commands reach a server: its address, a token, and how to print.
type connection struct {
	server string
	token  string
	data   string
	json   bool

	answered atomic.Int64 // the server's clock at its latest answer, in Unix seconds
}

func (c *connection) flags(f *pflag.FlagSet) {
	f.StringVar(&c.server, "server", envOr("PALIER_SERVER", "http://"+defaultListen), "address of the server [$PALIER_SERVER]")
	f.StringVar(&c.token, "token", "", "access token [$PALIER_TOKEN, else the one that a local server stored under --data]")
	f.StringVar(&c.data, "data", envOr("PALIER_DATA", defaultData), "data directory of a local server [$PALIER_DATA]")
	f.BoolVar(&c.json, "json", false, "print JSON for scripts")
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// secret returns the token to send, or an error that says where one comes from.
func (c *connection) secret() (string, error) {
	if c.token != "" {
		return c.token, nil
	}
	if v := os.Getenv("PALIER_TOKEN"); v != "" {
		return v, nil
	}
	raw, err := os.ReadFile(filepath.Join(c.data, tokenFile))
	if err != nil {
		return "", fmt.Errorf("no access token: set PALIER_TOKEN, or pass --token, or --data DIR where `palier serve` keeps its data (looked in %s)", c.data)
	}
	return strings.TrimSpace(string(raw)), nil
}

// apiError is a refusal by the server.
type apiError struct {
	Status  int             `json:"-"`
	Code    string          `json:"error"`
	Message string          `json:"message"`
	Details []admin.Problem `json:"details,omitempty"`
}

// Error is one line when one thing is wrong; else a line, and one more for each detail.
func (e *apiError) Error() string {
	if len(e.Details) == 1 {
		return fmt.Sprintf("%s (%s)", located(e.Details[0]), e.Code)
	}
	text := e.Message
	if len(e.Details) > 0 && strings.Contains(text, e.Details[0].Message) { // do not say the first one twice
		text = fmt.Sprintf("%d things are wrong", len(e.Details))
	}
	text += " (" + e.Code + ")"
	for _, d := range e.Details {
		text += "\n  - " + located(d)
	}
	return text
}

// asAnswered returns a refusal of the server's own reader, used here, as the server would have answered it.
func asAnswered(err error) error {
	var refused *admin.Error
	if !errors.As(err, &refused) {
		return err
	}
	return &apiError{Code: refused.Code, Message: refused.Message, Details: refused.Details}
}

func located(p admin.Problem) string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// printError tells a person what went wrong, or a script: as the server's error document, or as one of the same shape.
func printError(w io.Writer, err error, asJSON bool) {
	if !asJSON {
		fmt.Fprintln(w, "palier:", err)
		return
	}
	document := &apiError{Code: "failed", Message: err.Error()}
	switch usage := (usageError{}); {
	case errors.As(err, &document):
	case errors.As(err, &usage):
		document.Code = "usage"
	case errors.Is(err, errUnreachable):
		document.Code = "unreachable"
	}
	_ = printJSON(w, document) // an output that is gone cannot be told so
}

// address is where the server is, with a scheme.
func (c *connection) address() string {
	address := strings.TrimRight(c.server, "/")
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return address
}

// call sends one request to the operator API and decodes the answer into out, unless out is nil.
func (c *connection) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	res, raw, err := c.exchange(ctx, method, "/api/v1"+path, contentType, body)
	if err != nil {
		return err
	}
	return c.read(res, raw, out)
}

// exchange sends one request to the server and returns the answer with its whole body.
func (c *connection) exchange(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, []byte, error) {
	secret, err := c.secret()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.address()+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("server address %q: %w", c.server, err)}
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, c.silent(ctx, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer of %s: %w", c.address(), err)
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		c.answered.Store(date.Unix())
	}
	return res, raw, nil
}

// silent says why there was no answer.
func (c *connection) silent(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	cause := err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	return unreachable(fmt.Sprintf("%v at %s (%v); is `palier serve` running? set --server or PALIER_SERVER", errUnreachable, c.address(), cause))
}

// read decodes an answer, or turns it into an error.
func (c *connection) read(res *http.Response, raw []byte, out any) error {
	stranger := c.stranger(res)
	if res.StatusCode >= 400 {
		refusal := &apiError{Status: res.StatusCode}
		if json.Unmarshal(raw, refusal) != nil || refusal.Code == "" {
			return stranger
		}
		return refusal
	}
	if len(raw) > 0 && !json.Valid(raw) {
		return stranger
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what this palier understands: %w", c.address(), err)
	}
	return nil
}

// stranger says that what answered is no Palier.
func (c *connection) stranger(res *http.Response) error {
	return unreachable(fmt.Sprintf("%s is not a Palier server (it answered %s); set --server or PALIER_SERVER", c.address(), res.Status))
}

// now is the server's clock at its latest answer: ages are told by the clock that set the times.
func (c *connection) now() time.Time { return time.Unix(c.answered.Load(), 0) }

// get is call for reading.
func (c *connection) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, "", nil, out)
}

// send is call with a JSON body.
func (c *connection) send(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	return c.call(ctx, method, path, "application/json", body, out)
}

func appPath(app string, more ...string) string {
	p := "/apps/" + url.PathEscape(app)
	for _, m := range more {
		p += "/" + url.PathEscape(m)
	}
	return p
}

// printJSON writes v for scripts.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
