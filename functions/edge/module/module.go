// Package module is the module for edges as it ships: functions/edge, built by TinyGo. `make edge` makes it anew; every test run
// that has TinyGo makes sure that it is what the source gives.
package module

import _ "embed"

//go:embed edge.wasm
var wasm []byte

// Bytes returns the module. The caller must not change it.
func Bytes() []byte { return wasm }
