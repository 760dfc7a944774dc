package store

import (
	"iter"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
)

// The most that one step of Split changes. The rest of a Write is left to the app, its Snapshot and the audit events.
const (
	stepOps   = 80
	stepBytes = 3_000_000
)

// Split cuts a change that may be too large for one Commit into steps that are not: it yields the States to commit one
// after the other, each from the one before as Commit returned it, with the number of the step from 0. Every State on
// the way is valid, if before and after are, because nothing is there before what it refers to: first come new and
// changed bundles, then segments, plans, channels together with their rollouts, and devices; then what is to be
// removed, the other way round. The last State is after; a change that fits into one step yields only that.
func Split(before, after rollout.State) iter.Seq2[int, rollout.State] {
	return func(yield func(int, rollout.State) bool) {
		steps := pack(inOrder(before, after))
		state := before
		// What is remembered comes with the first step, so that no bundle is gone before it is remembered.
		state.App, state.Owned, state.Retired = after.App, after.Owned, after.Retired
		for i := range len(steps) - 1 {
			state = withChanges(state, steps[i])
			if !yield(i, state) {
				return
			}
		}
		yield(max(0, len(steps)-1), after)
	}
}

// inOrder lists what differs in groups that must not be torn apart, in an order in which every prefix is valid.
func inOrder(before, after rollout.State) [][]entityChange {
	var puts, deletes [][]entityChange
	var lanes []entityChange // channels and rollouts: a candidate and its channel change together
	for _, c := range diffStates(before, after) {
		switch {
		case c.value == nil:
			deletes = append(deletes, []entityChange{c})
		case c.prefix == prefixChannel || c.prefix == prefixRollout:
			lanes = append(lanes, c)
		default:
			puts = append(puts, []entityChange{c})
		}
	}
	devices := slices.IndexFunc(puts, func(g []entityChange) bool { return g[0].prefix == prefixDevice })
	if devices < 0 {
		devices = len(puts)
	}
	slices.Reverse(deletes)
	return slices.Concat(puts[:devices], whole(lanes), puts[devices:], deletes)
}

// whole keeps changes together if one step can hold them.
func whole(changes []entityChange) [][]entityChange {
	if ops, bytes := weigh(changes); ops <= stepOps && bytes <= stepBytes {
		return [][]entityChange{changes}
	}
	var single [][]entityChange
	for _, c := range changes {
		single = append(single, []entityChange{c})
	}
	return single
}

// pack fills steps with groups, keeping their order.
func pack(groups [][]entityChange) [][]entityChange {
	var steps [][]entityChange
	var ops, bytes int // of the last step
	for _, group := range groups {
		o, b := weigh(group)
		if len(steps) == 0 || ops+o > stepOps || bytes+b > stepBytes {
			steps = append(steps, nil)
			ops, bytes = 0, 0
		}
		last := len(steps) - 1
		steps[last] = append(steps[last], group...)
		ops, bytes = ops+o, bytes+b
	}
	return steps
}

// weigh returns the operations that changes need and, roughly, their bytes before compression.
func weigh(changes []entityChange) (ops, bytes int) {
	for _, c := range changes {
		ops++
		if c.prefix == prefixDevice || c.prefix == prefixRollout {
			ops++ // its Facts, or its live marker
		}
		if c.value != nil {
			bytes += size(c.value)
		}
	}
	return ops, bytes
}

// withChanges returns a copy of state with the changes made; maps that they do not touch are shared.
func withChanges(state rollout.State, changes []entityChange) rollout.State {
	of := func(prefix string) []entityChange {
		return slices.DeleteFunc(slices.Clone(changes), func(c entityChange) bool { return c.prefix != prefix })
	}
	state.Bundles = applied(state.Bundles, of(prefixBundle))
	state.Segments = applied(state.Segments, of(prefixSegment))
	state.Plans = applied(state.Plans, of(prefixPlan))
	state.Channels = applied(state.Channels, of(prefixChannel))
	state.Rollouts = applied(state.Rollouts, of(prefixRollout))
	state.Devices = applied(state.Devices, of(prefixDevice))
	return state
}

// applied returns a copy of entities with the changes made; entities itself when there are none, unless it is nil.
func applied[T any](entities map[string]T, changes []entityChange) map[string]T {
	if len(changes) == 0 && entities != nil {
		return entities
	}
	next := make(map[string]T, len(entities)+len(changes))
	maps.Copy(next, entities)
	for _, c := range changes {
		if c.value == nil {
			delete(next, c.id)
			continue
		}
		next[c.id] = c.value.(T)
	}
	return next
}
