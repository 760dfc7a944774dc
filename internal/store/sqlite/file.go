package sqlite

import (
	"database/sql"

	"github.com/palier-ota/palier/internal/sqlitefile"
	"github.com/palier-ota/palier/internal/store"
)

// What Open may find instead of a store.
var (
	ErrDamaged = sqlitefile.ErrDamaged // the file is not a Palier store, or can no longer be read
	ErrNewer   = sqlitefile.ErrNewer   // a newer Palier wrote it
)

// openFile opens the file for reading and for writing, with the schema in place.
func openFile(path string, opts Options) (read, write *sql.DB, err error) {
	return sqlitefile.Open(path,
		sqlitefile.Schema{Application: applicationID, Version: schemaVersion, SQL: schema},
		sqlitefile.Options{Readers: readers, BusyTimeout: opts.BusyTimeout, Relaxed: opts.Relaxed})
}

// classify wraps SQLite's errors in those of the contract.
func classify(err error) error { return sqlitefile.Classify(err, store.ErrUnavailable) }
