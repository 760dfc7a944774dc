// Package capgo is the wire protocol of the @capgo/capacitor-updater plugin as pure functions: request bytes in, answer
// bytes out.
//
// A device's question arrives as JSON of a known, flat shape. A Request reads it by hand in one pass, without
// allocation: the strings of the resulting resolve.Check are views into the body wherever the JSON had no escape. It
// guesses each key from the one before it, because a fleet of the same plugin version sends its keys in the same order,
// and falls back to reading the key when the guess fails.
//
// The answers to a check are few: they are rendered once per Snapshot, as Answers, for each bundle and each generation
// of the plugin that understands other fields. Answering is then a copy.
//
// Bad input is never a panic and never a 5xx: every parser returns a Refusal with the status and the code that the
// protocol has for it. The rules, and the places where this server deliberately differs from Capgo's, are those of the
// project's design; the recorded protocol cases in testdata/protocol are played against this package by its tests.
//
// The package does no I/O, knows no HTTP library, reads no clock, and must stay buildable for WebAssembly.
package capgo
