// Package rollout is the domain of Palier: what an operator owns and how it may change.
//
// An App has immutable Bundles, named Channels that point at one of them, Segments that name groups of devices, and
// Plans. A Rollout walks a candidate Bundle through the Phases of a Plan on one Channel, against the baseline that the
// Channel served before. Everything here is a value: a State is one App's whole record at one revision, and every
// change is a pure function from a State to a Transition, which a store then applies in one piece or not at all.
//
// The package does no I/O, reads no clock and draws no random number: time, ids and salts are arguments.
package rollout
