// Package kinesis keeps a stream.Stream in Amazon Kinesis Data Streams: the telemetry log of the serverless shape.
//
// # Where a record goes
//
// Kinesis gives each shard a range of 128-bit numbers. A record's number is said here rather than hashed from its
// partition key: it is the device's fingerprint in the upper 64 bits, so that a shard is a range of fingerprints, and
// stays one however often shards are split and merged.
//
// # Order
//
// A device's records that are appended one after the other are read in that order. Those of one batch may not be:
// Kinesis may refuse some of a batch and take others, and what it refused is sent again, later. That is harmless, because
// the fold of the telemetry does not depend on the order (see package telemetry); so are the duplicates that come of an
// answer which was lost on its way.
//
// # Overload
//
// What Kinesis refuses for want of throughput is tried again, only those records, after random and growing pauses. When
// that does not help soon, or when too many records already wait in this process, Append fails with stream.ErrOverloaded,
// and the device is told to come back: it keeps its events, and this process does not collect them until its memory ends.
//
// # Shards
//
// They split and merge. Shards lists them with those that take no more records but still hold some, older ones first;
// Kinesis forgets records by the stream's retention and nothing else, so Trim does nothing.
package kinesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/palier-ota/palier/internal/stream"
)

// Defaults of Options.
const (
	defaultAttempts     = 6
	defaultPending      = 10_000
	defaultPendingBytes = 32 << 20
	defaultFirstPause   = 50 * time.Millisecond
	defaultLongestPause = 2 * time.Second
)

// Options of New. The zero value is right for production: with it, the pauses of an Append last 1.6 s together at most,
// 0.8 s on average, before a device is told to come back.
type Options struct {
	// MaxPending is how many records may be on their way to Kinesis before Append refuses more; default 10,000.
	MaxPending int
	// MaxPendingBytes is the same in bytes of data; default 32 MiB.
	MaxPendingBytes int
	// Attempts is how often a call is made at most; default 6.
	Attempts int
	// FirstPause bounds the random pause before the second attempt, and each later bound is twice the one before, up to
	// LongestPause; default 50 ms and 2 s.
	FirstPause, LongestPause time.Duration
	// Random returns numbers in [0, 1) for the pauses, to any number of callers at once; default rand.Float64.
	Random func() float64
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	o.MaxPending = positive(o.MaxPending, defaultPending)
	o.MaxPendingBytes = positive(o.MaxPendingBytes, defaultPendingBytes)
	o.Attempts = positive(o.Attempts, defaultAttempts)
	o.FirstPause = positive(o.FirstPause, defaultFirstPause)
	o.LongestPause = positive(o.LongestPause, defaultLongestPause)
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return o
}

func positive[N int | time.Duration](n, fallback N) N {
	if n > 0 {
		return n
	}
	return fallback
}

// Stream is a stream.Stream in Kinesis.
type Stream struct {
	client *kinesis.Client
	name   string
	opts   Options
	room   room

	mu     sync.Mutex
	places map[string]place // of known shards; see read.go
}

var _ stream.Stream = (*Stream)(nil)

// New returns the log in the named stream, which must exist. It makes no call. Calls are repeated as Options say, and
// not by the client's own rules.
func New(client *kinesis.Client, streamName string, o Options) *Stream {
	s := &Stream{client: client, name: streamName, opts: o.withDefaults(), places: map[string]place{}}
	s.room.init(s.opts.MaxPending, s.opts.MaxPendingBytes)
	return s
}

// Shards lists the shard names, also of closed shards whose records the retention still keeps. The order is of their
// making, so a shard comes after those it was split or merged from.
func (s *Stream) Shards(ctx context.Context) ([]string, error) {
	var names []string
	in := &kinesis.ListShardsInput{StreamName: &s.name}
	for in != nil {
		var page *kinesis.ListShardsOutput
		err := s.persist(ctx, func() (err error) {
			page, err = s.client.ListShards(ctx, in, once)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing the shards of stream %s: %w", s.name, s.explain(err))
		}
		for _, shard := range page.Shards {
			names = append(names, aws.ToString(shard.ShardId))
		}
		in = nil
		if page.NextToken != nil {
			in = &kinesis.ListShardsInput{NextToken: page.NextToken} // which stands for the stream's name
		}
	}
	slices.Sort(names) // they are numbered, with leading zeros
	s.keepPlaces(names)
	return names, nil
}

// Trim checks its arguments and does nothing else.
func (s *Stream) Trim(ctx context.Context, shard string, upTo stream.Position) error {
	if err := s.check(ctx, shard, upTo); err != nil {
		return fmt.Errorf("trimming the telemetry log: %w", err)
	}
	return nil
}

// Close waits for the Appends under way and refuses new ones. The client is its maker's.
func (s *Stream) Close() error {
	s.room.close()
	return nil
}

// explain adds what to do when the stream itself is missing.
func (s *Stream) explain(err error) error {
	if unknown(err) {
		return fmt.Errorf("there is no stream of this name here (is the region right, and the stack deployed?): %w", err)
	}
	return err
}
