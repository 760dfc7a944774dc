package store

import (
	"context"
	"strings"
)

// observed is a Store that tells of every app whose Snapshot it wrote or removed.
type observed struct {
	Store
	changed func(app string)
}

// Observe returns s, calling changed after every Write that wrote or removed an app's Snapshot. It is for whoever keeps
// Snapshots in the same process: others notice at their next refresh.
func Observe(s Store, changed func(app string)) Store { return observed{s, changed} }

// Write passes ops on and tells of Snapshots when they were applied.
func (o observed) Write(ctx context.Context, ops ...Op) error {
	if err := o.Store.Write(ctx, ops...); err != nil {
		return err
	}
	for _, op := range ops {
		if op.Kind != OpCheck && op.Item.SK == skSnapshot {
			o.changed(strings.TrimPrefix(op.Item.PK, appPK("")))
		}
	}
	return nil
}
