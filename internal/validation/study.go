package validation

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how much is simulated.
type Options struct {
	Runs    int    // of each cell of the matrix; the other parts take a fraction of it; default 10 000
	Seed    uint64 // same seed, same figures
	Workers int    // simulations at once; default one per processor
	// Progress, if set, is told about once a second, one call at a time, how far the named part has come.
	Progress func(part string, done, total int, elapsed time.Duration)
}

// FullRuns is the number of runs per cell of the figures that are kept in the repository.
const FullRuns = 10_000

// study is one validation under way.
type study struct {
	Options
	ctx   context.Context
	names []identity
	full  time.Duration // what the parts so far would take with FullRuns
}

// mostDevices is how many devices the largest world has, with those that come later.
const mostDevices = 80_000

func newStudy(ctx context.Context, o Options) *study {
	if o.Runs <= 0 {
		o.Runs = FullRuns
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return &study{Options: o, ctx: ctx, names: identities(mostDevices)}
}

// fraction is how many runs a part takes that needs only one for so many of the matrix, but some at least.
func (s *study) fraction(of int) int { return fractionOf(s.Runs, of) }

func fractionOf(runs, of int) int { return max(20, runs/of) }

// each plays so many runs of what is named, of them one for each of the given number of the matrix's, on all workers. Each
// worker has a stage of its own. f gets the number of the run, writes only what belongs to that run, and the first error
// ends it all.
func (s *study) each(name string, of int, f func(stage *stage, run int) error) error {
	runs := s.fraction(of)
	var (
		next, done atomic.Int64
		wait       sync.WaitGroup
		once       sync.Once
		failure    error
	)
	started := time.Now()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	for range s.Workers {
		wait.Go(func() {
			stage := &stage{names: s.names}
			for ctx.Err() == nil {
				run := int(next.Add(1)) - 1
				if run >= runs {
					return
				}
				if err := f(stage, run); err != nil {
					once.Do(func() { failure = fmt.Errorf("%s, run %d: %w", name, run, err) })
					cancel()
					return
				}
				done.Add(1)
			}
		})
	}
	s.report(name, &done, runs, started, wait.Wait)
	if failure != nil {
		return failure
	}
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.full += time.Since(started) * time.Duration(fractionOf(FullRuns, of)) / time.Duration(runs)
	return nil
}

// report tells of the progress until wait returns.
func (s *study) report(name string, done *atomic.Int64, runs int, started time.Time, wait func()) {
	ended := make(chan struct{})
	go func() {
		wait()
		close(ended)
	}()
	tell := func() {
		if s.Progress != nil {
			s.Progress(name, int(done.Load()), runs, time.Since(started))
		}
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			tell()
			return
		case <-ticker.C:
			tell()
		}
	}
}
