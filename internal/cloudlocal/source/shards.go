package source

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// shard is one shard to follow, and where to begin.
type shard struct {
	id   string
	from Position
}

// progress is how far a shard has come.
type progress int

const (
	_ progress = iota
	begun
	done
)

// family remembers how far each shard has come.
type family map[string]progress

// ready returns those of the listed shards that can begin now and notes that they have: no parent that the stream still
// has is unread. Shards that are there at the first look begin at from, later ones at their beginning, because they go
// on with what their parents had.
func (f family) ready(listed []types.Shard, from Position) []shard {
	there := make(map[string]bool, len(listed))
	for _, s := range listed {
		there[aws.ToString(s.ShardId)] = true
	}
	if len(f) > 0 {
		from = TrimHorizon
	}
	var ready []shard
	for _, s := range listed {
		id := aws.ToString(s.ShardId)
		if f[id] != 0 || f.waits(s.ParentShardId, there) || f.waits(s.AdjacentParentShardId, there) {
			continue
		}
		ready = append(ready, shard{id, from})
	}
	for _, s := range ready {
		f[s.id] = begun
	}
	return ready
}

// waits reports whether a parent, if there is one, has yet to be read to its end.
func (f family) waits(parent *string, there map[string]bool) bool {
	return parent != nil && there[*parent] && f[*parent] != done
}

// shards lists the stream's shards.
func (m *Mapping) shards(ctx context.Context) ([]types.Shard, error) {
	var all []types.Shard
	in := &kinesis.ListShardsInput{StreamARN: &m.StreamARN}
	for {
		out, err := m.Stream.ListShards(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list shards: %w", err)
		}
		all = append(all, out.Shards...)
		if out.NextToken == nil {
			return all, nil
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken}
	}
}

// follow delivers a shard's records in order until its end or ctx's.
func (m *Mapping) follow(ctx context.Context, s shard) {
	r := &reader{mapping: m, shard: s}
	for {
		batch, err := r.next(ctx)
		if err != nil {
			return // ctx has ended
		}
		if len(batch) == 0 {
			return // the shard has
		}
		m.deliver(ctx, s.id, batch)
	}
}

// reader reads a shard ahead of its delivery by what one call returned.
type reader struct {
	mapping  *Mapping
	shard    shard
	iterator *string
	last     string // sequence number of the last record read
	located  bool   // there was an iterator once
	closed   bool   // nothing will follow what was read
	waiting  []record
	first    time.Time // real time at which the first of waiting was read
}

// next returns the next batch, waiting for it as the batching window says; none when the shard has ended. It fails only
// with the context's error.
func (r *reader) next(ctx context.Context) ([]record, error) {
	m := r.mapping
	for failures := 0; ; {
		if n := fits(r.waiting, m.BatchSize); n > 0 && (n < len(r.waiting) || n == m.BatchSize || r.closed || time.Since(r.first) >= m.BatchingWindow) {
			batch := r.waiting[:n:n]
			r.waiting = r.waiting[n:]
			return batch, nil
		}
		if r.closed {
			return nil, ctx.Err()
		}
		n, err := r.read(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait := time.Duration(0)
		switch {
		case err != nil:
			failures++
			m.Log.Warn("reading the stream failed; will try again", "shard", r.shard.id, "error", err)
			r.iterator = nil // it may have expired
			wait = backoff(failures)
		case n == 0 && !r.closed:
			failures, wait = 0, r.idle()
		}
		if wait > 0 && !pause(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// idle is how long to wait before a shard that had nothing is read again: not beyond the end of a batching window.
func (r *reader) idle() time.Duration {
	if len(r.waiting) == 0 {
		return r.mapping.Poll
	}
	return max(time.Millisecond, min(r.mapping.Poll, r.mapping.BatchingWindow-time.Since(r.first)))
}

// read appends what the shard has next to waiting and returns how many records that is.
func (r *reader) read(ctx context.Context) (int, error) {
	if err := r.locate(ctx); err != nil {
		return 0, err
	}
	limit := int32(max(1, r.mapping.BatchSize-len(r.waiting)))
	out, err := r.mapping.Stream.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: r.iterator, Limit: &limit})
	if err != nil {
		return 0, fmt.Errorf("get records: %w", err)
	}
	if len(r.waiting) == 0 {
		r.first = time.Now()
	}
	for _, in := range out.Records {
		rec, err := r.mapping.encode(r.shard.id, in)
		if err != nil {
			return 0, err
		}
		r.waiting = append(r.waiting, rec)
		r.last = rec.sequence
	}
	r.iterator, r.closed = out.NextShardIterator, out.NextShardIterator == nil
	return len(out.Records), nil
}

// locate gets an iterator to read on from if there is none.
func (r *reader) locate(ctx context.Context) error {
	if r.iterator != nil {
		return nil
	}
	in := &kinesis.GetShardIteratorInput{StreamARN: &r.mapping.StreamARN, ShardId: &r.shard.id}
	switch {
	case r.last != "":
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &r.last
	case r.shard.from == Latest && !r.located:
		in.ShardIteratorType = types.ShardIteratorTypeLatest
	case r.shard.from == Latest: // lost before anything was read: what came meanwhile must not be
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &r.mapping.begun
	default:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	out, err := r.mapping.Stream.GetShardIterator(ctx, in)
	if err != nil {
		return fmt.Errorf("get shard iterator: %w", err)
	}
	r.iterator, r.located = out.ShardIterator, true
	return nil
}
