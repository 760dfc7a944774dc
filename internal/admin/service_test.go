package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

func TestNewNeedsAStore(t *testing.T) {
	if _, err := admin.New(admin.Config{}); err == nil {
		t.Error("a service without a store was made")
	}
}

func TestBootstrap(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	for _, token := range []string{rootToken, rootToken, "chosen-by-the-people"} {
		if err := s.service.Bootstrap(ctx, token); err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		if a := s.do(request{method: "GET", path: "/api/v1/whoami", token: token}); lookup(a.body, "role") != `"admin"` {
			t.Errorf("%s: %s", token, a.body)
		}
	}
	for _, token := range []string{"", "sho", "with space in it", "with\nnewline", strings.Repeat("x", 300)} {
		if err := s.service.Bootstrap(ctx, token); err == nil {
			t.Errorf("%q was taken", token)
		}
	}
	if n := lookup(s.ok("GET", "/api/v1/tokens", "").body, "items#"); n != "2" {
		t.Errorf("%s tokens", n)
	}
}

// TestRevokedFirstTokenStaysRevoked starts the server again with a first token that an admin has revoked since.
func TestRevokedFirstTokenStaysRevoked(t *testing.T) {
	s := newServer(t)
	ctx := context.Background()
	const first = "plr_first-token-of-old"
	if err := s.service.Bootstrap(ctx, first); err != nil {
		t.Fatal(err)
	}
	whoami := request{method: "GET", path: "/api/v1/whoami", token: first}
	var name string
	if err := json.Unmarshal([]byte(lookup(s.do(whoami).body, "name")), &name); err != nil {
		t.Fatal(err)
	}
	s.ok("DELETE", "/api/v1/tokens/"+name, "")
	err := s.service.Bootstrap(ctx, first)
	if err == nil || !strings.Contains(err.Error(), "this token was revoked") || !strings.Contains(err.Error(), "PALIER_TOKEN") {
		t.Errorf("a restart says %v", err)
	}
	if a := s.do(whoami); a.status != http.StatusUnauthorized || lookup(a.body, "error") != `"invalid_token"` {
		t.Errorf("after a restart the revoked token is answered %d %s", a.status, a.body)
	}
}

func TestTokenSecrets(t *testing.T) {
	s := newServer(t)
	seen := map[string]bool{}
	for i := range 20 {
		secret, err := s.service.NewToken(context.Background(), fmt.Sprintf("t%d", i), admin.Viewer, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(secret, "plr_") || len(secret) != len("plr_")+43 || seen[secret] {
			t.Errorf("secret %q is malformed or not new", secret)
		}
		seen[secret] = true
		items, err := s.store.Query(context.Background(), store.Range{PK: "TOKENS"}, store.Strong)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if strings.Contains(string(item.Value), secret) {
				t.Error("the store holds a secret")
			}
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d secrets", len(seen))
	}
}

func TestRoles(t *testing.T) {
	all := []admin.Role{admin.Viewer, admin.Operator, admin.Admin, admin.Edge, "root", ""}
	may := map[admin.Role][]admin.Role{ // who may do what needs the role
		admin.Viewer:   {admin.Viewer, admin.Operator, admin.Admin},
		admin.Operator: {admin.Operator, admin.Admin},
		admin.Admin:    {admin.Admin},
		admin.Edge:     {admin.Edge, admin.Admin},
	}
	for _, needed := range all {
		for _, role := range all {
			if got, want := role.Allows(needed), slices.Contains(may[needed], role); got != want {
				t.Errorf("role %q allows %q: %v, want %v", role, needed, got, want)
			}
		}
	}
}

func TestClearFailedBundle(t *testing.T) {
	s := newServer(t)
	const device = "00009a6b-eefe-490a-9c60-8e965132ae51"
	s.ok("PUT", shop, `{"bundles":[{"version":"1.4.0"}]}`)
	err := store.Devices{Store: s.store}.Update(context.Background(), "com.example.shop", device, func(f *resolve.Facts) bool {
		f.Failed = []string{"1.3.0", "1.4.0"}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	view := func() string { return s.ok("GET", shop+"/devices/"+device, "").body }
	if got := lookup(view(), "failed"); got != `["1.3.0","1.4.0"]` {
		t.Errorf("failed: %s", got)
	}
	path := shop + "/devices/" + strings.ToUpper(device) + "/failed/1.4.0"
	s.ok("DELETE", path, "")
	if got := lookup(view(), "failed"); got != `["1.3.0"]` {
		t.Errorf("failed after clearing: %s", got)
	}
	if a := s.do(request{method: "DELETE", path: path}); a.status != 404 {
		t.Errorf("clearing twice: %d %s", a.status, a.body)
	}
	events := s.ok("GET", shop+"/events?limit=1", "").body
	if lookup(events, "items[0].verb") != `"clear_failed"` || lookup(events, "items[0].detail.bundle") != `"1.4.0"` {
		t.Errorf("the log says %s", events)
	}
}

// TestMetrics counts a little by hand and looks for it in the answer.
func TestMetrics(t *testing.T) {
	s := newServer(t)
	s.ok("PUT", shop, `{"bundles":[{"version":"1.3.0"},{"version":"1.4.0"}],"channels":[{"name":"production","bundle":"1.3.0"}]}`)
	var started struct{ ID string }
	if err := json.Unmarshal([]byte(s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.4.0","plan":{"phases":[{"name":"few","percent":10},{"percent":100}]}}`).body), &started); err != nil {
		t.Fatal(err)
	}
	hour := s.clock.now().Unix() / 3600
	tally := func(devices, adopted, crashes int64) telemetry.Tally {
		c := judge.Counts{Devices: devices, Adopted: adopted}
		c.Events[rollout.Crash.Index()] = crashes
		return telemetry.Tally{Counts: c}
	}
	for i, shard := range []string{"a", "b"} {
		fold := store.Fold{App: "com.example.shop", Rollout: started.ID, Newest: s.clock.now().UnixMilli() + int64(i), Tallies: map[telemetry.TallyKey]telemetry.Tally{
			{Phase: 0, Hour: hour, Arm: rollout.ArmCandidate}:     tally(10, 4, 1),
			{Phase: 0, Hour: hour, Arm: rollout.ArmControl}:       tally(90, 0, 2),
			{Phase: 0, Hour: hour + 2, Arm: rollout.ArmCandidate}: tally(5, 6, 0),
		}}
		if _, err := (store.Shard{Store: s.store, Stream: "s", Name: shard}).Commit(context.Background(), store.Checkpoint{}, store.Checkpoint{Position: "1"}, fold); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.advance(3 * time.Hour)
	body := s.ok("GET", shop+"/rollouts/"+started.ID+"/metrics", "").body
	for path, want := range map[string]string{
		"rollout.phase_name":             `"few"`,
		"rollout.held":                   `"3h"`,
		"arms.candidate.devices":         "30",
		"arms.candidate.adopted":         "20",
		"arms.candidate.events.crash":    "2",
		"arms.control.devices":           "180",
		"arms.control.events.crash":      "4",
		"strata#":                        "1",
		"strata[0].name":                 `"few"`,
		"strata[0].candidate.devices":    "30",
		"strata[0].control.events.crash": "4",
		"adoption#":                      "2",
		"adoption[0]":                    `{"adopted":8,"devices":20,"hour":"2025-03-01T09:00:00Z"}`,
		"adoption[1]":                    `{"adopted":20,"devices":30,"hour":"2025-03-01T11:00:00Z"}`,
		"newest":                         `"2025-03-01T09:00:00.001Z"`,
		"verdict.candidate_devices":      "30",
		"verdict.control_devices":        "180",
	} {
		if got := lookup(body, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if lookup(body, "verdict.metrics#") == "0" {
		t.Error("the verdict has no evidence")
	}
}

// TestSecretsStayInside looks through everything that the API shows and the log for what must never leave the server.
func TestSecretsStayInside(t *testing.T) {
	s := newServer(t)
	var log bytes.Buffer
	broken := &faulty{Store: s.store, err: store.ErrUnavailable}
	logged, err := admin.New(admin.Config{Store: broken, Now: s.clock.now, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	client := &handlerClient{handler: logged.Handler()}
	s.ok("PUT", shop, `{"bundles":[{"version":"1.3.0"},{"version":"1.4.0"},{"version":"1.5.0"}],"channels":[{"name":"production","bundle":"1.3.0","public":true}]}`)
	var id struct{ ID string }
	if err := json.Unmarshal([]byte(s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.4.0"}`).body), &id); err != nil {
		t.Fatal(err)
	}
	s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.5.0","hotfix":true}`)
	broken.writes.Store(1)
	if status, text := client.do("PUT", shop, "application/json", `{"name":"x"}`); status != 503 {
		t.Fatalf("answered %d %s", status, text)
	}
	client.do("PUT", shop, "application/json", `{"nam":"x"}`)

	shown := s.everything() + log.String()
	for _, path := range []string{
		"/rollouts/" + id.ID, "/rollouts/" + id.ID + "/metrics", "/events", "/channels", "/bundles",
		"/explain?device_id=00009a6b-eefe-490a-9c60-8e965132ae51",
	} {
		shown += s.ok("GET", shop+path, "").body
	}
	state, err := store.Apps{Store: s.store}.Load(context.Background(), "com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Rollouts) != 2 {
		t.Fatalf("%d rollouts", len(state.Rollouts))
	}
	for _, r := range state.Rollouts {
		salt, err := r.Salt.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(shown, strings.Trim(string(salt), `"`)) {
			t.Errorf("the salt of rollout %s is shown", r.ID)
		}
	}
	if strings.Contains(shown, rootToken) {
		t.Error("a token is shown")
	}
	if !strings.Contains(log.String(), "call failed") {
		t.Errorf("the server's own failure left no trace in its log: %q", log.String())
	}
}
