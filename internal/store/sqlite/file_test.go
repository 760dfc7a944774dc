package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

func openStore(t *testing.T, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// execute runs SQL on a file behind the engine's back.
func execute(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s *Store, item store.Item) {
	t.Helper()
	if err := s.Write(t.Context(), store.Put(item, store.Always())); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path, Options{})
	put(t, s, store.Item{Key: store.Key{PK: "a", SK: "b"}, Version: 1})
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 { // with the write-ahead log and its index
		t.Fatalf("files %q, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", file, mode)
		}
	}
}

func TestWritesAreForcedToDisk(t *testing.T) {
	for _, c := range []struct {
		opts Options
		want int
	}{{Options{}, 2}, {Options{Relaxed: true}, 1}} {
		s := openStore(t, filepath.Join(t.TempDir(), "store.db"), c.opts)
		var synchronous int
		var journal string
		if err := s.write.QueryRow(`SELECT (SELECT synchronous FROM pragma_synchronous), (SELECT journal_mode FROM pragma_journal_mode)`).Scan(&synchronous, &journal); err != nil {
			t.Fatal(err)
		}
		if synchronous != c.want || journal != "wal" {
			t.Errorf("%+v: synchronous %d, journal %s", c.opts, synchronous, journal)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make     func(t *testing.T, path string)
		want     error
		mentions string
	}{
		"newer schema": {
			func(t *testing.T, path string) {
				openStore(t, path, Options{}).Close()
				execute(t, path, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion+1))
			}, ErrNewer, "run the newer palier",
		},
		"another program's": {
			func(t *testing.T, path string) { execute(t, path, "CREATE TABLE contacts (name)") }, ErrDamaged, "another file",
		},
		"no database": {
			func(t *testing.T, path string) {
				if err := os.WriteFile(path, []byte(strings.Repeat("just text\n", 100)), 0o600); err != nil {
					t.Fatal(err)
				}
			}, ErrDamaged, "backup",
		},
		"a folder": {
			func(t *testing.T, path string) {
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			}, nil, "open",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			c.make(t, path)
			s, err := Open(path, Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.mentions) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want it to mention %q and the file", err, c.mentions)
			}
		})
	}
}

func TestNoFolder(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none", "store.db"), Options{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "folder must exist") {
		t.Errorf("got %v", err)
	}
}

func TestDamagedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path, Options{})
	for i := range 200 {
		put(t, s, store.Item{Key: store.Key{PK: "p", SK: fmt.Sprintf("%03d", i)}, Version: 1, Value: make([]byte, 2000)})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("\xee", 300_000)), 8192); err != nil { // past the header and the schema
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, Options{})
	if _, err := s.Query(t.Context(), store.Range{PK: "p"}, store.Strong); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path, Options{BusyTimeout: 10 * time.Millisecond})
	item := store.Item{Key: store.Key{PK: "a", SK: "b"}, Version: 1}
	put(t, s, item)
	other := openStore(t, path, Options{})
	tx, err := other.write.Begin() // takes the write lock
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), store.Put(item, store.Always())); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if _, err := s.Get(t.Context(), item.Key, store.Strong); err != nil {
		t.Errorf("reading beside a writer: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	put(t, s, item)
}

func TestAwkwardPaths(t *testing.T) {
	for _, name := range []string{"with space.db", "a?b#c%20d.db", "ü&=.db", "?mode=memory"} {
		path := filepath.Join(t.TempDir(), name)
		s := openStore(t, path, Options{})
		put(t, s, store.Item{Key: store.Key{PK: "a", SK: "b"}, Version: 1})
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			t.Errorf("%q: %v", name, err)
		}
		s = openStore(t, path, Options{})
		if _, err := s.Get(t.Context(), store.Key{PK: "a", SK: "b"}, store.Strong); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestExpiredItemsLeaveTheFile(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"), Options{Now: func() time.Time { return now }})
	const expiring = 2*purgeItems + 10
	for from := 0; from < expiring; from += store.MaxWriteItems {
		var ops []store.Op
		for i := from; i < min(from+store.MaxWriteItems, expiring); i++ {
			ops = append(ops, store.Put(store.Item{Key: store.Key{PK: "e", SK: fmt.Sprintf("%06d", i)}, Version: 1, Expires: now.Add(time.Minute)}, store.Always()))
		}
		if err := s.Write(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	rows := func() (n int) {
		t.Helper()
		if err := s.read.QueryRow(`SELECT count(*) FROM items WHERE pk = 'e'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, want := range []int{expiring - purgeItems, expiring - 2*purgeItems, 0} {
		now = now.Add(purgeEvery)
		for range 2 { // once per purgeEvery, however many Writes there are
			put(t, s, store.Item{Key: store.Key{PK: "other", SK: "x"}, Version: 1})
		}
		if got := rows(); got != want {
			t.Fatalf("%d rows, want %d", got, want)
		}
	}
}
