package kinesis_test

import (
	"fmt"
	"math/big"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// device spreads small numbers over all 64 bits, as fingerprints are.
func device(n int) uint64 { return uint64(n+1) * 0x9e3779b97f4a7c15 }

// follower reads a log as it grows, and checks that each device's records come in order, none twice.
type follower struct {
	log  stream.Stream
	at   map[string]stream.Position
	next map[int]int // by device: number of the record that is due
}

// round reads what there is. Shards are listed first and read to their ends in that order: a shard that is listed has
// parents that take no more records.
func (f *follower) round(t *testing.T) {
	t.Helper()
	names, err := f.log.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, shard := range names {
		for {
			page, err := f.log.Read(t.Context(), shard, f.at[shard], 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				f.take(t, shard, r)
			}
		}
	}
}

func (f *follower) take(t *testing.T, shard string, r stream.Delivered) {
	t.Helper()
	if r.Position.Compare(f.at[shard]) <= 0 {
		t.Fatalf("shard %s: position %s after %s", shard, r.Position, f.at[shard])
	}
	f.at[shard] = r.Position
	var from, n int
	if _, err := fmt.Sscanf(string(r.Data), "%d %d", &from, &n); err != nil {
		t.Fatalf("a record reads %q", r.Data)
	}
	if n != f.next[from] {
		t.Fatalf("shard %s, device %d: record %d where %d is due", shard, from, n, f.next[from])
	}
	f.next[from]++
}

// TestResharding splits and merges shards while devices append and a reader follows: nothing is lost, and over parent
// and child each device's records stay in order.
func TestResharding(t *testing.T) {
	const devices, senders, batches = 24, 4, 6
	client := componenttest.KinesisClient(t)
	name := newStream(t, 2)
	log := kinesis.New(client, name, kinesis.Options{})
	reader := &follower{log: kinesis.New(client, name, kinesis.Options{}), at: map[string]stream.Position{}, next: map[int]int{}}
	sent := 0 // records of each device
	for _, change := range []func(*testing.T, *sdk.Client, string, []types.Shard){splitFirst, splitFirst, mergeFirst, mergeFirst} {
		var sending sync.WaitGroup
		for w := range senders { // each sends for its own devices
			sending.Go(func() {
				for n := range batches {
					var batch []stream.Record
					for d := w; d < devices; d += senders {
						batch = append(batch, stream.Record{Key: device(d), Data: fmt.Appendf(nil, "%d %d", d, sent+n)})
					}
					if err := log.Append(t.Context(), batch); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
		change(t, client, name, openShards(t, client, name))
		awaitActive(t, client, name)
		reader.round(t)
		sending.Wait()
		sent += batches
	}
	reader.round(t)
	again := &follower{log: log, at: map[string]stream.Position{}, next: map[int]int{}}
	again.round(t)
	for d := range devices {
		if reader.next[d] != sent || again.next[d] != sent {
			t.Errorf("device %d: %d records while they came, %d afterwards, want %d", d, reader.next[d], again.next[d], sent)
		}
	}
	if names, err := log.Shards(t.Context()); err != nil || len(names) != 2+2+2+1+1 {
		t.Errorf("shards %q, %v; want the two first, two twice by splitting and one twice by merging", names, err)
	}
}

func openShards(t *testing.T, client *sdk.Client, name string) []types.Shard {
	t.Helper()
	out, err := client.ListShards(t.Context(), &sdk.ListShardsInput{
		StreamName:  &name,
		ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Shards
}

func number(t *testing.T, decimal *string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(aws.ToString(decimal), 10)
	if !ok {
		t.Fatalf("%q is no number", aws.ToString(decimal))
	}
	return n
}

// splitFirst splits the first open shard in the middle.
func splitFirst(t *testing.T, client *sdk.Client, name string, open []types.Shard) {
	t.Helper()
	hashes := open[0].HashKeyRange
	middle := number(t, hashes.StartingHashKey)
	middle.Add(middle, number(t, hashes.EndingHashKey))
	middle.Rsh(middle, 1)
	_, err := client.SplitShard(t.Context(), &sdk.SplitShardInput{
		StreamName: &name, ShardToSplit: open[0].ShardId, NewStartingHashKey: aws.String(middle.String()),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mergeFirst merges the two open shards that have the lowest hashes.
func mergeFirst(t *testing.T, client *sdk.Client, name string, open []types.Shard) {
	t.Helper()
	start := func(s types.Shard) *big.Int { return number(t, s.HashKeyRange.StartingHashKey) }
	first, second := open[0], open[1]
	for _, s := range open {
		switch {
		case start(s).Cmp(start(first)) < 0:
			first, second = s, first
		case start(s).Cmp(start(first)) > 0 && (second.ShardId == first.ShardId || start(s).Cmp(start(second)) < 0):
			second = s
		}
	}
	if start(first).Cmp(start(second)) >= 0 {
		first, second = second, first
	}
	_, err := client.MergeShards(t.Context(), &sdk.MergeShardsInput{StreamName: &name, ShardToMerge: first.ShardId, AdjacentShardToMerge: second.ShardId})
	if err != nil {
		t.Fatal(err)
	}
}
