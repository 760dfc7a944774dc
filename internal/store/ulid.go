package store

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// NewULID returns a source of ULIDs with the given entropy, for Apps.NewID and rollout ids. Ids for one millisecond
// rise in the order of the calls; the source may be used concurrently. It panics when entropy cannot be read, since
// there is no id to go on with: crypto/rand.Reader never fails.
func NewULID(entropy io.Reader) func(at time.Time) string {
	var mu sync.Mutex
	source := ulid.Monotonic(entropy, 0)
	return func(at time.Time) string {
		mu.Lock()
		defer mu.Unlock()
		id, err := ulid.New(ulid.Timestamp(at), source)
		if err != nil {
			panic(fmt.Sprintf("drawing an id for %v: %v", at, err))
		}
		return id.String()
	}
}
