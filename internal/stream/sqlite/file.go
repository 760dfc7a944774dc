package sqlite

import (
	"database/sql"
	"fmt"
	"strings"

	"github.com/palier-ota/palier/internal/sqlitefile"
	"github.com/palier-ota/palier/internal/stream"
)

// What Open may find instead of a log.
var (
	ErrDamaged = sqlitefile.ErrDamaged // the file is not a Palier telemetry log, or can no longer be read
	ErrNewer   = sqlitefile.ErrNewer   // a newer Palier wrote it
)

// openFile opens the file for reading and for writing, with the schema in place: of opts.Shards, if it is new.
func openFile(path string, opts Options) (read, write *sql.DB, err error) {
	var tables strings.Builder
	tables.WriteString(schema)
	for shard := range positive(opts.Shards, defaultShards) {
		fmt.Fprintf(&tables, "INSERT INTO shards (shard, forgotten) VALUES (%d, 0);", shard)
	}
	return sqlitefile.Open(path,
		sqlitefile.Schema{Application: applicationID, Version: schemaVersion, SQL: tables.String()},
		sqlitefile.Options{Readers: readers, BusyTimeout: opts.BusyTimeout, Relaxed: opts.Relaxed})
}

// classify wraps SQLite's errors in those of the contract.
func classify(err error) error { return sqlitefile.Classify(err, stream.ErrOverloaded) }
