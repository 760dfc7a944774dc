package dir

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

// The query of a signed request; the last two are an upload's.
const (
	paramExpires   = "expires" // Unix seconds
	paramSignature = "signature"
	paramSize      = "size"   // bytes
	paramDigest    = "sha256" // hex
)

// grant is all that a signature allows. Method and key are the request's own, the content type is its header's.
type grant struct {
	method, key string
	expires     int64 // Unix seconds
	size        int64 // of an upload, bytes
	digest      string
	contentType string // of an upload
}

// sign returns the HMAC-SHA256 of the grant, whose fields are quoted so that no two grants read the same.
func (s *Store) sign(g grant) []byte {
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "palier-blob-1 %q %q %d %d %q %q", g.method, g.key, g.expires, g.size, g.digest, g.contentType)
	return mac.Sum(nil)
}

// PresignPut allows one upload.
func (s *Store) PresignPut(_ context.Context, key string, size int64, sum [32]byte, contentType string,
	validFor time.Duration,
) (blob.Request, error) {
	if err := blob.CheckUpload(key, size, contentType, validFor); err != nil {
		return blob.Request{}, fmt.Errorf("signing an upload: %w", err)
	}
	g := grant{method: http.MethodPut, key: key, size: size, digest: hex.EncodeToString(sum[:]), contentType: contentType}
	r := s.request(g, validFor)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Length", strconv.FormatInt(size, 10))
	return r, nil
}

// PresignGet allows downloads.
func (s *Store) PresignGet(_ context.Context, key string, validFor time.Duration) (blob.Request, error) {
	if err := blob.CheckDownload(key, validFor); err != nil {
		return blob.Request{}, fmt.Errorf("signing a download: %w", err)
	}
	return s.request(grant{method: http.MethodGet, key: key}, validFor), nil
}

func (s *Store) request(g grant, validFor time.Duration) blob.Request {
	g.expires = s.now().Add(validFor).Unix()
	query := url.Values{paramExpires: {strconv.FormatInt(g.expires, 10)}}
	if g.method == http.MethodPut {
		query.Set(paramSize, strconv.FormatInt(g.size, 10))
		query.Set(paramDigest, g.digest)
	}
	query.Set(paramSignature, hex.EncodeToString(s.sign(g)))
	at := *s.base
	at.Path += "/" + g.key
	at.RawQuery = query.Encode()
	return blob.Request{Method: g.method, URL: at.String(), Header: http.Header{}, Expires: time.Unix(g.expires, 0)}
}

// granted returns what the request's signature allows, or a refusal.
func (s *Store) granted(r *http.Request) (grant, *refusal) {
	key, below := strings.CutPrefix(r.URL.Path, s.base.Path+"/")
	if !below || blob.CheckKey(key) != nil {
		return grant{}, refuse(http.StatusNotFound, "not_found", "There is no object here.")
	}
	query := r.URL.Query()
	g := grant{method: r.Method, key: key, digest: query.Get(paramDigest)}
	g.expires, _ = strconv.ParseInt(query.Get(paramExpires), 10, 64) // what is no number was not signed
	g.size, _ = strconv.ParseInt(query.Get(paramSize), 10, 64)
	if r.Method == http.MethodPut {
		g.contentType = r.Header.Get("Content-Type")
	}
	signature, err := hex.DecodeString(query.Get(paramSignature))
	if err != nil || !hmac.Equal(signature, s.sign(g)) {
		return grant{}, refuse(http.StatusForbidden, "signature_mismatch",
			"The signature is not for this request. Send it exactly as it was signed.")
	}
	if s.now().Unix() > g.expires {
		return grant{}, refuse(http.StatusForbidden, "request_expired", "The request has expired. Ask for a new one.")
	}
	return g, nil
}
