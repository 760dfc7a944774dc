// Package stream is the durable log between those who hear of telemetry and those who count it.
//
// Records carry the key of the device they came from; at any time a key falls on one shard, and a shard keeps the order
// of appends, so a device's events are read in the order in which they were acknowledged. Engines may split and merge
// shards as the load changes. A device's records are then found in the old shard and after them in the new one, so a
// reader who minds the order reads shards in the order in which they are listed, each to its end. Reading is at least
// once: a reader keeps its own checkpoint, next to what it computed, and may see a record again after a crash.
//
// Each engine is one folder beside this one and passes the suite in streamtest unchanged.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// Limits of the contract, which are Kinesis's.
const (
	MaxRecordBytes = 1_000_000
	MaxBatch       = 500       // records of one Append
	MaxBatchBytes  = 5_000_000 // their data together
	MaxRead        = 10_000    // records of one Read
)

// Errors of the contract.
var (
	// ErrOverloaded: the log takes no more right now; nothing of the batch that is not already acknowledged was
	// promised. The sender should come back later.
	ErrOverloaded = errors.New("telemetry log overloaded")
	// ErrTooLarge: a record or a batch is over the limits; nothing of it was appended, nor ever will be.
	ErrTooLarge = errors.New("record or batch too large")
	// ErrNoShard: the log has no shard of this name.
	ErrNoShard = errors.New("no such shard")
	// ErrPosition: a Position that no Read of this log ever returned.
	ErrPosition = errors.New("malformed position")
)

// Record is one entry to append.
type Record struct {
	Key  uint64 // hash of the device: decides the shard
	Data []byte
}

// Position is a place in a shard. The zero value is before the first record. Positions of one shard are ordered by
// Compare.
type Position string

// Compare orders two positions of the same shard: they are decimal numbers without leading zeros, as Kinesis's
// sequence numbers are.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(len(p), len(q)); c != 0 {
		return c
	}
	return cmp.Compare(p, q)
}

// Delivered is one record as read.
type Delivered struct {
	Position Position
	Data     []byte
}

// Stream is the contract. All methods honour the context's deadline and may be called concurrently.
type Stream interface {
	// Append makes all records durable, then returns nil. It fails with ErrOverloaded or ErrTooLarge, or with the
	// context's error. On an error other than ErrTooLarge any part of the batch may have been appended: the sender
	// repeats the whole batch, and readers must tolerate the duplicates. The batch may be used again once it returned.
	Append(ctx context.Context, batch []Record) error
	// Shards lists the names of the shards that take records, or took some that are still kept. A shard that came of
	// others stands behind them, and they have taken their last record by the time it is listed. The list changes where
	// shards are split and merged: whoever follows the whole log asks for it again and again.
	Shards(ctx context.Context) ([]string, error)
	// Read returns up to limit records of the shard after the position, oldest first; none when there are no more yet.
	// It may return fewer than there are, but at least one; a limit outside 1…MaxRead means MaxRead. A position that has
	// been trimmed reads on from the oldest record left. It fails with ErrNoShard and ErrPosition.
	Read(ctx context.Context, shard string, after Position, limit int) ([]Delivered, error)
	// Trim lets the engine forget records of the shard up to and including the position, once they are old enough for
	// its retention; it may keep them longer. Positions stay in use: no later record gets one of a trimmed record.
	Trim(ctx context.Context, shard string, upTo Position) error
	// Close ends the Appends under way, durably, and releases the engine.
	Close() error
}

// CheckBatch returns the bytes of the batch's data, or ErrTooLarge when it is over the limits. Engines call it first, so
// that a batch which one of them takes is taken by all.
func CheckBatch(batch []Record) (bytes int, err error) {
	if len(batch) > MaxBatch {
		return 0, fmt.Errorf("%w: %d records, at most %d", ErrTooLarge, len(batch), MaxBatch)
	}
	for _, r := range batch {
		if len(r.Data) > MaxRecordBytes {
			return 0, fmt.Errorf("%w: a record of %d bytes, at most %d", ErrTooLarge, len(r.Data), MaxRecordBytes)
		}
		bytes += len(r.Data)
	}
	if bytes > MaxBatchBytes {
		return 0, fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrTooLarge, bytes, MaxBatchBytes)
	}
	return bytes, nil
}
