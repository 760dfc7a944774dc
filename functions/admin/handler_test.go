package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/apigateway"
	"github.com/palier-ota/palier/internal/apigateway/gatewaytest"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
)

var _ lambda.Handler = (*handler)(nil)

const firstToken = "plr_the-first-token-of-this-deployment"

// fickle is a real store that can be out of reach.
type fickle struct {
	store.Store
	down bool
	hang func(ctx context.Context) // called by the next Get
}

// Get fails, or gets.
func (f *fickle) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	if hang := f.hang; hang != nil {
		f.hang = nil
		hang(ctx)
		return store.Item{}, context.DeadlineExceeded
	}
	if f.down {
		return store.Item{}, store.ErrUnavailable
	}
	return f.Store.Get(ctx, k, c)
}

// world is a deployment: processes come and go, the store stays.
type world struct {
	t     *testing.T
	store *fickle
	now   time.Time
	log   bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	db, err := storesqlite.Open(filepath.Join(t.TempDir(), "palier.db"), storesqlite.Options{Now: w.clock, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store = &fickle{Store: db}
	return w
}

func (w *world) clock() time.Time { return w.now }

// process starts the function anew.
func (w *world) process(first *[sha256.Size]byte) *handler {
	w.t.Helper()
	h, err := newHandler(admin.Config{Store: w.store, Now: w.clock, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(&w.log, nil))}, first)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) ask(h *handler, method, path, token, body string) events.APIGatewayV2HTTPResponse {
	w.t.Helper()
	r := gatewaytest.Request(method, path, body)
	r.Headers["authorization"], r.Headers["content-type"] = "Bearer "+token, "application/json"
	return gatewaytest.Invoke(w.t, h, r)
}

// whoami demands a status of the call that every token may make.
func (w *world) whoami(h *handler, token string, status int) {
	w.t.Helper()
	if a := w.ask(h, "GET", "/api/v1/whoami", token, ""); a.StatusCode != status {
		w.t.Errorf("%d %s, want %d", a.StatusCode, a.Body, status)
	}
}

func hash() *[sha256.Size]byte { h := sha256.Sum256([]byte(firstToken)); return &h }

func TestFirstTokenIsLetInByItsHash(t *testing.T) {
	w := newWorld(t)
	h := w.process(hash())
	w.whoami(h, firstToken, 200)
	w.whoami(h, "plr_another-token-than-the-first-one", 401)
	w.whoami(w.process(hash()), firstToken, 200)
	w.whoami(w.process(nil), firstToken, 200) // it stays when the parameter is emptied
	if strings.Contains(w.log.String(), firstToken) {
		t.Error("the token is in the log")
	}
}

func TestWithoutAHashNobodyIsLetIn(t *testing.T) {
	w := newWorld(t)
	w.whoami(w.process(nil), firstToken, 401)
}

func TestFirstTokenWaitsForTheStore(t *testing.T) {
	w := newWorld(t)
	h := w.process(hash())
	w.store.down = true
	if a := w.ask(h, "GET", "/api/v1/whoami", firstToken, ""); a.StatusCode < 500 {
		t.Errorf("%d %s", a.StatusCode, a.Body)
	}
	w.store.down = false
	w.whoami(h, firstToken, 200)
}

// TestFirstTokenLeavesTimeForTheAnswer: Lambda gives a request 29 s, of which the operators' service may use 20.
func TestFirstTokenLeavesTimeForTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.whoami(w.process(hash()), firstToken, 200)
	h := w.process(hash())
	asked := false
	w.store.hang = func(ctx context.Context) {
		asked = true
		if end, bounded := ctx.Deadline(); !bounded || time.Until(end) > 8*time.Second {
			t.Errorf("the first token may take until %s", end)
		}
	}
	w.whoami(h, firstToken, 200)
	if !asked {
		t.Error("the first token was not looked for")
	}
}

func TestRevokedFirstTokenStaysRevoked(t *testing.T) {
	w := newWorld(t)
	h := w.process(hash())
	w.whoami(h, firstToken, 200)
	made := w.ask(h, "POST", "/api/v1/tokens", firstToken, `{"name":"mine","role":"admin"}`)
	var mine struct{ Token string }
	if err := json.Unmarshal([]byte(made.Body), &mine); err != nil || made.StatusCode != 201 {
		t.Fatalf("%d %s", made.StatusCode, made.Body)
	}
	var list struct{ Items []struct{ Name string } }
	if err := json.Unmarshal([]byte(w.ask(h, "GET", "/api/v1/tokens", mine.Token, "").Body), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, token := range list.Items {
		if token.Name != "mine" {
			if a := w.ask(h, "DELETE", "/api/v1/tokens/"+token.Name, mine.Token, ""); a.StatusCode != 204 {
				t.Fatalf("%d %s", a.StatusCode, a.Body)
			}
		}
	}
	next := w.process(hash())
	w.whoami(next, firstToken, 401)
	w.whoami(next, mine.Token, 200)
	if !strings.Contains(w.log.String(), "AdminTokenSha256") {
		t.Errorf("the log does not say what to do: %s", &w.log)
	}
}

func TestAnswersAreDatedByTheClock(t *testing.T) {
	w := newWorld(t)
	if a := w.ask(w.process(hash()), "GET", "/api/v1/whoami", firstToken, ""); a.Headers["Date"] != "Sun, 22 Nov 2026 12:00:00 GMT" {
		t.Errorf("%v", a.Headers)
	}
}

func TestOtherEventsAreNoRequests(t *testing.T) {
	w := newWorld(t)
	if _, err := w.process(nil).Invoke(t.Context(), []byte(`{"source":"aws.events"}`)); !errors.Is(err, apigateway.ErrNoEvent) {
		t.Errorf("%v", err)
	}
	if _, err := newHandler(admin.Config{}, nil); err == nil {
		t.Error("a function without a store was made")
	}
}

// TestEdgesKnowWhenARequestIsAnswered what it changed, since the process may be stopped then.
func TestEdgesKnowWhenARequestIsAnswered(t *testing.T) {
	w := newWorld(t)
	var told atomic.Pointer[string]
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		told.Store(&r.URL.Path)
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer web.Close()
	edge, err := relay.ParseEdge(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	edges := relay.NewPusher(relay.PusherConfig{
		Apps: store.Apps{Store: w.store}, Keys: store.Keys{Store: w.store}, Edges: []*url.URL{edge}, Log: slog.New(slog.DiscardHandler),
	})
	defer edges.Close()
	w.store.Store = store.Observe(w.store.Store, edges.Changed)
	h := w.process(hash())
	h.edges = edges
	if a := w.ask(h, "GET", "/api/v1/keys", firstToken, ""); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	if a := w.ask(h, "PUT", "/api/v1/apps/com.example.shop", firstToken, "{}"); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	if path := told.Load(); path == nil || *path != "/snapshots/com.example.shop" {
		t.Errorf("the edge was told of %v", path)
	}
}
