package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Tallies reads what was counted of rollouts.
type Tallies struct{ Store Store }

// The items of a rollout's partition that are no tallies, whose keys start with a digit: when a shard's newest counted
// check was received, and what a shard heard for people to look at.
const (
	prefixNewest = "newest#"
	prefixSketch = "sketch#"
)

func talliesPK(app, rollout string) string { return "TALLY#" + app + "#" + rollout }

func tallyKey(app, rolloutID, shard string, k telemetry.TallyKey) Key {
	return Key{talliesPK(app, rolloutID), fmt.Sprintf("%02d#%010d#%d#%s", k.Phase, k.Hour, k.Arm, shard)}
}

// parseTallySK reads the sort key of tallyKey.
func parseTallySK(sk string) (telemetry.Row, error) {
	parts := strings.SplitN(sk, "#", 4)
	if len(parts) != 4 {
		return telemetry.Row{}, fmt.Errorf("%w: %q is no key of a tally", ErrInvalid, sk)
	}
	phase, errPhase := strconv.Atoi(parts[0])
	hour, errHour := strconv.ParseInt(parts[1], 10, 64)
	arm, errArm := strconv.ParseUint(parts[2], 10, 8)
	if err := errors.Join(errPhase, errHour, errArm); err != nil {
		return telemetry.Row{}, fmt.Errorf("%w: %q is no key of a tally: %w", ErrInvalid, sk, err)
	}
	return telemetry.Row{
		Shard:    parts[3],
		TallyKey: telemetry.TallyKey{Phase: phase, Hour: hour, Arm: rollout.Arm(arm)},
	}, nil
}

// newestItem says when the newest counted check of a rollout was received, in Unix milliseconds.
type newestItem struct {
	Newest int64 `json:"newest"`
}

// Load returns the tallies of a rollout as all shards have committed them, ordered by phase, hour, arm and shard. A
// rollout of which nothing was counted has none.
func (t Tallies) Load(ctx context.Context, app, rolloutID string) (telemetry.Tallies, error) {
	fail := func(err error) (telemetry.Tallies, error) {
		return telemetry.Tallies{}, fmt.Errorf("loading tallies of rollout %s: %w", rolloutID, err)
	}
	out := telemetry.Tallies{}
	// How far the shards are comes first: rows read after it hold at least what it vouches for.
	var err error
	if out.Newest, out.Complete, err = t.progress(ctx, app, rolloutID); err != nil {
		return fail(err)
	}
	items, err := t.Store.Query(ctx, Range{PK: talliesPK(app, rolloutID)}, Strong)
	if err != nil {
		return fail(err)
	}
	out.Rows = make([]telemetry.Row, 0, len(items))
	for _, item := range items {
		if strings.HasPrefix(item.SK, prefixNewest) || strings.HasPrefix(item.SK, prefixSketch) {
			continue
		}
		row, err := parseTallySK(item.SK)
		if err != nil {
			return fail(err)
		}
		if row.Tally, err = telemetry.DecodeTally(item.Value); err != nil {
			return fail(err)
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

// progress returns when the newest counted check of a rollout was received, and the time up to which the shards that have
// any have counted all of them; zero times when there are none.
func (t Tallies) progress(ctx context.Context, app, rolloutID string) (newest, complete time.Time, err error) {
	items, err := t.Store.Query(ctx, Range{PK: talliesPK(app, rolloutID), Prefix: prefixNewest}, Strong)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	for _, item := range items {
		var counted newestItem
		if err := decodeItem(item, &counted); err != nil {
			return time.Time{}, time.Time{}, err
		}
		at := time.UnixMilli(counted.Newest).UTC()
		if at.After(newest) {
			newest = at
		}
		if complete.IsZero() || at.Before(complete) {
			complete = at
		}
	}
	return newest, complete, nil
}

// Sketches returns the summaries of what devices reported in a rollout, one per shard that has any, as package sketch
// encodes them. They are for people to look at, so the read may be a moment old.
func (t Tallies) Sketches(ctx context.Context, app, rolloutID string) ([][]byte, error) {
	items, err := t.Store.Query(ctx, Range{PK: talliesPK(app, rolloutID), Prefix: prefixSketch}, Eventual)
	if err != nil {
		return nil, fmt.Errorf("loading sketches of rollout %s: %w", rolloutID, err)
	}
	sketches := make([][]byte, len(items))
	for i, item := range items {
		sketches[i] = item.Value
	}
	return sketches, nil
}

// Shard is the place of one shard of a telemetry stream: its checkpoint, and per rollout the device records and tally
// rows that only this shard's aggregator writes.
type Shard struct {
	Store  Store
	Stream string
	Name   string
}

// Checkpoint says how far a shard was folded.
type Checkpoint struct {
	Position string `json:"position"`         // of the last record folded; "" before the first
	Newest   int64  `json:"newest,omitempty"` // when the newest event was received, Unix milliseconds; 0 before the first
	// Compacted is the Version of the last Commit that wrote a leaf or removed a patch. Who has read the shard's device
	// records since then needs only the patches from the last one read on; see Shard.Pages.
	Compacted int64 `json:"compacted,omitempty"`
	version   int64
}

// Version rises by one with every Commit of the shard; 0 is before the first.
func (c Checkpoint) Version() int64 { return c.version }

func (s Shard) checkpointKey() Key { return Key{"SHARD#" + s.Stream, s.Name} }

func (s Shard) seenPK(app, rolloutID string) string {
	return "SEEN#" + app + "#" + rolloutID + "#" + s.Stream + "#" + s.Name
}

const (
	prefixLeaf  = "leaf#"
	prefixPatch = "patch#"
)

func leafSK(low uint64) string      { return fmt.Sprintf(prefixLeaf+"%016x", low) }
func patchSK(sequence int64) string { return fmt.Sprintf(prefixPatch+"%016x", sequence) }
func (s Shard) newestSK() string    { return prefixNewest + s.Name }
func (s Shard) sketchSK() string    { return prefixSketch + s.Name }
func (s Shard) fail(doing string, err error) error {
	return fmt.Errorf("%s of shard %s/%s: %w", doing, s.Stream, s.Name, err)
}

// Checkpoint returns how far the shard was folded: the zero Checkpoint if it never was.
func (s Shard) Checkpoint(ctx context.Context) (Checkpoint, error) {
	item, err := s.Store.Get(ctx, s.checkpointKey(), Strong)
	if errors.Is(err, ErrNotFound) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, s.fail("reading the checkpoint", err)
	}
	c := Checkpoint{}
	if err := decodeItem(item, &c); err != nil {
		return Checkpoint{}, s.fail("reading the checkpoint", err)
	}
	c.version = item.Version
	return c, nil
}

// Pages returns the stored form of a rollout's device records: the leaves, and the patches in the order of their
// sequences. With a sequence above 0 it returns only the patches from that one on.
func (s Shard) Pages(ctx context.Context, app, rolloutID string, from int64) (leaves []telemetry.Leaf, patches []telemetry.Patch, err error) {
	fail := func(err error) ([]telemetry.Leaf, []telemetry.Patch, error) {
		return nil, nil, s.fail("reading the devices of rollout "+rolloutID, err)
	}
	r := Range{PK: s.seenPK(app, rolloutID)}
	if from > 0 {
		r.Prefix, r.After = prefixPatch, patchSK(from-1)
	}
	items, err := s.Store.Query(ctx, r, Strong)
	if err != nil {
		return fail(err)
	}
	for _, item := range items {
		prefix, number, _ := strings.Cut(item.SK, "#")
		n, err := strconv.ParseUint(number, 16, 64)
		switch {
		case err == nil && prefix+"#" == prefixLeaf:
			leaves = append(leaves, telemetry.Leaf{Low: n, Data: item.Value})
		case err == nil && prefix+"#" == prefixPatch && n <= math.MaxInt64:
			patches = append(patches, telemetry.Patch{Sequence: int64(n), Data: item.Value})
		default:
			return fail(fmt.Errorf("%w: unexpected item %s", ErrInvalid, item.Key))
		}
	}
	return leaves, patches, nil
}

// Tally returns the shard's row of a rollout at k; one that does not exist counts nothing.
func (s Shard) Tally(ctx context.Context, app, rolloutID string, k telemetry.TallyKey) (telemetry.Tally, error) {
	item, err := s.Store.Get(ctx, tallyKey(app, rolloutID, s.Name, k), Strong)
	if errors.Is(err, ErrNotFound) {
		return telemetry.Tally{}, nil
	}
	if err != nil {
		return telemetry.Tally{}, s.fail("reading a tally of rollout "+rolloutID, err)
	}
	t, err := telemetry.DecodeTally(item.Value)
	if err != nil {
		return telemetry.Tally{}, s.fail("reading a tally of rollout "+rolloutID, err)
	}
	return t, nil
}

// Newest returns when the newest counted check of a rollout was received in this shard, in Unix milliseconds; 0 if
// there was none.
func (s Shard) Newest(ctx context.Context, app, rolloutID string) (int64, error) {
	item, err := s.Store.Get(ctx, Key{talliesPK(app, rolloutID), s.newestSK()}, Strong)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, s.fail("reading the newest check of rollout "+rolloutID, err)
	}
	var newest newestItem
	if err := decodeItem(item, &newest); err != nil {
		return 0, s.fail("reading the newest check of rollout "+rolloutID, err)
	}
	return newest.Newest, nil
}

// Sketch returns the shard's summary of what devices reported in a rollout, as the last Commit with a Fold.Sketch wrote it;
// nil if none did.
func (s Shard) Sketch(ctx context.Context, app, rolloutID string) ([]byte, error) {
	item, err := s.Store.Get(ctx, Key{talliesPK(app, rolloutID), s.sketchSK()}, Strong)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.fail("reading the sketch of rollout "+rolloutID, err)
	}
	return item.Value, nil
}

// Fold is what one Commit changes of one rollout. Every field may be empty.
type Fold struct {
	App, Rollout string
	Tallies      map[telemetry.TallyKey]telemetry.Tally // new values of rows; one that counts nothing is removed
	Newest       int64                                  // new value of Newest; 0 leaves it
	Patches      []telemetry.Patch                      // to write
	Leaves       []telemetry.Leaf                       // to write
	Merged       []int64                                // sequences of patches to delete
	Sketch       []byte                                 // new value of Sketch; nil leaves it
}

// Ops returns how many operations of a Write the Fold takes.
func (f Fold) Ops() int {
	n := len(f.Tallies) + len(f.Patches) + len(f.Leaves) + len(f.Merged)
	if f.Newest != 0 {
		n++
	}
	if f.Sketch != nil {
		n++
	}
	return n
}

// compacts reports whether the Fold changes more of the device records than adding to them.
func (f Fold) compacts() bool { return len(f.Leaves)+len(f.Merged) > 0 }

// Commit moves the shard's checkpoint to after and writes the folds, all or nothing. before must be what Checkpoint or
// the last Commit returned: if anyone else committed since, it fails with ErrConflict, nothing is written, and all that
// was read of the shard must be read again. That makes whoever commits the only writer, however many are running. It
// fails with ErrTooLarge when the folds need more than MaxWriteItems-1 operations together.
func (s Shard) Commit(ctx context.Context, before, after Checkpoint, folds ...Fold) (Checkpoint, error) {
	after.version = before.version + 1
	if slices.ContainsFunc(folds, Fold.compacts) {
		after.Compacted = after.version
	}
	value, err := encodeValue(after)
	if err != nil {
		return Checkpoint{}, s.fail("committing a fold", err)
	}
	ops := []Op{Put(Item{Key: s.checkpointKey(), Version: after.version, Value: value}, AtVersion(before.version))}
	for _, f := range folds {
		if ops, err = s.appendFold(ops, f, after.version); err != nil {
			return Checkpoint{}, s.fail("committing a fold", err)
		}
	}
	if err := s.Store.Write(ctx, ops...); err != nil {
		return Checkpoint{}, s.fail("committing a fold", err)
	}
	return after, nil
}

// appendFold adds the operations of f. They need no condition: the checkpoint's guards them all.
func (s Shard) appendFold(ops []Op, f Fold, version int64) ([]Op, error) {
	put := func(k Key, value []byte) {
		ops = append(ops, Put(Item{Key: k, Version: version, Value: value}, Always()))
	}
	for _, k := range telemetry.Delta(f.Tallies).Keys() {
		at, t := tallyKey(f.App, f.Rollout, s.Name, k), f.Tallies[k]
		if t == (telemetry.Tally{}) {
			ops = append(ops, Delete(at, Always()))
			continue
		}
		value, err := t.Encode()
		if err != nil {
			return nil, err
		}
		put(at, value)
	}
	if f.Newest != 0 {
		value, err := json.Marshal(newestItem{f.Newest})
		if err != nil {
			return nil, fmt.Errorf("encode newest check: %w", err)
		}
		put(Key{talliesPK(f.App, f.Rollout), s.newestSK()}, value)
	}
	if f.Sketch != nil {
		put(Key{talliesPK(f.App, f.Rollout), s.sketchSK()}, f.Sketch)
	}
	seen := s.seenPK(f.App, f.Rollout)
	for _, p := range f.Patches {
		put(Key{seen, patchSK(p.Sequence)}, p.Data)
	}
	for _, leaf := range f.Leaves {
		put(Key{seen, leafSK(leaf.Low)}, leaf.Data)
	}
	for _, sequence := range f.Merged {
		ops = append(ops, Delete(Key{seen, patchSK(sequence)}, Always()))
	}
	return ops, nil
}
