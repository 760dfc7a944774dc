package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/store"
)

const shop = "/api/v1/apps/com.example.shop"

// TestHostileBodies sends bodies that are made to hurt: each is refused with a code, quickly, and changes nothing.
func TestHostileBodies(t *testing.T) {
	s := newServer(t)
	s.ok("PUT", shop, `{"bundles":[{"version":"1.0.0"}],"channels":[{"name":"production"}]}`)
	comment := func(n int) string { return `{"name":"` + strings.Repeat("x", n) + `"}` }
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"document over 2 MB", "PUT", shop, "application/json", comment(2 << 20), 413, admin.CodeTooLarge},
		{"YAML over 2 MB", "PUT", shop, "application/yaml", "name: " + strings.Repeat("x", 2<<20), 413, admin.CodeTooLarge},
		{"start over 64 KB", "POST", shop + "/rollouts", "application/json", comment(64 << 10), 413, admin.CodeTooLarge},
		{"token over 64 KB", "POST", "/api/v1/tokens", "application/json", comment(64 << 10), 413, admin.CodeTooLarge},
		{"deep JSON lists", "PUT", shop, "application/json", strings.Repeat("[", 1<<20), 400, admin.CodeMalformed},
		{"deep JSON objects", "PUT", shop, "application/json", strings.Repeat(`{"a":`, 1<<18), 400, admin.CodeMalformed},
		{"deep YAML lists", "PUT", shop, "application/yaml", strings.Repeat("[", 1<<17), 400, admin.CodeMalformed},
		{"deep YAML maps", "PUT", shop, "application/yaml", strings.Repeat("{a: ", 1<<16), 400, admin.CodeMalformed},
		{"deep YAML entries", "PUT", shop, "application/yaml", strings.Repeat("- ", 1<<17), 400, admin.CodeMalformed},
		{"deep YAML keys", "PUT", shop, "application/yaml", strings.Repeat("? ", 1<<17), 400, admin.CodeMalformed},
		{"deep YAML indentation", "PUT", shop, "application/yaml", indented(800), 400, admin.CodeMalformed},
		{"a laughing document", "PUT", shop, "application/yaml", laughs(), 400, admin.CodeMalformed},
		{"infinite numbers", "PUT", shop, "application/yaml", "plans: [{name: x, alpha: .inf}]", 400, admin.CodeMalformed},
		{"binary", "PUT", shop, "application/json", "\x00\xff\xfe{}", 400, admin.CodeMalformed},
		{"no UTF-8", "PUT", shop, "application/json", "{\"name\":\"\xff\"}", 400, admin.CodeMalformed},
		{"a lone surrogate and a control character", "PUT", shop, "application/json", `{"name":"\ud800\u0000"}`, 400, "invalid_name"},
		{"a number beyond all", "PUT", shop, "application/json", `{"plans":[{"name":"x","alpha":1e999}]}`, 400, admin.CodeMalformed},
		{"null", "PUT", shop, "application/json", `null`, 400, admin.CodeMalformed},
		{"a long unknown field", "PUT", shop, "application/json", `{"` + strings.Repeat("k", 1<<20) + `":1}`, 400, admin.CodeMalformed},
		{"a thousand unknown fields", "PUT", shop, "application/json", unknownFields(1000), 400, admin.CodeMalformed},
		{"unknown media type", "PUT", shop, "text/html", "<p>", 415, admin.CodeUnsupportedMedia},
		{"unreadable media type", "PUT", shop, "a/b/c;;=", "{}", 415, admin.CodeUnsupportedMedia},
		{"a long app id", "PUT", "/api/v1/apps/com." + strings.Repeat("x", 2000), "application/json", "{}", 400, admin.CodeInvalidParameter},
		{"an app id that is a key", "PUT", "/api/v1/apps/com.example%23shop", "application/json", "{}", 400, ""},
		{"an app id with a slash", "PUT", "/api/v1/apps/com.example%2Fshop", "application/json", "{}", 400, ""},
		{"an empty name", "PUT", shop + "/channels/%20", "application/json", "{}", 400, "invalid_name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.everything()
			began := time.Now()
			a := s.do(request{method: c.method, path: c.path, body: c.body, contentType: c.contentType})
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if a.status != c.status || c.code != "" && lookup(a.body, "error") != `"`+c.code+`"` {
				t.Errorf("answered %d %.300s", a.status, a.body)
			}
			if lookup(a.body, "message") == "missing" || lookup(a.body, "message") == "not JSON" {
				t.Errorf("no message in %.300s", a.body)
			}
			if len(a.body) > 20_000 {
				t.Errorf("the refusal has %d bytes", len(a.body))
			}
			if s.everything() != before {
				t.Error("the refused call changed something")
			}
		})
	}
}

func indented(depth int) string {
	var text strings.Builder
	for i := range depth {
		text.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return text.String()
}

func laughs() string {
	text := "a0: &a0 [ha, ha]\n"
	for i := range 30 {
		text += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	return text
}

func unknownFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"field%d":1`, i)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// brokenBody ends before its announced length.
type brokenBody struct{ sent bool }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("the connection is gone")
	}
	b.sent = true
	return copy(p, `{"name":`), nil
}

func TestBodyThatDoesNotArriveIsTheCallersFault(t *testing.T) {
	s := newServer(t)
	req := httptest.NewRequest("PUT", shop, &brokenBody{})
	req.Header.Set("Authorization", "Bearer "+rootToken)
	w := httptest.NewRecorder()
	s.service.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusBadRequest || lookup(w.Body.String(), "error") != `"malformed"` {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

func TestFailedAttemptsAreSlowedDown(t *testing.T) {
	s := newServer(t)
	var last answer
	tries := 0
	for last.status != http.StatusTooManyRequests {
		if tries++; tries > 100 {
			t.Fatal("a hundred wrong tokens and still welcome")
		}
		last = s.do(request{method: "GET", path: "/api/v1/whoami", token: "plr_wrong-wrong-wrong"})
	}
	if lookup(last.body, "error") != `"too_many_requests"` || last.header.Get("Retry-After") == "" {
		t.Errorf("answered %v %s", last.header, last.body)
	}
	if tries < 10 {
		t.Errorf("refused after %d tries: too strict for a typing mistake in a script", tries)
	}
	// Behind a proxy everyone comes from one address: a stranger must not lock out who has a token, whatever its kind.
	for range 3 {
		if a := s.do(request{method: "GET", path: "/api/v1/whoami"}); a.status != http.StatusOK {
			t.Errorf("the right token answered %d", a.status)
		}
	}
	// A malformed token is a failure like any other, and none at all is not one.
	if a := s.do(request{method: "GET", path: "/api/v1/whoami", token: "sho"}); a.status != http.StatusTooManyRequests {
		t.Errorf("a malformed token answered %d", a.status)
	}
	if a := s.do(request{method: "GET", path: "/api/v1/whoami", noToken: true}); a.status != http.StatusUnauthorized {
		t.Errorf("no token answered %d", a.status)
	}
	s.clock.advance(time.Minute)
	if a := s.do(request{method: "GET", path: "/api/v1/whoami", token: "plr_wrong-wrong-wrong"}); a.status != http.StatusUnauthorized {
		t.Errorf("a wrong token a minute later: %d %s", a.status, a.body)
	}
}

// faulty is a store whose next writes fail.
type faulty struct {
	store.Store
	writes atomic.Int64 // how many writes fail from now on
	err    error        // with this; a panic if nil
}

func (f *faulty) Write(ctx context.Context, ops ...store.Op) error {
	if f.writes.Add(-1) < 0 {
		return f.Store.Write(ctx, ops...)
	}
	if f.err == nil {
		panic("the store fell over")
	}
	return fmt.Errorf("writing: %w", f.err)
}

func TestStoreFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		fails  int64
		status int
		code   string
	}{
		{"a race lost three times is run again", store.ErrConflict, 3, 200, ""},
		{"a race lost for good", store.ErrConflict, 100, 409, admin.CodeConflict},
		{"out of reach", store.ErrUnavailable, 100, 503, admin.CodeStoreUnavailable},
		{"too large", store.ErrTooLarge, 100, 413, admin.CodeTooLarge},
		{"a state that does not compile", &store.UnservableError{Cause: errors.New("cuts: too many")}, 100, 400, admin.CodeInvalidDocument},
		{"out of time", context.DeadlineExceeded, 100, 503, admin.CodeStoreUnavailable},
		{"something else", errors.New("disk on fire at /var/secret"), 100, 500, admin.CodeInternal},
		{"a panic", nil, 100, 500, admin.CodeInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.ok("PUT", shop, `{"name":"Before"}`)
			broken := &faulty{Store: s.store, err: c.err}
			broken.writes.Store(c.fails)
			service, err := admin.New(admin.Config{Store: broken, Now: s.clock.now})
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequest("PUT", shop, strings.NewReader(`{"name":"After"}`))
			req.Header.Set("Authorization", "Bearer "+rootToken)
			w := httptest.NewRecorder()
			service.Handler().ServeHTTP(w, req)
			if w.Code != c.status || c.code != "" && lookup(w.Body.String(), "error") != `"`+c.code+`"` {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer tells of the server's insides: %s", w.Body)
			}
			if c.status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			want := map[bool]string{true: `"After"`, false: `"Before"`}[c.status == 200]
			if got := lookup(s.ok("GET", shop, "").body, "name"); got != want {
				t.Errorf("the name is %s, want %s", got, want)
			}
		})
	}
}

// TestConcurrentApplies has many operators change different things at once: every change that was answered with 200 is
// there in the end, and nothing else.
func TestConcurrentApplies(t *testing.T) {
	s := newServer(t)
	s.ok("PUT", shop, `{}`)
	const operators = 12
	var wg sync.WaitGroup
	statuses := make([]int, operators)
	for i := range operators {
		wg.Go(func() {
			statuses[i] = s.do(request{method: "PUT", path: fmt.Sprintf("%s/channels/c%d", shop, i), body: "{}"}).status
		})
	}
	wg.Wait()
	won := 0
	for i, status := range statuses {
		there := s.do(request{method: "GET", path: fmt.Sprintf("%s/channels/c%d", shop, i)}).status == http.StatusOK
		if there != (status == http.StatusOK) || status != http.StatusOK && status != http.StatusConflict {
			t.Errorf("operator %d was answered %d, and the channel's being there is %v", i, status, there)
		}
		if there {
			won++
		}
	}
	if won == 0 {
		t.Error("nobody won")
	}
	if got, want := lookup(s.ok("GET", shop, "").body, "revision"), fmt.Sprint(1+won); got != want {
		t.Errorf("revision %s after %d changes", got, won+1)
	}
}

// TestConcurrentPromotes has many operators promote one rollout as they saw it: it moves once.
func TestConcurrentPromotes(t *testing.T) {
	s := newServer(t)
	s.ok("PUT", shop, `{"bundles":[{"version":"1.3.0"},{"version":"1.4.0"}],"channels":[{"name":"production","bundle":"1.3.0"}]}`)
	started := s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.4.0","plan":{"phases":[{"percent":1},{"percent":2},{"percent":3},{"percent":4},{"percent":5}]}}`)
	path := shop + "/rollouts/" + strings.Trim(lookup(started.body, "id"), `"`)
	var wg sync.WaitGroup
	var won, lost atomic.Int64
	for range 8 {
		wg.Go(func() {
			switch a := s.do(request{method: "POST", path: path + "/promote", body: `{"version":1}`}); a.status {
			case http.StatusOK:
				won.Add(1)
			case http.StatusConflict:
				lost.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d promotes went through and %d were refused, want 1 and 7", won.Load(), lost.Load())
	}
	if phase := lookup(s.ok("GET", path, "").body, "phase"); phase != "1" {
		t.Errorf("the rollout is in phase %s", phase)
	}
}
