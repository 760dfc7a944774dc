// Package admin is the operator's side of Palier: the HTTP API under /api/v1, its authentication and its audit trail.
//
// An app's whole desired state is one Document, applied idempotently: what a document leaves out stays as it is, down to
// the single field, and applying the same document twice changes nothing the second time. Every change is computed as a
// new rollout.State from the one that was read, validated as a whole, and committed with its audit event and the new
// Snapshot under compare-and-swap, so a refused or lost request leaves no trace. Rollouts are not part of the document:
// they are started and then operated with verbs, which the domain's state machine allows or refuses.
//
// The package decides nothing about devices and judges no metric; it calls the packages that do and shows what they said.
// Its OpenAPI description is generated from the same types that serve the calls.
package admin
