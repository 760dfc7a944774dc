package store

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// CheckWrite tells what every engine refuses before it touches anything: more than MaxWriteItems ops, items or a whole
// Write above their sizes (ErrTooLarge), malformed keys, versions below 1 and two ops on one key (ErrInvalid). Engines
// call it first, so that a Write which one of them takes is taken by all.
func CheckWrite(ops []Op) error {
	if len(ops) > MaxWriteItems {
		return fmt.Errorf("%w: %d operations in one write, at most %d", ErrTooLarge, len(ops), MaxWriteItems)
	}
	seen := make(map[Key]struct{}, len(ops))
	total := 0
	for _, op := range ops {
		size, err := checkOp(op)
		if err != nil {
			return err
		}
		if _, twice := seen[op.Item.Key]; twice {
			return fmt.Errorf("%w: two operations on %s", ErrInvalid, op.Item.Key)
		}
		seen[op.Item.Key] = struct{}{}
		total += size
	}
	if total > MaxWriteBytes {
		return fmt.Errorf("%w: a write of %d bytes, at most %d", ErrTooLarge, total, MaxWriteBytes)
	}
	return nil
}

// checkOp returns the bytes that op counts towards the limits.
func checkOp(op Op) (size int, err error) {
	k := op.Item.Key
	if !k.Valid() {
		return 0, fmt.Errorf("%w: the key %.80q is empty, too long or not UTF-8", ErrInvalid, k.String())
	}
	size = len(k.PK) + len(k.SK)
	if op.Kind != OpPut {
		return size, nil
	}
	if op.Item.Version < 1 {
		return 0, fmt.Errorf("%w: %s has version %d, want at least 1", ErrInvalid, k, op.Item.Version)
	}
	if size += len(op.Item.Value); size > MaxItemBytes {
		return 0, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrTooLarge, k, size, MaxItemBytes)
	}
	return size, nil
}

// Valid reports whether an item can be at k: whether both parts are UTF-8 of at least one byte and within the limits.
func (k Key) Valid() bool { return validKeyPart(k.PK, MaxPKBytes) && validKeyPart(k.SK, MaxSKBytes) }

func validKeyPart(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s)
}

// String returns the key as people write it: partition, slash, sort key. It names no device, since errors with keys in
// them are logged.
func (k Key) String() string {
	if rest, ok := strings.CutPrefix(k.PK, pkDevice); ok {
		if app, _, ok := strings.Cut(rest, "#"); ok {
			k.PK = pkDevice + app + "#…"
		}
	}
	if strings.HasPrefix(k.PK, appPK("")) && len(k.SK) > len(prefixDevice) && strings.HasPrefix(k.SK, prefixDevice) {
		k.SK = prefixDevice + "…"
	}
	return k.PK + "/" + k.SK
}
