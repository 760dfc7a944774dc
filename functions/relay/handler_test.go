package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
)

var _ lambda.Handler = (*handler)(nil)

const (
	shop      = "com.example.shop"
	edgeToken = "plr_edge-token-of-the-tests"
)

// configured returns what the function stands on: real engines with an app and an edge's token.
func configured(t *testing.T) (relay.Config, *streamsqlite.Stream) {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
	db, err := storesqlite.Open(filepath.Join(t.TempDir(), "palier.db"), storesqlite.Options{Now: now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := streamsqlite.Open(filepath.Join(t.TempDir(), "telemetry.db"), streamsqlite.Options{Now: now, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	apps, silent := store.Apps{Store: db, NewID: store.NewULID(rand.Reader)}, slog.New(slog.DiscardHandler)
	devices := device.New(device.Config{Apps: apps, Devices: store.Devices{Store: db}, Stream: log, Now: now, Log: silent, Frozen: true})
	t.Cleanup(func() {
		devices.Close()
		if err := errors.Join(log.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := apps.Commit(t.Context(), rollout.State{}, rollout.State{App: rollout.NewApp(shop)}, nil); err != nil {
		t.Fatal(err)
	}
	tokens := store.Tokens{Store: db}
	if err := tokens.Create(t.Context(), store.Token{Name: "edge", Role: store.RoleEdge}, sha256.Sum256([]byte(edgeToken))); err != nil {
		t.Fatal(err)
	}
	return relay.Config{Apps: apps, Tokens: tokens, Keys: store.Keys{Store: db, Now: now}, Devices: devices, Now: now, Real: now, Log: silent}, log
}

// ask sends the handler an event as API Gateway does.
func ask(t *testing.T, h *handler, method, path, body string, headers map[string]string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	r := gatewaytest.Request(method, path, body)
	r.Headers = headers
	return gatewaytest.Invoke(t, h, r)
}

// TestSameAnswersAsOverHTTP asks a function and a server on the same store.
func TestSameAnswersAsOverHTTP(t *testing.T) {
	config, _ := configured(t)
	h, server := newHandler(config), relay.New(config).Handler()
	authorized := map[string]string{"authorization": "Bearer " + edgeToken}
	tag := fmt.Sprintf(`"1-%d"`, config.Now().Unix())
	for _, c := range []struct {
		method, path, body string
		headers            map[string]string
		status             int
	}{
		{"GET", "/snapshots/" + shop, "", authorized, 200},
		{"GET", "/snapshots/" + shop, "", map[string]string{"authorization": "Bearer " + edgeToken, "if-none-match": tag}, 304},
		{"GET", "/snapshots/" + shop, "", nil, 401},
		{"GET", "/snapshots/com.example.none", "", authorized, 404},
		{"POST", "/relay", `{"requests":[{"path":"/stats","body":"{}"},{"path":"/telemetry","body":"[]"}]}`, authorized, 200},
		{"POST", "/relay", `{"requests":[{"path":"/updates","body":"{}"}]}`, authorized, 400},
		{"POST", "/relay", strings.Repeat(" ", relay.MaxBytes+1), authorized, 413},
		{"GET", "/relay", "", authorized, 405},
		{"GET", "/updates", "", authorized, 404},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, r)
		a := ask(t, h, c.method, c.path, c.body, c.headers)
		if a.StatusCode != c.status || rec.Code != c.status || a.Body != rec.Body.String() || a.IsBase64Encoded {
			t.Errorf("%s %s: %d %s, over HTTP %d %s, want %d", c.method, c.path, a.StatusCode, a.Body, rec.Code, rec.Body, c.status)
		}
		for name := range rec.Header() {
			if a.Headers[name] != rec.Header().Get(name) {
				t.Errorf("%s %s: header %s is %q, over HTTP %q", c.method, c.path, name, a.Headers[name], rec.Header().Get(name))
			}
		}
		if c.status == http.StatusOK && c.method == http.MethodGet {
			if _, _, ok := seal.Read([]byte(a.Body)); !ok {
				t.Errorf("no snapshot: %s", a.Body)
			}
		}
	}
}

// TestChecksRestWhenTheAnswerIsHandedOver, since the process may be stopped then, and what was done is reported.
func TestChecksRestWhenTheAnswerIsHandedOver(t *testing.T) {
	config, log := configured(t)
	h := newHandler(config)
	counted := map[string]int64{}
	h.report = func(totals iter.Seq2[string, int64]) {
		for name, total := range totals {
			counted[name] = total
		}
	}
	a := ask(t, h, "POST", "/relay", `{"checks":[{"app":"com.example.shop","device":"00000000000000ff","version":"1.0.0","platform":"ios","rollout":"01R","phase":0,"arm":"control","candidate":false,"age":1}]}`,
		map[string]string{"authorization": "Bearer " + edgeToken})
	if a.StatusCode != 200 || !strings.Contains(a.Body, `"taken":true`) {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	shards, err := log.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, shard := range shards {
		list, err := log.Read(t.Context(), shard, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		records += len(list)
	}
	if records != 1 || counted["RelayedChecks"] != 1 || counted["ChecksNoted"] != 1 {
		t.Errorf("%d records, counted %v", records, counted)
	}
	h.report = func(totals iter.Seq2[string, int64]) {
		for range totals {
			break
		}
	}
	ask(t, h, "GET", "/relay", "", nil)
}

func TestOtherEventsAreNoRequests(t *testing.T) {
	config, _ := configured(t)
	if _, err := newHandler(config).Invoke(context.Background(), []byte(`{"source":"aws.events"}`)); !errors.Is(err, apigateway.ErrNoEvent) {
		t.Errorf("%v", err)
	}
}
