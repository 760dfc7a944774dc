package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/stream"
)

// What Kinesis takes in one PutRecords, of the data with their keys. Its own limits have been raised since; every stream
// takes these.
const (
	putRecords  = 500
	putBytes    = 5 << 20
	recordBytes = 1 << 20
	keyBytes    = 16 + 39 // partition key in hex, explicit hash key in decimal
)

// A batch of the contract is always one call. These do not compile otherwise.
const (
	_ = uint(putRecords - stream.MaxBatch)
	_ = uint(putBytes - stream.MaxBatchBytes - stream.MaxBatch*keyBytes)
	_ = uint(recordBytes - stream.MaxRecordBytes - keyBytes)
)

// Append puts the batch on the stream.
func (s *Stream) Append(ctx context.Context, batch []stream.Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("appending telemetry: %w", err)
	}
	bytes, err := stream.CheckBatch(batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	if err := s.room.enter(len(batch), bytes); err != nil {
		return err
	}
	defer s.room.leave(len(batch), bytes)
	// The call is over before Append is, so the data need no copy.
	entries := entriesOf(batch)
	err = s.persist(ctx, func() (err error) {
		entries, err = s.put(ctx, entries)
		return err
	})
	if err != nil {
		return fmt.Errorf("appending telemetry: %w", s.explain(err))
	}
	return nil
}

func entriesOf(batch []stream.Record) []types.PutRecordsRequestEntry {
	entries := make([]types.PutRecordsRequestEntry, len(batch))
	for i, r := range batch {
		data := r.Data
		if data == nil {
			data = []byte{} // the SDK takes nil for a field that was forgotten
		}
		entries[i] = types.PutRecordsRequestEntry{
			Data:            data,
			PartitionKey:    aws.String(fmt.Sprintf("%016x", r.Key)),
			ExplicitHashKey: aws.String(hashKey(r.Key)),
		}
	}
	return entries
}

// hashKey returns the key as the upper half of a 128-bit number, in decimal.
func hashKey(key uint64) string {
	n := new(big.Int).SetUint64(key)
	return n.Lsh(n, 64).String()
}

// put sends the entries, once, and returns those that are still to be sent, with the reason.
func (s *Stream) put(ctx context.Context, entries []types.PutRecordsRequestEntry) (
	[]types.PutRecordsRequestEntry, error,
) {
	out, err := s.client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &s.name, Records: entries}, once)
	if err != nil {
		return entries, err
	}
	if len(out.Records) != len(entries) {
		return entries, fmt.Errorf("%w: %d results for %d records", errAnswer, len(out.Records), len(entries))
	}
	// Results are looked at one by one: a record is acknowledged by its sequence number and by nothing else.
	var left []types.PutRecordsRequestEntry
	var reason *refusal
	for i, result := range out.Records {
		if aws.ToString(result.SequenceNumber) == "" {
			left = append(left, entries[i])
			reason = &refusal{code: aws.ToString(result.ErrorCode), message: aws.ToString(result.ErrorMessage)}
		}
	}
	if reason == nil {
		return nil, nil
	}
	reason.records, reason.of = len(left), len(entries)
	return left, reason
}

// room bounds what is on its way to Kinesis.
type room struct {
	maxRecords, maxBytes int

	mu      sync.Mutex
	changed sync.Cond // something left
	records int
	bytes   int
	closed  bool
}

func (r *room) init(maxRecords, maxBytes int) {
	r.maxRecords, r.maxBytes = maxRecords, maxBytes
	r.changed.L = &r.mu
}

// enter makes a claim on the room, or fails with stream.ErrOverloaded. A batch that is larger than the whole room passes
// when it is alone, or it could never be sent.
func (r *room) enter(records, bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("%w: it is closing", stream.ErrOverloaded)
	}
	full := r.records+records > r.maxRecords || r.bytes+bytes > r.maxBytes
	if full && r.records > 0 {
		return fmt.Errorf("%w: %d records are on their way to Kinesis", stream.ErrOverloaded, r.records)
	}
	r.records += records
	r.bytes += bytes
	return nil
}

func (r *room) leave(records, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records -= records
	r.bytes -= bytes
	r.changed.Broadcast()
}

// close lets nobody in any more and waits until the room is empty.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for r.records > 0 {
		r.changed.Wait()
	}
}

// errAnswer: an answer that does not fit the question, as from something that is not Kinesis.
var errAnswer = errors.New("unexpected answer of the Kinesis API")
