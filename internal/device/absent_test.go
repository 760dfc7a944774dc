package device

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

// empty is a store without items that counts how often it is asked.
type empty struct {
	store.Store
	asked int
}

func (e *empty) Get(context.Context, store.Key, store.Consistency) (store.Item, error) {
	e.asked++
	return store.Item{}, store.ErrNotFound
}

// TestUnknownAppsAreRememberedWithinBounds is about memory, which no request can see.
func TestUnknownAppsAreRememberedWithinBounds(t *testing.T) {
	nothing := &empty{}
	s := newSnapshots(store.Apps{Store: nothing}, func() time.Time { return time.Unix(1, 0) }, time.Minute, slog.New(slog.DiscardHandler))
	most := 0
	for i := range 3 * maxAbsent {
		for range 2 {
			if _, err := s.get(t.Context(), "com.example.app"+strconv.Itoa(i)); !errors.Is(err, errUnknownApp) {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		most = max(most, len(s.absent))
		s.mu.Unlock()
	}
	if most != maxAbsent || len(s.flights) > 0 || len(*s.known.Load()) > 0 {
		t.Errorf("%d absent, %d flights, %d known", most, len(s.flights), len(*s.known.Load()))
	}
	if nothing.asked != 3*maxAbsent {
		t.Errorf("the store was asked %d times", nothing.asked)
	}
}
