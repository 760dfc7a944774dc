// Package edge answers update checks far from the origin: it is what the WebAssembly module of functions/edge contains.
//
// An Edge holds the sealed Snapshot of each App that it serves, and answers a check with the very bytes that the origin would
// answer. What it cannot know it says: that the device's Facts are needed, or that there is no Snapshot. Then its host asks
// the origin, and sends the answer that the Edge gives for the case that the origin cannot be reached.
//
// A Snapshot is taken only if a trusted key signed it, for the App that was asked for, if it has not expired, and if none newer
// was seen. The last good one goes on answering until its expiry and a grace beyond it: an origin that is down, or somebody in
// between, can keep an Edge from learning news, but cannot make it answer anything that the origin never said.
//
// An Edge has no clock, makes no request and starts no goroutine; its host does all that. A decision allocates nothing.
package edge
