// Package fleet plays the part of a whole population of devices: it speaks the wire protocol of
// @capgo/capacitor-updater over HTTP, as every generation of the plugin does, and watches what the server does to them.
//
// The fleet is an outsider. It knows a base URL and what the plugin knows, so it runs against any server that answers
// the plugin, and nothing it finds can be an artefact of shared code. It serves three purposes: it is the load and the
// life of a demonstration, it soaks a server, and it is the witness of end-to-end tests.
//
// # Time
//
// Devices live in simulated time, which runs Config.TimeScale times as fast as real time. Every device is a small state
// machine waiting in one heap for its next moment; a bounded pool of workers carries out what is due. There is no
// goroutine per device. When the server cannot keep up, devices are late and nothing is dropped: the lateness is
// Stats.Lag.
//
// # A device's life
//
// The app starts; the plugin asks for updates; an offer is downloaded while the app is open and set when the app goes
// to the background; the next start boots it. A bundle that does not boot is reported (update_fail) and the device goes
// back to the bundle before. A crash ends the session and is reported at the next start, by plugins that can. A bundle
// that kills the app at every start leaves a silent device, which never asks again. The fleet never fetches the bundle
// itself: whether a download works is decided by Behaviour.DownloadFail.
//
// # What a bundle does to devices
//
// Behaviour says it, per version. Lasting traits (this bundle does not boot on this device) are a function of seed,
// device and version alone, see Config.Fate; passing ones (this session crashes) come from the device's own generator.
// The order in which requests of different devices meet the server is not reproducible.
//
// # Where the simulation is simpler than life
//
//   - Plugins before 8.46 report no crash. Neither do they here, so a mix of old plugins hides crashes, as in life.
//   - An offer is always applied as with autoUpdate "atBackground", the plugin's default.
//   - A plugin that puts statistics back into its queue tries again after one second of simulated or of real time,
//     whichever is longer: at a high time scale the first alone would be a storm that no real fleet makes.
//   - Retry-After is taken as real seconds, since it says how long the server needs.
package fleet
