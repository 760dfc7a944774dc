package edgehost

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxInFlight is how many requests are worked on at once; more are asked to come back.
	maxInFlight = 4096
	// maxInHand is how much telemetry and what is forwarded may take at once, in bytes; more is asked to come back.
	maxInHand = 64 << 20
	// maxKept is the largest buffer that is used again, in bytes.
	maxKept = 64 << 10
)

// Host answers devices with a Module, and does what that cannot.
type Host struct {
	config    Config
	module    *Module
	origin    *origin
	snapshots *snapshots
	courier   *courier
	backlog   backlog
	log       *slog.Logger

	unavailable answer // when neither edge nor origin can answer
	tooLarge    answer // to a check that nobody reads

	buffers    sync.Pool // of *buffers
	inFlight   atomic.Int64
	inHand     atomic.Int64  // bytes of bodies
	pushing    chan struct{} // a slot for each push that is read
	suspicious *rate.Limiter // lets pushes in, of which too many were refused
	counts     counts
}

// buffers are one check's memory.
type buffers struct {
	body   []byte
	result Result
}

// counts are what has happened since the start. Status tells them by the names in its JSON.
type counts struct {
	checks, answered, stale, neededFacts, noSnapshot, fallback, forwarded, telemetry, busy, pushes, refusedPushes, batches, kept,
	dropped atomic.Int64
}

// New compiles the module, opens the spool and loads the Snapshots that are kept there. It asks nothing of the origin: Run does.
// Close the Host.
func New(ctx context.Context, c Config) (*Host, error) {
	base, keys, err := c.prepare()
	if err != nil {
		return nil, err
	}
	h := &Host{
		config: c, log: c.Log, origin: newOrigin(base, c.Token, c.Wait, c.Now),
		pushing: make(chan struct{}, maxPushes), suspicious: rate.NewLimiter(refusedPushes, refusedPushBurst),
	}
	if exposed(base) {
		c.Log.Warn("the edge token and the snapshots travel to the origin unencrypted: give an https address", "origin", c.Origin)
	}
	h.buffers.New = func() any { return &buffers{body: make([]byte, 0, 2048)} }
	if err := h.open(ctx, keys); err != nil {
		return nil, errors.Join(err, h.Close(ctx))
	}
	return h, nil
}

func (h *Host) open(ctx context.Context, keys [][]byte) (err error) {
	kept, err := h.openBacklog()
	if err != nil {
		return err
	}
	if h.module, err = NewModule(ctx, ModuleConfig{Wasm: h.config.Wasm, Keys: keys, Cache: h.config.Cache, Log: h.log}); err != nil {
		return err
	}
	if err := h.prepareAnswers(ctx); err != nil {
		return err
	}
	h.snapshots = newSnapshots(&snapshots{
		module: h.module, origin: h.origin, poll: h.config.Poll, grace: h.config.Grace, dir: kept, now: h.config.Now,
		random: h.config.Random, log: h.log,
	}, h.config.Apps)
	h.snapshots.restore(ctx)
	h.courier = newCourier(&courier{
		origin: h.origin, backlog: h.backlog, every: h.config.Gather, unavailable: h.unavailable, renote: h.module.Renote,
		random: h.config.Random, log: h.log, counts: &h.counts,
	})
	h.origin.reach.back = func() { raise(h.courier.back) }
	return nil
}

// openBacklog opens what keeps telemetry, and returns the folder for Snapshots; empty is none.
func (h *Host) openBacklog() (kept string, err error) {
	if h.config.Spool == "" {
		h.backlog = &memory{bound: h.config.Queue}
		return "", nil
	}
	telemetry, kept, err := folders(h.config.Spool)
	if err != nil {
		return "", err
	}
	s, err := openSpool(telemetry, h.config.Queue, h.log)
	if err != nil {
		return "", err
	}
	h.backlog = s
	return kept, nil
}

// prepareAnswers asks the module for the answers that never change.
func (h *Host) prepareAnswers(ctx context.Context) error {
	var r Result
	if err := h.module.Unavailable(ctx, &r); err != nil {
		return err
	}
	h.unavailable = r.answer()
	r = Result{}
	if err := h.module.Check(ctx, make([]byte, maxCheck+1), 0, &r); err != nil {
		return err
	}
	h.tooLarge = r.answer()
	return nil
}

func (r *Result) answer() answer {
	return answer{status: r.Status, body: r.Answer, retryAfter: r.RetryAfter}
}

// Run fetches Snapshots and carries telemetry until ctx ends, then hands over what was gathered and returns. Requests must
// have ended before ctx does. ready is called once each App's Snapshot was asked for, at most two seconds after the start.
func (h *Host) Run(ctx context.Context, ready func()) {
	var work sync.WaitGroup
	var asked sync.WaitGroup
	for _, app := range h.config.Apps {
		asked.Add(1)
		work.Go(func() { h.snapshots.follow(ctx, app, asked.Done) })
	}
	work.Go(func() { h.courier.run(ctx) })
	work.Go(func() {
		first := make(chan struct{})
		go func() {
			asked.Wait()
			close(first)
		}()
		select {
		case <-first:
		case <-time.After(firstSnapshots):
		case <-ctx.Done():
			return
		}
		ready()
	})
	work.Wait()
}

// firstSnapshots is how long the first Snapshots may take before the edge is ready without them.
const firstSnapshots = 2 * time.Second

// Close frees what New took. Run must have returned.
func (h *Host) Close(ctx context.Context) error {
	var errs []error
	if h.module != nil {
		errs = append(errs, h.module.Close(ctx))
	}
	if h.backlog != nil {
		errs = append(errs, h.backlog.close())
	}
	h.origin.client.CloseIdleConnections()
	return errors.Join(errs...)
}
