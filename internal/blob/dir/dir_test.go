package dir

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/blobtest"
)

// site is a folder and the server that answers for it, which outlives any one store of the folder.
type site struct {
	folder string
	server *httptest.Server
	secret []byte
	now    *Store // the store that answers
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{folder: t.TempDir(), secret: make([]byte, minSecretBytes)}
	rand.Read(s.secret)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.now.Handler().ServeHTTP(w, r) }))
	t.Cleanup(s.server.Close)
	return s
}

func (s *site) open(t *testing.T) *Store {
	t.Helper()
	store, err := New(s.folder, Options{BaseURL: s.server.URL + "/blobs", Secret: s.secret})
	if err != nil {
		t.Fatal(err)
	}
	s.now = store
	return store
}

func fresh(t *testing.T) *Store {
	t.Helper()
	s := newSite(t).open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, blobtest.Engine{
		Open: func(t *testing.T) blob.Store { return fresh(t) },
		Reopen: func(t *testing.T) func() blob.Store {
			s := newSite(t)
			return func() blob.Store { return s.open(t) }
		},
	})
}
