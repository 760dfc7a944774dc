package deadletter

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/palier-ota/palier/internal/blob"
)

// Box is where dead letters are kept.
type Box struct{ Store blob.Store }

// Put keeps a Letter.
func (b Box) Put(ctx context.Context, l Letter) error {
	data, err := l.Encode()
	if err != nil {
		return err
	}
	if err := b.Store.Put(ctx, l.ObjectKey(), data); err != nil {
		return fmt.Errorf("keeping dead letter %s: %w", l.ObjectKey(), err)
	}
	return nil
}

// Entries yields the objects that are kept, Letters first and then the batches that Lambda gave up on, and at most one
// error, last. With a since, those of earlier days are left out, and so are batches from before it.
func (b Box) Entries(ctx context.Context, since time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		letters := ""
		if !since.IsZero() {
			letters = Prefix + since.UTC().Format("2006/01/02")
		}
		if !b.list(ctx, Prefix, letters, yield) {
			return
		}
		b.list(ctx, LambdaPrefix, "", func(e Entry, err error) bool {
			old := err == nil && !e.At.IsZero() && e.At.Before(since)
			return old || yield(e, err)
		})
	}
}

// list yields what has the prefix and comes after the key after, and reports whether to go on.
func (b Box) list(ctx context.Context, prefix, after string, yield func(Entry, error) bool) bool {
	for {
		page, err := b.Store.List(ctx, prefix, after, blob.MaxList)
		if err != nil {
			yield(Entry{}, fmt.Errorf("listing dead letters: %w", err))
			return false
		}
		for _, info := range page {
			if !yield(entry(info.Key, info.Size), nil) {
				return false
			}
			after = info.Key
		}
		if len(page) < blob.MaxList {
			return true
		}
	}
}

// Open returns the Letters of an object. It fails with blob.ErrNotFound and with the errors of Decode.
func (b Box) Open(ctx context.Context, objectKey string) ([]Letter, error) {
	data, err := b.Store.Get(ctx, objectKey)
	if err != nil {
		return nil, fmt.Errorf("reading dead letter %s: %w", objectKey, err)
	}
	letters, err := Decode(objectKey, data)
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", objectKey, err)
	}
	return letters, nil
}
