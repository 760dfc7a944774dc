package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// sweepItems is how many entities one step of clearing a deleted app takes: each may need two operations, beside the
// check of the APP item.
const sweepItems = 45

// sweepBytes bounds the entities of one step: what is deleted may count as part of a Write's size, too.
const sweepBytes = MaxWriteBytes - MaxItemBytes

// Delete removes the app: at once its Snapshot, so that its devices are told it is unknown, then its entities in steps.
// It fails with ErrConflict when anyone changed the app since state was loaded, and then nothing was written. If it
// fails later, the app is gone all the same; what is left is cleared when an app of the same id is made.
//
// The audit log stays, and so does the app's last revision, so that edges which held an old Snapshot never mistake it
// for a newer one. So do the Facts that devices wrote themselves: no list of them exists. They are of this generation and
// say nothing to a later app of the same id. The tallies of its rollouts, what was seen of the streams they were counted
// from, and the verdicts stay too (the TALLY#, SEEN# and VERDICT# partitions): they are filed under ids of rollouts, which
// no later app has. Verdicts expire.
func (a Apps) Delete(ctx context.Context, state rollout.State, events []rollout.Event) error {
	app := state.App.ID
	object, err := a.object(ctx, snapshotKey(app))
	if err != nil {
		return fmt.Errorf("deleting app %s: %w", app, err)
	}
	content := appItem{App: rollout.App{ID: app}, Generation: state.Generation, Deleted: true, Object: object}
	head, err := headOp(app, content, state.Revision)
	if err != nil {
		return fmt.Errorf("deleting app %s: %w", app, err)
	}
	audit, err := a.eventOps(app, events)
	if err != nil {
		return fmt.Errorf("deleting app %s: %w", app, err)
	}
	ops := []Op{head, Delete(snapshotKey(app), Always()), Delete(indexKey(app), Always())}
	if err := a.Store.Write(ctx, slices.Concat(ops, audit)...); err != nil {
		return fmt.Errorf("deleting app %s: %w", app, err)
	}
	if err := a.sweep(ctx, at{app, state.Revision + 1, state.Generation}, object); err != nil {
		return fmt.Errorf("app %s is deleted, but clearing up after it: %w", app, err)
	}
	return nil
}

// sweep clears the entities of a deleted app, and the object of its Snapshot if it had one. Every step checks that its
// APP item is still the one given, so that nothing of a new app of the same id can be hit.
func (a Apps) sweep(ctx context.Context, here at, object string) error {
	for _, prefix := range []string{prefixRollout, prefixChannel, prefixPlan, prefixSegment, prefixBundle, prefixDevice} {
		items, err := a.Store.Query(ctx, Range{PK: appPK(here.app), Prefix: prefix}, Strong)
		if err != nil {
			return err
		}
		for part := range sweepParts(items) {
			if err := a.sweepPart(ctx, here, prefix, part); err != nil {
				return err
			}
		}
	}
	if object == "" || a.Large == nil {
		return nil
	}
	if err := a.Large.Delete(ctx, object); err != nil {
		return fmt.Errorf("removing %s: %w", object, err)
	}
	return nil
}

// sweepParts cuts items into what one step clears.
func sweepParts(items []Item) iter.Seq[[]Item] {
	return func(yield func([]Item) bool) {
		for len(items) > 0 {
			n, size := 1, itemSize(items[0])
			for n < min(len(items), sweepItems) && size+itemSize(items[n]) <= sweepBytes {
				size += itemSize(items[n])
				n++
			}
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}

// sweepPart clears some entities of one kind, with what was written beside them: live markers, and the operator's word
// in the Facts of devices.
func (a Apps) sweepPart(ctx context.Context, here at, prefix string, part []Item) error {
	ops := []Op{Check(appKey(here.app), AtVersion(here.base))}
	var unnamed []deviceChange
	for _, item := range part {
		id := strings.TrimPrefix(item.SK, prefix)
		ops = append(ops, Delete(item.Key, Always()))
		switch prefix {
		case prefixRollout:
			ops = append(ops, Delete(liveKey(here.app, id), Always()))
		case prefixDevice:
			unnamed = append(unnamed, deviceChange{id: id})
		}
	}
	return a.writeWithFacts(ctx, here, ops, unnamed)
}
