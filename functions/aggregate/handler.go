package main

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/stream"
)

const (
	// Of the time that Lambda gives, folding may take this share; the rest is for dead letters and the answer. What takes
	// longer is given up in an orderly way, and not by Lambda, which would bring back all of the batch.
	foldShare     = 0.75
	answerReserve = 500 * time.Millisecond

	lettersAtOnce = 8
)

// handler folds batches.
type handler struct {
	aggregator *aggregate.Aggregator
	letters    deadletter.Box
	log        *slog.Logger
	now        func() time.Time                      // the clock that events are stamped by
	report     func(counts iter.Seq2[string, int64]) // takes what one invocation counted
}

// Fold folds the records of an event and keeps those that cannot be read. It answers with the first record that is neither
// counted nor kept; all before it are. It never fails.
func (h *handler) Fold(ctx context.Context, event events.KinesisEvent) (events.KinesisEventResponse, error) {
	before := h.aggregator.Stats()
	batch := make([]stream.Delivered, len(event.Records))
	for i, r := range event.Records {
		batch[i] = stream.Delivered{Position: stream.Position(r.Kinesis.SequenceNumber), Data: r.Kinesis.Data}
	}
	fold, cancel := part(ctx, foldShare)
	defer cancel()
	result, err := h.aggregator.FoldBatch(fold, batch)
	unsafe := result.Unsafe
	if err != nil {
		h.log.Error("a batch is not counted to its end and will come again", "records", len(batch), "from", unsafe, "error", err)
	}
	kept, unkept := h.keep(ctx, event, result.Poison)
	if unkept != "" && (unsafe == "" || unkept.Compare(unsafe) < 0) {
		unsafe = unkept
	}
	h.report(h.counts(before, kept))
	return answer(unsafe), nil
}

// answer names the record from which on the batch must come again, if there is one.
func answer(unsafe stream.Position) events.KinesisEventResponse {
	response := events.KinesisEventResponse{BatchItemFailures: []events.KinesisBatchItemFailure{}}
	if unsafe != "" {
		response.BatchItemFailures = append(response.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: string(unsafe)})
	}
	return response
}

// part returns a context that ends when a share of the time of ctx is over, if that has an end.
func part(ctx context.Context, share float64) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := max(0, time.Until(deadline)-answerReserve)
	return context.WithTimeout(ctx, time.Duration(float64(left)*share))
}

// keep writes the dead letters of what cannot be read, and returns how many it wrote and the first record whose letter is
// not written.
func (h *handler) keep(ctx context.Context, event events.KinesisEvent, poison []aggregate.Poison) (kept int, unkept stream.Position) {
	ctx, cancel := part(ctx, 1)
	defer cancel()
	errs := make([]error, len(poison))
	var writing errgroup.Group
	writing.SetLimit(lettersAtOnce)
	for i, p := range poison {
		writing.Go(func() error {
			errs[i] = h.letters.Put(ctx, letter(event.Records[p.Index], p.Err))
			return nil
		})
	}
	_ = writing.Wait() // each letter's error is its own
	for i, err := range errs {
		position := event.Records[poison[i].Index].Kinesis.SequenceNumber
		if err == nil {
			kept++
			h.log.Warn("a record cannot be read and is kept as a dead letter", "position", position, "error", poison[i].Err)
			continue
		}
		h.log.Error("a record cannot be read, nor kept, and will come again", "position", position, "error", err)
		unkept = cmp.Or(unkept, stream.Position(position))
	}
	return kept, unkept
}

// letter returns what is kept of a record that cannot be read because of err.
func letter(record events.KinesisEventRecord, err error) deadletter.Letter {
	_, streamName, _ := strings.Cut(record.EventSourceArn, ":stream/")
	shard, _, _ := strings.Cut(record.EventID, ":")
	return deadletter.Letter{
		Stream: streamName, Shard: shard, Sequence: record.Kinesis.SequenceNumber,
		Arrived: record.Kinesis.ApproximateArrivalTimestamp.UTC(),
		Error:   err.Error(), Key: record.Kinesis.PartitionKey, Data: record.Kinesis.Data,
	}
}

// counts yields what happened since before, by the name of the metric.
func (h *handler) counts(before aggregate.Stats, deadLetters int) iter.Seq2[string, int64] {
	after := h.aggregator.Stats()
	return func(yield func(string, int64) bool) {
		_ = yield("EventsFolded", after.Events-before.Events) &&
			yield("DeadLetters", int64(deadLetters)) &&
			yield("StoreCommits", after.Commits-before.Commits) &&
			yield("FoldConflicts", after.Conflicts-before.Conflicts) &&
			yield("FoldFailures", after.Failures-before.Failures) &&
			yield("LagSeconds", int64(after.Lag(h.now()).Seconds()))
	}
}
