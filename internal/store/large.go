package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// The sizes of a Snapshot, in bytes.
const (
	// largeFrom is the size of an item above which its Spec goes to Blobs, if there are any: some way below
	// MaxItemBytes, so that an app that grows does not fail on its way there.
	largeFrom = 380_000
	// maxSnapshotBytes is the most that a Snapshot in Blobs may have, compressed.
	maxSnapshotBytes = 4 << 20
	// maxSpecBytes is the most that a Snapshot may have as JSON, wherever it is: a process of 256 MB must be able to
	// compile a new one while the old one answers.
	maxSpecBytes = 32 << 20
)

// Blobs keeps what is too large for an item. Every blob.Store is one.
type Blobs interface {
	// Put stores the object durably and as a whole.
	Put(ctx context.Context, key string, data []byte) error
	// Get returns the object, and fails when there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Delete removes the object; it is no error when there is none.
	Delete(ctx context.Context, key string) error
}

// referenceMark begins the value of an item that says where its content is. JSON and gzip begin otherwise.
const referenceMark = "object "

// reference returns the key of the object that holds an item's content; "" when the item holds it itself.
func reference(value []byte) string {
	key, ok := bytes.CutPrefix(value, []byte(referenceMark))
	if !ok {
		return ""
	}
	return string(key)
}

// objectKey says everything of an object: whose it is, when it came, and what must be in it.
func objectKey(app string, revision int64, data []byte) string {
	return fmt.Sprintf("snapshots/%s/%d-%x", app, revision, sha256.Sum256(data))
}

// packedSnapshot is a Snapshot on its way into the store.
type packedSnapshot struct {
	item   Item
	object []byte // what the item refers to; nil when it holds everything
}

// packSnapshot makes a State's Snapshot ready to be stored, after checking that it compiles. It fails with an UnservableError or a TooLargeError.
func (a Apps) packSnapshot(state rollout.State) (packedSnapshot, error) {
	spec := resolve.NewSpec(state)
	if _, err := resolve.Compile(spec); err != nil {
		return packedSnapshot{}, &UnservableError{Cause: err}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return packedSnapshot{}, fmt.Errorf("encoding the snapshot: %w", err)
	}
	value, err := compress(text)
	if err != nil {
		return packedSnapshot{}, fmt.Errorf("compressing the snapshot: %w", err)
	}
	item := Item{Key: snapshotKey(state.App.ID), Version: state.Revision, Value: value}
	if most, size := a.excess(len(text), item); most > 0 {
		return packedSnapshot{}, &TooLargeError{What: "the app's snapshot", Bytes: size, Most: most, Hint: heaviest(spec)}
	}
	if a.Large == nil || itemSize(item) <= largeFrom {
		return packedSnapshot{item: item}, nil
	}
	item.Value = []byte(referenceMark + objectKey(state.App.ID, state.Revision, value))
	return packedSnapshot{item, value}, nil
}

// excess returns the limit that a Snapshot breaks with the size that breaks it; zeros when it breaks none. Its Spec has
// textBytes, and item would hold it.
func (a Apps) excess(textBytes int, item Item) (most, size int) {
	switch size := itemSize(item); {
	case textBytes > maxSpecBytes:
		return maxSpecBytes, textBytes
	case a.Large == nil && size > MaxItemBytes:
		return MaxItemBytes, size
	case len(item.Value) > maxSnapshotBytes:
		return maxSnapshotBytes, len(item.Value)
	}
	return 0, 0
}

// exchange carries out write, which stores next in the place of the app's Snapshot. The object of next is there before
// any reader can hear of it. The object of the Snapshot that it replaces goes afterwards: whoever still holds that
// Snapshot's item finds nothing and has to read it anew. Failing to remove it does no harm but to the bill.
func (a Apps) exchange(ctx context.Context, next packedSnapshot, write func() error) error {
	if a.Large == nil {
		return write()
	}
	former, err := a.object(ctx, next.item.Key)
	if err != nil {
		return err
	}
	if next.object == nil {
		err = write()
	} else {
		err = a.writeReferring(ctx, next, write)
	}
	if err == nil && former != "" {
		_ = a.Large.Delete(ctx, former)
	}
	return err
}

// writeReferring stores the object of next and then carries out write. When somebody else was first, the object is
// removed again.
func (a Apps) writeReferring(ctx context.Context, next packedSnapshot, write func() error) error {
	key := reference(next.item.Value)
	if err := a.Large.Put(ctx, key, next.object); err != nil {
		return fmt.Errorf("%w: storing %s: %w", ErrUnavailable, key, err)
	}
	err := write()
	if !errors.Is(err, ErrConflict) {
		return err
	}
	// Two who make the same change at once make the same object, so it may only go once the winner's is known to be
	// another. What stays behind harms nobody.
	now, failed := a.Store.Get(ctx, next.item.Key, Strong)
	if failed == nil && now.Version >= next.item.Version && reference(now.Value) != key {
		_ = a.Large.Delete(ctx, key)
	}
	return err
}

// object returns the key of the object that the Snapshot at k refers to; "" when there is no Snapshot or no object.
func (a Apps) object(ctx context.Context, k Key) (string, error) {
	item, err := a.Store.Get(ctx, k, Strong)
	if err != nil && !isAbsent(err) {
		return "", err
	}
	return reference(item.Value), nil
}

// fetch returns what is in the object of that key, which ends in the digest of what must be there.
func (a Apps) fetch(ctx context.Context, key string) ([]byte, error) {
	if a.Large == nil {
		return nil, fmt.Errorf("it is in the object %s [give this program access to large snapshots]", key)
	}
	data, err := a.Large.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", key, err)
	}
	if digest := sha256.Sum256(data); !strings.HasSuffix(key, "-"+hex.EncodeToString(digest[:])) {
		return nil, fmt.Errorf("fetching %s: its %d bytes are not those that were stored", key, len(data))
	}
	return data, nil
}
