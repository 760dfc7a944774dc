// Package blobtest is what every engine of package blob must do, as tests. An engine's own test opens it and calls Run;
// nothing in here knows which engine it is.
//
// What is asked of object storage: what was put is there, byte for byte and never by half; keys are listed in order; and
// a signed request does what was signed and nothing else. Signed requests are really sent over HTTP.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

// Engine opens the storage under test.
type Engine struct {
	// Open returns an empty storage, and closes it when the test ends.
	Open func(t *testing.T) blob.Store
	// Reopen returns a function that opens one and the same storage anew; the caller closes what it opened.
	Reopen func(t *testing.T) (open func() blob.Store)
}

// Run runs the whole suite.
func Run(t *testing.T, e Engine) {
	t.Run("put and get", func(t *testing.T) { testPutGet(t, e.Open(t)) })
	t.Run("keys", func(t *testing.T) { testKeys(t, e.Open(t)) })
	t.Run("delete", func(t *testing.T) { testDelete(t, e.Open(t)) })
	t.Run("list", func(t *testing.T) { testList(t, e.Open(t)) })
	t.Run("limits", func(t *testing.T) { testLimits(t, e.Open(t)) })
	t.Run("context", func(t *testing.T) { testContext(t, e.Open(t)) })
	t.Run("never by half", func(t *testing.T) { testWhole(t, e.Open(t)) })
	t.Run("upload and download", func(t *testing.T) { testTransfer(t, e.Open(t)) })
	t.Run("an upload is what was signed", func(t *testing.T) { testRefusedUploads(t, e.Open(t)) })
	t.Run("a download is what was signed", func(t *testing.T) { testRefusedDownloads(t, e.Open(t)) })
	t.Run("expiry", func(t *testing.T) { testExpiry(t, e.Open(t)) })
	t.Run("what cannot be signed", func(t *testing.T) { testSigning(t, e.Open(t)) })
	t.Run("durability", func(t *testing.T) { testDurability(t, e.Reopen(t)) })
}

func put(t *testing.T, s blob.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, data); err != nil {
		t.Fatalf("put %.80s: %v", key, err)
	}
}

func wantObject(t *testing.T, s blob.Store, key string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("get %.80s: %d bytes, %v; want the %d that were put", key, len(got), err, len(want))
	}
}

func wantAbsent(t *testing.T, s blob.Store, key string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get %s: %d bytes, %v; want ErrNotFound", key, len(got), err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// pattern is n bytes of which no two places look alike.
func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return data
}

func testPutGet(t *testing.T, s blob.Store) {
	wantAbsent(t, s, "a")
	for _, n := range []int{0, 1, 255, 256, 257, 100_000} {
		key := fmt.Sprintf("sizes/%d", n)
		put(t, s, key, pattern(n))
		wantObject(t, s, key, pattern(n))
	}
	put(t, s, "again", []byte("first, and longer"))
	put(t, s, "again", []byte("second"))
	wantObject(t, s, "again", []byte("second"))
	put(t, s, "again", nil)
	wantObject(t, s, "again", nil)
	mine := []byte("mine")
	put(t, s, "mine", mine)
	copy(mine, "gone")
	wantObject(t, s, "mine", []byte("mine"))
}

// testKeys has keys that could be taken for something else: for folders, for temporary files, for escapes.
func testKeys(t *testing.T, s blob.Store) {
	long := strings.Repeat(strings.Repeat("k", blob.MaxSegmentBytes)+"/", 4) + "end"
	keys := []string{
		"a", "b/c", "b/d", "A0", "a.tmp", ".hidden/..x/y..", "+/=/@/~", "a+b", "a@", "-", "_", "1.4.0+build.7.zip", long,
		"bundles/com.example.shop/1.4.0/index.html",
	}
	for _, key := range keys {
		put(t, s, key, []byte(key))
	}
	for _, key := range keys {
		wantObject(t, s, key, []byte(key))
	}
	for _, key := range []string{"b", "b/c/d", "a b", "A"} {
		if _, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("get %s: there is something", key)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\x00b", "a b", "ä", strings.Repeat("a/", 600) + "a"} {
		wantError(t, "put", s.Put(t.Context(), bad, nil), blob.ErrInvalid)
		_, err := s.Get(t.Context(), bad)
		wantError(t, "get", err, blob.ErrInvalid)
		wantError(t, "delete", s.Delete(t.Context(), bad), blob.ErrInvalid)
	}
	slices.Sort(keys)
	wantList(t, s, "", "", 0, keys...)
}

func testDelete(t *testing.T, s blob.Store) {
	put(t, s, "a/b", []byte("1"))
	put(t, s, "a/c", []byte("2"))
	for range 2 { // the second time there is none
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, s, "a/b")
	}
	if err := s.Delete(t.Context(), "never/was"); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "", "", 0, "a/c")
	put(t, s, "a/b", []byte("3"))
	wantObject(t, s, "a/b", []byte("3"))
}

func wantList(t *testing.T, s blob.Store, prefix, after string, limit int, want ...string) {
	t.Helper()
	infos, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatalf("list %q after %q: %v", prefix, after, err)
	}
	var got []string
	for _, o := range infos {
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("list %q after %q by %d:\ngot  %q\nwant %q", prefix, after, limit, got, want)
	}
}

// testList compares every listing with a sorted slice. The keys are such that folders sort otherwise than keys do: "-" is
// before "/" and "0" after it.
func testList(t *testing.T, s blob.Store) {
	wantList(t, s, "", "", 0)
	var keys []string
	for _, key := range []string{"a-b/x", "a-c", "a/b", "a/b-c", "a/c/d", "a/c/e/f", "a0", "a0/x0", "b", "c/d", "c/e"} {
		if key != "a0" { // a0/x0 makes it a folder
			put(t, s, key, pattern(len(keys)))
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/c", "a/c/", "a-", "a0", "c/d", "c/dd", "z", "/", ".."} {
		for _, after := range append([]string{"", "a", "a/", "a/b0", "a/c/", "a~", "zz"}, keys...) {
			for _, limit := range []int{1, 2, 5, 0, blob.MaxList + 1} {
				var want []string
				for _, key := range keys {
					if strings.HasPrefix(key, prefix) && key > after && (limit == 0 || len(want) < limit) {
						want = append(want, key)
					}
				}
				wantList(t, s, prefix, after, limit, want...)
			}
		}
	}
	infos, err := s.List(t.Context(), "c/", "", 1)
	if err != nil || len(infos) != 1 || infos[0].Size != 8 {
		t.Errorf("got %+v, %v; want c/d with 8 bytes", infos, err)
	}
}

func testLimits(t *testing.T, s blob.Store) {
	large := pattern(blob.MaxObjectBytes + 1)
	wantError(t, "put", s.Put(t.Context(), "large", large), blob.ErrTooLarge)
	wantAbsent(t, s, "large")
	put(t, s, "large", large[:blob.MaxObjectBytes])
	wantObject(t, s, "large", large[:blob.MaxObjectBytes])

	// An upload may be larger, but then it does not fit through Get.
	upload(t, s, "larger", large, "application/zip")
	_, err := s.Get(t.Context(), "larger")
	wantError(t, "get", err, blob.ErrTooLarge)
	if a := download(t, s, "larger", ""); !bytes.Equal(a.body, large) {
		t.Errorf("downloaded %d bytes, want %d", len(a.body), len(large))
	}
}

func testContext(t *testing.T, s blob.Store) {
	put(t, s, "there", []byte("x"))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "put", s.Put(over, "a", nil), context.Canceled)
	_, err := s.Get(over, "there")
	wantError(t, "get", err, context.Canceled)
	wantError(t, "delete", s.Delete(over, "there"), context.Canceled)
	_, err = s.List(over, "", "", 0)
	wantError(t, "list", err, context.Canceled)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.Get(late, "there")
	wantError(t, "get", err, context.DeadlineExceeded)
	wantList(t, s, "", "", 0, "there")
}

// testWhole has several replace one object while others read it: each reads one of the versions, whole.
func testWhole(t *testing.T, s blob.Store) {
	version := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 20_000+n*1000) }
	put(t, s, "shared", version(0))
	var writers, readers sync.WaitGroup
	written := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			for n := range 10 {
				if err := s.Put(t.Context(), "shared", version(w*10+n)); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for reading := true; reading; {
				select {
				case <-written:
					reading = false // one last time
				default:
				}
				got, err := s.Get(t.Context(), "shared")
				if err != nil || len(got) == 0 || !bytes.Equal(got, version(int(got[0]))) {
					t.Errorf("read %d bytes of no version, %v", len(got), err)
					return
				}
				if infos, err := s.List(t.Context(), "shared", "", 0); err != nil || len(infos) != 1 || infos[0].Size < 20_000 {
					t.Errorf("listed %+v, %v", infos, err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(written)
	readers.Wait()
}

func testDurability(t *testing.T, open func() blob.Store) {
	first := open()
	put(t, first, "a/b", []byte("kept"))
	upload(t, first, "a/c", []byte("kept too"), "text/plain")
	beside := open() // as after a crash: the first was never closed
	wantObject(t, beside, "a/b", []byte("kept"))
	wantObject(t, beside, "a/c", []byte("kept too"))
	for _, s := range []blob.Store{first, beside} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	again := open()
	wantList(t, again, "", "", 0, "a/b", "a/c")
	if a := download(t, again, "a/c", ""); a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("content type %q, want the upload's", a.header.Get("Content-Type"))
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
