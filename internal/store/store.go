// Package store is where Palier keeps what it must not lose.
//
// The contract is three verbs over items that have a partition key, a sort key, a version and bytes: Get one, Query a
// partition by sort-key prefix, Write up to 100 of them together under conditions. That is the part of DynamoDB's
// model that SQLite can mirror exactly, and nothing in Palier asks for more: no join, no scan, no item over 400 KB.
// Each engine is one folder beside this one and passes the suite in storetest unchanged. What Palier keeps in the
// items, apps, device facts, tallies, verdicts, tokens, is written once, above the contract, in this package. Only a
// Snapshot may outgrow its item; then it is an object in Blobs, and the item says which.
package store

import (
	"context"
	"errors"
	"time"
)

// Limits of the contract, which are DynamoDB's.
const (
	MaxPKBytes    = 2048
	MaxSKBytes    = 1024
	MaxItemBytes  = 400_000   // key and value of one item
	MaxWriteItems = 100       // operations of one Write
	MaxWriteBytes = 4_000_000 // all items of one Write
)

// Errors of the contract. Engines wrap them with what they were doing.
var (
	ErrNotFound = errors.New("not found")
	// ErrConflict: a condition of a Write did not hold, or another Write got in the way; nothing was written. Read
	// again and decide anew.
	ErrConflict = errors.New("changed by someone else")
	// ErrTooLarge: an item or a Write exceeds the limits above; nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: a Write that no engine can carry out: a key that is empty, too long or not UTF-8, a version below 1,
	// two ops on one key; nothing was written.
	ErrInvalid = errors.New("invalid write")
	// ErrUnavailable: the engine cannot be reached or is throttling; the same call may work later.
	ErrUnavailable = errors.New("store unavailable")
)

// Key is an item's address: all items of a partition (PK) can be queried in the byte order of their SK. Both parts are
// non-empty UTF-8.
type Key struct{ PK, SK string }

// Item is one stored value. Version is positive and chosen by the writer, who gives every change another one.
type Item struct {
	Key
	Version int64
	Value   []byte
	// Expires is when the item ends; zero is never. Engines keep whole seconds, rounding up. From that instant on the item
	// is never returned, conditions see it as absent, and it may be gone at any later time.
	Expires time.Time
}

// Condition guards one operation of a Write.
type Condition struct {
	kind    conditionKind
	version int64
}

type conditionKind uint8

const (
	always conditionKind = iota
	absent
	atVersion
)

// Always lets the operation through.
func Always() Condition { return Condition{} }

// Absent demands that no item is at the key.
func Absent() Condition { return Condition{kind: absent} }

// AtVersion demands an item at the key with exactly this version. AtVersion(0) is Absent.
func AtVersion(v int64) Condition {
	if v == 0 {
		return Absent()
	}
	return Condition{kind: atVersion, version: v}
}

// Split returns what c demands, for engines: want 0 is absence, a negative want is nothing.
func (c Condition) Split() (want int64) {
	switch c.kind {
	case absent:
		return 0
	case atVersion:
		return c.version
	}
	return -1
}

// OpKind is what an Op does.
type OpKind uint8

// The kinds of operation.
const (
	OpPut OpKind = iota
	OpDelete
	OpCheck // writes nothing: only the condition
)

// Op is one operation of a Write.
type Op struct {
	Kind OpKind
	Item Item // for OpDelete and OpCheck only its Key counts
	If   Condition
}

// Put writes item if the condition holds.
func Put(item Item, c Condition) Op { return Op{Kind: OpPut, Item: item, If: c} }

// Delete removes the item at k if the condition holds; absent is fine under Always.
func Delete(k Key, c Condition) Op { return Op{Kind: OpDelete, Item: Item{Key: k}, If: c} }

// Check writes nothing and fails the Write unless the condition holds.
func Check(k Key, c Condition) Op { return Op{Kind: OpCheck, Item: Item{Key: k}, If: c} }

// Range selects part of a partition.
type Range struct {
	PK     string
	Prefix string // of the sort key; "" is the whole partition
	// After is exclusive: only sort keys beyond it in the direction of reading. "" starts at that direction's first.
	After    string
	Limit    int  // at most this many items; 0 means as many as there are
	Backward bool // descending
}

// Consistency of a read.
type Consistency bool

// The consistencies: Eventual reads are cheaper and may be a moment old, Strong ones see every Write that returned.
const (
	Eventual Consistency = false
	Strong   Consistency = true
)

// Store is the contract. All methods honour the context's deadline and may be called concurrently.
type Store interface {
	// Get returns the item at k, or ErrNotFound.
	Get(ctx context.Context, k Key, c Consistency) (Item, error)
	// Query returns the items of r in byte order of the sort key (reversed if Backward). Engines paginate inside.
	Query(ctx context.Context, r Range, c Consistency) ([]Item, error)
	// Write applies all ops or none. No two ops may name the same key. It fails with ErrConflict when a condition
	// does not hold, and with the errors of CheckWrite; then nothing was written. Any other error, such as a deadline
	// that passed on the way, leaves open whether the ops were applied: a writer who must know reads again.
	Write(ctx context.Context, ops ...Op) error
	// Close releases the engine; every Write that returned is durable before and after it.
	Close() error
}
