package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

const (
	// maxRemembered bounds each list in a device's Facts: the newest entries are kept.
	maxRemembered = 50
	// factsAttempts bounds how often a change of Facts starts over because someone else was first.
	factsAttempts = 16
)

// SetByOperator is Facts.SetBy of a channel that an operator chose.
const SetByOperator = "operator"

// Devices keeps the Facts of single devices. Most devices have none, and then no row.
type Devices struct{ Store Store }

// Facts returns what is known of the device alone; zero Facts when nothing is.
func (d Devices) Facts(ctx context.Context, app, device string) (resolve.Facts, error) {
	facts, _, err := d.read(ctx, app, device)
	if err != nil {
		return resolve.Facts{}, fmt.Errorf("reading device facts: %w", err)
	}
	return facts, nil
}

// read returns the Facts and the version they are at, 0 when there is no row.
func (d Devices) read(ctx context.Context, app, device string) (resolve.Facts, int64, error) {
	var facts resolve.Facts
	if err := checkApp(app); err != nil {
		return facts, 0, err
	}
	item, err := d.Store.Get(ctx, factsKey(app, device), Strong)
	if isAbsent(err) {
		return facts, 0, nil
	}
	if err != nil {
		return facts, 0, err
	}
	err = decodeItem(item, &facts)
	return facts, item.Version, err
}

// Update changes the device's Facts: it calls change on what is stored, and writes the outcome if change returns true,
// again from the start if someone else wrote in between. So change may run several times and must have no other effect.
// Lists keep their newest 50 entries, the last ones; empty Facts leave no row. It fails with ErrConflict when others
// were first every time.
func (d Devices) Update(ctx context.Context, app, device string, change func(*resolve.Facts) bool) error {
	for range factsAttempts {
		facts, version, err := d.read(ctx, app, device)
		if err != nil {
			return fmt.Errorf("updating device facts: %w", err)
		}
		if !change(&facts) {
			return nil
		}
		op, err := factsOp(app, device, facts, version)
		if err != nil {
			return fmt.Errorf("updating device facts: %w", err)
		}
		err = d.Store.Write(ctx, op)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("updating device facts: %w", err)
		}
	}
	return fmt.Errorf("updating device facts: %w, %d times in a row", ErrConflict, factsAttempts)
}

// factsOp returns the operation that replaces the row at version by facts.
func factsOp(app, device string, facts resolve.Facts, version int64) (Op, error) {
	facts.Failed = newest(facts.Failed)
	facts.Consented = newest(facts.Consented)
	key := factsKey(app, device)
	if facts.Channel == "" && len(facts.Failed) == 0 && len(facts.Consented) == 0 {
		if version == 0 {
			return Check(key, Absent()), nil
		}
		return Delete(key, AtVersion(version)), nil
	}
	value, err := encodeValue(facts)
	if err != nil {
		return Op{}, err
	}
	return Put(Item{Key: key, Version: contentVersion(value), Value: value}, AtVersion(version)), nil
}

// contentVersion makes a version of the content itself. A row that is deleted and made again cannot remember how far
// it had counted; with this, a condition holds exactly when the row still says what its writer read.
func contentVersion(value []byte) int64 { return 1 + int64(xxhash.Sum64(value)>>2) }

func newest(list []string) []string { return list[max(0, len(list)-maxRemembered):] }

// nameDevice brings facts in line with an operator's word on the device; named is false when the operator took it back.
// A channel that the device chose itself stays unless the operator names another.
func nameDevice(facts *resolve.Facts, word rollout.Device, named bool) {
	switch {
	case named && word.Channel != "":
		facts.Channel, facts.SetBy = word.Channel, SetByOperator
	case facts.SetBy == SetByOperator:
		facts.Channel, facts.SetBy = "", ""
	}
}
