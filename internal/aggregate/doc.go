// Package aggregate runs the loop from the telemetry stream to the tallies: read what follows the shard's checkpoint,
// fold it, and commit device records, tallies and the checkpoint together.
//
// Delivery is at least once, and any number of aggregators may work on one shard at the same time. Two things keep the
// counts exact. Every write is conditioned on the version of the shard's checkpoint and raises it, so of two who read
// the same state only one commits. And the fold is idempotent (see package telemetry): whatever is read again, in
// whatever pieces, changes nothing.
//
// That also frees a batch from the store's limits: a batch which touches more than one write can hold is committed in
// several, and only the last one moves the position.
package aggregate
