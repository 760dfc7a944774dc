//go:build wasip1 || tinygo

// Command edge is the resolver as a WebAssembly module, for runtimes next to the devices.
//
// It is a reactor: the host instantiates it once, calls _initialize, and then the functions below, one at a time. All numbers are
// unsigned 32-bit integers, and what is longer than a number goes through the module's memory: the host writes what it has to say
// to where buffer tells it, and reads results from where they say.
//
// The same source has two builds. That of standard Go imports WASI preview 1, needs nothing but Go, and is the reference; TinyGo's
// imports nothing, is small, and is what ships to edges. README.md in infra/edge tells how each is made.
//
// What may be called, in the order of a module's life:
//
//	buffer(n) → address         room for n bytes of input; 0 when n is more than any call takes
//	trust(n) → 1 or 0           the input is a raw Ed25519 public key of n bytes, whose signatures count from now on
//	load(app, n, now, grace) → outcome
//	                            the input is the id of an App, of app bytes, and the sealed Snapshot fetched for it, of n bytes
//	check(n, facts, now) → result
//	                            the input is the body of a POST /updates, of n bytes, and then the device's Facts as JSON, of facts
//	                            bytes, none when they are not known; a body that is too large need not be there
//	forget(n)                   the input is the id of an App that the origin no longer has
//	unavailable() → result      the answer when nobody can answer
//	renote()                    notes had to be dropped
//
// now is Unix time in seconds, grace is seconds; outcomes and verdicts are those of package internal/edge. A result is the address
// of eight little-endian numbers: verdict, HTTP status, address and length of the answer, seconds for Retry-After or 0, address and
// length of the note, and 1 if an expired Snapshot answered by grace. Memory may grow in any call: the host must look at it anew.
package main

import (
	"unsafe"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/seal"
)

// A module has one of each for its life, and calls come one at a time.
var (
	core   = edge.New()
	input  []byte
	output [8]uint32
)

const (
	maxInput  = seal.MaxBytes + 1<<10      // the id of an App and its sealed Snapshot
	keptInput = capgo.MaxCheckBody + 4<<10 // what is kept for checks
)

func main() {}

//go:wasmexport buffer
func buffer(n uint32) uint32 {
	switch have := uint32(len(input)); {
	case n > maxInput:
		return 0
	case have < n, have == 0, have > keptInput && n <= keptInput:
		input = make([]byte, max(n, keptInput))
	}
	return address(unsafe.Pointer(unsafe.SliceData(input)))
}

//go:wasmexport trust
func trust(n uint32) uint32 {
	if core.Trust(given(0, n)) {
		return 1
	}
	return 0
}

//go:wasmexport load
func load(app, n, now, grace uint32) uint32 {
	return uint32(core.Load(string(given(0, app)), given(app, n), now, grace))
}

//go:wasmexport forget
func forget(n uint32) { core.Forget(string(given(0, n))) }

//go:wasmexport check
func check(n, facts, now uint32) uint32 {
	if n > capgo.MaxCheckBody {
		return result(core.TooLarge())
	}
	return result(core.Check(given(0, n), given(n, facts), now))
}

//go:wasmexport unavailable
func unavailable() uint32 { return result(core.Unavailable()) }

//go:wasmexport renote
func renote() { core.Renote() }

// given returns n bytes of the input, none if it does not have as many.
func given(from, n uint32) []byte {
	if uint64(from)+uint64(n) > uint64(len(input)) {
		return nil
	}
	return input[from : from+n]
}

// result puts r where the host finds it and returns the address.
func result(r *edge.Result) uint32 {
	stale := uint32(0)
	if r.Stale {
		stale = 1
	}
	output = [...]uint32{
		uint32(r.Verdict), uint32(r.Status),
		address(unsafe.Pointer(unsafe.SliceData(r.Answer))), uint32(len(r.Answer)), uint32(r.RetryAfter),
		address(unsafe.Pointer(unsafe.SliceData(r.Note))), uint32(len(r.Note)), stale,
	}
	return address(unsafe.Pointer(&output))
}

// address returns where in the module's memory p is. What it points at does not move, and stays since core and this package
// hold it.
func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }
