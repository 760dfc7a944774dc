package source_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
)

// patience bounds every wait for something that takes moments.
const patience = 60 * time.Second

// client speaks to the Kinesis server that all tests share.
var client *kinesis.Client

func TestMain(m *testing.M) {
	server, err := component.Kinesis(context.Background(), component.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client = kinesis.New(kinesis.Options{
		BaseEndpoint: &server.URL, Region: component.Region,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.Secret, ""),
	})
	code := m.Run()
	if err := server.Close(); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// world is a stream, a mapping and a function that is this test.
type world struct {
	*source.Mapping
	name string

	mu      sync.Mutex
	batches [][]events.KinesisEventRecord // as invoked, whatever the outcome
	running map[string]bool               // shards with an invocation under way
	objects map[string]string             // of the destination
	answer  func(batch []events.KinesisEventRecord) (source.Reply, error)
}

// newWorld makes a stream of so many shards. The function says yes to everything until answer is set.
func newWorld(t *testing.T, shards int32) *world {
	t.Helper()
	w := &world{name: "s" + rand.Text(), running: map[string]bool{}, objects: map[string]string{}}
	_, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &w.name, ShardCount: &shards})
	must(t, err)
	summary := w.active(t)
	w.Mapping = &source.Mapping{
		ID: "mapping-id", Region: component.Region, StreamARN: *summary.StreamARN, FunctionARN: "arn:function", RoleARN: "arn:role",
		Stream: client, Invoke: w.invoke, Discard: w.discard, NewID: rand.Text, Poll: 20 * time.Millisecond,
		MaximumRetryAttempts: 2, ReportItemFailures: true,
	}
	return w
}

// active waits until the stream can be used.
func (w *world) active(t *testing.T) *types.StreamDescriptionSummary {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		out, err := client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &w.name})
		must(t, err)
		if out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive {
			return out.StreamDescriptionSummary
		}
	}
	t.Fatal("the stream never became active")
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) invoke(_ context.Context, payload []byte) (source.Reply, error) {
	if len(payload) > 6<<20 {
		return source.Reply{}, fmt.Errorf("a payload of %d bytes", len(payload))
	}
	var event events.KinesisEvent
	if err := json.Unmarshal(payload, &event); err != nil {
		return source.Reply{}, err
	}
	shard, _, _ := strings.Cut(event.Records[0].EventID, ":")
	w.mu.Lock()
	if w.running[shard] {
		w.mu.Unlock()
		return source.Reply{}, errors.New("two invocations for " + shard)
	}
	w.running[shard] = true
	w.batches = append(w.batches, event.Records)
	answer := w.answer
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.running[shard] = false
		w.mu.Unlock()
	}()
	if answer == nil {
		return source.Reply{Payload: []byte(`{"batchItemFailures":[]}`)}, nil
	}
	return answer(event.Records)
}

func (w *world) discard(_ context.Context, key string, document []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects[key] = string(document)
	return nil
}

// run runs the mapping until the test ends.
func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// put appends records, one per text, whose partition key is the part of the text before "/".
func (w *world) put(t *testing.T, texts ...string) {
	t.Helper()
	for chunk := range slices.Chunk(texts, 100) {
		in := &kinesis.PutRecordsInput{StreamName: &w.name}
		for _, text := range chunk {
			key, _, _ := strings.Cut(text, "/")
			in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: &key, Data: []byte(text)})
		}
		out, err := client.PutRecords(t.Context(), in)
		must(t, err)
		if n := aws.ToInt32(out.FailedRecordCount); n > 0 {
			t.Fatalf("%d records refused", n)
		}
	}
}

// await waits until the statistics say so.
func (w *world) await(t *testing.T, what string, done func(source.Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(w.Stats()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s: %+v", what, w.Stats())
		}
	}
}

// settled waits until so many records are done or given up.
func (w *world) settled(t *testing.T, records int) {
	t.Helper()
	w.await(t, "all records settled", func(s source.Stats) bool { return s.Done+s.Discarded >= int64(records) })
}

// seen returns the texts of every batch in the order of invocation.
func (w *world) seen() [][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all [][]string
	for _, batch := range w.batches {
		all = append(all, texts(batch))
	}
	return all
}

func texts(batch []events.KinesisEventRecord) (out []string) {
	for _, r := range batch {
		out = append(out, string(r.Kinesis.Data))
	}
	return out
}

func numbered(key string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s/%03d", key, i))
	}
	return out
}

// split cuts the stream's only open shard in the middle.
func (w *world) split(t *testing.T) {
	t.Helper()
	out, err := client.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: &w.name})
	must(t, err)
	middle := new(big.Int).Lsh(big.NewInt(1), 127).String()
	_, err = client.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: &w.name, ShardToSplit: out.Shards[0].ShardId, NewStartingHashKey: &middle,
	})
	must(t, err)
	w.active(t)
}
