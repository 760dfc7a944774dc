// Package dir keeps a blob.Store in a folder: the bundle files of `palier serve`.
//
// Every object is one file, readable by its owner only: 256 bytes that say what it is – see head – and then the object's
// own bytes. An object is written into a temporary file, forced to disk, and renamed to where it belongs, so that a
// reader, or a power loss, finds all of it or none. A folder in a key is a folder on disk; names that are not a key's own
// have a "#" in them, which no key has.
//
// Signed requests are answered by Handler, which must be reachable below the address that New was given. The signature
// is an HMAC over everything that the request may do; see sign.
package dir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

const (
	minSecretBytes = 32
	objectSuffix   = "#"         // of an object's file
	incoming       = "#incoming" // the folder of temporary files
)

// Options of New. BaseURL and Secret are required.
type Options struct {
	BaseURL string           // where Handler is reached from outside, as in http://127.0.0.1:8787/blobs
	Secret  []byte           // that requests are signed with, at least 32 random bytes; who has it may read and write all
	Now     func() time.Time // clock for expiry; default time.Now
	Log     *slog.Logger     // of what Handler could not do; default none
}

// Store is a blob.Store in a folder.
type Store struct {
	root   *os.Root // whatever a name says, nothing outside the folder is touched
	folder string
	base   *url.URL
	secret []byte
	now    func() time.Time
	log    *slog.Logger
	temps  atomic.Int64 // temporary files so far, for their names
}

var _ blob.Store = (*Store)(nil)

// New returns the store in the folder, which it makes, readable by its owner only, if there is none. It removes
// what unfinished uploads have left, so a folder belongs to one store at a time.
func New(folder string, o Options) (*Store, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("opening object folder %s: base URL %q is not one of http or https", folder, o.BaseURL)
	}
	if len(o.Secret) < minSecretBytes {
		return nil, fmt.Errorf("opening object folder %s: the signing secret has %d bytes, at least %d are needed",
			folder, len(o.Secret), minSecretBytes)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	s := &Store{folder: folder, base: base, secret: bytes.Clone(o.Secret), now: o.Now, log: o.Log}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("opening object folder %s: %w", folder, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.folder)
	if err != nil {
		return err
	}
	s.root = root
	if err := errors.Join(root.RemoveAll(incoming), root.Mkdir(incoming, 0o700)); err != nil {
		return errors.Join(err, root.Close())
	}
	return nil
}

// Put stores the object with blob.DefaultType.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := blob.CheckPut(key, data); err != nil {
		return fmt.Errorf("putting object: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("putting object %s: %w", key, err)
	}
	h := head{digest: sha256.Sum256(data), contentType: blob.DefaultType}
	if err := s.write(key, h, int64(len(data)), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("putting object %s: %w", key, err)
	}
	return nil
}

// Get returns the object. One that the disk has damaged is reported as blob.ErrUnavailable.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, fmt.Errorf("getting object: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("getting object %s: %w", key, err)
	}
	data, err := s.read(key)
	if err != nil {
		return nil, fmt.Errorf("getting object %s: %w", key, err)
	}
	return data, nil
}

func (s *Store) read(key string) ([]byte, error) {
	o, err := s.openObject(key)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.size > blob.MaxObjectBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", blob.ErrTooLarge, o.size, blob.MaxObjectBytes)
	}
	data := make([]byte, o.size)
	if _, err := io.ReadFull(o.content(), data); err != nil {
		return nil, fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	if sha256.Sum256(data) != o.digest {
		return nil, fmt.Errorf("%w: the file is damaged: its content is not what was stored", blob.ErrUnavailable)
	}
	return data, nil
}

// Delete removes the object. Its folders stay: another object may be on its way into them.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return fmt.Errorf("deleting object: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("deleting object %s: %w", key, err)
	}
	if err := s.root.Remove(fileName(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting object %s: %w: %w", key, blob.ErrUnavailable, err)
	}
	return nil
}

// List returns up to limit objects below the prefix.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]blob.Info, error) {
	if limit < 1 || limit > blob.MaxList {
		limit = blob.MaxList
	}
	l := listing{root: s.root, prefix: prefix, after: after, limit: limit}
	if err := l.walk(ctx, ""); err != nil {
		return nil, fmt.Errorf("listing objects %s: %w", prefix, err)
	}
	return l.found, nil
}

// listing walks the folders in the order of the keys' bytes, and only those that may hold a key it looks for.
type listing struct {
	root          *os.Root
	prefix, after string
	limit         int
	found         []blob.Info
}

// walk lists a folder, given as the beginning of its keys: "" or ending with a slash.
func (l *listing) walk(ctx context.Context, folder string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	starts, err := l.entries(folder)
	if err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	for _, start := range starts {
		if len(l.found) == l.limit {
			return nil
		}
		if !strings.HasSuffix(start, "/") {
			l.add(start)
			continue
		}
		// All keys in there begin with start. If it is before the place to go on from, then so are they all, unless that
		// place is in there too.
		related := strings.HasPrefix(start, l.prefix) || strings.HasPrefix(l.prefix, start)
		if !related || start < l.after && !strings.HasPrefix(l.after, start) {
			continue
		}
		if err := l.walk(ctx, start); err != nil {
			return err
		}
	}
	return nil
}

// entries returns what is in a folder, as the keys of objects and the beginnings of keys in order. A folder that is gone
// is empty.
func (l *listing) entries(folder string) ([]string, error) {
	entries, err := fs.ReadDir(l.root.FS(), path.Clean(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var starts []string
	for _, e := range entries {
		switch name, object := strings.CutSuffix(e.Name(), objectSuffix); {
		case e.IsDir() && e.Name() != incoming:
			starts = append(starts, folder+e.Name()+"/")
		case object && e.Type().IsRegular():
			starts = append(starts, folder+name)
		}
	}
	slices.Sort(starts)
	return starts, nil
}

func (l *listing) add(key string) {
	if !strings.HasPrefix(key, l.prefix) || key <= l.after || blob.CheckKey(key) != nil {
		return
	}
	info, err := l.root.Stat(fileName(key))
	if err != nil {
		return // was deleted since
	}
	l.found = append(l.found, blob.Info{Key: key, Size: info.Size() - headBytes})
}

// Close releases the folder.
func (s *Store) Close() error {
	if err := s.root.Close(); err != nil {
		return fmt.Errorf("closing object folder %s: %w", s.folder, err)
	}
	return nil
}

// fileName returns where the object of a checked key is.
func fileName(key string) string { return filepath.FromSlash(key) + objectSuffix }
