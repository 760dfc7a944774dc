// Package relay is the origin's side of edges: what hands them Snapshots, and what takes from them what devices said.
//
// An edge answers update checks near the devices and asks the origin for three things. It fetches the sealed Snapshot of
// each of its Apps, every few seconds, which mostly means being told that nothing changed. It hands over the telemetry that
// it gathered, many devices' at once, and gets for each device the very answer that the device would have had here. And
// with it come its notes of the checks that it answered, from which the judge learns who asked and what they run.
//
// With each report and note an edge tells the network that it came from, since the origin bounds what one network can report
// and sees only the edge.
//
// Nothing new is decided here: requests are answered by package device, and what is acknowledged rests on the stream as
// if the device had come by itself. Who may do all this has a token of the role edge, since a Snapshot holds the salts of
// rollouts.
//
// A Pusher tells edges of a change right after it was committed, by sending them the sealed Snapshot itself. That needs
// no secret, because an edge believes a signature and a newer revision, whoever brings them; and it may fail, because the
// edge's next poll makes up for it.
package relay
