package fleet

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// fleet is a run in progress.
type fleet struct {
	cfg     Config
	plugins []weighted
	shelf   *shelf
	store   *bundle
	devices []*device
	headers map[string]http.Header // of plugins, by content; filled before the run, read only in it
	header  http.Header            // of the app's own code, which posts to /telemetry
	limit   *rate.Limiter          // nil without Config.MaxRate
	acks    *ackLog

	updatesURL, statsURL, telemetryURL string

	began time.Time // real

	requests, checks, statsPosts, telemetryPosts        atomic.Uint64
	eventsSent, eventsAcked, eventsLost, eventsRequeued atomic.Uint64
	duplicates                                          atomic.Uint64
	silent                                              atomic.Int64
	lag, maxLag                                         atomic.Int64 // simulated nanoseconds
	latency                                             histogram
	errors                                              tallies[string]
	violations                                          ledger
}

// weighted is a plugin with its weight in the mix.
type weighted struct {
	plugin *plugin
	weight float64
}

// worker carries out the steps of devices, with its own buffers.
type worker struct {
	fleet *fleet
	out   []byte // the request
	in    bytes.Buffer
	batch []event
}

// Run lets a fleet live until Config.Duration has passed, Config.Until says so, ctx ends or every device is silent, and
// returns what it saw. onProgress, unless nil, gets the state every Config.Progress, from one goroutine. The error is
// about the configuration or the AckLog, never about the server: what the server does wrong is in the Report. That ctx
// ends is an ordinary end, not an error; requests under way are then abandoned, while the other ends let them finish.
func Run(ctx context.Context, cfg Config, onProgress func(Stats)) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	f, err := newFleet(cfg.withDefaults())
	if err != nil {
		return Report{}, err
	}
	stop := make(chan struct{})
	var endOnce sync.Once
	end := func() { endOnce.Do(func() { close(stop) }) }
	watched := f.watch(onProgress, end, stop)
	f.live(ctx, stop)
	end()
	<-watched
	final := f.stats()
	if onProgress != nil {
		onProgress(final)
	}
	return Report{Stats: final, Violations: f.violations.list()}, f.acks.err()
}

func newFleet(cfg Config) (*fleet, error) {
	f := &fleet{cfg: cfg, headers: make(map[string]http.Header), acks: &ackLog{out: cfg.AckLog},
		header: http.Header{"Content-Type": {"application/json"}}}
	f.shelf = newShelf(f.cfg.behaviour)
	f.store = f.shelf.bundle(StoreBuild)
	base := strings.TrimRight(cfg.BaseURL, "/")
	f.updatesURL, f.statsURL, f.telemetryURL = base+"/updates", base+"/stats", base+"/telemetry"
	if cfg.MaxRate > 0 {
		f.limit = rate.NewLimiter(rate.Limit(cfg.MaxRate), 1)
	}
	for _, share := range cfg.PluginMix {
		p, err := newPlugin(share.Version)
		if err != nil {
			return nil, err
		}
		f.plugins = append(f.plugins, weighted{p, share.Weight})
	}
	f.devices = make([]*device, cfg.Devices)
	for i := range f.devices {
		f.devices[i] = f.newDevice(i)
	}
	f.store.running.Store(int64(cfg.Devices))
	f.began = time.Now()
	return f, nil
}

// now is the simulated time since the start of the run, in nanoseconds.
func (f *fleet) now() int64 { return f.simulated(time.Since(f.began)) }

// simulated is how much simulated time passes in a real one.
func (f *fleet) simulated(real time.Duration) int64 { return int64(float64(real) * f.cfg.TimeScale) }

// clock is the simulated time as devices see it, in Unix milliseconds.
func (f *fleet) clock() int64 { return f.cfg.Start.UnixMilli() + f.now()/int64(time.Millisecond) }

// watch reports progress and asks Config.Until, until stop closes; the channel it returns closes after the last call.
func (f *fleet) watch(onProgress func(Stats), end func(), stop <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(f.cfg.Progress)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			now := f.stats()
			if onProgress != nil {
				onProgress(now)
			}
			if f.cfg.Until != nil && f.cfg.Until(now) {
				end()
			}
		}
	}()
	return done
}

// live hands devices to workers as their moments come. It returns when all workers have finished.
func (f *fleet) live(ctx context.Context, stop <-chan struct{}) {
	due := make(chan moment)
	acted := make(chan moment, f.cfg.Concurrency)
	var workers sync.WaitGroup
	for range f.cfg.Concurrency {
		workers.Go(func() { f.work(ctx, due, acted) })
	}
	f.schedule(ctx, stop, due, acted)
	close(due)
	go func() {
		for range acted { // what the last steps return
		}
	}()
	workers.Wait()
	close(acted)
}

// never is the moment of a device that does not act again.
const never = -1

// work carries out the moments that come.
func (f *fleet) work(ctx context.Context, due <-chan moment, acted chan<- moment) {
	w := &worker{fleet: f}
	for m := range due {
		f.late(f.now() - m.due)
		next, alive := w.step(ctx, f.devices[m.device])
		if !alive {
			next = never
		}
		acted <- moment{next, m.device}
	}
}

// late records how late a device acts.
func (f *fleet) late(lag int64) {
	f.lag.Store(lag)
	for {
		most := f.maxLag.Load()
		if lag <= most || f.maxLag.CompareAndSwap(most, lag) {
			return
		}
	}
}

// schedule runs the agenda: it sends every moment that has come to due and takes the next moment of each device from
// acted. Every device starts at a random time within the first Config.CheckEvery.
func (f *fleet) schedule(ctx context.Context, stop <-chan struct{}, due chan<- moment, acted <-chan moment) {
	agenda := make(agenda, 0, len(f.devices))
	for i, d := range f.devices {
		agenda.push(moment{int64(d.dice.share() * float64(f.cfg.CheckEvery)), i})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for acting := 0; len(agenda) > 0 || acting > 0; {
		now := f.now()
		if f.cfg.Duration > 0 && now >= int64(f.cfg.Duration) {
			return
		}
		var ready chan<- moment // nil, so never chosen, while nothing is due
		var first moment
		if len(agenda) > 0 {
			if first = agenda[0]; first.due <= now {
				ready = due
			}
		}
		timer.Reset(f.wake(now, agenda))
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case ready <- first:
			agenda.pop()
			acting++
		case m := <-acted:
			acting--
			if m.due != never {
				agenda.push(m)
			}
		case <-timer.C:
		}
	}
}

// wake returns the real time until the scheduler must look again: until the next moment or the end of the run.
func (f *fleet) wake(now int64, agenda agenda) time.Duration {
	const idle = time.Second
	next := now + f.simulated(idle)
	if len(agenda) > 0 && agenda[0].due > now {
		next = min(next, agenda[0].due)
	}
	if end := int64(f.cfg.Duration); end > 0 {
		next = min(next, end)
	}
	return time.Duration(float64(next-now)/f.cfg.TimeScale) + time.Microsecond
}
