package kinesis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// filled makes a stream of one shard with so many records, "0" and so on, and returns its name, its shard and the
// positions of the records.
func filled(t *testing.T, records int) (name, shard string, positions []stream.Position) {
	t.Helper()
	name = newStream(t, 1)
	log := kinesis.New(componenttest.KinesisClient(t), name, kinesis.Options{})
	var batch []stream.Record
	for i := range records {
		batch = append(batch, stream.Record{Key: device(i), Data: fmt.Append(nil, i)})
	}
	if err := log.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	shards, err := log.Shards(t.Context())
	if err != nil || len(shards) != 1 {
		t.Fatalf("shards %q, %v", shards, err)
	}
	all, err := log.Read(t.Context(), shards[0], "", 0)
	if err != nil || len(all) != records {
		t.Fatalf("%d records, %v", len(all), err)
	}
	for _, r := range all {
		positions = append(positions, r.Position)
	}
	return name, shards[0], positions
}

// through opens the stream by a client whose calls of one kind pass through a proxy that does something to them.
func through(t *testing.T, name, call string, f fault) *kinesis.Stream {
	t.Helper()
	return kinesis.New(faulty(t, call, f), name, patient())
}

func wantRead(t *testing.T, log stream.Stream, shard string, after stream.Position, want []stream.Position) {
	t.Helper()
	var got []stream.Position
	for {
		page, err := log.Read(t.Context(), shard, after, 4)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			got = append(got, r.Position)
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d records %q\nwant %d %q", len(got), got, len(want), want)
	}
}

// TestThrottledReads has every other call of one kind refused.
func TestThrottledReads(t *testing.T) {
	name, shard, positions := filled(t, 10)
	for _, call := range []string{"GetRecords", "GetShardIterator", "ListShards"} {
		var calls atomic.Int64
		count := throttle(2, http.StatusBadRequest, "ProvisionedThroughputExceededException")
		log := through(t, name, call, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			calls.Add(1)
			count(w, r, next)
		})
		wantRead(t, log, shard, "", positions)
		wantRead(t, log, shard, positions[3], positions[4:])
		if _, err := log.Shards(t.Context()); err != nil {
			t.Error(err)
		}
		if calls.Load() < 2 {
			t.Errorf("%s was called %d times", call, calls.Load())
		}
	}
	log := kinesis.New(faulty(t, "GetRecords", throttle(1, http.StatusBadRequest, "ProvisionedThroughputExceededException")), name,
		kinesis.Options{FirstPause: time.Microsecond, Attempts: 3})
	if _, err := log.Read(t.Context(), shard, "", 0); !errors.Is(err, stream.ErrOverloaded) {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
}

// TestReadOn has every other answer be empty although there is more, as Kinesis answers for a stretch without records.
func TestReadOn(t *testing.T) {
	name, shard, positions := filled(t, 6)
	var calls atomic.Int64
	log := through(t, name, "GetRecords", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if calls.Add(1)%2 == 0 {
			next.ServeHTTP(w, r)
			return
		}
		var call struct{ ShardIterator string }
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"Records":[],"NextShardIterator":%q,"MillisBehindLatest":5000}`, call.ShardIterator)
	})
	wantRead(t, log, shard, "", positions)
}

// TestALongStretchWithoutRecordsIsCrossedInParts has six empty answers before the first record, and never the time for
// more than three: each Read must go on where the one before had to give up.
func TestALongStretchWithoutRecordsIsCrossedInParts(t *testing.T) {
	name, shard, positions := filled(t, 3)
	first := ""
	log := through(t, name, "GetRecords", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		var call struct{ ShardIterator string }
		if err := errors.Join(err, json.Unmarshal(body, &call)); err != nil {
			t.Error(err)
		}
		crossed := 0
		if _, err := fmt.Sscanf(call.ShardIterator, "empty-%d", &crossed); err != nil {
			first = call.ShardIterator
		}
		if crossed < 6 {
			fmt.Fprintf(w, `{"Records":[],"NextShardIterator":"empty-%d","MillisBehindLatest":5000}`, crossed+1)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), call.ShardIterator, first, 1)))
		r.ContentLength = -1
		next.ServeHTTP(w, r)
	})
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		page, err := log.Read(ctx, shard, "", 0)
		cancel()
		if err == nil {
			if len(page) != len(positions) {
				t.Errorf("%d records, want %d", len(page), len(positions))
			}
			return
		}
	}
	t.Error("no Read gets across")
}

// TestExpiredIterator has iterators expire after their first use.
func TestExpiredIterator(t *testing.T) {
	name, shard, positions := filled(t, 10)
	used := map[string]bool{}
	log := through(t, name, "GetRecords", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		var call struct{ ShardIterator string }
		if err := errors.Join(err, json.Unmarshal(body, &call)); err != nil {
			t.Error(err)
		}
		if len(used)%2 == 1 && !used[call.ShardIterator] {
			used[call.ShardIterator] = true
			refuse(w, http.StatusBadRequest, "ExpiredIteratorException")
			return
		}
		used[call.ShardIterator] = true
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(w, r)
	})
	wantRead(t, log, shard, "", positions)
	wantRead(t, log, shard, "", positions)
	if len(used) < 4 {
		t.Errorf("only %d iterators: none expired", len(used))
	}
}

// TestForgottenPosition reads after positions that Kinesis no longer knows.
func TestForgottenPosition(t *testing.T) {
	name, shard, positions := filled(t, 10)
	log := kinesis.New(componenttest.KinesisClient(t), name, kinesis.Options{})
	wantRead(t, log, shard, "1", positions)
	wantRead(t, log, shard, positions[9]+"0", nil)
	for _, code := range []string{"InvalidArgumentException", "ResourceNotFoundException"} {
		log := through(t, name, "GetShardIterator", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if strings.Contains(string(body), "AFTER_SEQUENCE_NUMBER") {
				refuse(w, http.StatusBadRequest, code)
				return
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			next.ServeHTTP(w, r)
		})
		wantRead(t, log, shard, positions[2], positions[3:])
	}
}

// TestIteratorsAreUsedAgain follows a shard and counts how often the way is asked for.
func TestIteratorsAreUsedAgain(t *testing.T) {
	name, shard, positions := filled(t, 4)
	var asked atomic.Int64
	log := through(t, name, "GetShardIterator", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		asked.Add(1)
		next.ServeHTTP(w, r)
	})
	wantRead(t, log, shard, "", positions)
	last := positions[3]
	for range 5 {
		if err := log.Append(t.Context(), []stream.Record{{Key: 1}}); err != nil {
			t.Fatal(err)
		}
		page, err := log.Read(t.Context(), shard, last, 0)
		if err != nil || len(page) != 1 {
			t.Fatalf("%d records, %v", len(page), err)
		}
		last = page[0].Position
	}
	if asked.Load() != 1 {
		t.Errorf("the way was asked for %d times, want once", asked.Load())
	}
	wantRead(t, log, shard, positions[0], append(positions[1:4:4], following(t, log, shard, positions[3])...))
	if asked.Load() < 2 {
		t.Error("another place was found without asking")
	}
}

func following(t *testing.T, log stream.Stream, shard string, after stream.Position) []stream.Position {
	t.Helper()
	page, err := log.Read(t.Context(), shard, after, 0)
	if err != nil {
		t.Fatal(err)
	}
	var positions []stream.Position
	for _, r := range page {
		positions = append(positions, r.Position)
	}
	return positions
}

// TestClosedShard reads a closed shard to its end, after which there is nothing to ask Kinesis for.
func TestClosedShard(t *testing.T) {
	name, shard, positions := filled(t, 6)
	client := componenttest.KinesisClient(t)
	splitFirst(t, client, name, openShards(t, client, name))
	awaitActive(t, client, name)
	var asked atomic.Int64
	log := through(t, name, "GetRecords", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		asked.Add(1)
		next.ServeHTTP(w, r)
	})
	wantRead(t, log, shard, "", positions)
	before := asked.Load()
	for range 3 {
		wantRead(t, log, shard, positions[5], nil)
	}
	if asked.Load() != before {
		t.Errorf("the end of a closed shard was read %d times again", asked.Load()-before)
	}
	wantRead(t, log, shard, "", positions)
}

// TestManyShards lists shards when every answer holds two of them.
func TestManyShards(t *testing.T) {
	name := newStream(t, 5)
	var pages atomic.Int64
	log := through(t, name, "ListShards", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		pages.Add(1)
		var call map[string]any
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		call["MaxResults"] = 2
		var answer json.RawMessage
		forward(t, r, next, call, &answer)
		w.Write(answer)
	})
	shards, err := log.Shards(t.Context())
	if err != nil || len(shards) != 5 || !slices.IsSorted(shards) || len(slices.Compact(shards)) != 5 || pages.Load() != 3 {
		t.Errorf("shards %q on %d pages, %v", shards, pages.Load(), err)
	}
}

// TestShardIsOver has Kinesis forget a shard that was known.
func TestShardIsOver(t *testing.T) {
	name, shard, _ := filled(t, 1)
	log := through(t, name, "GetShardIterator", throttle(1, http.StatusBadRequest, "ResourceNotFoundException"))
	if _, err := log.Read(t.Context(), shard, "1", 0); !errors.Is(err, stream.ErrNoShard) {
		t.Errorf("got %v, want ErrNoShard", err)
	}
}

// TestMissingStream says which stream it is that is not there, and what to look at.
func TestMissingStream(t *testing.T) {
	log := kinesis.New(componenttest.KinesisClient(t), "nowhere", kinesis.Options{})
	_, listing := log.Shards(t.Context())
	_, reading := log.Read(t.Context(), "shardId-000000000000", "", 0)
	for _, err := range []error{listing, reading, log.Append(t.Context(), []stream.Record{{Key: 1}})} {
		if err == nil || !strings.Contains(err.Error(), "nowhere") || !strings.Contains(err.Error(), "deployed") || errors.Is(err, stream.ErrOverloaded) {
			t.Errorf("got %v", err)
		}
	}
}
