// Package source does for a function what Lambda's event source mapping for Kinesis does: it reads a stream and invokes
// the function with what it finds, by the rules that Amazon documents in "Using Lambda to process records from Amazon
// Kinesis Data Streams" and the pages below it.
//
//   - Every shard is followed on its own, and has one invocation at a time. A shard that came from a split or a merge
//     is begun once its parents are done, so records of one key stay in order.
//   - A batch goes out when it has BatchSize records, when the next record would make the payload larger than 6 MB, or
//     when BatchingWindow has passed since its first record was read.
//   - A function error, a time-out or an answer that makes no sense fails the whole batch. With Bisect a failed batch of
//     several records is cut in halves, which are tried on their own; that costs no attempt. With ReportItemFailures the
//     function can say where a batch failed: everything before that record is done, the rest is tried again.
//   - A batch that failed MaximumRetryAttempts times after the first, and records older than MaximumRecordAge, are given
//     up: they go to the on-failure destination with all that is known of them, and the shard goes on.
//   - A function that cannot be invoked at all (throttled) is tried again without an attempt being counted.
//
// Delivery is at least once. What had been delivered is remembered in memory only: a new Mapping begins at its
// StartingPosition. Tumbling windows, filters, parallelization and enhanced fan-out are not there.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// Bounds and paces, Lambda's own unless they say otherwise.
const (
	maxPayload   = 6 << 20           // bytes of a synchronous invocation's payload
	maxBatchSize = 10_000            // records of a batch
	maxWindow    = 300 * time.Second // of a batch
	defaultPoll  = time.Second       // the base rate at which an idle shard is read
	shardsEvery  = 10 * time.Second  // how often new shards are looked for; not documented
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second // not documented either
)

// Position is where a Mapping begins to read a stream.
type Position string

// The starting positions.
const (
	TrimHorizon Position = "TRIM_HORIZON" // with the oldest record that is kept
	Latest      Position = "LATEST"       // with what comes from now on
)

// Stream is the part of the Kinesis API that a Mapping uses.
type Stream interface {
	ListShards(context.Context, *kinesis.ListShardsInput, ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
	GetShardIterator(context.Context, *kinesis.GetShardIteratorInput, ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error)
	GetRecords(context.Context, *kinesis.GetRecordsInput, ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error)
}

// Reply is how an invocation ended.
type Reply struct {
	Payload       []byte // what the function returned
	FunctionError string // such as "Unhandled"; empty when the function returned
}

// Mapping connects a stream with a function. Stream, StreamARN, Invoke and NewID must be set before Run; zero values of
// the rest mean what their comments say. A Mapping runs once.
type Mapping struct {
	ID          string // of the mapping, part of the destination's object keys
	Region      string
	StreamARN   string
	FunctionARN string
	RoleARN     string // whose permissions the mapping reads with; told to the function

	Stream Stream
	// Invoke calls the function and waits for its end. An error means that it could not be called.
	Invoke func(ctx context.Context, payload []byte) (Reply, error)
	// Discard stores a document about records that were given up, with the records, under the key in the on-failure
	// destination's bucket. Without it they are gone, as they are with Lambda.
	Discard func(ctx context.Context, key string, document []byte) error
	NewID   func() string // a new UUID

	From                 Position      // empty: TrimHorizon
	BatchSize            int           // zero: 100
	BatchingWindow       time.Duration // zero: what was read goes out at once
	MaximumRetryAttempts int           // -1: no bound
	MaximumRecordAge     time.Duration // zero: no bound
	Bisect               bool          // BisectBatchOnFunctionError
	ReportItemFailures   bool          // ReportBatchItemFailures

	Poll time.Duration    // real time between reads of an idle shard; zero: a second
	Now  func() time.Time // the stream's clock; nil: real time
	Log  *slog.Logger     // nil: none
	// Repeat is asked after every success. When it says true the batch is delivered once more, as Lambda may do.
	Repeat func() bool

	begun  time.Time
	counts counts
}

// Stats are totals since Run began.
type Stats struct {
	Invocations int64 // of the function, whatever became of them
	Failures    int64 // of those: function errors and reported item failures
	Throttles   int64 // times that the function could not be invoked
	Splits      int64 // batches cut in two
	Repeats     int64 // batches delivered again although they were done
	Done        int64 // records delivered with success
	Discarded   int64 // records given up
}

type counts struct{ invocations, failures, throttles, splits, repeats, done, discarded atomic.Int64 }

// Stats returns the totals so far. It may be called at any time.
func (m *Mapping) Stats() Stats {
	c := &m.counts
	return Stats{
		Invocations: c.invocations.Load(), Failures: c.failures.Load(), Throttles: c.throttles.Load(), Splits: c.splits.Load(),
		Repeats: c.repeats.Load(), Done: c.done.Load(), Discarded: c.discarded.Load(),
	}
}

// Run delivers until ctx ends, and then returns nil. A batch under way at that moment is left to its fate: it counts as
// not delivered. Run fails at once when the Mapping makes no sense; whatever goes wrong later is logged and tried again.
func (m *Mapping) Run(ctx context.Context) error {
	if err := m.settle(); err != nil {
		return fmt.Errorf("event source mapping: %w", err)
	}
	ended := make(chan string)
	var following sync.WaitGroup
	defer following.Wait()
	known := family{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait
	for {
		shards, err := m.shards(ctx)
		if err != nil && ctx.Err() == nil {
			m.Log.Warn("listing the stream's shards failed; will try again", "stream", m.StreamARN, "error", err)
		}
		for _, s := range known.ready(shards, m.From) {
			following.Go(func() {
				m.follow(ctx, s)
				select {
				case ended <- s.id:
				case <-ctx.Done():
				}
			})
		}
		look := time.NewTimer(shardsEvery)
		if err != nil {
			look.Reset(m.Poll)
		}
		select {
		case <-ctx.Done():
			return nil
		case id := <-ended:
			known[id] = done
		case <-look.C:
		}
		look.Stop()
	}
}

// settle checks the Mapping and fills in what was left out.
func (m *Mapping) settle() error {
	if m.Stream == nil || m.StreamARN == "" || m.Invoke == nil || m.NewID == nil {
		return errors.New("Stream, StreamARN, Invoke and NewID must be set")
	}
	if m.From == "" {
		m.From = TrimHorizon
	}
	if m.BatchSize == 0 {
		m.BatchSize = 100
	}
	if m.Poll == 0 {
		m.Poll = defaultPoll
	}
	if m.Now == nil {
		m.Now = time.Now
	}
	if m.Log == nil {
		m.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case m.From != TrimHorizon && m.From != Latest:
		return fmt.Errorf("starting position %q: want %s or %s", m.From, TrimHorizon, Latest)
	case m.BatchSize < 1 || m.BatchSize > maxBatchSize:
		return fmt.Errorf("batch size %d: want 1 to %d", m.BatchSize, maxBatchSize)
	case m.BatchingWindow < 0 || m.BatchingWindow > maxWindow:
		return fmt.Errorf("batching window %s: want 0 to %s", m.BatchingWindow, maxWindow)
	case m.MaximumRetryAttempts < -1:
		return fmt.Errorf("%d retry attempts: want -1 or more", m.MaximumRetryAttempts)
	}
	m.begun = m.Now()
	return nil
}

// pause waits for d of real time and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// backoff returns how long to wait before another try after so many failures in a row, at least 1.
func backoff(failures int) time.Duration {
	return min(lastBackoff, firstBackoff<<min(failures-1, 10))
}
