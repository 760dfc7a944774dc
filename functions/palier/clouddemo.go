package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/rollout"
)

// cloudDemo plays the demo's story on a local cloud: a fleet, a healthy bundle, a crashing one. It returns when both
// rollouts are over; the fleet goes on until the context ends.
func cloudDemo(ctx context.Context, c *cloudlocal.Cloud, o cloudLocalOptions, out io.Writer) error {
	operator := &connection{server: c.URL(), token: o.cloud.AdminToken}
	if err := operator.call(ctx, http.MethodPut, appPath(demoApp), "application/yaml", []byte(demoDocument), nil); err != nil {
		return fmt.Errorf("seeding the demo: %w", err)
	}
	t := &teller{out: out, clock: c.Clock, start: c.Clock.Now()}
	t.say("%d devices run Shop 1.0.0 and ask for updates about every %s", o.devices, rollout.Duration(demoEvery))
	go func() {
		if _, err := fleet.Run(ctx, demoFleet(c.URL(), c.Clock, o.devices), nil); err != nil && ctx.Err() == nil {
			o.cloud.Log.Error("the demo's fleet stopped", "error", err)
		}
	}()
	for _, bundle := range []string{"1.1.0", "1.2.0"} {
		if err := sleep(ctx, c.Clock.Real(8*time.Hour, 0)); err != nil {
			return err
		}
		if err := followOnCloud(ctx, operator, t, bundle); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "Ctrl-C ends it.")
	return nil
}

// followOnCloud starts a rollout of the demo and tells its changes until it is over. Nobody tells this process what the
// function promote did, so it asks, as any operator would.
func followOnCloud(ctx context.Context, operator *connection, t *teller, bundle string) error {
	var r admin.RolloutView
	in := map[string]any{"channel": "production", "bundle": bundle, "plan": "demo", "reason": "demo"}
	if err := operator.send(ctx, http.MethodPost, appPath(demoApp, "rollouts"), in, &r); err != nil {
		return fmt.Errorf("starting %s: %w", bundle, err)
	}
	said := ""
	for {
		l, err := operator.look(ctx, demoApp, r.ID)
		if err != nil {
			return fmt.Errorf("following %s: %w", bundle, err)
		}
		if line := headline(l); line != said {
			said = line
			t.say("%s", line)
		}
		if l.Rollout.State == rollout.Paused {
			if err := takeBack(ctx, operator, t, l.Rollout); err != nil {
				return err
			}
			continue // the next look tells how it ended
		}
		if !l.Rollout.State.Live() {
			return nil
		}
		if err := sleep(ctx, watchInterval); err != nil {
			return err
		}
	}
}

// takeBack is the person who looks after a pause of the judge and rolls back.
func takeBack(ctx context.Context, operator *connection, t *teller, r admin.RolloutView) error {
	if err := sleep(ctx, t.clock.Real(16*time.Hour, 0)); err != nil {
		return err
	}
	in := map[string]string{"reason": "seen enough"}
	err := operator.send(ctx, http.MethodPost, appPath(demoApp, "rollouts", r.ID, string(rollout.VerbRollback)), in, nil)
	var refused *apiError
	if errors.As(err, &refused) && refused.Code == rollout.CodeRolloutEnded {
		return nil // the judge was first
	}
	if err != nil {
		return fmt.Errorf("rolling %s back: %w", r.Bundle, err)
	}
	t.say("a person looks and takes %s back", r.Bundle)
	return nil
}

// sleep waits for d of real time, or fails with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
