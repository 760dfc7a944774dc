// Package seal signs Snapshots for those who are not to be trusted with changing them: the edges, and everything on the way
// there.
//
// A sealed Snapshot is text of three parts. The first line is the Ed25519 signature (RFC 8032), in hexadecimal digits, of all
// that follows it. The second line says what it is:
//
//	palier-snapshot 1 com.example.shop 42 1795392000 1795478400
//
// that is the format's version, the App, the revision, and when it was issued and when it expires, in Unix seconds. The rest
// is the JSON of a resolve.Spec, exactly as it is stored. The second line comes before everything else that is signed, so
// no signature of the server's key can be taken for one of something else.
//
// Reading and verifying are apart, because whoever holds a Snapshot already can tell from the second line alone, at next to
// no cost, that it need not look at another one.
//
// The package is part of the module that edges run: no I/O, no clock, and nothing that TinyGo could not build small.
package seal
