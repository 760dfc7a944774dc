package cloudlocal

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// schedule invokes a function at a rate, as EventBridge Scheduler does. Scheduler invokes asynchronously: it does not
// wait for one invocation to end before the next, a function that fails is tried again, and one that is throttled is
// tried until the event is too old.
type schedule struct {
	every   time.Duration // real time between two ticks
	retries int           // after a function error
	maxAge  time.Duration // of an event, in real time, after which it is dropped
	retry   time.Duration // real time before the first retry; the second waits twice as long
	event   func(tick time.Time) ([]byte, error)
	invoke  func(ctx context.Context, event []byte) (runtimeapi.Result, error)
	log     *slog.Logger

	ticks, failed, dropped atomic.Int64
}

// run ticks until ctx ends, and returns when the last invocation has.
func (s *schedule) run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.ticks.Add(1)
			under.Go(func() { s.fire(ctx, now) })
		}
	}
}

// fire brings one event to the function.
func (s *schedule) fire(ctx context.Context, tick time.Time) {
	event, err := s.event(tick)
	if err != nil {
		s.log.Error("a scheduled event cannot be made", "error", err)
		return
	}
	ctx, cancel := context.WithDeadline(ctx, tick.Add(s.maxAge))
	defer cancel()
	for failures := 0; ; {
		result, err := s.invoke(ctx, event)
		wait := s.retry
		switch {
		case err == nil && result.FunctionError == "":
			return
		case err == nil:
			s.failed.Add(1)
			failures++
			s.log.Error("a scheduled function failed", "error", result.FunctionError, "payload", string(result.Payload))
			if failures > s.retries {
				s.dropped.Add(1)
				s.log.Error("a scheduled event is dropped")
				return
			}
			wait = s.retry << (failures - 1)
		case ctx.Err() == nil:
			s.log.Debug("a scheduled function cannot be invoked now", "error", err)
		}
		select {
		case <-ctx.Done():
			s.dropped.Add(1)
			s.log.Error("a scheduled event is dropped")
			return
		case <-time.After(wait):
		}
	}
}

// scheduled is the event of EventBridge Scheduler for a target without an input of its own.
func scheduled(id, arn, region, account string, at time.Time) ([]byte, error) {
	event, err := json.Marshal(struct {
		Version    string   `json:"version"`
		ID         string   `json:"id"`
		DetailType string   `json:"detail-type"`
		Source     string   `json:"source"`
		Account    string   `json:"account"`
		Time       string   `json:"time"`
		Region     string   `json:"region"`
		Resources  []string `json:"resources"`
		Detail     string   `json:"detail"`
	}{"0", id, "Scheduled Event", "aws.scheduler", account, at.UTC().Format(time.RFC3339), region, []string{arn}, "{}"})
	if err != nil {
		return nil, fmt.Errorf("encode scheduled event: %w", err)
	}
	return event, nil
}
