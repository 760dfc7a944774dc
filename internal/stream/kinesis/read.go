package kinesis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/stream"
)

const (
	// readPause is the pause between two reads of which the first found nothing, though there is more: Kinesis allows
	// five reads of a shard in a second, to all readers together.
	readPause = 200 * time.Millisecond
	// positionDigits is the length of the longest sequence number by Kinesis's API.
	positionDigits = 129
)

// place is where a Read of a shard ended, so that the next one need not ask for the way: Kinesis tells it five times in a
// second only.
type place struct {
	after    stream.Position
	iterator string // of what follows, for five minutes; "" when not known
	ended    bool   // the shard is closed, and nothing follows
}

// Read returns up to limit records of the shard after the position.
func (s *Stream) Read(ctx context.Context, shard string, after stream.Position, limit int) ([]stream.Delivered, error) {
	if limit < 1 || limit > stream.MaxRead {
		limit = stream.MaxRead
	}
	err := s.check(ctx, shard, after)
	var records []stream.Delivered
	if err == nil {
		records, err = s.read(ctx, shard, after, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the telemetry log: %w", err)
	}
	return records, nil
}

// read goes on until it has records or is at the end: between the records of a shard there may be stretches without any.
func (s *Stream) read(ctx context.Context, shard string, after stream.Position, limit int) ([]stream.Delivered, error) {
	at := s.placeAfter(shard, after)
	for !at.ended {
		page, err := s.page(ctx, shard, &at, limit)
		if err != nil {
			return nil, err
		}
		at.iterator, at.ended = aws.ToString(page.NextShardIterator), page.NextShardIterator == nil
		records := delivered(page.Records, after)
		if len(records) > 0 {
			at.after = records[len(records)-1].Position
			s.leave(shard, at)
			return records, nil
		}
		if aws.ToInt64(page.MillisBehindLatest) == 0 {
			break
		}
		s.leave(shard, at) // when the time is over before the stretch is, the next Read goes on from here
		if err := sleep(ctx, readPause); err != nil {
			return nil, err
		}
	}
	s.leave(shard, at)
	return nil, nil
}

// delivered returns the records after the position. There are others only where the position itself is no longer known.
func delivered(records []types.Record, after stream.Position) []stream.Delivered {
	var found []stream.Delivered
	for _, r := range records {
		if p := stream.Position(aws.ToString(r.SequenceNumber)); p.Compare(after) > 0 {
			found = append(found, stream.Delivered{Position: p, Data: r.Data})
		}
	}
	return found
}

// page reads once at the place, by a new iterator when the place has none or one that has expired.
func (s *Stream) page(ctx context.Context, shard string, at *place, limit int) (page *kinesis.GetRecordsOutput, err error) {
	for range 2 {
		if at.iterator == "" {
			if at.iterator, err = s.iterator(ctx, shard, at.after); err != nil {
				return nil, err
			}
		}
		err = s.persist(ctx, func() (err error) {
			in := &kinesis.GetRecordsInput{ShardIterator: &at.iterator, Limit: aws.Int32(int32(limit))}
			page, err = s.client.GetRecords(ctx, in, once)
			return err
		})
		if !hasCode(err, "ExpiredIteratorException") {
			return page, err
		}
		at.iterator = ""
	}
	return nil, err
}

// iterator returns an iterator of what follows the position.
func (s *Stream) iterator(ctx context.Context, shard string, after stream.Position) (string, error) {
	in := &kinesis.GetShardIteratorInput{StreamName: &s.name, ShardId: &shard}
	in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	if after != "" {
		in.ShardIteratorType = types.ShardIteratorTypeAfterSequenceNumber
		in.StartingSequenceNumber = aws.String(string(after))
	}
	iterator, err := s.askIterator(ctx, in)
	if after != "" && (unknown(err) || hasCode(err, "InvalidArgumentException")) {
		// Kinesis no longer knows the position: it is from before the oldest record. Read on from there.
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeTrimHorizon, nil
		iterator, err = s.askIterator(ctx, in)
	}
	if unknown(err) {
		s.forget(shard)
		return "", fmt.Errorf("%w: %s, which is over: %w", stream.ErrNoShard, shard, err)
	}
	return iterator, err
}

func (s *Stream) askIterator(ctx context.Context, in *kinesis.GetShardIteratorInput) (iterator string, err error) {
	err = s.persist(ctx, func() error {
		out, err := s.client.GetShardIterator(ctx, in, once)
		if err == nil {
			iterator = aws.ToString(out.ShardIterator)
		}
		return err
	})
	return iterator, err
}

// check fails unless there is a shard of this name and the position is one.
func (s *Stream) check(ctx context.Context, shard string, p stream.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.knows(shard) {
		names, err := s.Shards(ctx) // it may be a new one
		if err != nil {
			return err
		}
		if !slices.Contains(names, shard) {
			return fmt.Errorf("%w: %.40q", stream.ErrNoShard, shard)
		}
	}
	if !sequenceNumber(p) {
		return fmt.Errorf("%w: %.40q", stream.ErrPosition, p)
	}
	return nil
}

// sequenceNumber tells whether the position is one of Kinesis's, or the one before all.
func sequenceNumber(p stream.Position) bool {
	if p == "" {
		return true
	}
	if p[0] == '0' || len(p) > positionDigits {
		return false
	}
	for i := range len(p) {
		if p[i] < '0' || p[i] > '9' {
			return false
		}
	}
	return true
}

func (s *Stream) knows(shard string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.places[shard]
	return known
}

// keepPlaces makes these the known shards.
func (s *Stream) keepPlaces(shards []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	places := make(map[string]place, len(shards))
	for _, name := range shards {
		places[name] = s.places[name]
	}
	s.places = places
}

// placeAfter returns the place after the position, with its iterator if the last Read ended there.
func (s *Stream) placeAfter(shard string, after stream.Position) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.places[shard]; at.after == after {
		return at
	}
	return place{after: after}
}

func (s *Stream) leave(shard string, at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[shard] = at
}

func (s *Stream) forget(shard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.places, shard)
}
