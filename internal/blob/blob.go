// Package blob keeps files that are too large for a table: bundles, large Snapshots, and records set aside because
// nobody could read them.
//
// An object is a key and its bytes. Objects are meant never to change: whoever writes one puts what makes it unique
// into its key, such as a digest or a revision, so that a key once read stays right for ever and anything in between
// may cache it. Putting to a key that exists replaces the object as a whole; a reader gets all of the one or all of the other.
//
// Small objects pass through memory, by Put and Get. Large ones never pass through the program that allows them, which
// may be a function with little memory and a limit on what it answers: it signs a Request, and whoever holds that
// uploads or downloads straight from where the files are, until it expires. A signed upload is bound to its key, size,
// digest and type, so that what was announced is all that can be stored.
//
// Each engine is one folder beside this one and passes the suite in blobtest unchanged.
package blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Limits of the contract. Keys are short enough, segment by segment, to be file names.
const (
	MaxObjectBytes  = 32 << 20  // of Put and Get, which hold the object in memory
	MaxUploadBytes  = 512 << 20 // of an upload by Request
	MaxKeyBytes     = 1024      // S3's
	MaxSegmentBytes = 200       // between two slashes of a key
	MaxTypeBytes    = 100       // of a content type
	MaxList         = 1000      // objects of one List, S3's

	MinValid = time.Second        // of a Request
	MaxValid = 7 * 24 * time.Hour // of a Request, S3's
)

// DefaultType is the content type of objects that came by Put.
const DefaultType = "application/octet-stream"

// Errors of the contract.
var (
	// ErrNotFound: there is no object of this key.
	ErrNotFound = errors.New("object not found")
	// ErrInvalid: a key, content type, size or validity that no engine takes.
	ErrInvalid = errors.New("invalid object request")
	// ErrTooLarge: the object is over the limits of the contract.
	ErrTooLarge = errors.New("object too large")
	// ErrUnavailable: the engine cannot be reached or takes no more right now; the same call may succeed later.
	ErrUnavailable = errors.New("object storage unavailable")
)

// Info is what a List says of an object.
type Info struct {
	Key  string
	Size int64 // bytes
}

// Request is an HTTP request that its holder may send, once or more, before it expires. All of Header must be sent as
// it is, and an upload must say its Content-Length.
type Request struct {
	Method  string
	URL     string // holds a signature: whoever knows it may do what it says, so it never belongs in a log
	Header  http.Header
	Expires time.Time
}

// Store is the contract. All methods honour the context's deadline and may be called concurrently. They fail with
// ErrInvalid when CheckKey does, and with ErrUnavailable or the context's error.
type Store interface {
	// Put stores the object, durably and as a whole. It fails with ErrTooLarge over MaxObjectBytes.
	Put(ctx context.Context, key string, data []byte) error
	// Get returns the object. It fails with ErrNotFound, and with ErrTooLarge over MaxObjectBytes.
	Get(ctx context.Context, key string) ([]byte, error)
	// Delete removes the object; it is no error when there is none.
	Delete(ctx context.Context, key string) error
	// List returns up to limit objects whose keys start with prefix and come after the key after, in the order of their
	// keys' bytes; a limit outside 1…MaxList means MaxList. Fewer than that many means that there are no more. Prefix
	// and after may be empty, or be any text.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// PresignPut allows one upload: of exactly size bytes (1 to MaxUploadBytes) with this SHA-256 and content type,
	// within validFor, which is whole seconds from MinValid to MaxValid. It fails with ErrInvalid and ErrTooLarge.
	PresignPut(ctx context.Context, key string, size int64, sha256 [32]byte, contentType string,
		validFor time.Duration) (Request, error)
	// PresignGet allows downloads of the object, if it exists by then, whole or by range, within validFor as above.
	PresignGet(ctx context.Context, key string, validFor time.Duration) (Request, error)
	// Close releases the engine.
	Close() error
}

// CheckKey fails with ErrInvalid unless the key is one that every engine takes: segments of letters, digits and
// "-_.+=@~", joined by single slashes, none of them empty, "." or "..", within the limits.
//
// Some engines keep objects in folders: do not use a key that is also the beginning of another's path, as "a" is of
// "a/b".
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: a key of %d bytes, want 1 to %d", ErrInvalid, len(key), MaxKeyBytes)
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("%w: key %.80q has a segment %q", ErrInvalid, key, segment)
		case len(segment) > MaxSegmentBytes:
			return fmt.Errorf("%w: key %.80q has a segment of %d bytes, at most %d",
				ErrInvalid, key, len(segment), MaxSegmentBytes)
		}
	}
	if i := strings.IndexFunc(key, func(r rune) bool { return !keyRune(r) }); i >= 0 {
		return fmt.Errorf("%w: key %.80q, at byte %d: only letters, digits and -_.+=@~/ may be in a key", ErrInvalid, key, i)
	}
	return nil
}

func keyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.+=@~/", r)
}

// CheckPut fails unless Put takes this key and data.
func CheckPut(key string, data []byte) error {
	if len(data) > MaxObjectBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxObjectBytes)
	}
	return CheckKey(key)
}

// CheckUpload fails unless PresignPut takes these.
func CheckUpload(key string, size int64, contentType string, validFor time.Duration) error {
	if size < 1 {
		return fmt.Errorf("%w: an upload of %d bytes", ErrInvalid, size)
	}
	if size > MaxUploadBytes {
		return fmt.Errorf("%w: an upload of %d bytes, at most %d", ErrTooLarge, size, MaxUploadBytes)
	}
	if err := checkType(contentType); err != nil {
		return err
	}
	return CheckDownload(key, validFor)
}

// CheckDownload fails unless PresignGet takes these.
func CheckDownload(key string, validFor time.Duration) error {
	if validFor < MinValid || validFor > MaxValid || validFor%time.Second != 0 {
		return fmt.Errorf("%w: valid for %v, want whole seconds from %v to %v", ErrInvalid, validFor, MinValid, MaxValid)
	}
	return CheckKey(key)
}

func checkType(contentType string) error {
	if len(contentType) == 0 || len(contentType) > MaxTypeBytes {
		return fmt.Errorf("%w: a content type of %d bytes, want 1 to %d", ErrInvalid, len(contentType), MaxTypeBytes)
	}
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if strings.ContainsFunc(contentType, unprintable) || strings.TrimSpace(contentType) != contentType {
		return fmt.Errorf("%w: content type %q", ErrInvalid, contentType)
	}
	return nil
}
