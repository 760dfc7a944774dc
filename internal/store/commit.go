package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// Commit replaces the app's State before by after in one Write: the entities that differ, the markers of live rollouts,
// the Facts of devices that an operator named, the audit events, and the Snapshot compiled from after, at the revision
// that follows before's. It returns after as stored. before must come from Load, from an earlier Commit, or have
// Revision 0 to create the app; neither argument is changed.
//
// It fails with ErrConflict, and nothing is written, when anyone else changed the app since before; load again and
// decide anew. It fails with ErrTooLarge when the change needs more than MaxWriteItems operations (see Split) or a part
// is too big to store, which a TooLargeError explains, and with an UnservableError when the Snapshot would not compile.
func (a Apps) Commit(ctx context.Context, before, after rollout.State, events []rollout.Event) (rollout.State, error) {
	app := after.App.ID
	fail := func(err error) (rollout.State, error) {
		return rollout.State{}, fmt.Errorf("committing app %s: %w", app, err)
	}
	if err := checkApp(app); err != nil {
		return fail(err)
	}
	if before.Revision > 0 && before.App.ID != app {
		return fail(fmt.Errorf("%w: the states are of different apps", ErrInvalid))
	}
	base := before.Revision
	if base == 0 {
		var err error
		before = rollout.State{}
		if base, before.Generation, err = a.vacant(ctx, app); err != nil {
			return fail(err)
		}
	}
	changed := diffDevices(before, after)
	after.Revision, after.Generation = base+1, before.Generation
	after.Owned = resolve.WithOwned(mergeOwned(before.Owned, after.Owned), withChannel(changed)...)
	snapshot, err := a.packSnapshot(after)
	if err != nil {
		return fail(err)
	}
	ops, err := a.commitOps(before, after, snapshot.item, events)
	if err != nil {
		return fail(err)
	}
	err = a.exchange(ctx, snapshot, func() error {
		return a.writeWithFacts(ctx, at{app, base, after.Generation}, ops, changed)
	})
	if err != nil {
		return fail(err)
	}
	return filled(after), nil
}

// filled returns state without nil maps, as Load returns it.
func filled(state rollout.State) rollout.State {
	state.Bundles = applied(state.Bundles, nil)
	state.Channels = applied(state.Channels, nil)
	state.Segments = applied(state.Segments, nil)
	state.Devices = applied(state.Devices, nil)
	state.Plans = applied(state.Plans, nil)
	state.Rollouts = applied(state.Rollouts, nil)
	return state
}

// commitOps returns everything that a Commit writes except the Facts.
func (a Apps) commitOps(before, after rollout.State, snapshot Item, events []rollout.Event) ([]Op, error) {
	app := after.App.ID
	content := appItem{App: after.App, Owned: after.Owned, Generation: after.Generation, Retired: after.Retired}
	head, err := headOp(app, content, after.Revision-1)
	if err != nil {
		return nil, err
	}
	ops := []Op{head, Put(snapshot, Always())}
	if before.Revision == 0 {
		ops = append(ops, Put(Item{Key: indexKey(app), Version: after.Revision}, Always()))
	}
	for _, c := range diffStates(before, after) {
		op, err := c.op(app, after.Revision)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	live, err := liveOps(before, after)
	if err != nil {
		return nil, err
	}
	audit, err := a.eventOps(app, events)
	return slices.Concat(ops, live, audit), err
}

// at is where an app stands when it is written to.
type at struct {
	app        string
	base       int64 // the version of its APP item
	generation int64
}

// writeWithFacts writes ops together with the Facts of the changed devices. Devices write their own Facts at any
// moment, which is no reason to refuse a change of the app: as long as the app is still at base, it tries again.
func (a Apps) writeWithFacts(ctx context.Context, here at, ops []Op, changed []deviceChange) error {
	if len(changed) == 0 {
		return a.Store.Write(ctx, ops...)
	}
	for range factsAttempts {
		facts, err := a.factsOps(ctx, here, changed)
		if err != nil {
			return err
		}
		err = a.Store.Write(ctx, slices.Concat(ops, facts)...)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		switch now, headErr := a.Store.Get(ctx, appKey(here.app), Strong); {
		case headErr != nil && !isAbsent(headErr):
			return headErr
		case now.Version != here.base: // 0 when absent
			return err
		}
	}
	return fmt.Errorf("%w: the devices' own records, %d times in a row", ErrConflict, factsAttempts)
}

func (a Apps) factsOps(ctx context.Context, here at, changed []deviceChange) ([]Op, error) {
	var ops []Op
	for _, c := range changed {
		facts, version, err := Devices{a.Store}.read(ctx, here.app, c.id)
		if err != nil {
			return nil, err
		}
		facts = facts.Of(here.generation)
		nameDevice(&facts, c.word, c.named)
		op, err := factsOp(here.app, c.id, facts, version)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// vacant returns the version that the APP item of an app to be created must be at, and the app's generation: zeros, or
// what follows from what a deletion left behind, which it finishes to clear first. It fails with ErrConflict when the app
// exists.
func (a Apps) vacant(ctx context.Context, app string) (version, generation int64, err error) {
	item, head, err := a.head(ctx, app, Strong)
	switch {
	case err == nil:
		return 0, 0, fmt.Errorf("%w: it exists already", ErrConflict)
	case head.Deleted:
		return item.Version, head.Generation + 1, a.sweep(ctx, at{app, item.Version, head.Generation}, head.Object)
	case isAbsent(err):
		return 0, 0, nil
	}
	return 0, 0, err
}

// UnservableError refuses a State whose Snapshot does not compile: committed, it would leave the app's devices with no
// answer but an error.
type UnservableError struct{ Cause error } // what resolve.Compile found

// Error says what does not compile.
func (e *UnservableError) Error() string {
	return fmt.Sprintf("devices could not be served the result: %v", e.Cause)
}

// Unwrap returns the cause.
func (e *UnservableError) Unwrap() error { return e.Cause }

func headOp(app string, head appItem, base int64) (Op, error) {
	value, err := encodeValue(head)
	return Put(Item{Key: appKey(app), Version: base + 1, Value: value}, AtVersion(base)), err
}

// liveOps keeps the index of live rollouts.
func liveOps(before, after rollout.State) ([]Op, error) {
	var ops []Op
	for id, r := range after.Rollouts {
		if !r.State.Live() || before.Rollouts[id].State.Live() {
			continue
		}
		value, err := encodeValue(LiveRollout{App: after.App.ID, Rollout: id})
		if err != nil {
			return nil, err
		}
		ops = append(ops, Put(Item{Key: liveKey(after.App.ID, id), Version: after.Revision, Value: value}, Always()))
	}
	for id, r := range before.Rollouts {
		if r.State.Live() && !after.Rollouts[id].State.Live() {
			ops = append(ops, Delete(liveKey(after.App.ID, id), Always()))
		}
	}
	return ops, nil
}

// eventOps appends to the audit log. Events without an ID get one.
func (a Apps) eventOps(app string, events []rollout.Event) ([]Op, error) {
	ops := make([]Op, len(events))
	for i, e := range events {
		if e.ID == "" {
			e.ID = a.NewID(e.Time)
		}
		value, err := encodeValue(e)
		if err != nil {
			return nil, err
		}
		ops[i] = Put(Item{Key: entityKey(app, prefixEvent, e.ID), Version: 1, Value: value}, Absent())
	}
	return ops, nil
}

// entityChange is one entity to be written, or removed when value is nil.
type entityChange struct {
	prefix, id string
	value      any
}

func (c entityChange) op(app string, revision int64) (Op, error) {
	key := entityKey(app, c.prefix, c.id)
	if c.value == nil {
		return Delete(key, Always()), nil
	}
	value, err := encodeValue(c.value)
	if err != nil {
		return Op{}, err
	}
	item := Item{Key: key, Version: revision, Value: value}
	if size := itemSize(item); size > MaxItemBytes {
		return Op{}, &TooLargeError{What: c.String(), Bytes: size, Most: MaxItemBytes, Hint: "split it, or list fewer files or devices in it"}
	}
	return Put(item, Always()), nil
}

// String names the entity as operators do: "bundle 1.4.0".
func (c entityChange) String() string {
	return strings.ToLower(strings.TrimSuffix(c.prefix, "#")) + " " + c.id
}

// diffStates lists the entities that differ.
func diffStates(before, after rollout.State) []entityChange {
	return slices.Concat(
		diff(prefixBundle, before.Bundles, after.Bundles),
		diff(prefixSegment, before.Segments, after.Segments),
		diff(prefixPlan, before.Plans, after.Plans),
		diff(prefixChannel, before.Channels, after.Channels),
		diff(prefixRollout, before.Rollouts, after.Rollouts),
		diff(prefixDevice, before.Devices, after.Devices),
	)
}

func diff[T any](prefix string, before, after map[string]T) []entityChange {
	if sameMap(before, after) {
		return nil
	}
	var changes []entityChange
	for id, entity := range after {
		if old, had := before[id]; !had || !equal(old, entity) {
			changes = append(changes, entityChange{prefix, id, entity})
		}
	}
	for id := range before {
		if _, has := after[id]; !has {
			changes = append(changes, entityChange{prefix, id, nil})
		}
	}
	slices.SortFunc(changes, func(a, b entityChange) int { return strings.Compare(a.id, b.id) })
	return changes
}

// sameMap reports whether a and b are one map in memory, as they are when a change is made to a copy of a State.
func sameMap[T any](a, b map[string]T) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

func equal[T any](a, b T) bool {
	if a, ok := any(a).(rollout.Device); ok { // there can be many, and they are plain values
		return a == any(b).(rollout.Device)
	}
	return reflect.DeepEqual(a, b)
}

// deviceChange is an operator's new word on a device; named is false when it was taken back.
type deviceChange struct {
	id    string
	word  rollout.Device
	named bool
}

func diffDevices(before, after rollout.State) []deviceChange {
	var changes []deviceChange
	for _, c := range diff(prefixDevice, before.Devices, after.Devices) {
		word, named := after.Devices[c.id]
		changes = append(changes, deviceChange{c.id, word, named})
	}
	return changes
}

// withChannel returns the ids of the devices that may have a channel of their own from now on.
func withChannel(changes []deviceChange) []string {
	var ids []string
	for _, c := range changes {
		if c.named && c.word.Channel != "" {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// mergeOwned returns the bits of both bitmaps: bits are only ever set.
func mergeOwned(a, b []byte) []byte {
	if len(a) != len(b) {
		if len(a) > len(b) {
			return a
		}
		return b
	}
	both := slices.Clone(a)
	for i := range both {
		both[i] |= b[i]
	}
	return both
}

func itemSize(i Item) int { return len(i.PK) + len(i.SK) + len(i.Value) }
