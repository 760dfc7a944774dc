package cloudlocal

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/cloudlocal/runtimeapi"
)

// TestScheduleFollowsTheRulesOfAsynchronousInvocation plays one minute-tick each against functions that behave in
// different ways; times are seconds after the tick at which the function was invoked.
func TestScheduleFollowsTheRulesOfAsynchronousInvocation(t *testing.T) {
	well, bad := runtimeapi.Result{}, runtimeapi.Result{FunctionError: "Unhandled"}
	for _, c := range []struct {
		name    string
		answers []any // a Result or an error per invocation; the last repeats
		at      []int
		failed  int64
		dropped int64
	}{
		{"well", []any{well}, []int{0}, 0, 0},
		{"fails once", []any{bad, well}, []int{0, 5}, 1, 0},
		{"fails always", []any{bad}, []int{0, 5, 15}, 3, 1},
		{"throttled for a while", []any{errors.New("throttled"), errors.New("throttled"), bad, well}, []int{0, 5, 10, 15}, 1, 0},
		{"throttled for ever", []any{errors.New("throttled")}, []int{0, 5, 10, 15, 20, 25, 30}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var at []int
				began := time.Now()
				s := &schedule{
					every: time.Minute, retries: 2, maxAge: 32 * time.Second, retry: 5 * time.Second, log: slog.New(slog.DiscardHandler),
					event: func(time.Time) ([]byte, error) { return []byte("{}"), nil },
					invoke: func(context.Context, []byte) (runtimeapi.Result, error) {
						mu.Lock()
						defer mu.Unlock()
						answer := c.answers[min(len(at), len(c.answers)-1)]
						at = append(at, int((time.Since(began) - time.Minute).Seconds()))
						if err, ok := answer.(error); ok {
							return runtimeapi.Result{}, err
						}
						return answer.(runtimeapi.Result), nil
					},
				}
				ctx, cancel := context.WithTimeout(t.Context(), 110*time.Second)
				defer cancel()
				s.run(ctx)
				if !slices.Equal(at, c.at) || s.failed.Load() != c.failed || s.dropped.Load() != c.dropped || s.ticks.Load() != 1 {
					t.Errorf("invoked after %d s, %d ticks, %d failed, %d dropped", at, s.ticks.Load(), s.failed.Load(), s.dropped.Load())
				}
			})
		})
	}
}

// TestTicksDoNotWaitForEachOther has a function that takes longer than the time between two ticks.
func TestTicksDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		under, most := 0, 0
		s := &schedule{
			every: time.Minute, maxAge: time.Hour, log: slog.New(slog.DiscardHandler),
			event: func(time.Time) ([]byte, error) { return []byte("{}"), nil },
			invoke: func(context.Context, []byte) (runtimeapi.Result, error) {
				mu.Lock()
				under++
				most = max(most, under)
				mu.Unlock()
				time.Sleep(150 * time.Second)
				mu.Lock()
				under--
				mu.Unlock()
				return runtimeapi.Result{}, nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		s.run(ctx)
		if most != 3 || under != 0 || s.ticks.Load() != 10 {
			t.Errorf("at most %d at once, %d after the end, %d ticks", most, under, s.ticks.Load())
		}
	})
}

func TestScheduledEventIsEventBridges(t *testing.T) {
	raw, err := scheduled("id-1", "arn:aws:scheduler:us-east-1:1:schedule/default/tick", "us-east-1", "1", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var event struct {
		events.EventBridgeEvent
		Detail json.RawMessage `json:"detail"` // a string here, which the type does not expect
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		t.Fatal(err)
	}
	if event.DetailType != "Scheduled Event" || event.Source != "aws.scheduler" || event.Time.Unix() != 0 || len(event.Resources) != 1 || string(event.Detail) != `"{}"` {
		t.Errorf("%s", raw)
	}
}
