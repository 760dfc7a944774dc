// Package resolve is the decision core: Snapshot + Check + Facts → Decision.
//
// A Spec is the plain, serialisable form of everything one App's decisions need. Compile turns it into a Snapshot:
// versions parsed, channels indexed, segment members sorted as 64-bit hashes, rules compiled, audiences resolved. After
// that Resolve answers one device's Check with no allocation, no I/O, no clock and no random number, so the same
// Snapshot and Check give the same Decision in a server, a Lambda function and a WebAssembly module.
//
// The package must stay small enough for TinyGo: nothing from AWS, SQL, net/http, encoding/json, fmt or reflect on the
// path of a decision.
package resolve
