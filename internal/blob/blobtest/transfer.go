package blobtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

// answer is what came back for a signed request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request as its holder would: the headers as they are, and the length of the body.
func send(t *testing.T, r blob.Request, body []byte) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = r.Header.Clone()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: got}
}

func signUpload(t *testing.T, s blob.Store, key string, data []byte, contentType string, validFor time.Duration) blob.Request {
	t.Helper()
	r, err := s.PresignPut(t.Context(), key, int64(len(data)), sha256.Sum256(data), contentType, validFor)
	if err != nil {
		t.Fatalf("sign an upload: %v", err)
	}
	return r
}

func signDownload(t *testing.T, s blob.Store, key string, validFor time.Duration) blob.Request {
	t.Helper()
	r, err := s.PresignGet(t.Context(), key, validFor)
	if err != nil {
		t.Fatalf("sign a download: %v", err)
	}
	return r
}

func upload(t *testing.T, s blob.Store, key string, data []byte, contentType string) {
	t.Helper()
	if a := send(t, signUpload(t, s, key, data, contentType, time.Minute), data); a.status != http.StatusOK {
		t.Fatalf("upload of %s: %d %.400s", key, a.status, a.body)
	}
}

func download(t *testing.T, s blob.Store, key, byteRange string) answer {
	t.Helper()
	r := signDownload(t, s, key, time.Minute)
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	return send(t, r, nil)
}

func testTransfer(t *testing.T, s blob.Store) {
	data := pattern(300_000)
	const key, kind = "bundles/com.example.shop/1.4.0+7.zip", "application/zip; x=1"
	for range 2 { // a repeated upload is no harm
		upload(t, s, key, data, kind)
	}
	wantObject(t, s, key, data)
	wantList(t, s, "", "", 0, key)
	whole := download(t, s, key, "")
	if whole.status != http.StatusOK || !bytes.Equal(whole.body, data) || whole.header.Get("Content-Type") != kind || whole.header.Get("ETag") == "" {
		t.Errorf("downloaded %d, %d bytes of %q", whole.status, len(whole.body), whole.header.Get("Content-Type"))
	}
	tag := whole.header.Get("ETag")
	for _, c := range []struct {
		byteRange  string
		from, upTo int
	}{
		{"bytes=0-0", 0, 1}, {"bytes=1000-1999", 1000, 2000}, {"bytes=299999-", 299_999, 300_000},
		{"bytes=-500", 299_500, 300_000}, {"bytes=100-999999", 100, 300_000},
	} {
		part := download(t, s, key, c.byteRange)
		if want := fmt.Sprintf("bytes %d-%d/300000", c.from, c.upTo-1); part.status != http.StatusPartialContent ||
			!bytes.Equal(part.body, data[c.from:c.upTo]) || part.header.Get("Content-Range") != want || part.header.Get("ETag") != tag {
			t.Errorf("%s: %d, %d bytes, %q, tag %s", c.byteRange, part.status, len(part.body), part.header.Get("Content-Range"), part.header.Get("ETag"))
		}
	}
	if a := download(t, s, key, "bytes=300000-"); a.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range behind the end: %d", a.status)
	}
	if a := download(t, s, "absent", ""); a.status != http.StatusNotFound {
		t.Errorf("download of nothing: %d", a.status)
	}
	// A signed download shows what is there when it is used, not when it was signed.
	r := signDownload(t, s, "later", time.Minute)
	put(t, s, "later", []byte("came later"))
	a := send(t, r, nil)
	if a.status != http.StatusOK || string(a.body) != "came later" || a.header.Get("Content-Type") != blob.DefaultType {
		t.Errorf("got %d %q of %q", a.status, a.body, a.header.Get("Content-Type"))
	}
}

// refusedStatus tells whether an answer is a refusal of the request itself, not an accident.
func refusedStatus(status int) bool { return status >= 400 && status < 500 }

// testRefusedUploads changes one thing at a time in an upload that would be taken.
func testRefusedUploads(t *testing.T, s blob.Store) {
	data := []byte("what was announced")
	put(t, s, "other", []byte("stays"))
	for _, c := range []struct {
		name   string
		body   string
		change func(*blob.Request)
	}{
		{"other content", "what was announceD", nil},
		{"shorter", "what was announce", nil},
		{"longer", "what was announced!", nil},
		{"empty", "", nil},
		{"other type", string(data), func(r *blob.Request) { r.Header.Set("Content-Type", "text/html") }},
		{"no type", string(data), func(r *blob.Request) { r.Header.Del("Content-Type") }},
		{"other method", "", func(r *blob.Request) { r.Method = http.MethodDelete }},
		{"download", "", func(r *blob.Request) { r.Method = http.MethodGet }},
		{"other key", string(data), func(r *blob.Request) { r.URL = strings.Replace(r.URL, "up/here", "other", 1) }},
	} {
		r := signUpload(t, s, "up/here", data, "text/plain", time.Minute)
		if c.change != nil {
			c.change(&r)
		}
		if a := send(t, r, []byte(c.body)); !refusedStatus(a.status) {
			t.Errorf("%s: %d %.300s", c.name, a.status, a.body)
		}
		wantAbsent(t, s, "up/here")
	}
	wantObject(t, s, "other", []byte("stays"))
	wantTamperProof(t, signUpload(t, s, "up/here", data, "text/plain", time.Minute), data)
	wantList(t, s, "", "", 0, "other")
	upload(t, s, "up/here", data, "text/plain")
	wantObject(t, s, "up/here", data)
}

// wantTamperProof changes every value of the query and every signed header, one at a time.
func wantTamperProof(t *testing.T, r blob.Request, body []byte) {
	t.Helper()
	at, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	if len(query) < 2 {
		t.Fatalf("the query has no expiry and signature: %v", query)
	}
	for name := range query {
		for _, value := range []string{query.Get(name) + "0", flipped(query.Get(name)), ""} {
			changed := at.Query()
			changed.Set(name, value)
			other := *at
			other.RawQuery = changed.Encode()
			if a := send(t, blob.Request{Method: r.Method, URL: other.String(), Header: r.Header}, body); !refusedStatus(a.status) {
				t.Errorf("%s = %q instead of %q: %d", name, value, query.Get(name), a.status)
			}
		}
	}
	for name := range r.Header {
		if name == "Content-Length" {
			continue // is the body's
		}
		header := r.Header.Clone()
		header.Set(name, flipped(header.Get(name)))
		if a := send(t, blob.Request{Method: r.Method, URL: r.URL, Header: header}, body); !refusedStatus(a.status) {
			t.Errorf("header %s %q: %d", name, header.Get(name), a.status)
		}
	}
}

// flipped returns the text with its last letter or digit changed.
func flipped(text string) string {
	if text == "" {
		return "x"
	}
	last := byte('a')
	if text[len(text)-1] == last {
		last = 'b'
	}
	return text[:len(text)-1] + string(last)
}

func testRefusedDownloads(t *testing.T, s blob.Store) {
	put(t, s, "mine", []byte("mine"))
	put(t, s, "secret", []byte("what nobody may read"))
	r := signDownload(t, s, "mine", time.Minute)
	wantTamperProof(t, r, nil)
	other := r
	other.URL = strings.Replace(r.URL, "/mine", "/secret", 1)
	unsigned := r
	unsigned.URL, _, _ = strings.Cut(r.URL, "?")
	overwrite := r
	overwrite.Method = http.MethodPut
	remove := r
	remove.Method = http.MethodDelete
	for name, r := range map[string]blob.Request{"other key": other, "no signature": unsigned, "upload": overwrite, "delete": remove} {
		if a := send(t, r, nil); !refusedStatus(a.status) || bytes.Contains(a.body, []byte("what nobody may read")) {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
	}
	wantObject(t, s, "mine", []byte("mine"))
	wantObject(t, s, "secret", []byte("what nobody may read"))
}

// testExpiry uses requests of one second until they are refused.
func testExpiry(t *testing.T, s blob.Store) {
	put(t, s, "there", []byte("x"))
	up := signUpload(t, s, "up", []byte("x"), "text/plain", blob.MinValid)
	down := signDownload(t, s, "there", blob.MinValid)
	if until := time.Until(down.Expires); until <= -time.Second || until > blob.MinValid {
		t.Errorf("expires in %v", until)
	}
	deadline := time.Now().Add(20 * time.Second)
	for send(t, down, nil).status != http.StatusForbidden {
		if time.Now().After(deadline) {
			t.Fatal("a download of one second is still served")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if a := send(t, up, []byte("x")); a.status != http.StatusForbidden {
		t.Errorf("an expired upload: %d", a.status)
	}
	wantAbsent(t, s, "up")
}

func testSigning(t *testing.T, s blob.Store) {
	sum := sha256.Sum256(nil)
	for _, c := range []struct {
		name     string
		key      string
		size     int64
		kind     string
		validFor time.Duration
		want     error
	}{
		{"key", "../a", 1, "text/plain", time.Minute, blob.ErrInvalid},
		{"size", "a", 0, "text/plain", time.Minute, blob.ErrInvalid},
		{"too large", "a", blob.MaxUploadBytes + 1, "text/plain", time.Minute, blob.ErrTooLarge},
		{"type", "a", 1, "text/plain\nx: y", time.Minute, blob.ErrInvalid},
		{"validity", "a", 1, "text/plain", 0, blob.ErrInvalid},
	} {
		_, err := s.PresignPut(t.Context(), c.key, c.size, sum, c.kind, c.validFor)
		wantError(t, "upload, "+c.name, err, c.want)
	}
	_, err := s.PresignGet(t.Context(), "a//b", time.Minute)
	wantError(t, "download, key", err, blob.ErrInvalid)
	_, err = s.PresignGet(t.Context(), "a", blob.MaxValid+time.Second)
	wantError(t, "download, validity", err, blob.ErrInvalid)
	if _, err := s.PresignPut(t.Context(), "a", blob.MaxUploadBytes, sum, "text/plain", blob.MaxValid); err != nil {
		t.Errorf("the largest upload: %v", err)
	}
}
