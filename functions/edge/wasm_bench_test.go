package main_test

import (
	"context"
	"testing"

	edgemodule "github.com/palier-ota/palier/functions/edge/module"
	core "github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/seal"
)

// What the module costs in wazero, which `palier edge` runs it with, against the same code natively.

// wasmBuilds are the builds to measure.
func wasmBuilds(b *testing.B) map[string][]byte {
	b.Helper()
	wasm, err := reference()
	must(b, err)
	return map[string][]byte{"standard Go": wasm, "TinyGo": edgemodule.Bytes()}
}

func BenchmarkWASMCompile(b *testing.B) {
	for name, wasm := range wasmBuilds(b) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := edgehost.Compile(b.Context(), wasm, "")
				must(b, err)
				must(b, c.Close(b.Context()))
			}
			b.ReportMetric(float64(len(wasm)), "bytes")
		})
	}
}

func BenchmarkWASMInstantiate(b *testing.B) {
	for name, wasm := range wasmBuilds(b) {
		c, err := edgehost.Compile(b.Context(), wasm, buildDir)
		must(b, err)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				i, err := c.Instantiate(b.Context())
				must(b, err)
				i.Close(b.Context())
			}
		})
		must(b, c.Close(context.Background()))
	}
}

// BenchmarkWASMFirstCall measures a new instance's first answer: instantiating it is not in it, verifying and compiling the Snapshot is
// only in "and Snapshot".
func BenchmarkWASMFirstCall(b *testing.B) {
	g := goldenSpecs(b)[0]
	sealed, body := g.sealed(g.Revision), newDrawer(b, 1).bodies[1]
	key := seal.PublicKey(wasmKey)
	for name, wasm := range wasmBuilds(b) {
		c, err := edgehost.Compile(b.Context(), wasm, buildDir)
		must(b, err)
		first := func(b *testing.B, loads bool) {
			var r edgehost.Result
			for b.Loop() {
				b.StopTimer()
				i, err := c.Instantiate(b.Context())
				must(b, err)
				must(b, i.Trust(b.Context(), key[:]))
				if loads {
					b.StartTimer()
				}
				_, err = i.Load(b.Context(), g.App, sealed, issuedAt, graceFor)
				must(b, err)
				b.StartTimer()
				must(b, i.Check(b.Context(), body, nil, issuedAt, &r))
				b.StopTimer()
				i.Close(b.Context())
				b.StartTimer()
			}
		}
		b.Run(name, func(b *testing.B) { first(b, false) })
		b.Run(name+" and Snapshot", func(b *testing.B) {
			first(b, true)
			b.ReportMetric(float64(len(sealed)), "bytes")
		})
		must(b, c.Close(context.Background()))
	}
}

func BenchmarkWASMCheck(b *testing.B) {
	bodies := map[string][]byte{}
	for _, body := range newDrawer(b, 1).bodies {
		w := newTwins(b, nil)
		switch r := w.native.Check(body, nil, issuedAt); {
		case r.Verdict == core.Answered && r.Status == 200 && bodies["up to date"] == nil:
			bodies["up to date"] = body
		case r.Verdict == core.NeedsFacts && bodies["needs facts"] == nil:
			bodies["needs facts"] = body
		}
		if len(bodies) == 2 {
			break
		}
	}
	bodies["not JSON"] = []byte("device_id=1")
	for what, body := range bodies {
		w := newTwins(b, nil)
		b.Run(what+"/native", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.native.Check(body, nil, issuedAt)
			}
		})
		for name, wasm := range wasmBuilds(b) {
			i := instantiate(b, wasm)
			newTwins(b, map[string]*edgehost.Instance{name: i})
			b.Run(what+"/"+name, func(b *testing.B) {
				var r edgehost.Result
				b.ReportAllocs()
				for b.Loop() {
					must(b, i.Check(b.Context(), body, nil, issuedAt, &r))
				}
			})
		}
	}
}
