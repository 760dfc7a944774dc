// Package sqlite keeps a stream.Stream in one SQLite file: the telemetry log of `palier serve`.
//
// Forcing a file to disk takes as long for a thousand records as for one. So one goroutine writes: it takes whatever
// Appends are waiting, puts them into one transaction, and answers them all when that is on disk. The busier the log,
// the larger the groups; when more is waiting than Options allow, Append refuses with stream.ErrOverloaded rather than
// let memory grow.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/palier-ota/palier/internal/stream"
)

// schema creates the tables of schema version 1. The time stands before the data, so that finding old records does not
// read through them.
const schema = `
CREATE TABLE shards (
	shard     INTEGER PRIMARY KEY,
	forgotten INTEGER NOT NULL -- greatest seq ever trimmed: numbers are not used twice
);
CREATE TABLE records (
	shard INTEGER NOT NULL,
	seq   INTEGER NOT NULL, -- 1, 2, 3, … in each shard, in the order of appends
	at    INTEGER NOT NULL, -- Unix milliseconds
	data  BLOB    NOT NULL,
	PRIMARY KEY (shard, seq)
) WITHOUT ROWID;`

const (
	schemaVersion = 1
	applicationID = 0x50616c4c // "PalL", SQLite's mark of whose file it is
	readers       = 4

	defaultShards       = 4
	defaultPending      = 50_000
	defaultPendingBytes = 64 << 20

	maxReadBytes = 10 << 20 // of one Read, as Kinesis has it
	trimRecords  = 5_000    // of one transaction of Trim, so that Appends do not wait long
)

const (
	lastSQL   = `SELECT max(forgotten, coalesce((SELECT max(seq) FROM records WHERE shard = ?1), 0)) FROM shards WHERE shard = ?1`
	insertSQL = `INSERT INTO records (shard, seq, at, data) VALUES (?1, ?2, ?3, ?4)`
	readSQL   = `SELECT seq, data FROM records WHERE shard = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3`
	oldSQL    = `SELECT max(seq) FROM (SELECT seq FROM records WHERE shard = ?1 AND seq <= ?2 AND at <= ?3 ORDER BY seq LIMIT ?4)`
	trimSQL   = `DELETE FROM records WHERE shard = ?1 AND seq <= ?2 AND at <= ?3`
	forgetSQL = `UPDATE shards SET forgotten = max(forgotten, ?2) WHERE shard = ?1`
)

// Options of Open. The zero value is right for production.
type Options struct {
	Shards      int              // of a new file, default 4; a file keeps the number that it was made with
	Retention   time.Duration    // how long records are kept after they were appended, even when trimmed
	Now         func() time.Time // clock for Retention; default time.Now
	BusyTimeout time.Duration    // how long to wait for another process that writes the file; default 5 s
	// MaxPending is how many records may wait for the disk before Append refuses more; default 50,000.
	MaxPending int
	// MaxPendingBytes is the same in bytes of data; default 64 MiB.
	MaxPendingBytes int
	// Relaxed trades the last moments before a power loss for speed. Never set it where Palier runs for real.
	Relaxed bool
}

// Stream is a stream.Stream in one file.
type Stream struct {
	path      string
	now       func() time.Time
	retention time.Duration
	shards    int
	read      *sql.DB
	write     *sql.DB
	stmts     statements
	queue     queue
	drained   chan struct{} // closed when the writing goroutine has ended
}

var _ stream.Stream = (*Stream)(nil)

type statements struct {
	records                         *sql.Stmt // on read
	last, insert, old, trim, forget *sql.Stmt // on write
}

// Open opens the log in the file at path, and makes it, readable by its owner only, if there is none. It fails when the
// file is damaged, not a log, or written by a newer Palier.
func Open(path string, opts Options) (*Stream, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Stream{path: path, now: opts.Now, retention: opts.Retention, drained: make(chan struct{})}
	s.queue.init(positive(opts.MaxPending, defaultPending), positive(opts.MaxPendingBytes, defaultPendingBytes))
	var err error
	if s.read, s.write, err = openFile(path, opts); err != nil {
		return nil, fmt.Errorf("opening telemetry log %s: %w", path, classify(err))
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening telemetry log %s: %w", path, classify(err)), s.closeFile())
	}
	go s.writeGroups()
	return s, nil
}

func positive(n, fallback int) int {
	if n > 0 {
		return n
	}
	return fallback
}

func (s *Stream) prepare() error {
	if err := s.read.QueryRow(`SELECT count(*) FROM shards`).Scan(&s.shards); err != nil {
		return err
	}
	for _, p := range []struct {
		stmt **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&s.stmts.records, s.read, readSQL},
		{&s.stmts.last, s.write, lastSQL},
		{&s.stmts.insert, s.write, insertSQL},
		{&s.stmts.old, s.write, oldSQL},
		{&s.stmts.trim, s.write, trimSQL},
		{&s.stmts.forget, s.write, forgetSQL},
	} {
		stmt, err := p.db.Prepare(p.text)
		if err != nil {
			return err
		}
		*p.stmt = stmt
	}
	return nil
}

// Shards lists the shard names: "0", "1" and so on.
func (s *Stream) Shards(context.Context) ([]string, error) {
	names := make([]string, s.shards)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names, nil
}

// Read returns up to limit records of the shard after the position.
func (s *Stream) Read(ctx context.Context, shard string, after stream.Position, limit int) ([]stream.Delivered, error) {
	n, seq, err := s.place(shard, after)
	if err != nil {
		return nil, fmt.Errorf("reading the telemetry log: %w", err)
	}
	if limit < 1 || limit > stream.MaxRead {
		limit = stream.MaxRead
	}
	rows, err := s.stmts.records.QueryContext(ctx, n, seq, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the telemetry log: %w", classify(err))
	}
	defer rows.Close()
	var records []stream.Delivered
	for size := 0; size < maxReadBytes && rows.Next(); {
		var r stream.Delivered
		if err := rows.Scan(&seq, &r.Data); err != nil {
			return nil, fmt.Errorf("reading the telemetry log: %w", classify(err))
		}
		r.Position = stream.Position(strconv.FormatInt(seq, 10))
		records = append(records, r)
		size += len(r.Data)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the telemetry log: %w", classify(err))
	}
	return records, nil
}

// Trim removes the shard's records up to the position that are older than the retention.
func (s *Stream) Trim(ctx context.Context, shard string, upTo stream.Position) error {
	n, seq, err := s.place(shard, upTo)
	if err != nil {
		return fmt.Errorf("trimming the telemetry log: %w", err)
	}
	before := s.now().Add(-s.retention).UnixMilli()
	for more := true; more; {
		if more, err = s.trimSome(ctx, n, seq, before); err != nil {
			return fmt.Errorf("trimming the telemetry log: %w", classify(err))
		}
	}
	return nil
}

// trimSome removes the oldest trimRecords of what Trim is to remove; it reports whether there may be more.
func (s *Stream) trimSome(ctx context.Context, shard int, seq, before int64) (more bool, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // does nothing after Commit
	var last sql.NullInt64
	if err := tx.StmtContext(ctx, s.stmts.old).QueryRowContext(ctx, shard, seq, before, trimRecords).Scan(&last); err != nil {
		return false, err
	}
	if !last.Valid {
		return false, nil
	}
	if _, err := tx.StmtContext(ctx, s.stmts.trim).ExecContext(ctx, shard, last.Int64, before); err != nil {
		return false, err
	}
	if _, err := tx.StmtContext(ctx, s.stmts.forget).ExecContext(ctx, shard, last.Int64); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// place reads a shard name and a position.
func (s *Stream) place(shard string, p stream.Position) (n int, seq int64, err error) {
	n, err = strconv.Atoi(shard)
	if err != nil || n < 0 || n >= s.shards || strconv.Itoa(n) != shard {
		return 0, 0, fmt.Errorf("%w: %.40q", stream.ErrNoShard, shard)
	}
	if p == "" {
		return n, 0, nil
	}
	seq, err = strconv.ParseInt(string(p), 10, 64)
	if err != nil || seq < 1 || strconv.FormatInt(seq, 10) != string(p) {
		return 0, 0, fmt.Errorf("%w: %.40q", stream.ErrPosition, p)
	}
	return n, seq, nil
}

// Close commits the Appends that are waiting, refuses new ones, and closes the file.
func (s *Stream) Close() error {
	s.queue.close()
	<-s.drained
	return s.closeFile()
}

func (s *Stream) closeFile() error {
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fmt.Errorf("closing telemetry log %s: %w", s.path, err)
	}
	return nil
}
