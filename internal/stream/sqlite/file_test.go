package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/stream"
)

func openStream(t *testing.T, path string, opts Options) *Stream {
	t.Helper()
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStream(t *testing.T, s *Stream) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
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

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.db")
	s := openStream(t, path, Options{})
	defer closeStream(t, s)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 { // with the write-ahead log and its index
		t.Fatalf("files %q, %v", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	var synchronous int
	if err := s.write.QueryRow(`PRAGMA synchronous`).Scan(&synchronous); err != nil || synchronous != 2 {
		t.Errorf("synchronous %d, %v, want 2: forced to disk with every transaction", synchronous, err)
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
				closeStream(t, openStream(t, path, Options{}))
				execute(t, path, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion+1))
			}, ErrNewer, "run the newer palier",
		},
		"another program's": {
			func(t *testing.T, path string) { execute(t, path, "CREATE TABLE records (name)") }, ErrDamaged, "another file",
		},
		"no database": {
			func(t *testing.T, path string) {
				if err := os.WriteFile(path, []byte(strings.Repeat("just text\n", 100)), 0o600); err != nil {
					t.Fatal(err)
				}
			}, ErrDamaged, "backup",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stream.db")
			c.make(t, path)
			s, err := Open(path, Options{})
			if err == nil {
				closeStream(t, s)
				t.Fatal("opened")
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.mentions) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want it to mention %q and the file", err, c.mentions)
			}
		})
	}
}

func TestAFileKeepsItsShards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.db")
	for _, asked := range []int{3, 8, 0} {
		s := openStream(t, path, Options{Shards: asked})
		if got, err := s.Shards(t.Context()); err != nil || len(got) != 3 {
			t.Errorf("asked for %d: %q, %v; the file was made with 3", asked, got, err)
		}
		closeStream(t, s)
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.db")
	s := openStream(t, path, Options{BusyTimeout: 10 * time.Millisecond})
	defer closeStream(t, s)
	other := openStream(t, path, Options{})
	defer closeStream(t, other)
	tx, err := other.write.Begin() // takes the write lock
	if err != nil {
		t.Fatal(err)
	}
	batch := []stream.Record{{Key: 1, Data: []byte("x")}}
	if err := s.Append(t.Context(), batch); !errors.Is(err, stream.ErrOverloaded) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), batch); err != nil {
		t.Errorf("after the other is done: %v", err)
	}
}

// TestLongTrim trims more than one transaction of Trim holds.
func TestLongTrim(t *testing.T) {
	s := openStream(t, filepath.Join(t.TempDir(), "stream.db"), Options{Shards: 1})
	defer closeStream(t, s)
	const batches = 2*trimRecords/stream.MaxBatch + 3
	for range batches {
		if err := s.Append(t.Context(), make([]stream.Record, stream.MaxBatch)); err != nil {
			t.Fatal(err)
		}
	}
	last := batches*stream.MaxBatch - 7
	if err := s.Trim(t.Context(), "0", stream.Position(fmt.Sprint(last))); err != nil {
		t.Fatal(err)
	}
	left, err := s.Read(t.Context(), "0", "", 0)
	if err != nil || len(left) != 7 || left[0].Position != stream.Position(fmt.Sprint(last+1)) {
		t.Errorf("%d records left, %v", len(left), err)
	}
}

// TestReadIsBounded reads records that are too large to be returned all at once.
func TestReadIsBounded(t *testing.T) {
	s := openStream(t, filepath.Join(t.TempDir(), "stream.db"), Options{Shards: 1})
	defer closeStream(t, s)
	large := stream.Record{Data: make([]byte, stream.MaxRecordBytes)}
	const records = 15
	for range records / 5 {
		if err := s.Append(t.Context(), []stream.Record{large, large, large, large, large}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for after := stream.Position(""); ; {
		page, err := s.Read(t.Context(), "0", after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page)*stream.MaxRecordBytes >= maxReadBytes+stream.MaxRecordBytes {
			t.Errorf("%d records at once", len(page))
		}
		seen += len(page)
		after = page[len(page)-1].Position
	}
	if seen != records {
		t.Errorf("%d records, want %d", seen, records)
	}
}

// TestQueueRoom checks the accounts of the queue: what is done, refused or given up makes no lasting claim on its room.
func TestQueueRoom(t *testing.T) {
	s := openStream(t, filepath.Join(t.TempDir(), "stream.db"), Options{MaxPending: 10, MaxPendingBytes: 1000})
	for range 30 {
		if err := s.Append(t.Context(), make([]stream.Record, 10)); err != nil {
			t.Fatal(err)
		}
		if err := s.Append(t.Context(), []stream.Record{{Data: make([]byte, 1000)}}); err != nil {
			t.Fatal(err)
		}
	}
	closeStream(t, s)
	if s.queue.records != 0 || s.queue.bytes != 0 || len(s.queue.list) != 0 {
		t.Errorf("%d records and %d bytes are still accounted for", s.queue.records, s.queue.bytes)
	}
	if err := s.Append(t.Context(), make([]stream.Record, 1)); !errors.Is(err, stream.ErrOverloaded) {
		t.Errorf("after Close: %v", err)
	}
}

// TestQueueForgetsWhoHasGone gives up waiting before the queue is taken.
func TestQueueForgetsWhoHasGone(t *testing.T) {
	var q queue
	q.init(10, 100)
	gone, cancel := context.WithCancel(t.Context())
	for _, ctx := range []context.Context{gone, t.Context(), gone} {
		if err := q.add(&waiting{ctx: ctx, batch: make([]stream.Record, 2), bytes: 20}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if group := q.take(); len(group) != 1 || group[0].ctx != t.Context() {
		t.Errorf("took %d, want the one who still waits", len(group))
	}
	if q.records != 2 || q.bytes != 20 || len(q.list) != 0 {
		t.Errorf("%d records and %d bytes are accounted for, want those of the one", q.records, q.bytes)
	}
}
