package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/relay"
)

// answerReserve is the part of the time that Lambda gives which is left for the answer: a tick that ends by itself can say
// what it did not get to.
const answerReserve = time.Second

// handler runs ticks.
type handler struct {
	ticker *promote.Ticker
	report func(counts iter.Seq2[string, int64]) // takes what one tick found and did
	edges  *relay.Pusher                         // told of what a tick moved; nil if there are none
}

// Tick judges every live rollout once, whatever the schedule says to it. It fails, so that the schedule tries again and the
// function's alarm goes off, when the live rollouts cannot be listed, when none of them could be judged, and when the time
// was too short for them all. Trouble of a single rollout is logged and counted, and the next tick's business.
func (h *handler) Tick(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerReserve))
		defer cancel()
	}
	if h.edges != nil {
		defer h.edges.Settle(ctx)
	}
	outcomes, err := h.ticker.Tick(ctx)
	if err != nil {
		return fmt.Errorf("tick: %w", err)
	}
	s := sum(outcomes)
	h.report(s.counts())
	switch {
	case s.left > 0 && ctx.Err() != nil: // not for the limit that each rollout has
		return fmt.Errorf("tick: %d of %d live rollouts were not judged in time [give the function more]", s.left, s.live)
	case s.live > 0 && s.failed == s.live:
		return fmt.Errorf("tick: none of the %d live rollouts could be judged, the first because of: %w", s.live, outcomes[0].Err)
	}
	return nil
}

// summary is a tick in numbers.
type summary struct {
	live, failed int64 // rollouts
	left         int64 // of those that failed, for lack of time
	moved        int64
	verdicts     map[judge.Decision]int64
}

func sum(outcomes []promote.Outcome) summary {
	s := summary{live: int64(len(outcomes)), verdicts: map[judge.Decision]int64{}}
	for _, o := range outcomes {
		switch {
		case errors.Is(o.Err, context.DeadlineExceeded):
			s.left++
			s.failed++
		case o.Err != nil:
			s.failed++
		case o.Verdict.Decision != "":
			s.verdicts[o.Verdict.Decision]++
		}
		if o.Verb != "" {
			s.moved++
		}
	}
	return s
}

// counts yields the numbers by the name of the metric.
func (s summary) counts() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		_ = yield("LiveRollouts", s.live) &&
			yield("RolloutsMoved", s.moved) &&
			yield("RolloutFailures", s.failed) &&
			yield("VerdictsPromote", s.verdicts[judge.Promote]) &&
			yield("VerdictsWait", s.verdicts[judge.Wait]) &&
			yield("VerdictsHold", s.verdicts[judge.Hold]) &&
			yield("VerdictsPause", s.verdicts[judge.Pause]) &&
			yield("VerdictsHalt", s.verdicts[judge.Halt]) &&
			yield("VerdictsRollback", s.verdicts[judge.Rollback])
	}
}
