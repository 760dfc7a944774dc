package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Slots is how many parts the devices of a pushed stream are counted in. It can never change: a device that moved to
// another slot would be counted there once more.
const Slots = 16

const (
	slotBits     = 4
	slotAttempts = 10 // to fold into one slot, when others commit in between; each conflict means that one of them got on
	slotsAtOnce  = 8
)

// Slot returns the slot in which a device is counted: the top bits of its fingerprint, which are the top bits of the
// stream's hash range too, so that each of equal shards holds whole slots if their number is a power of two up to Slots.
func Slot(fingerprint uint64) int { return int(fingerprint >> (64 - slotBits)) }

// slotName is the name under which a slot's checkpoint, device records and tallies are kept.
func slotName(slot int) string { return fmt.Sprintf("s%02d", slot) }

// Result is what FoldBatch did.
type Result struct {
	Poison []Poison // records that cannot be decoded and were not counted, in the order of the batch
	// Unsafe is, when FoldBatch failed, the position of the first record that may not be counted: all records before it
	// are, except for the Poison. It is "" when FoldBatch returned without error.
	Unsafe stream.Position
}

// Poison is a record that cannot be decoded.
type Poison struct {
	Index int   // of the record in the batch
	Err   error // what is wrong with it
}

// FoldBatch folds records that an engine pushed, which keeps the place in the stream itself: in any order, in any pieces,
// any number of times, and by any number of aggregators at once. Each slot is folded on its own, under its checkpoint's
// version, and read anew when someone else was faster.
//
// Without an error every record but the Poison, which the caller must keep, is counted for good. Otherwise some slots are
// counted and some are not, and the batch must come again from Result.Unsafe on. When ctx ends that is the error.
func (a *Aggregator) FoldBatch(ctx context.Context, batch []stream.Delivered) (Result, error) {
	var result Result
	var slots [Slots]slotNews
	for i, record := range batch {
		event, err := a.decode(record)
		if err != nil {
			result.Poison = append(result.Poison, Poison{i, err})
			continue
		}
		slots[Slot(event.Device)].add(i, event)
	}
	errs := a.foldSlots(ctx, slots[:])
	first := len(batch)
	for i, err := range errs {
		if err != nil {
			first = min(first, slots[i].first)
		}
	}
	if first < len(batch) {
		result.Unsafe = batch[first].Position
	}
	return result, errors.Join(errs...)
}

// slotNews is what a batch says of one slot's devices.
type slotNews struct {
	hearing
	heard bool
	first int // index of its first record in the batch
}

// add takes in what the event of the batch's i-th record says.
func (n *slotNews) add(i int, event telemetry.Event) {
	if !n.heard {
		n.heard, n.first = true, i
	}
	n.hearing.add(event)
}

// foldSlots folds what was heard into the slots, several at once because most of the time goes by waiting for the store,
// and returns the error of each.
func (a *Aggregator) foldSlots(ctx context.Context, slots []slotNews) []error {
	errs := make([]error, len(slots))
	var folding errgroup.Group
	folding.SetLimit(slotsAtOnce)
	for slot := range slots {
		if !slots[slot].heard {
			continue
		}
		folding.Go(func() error {
			errs[slot] = a.foldSlot(ctx, slotName(slot), slots[slot].hearing)
			return nil
		})
	}
	_ = folding.Wait() // each slot's error is its own
	return errs
}

// foldSlot folds what was heard of one slot, from fresh state when others commit in between.
func (a *Aggregator) foldSlot(ctx context.Context, name string, heard hearing) error {
	s := a.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	for attempt := 1; ; attempt++ {
		err := a.foldAfresh(ctx, s, heard)
		if err == nil {
			return nil
		}
		if attempt == slotAttempts || !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("slot %s: %w", name, err)
		}
	}
}

// foldAfresh folds what was heard of one slot, if nobody else commits in between. It looks at the checkpoint first:
// another host is likely to have folded the slot since this one did, and a small read costs less than a refused write.
func (a *Aggregator) foldAfresh(ctx context.Context, s *shard, heard hearing) error {
	if err := s.reopen(ctx); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	after := s.checkpoint
	after.Newest = max(heard.newest, after.Newest)
	return a.fold(ctx, s, heard, after, cmp.Or(a.Cache, defaultCache)/Slots)
}
