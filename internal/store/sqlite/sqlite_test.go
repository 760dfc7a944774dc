package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/store/storetest"
)

func open(t testing.TB, path string, opts sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	fresh := func(t *testing.T, opts sqlite.Options) store.Store {
		s := open(t, filepath.Join(t.TempDir(), "store.db"), opts)
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) store.Store { return fresh(t, sqlite.Options{}) },
		OpenAt: func(t *testing.T, now func() time.Time) store.Store {
			return fresh(t, sqlite.Options{Now: now})
		},
		Reopen: func(t *testing.T) func() store.Store {
			path := filepath.Join(t.TempDir(), "store.db")
			return func() store.Store { return open(t, path, sqlite.Options{}) }
		},
	})
}
