package main_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

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

// BenchmarkWASMStart measures what a new instance takes until its first answer, and each part of that by itself: instantiating it,
// verifying and compiling a Snapshot, and the first check.
func BenchmarkWASMStart(b *testing.B) {
	g := goldenSpecs(b)[0]
	sealed, body := g.sealed(g.Revision), newDrawer(b, 1).bodies[1]
	key := seal.PublicKey(wasmKey)
	for name, wasm := range wasmBuilds(b) {
		c, err := edgehost.Compile(b.Context(), wasm, filepath.Join(buildDir, "compiled"))
		must(b, err)
		b.Run(name, func(b *testing.B) {
			var instantiated, loaded, checked time.Duration
			var r edgehost.Result
			for b.Loop() {
				began := time.Now()
				i, err := c.Instantiate(b.Context())
				must(b, err)
				instantiated += time.Since(began)
				must(b, i.Trust(b.Context(), key[:]))
				began = time.Now()
				_, err = i.Load(b.Context(), g.App, sealed, issuedAt, graceFor)
				must(b, err)
				loaded += time.Since(began)
				began = time.Now()
				must(b, i.Check(b.Context(), body, nil, issuedAt, &r))
				checked += time.Since(began)
				i.Close(b.Context())
			}
			report := func(total time.Duration, part string) {
				b.ReportMetric(float64(total.Nanoseconds())/1e3/float64(b.N), "µs-"+part)
			}
			report(instantiated, "instantiate")
			report(loaded, "load")
			report(checked, "first-check")
			b.ReportMetric(float64(len(sealed)), "snapshot-bytes")
		})
		must(b, c.Close(context.Background()))
	}
}

// BenchmarkWASMCheck measures a decision: the check of a device that has the latest version, of one whose record would be needed,
// and what is no check at all.
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
