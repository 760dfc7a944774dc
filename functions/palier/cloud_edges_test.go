package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/seal"
)

// edgeClient speaks to a server as an edge does.
type edgeClient struct {
	url, token string
}

// newEdgeClient makes a token for an edge.
func newEdgeClient(t *testing.T, c *cloud) edgeClient {
	t.Helper()
	var made admin.NewTokenView
	must(t, c.operator().send(t.Context(), http.MethodPost, "/tokens", map[string]string{"name": "edge", "role": "edge"}, &made))
	return edgeClient{c.url(), made.Token}
}

// do sends a request that must be answered 200, and returns the answer.
func (e edgeClient) do(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.url+path, bytes.NewReader(body))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+e.token)
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, answer)
	}
	return answer
}

// fetch fetches the test app's Snapshot.
func (e edgeClient) fetch(t *testing.T) {
	t.Helper()
	if h, _, ok := seal.Read(e.do(t, http.MethodGet, "/snapshots/"+testApp, nil)); !ok || h.App != testApp {
		t.Errorf("%+v %t", h, ok)
	}
}

// relay hands over what devices reported and agreed to, and a check; all of it must be taken.
func (e edgeClient) relay(t *testing.T) {
	t.Helper()
	type forwarded struct {
		Path string `json:"path"`
		Body string `json:"body"`
	}
	asked, unsure := newDevice(), newDevice()
	batch := map[string]any{
		"checks": []json.RawMessage{json.RawMessage(fmt.Sprintf(
			`{"app":%q,"device":"00000000000000ff","version":"1.0.0","platform":"ios","rollout":"01R","phase":0,"arm":"control","candidate":false,"age":1}`, testApp))},
		"requests": []forwarded{
			{"/stats", string(report(newDevice()))}, {"/stats", strings.Replace(string(report(newDevice())), "app_crash", "update_fail", 1)},
			{"/telemetry", consent(asked, true)}, {"/telemetry", consent(asked, false)}, {"/telemetry", consent(unsure, true, false)},
		},
	}
	body, err := json.Marshal(batch)
	must(t, err)
	var out struct {
		Checks  struct{ Taken bool }
		Answers []struct {
			Status int
			Body   string
		}
	}
	answer := e.do(t, http.MethodPost, "/relay", body)
	must(t, json.Unmarshal(answer, &out))
	if !out.Checks.Taken || len(out.Answers) != 5 {
		t.Fatalf("%s", answer)
	}
	for i, a := range out.Answers {
		if a.Status != http.StatusOK {
			t.Errorf("request %d: %d %s", i, a.Status, a.Body)
		}
	}
}

// toldEdge is an edge that is told of changes.
type toldEdge struct {
	*httptest.Server
	mu   sync.Mutex
	told [][]byte
}

func newToldEdge(t *testing.T) *toldEdge {
	t.Helper()
	e := &toldEdge{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sealed, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPut || r.URL.Path != "/snapshots/"+testApp {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told = append(e.told, sealed)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(e.Close)
	return e
}

// check holds that the edge was told of every kind of change, with Snapshots that the server's key signed.
func (e *toldEdge) check(t *testing.T, c *cloud) {
	t.Helper()
	var keys admin.KeysView
	must(t, c.operator().get(t.Context(), "/keys", &keys))
	key, ok := seal.ParseKey(keys.Current.Key)
	if !ok {
		t.Fatalf("%+v", keys)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	running, completed := false, false
	for _, sealed := range e.told {
		_, spec, ok := seal.Read(sealed)
		if !ok || !seal.Verify(sealed, []seal.Key{key}) {
			t.Fatalf("the edge was sent %.200q", sealed)
		}
		if bytes.Contains(spec, []byte(`"rollouts":[{`)) {
			running = true
		} else if running {
			completed = true
		}
	}
	if !running || !completed {
		t.Errorf("the edge was told %d times: of the rollout's start %t, of its completion %t", len(e.told), running, completed)
	}
}
