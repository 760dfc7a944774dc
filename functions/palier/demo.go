package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
)

// The demo's story: an app whose devices run 1.0.0, a good bundle 1.1.0, and 1.2.0 which crashes ten times as often.
const (
	demoApp     = "com.example.shop"
	demoDevices = 1200
	demoCrash   = 0.01 // per session of a good bundle
	demoEvery   = 4 * time.Hour
	demoScale   = 7200 // when the clock was not asked to run faster
)

const demoDocument = `app: com.example.shop
name: Shop
bundles:
  - {version: 1.0.0, url: "https://cdn.example.com/shop/1.0.0.zip", checksum: 8c6c6b2d0a4f6d8e5b7a9c1d3e5f70812345678990abcdef1234567890abcdef}
  - {version: 1.1.0, url: "https://cdn.example.com/shop/1.1.0.zip", checksum: 1f0c6b2d0a4f6d8e5b7a9c1d3e5f70812345678990abcdef1234567890abcdef, comment: Faster checkout}
  - {version: 1.2.0, url: "https://cdn.example.com/shop/1.2.0.zip", checksum: 2a0c6b2d0a4f6d8e5b7a9c1d3e5f70812345678990abcdef1234567890abcdef, comment: New cart}
channels:
  - {name: production, bundle: 1.0.0, public: true, disable_auto_update: none}
  - {name: beta, bundle: 1.0.0, allow_device_self_set: true, disable_auto_update: none}
segments:
  - {name: internal, custom_ids: [qa-1, qa-2]}
plans:
  - name: demo
    on_timeout: promote
    holdback: 1
    phases:
      - {percent: 5, hold: {min: 12h, max: 24h}}
      - {percent: 20, hold: {min: 12h, max: 24h}}
      - {percent: 50, hold: {min: 12h, max: 24h}}
      - {percent: 100, hold: {min: 6h, max: 12h}}
`

// teller prints the demo's story, one line at a time, with the clock's time.
type teller struct {
	mu    sync.Mutex
	out   io.Writer
	clock *clock
	start time.Time
}

func (t *teller) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := rollout.Duration(t.clock.Now().Sub(t.start).Truncate(time.Hour))
	day, hour := at.Std()/(24*time.Hour), at.Std()%(24*time.Hour)/time.Hour
	fmt.Fprintf(t.out, "day %2d %02d:00  %s\n", day+1, hour, fmt.Sprintf(format, args...))
}

// runDemo serves with a seeded app and a fleet, tells what happens, and goes on serving until the context ends.
func runDemo(ctx context.Context, o serveOptions, out io.Writer) error {
	o.data = filepath.Join(o.data, "demo")
	if err := os.RemoveAll(o.data); err != nil {
		return fmt.Errorf("clearing the last demo: %w", err)
	}
	if o.scale == 1 {
		o.scale = demoScale
	}
	moved := make(chan promote.Outcome, 64)
	o.notify = func(p promote.Outcome) {
		select {
		case moved <- p:
		default:
		}
	}
	s, err := openServer(ctx, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- s.run(ctx) }()
	fmt.Fprintln(out, s.ready())
	if err := s.tellDemo(ctx, moved, out); err != nil && !errors.Is(err, context.Canceled) {
		cancel()
		return errors.Join(err, <-served)
	}
	return <-served
}

// tellDemo plays the story against the running server, over HTTP like any operator and any device.
func (s *server) tellDemo(ctx context.Context, moved <-chan promote.Outcome, out io.Writer) error {
	c := &connection{server: s.url(), token: s.options.token, data: s.options.data}
	t := &teller{out: out, clock: s.clock, start: s.clock.Now()}
	fmt.Fprintf(out, "the clock runs %.4g times faster: %s pass every second\n\n", s.clock.scale, rollout.Duration(time.Duration(s.clock.scale)*time.Second))
	if err := c.call(ctx, http.MethodPut, appPath(demoApp), "application/yaml", []byte(demoDocument), nil); err != nil {
		return fmt.Errorf("seeding the demo: %w", err)
	}
	t.say("%d devices run Shop 1.0.0 and ask for updates about every %s", demoDevices, rollout.Duration(demoEvery))
	fleetCtx, stopFleet := context.WithCancel(ctx)
	defer stopFleet()
	var reached reach
	go s.runDemoFleet(fleetCtx, &reached)
	if err := s.pass(ctx, 12*time.Hour); err != nil {
		return err
	}
	if err := s.follow(ctx, c, t, moved, "1.1.0", "a good bundle"); err != nil {
		return err
	}
	if err := s.follow(ctx, c, t, moved, "1.2.0", "a bundle that crashes ten times as often"); err != nil {
		return err
	}
	offered := reached.of("1.2.0")
	t.say("1.2.0 reached %d of %d devices (%.1f %%)", offered, demoDevices, 100*float64(offered)/demoDevices)
	fmt.Fprintf(out, `
Look closer, in another terminal:
  export PALIER_SERVER=%s PALIER_DATA=%s
  bin/palier rollout list %s
  bin/palier rollout status %s
  bin/palier explain %s %s
  bin/palier export %s
Ctrl-C ends the demo.
`, s.url(), s.options.data, demoApp, demoApp, demoApp, fleet.DeviceID(1, 7), demoApp)
	return s.pass(ctx, 1<<62)
}

// pass waits until d of the clock has passed.
func (s *server) pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(s.clock.real(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// follow starts a rollout and tells its transitions until it is over or paused by the judge.
func (s *server) follow(ctx context.Context, c *connection, t *teller, moved <-chan promote.Outcome, bundle, what string) error {
	var r admin.RolloutView
	in := map[string]any{"channel": "production", "bundle": bundle, "plan": "demo", "reason": "demo"}
	if err := c.send(ctx, http.MethodPost, appPath(demoApp, "rollouts"), in, &r); err != nil {
		return fmt.Errorf("starting %s: %w", bundle, err)
	}
	t.say("rollout of %s begins (%s): %s %% of devices get it", bundle, what, r.Percent)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case o := <-moved:
			if o.Rollout.ID != r.ID {
				continue
			}
			t.say("%s", tell(o))
			if !o.Rollout.State.Live() || o.Rollout.State == rollout.Paused {
				return nil
			}
		}
	}
}

// tell says in plain words what the judge did.
func tell(o promote.Outcome) string {
	r := o.Rollout
	switch {
	case r.State == rollout.Completed:
		return fmt.Sprintf("%s is complete: every device gets it now", r.Bundle)
	case o.Verb == rollout.VerbPromote:
		return fmt.Sprintf("%s goes on to %s %%: %s", r.Bundle, r.Percent, o.Verdict.Sentence)
	case o.Verdict.Decision == judge.Rollback:
		return fmt.Sprintf("%s is TAKEN BACK: %s", r.Bundle, o.Verdict.Sentence)
	case o.Verdict.Decision == judge.Pause:
		return fmt.Sprintf("%s is PAUSED: %s", r.Bundle, o.Verdict.Sentence)
	}
	return fmt.Sprintf("%s: %s (%s)", r.Bundle, o.Verb, o.Verdict.Sentence)
}

// reach remembers how many devices each bundle was offered to.
type reach struct {
	mu      sync.Mutex
	offered map[string]fleet.VersionStats
}

func (r *reach) set(s fleet.Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered = s.Versions
}

func (r *reach) of(version string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offered[version].DevicesOffered
}

// runDemoFleet runs the demo's devices until the context ends.
func (s *server) runDemoFleet(ctx context.Context, r *reach) {
	good := fleet.Behaviour{CrashRate: demoCrash}
	_, err := fleet.Run(ctx, fleet.Config{
		BaseURL: s.url(), App: demoApp, Devices: demoDevices, Seed: 1, TimeScale: s.clock.scale, Start: s.clock.Now(),
		CheckEvery: demoEvery, StoreVersion: "1.0.0", Baseline: good,
		Behaviour:      map[string]fleet.Behaviour{"1.2.0": {CrashRate: 10 * demoCrash}},
		Metrics:        0.1,
		Duplicate:      0.02,
		AllowDowngrade: func(string, string) bool { return true },
	}, r.set)
	if err != nil && ctx.Err() == nil {
		s.options.log.Error("the demo's fleet stopped", "error", err)
	}
}
