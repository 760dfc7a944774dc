// Package browser is what an app loads into its page to measure itself: page loads and changes of route, calls to APIs,
// errors, sessions, the use of features, and what users say. It reports to POST /telemetry.
//
// The client is JavaScript. palier.mjs is its source, without dependencies; as it is, with the types in palier.d.ts, it is
// the npm package @palier-ota/client that package.json describes. Servers hand out palier.min.mjs, which is palier.mjs
// through esbuild: a test holds the one against the other, and against the size of 3 kB that a page may be asked to load.
// Only this folder knows the client's bytes, so that every shape of Palier hands out the same.
package browser

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cacheControl lets a new client reach pages within hours, and pages start without waiting for it. The address stays the
// same for all versions.
const cacheControl = "public, max-age=3600, stale-while-revalidate=86400"

//go:embed palier.min.mjs
var module []byte

// Handler returns what answers GET and HEAD with the client: a module that pages of every origin may load, compressed for
// who takes gzip, with an ETag for who has it already.
func Handler() http.Handler {
	compressed := sync.OnceValue(compress)
	etag := sync.OnceValue(func() string { return tagOf(module) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", cacheControl)
		h.Set("Vary", "Accept-Encoding")
		h.Set("X-Content-Type-Options", "nosniff")
		body, tag := module, etag()
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			body, tag = compressed(), tag+"-gzip"
			h.Set("Content-Encoding", "gzip")
		}
		h.Set("Etag", strconv.Quote(tag))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}

// compress returns the client in gzip.
func compress() []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil { // only for levels that there are not
		panic(err)
	}
	_, _ = w.Write(module) // into memory
	_ = w.Close()
	return out.Bytes()
}

// tagOf names a content.
func tagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

// takesGzip reports whether an Accept-Encoding header names gzip and does not forbid it (RFC 9110 section 12.5.3).
func takesGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		_, q, weighted := strings.Cut(weight, "=")
		value, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return !weighted || err == nil && value > 0
	}
	return false
}
