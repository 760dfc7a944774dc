//go:build linux

package main_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// nodeCalls is how many calls one instance gets, between two looks at its memory.
var nodeCalls = flag.Int("calls", 1_000_000, "calls of the module in BenchmarkNodeMemory")

const nodeStarts = 15 // of each build; every one is a fresh process, which has nothing compiled yet

// inNodeTimes is what testdata/bench/node.mjs says: milliseconds, microseconds of a call, bytes.
type inNodeTimes struct {
	Compile, Instantiate, Load, First float64
	Call, Before, After               float64
}

// node runs the module in a process of its own.
func (w *bench) node(b *testing.B, module built, calls int) (r inNodeTimes) {
	b.Helper()
	dir := b.TempDir()
	must(b, copyAll(dir, "testdata/bench/*.mjs", "testdata/wasi.mjs", "host/module.mjs"))
	if module.name == "go" {
		must(b, copyFile(filepath.Join(dir, "imports.mjs"), "testdata/bench/wasiimports.mjs"))
	}
	type app struct {
		App    string `json:"app"`
		Sealed string `json:"sealed"`
	}
	given, err := json.Marshal(map[string]any{
		"apps": []app{{liveApp, w.sealed[1]}, {quietApp, w.sealed[0]}}, "key": w.key.String(),
		"checks": questions()[1].checks,
	})
	must(b, err)
	must(b, os.WriteFile(filepath.Join(dir, "given.json"), given, 0o600))
	in := func(name string) string { return filepath.Join(dir, name) }
	cmd := exec.Command("node", in("node.mjs"), module.path, in("given.json"), strconv.Itoa(calls))
	cmd.Env, cmd.Stderr = clean(), os.Stderr
	out, err := cmd.Output()
	must(b, err)
	must(b, json.Unmarshal(out, &r))
	return r
}

// BenchmarkNodeStart says how large each build is, and how long it takes from bytes to the first answer, in milliseconds. The
// first check is slow because it is then that the engine compiles the functions that it calls.
func BenchmarkNodeStart(b *testing.B) {
	w := newBench(b)
	for _, module := range builds(b) {
		b.Run(module.name, func(b *testing.B) {
			var compile, instantiate, load, first []float64
			for b.Loop() {
				for range nodeStarts {
					r := w.node(b, module, 0)
					compile, instantiate = append(compile, r.Compile), append(instantiate, r.Instantiate)
					load, first = append(load, r.Load), append(first, r.First)
				}
			}
			reportSizes(b, module.path)
			b.ReportMetric(median(compile), "compile-ms")
			b.ReportMetric(median(instantiate), "instantiate-ms")
			b.ReportMetric(median(load), "load-ms")
			b.ReportMetric(median(first), "first-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// reportSizes says how large a file is, as it is and compressed.
func reportSizes(b *testing.B, path string) {
	b.Helper()
	out, err := exec.Command("node", "testdata/bench/sizes.mjs", path).Output()
	must(b, err)
	var sizes map[string]float64
	must(b, json.Unmarshal(out, &sizes))
	for name, bytes := range sizes {
		b.ReportMetric(bytes/1024, name+"-KB")
	}
}

// BenchmarkNodeMemory gives one instance -calls calls and says what became of its memory.
func BenchmarkNodeMemory(b *testing.B) {
	w := newBench(b)
	for _, module := range builds(b) {
		b.Run(module.name, func(b *testing.B) {
			var r inNodeTimes
			for b.Loop() {
				r = w.node(b, module, *nodeCalls)
			}
			b.ReportMetric(r.Call, "µs")
			b.ReportMetric(r.Before/1024, "KB-before")
			b.ReportMetric(r.After/1024, "KB-after")
			b.ReportMetric(0, "ns/op")
		})
	}
}
