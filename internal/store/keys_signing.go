package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/palier-ota/palier/internal/seal"
)

// Keys keeps the key with which this Palier signs what it hands to edges. The first use draws one. To change it, a next
// one is prepared, edges are told to trust both, and then the next one is activated: at no time does an edge meet a
// signature that it cannot check.
//
// The private halves are in the store as they are: whoever may read the partition KEYS can sign for this Palier, so on
// AWS few roles may.
type Keys struct {
	Store Store
	Rand  io.Reader        // crypto/rand if nil
	Now   func() time.Time // of CreatedAt; time.Now if nil
}

// SigningKey is an Ed25519 key pair. Printing it shows the public half.
type SigningKey struct {
	CreatedAt time.Time
	private   ed25519.PrivateKey
}

// Public returns the half that edges are given.
func (k SigningKey) Public() seal.Key { return seal.PublicKey(k.private) }

// Seal signs a Spec's JSON; see seal.Sign.
func (k SigningKey) Seal(h seal.Header, spec []byte) []byte { return seal.Sign(k.private, h, spec) }

// String returns the public key, so that no log shows the private one.
func (k SigningKey) String() string { return k.Public().String() }

// GoString is String.
func (k SigningKey) GoString() string { return k.String() }

// KeyRing is the keys at one moment.
type KeyRing struct {
	Current SigningKey
	Next    *SigningKey // prepared to follow; nil: none

	version int64 // of the item
}

// ErrNoNextKey is Activate's when no key was prepared.
var ErrNoNextKey = errors.New("no next signing key is prepared")

// keyRingItem is the value of the item.
type keyRingItem struct {
	Current keyItem  `json:"current"`
	Next    *keyItem `json:"next,omitempty"`
}

type keyItem struct {
	Seed      []byte    `json:"seed"` // RFC 8032's private key
	CreatedAt time.Time `json:"created_at"`
}

// Load returns the keys, or ErrNotFound when none was ever used.
func (k Keys) Load(ctx context.Context) (KeyRing, error) {
	ring, err := k.load(ctx)
	if err != nil {
		return KeyRing{}, fmt.Errorf("reading the signing keys: %w", err)
	}
	return ring, nil
}

// Ensure is Load, but for drawing the first key when there is none. Of several who do so at once one wins, and all return
// its key.
func (k Keys) Ensure(ctx context.Context) (KeyRing, error) {
	ring, err := k.load(ctx)
	if isAbsent(err) {
		ring, err = k.first(ctx)
	}
	if err != nil {
		return KeyRing{}, fmt.Errorf("reading the signing keys: %w", err)
	}
	return ring, nil
}

// Prepare returns the keys with a next one, which it draws unless there is one already that replace does not discard. It
// fails with ErrConflict when others change the keys at the same time.
func (k Keys) Prepare(ctx context.Context, replace bool) (KeyRing, error) {
	ring, err := k.Ensure(ctx)
	if err != nil || ring.Next != nil && !replace {
		return ring, err
	}
	next, err := k.draw()
	if err == nil {
		ring.Next = &next
		ring, err = k.save(ctx, ring)
	}
	if err != nil {
		return KeyRing{}, fmt.Errorf("preparing the next signing key: %w", err)
	}
	return ring, nil
}

// Activate makes the prepared key, which the caller names, the current one, and forgets the one before. When it is the
// current one already, nothing changes: so the call may be repeated. It fails with ErrNoNextKey, and with ErrConflict when
// another one is prepared or others change the keys at the same time.
func (k Keys) Activate(ctx context.Context, key seal.Key) (KeyRing, error) {
	ring, err := k.Ensure(ctx)
	if err != nil || ring.Current.Public() == key {
		return ring, err
	}
	switch {
	case ring.Next == nil:
		err = ErrNoNextKey
	case ring.Next.Public() != key:
		err = fmt.Errorf("%w: the next key is %s", ErrConflict, ring.Next)
	default:
		ring.Current, ring.Next = *ring.Next, nil
		ring, err = k.save(ctx, ring)
	}
	if err != nil {
		return KeyRing{}, fmt.Errorf("activating the signing key %s: %w", key, err)
	}
	return ring, nil
}

// first draws and stores the first key, or returns the one of whoever was faster.
func (k Keys) first(ctx context.Context) (KeyRing, error) {
	key, err := k.draw()
	if err != nil {
		return KeyRing{}, err
	}
	ring, err := k.save(ctx, KeyRing{Current: key})
	if errors.Is(err, ErrConflict) {
		return k.load(ctx)
	}
	return ring, err
}

func (k Keys) load(ctx context.Context) (KeyRing, error) {
	item, err := k.Store.Get(ctx, keyRingKey(), Strong)
	if err != nil {
		return KeyRing{}, err
	}
	var kept keyRingItem
	if err := decodeItem(item, &kept); err != nil {
		return KeyRing{}, err
	}
	ring := KeyRing{version: item.Version}
	if ring.Current, err = kept.Current.key(); err != nil {
		return KeyRing{}, fmt.Errorf("reading %s: %w", item.Key, err)
	}
	if kept.Next == nil {
		return ring, nil
	}
	next, err := kept.Next.key()
	if err != nil {
		return KeyRing{}, fmt.Errorf("reading %s: %w", item.Key, err)
	}
	ring.Next = &next
	return ring, nil
}

// save stores the ring if nobody changed it since it was loaded.
func (k Keys) save(ctx context.Context, ring KeyRing) (KeyRing, error) {
	kept := keyRingItem{Current: ring.Current.item()}
	if ring.Next != nil {
		next := ring.Next.item()
		kept.Next = &next
	}
	value, err := encodeValue(kept)
	if err != nil {
		return KeyRing{}, err
	}
	item := Item{Key: keyRingKey(), Version: ring.version + 1, Value: value}
	if err := k.Store.Write(ctx, Put(item, AtVersion(ring.version))); err != nil {
		return KeyRing{}, err
	}
	ring.version = item.Version
	return ring, nil
}

// draw returns a new key.
func (k Keys) draw() (SigningKey, error) {
	now, random := k.Now, k.Rand
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return SigningKey{}, fmt.Errorf("drawing a key: %w", err)
	}
	return SigningKey{CreatedAt: now().UTC().Truncate(time.Second), private: ed25519.NewKeyFromSeed(seed)}, nil
}

// item returns what is stored of a key.
func (k SigningKey) item() keyItem { return keyItem{Seed: k.private.Seed(), CreatedAt: k.CreatedAt} }

// key returns the key that was stored.
func (i keyItem) key() (SigningKey, error) {
	if len(i.Seed) != ed25519.SeedSize {
		return SigningKey{}, fmt.Errorf("a signing key of %d bytes, want %d", len(i.Seed), ed25519.SeedSize)
	}
	return SigningKey{CreatedAt: i.CreatedAt, private: ed25519.NewKeyFromSeed(i.Seed)}, nil
}
