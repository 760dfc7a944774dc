package main_test

import (
	"path/filepath"
	"sync"
	"testing"
)

// fastlyProgram builds the program that runs on Fastly Compute, at its first call, and returns its path. Its tests in
// viceroy_test.go need Viceroy.
var fastlyProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "fastly.wasm")
	return path, build([]string{"GOOS=wasip1", "GOARCH=wasm"}, "-trimpath", "-ldflags", "-s -w", "-o", path, "./fastly")
})

func TestFastlyProgramIsBuilt(t *testing.T) {
	t.Parallel()
	_, err := fastlyProgram()
	must(t, err)
}
