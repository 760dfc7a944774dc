// Package sqlite keeps a store.Store in one SQLite file: the engine of `palier serve` and of every test.
//
// The file holds a single table, ordered by partition and sort key in bytes. One connection writes, several read beside
// it, which write-ahead logging allows; a Write is one transaction and is on disk when it returns.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/store"
)

// schema creates the table of schema version 1. Keys compare as bytes, which is SQLite's default for text in UTF-8.
const schema = `
CREATE TABLE items (
	pk      TEXT    NOT NULL,
	sk      TEXT    NOT NULL,
	version INTEGER NOT NULL,
	value   BLOB    NOT NULL,
	expires INTEGER NOT NULL, -- Unix seconds, 0 = never
	PRIMARY KEY (pk, sk)
) WITHOUT ROWID;
CREATE INDEX items_expiring ON items (expires) WHERE expires > 0;`

const (
	schemaVersion = 1
	applicationID = 0x50616c53 // "PalS", SQLite's mark of whose file it is
	readers       = 4
	purgeEvery    = time.Minute
	purgeItems    = 500 // the most that one Write purges, so that none is slow
)

const (
	getSQL    = `SELECT version, value, expires FROM items WHERE pk = ?1 AND sk = ?2 AND (expires = 0 OR expires > ?3)`
	checkSQL  = `SELECT version FROM items WHERE pk = ?1 AND sk = ?2 AND (expires = 0 OR expires > ?3)`
	putSQL    = `REPLACE INTO items (pk, sk, version, value, expires) VALUES (?1, ?2, ?3, ?4, ?5)`
	deleteSQL = `DELETE FROM items WHERE pk = ?1 AND sk = ?2`
	purgeSQL  = `DELETE FROM items WHERE (pk, sk) IN (SELECT pk, sk FROM items WHERE expires > 0 AND expires <= ?1 LIMIT ?2)`
)

// querySQL selects sort keys in the half-open interval ?2…?3 of partition ?1.
const (
	querySQL = `SELECT sk, version, value, expires FROM items
		WHERE pk = ?1 AND sk >= ?2 AND sk < ?3 AND (expires = 0 OR expires > ?4) ORDER BY sk LIMIT ?5`
	queryBackwardSQL = `SELECT sk, version, value, expires FROM items
		WHERE pk = ?1 AND sk >= ?2 AND sk < ?3 AND (expires = 0 OR expires > ?4) ORDER BY sk DESC LIMIT ?5`
)

// Options of Open. The zero value is right for production.
type Options struct {
	Now         func() time.Time // clock for expiry; default time.Now
	BusyTimeout time.Duration    // how long to wait for another process that writes the file; default 5 s
	// Relaxed trades the last moments before a power loss for speed: the file stays whole, but Writes that returned
	// shortly before may be gone. Never set it where Palier runs for real.
	Relaxed bool
}

// Store is a store.Store in one file.
type Store struct {
	path  string
	now   func() time.Time
	read  *sql.DB
	write *sql.DB
	stmts statements

	mu        sync.Mutex // guards nextPurge
	nextPurge time.Time
}

var _ store.Store = (*Store)(nil)

type statements struct {
	get, query, queryBackward  *sql.Stmt // on read
	check, put, delete, expire *sql.Stmt // on write
}

// Open opens the store in the file at path, and makes it, readable by its owner only, if there is none. Several
// processes may have one file open. It fails when the file is damaged, not a store, or written by a newer Palier.
func Open(path string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	read, write, err := openFile(path, opts)
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, classify(err))
	}
	s := &Store{path: path, now: opts.Now, read: read, write: write}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", path, classify(err)), s.Close())
	}
	return s, nil
}

func (s *Store) prepare() error {
	for _, p := range []struct {
		stmt **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&s.stmts.get, s.read, getSQL},
		{&s.stmts.query, s.read, querySQL},
		{&s.stmts.queryBackward, s.read, queryBackwardSQL},
		{&s.stmts.check, s.write, checkSQL},
		{&s.stmts.put, s.write, putSQL},
		{&s.stmts.delete, s.write, deleteSQL},
		{&s.stmts.expire, s.write, purgeSQL},
	} {
		stmt, err := p.db.Prepare(p.text)
		if err != nil {
			return err
		}
		*p.stmt = stmt
	}
	return nil
}

// Get returns the item at k, or store.ErrNotFound. Every read is strong.
func (s *Store) Get(ctx context.Context, k store.Key, _ store.Consistency) (store.Item, error) {
	item := store.Item{Key: k}
	var expires int64
	err := s.stmts.get.QueryRowContext(ctx, k.PK, k.SK, s.now().Unix()).Scan(&item.Version, &item.Value, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Item{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	if err != nil {
		return store.Item{}, fmt.Errorf("reading %s: %w", k, classify(err))
	}
	item.Expires = fromSeconds(expires)
	return item, nil
}

// Query returns the items of r. Every read is strong.
func (s *Store) Query(ctx context.Context, r store.Range, _ store.Consistency) ([]store.Item, error) {
	from, to := interval(r)
	stmt, limit := s.stmts.query, r.Limit
	if r.Backward {
		stmt = s.stmts.queryBackward
	}
	if limit <= 0 {
		limit = -1 // SQLite's "all"
	}
	rows, err := stmt.QueryContext(ctx, r.PK, from, to, s.now().Unix(), limit)
	if err != nil {
		return nil, fmt.Errorf("querying %s/%s: %w", r.PK, r.Prefix, classify(err))
	}
	defer rows.Close()
	var items []store.Item
	for rows.Next() {
		item := store.Item{Key: store.Key{PK: r.PK}}
		var expires int64
		if err := rows.Scan(&item.SK, &item.Version, &item.Value, &expires); err != nil {
			return nil, fmt.Errorf("querying %s/%s: %w", r.PK, r.Prefix, classify(err))
		}
		item.Expires = fromSeconds(expires)
		items = append(items, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("querying %s/%s: %w", r.PK, r.Prefix, classify(err))
	}
	return items, nil
}

// interval returns the half-open interval of sort keys that r asks for. The byte 0xff is in no UTF-8 text, so it is
// above every sort key; the byte 0 appended to a text is the next greater one.
func interval(r store.Range) (from, to string) {
	from, to = r.Prefix, r.Prefix+"\xff"
	switch {
	case r.After == "":
	case r.Backward:
		to = min(to, r.After)
	default:
		from = max(from, r.After+"\x00")
	}
	return from, to
}

// Write applies all ops or none, in one transaction.
func (s *Store) Write(ctx context.Context, ops ...store.Op) error {
	if err := store.CheckWrite(ops); err != nil {
		return err
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing: %w", classify(err))
	}
	defer tx.Rollback() // does nothing after Commit
	now := s.now()
	for _, op := range ops {
		if err := s.apply(ctx, tx, op, now); err != nil {
			return fmt.Errorf("writing %s: %w", op.Item.Key, classify(err))
		}
	}
	if s.purgeDue(now) {
		if _, err := tx.StmtContext(ctx, s.stmts.expire).ExecContext(ctx, now.Unix(), purgeItems); err != nil {
			return fmt.Errorf("purging expired items: %w", classify(err))
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing: %w", classify(err))
	}
	return nil
}

func (s *Store) apply(ctx context.Context, tx *sql.Tx, op store.Op, now time.Time) error {
	k := op.Item.Key
	if want := op.If.Split(); want >= 0 {
		var version int64 // stays 0 when there is none
		err := tx.StmtContext(ctx, s.stmts.check).QueryRowContext(ctx, k.PK, k.SK, now.Unix()).Scan(&version)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if version != want {
			return fmt.Errorf("%w: at version %d, not %d", store.ErrConflict, version, want)
		}
	}
	var err error
	switch op.Kind {
	case store.OpPut:
		value := op.Item.Value
		if value == nil {
			value = []byte{}
		}
		_, err = tx.StmtContext(ctx, s.stmts.put).ExecContext(ctx, k.PK, k.SK, op.Item.Version, value, toSeconds(op.Item.Expires))
	case store.OpDelete:
		_, err = tx.StmtContext(ctx, s.stmts.delete).ExecContext(ctx, k.PK, k.SK)
	}
	return err
}

// purgeDue reports, once per purgeEvery, that expired items are to be removed. Readers never see them; this only keeps
// the file small.
func (s *Store) purgeDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.nextPurge) {
		return false
	}
	s.nextPurge = now.Add(purgeEvery)
	return true
}

// Close waits for calls under way and closes the file.
func (s *Store) Close() error {
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fmt.Errorf("closing store %s: %w", s.path, err)
	}
	return nil
}

// toSeconds returns t in Unix seconds, rounded up; 0 for the zero time.
func toSeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if t.Nanosecond() > 0 {
		t = t.Add(time.Second)
	}
	return max(1, t.Unix())
}

func fromSeconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
