package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/clock"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
)

// The demo's story: an app whose devices run 1.0.0, a good bundle 1.1.0, and 1.2.0 which crashes ten times as often.
const (
	demoApp     = "com.example.shop"
	demoDevices = 1500
	demoCrash   = 0.01 // per session of a good bundle
	demoEvery   = 6 * time.Hour
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
      - {percent: 5, hold: {min: 12h, max: 36h}}
      - {percent: 20, hold: {min: 12h, max: 36h}}
      - {percent: 50, hold: {min: 12h, max: 36h}}
      - {percent: 100, hold: {min: 6h, max: 12h}}
    gates:                          # what these devices report; the others would stay unknown
      - {metric: crash, margin: 3}
      - {metric: boot_failure, margin: 2}
      - {metric: anr, off: true}
      - {metric: error, off: true}
      - {metric: silence, off: true}
`

// teller prints the demo's story, one line at a time, with the clock's time.
type teller struct {
	mu    sync.Mutex
	out   io.Writer
	clock *clock.Clock
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
	o.data, o.fresh = filepath.Join(o.data, "demo"), true
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
	for _, note := range clockNotes(s.clock) {
		fmt.Fprintln(out, note)
	}
	fmt.Fprintln(out)
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
	if err := c.call(ctx, http.MethodPut, appPath(demoApp), "application/yaml", []byte(demoDocument), nil); err != nil {
		return fmt.Errorf("seeding the demo: %w", err)
	}
	t.say("%d devices run Shop 1.0.0 and ask for updates about every %s", demoDevices, rollout.Duration(demoEvery))
	fleetCtx, stopFleet := context.WithCancel(ctx)
	defer stopFleet()
	var reached reach
	go s.runDemoFleet(fleetCtx, &reached)
	if err := s.pass(ctx, 8*time.Hour); err != nil {
		return err
	}
	if err := s.follow(ctx, c, t, moved, "1.1.0", "a good bundle"); err != nil {
		return err
	}
	if err := s.follow(ctx, c, t, moved, "1.2.0", "it crashes ten times as often"); err != nil {
		return err
	}
	offered := reached.of("1.2.0")
	t.say("1.2.0 was offered to %d of %d devices (%.1f %%); they are back on 1.1.0 at their next check", offered, demoDevices,
		100*float64(offered)/demoDevices)
	fmt.Fprintln(out, "\nlook closer, in another terminal:")
	for _, line := range []string{
		"rollout list " + demoApp, "rollout status " + demoApp, "explain " + demoApp + " " + fleet.DeviceID(1, 7), "export " + demoApp,
	} {
		fmt.Fprintln(out, "  "+s.command(line))
	}
	fmt.Fprintln(out, "Ctrl-C ends the demo.")
	return s.pass(ctx, 1<<62)
}

// command is a command line that reaches this server.
func (s *server) command(args string) string {
	line := "bin/palier " + args + " --data " + s.options.data
	if s.options.token != "" {
		line = "bin/palier " + args // the token is in PALIER_TOKEN
	}
	if url := s.url(); url != "http://"+defaultListen {
		line += " --server " + url
	}
	return line
}

// pass waits until d of the clock has passed.
func (s *server) pass(ctx context.Context, d time.Duration) error {
	return sleep(ctx, s.clock.Real(d, 0))
}

// follow starts a rollout and tells its transitions until it is over or paused by the judge.
func (s *server) follow(ctx context.Context, c *connection, t *teller, moved <-chan promote.Outcome, bundle, what string) error {
	var r admin.RolloutView
	in := map[string]any{"channel": "production", "bundle": bundle, "plan": "demo", "reason": "demo"}
	if err := c.send(ctx, http.MethodPost, appPath(demoApp, "rollouts"), in, &r); err != nil {
		return fmt.Errorf("starting %s: %w", bundle, err)
	}
	t.say("rollout of %s begins (%s): %s get it; to watch: %s", bundle, what, share(r), s.command("rollout watch "+demoApp))
	var patience <-chan time.Time // with a pause that nobody answers
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience:
			err := c.send(ctx, http.MethodPost, appPath(demoApp, "rollouts", r.ID, "rollback"), map[string]string{"reason": "seen enough"}, &r)
			var refused *apiError
			if errors.As(err, &refused) && refused.Code == rollout.CodeRolloutEnded {
				continue // the judge was first; its word is on the way
			}
			if err != nil {
				return fmt.Errorf("rolling %s back: %w", bundle, err)
			}
			t.say("a person looks and takes %s back", bundle)
			return nil
		case o := <-moved:
			if o.Rollout.ID != r.ID {
				continue
			}
			t.say("%s", tell(o))
			if !o.Rollout.State.Live() {
				return nil
			}
			if o.Rollout.State == rollout.Paused {
				patience = time.After(s.clock.Real(16*time.Hour, 0))
			}
		}
	}
}

// tell says in plain words what the judge did and why.
func tell(o promote.Outcome) string {
	r, v := o.Rollout, o.Verdict
	switch {
	case r.State == rollout.Completed:
		return fmt.Sprintf("%s is complete: every device gets it now", r.Bundle)
	case o.Verb == rollout.VerbPromote && v.Certified:
		return fmt.Sprintf("%s goes on to %s: PROVEN no worse than the margin, %s", r.Bundle, shareOf(r.Percent, r.Plan, r.Phase), crashes(v))
	case o.Verb == rollout.VerbPromote:
		return fmt.Sprintf("%s goes on to %s: no harm seen in the longest hold, %s", r.Bundle, shareOf(r.Percent, r.Plan, r.Phase), crashes(v))
	case v.Decision == judge.Rollback:
		return fmt.Sprintf("%s is TAKEN BACK: %s", r.Bundle, v.Sentence)
	case v.Decision == judge.Pause:
		return fmt.Sprintf("%s is PAUSED: %s", r.Bundle, v.Sentence)
	}
	return fmt.Sprintf("%s: %s (%s)", r.Bundle, o.Verb, v.Sentence)
}

// crashes says what is known of the demo's one telling metric.
func crashes(v judge.Verdict) string {
	for _, e := range v.Metrics {
		if e.Metric == rollout.Crash && e.Upper > 0 {
			return fmt.Sprintf("crash ratio %.2g, at most %.2g, after %d candidate devices", e.Ratio, e.Upper, v.Candidate)
		}
	}
	return fmt.Sprintf("after %d candidate devices", v.Candidate)
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
	if _, err := fleet.Run(ctx, demoFleet(s.url(), s.clock, demoDevices), r.set); err != nil && ctx.Err() == nil {
		s.options.log.Error("the demo's fleet stopped", "error", err)
	}
}

// demoFleet is the fleet of the demo's story.
func demoFleet(url string, clock *clock.Clock, devices int) fleet.Config {
	return fleet.Config{
		BaseURL: url, App: demoApp, Devices: devices, Seed: 1, TimeScale: clock.Scale(), Start: clock.Now(),
		CheckEvery: demoEvery, StoreVersion: "1.0.0", Baseline: fleet.Behaviour{CrashRate: demoCrash},
		Behaviour:      map[string]fleet.Behaviour{"1.2.0": {CrashRate: 10 * demoCrash}},
		PluginMix:      []fleet.PluginShare{{Version: "8.51.23", Weight: .9}, {Version: "7.51.20", Weight: .1}}, // most report crashes
		Metrics:        0.1,
		Duplicate:      0.02,
		AllowDowngrade: func(string, string) bool { return true },
	}
}
