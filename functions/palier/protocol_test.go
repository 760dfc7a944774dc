package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/capgo/capgotest"
	"github.com/palier-ota/palier/internal/rollout"
)

// TestProtocolOverHTTP plays every recorded case against a served process: the app is set up through the operator API,
// the request is sent as a device sends it.
func TestProtocolOverHTTP(t *testing.T) {
	cases, err := capgotest.Load("../../testdata/protocol/cases.jsonl")
	must(t, err)
	if len(cases) < 104 {
		t.Fatalf("only %d cases: the file is not whole", len(cases))
	}
	s := startServer(t, 1)
	playCases(t, s.operator(), cases)
}

// playCases plays every case against the server that the operator is connected to.
func playCases(t *testing.T, operator *connection, cases []capgotest.Case) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			setUp(t, operator, c)
			url := operator.server + c.Path()
			if q := c.Query(); q != "" {
				url += "?" + q
			}
			status, header, body := request(t, c.Method, url, c.Body())
			if err := c.Check(status, body); err != nil {
				t.Errorf("%v\nrequest: %s\nanswer: %d %s", err, c.Body(), status, body)
			}
			checkWire(t, status, header, body)
		})
	}
}

// setUp makes the case's app anew, through the operator API alone.
func setUp(t *testing.T, c *connection, tc capgotest.Case) {
	t.Helper()
	state, err := tc.State()
	must(t, err)
	app := state.App.ID
	rollouts, _ := c.rollouts(t.Context(), app)
	for _, r := range rollouts {
		if r.State.Live() {
			must(t, c.send(t.Context(), http.MethodPost, appPath(app, "rollouts", r.ID, "halt"), map[string]string{}, nil))
		}
	}
	if err := c.call(t.Context(), http.MethodDelete, appPath(app), "", nil, nil); err != nil && err.(*apiError).Status != http.StatusNotFound {
		t.Fatal(err)
	}
	document := map[string]any{
		"app": app, "name": state.App.Name,
		"expose_metadata": state.App.ExposeMetadata, "allow_device_custom_id": state.App.AllowDeviceCustomID,
		"bundles":  sorted(state.Bundles),
		"channels": slices.SortedFunc(maps.Values(state.Channels), func(a, b rollout.Channel) int { return cmp.Compare(a.Number, b.Number) }),
		"devices":  sorted(state.Devices),
	}
	must(t, c.send(t.Context(), http.MethodPut, appPath(app), document, nil))
	for _, r := range state.Rollouts {
		var started admin.RolloutView
		plan := rollout.Plan{Phases: []rollout.Phase{r.Plan.Phases[0]}}
		must(t, c.send(t.Context(), http.MethodPost, appPath(app, "rollouts"), map[string]any{
			"channel": r.Channel, "bundle": r.Bundle, "plan": plan,
		}, &started))
		if r.State == rollout.Paused {
			must(t, c.send(t.Context(), http.MethodPost, appPath(app, "rollouts", started.ID, "pause"), map[string]string{}, nil))
		}
	}
}

func sorted[V any](m map[string]V) []V {
	list := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

// checkWire holds what every answer to a device must be, whatever it says.
func checkWire(t *testing.T, status int, header http.Header, body []byte) {
	t.Helper()
	if !json.Valid(body) {
		t.Errorf("answer is not JSON: %q", body)
	}
	if got := header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if status >= 500 {
		t.Errorf("status %d", status)
	}
	if retry, err := strconv.Atoi(header.Get("Retry-After")); status == http.StatusTooManyRequests && (err != nil || retry <= 0) {
		t.Errorf("429 with Retry-After %q", header.Get("Retry-After"))
	}
	var answer map[string]any
	if json.Unmarshal(body, &answer) == nil && answer["url"] != nil {
		for _, forbidden := range []string{"error", "kind", "message"} {
			if _, ok := answer[forbidden]; ok {
				t.Errorf("an offer must not have %q: %s", forbidden, body)
			}
		}
	}
}

// TestPluginPayloads sends what real plugins send; all of it is taken.
func TestPluginPayloads(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/protocol/payloads.json")
	must(t, err)
	var payloads []struct {
		Name, Method, Path string
		Body               json.RawMessage
		Query              map[string]string
	}
	must(t, json.Unmarshal(raw, &payloads))
	s := startServer(t, 1)
	document := `{"app":"com.example.shop","bundles":[{"version":"4.0.2","url":"https://cdn.example.com/4.0.2.zip","checksum":"c"},
		{"version":"3.2.4","url":"https://cdn.example.com/3.2.4.zip","checksum":"c"},{"version":"3.2.3","url":"https://cdn.example.com/3.2.3.zip","checksum":"c"}],
		"channels":[{"name":"production","bundle":"4.0.2","public":true},{"name":"beta","bundle":"4.0.2","allow_device_self_set":true}]}`
	must(t, s.operator().call(t.Context(), http.MethodPut, appPath("com.example.shop"), "application/json", []byte(document), nil))
	paths := map[string]string{
		"<updateUrl>": "/updates", "<statsUrl>": "/stats", "<channelUrl>": "/channel_self", "<updateUrl>/manifest_size": "/updates/manifest_size",
	}
	for _, p := range payloads {
		t.Run(p.Name, func(t *testing.T) {
			c := capgotest.Case{Request: capgotest.Request{Params: p.Query}}
			status, header, body := request(t, p.Method, s.url()+paths[p.Path]+"?"+c.Query(), p.Body)
			if status != http.StatusOK || bytes.Contains(body, []byte(`"status":"error"`)) || bytes.Contains(body, []byte("invalid_")) {
				t.Errorf("%d %s", status, body)
			}
			checkWire(t, status, header, body)
		})
	}
}
