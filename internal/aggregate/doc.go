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
//
// # Pulled and pushed
//
// A stream whose shards stay what they are is pulled: Step and Run read it shard by shard, and keep the place in the
// checkpoint. A stream whose shards split and merge, as Kinesis's do, would let a device move from one shard's records to
// another's and be counted in both. Such a stream is pushed, by an event source that keeps the place itself, and FoldBatch
// sorts what it is given by slot: sixteen parts of the devices, for ever, each with a checkpoint whose version makes one
// writer of many. What was counted is the same, number by number, once the parts are summed.
//
// Hosts take turns at a slot as Lambda pleases, so what one of them remembers is often a little old. It then reads what
// the others added, the last patches of the journal, and not all devices again: those only when a merge of the journal has
// rewritten them, which the checkpoint tells.
//
// # How far everything is counted
//
// A device counts as silent only when all that could have been heard of it is counted. The time up to which that is so,
// telemetry.Tallies.Complete, is that of the newest check in the part that is furthest behind. With slots this is as
// strict as with shards, for an event source gives a shard's batches one after the other and goes on only when all
// slots of a batch are folded, as long as every shard has a slot to itself: up to eight equal shards have, and sixteen.
// Where a slot is spread over several shards, the one furthest ahead speaks for it. The price is a delay in small
// rollouts, where a slot waits for one of its few devices to ask again: if each asks twice a day, it is about two hours
// with 500 devices and a few minutes with 10,000. Only certificates and silence wait for it. Whatever else could say
// that a slot is complete, such as a report of another kind, also goes on when checks alone are lost, and would make
// silence of what nobody heard.
//
// # What is only looked at
//
// Beside the tallies each shard keeps a summary of every rollout for people to look at: devices heard of, and percentiles of
// what was measured (see package sketch). What is new in it stays in memory and is merged into the stored one with a fold's
// commit, at most once a minute, for two to four write units: a tenth of what the counting takes (BenchmarkDisplay). The
// checkpoint's version guards that write like any other, and whoever writes reads first, so hosts take turns here too.
//
// This is the one thing that is not exact. A process that is killed takes with it up to a minute of what it heard. A pushed
// batch that comes again, because another of its slots could not be folded, has its values in the percentiles twice; its
// devices count once all the same. Nothing is decided by it, and no count waits for it.
package aggregate
