package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/stream/streamtest"
)

func open(t testing.TB, path string, opts sqlite.Options) *sqlite.Stream {
	t.Helper()
	s, err := sqlite.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fresh opens an empty log and closes it when the test ends.
func fresh(t testing.TB, opts sqlite.Options) *sqlite.Stream {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "stream.db"), opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	streamtest.Run(t, streamtest.Engine{
		Open: func(t *testing.T) stream.Stream { return fresh(t, sqlite.Options{}) },
		OpenRetaining: func(t *testing.T, retention time.Duration, now func() time.Time) stream.Stream {
			return fresh(t, sqlite.Options{Retention: retention, Now: now})
		},
		OpenTight: func(t *testing.T, pending int) stream.Stream {
			return fresh(t, sqlite.Options{MaxPending: pending})
		},
		Reopen: func(t *testing.T) func() stream.Stream {
			path := filepath.Join(t.TempDir(), "stream.db")
			return func() stream.Stream { return open(t, path, sqlite.Options{}) }
		},
	})
}
