package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/palier-ota/palier/internal/seal"
	"github.com/palier-ota/palier/internal/store"
)

const (
	// DefaultLifetime is for how long edges may take a Snapshot after it was issued.
	DefaultLifetime = 24 * time.Hour
	// renewals is how often in a lifetime a Snapshot that does not change is issued anew. The times of issue are the same
	// for every process, so that all of them seal the same bytes.
	renewals = 24
	// keysTTL is how long the signing key is used before the store is asked for it again.
	keysTTL = 30 * time.Second
	// sealTimeout bounds the reads behind one sealed Snapshot, whoever waits for it.
	sealTimeout = 5 * time.Second
)

// sealed is a sealed Snapshot.
type sealed struct {
	app              string
	revision, issued int64
	key              seal.Key
	bytes            []byte
}

// sealer seals the Snapshots of Apps, and remembers what it sealed.
type sealer struct {
	apps     store.Apps
	ring     func(context.Context) (store.KeyRing, error)
	lifetime time.Duration
	real     func() time.Time // edges have no other clock than the real time's

	cache   cache
	flights singleflight.Group

	mu    sync.Mutex // guards what follows
	key   store.SigningKey
	asked time.Time // when key was read
}

func newSealer(apps store.Apps, ring func(context.Context) (store.KeyRing, error), lifetime time.Duration, real func() time.Time) *sealer {
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	return &sealer{apps: apps, ring: ring, lifetime: max(lifetime, renewals*time.Second), real: real, cache: cache{most: maxCached}}
}

// issued returns the time of issue of what is sealed now, in Unix seconds.
func (s *sealer) issued() int64 {
	every := int64(s.lifetime/time.Second) / renewals
	now := s.real().Unix()
	return now - now%every
}

// sealed returns the App's Snapshot, of this revision or a newer one that is known, sealed now. It fails with
// store.ErrNotFound when there is none any more, with a tooLargeError, and with the store's errors.
func (s *sealer) sealed(ctx context.Context, app string, revision int64) (sealed, error) {
	issued := s.issued()
	key, err := s.signingKey(ctx)
	if err != nil {
		return sealed{}, err
	}
	if found, ok := s.cache.get(app); ok && found.revision >= revision && found.issued == issued && found.key == key.Public() {
		return found, nil
	}
	flight := s.flights.DoChan(fmt.Sprint(app, " ", revision, " ", issued, " ", key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout) // others may wait for it
		defer cancel()
		made, err := s.seal(ctx, app, issued, key)
		if err == nil {
			s.cache.put(made)
		}
		return made, err
	})
	select {
	case done := <-flight:
		return done.Val.(sealed), done.Err
	case <-ctx.Done():
		return sealed{}, fmt.Errorf("waiting for the sealed snapshot of %s: %w", app, ctx.Err())
	}
}

// seal reads the App's Snapshot and signs it.
func (s *sealer) seal(ctx context.Context, app string, issued int64, key store.SigningKey) (sealed, error) {
	revision, spec, err := s.read(ctx, app)
	if errors.Is(err, errReplaced) {
		revision, spec, err = s.read(ctx, app)
	}
	if err != nil {
		return sealed{}, fmt.Errorf("sealing the snapshot of %s: %w", app, err)
	}
	h := seal.Header{App: app, Revision: revision, Issued: issued, Expires: issued + int64(s.lifetime/time.Second)}
	made := sealed{app: app, revision: revision, issued: issued, key: key.Public(), bytes: key.Seal(h, spec)}
	if len(made.bytes) > seal.MaxBytes {
		return sealed{}, fmt.Errorf("sealing the snapshot of %s: %w", app, tooLargeError(len(made.bytes)))
	}
	return made, nil
}

// errReplaced says that a large Snapshot could not be fetched: mostly because another has taken its place.
var errReplaced = errors.New("not to be had")

func (s *sealer) read(ctx context.Context, app string) (revision int64, spec []byte, err error) {
	item, err := s.apps.Snapshot(ctx, app)
	if err != nil {
		return 0, nil, err
	}
	if spec, err = item.Raw(); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errReplaced, err)
	}
	return item.Revision, spec, nil
}

// signingKey returns the key to sign with, from memory while it is fresh.
func (s *sealer) signingKey(ctx context.Context) (store.SigningKey, error) {
	now := s.real()
	s.mu.Lock()
	key, age := s.key, now.Sub(s.asked)
	s.mu.Unlock()
	if age >= 0 && age < keysTTL {
		return key, nil
	}
	ring, err := s.ring(ctx)
	if err != nil {
		return store.SigningKey{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.asked = ring.Current, now
	return ring.Current, nil
}

// tooLargeError is the size, in bytes, of a sealed Snapshot that no edge takes.
type tooLargeError int

// Error says what to do about it.
func (e tooLargeError) Error() string {
	return fmt.Sprintf("it has %d bytes when sealed, and edges take at most %d: delete bundles that nobody runs, or shrink segments",
		int(e), seal.MaxBytes)
}
