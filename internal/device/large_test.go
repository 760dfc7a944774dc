package device_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

// shelf keeps objects, and moves the app on before it is asked for the first one.
type shelf struct {
	objects map[string][]byte
	before  func()
}

func (s *shelf) Put(_ context.Context, key string, data []byte) error {
	s.objects[key] = data
	return nil
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, error) {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	data, ok := s.objects[key]
	if !ok {
		return nil, fmt.Errorf("%s: gone", key)
	}
	return data, nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.objects, key)
	return nil
}

// TestALargeSnapshotReplacedWhileItIsFetchedIsLookedUpAnew commits between the look at the item and the fetch of what it
// refers to, which the commit removes: the device gets the new Snapshot's answer.
func TestALargeSnapshotReplacedWhileItIsFetchedIsLookedUpAnew(t *testing.T) {
	w := newWorld(t)
	objects := &shelf{objects: map[string][]byte{}}
	w.apps.Large = objects
	w.change(func(s *rollout.State) {
		for version, b := range s.Bundles {
			noise := make([]byte, 200_000)
			_, _ = rand.Read(noise)
			b.Checksum = hex.EncodeToString(noise)
			s.Bundles[version] = b
		}
	})
	w.service.Close()
	w.serve()
	objects.before = func() {
		w.change(func(s *rollout.State) {
			c := s.Channels["production"]
			c.Bundle = "1.1.0"
			s.Channels["production"] = c
		})
	}
	if got := w.check(uuid(1), nil).version(); got != "1.1.0" {
		t.Errorf("offered %q, want 1.1.0", got)
	}
	if len(objects.objects) != 1 {
		t.Errorf("%d objects left, want the newest", len(objects.objects))
	}
}
