package edgehost

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// maxPages is how much memory an instance may take, in pages of 64 KiB: 256 MiB.
const maxPages = 4096

// Compiled is a build of functions/edge as machine code, of which instances are made.
type Compiled struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	config  wazero.ModuleConfig
}

// Compile compiles a build of functions/edge, by TinyGo or standard Go. With a directory to keep machine code in, it is done once;
// empty is none. Close the result.
func Compile(ctx context.Context, wasm []byte, cache string) (*Compiled, error) {
	settings := wazero.NewRuntimeConfig().WithMemoryLimitPages(maxPages)
	if cache != "" {
		kept, err := wazero.NewCompilationCacheWithDir(cache)
		if err != nil {
			return nil, fmt.Errorf("opening the cache of compiled modules: %w", err)
		}
		settings = settings.WithCompilationCache(kept)
	}
	c := &Compiled{
		runtime: wazero.NewRuntimeWithConfig(ctx, settings),
		config: wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").
			WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader),
	}
	if err := c.compile(ctx, wasm); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

func (c *Compiled) compile(ctx context.Context, wasm []byte) (err error) {
	workers := experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	if c.module, err = c.runtime.CompileModule(workers, wasm); err != nil {
		return fmt.Errorf("compiling the module: %w", err)
	}
	if !c.importsWASI() {
		return nil
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, c.runtime); err != nil {
		return fmt.Errorf("giving the module WASI: %w", err)
	}
	return nil
}

// importsWASI reports whether the build is one of standard Go; TinyGo's imports nothing.
func (c *Compiled) importsWASI() bool {
	for _, f := range c.module.ImportedFunctions() {
		if from, _, imported := f.Import(); imported && from == wasi_snapshot_preview1.ModuleName {
			return true
		}
	}
	return false
}

// Close frees the memory of all instances too. None may be in use.
func (c *Compiled) Close(ctx context.Context) error { return c.runtime.Close(ctx) }
