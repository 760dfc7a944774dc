package dir

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

func put(t *testing.T, s *Store, key, data string) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// TestOwnerOnly checks what others on the machine may read.
func TestOwnerOnly(t *testing.T) {
	s := fresh(t)
	put(t, s, "a/b/c", "secret")
	err := filepath.WalkDir(s.folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == s.folder {
			return err // the folder itself is the test's
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFolderAndObject has an object of a folder's name, which other engines need not take.
func TestFolderAndObject(t *testing.T) {
	s := fresh(t)
	keys := []string{"a", "a/b", "a/b/c", "a@", "a@/b"}
	for _, key := range keys {
		put(t, s, key, key)
	}
	for _, key := range keys {
		if got, err := s.Get(t.Context(), key); string(got) != key || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	infos, err := s.List(t.Context(), "", "", 0)
	if err != nil || len(infos) != len(keys) {
		t.Fatalf("%+v, %v", infos, err)
	}
	for i, info := range infos {
		if info.Key != keys[i] || info.Size != int64(len(keys[i])) {
			t.Errorf("place %d: %+v, want %s", i, info, keys[i])
		}
	}
}

// TestDamagedFiles changes a file behind the store's back: it is not served as if it were what was stored.
func TestDamagedFiles(t *testing.T) {
	whole := func(s *Store) []byte {
		data, err := os.ReadFile(filepath.Join(s.folder, "key#"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, change := range map[string]func([]byte) []byte{
		"content":         func(b []byte) []byte { b[headBytes+3] ^= 1; return b },
		"shorter":         func(b []byte) []byte { return b[:len(b)-1] },
		"longer":          func(b []byte) []byte { return append(b, 'x') },
		"mark":            func(b []byte) []byte { b[0] = 'P'; return b },
		"digest":          func(b []byte) []byte { b[len(headMark)] = 'z'; return b },
		"half a head":     func(b []byte) []byte { return b[:headBytes/2] },
		"nothing":         func([]byte) []byte { return nil },
		"something else":  func([]byte) []byte { return bytes.Repeat([]byte("PK\x03\x04"), 100) },
		"no content type": func(b []byte) []byte { return bytes.Replace(b, []byte(" "), []byte("x"), -1) },
	} {
		s := fresh(t)
		put(t, s, "key", "what was stored")
		if err := os.WriteFile(filepath.Join(s.folder, "key#"), change(whole(s)), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), "key"); !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("%s: %q, %v; want ErrUnavailable", name, got, err)
		}
	}
}

// TestNothingOutside has a link lead out of the folder.
func TestNothingOutside(t *testing.T) {
	outside := t.TempDir()
	s := fresh(t)
	if err := os.Symlink(outside, filepath.Join(s.folder, "link")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "link/key", []byte("x")); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("put: %v, want ErrUnavailable", err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(outside, "key#"), head{digest: sha256.Sum256(nil), contentType: "text/plain"}.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "link/key"); err == nil {
		t.Errorf("got %q from outside", got)
	}
}

// TestUnfinished has content end early, and a process end before its upload has: nothing of it is seen or kept.
func TestUnfinished(t *testing.T) {
	site := newSite(t)
	s := site.open(t)
	h := head{digest: sha256.Sum256([]byte("whole")), contentType: "text/plain"}
	for name, c := range map[string]struct {
		content io.Reader
		want    error
	}{
		"broken":        {io.MultiReader(strings.NewReader("who"), iotest.ErrReader(errors.New("reset"))), blob.ErrUnavailable},
		"ends early":    {io.MultiReader(strings.NewReader("who"), iotest.ErrReader(io.ErrUnexpectedEOF)), errSize},
		"shorter":       {strings.NewReader("who"), errSize},
		"longer":        {strings.NewReader("whole and more"), errSize},
		"other content": {strings.NewReader("whale"), errDigest},
	} {
		if err := s.write("key", h, 5, c.content); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if left, err := os.ReadDir(filepath.Join(s.folder, incoming)); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	if err := s.receive(incoming+"/7", h, 5, strings.NewReader("whole")); err != nil { // and is killed before publish
		t.Fatal(err)
	}
	again := site.open(t)
	if left, err := os.ReadDir(filepath.Join(again.folder, incoming)); err != nil || len(left) > 0 {
		t.Errorf("after a new start there is %v, %v", left, err)
	}
	if infos, err := again.List(t.Context(), "", "", 0); err != nil || len(infos) > 0 {
		t.Errorf("listed %v, %v", infos, err)
	}
	for _, s := range []*Store{s, again} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	folder, secret := t.TempDir(), make([]byte, minSecretBytes)
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		folder string
		o      Options
	}{
		"no base":      {folder, Options{Secret: secret}},
		"a path":       {folder, Options{BaseURL: "/blobs", Secret: secret}},
		"other scheme": {folder, Options{BaseURL: "ftp://host/blobs", Secret: secret}},
		"no URL":       {folder, Options{BaseURL: "http://[", Secret: secret}},
		"no secret":    {folder, Options{BaseURL: "http://host"}},
		"short secret": {folder, Options{BaseURL: "http://host", Secret: secret[1:]}},
		"a file":       {file, Options{BaseURL: "http://host", Secret: secret}},
	} {
		if s, err := New(c.folder, c.o); err == nil {
			t.Errorf("%s: opened %s", name, s.folder)
		}
	}
}

// TestOtherSecret has a request signed by another store.
func TestOtherSecret(t *testing.T) {
	s, other := fresh(t), fresh(t)
	put(t, s, "key", "x")
	r, err := other.PresignGet(t.Context(), "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(r.URL, "?")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, s.base.String()+"/key?"+query, nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestAnswers checks what clients and browsers rely on: refusals have a code, objects are no pages of this site, and what
// is the disk's fault is said to the log and not to the client.
func TestAnswers(t *testing.T) {
	s := fresh(t)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	put(t, s, "key", "<script>")
	put(t, s, "damaged", "x")
	if err := os.Truncate(filepath.Join(s.folder, "damaged#"), 10); err != nil {
		t.Fatal(err)
	}
	get := func(key string, change func(*http.Request)) *httptest.ResponseRecorder {
		signed, err := s.PresignGet(t.Context(), key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(signed.Method, signed.URL, nil)
		change(r)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: headers %v", key, w.Header())
		}
		return w
	}
	none := func(*http.Request) {}
	whole := get("key", none)
	if whole.Code != http.StatusOK || whole.Body.String() != "<script>" {
		t.Errorf("got %d %s", whole.Code, whole.Body)
	}
	same := get("key", func(r *http.Request) { r.Header.Set("If-None-Match", whole.Header().Get("ETag")) })
	if same.Code != http.StatusNotModified {
		t.Errorf("what the client has already: %d", same.Code)
	}
	for _, c := range []struct {
		key    string
		change func(*http.Request)
		status int
		code   string
	}{
		{"absent", none, 404, "not_found"},
		{"damaged", none, 503, "storage_unavailable"},
		{"key", func(r *http.Request) { r.URL.RawQuery = "" }, 403, "signature_mismatch"},
		{"key", func(r *http.Request) { r.URL.Path = "/elsewhere" }, 404, "not_found"},
		{"key", func(r *http.Request) { r.URL.Path = "/blobs/../key" }, 404, "not_found"},
	} {
		w := get(c.key, c.change)
		var refusal struct{ Error, Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil || w.Code != c.status || refusal.Error != c.code || refusal.Message == "" {
			t.Errorf("%s: %d %s, want %d %s", c.key, w.Code, w.Body, c.status, c.code)
		}
	}
	if !strings.Contains(log.String(), "key=damaged") || strings.Contains(log.String(), "signature=") {
		t.Errorf("the log says %s", log.String())
	}
}
