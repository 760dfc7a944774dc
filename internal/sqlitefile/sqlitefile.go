// Package sqlitefile opens the SQLite files that engines keep their data in: one connection that writes and several that
// read, in WAL mode, readable by the owner only, with a schema whose version is checked.
//
// It knows nothing of what is in the file, and stands below every room that has one.
package sqlitefile

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrDamaged: the file is not one of this schema, or it is one that can no longer be read.
	ErrDamaged = errors.New("not a readable Palier file of this kind")
	// ErrNewer: a newer Palier wrote the file.
	ErrNewer = errors.New("written by a newer Palier")
)

// Schema is what a file must hold.
type Schema struct {
	Application int32  // SQLite's application_id, which tells one kind of file from another
	Version     int    // of the schema that this program knows
	SQL         string // statements that make an empty file one of this version
}

// Options are how a file is opened.
type Options struct {
	Readers     int           // reading connections at most
	BusyTimeout time.Duration // wait for another process's lock; zero is 5 s
	// Relaxed survives the death of the process but not a loss of power: it syncs at checkpoints only.
	Relaxed bool
}

// Open opens the file for reading and for writing, with the schema in place. A file that does not exist is made. It
// fails with ErrDamaged for a file of another program and ErrNewer for one of a later version; see Classify for others.
func Open(path string, schema Schema, opts Options) (read, write *sql.DB, err error) {
	if err := createFile(path); err != nil {
		return nil, nil, err
	}
	if write, err = sql.Open("sqlite", dsn(path, opts, "_txlock=immediate")); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if err := schema.migrate(write); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	if read, err = sql.Open("sqlite", dsn(path, opts, "_query_only=true")); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(opts.Readers)
	read.SetMaxIdleConns(opts.Readers)
	return read, write, nil
}

// createFile makes an empty file that only its owner may read, since SQLite would let everyone, and makes sure that its
// name is on disk too. A file that exists stays as it is.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w [its folder must exist and be writable]", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func dsn(path string, opts Options, extra string) string {
	busy := opts.BusyTimeout
	if busy <= 0 {
		busy = 5 * time.Second
	}
	sync := "FULL"
	if opts.Relaxed {
		sync = "NORMAL"
	}
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path)}
	return name.String() + "?_busy_timeout=" + strconv.FormatInt(busy.Milliseconds(), 10) +
		"&_journal_mode=WAL&_synchronous=" + sync + "&" + extra
}

// migrate brings the file to the schema's version, and refuses files that are not ours or newer than this program.
func (s Schema) migrate(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var version, tables int
	var application int32
	if err := tx.QueryRow(`SELECT (SELECT user_version FROM pragma_user_version),
		(SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)`).
		Scan(&version, &application, &tables); err != nil {
		return err
	}
	switch {
	case tables > 0 && application != s.Application:
		return fmt.Errorf("%w: it holds some other program's tables [name another file]", ErrDamaged)
	case version > s.Version:
		return fmt.Errorf("%w: schema %d, this program knows %d [run the newer palier, or restore a backup]", ErrNewer, version, s.Version)
	case version == s.Version:
		return nil
	}
	if _, err := tx.Exec(s.SQL + fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d;`, s.Application, s.Version)); err != nil {
		return err
	}
	return tx.Commit()
}

// Classify wraps SQLite's errors with what to do: in busy, the engine's own word for "try again later", where that may
// help, and in ErrDamaged where nothing but a backup does.
func Classify(err, busy error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the upper bits only refine the code
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: another process holds the file [stop it, or wait until it is done]: %w", busy, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: the disk is full [make room]: %w", busy, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w [restore it from a backup]: %w", ErrDamaged, err)
	}
	return err
}
