// Package runtimeapi runs Lambda functions here as Lambda runs them: unmodified bootstrap programs behind the public
// Lambda Runtime API.
//
// A Pool is one function. Each of its sandboxes is a process of the function's bootstrap with a Runtime API endpoint of
// its own, on loopback, because the API's calls do not say which sandbox makes them. A sandbox serves one invocation at
// a time. An invocation takes the sandbox that was used last, or starts one when none is idle: a cold start. Between
// invocations a sandbox is frozen (SIGSTOP), as Lambda freezes it, so that a function that leaves work for later finds
// here what it would find there: the work stands still until the next invocation, or is lost.
//
// The rules are those of the Lambda developer guide ("Using the Lambda runtime API", "Understanding the Lambda
// execution environment lifecycle", "Lambda quotas"). Not emulated: memory limits, processor shares, extensions,
// response streaming, SnapStart, the first try of a failed init that Lambda makes on its own, and asynchronous
// invocation with its retries.
//
// Time is real here, never scaled or injected: a deadline is compared by another process with its own clock.
package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lambda's quotas for synchronous invocations, in bytes.
const (
	MaxRequestBytes  = 6 << 20
	MaxResponseBytes = 6<<20 + 100 // what Lambda's own error message says
)

// Errors of Invoke: the function was not run.
var (
	// ErrTooManyRequests: as many invocations are under way as the function may have.
	ErrTooManyRequests = errors.New("TooManyRequestsException: the function is at its concurrency limit")
	// ErrRequestTooLarge: the payload is over MaxRequestBytes.
	ErrRequestTooLarge = errors.New("RequestEntityTooLargeException: the payload is over 6 MB")
	// ErrClosed: the Pool was closed.
	ErrClosed = errors.New("the function's pool is closed")
)

// Function is what to run. Name, Bootstrap and Log are required; zero values elsewhere mean Lambda's defaults.
type Function struct {
	Name      string
	Bootstrap string            // path of the executable; its folder is the working directory
	Env       map[string]string // the function's own variables, region and credentials; nothing else is inherited

	Timeout     time.Duration // of one invocation; zero: 3 s
	InitTimeout time.Duration // from a process's start to its first poll; zero: 10 s
	IdleFor     time.Duration // after which an unused sandbox is retired; zero: 5 minutes
	MemoryMB    int           // told to the function, not enforced; zero: 128
	Concurrency int           // bounds the invocations under way, and so the processes; zero: 10
	Wait        time.Duration // for a slot when the function is at that limit; zero: refused at once, as on Lambda

	// Awake leaves the sandboxes running between invocations. It is for measuring a function's processor time: Lambda
	// freezes from outside, where SIGCONT wakes the process from every system call that waits.
	Awake bool

	Output io.Writer // takes what the processes print, by whole lines; nil: discarded
	Log    *slog.Logger
}

// Result is the outcome of an invocation that ran.
type Result struct {
	// Payload is the function's response; for a failed one Lambda's error document {"errorMessage", "errorType", …}.
	Payload []byte
	// FunctionError is the type of the error, empty on success. Lambda's own Invoke only says "Unhandled" here and
	// leaves the type to the payload.
	FunctionError string
	Cold          bool
	Init          time.Duration // from before the process was started to its first poll; zero for warm invocations
	Duration      time.Duration // from handing over the event to the response
}

// Stats are totals since Start, and the sandboxes of this moment.
type Stats struct {
	Invocations int64 // handed to a sandbox
	Cold        int64 // sandboxes started
	Errors      int64 // invocations that ended with a FunctionError
	Throttled   int64 // invocations refused with ErrTooManyRequests
	Retired     int64 // sandboxes ended after IdleFor
	Idle, Busy  int
}

// Pool runs one function. Its methods may be called concurrently.
type Pool struct {
	function Function
	fork     *forker
	slots    chan struct{} // one token per invocation under way
	closing  chan struct{}
	ended    sync.WaitGroup // sandboxes and invocations under way

	mu     sync.Mutex
	closed bool
	idle   []*sandbox // the last used is last
	busy   []*sandbox // the last invoked is last
	stats  Stats
}

// Start returns a Pool for the function; it starts no process before the first invocation. It fails when the bootstrap
// is not an executable file, or on systems whose processes cannot be frozen.
func Start(f Function) (*Pool, error) {
	if err := platformError(); err != nil {
		return nil, fmt.Errorf("running function %s: %w", f.Name, err)
	}
	path, err := filepath.Abs(f.Bootstrap)
	if err != nil {
		return nil, fmt.Errorf("finding the bootstrap of %s: %w", f.Name, err)
	}
	f.Bootstrap = path
	info, err := os.Stat(f.Bootstrap)
	if err != nil {
		return nil, fmt.Errorf("finding the bootstrap of %s: %w", f.Name, err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("the bootstrap of %s is not an executable file: %s", f.Name, f.Bootstrap)
	}
	f = withDefaults(f)
	return &Pool{
		function: f,
		fork:     newForker(),
		slots:    make(chan struct{}, f.Concurrency),
		closing:  make(chan struct{}),
	}, nil
}

func withDefaults(f Function) Function {
	if f.Timeout == 0 {
		f.Timeout = 3 * time.Second
	}
	if f.InitTimeout == 0 {
		f.InitTimeout = 10 * time.Second
	}
	if f.IdleFor == 0 {
		f.IdleFor = 5 * time.Minute
	}
	if f.MemoryMB == 0 {
		f.MemoryMB = 128
	}
	if f.Concurrency == 0 {
		f.Concurrency = 10
	}
	if f.Output == nil {
		f.Output = io.Discard
	}
	f.Output = &wholeWrites{to: f.Output}
	return f
}

// Invoke runs the function once and returns what became of it: a function's own failure, its timeout and its crash are
// Results with a FunctionError. It fails with ErrTooManyRequests, ErrRequestTooLarge or ErrClosed, when a process
// cannot be started, and with the context's error: then the function runs on, as on Lambda, and nobody hears its
// answer.
//
// It returns when the sandbox polled again, because only then is the invocation over and the sandbox free for the next.
// The payload must not change before that.
func (p *Pool) Invoke(ctx context.Context, payload []byte) (Result, error) {
	if len(payload) > MaxRequestBytes {
		return Result{}, ErrRequestTooLarge
	}
	if err := p.admit(ctx); err != nil {
		return Result{}, err
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := p.run(payload)
		<-p.slots // before the answer, for callers who come back at once
		p.ended.Done()
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for function %s: %w", p.function.Name, ctx.Err())
	}
}

type outcome struct {
	result Result
	err    error
}

// admit takes one of the function's slots and counts the invocation in.
func (p *Pool) admit(ctx context.Context) error {
	if err := p.takeSlot(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		<-p.slots
		return ErrClosed
	}
	p.ended.Add(1)
	p.stats.Invocations++
	return nil
}

func (p *Pool) takeSlot(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(p.function.Wait)
	defer patience.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for a free sandbox of %s: %w", p.function.Name, ctx.Err())
	case <-patience.C:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stats.Throttled++
		return ErrTooManyRequests
	}
}

// run finds a sandbox, has it do the work, and keeps it for the next when it is still sound.
func (p *Pool) run(payload []byte) (Result, error) {
	s := p.takeIdle()
	if s != nil {
		result := s.invoke(newInvocation(p.function, payload))
		p.settle(s, result)
		return result, nil
	}
	began := time.Now()
	s, err := p.startSandbox()
	if err != nil {
		return Result{}, err
	}
	result := s.start()
	polled := time.Since(began)
	if result.FunctionError == "" {
		result = s.invoke(newInvocation(p.function, payload))
	}
	result.Cold, result.Init = true, polled
	p.settle(s, result)
	return result, nil
}

// takeIdle returns the idle sandbox that was used last, thawed, or nil.
func (p *Pool) takeIdle() *sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	s := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.busy = append(p.busy, s)
	s.retirement.Stop()
	if !p.function.Awake {
		s.thaw()
	}
	return s
}

// startSandbox starts a process and watches for its end.
func (p *Pool) startSandbox() (*sandbox, error) {
	s, err := newSandbox(p.function, p.fork)
	if err != nil {
		return nil, fmt.Errorf("starting function %s: %w", p.function.Name, err)
	}
	p.ended.Go(func() {
		<-s.exited
		p.forget(s)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Cold++
	p.busy = append(p.busy, s)
	if p.closed {
		s.kill()
	}
	return s, nil
}

// settle freezes a sandbox that polled again and puts it with the idle ones.
func (p *Pool) settle(s *sandbox, r Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.FunctionError != "" {
		p.stats.Errors++
	}
	p.busy = without(p.busy, s)
	if !s.waiting() || p.closed {
		s.kill()
		return
	}
	if !p.function.Awake {
		s.freeze()
	}
	p.idle = append(p.idle, s)
	s.retirement = time.AfterFunc(p.function.IdleFor, func() { p.retire(s) })
}

// retire ends a sandbox if it is idle still.
func (p *Pool) retire(s *sandbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := without(p.idle, s)
	if len(left) == len(p.idle) {
		return
	}
	p.idle = left
	p.stats.Retired++
	s.kill()
}

// forget drops a sandbox whose process ended, so that no invocation is sent to it.
func (p *Pool) forget(s *sandbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = without(p.idle, s)
	p.function.Log.Debug("a sandbox ended", "function", p.function.Name, "pid", s.pid(), "how", s.exitMessage())
}

// Kill kills the process of the invocation that began last, as a crash of the machine under it would, and reports
// whether any was under way.
func (p *Pool) Kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.busy) == 0 {
		return false
	}
	p.busy[len(p.busy)-1].kill()
	return true
}

// Stats returns the totals so far.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Idle, s.Busy = len(p.idle), len(p.busy)
	return s
}

// Processes returns the process ids of the live sandboxes, for those who watch them from outside.
func (p *Pool) Processes() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for _, s := range p.idle {
		pids = append(pids, s.pid())
	}
	for _, s := range p.busy {
		pids = append(pids, s.pid())
	}
	return pids
}

// Close kills every process and returns when all have ended; invocations under way end with Runtime.ExitError.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.closing)
	for _, s := range p.idle {
		s.retirement.Stop()
		s.kill()
	}
	for _, s := range p.busy {
		s.kill()
	}
	p.mu.Unlock()
	p.ended.Wait()
	p.fork.close()
	return nil
}

// without returns the sandboxes other than s, in their order, in the same memory.
func without(sandboxes []*sandbox, s *sandbox) []*sandbox {
	for i, other := range sandboxes {
		if other == s {
			return append(sandboxes[:i], sandboxes[i+1:]...)
		}
	}
	return sandboxes
}
