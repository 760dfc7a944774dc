package dir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/palier-ota/palier/internal/blob"
)

// Handler answers the requests that the store has signed, at the path of Options.BaseURL, and refuses all others. What
// it serves was uploaded by someone, so browsers are told to treat it as a file and never as a page of this site.
// Refusals are JSON: {"error": code, "message": text}.
func (s *Store) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Store) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	g, refused := s.granted(r)
	switch {
	case refused != nil:
	case g.method == http.MethodGet:
		refused = s.download(w, r, g)
	case g.method == http.MethodPut:
		refused = s.upload(w, r, g)
	}
	if refused != nil {
		refused.write(w)
	}
}

// download sends the object, or the part that the request's headers ask for.
func (s *Store) download(w http.ResponseWriter, r *http.Request, g grant) *refusal {
	o, err := s.openObject(g.key)
	if err != nil {
		return s.refusalOf(err, g)
	}
	defer o.Close()
	w.Header().Set("Content-Type", o.contentType)
	w.Header().Set("ETag", `"`+hex.EncodeToString(o.digest[:])+`"`)
	http.ServeContent(w, r, "", o.modified, o.content())
	return nil
}

// upload receives the object and answers once it is durable.
func (s *Store) upload(w http.ResponseWriter, r *http.Request, g grant) *refusal {
	if r.ContentLength != g.size {
		return s.refusalOf(errSize, g)
	}
	digest, err := hex.DecodeString(g.digest)
	if err != nil || len(digest) != sha256.Size {
		return s.refusalOf(errDigest, g)
	}
	h := head{digest: [sha256.Size]byte(digest), contentType: g.contentType}
	if err := s.write(g.key, h, g.size, r.Body); err != nil {
		return s.refusalOf(err, g)
	}
	w.Header().Set("ETag", `"`+g.digest+`"`)
	w.WriteHeader(http.StatusOK)
	return nil
}

// refusal is an answer that says no.
type refusal struct {
	status int
	Code   string `json:"error"`
	Text   string `json:"message"`
}

func refuse(status int, code, text string) *refusal {
	return &refusal{status: status, Code: code, Text: text}
}

// refusalOf puts an error into an answer. What is the disk's fault is for the log, not for the client.
func (s *Store) refusalOf(err error, g grant) *refusal {
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return refuse(http.StatusNotFound, "not_found", "There is no object here.")
	case errors.Is(err, errSize):
		return refuse(http.StatusBadRequest, "size_mismatch", "The content does not have the size that was signed.")
	case errors.Is(err, errDigest):
		return refuse(http.StatusBadRequest, "digest_mismatch", "The content does not have the SHA-256 that was signed.")
	default:
		s.log.Error("object not served", "method", g.method, "key", g.key, "error", err)
		return refuse(http.StatusServiceUnavailable, "storage_unavailable",
			"The object could not be stored or read. Try again later.")
	}
}

func (f *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	json.NewEncoder(w).Encode(f) // fails only when nobody listens any more
}
