package source_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/cloudlocal/source"
)

func TestEverythingArrivesInOrder(t *testing.T) {
	w := newWorld(t, 3)
	w.BatchSize = 7
	want := map[string][]string{}
	for k := range 10 {
		key := fmt.Sprint("device", k)
		want[key] = numbered(key, 20)
		w.put(t, want[key][:10]...)
	}
	w.run(t)
	for _, all := range want {
		w.put(t, all[10:]...)
	}
	w.settled(t, 200)
	got := map[string][]string{}
	for _, batch := range w.seen() {
		if len(batch) > w.BatchSize {
			t.Errorf("a batch of %d records", len(batch))
		}
		for _, text := range batch {
			key, _, _ := strings.Cut(text, "/")
			got[key] = append(got[key], text)
		}
	}
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			t.Errorf("%s: %s", key, got[key])
		}
	}
	if s := w.Stats(); s.Done != 200 || s.Failures+s.Throttles+s.Discarded != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEventIsLambdas(t *testing.T) {
	w := newWorld(t, 1)
	var raw atomic.Pointer[[]byte]
	invoke := w.Invoke
	w.Invoke = func(ctx context.Context, payload []byte) (source.Reply, error) {
		raw.Store(&payload)
		return invoke(ctx, payload)
	}
	began := time.Now().Add(-time.Minute)
	w.put(t, "key/{\"a\":\"\x00\"}")
	w.run(t)
	w.settled(t, 1)
	r := w.batches[0][0]
	at := r.Kinesis.ApproximateArrivalTimestamp.Time
	if at.Before(began) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("arrived at %s", at)
	}
	want := events.KinesisEventRecord{
		AwsRegion: w.Region, EventID: "shardId-000000000000:" + r.Kinesis.SequenceNumber, EventName: "aws:kinesis:record",
		EventSource: "aws:kinesis", EventSourceArn: w.StreamARN, EventVersion: "1.0", InvokeIdentityArn: w.RoleARN,
		Kinesis: events.KinesisRecord{
			PartitionKey: "key", Data: []byte("key/{\"a\":\"\x00\"}"), KinesisSchemaVersion: "1.0",
			SequenceNumber: r.Kinesis.SequenceNumber, ApproximateArrivalTimestamp: r.Kinesis.ApproximateArrivalTimestamp,
		},
	}
	got, err := json.Marshal(r)
	must(t, err)
	wanted, err := json.Marshal(want)
	must(t, err)
	if string(got) != string(wanted) || !regexp.MustCompile(`^\d+$`).MatchString(r.Kinesis.SequenceNumber) {
		t.Errorf("got  %s\nwant %s", got, wanted)
	}
	if !regexp.MustCompile(`"approximateArrivalTimestamp":\d+\.\d{3}[,}]`).Match(*raw.Load()) {
		t.Errorf("the time is not written in seconds with milliseconds: %s", *raw.Load())
	}
}

func TestBatchesFillUpWithinTheWindow(t *testing.T) {
	w := newWorld(t, 1)
	w.BatchSize, w.BatchingWindow = 5, 300*time.Second
	w.run(t)
	for _, text := range numbered("k", 13) {
		w.put(t, text)
	}
	w.settled(t, 10)
	for i, batch := range w.seen() {
		if len(batch) != 5 {
			t.Errorf("batch %d went out with %d records", i, len(batch))
		}
	}
}

func TestBatchGoesOutWhenTheWindowEnds(t *testing.T) {
	w := newWorld(t, 1)
	w.BatchSize, w.BatchingWindow = 5, 50*time.Millisecond
	w.put(t, numbered("k", 3)...)
	w.run(t)
	w.settled(t, 3)
}

func TestPayloadStaysBelowLambdasLimit(t *testing.T) {
	w := newWorld(t, 1)
	w.BatchSize = 100
	for i := range 6 { // 900 kB each, a third more in base64
		w.put(t, fmt.Sprintf("k/%d%s", i, strings.Repeat("x", 900_000)))
	}
	w.run(t)
	w.settled(t, 6)
	if s := w.Stats(); s.Throttles != 0 || s.Invocations < 2 || s.Invocations > 5 {
		t.Errorf("%+v", s)
	}
}

func TestChildrenWaitForTheirParents(t *testing.T) {
	w := newWorld(t, 1)
	keys := []string{"a", "b", "c", "d", "e", "f"}
	for _, key := range keys {
		w.put(t, key+"/1")
	}
	w.split(t)
	for _, key := range keys {
		w.put(t, key+"/2")
	}
	w.answer = func([]events.KinesisEventRecord) (source.Reply, error) { // as slow as it takes for a child to be early
		time.Sleep(50 * time.Millisecond)
		return source.Reply{}, nil
	}
	w.BatchSize = 1
	w.run(t)
	w.settled(t, 12)
	shards := map[string]bool{}
	for i, batch := range w.batches {
		shard, _, _ := strings.Cut(batch[0].EventID, ":")
		shards[shard] = true
		if old := strings.HasSuffix(string(batch[0].Kinesis.Data), "/1"); old != (i < 6) {
			t.Errorf("delivery %d: %s of %s", i, batch[0].Kinesis.Data, shard)
		}
	}
	if len(shards) != 3 {
		t.Errorf("records of %d shards", len(shards))
	}
}

func TestLatestLeavesOutWhatWasThere(t *testing.T) {
	w := newWorld(t, 1)
	w.From = source.Latest
	w.put(t, "k/old")
	lost := &faulty{Stream: client}
	lost.fail.Store(1)
	w.Stream = lost
	w.run(t)
	w.await(t, "the stream is read", func(source.Stats) bool { return lost.read.Load() > 0 })
	w.put(t, "k/new")
	w.settled(t, 1)
	if got := w.seen(); !slices.Equal(got[0], []string{"k/new"}) {
		t.Errorf("%s", got)
	}
}

// faulty is a stream whose next reads fail, so many of them.
type faulty struct {
	source.Stream
	fail, read, failed atomic.Int64
}

func (f *faulty) GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, o ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error) {
	if f.fail.Add(-1) >= 0 {
		f.failed.Add(1)
		return nil, &types.ExpiredIteratorException{Message: aws.String("Iterator expired.")}
	}
	out, err := f.Stream.GetRecords(ctx, in, o...)
	if err == nil {
		f.read.Add(1)
	}
	return out, err
}

func TestExpiredIteratorsLoseAndRepeatNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.BatchSize = 10
	lost := &faulty{Stream: client}
	w.Stream = lost
	all := numbered("k", 60)
	w.run(t)
	for n := 0; n < len(all); n += 20 {
		lost.fail.Store(2)
		w.put(t, all[n:n+20]...)
		w.settled(t, n+20)
	}
	if got := slices.Concat(w.seen()...); !slices.Equal(got, all) || lost.failed.Load() != 6 {
		t.Errorf("after %d failures: %s", lost.failed.Load(), got)
	}
}

func TestRunRefusesWhatMakesNoSense(t *testing.T) {
	for name, spoil := range map[string]func(*source.Mapping){
		"no stream":  func(m *source.Mapping) { m.StreamARN = "" },
		"position":   func(m *source.Mapping) { m.From = "AT_TIMESTAMP" },
		"batch size": func(m *source.Mapping) { m.BatchSize = 10_001 },
		"window":     func(m *source.Mapping) { m.BatchingWindow = 301 * time.Second },
		"retries":    func(m *source.Mapping) { m.MaximumRetryAttempts = -2 },
	} {
		m := source.Mapping{Stream: client, StreamARN: "arn", Invoke: func(context.Context, []byte) (source.Reply, error) {
			return source.Reply{}, errors.New("never")
		}, NewID: func() string { return "" }}
		spoil(&m)
		if err := m.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
