// Package telemetry turns what devices report into counts that a verdict may rest on.
//
// Three things live here, all pure. Events: what one device did, self-contained, with its codec and the meaning of
// each action and app metric. The fold: events of one device become its Record, and a Record's place in the counts is
// a function of the Record alone. Tallies: the counts per rollout, phase, hour and arm.
//
// A metric is an event that happens or does not, counted once per device, or a measure of time, counted once per device
// and boundary: in the hour in which it first went beyond it. So what a Record remembers of a measure is how far the device
// had gone by when, sixteen small steps at most, and never a value.
//
// A Record is an element of a semilattice: merging two of them is commutative, associative and idempotent. So a log
// that is shuffled, repeated, cut into other batches or read again after a crash leads to the same Records, and the
// tallies, which are the sum of what each Record contributes, are exact without any bookkeeping of deliveries.
//
// A Census keeps the Records of one rollout and shard in a form made for a store that bills by the byte written:
// sorted pages that change rarely, and a journal of recent changes that is merged into them when it has grown.
//
// Nothing here knows a store, a stream or a clock.
package telemetry
