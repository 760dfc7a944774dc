// Package edgehost runs the module of functions/edge on a machine of one's own: what `palier edge` is made of.
//
// The module decides and has no hands. A Host gives it some: it listens to devices, fetches the Snapshots that the module answers
// from, and carries to the origin whatever the module cannot do. Three things go on beside each other:
//
//   - Checks. The module answers most of them. What needs the device's record is asked of the origin, and if that cannot be
//     reached the device gets the module's other answer, which is to keep what it has.
//   - Snapshots. Each App's is fetched again and again, at next to no cost while nothing changes, and may be pushed by the origin
//     too. Whatever comes is shown to the module, which takes it or refuses it; a refused one changes nothing.
//   - Telemetry. What devices report is gathered for a moment and handed over many at once. What the origin cannot take now waits
//     in a backlog, on disk if there is a directory for it, and is handed over in its order when the origin is back.
//
// A report is answered 200 only when it rests where a crash cannot reach it: at the origin, or in a file that was synced. Where
// there is no such file, a device is asked to keep it and come back. Something may be handed over twice, after a crash or an answer
// that was lost; the origin counts it once.
//
// The package stands outside the house: it knows the origin by its wire only, and the module by its exports.
package edgehost
