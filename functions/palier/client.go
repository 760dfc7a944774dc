package main

import (
	"bytes"
	"cmp"
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
	"time"

	"github.com/spf13/pflag"

	"github.com/palier-ota/palier/internal/admin"
)

// errUnreachable says that no server answered.
var errUnreachable = errors.New("no Palier server answered")

const (
	defaultListen = "127.0.0.1:8787"
	defaultData   = ".palier"
	tokenFile     = "token"
)

// connection is how commands reach a server: its address, a token, and how to print.
type connection struct {
	server string
	token  string
	data   string
	json   bool
}

func (c *connection) flags(f *pflag.FlagSet) {
	f.StringVar(&c.server, "server", envOr("PALIER_SERVER", "http://"+defaultListen), "address of the server [$PALIER_SERVER]")
	f.StringVar(&c.token, "token", "", "access token [$PALIER_TOKEN, else the one a local `serve` stored]")
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
		return "", fmt.Errorf("no access token: set PALIER_TOKEN, pass --token, or run where `palier serve` keeps its data (%s)", c.data)
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

func (e *apiError) Error() string {
	text := fmt.Sprintf("%s (%s)", e.Message, e.Code)
	for _, d := range e.Details {
		text += fmt.Sprintf("\n  - %s: %s", cmp.Or(d.Path, "document"), d.Message)
	}
	return text
}

// call sends one request to the operator API and decodes the answer into out, unless out is nil.
func (c *connection) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.server, "/")+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return usageError{fmt.Errorf("server address %q: %w", c.server, err)}
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w at %s: %w", errUnreachable, c.server, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.server, err)
	}
	if res.StatusCode >= 400 {
		refusal := &apiError{Status: res.StatusCode}
		if json.Unmarshal(raw, refusal) != nil || refusal.Code == "" {
			refusal.Code, refusal.Message = fmt.Sprintf("http_%d", res.StatusCode), strings.TrimSpace(string(raw))
		}
		return refusal
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what this palier understands: %w", c.server, err)
	}
	return nil
}

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
