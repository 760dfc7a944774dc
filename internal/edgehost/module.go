package edgehost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mendPause is how long a failed attempt to replace an instance waits for the next one.
	mendPause = time.Second
	// defaultGrowth is by how much an instance may grow, in bytes, before a fresh one takes its place.
	defaultGrowth = 64 << 20
)

// Module is the module of functions/edge, compiled to machine code and ready to be called by many at once.
//
// An instance takes one call at a time, so there are several, each with the same Snapshots. One more than those that answer is
// always kept aside: a Snapshot is loaded into that one, which then changes places with another, until all have it. So a
// Snapshot that takes long to compile never makes a device wait. An instance that traps is thrown away, and a new one is brought to
// where it was. So is one that has grown: TinyGo's build frees nothing, and each Snapshot leaves a few times its size behind.
type Module struct {
	compiled *Compiled
	keys     [][]byte
	growth   uint32
	log      *slog.Logger

	idle    chan *Instance // that answer, and do not at the moment
	lost    chan struct{}  // one that answered has failed
	renotes atomic.Int64   // how often notes had to be dropped
	mending sync.WaitGroup
	quit    chan struct{}

	loading sync.Mutex // one change at a time; guards what follows
	spare   *Instance
	held    map[string]*held
	current int // generation: changes so far

	mu     sync.Mutex         // guards which instances there are, and their generations
	living map[*Instance]bool // idle or answering
}

// held is what an instance must be told of an App to be where the others are.
type held struct {
	sealed     []byte
	now, grace uint32 // with which it was loaded
	forgotten  bool
}

// ModuleConfig is what a Module needs.
type ModuleConfig struct {
	Wasm      []byte   // a build of functions/edge, by TinyGo or standard Go
	Keys      [][]byte // raw Ed25519 public keys that may sign Snapshots
	Instances int      // that answer; 0 is one for each processor
	Cache     string   // see Compile
	Growth    uint32   // by how much an instance may grow, in bytes, before a fresh one takes its place; 64 MiB if zero
	Log       *slog.Logger
}

// NewModule compiles and instantiates the module. Close it.
func NewModule(ctx context.Context, c ModuleConfig) (*Module, error) {
	if c.Instances <= 0 {
		c.Instances = runtime.GOMAXPROCS(0)
	}
	if c.Growth == 0 {
		c.Growth = defaultGrowth
	}
	compiled, err := Compile(ctx, c.Wasm, c.Cache)
	if err != nil {
		return nil, err
	}
	m := &Module{
		compiled: compiled, keys: c.Keys, growth: c.Growth, log: c.Log,
		idle: make(chan *Instance, c.Instances), lost: make(chan struct{}, 1), quit: make(chan struct{}),
		held: make(map[string]*held), living: make(map[*Instance]bool, c.Instances),
	}
	for range c.Instances {
		i, err := m.fresh(ctx)
		if err != nil {
			return nil, errors.Join(err, compiled.Close(ctx))
		}
		m.enter(i)
	}
	if m.spare, err = m.fresh(ctx); err != nil {
		return nil, errors.Join(err, compiled.Close(ctx))
	}
	return m, nil
}

// Close frees all memory. No call may be under way.
func (m *Module) Close(ctx context.Context) error {
	close(m.quit)
	m.mending.Wait()
	return m.compiled.Close(ctx)
}

// fresh returns a new instance that has all that is held. Only NewModule and who holds loading may call it.
func (m *Module) fresh(ctx context.Context) (*Instance, error) {
	i, err := m.compiled.Instantiate(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range m.keys {
		if err := i.Trust(ctx, key); err != nil {
			i.Close(ctx)
			return nil, err
		}
	}
	for app, h := range m.held {
		if err := h.into(ctx, i, app); err != nil {
			i.Close(ctx)
			return nil, fmt.Errorf("loading the snapshot of %s again: %w", app, err)
		}
	}
	i.generation, i.renoted, i.born = m.current, m.renotes.Load(), i.MemoryBytes()
	return i, nil
}

// into brings an instance to where the others are with an App.
func (h *held) into(ctx context.Context, i *Instance, app string) error {
	outcome, err := i.Load(ctx, app, h.sealed, h.now, h.grace)
	if err != nil {
		return err
	}
	if !outcome.taken() {
		return fmt.Errorf("it is %s to one instance and was not to another", outcome)
	}
	if h.forgotten {
		return i.Forget(ctx, app)
	}
	return nil
}

// enter lets an instance answer.
func (m *Module) enter(i *Instance) {
	m.mu.Lock()
	m.living[i] = true
	m.mu.Unlock()
	m.idle <- i
}

// leave takes an instance out of those that answer.
func (m *Module) leave(i *Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.living, i)
}

// lose throws away an instance that failed, and sees to it that another takes its place.
func (m *Module) lose(ctx context.Context, i *Instance, why error) {
	m.leave(i)
	i.Close(ctx)
	select {
	case m.lost <- struct{}{}:
	default:
	}
	m.mending.Go(func() { m.mend(context.WithoutCancel(ctx), why) })
}

// Check answers the body of a POST /updates at the time now, in Unix seconds. It waits for an instance no longer than ctx allows.
func (m *Module) Check(ctx context.Context, body []byte, now uint32, into *Result) error {
	return m.use(ctx, func(i *Instance) error { return i.Check(ctx, body, nil, now, into) })
}

// Unavailable returns the answer for when neither the edge nor the origin can answer.
func (m *Module) Unavailable(ctx context.Context, into *Result) error {
	return m.use(ctx, func(i *Instance) error { return i.Unavailable(ctx, into) })
}

// Renote makes all instances forget what they noted, because notes had to be dropped.
func (m *Module) Renote() { m.renotes.Add(1) }

// use lends an instance. One that fails is replaced behind the caller's back.
func (m *Module) use(ctx context.Context, do func(*Instance) error) error {
	var i *Instance
	select {
	case i = <-m.idle:
	case <-ctx.Done():
		return fmt.Errorf("waiting for an instance of the module: %w", ctx.Err())
	}
	err := m.catchUp(ctx, i)
	if err == nil {
		err = do(i)
	}
	if err != nil {
		m.lose(ctx, i, err)
		return err
	}
	m.idle <- i
	return nil
}

// catchUp makes an instance forget its notes if it must.
func (m *Module) catchUp(ctx context.Context, i *Instance) error {
	n := m.renotes.Load()
	if i.renoted == n {
		return nil
	}
	i.renoted = n
	return i.Renote(ctx)
}

// mend replaces an instance that failed.
func (m *Module) mend(ctx context.Context, why error) {
	m.log.Error("an instance of the module failed and is replaced", "error", why)
	for {
		m.loading.Lock()
		i, err := m.fresh(ctx)
		if err == nil {
			m.enter(i)
		}
		m.loading.Unlock()
		if err == nil {
			return
		}
		m.log.Error("an instance of the module could not be replaced; trying again", "error", err)
		select {
		case <-m.quit:
			return
		case <-time.After(mendPause):
		}
	}
}

// Load offers a sealed Snapshot that was fetched for an App at the time now, in Unix seconds, to answer from until its expiry and
// grace seconds more. When it returns Loaded or Same, all instances answer from it. Others answer meanwhile. It keeps sealed.
func (m *Module) Load(ctx context.Context, app string, sealed []byte, now, grace uint32) (Outcome, error) {
	m.loading.Lock()
	defer m.loading.Unlock()
	if err := m.refresh(ctx); err != nil {
		return 0, err
	}
	outcome, err := m.spare.Load(ctx, app, sealed, now, grace)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("loading the snapshot of %s: %w", app, err), m.respare(ctx))
	}
	before := m.held[app]
	if outcome == Loaded || outcome == Same && (before == nil || headerOf(sealed).issued > headerOf(before.sealed).issued) {
		m.held[app] = &held{sealed: sealed, now: now, grace: grace}
		return outcome, m.spread(ctx, app)
	}
	return outcome, nil
}

// refresh replaces the spare instance if it has grown too much. Each becomes the spare one when a Snapshot is loaded.
func (m *Module) refresh(ctx context.Context) error {
	if m.spare.MemoryBytes()-m.spare.born < m.growth {
		return nil
	}
	return m.respare(ctx)
}

// Forget stops answering for an App. Its revision stays remembered.
func (m *Module) Forget(ctx context.Context, app string) error {
	m.loading.Lock()
	defer m.loading.Unlock()
	h := m.held[app]
	if h == nil || h.forgotten {
		return nil
	}
	h.forgotten = true
	if err := m.spare.Forget(ctx, app); err != nil {
		return errors.Join(err, m.respare(ctx))
	}
	return m.spread(ctx, app)
}

// respare replaces the spare instance.
func (m *Module) respare(ctx context.Context) error {
	m.spare.Close(ctx)
	i, err := m.fresh(ctx)
	if err != nil {
		return err // the closed one stays, and fails again until it can be replaced
	}
	m.spare = i
	return nil
}

// spread brings what the spare instance was told of an App to all others. Each in its turn changes places with the spare one, so
// that always as many answer.
func (m *Module) spread(ctx context.Context, app string) error {
	m.current++
	m.spare.generation = m.current
	for m.anyBehind() {
		select {
		case i := <-m.idle:
			if i.generation == m.current {
				m.idle <- i
				runtime.Gosched() // the one behind is answering
				continue
			}
			m.leave(i)
			m.enter(m.spare)
			m.spare = i
			if err := m.bring(ctx, i, app); err != nil {
				return err
			}
		case <-m.lost:
		}
	}
	return nil
}

// bring brings the spare instance, which has just been relieved, to where the others are.
func (m *Module) bring(ctx context.Context, i *Instance, app string) error {
	if i.generation != m.current-1 {
		return m.respare(ctx) // a change before this one has not reached it
	}
	if err := m.held[app].into(ctx, i, app); err != nil {
		m.log.Error("an instance of the module failed and is replaced", "error", err)
		return m.respare(ctx)
	}
	i.generation = m.current
	return m.refresh(ctx)
}

// anyBehind reports whether an instance that answers has not got the last change.
func (m *Module) anyBehind() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.living {
		if i.generation != m.current {
			return true
		}
	}
	return false
}
