package guard_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// newStream makes a stream of one shard and returns its name and ARN.
func newStream(t *testing.T) (name, arn string) {
	t.Helper()
	name = componenttest.Name("stream")
	client := componenttest.KinesisClient(t)
	_, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	waiter := kinesis.NewStreamExistsWaiter(client, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	})
	if err := waiter.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &name}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	return name, "arn:aws:kinesis:" + component.Region + ":" + component.Account + ":stream/" + name
}

// putNumbers puts the records "0" to n-1 in one call.
func putNumbers(ctx context.Context, c *kinesis.Client, stream string, n int) (*kinesis.PutRecordsOutput, error) {
	in := &kinesis.PutRecordsInput{StreamName: &stream}
	for i := range n {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{
			PartitionKey: aws.String("p"), Data: fmt.Append(nil, i),
		})
	}
	return c.PutRecords(ctx, in)
}

// numbers reads what is on the stream, in order.
func numbers(t *testing.T, c *kinesis.Client, stream string) (data []string) {
	t.Helper()
	at, err := c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: &stream, ShardId: aws.String("shardId-000000000000"), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: at.ShardIterator})
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range out.Records {
		data = append(data, string(record.Data))
	}
	return data
}

func TestKinesisLetsThroughWhatPoliciesAllow(t *testing.T) {
	stream, arn := newStream(t)
	var rules policies
	p := started(t, guard.Options{
		Service: guard.Kinesis, Upstream: componenttest.Kinesis(t).URL, Authorize: rules.authorize,
	})
	onStream := func(actions ...string) policy.Statement {
		return policy.Statement{Effect: policy.Allow, Actions: actions, Resources: []string{arn}}
	}
	rules.allow("IngestFunction", onStream("kinesis:PutRecords"))
	rules.allow("AggregateFunction", onStream("kinesis:GetShardIterator", "kinesis:GetRecords"))

	if _, err := putNumbers(t.Context(), kinesisClient(p, "IngestFunction"), stream, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := putNumbers(t.Context(), kinesisClient(p, "AggregateFunction"), stream, 1); codeOf(err) != "AccessDeniedException" {
		t.Errorf("put without permission: %v", err)
	}
	if got, want := numbers(t, kinesisClient(p, "AggregateFunction"), stream), []string{"0", "1"}; !slices.Equal(got, want) {
		t.Errorf("on the stream: %q, want %q", got, want)
	}
	_, err := kinesisClient(p, "IngestFunction").DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamARN: &arn})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("describe without permission: %v", err)
	}
	_, err = kinesisClient(p, "PromoteFunction").GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: aws.String("x")})
	if codeOf(err) != "ValidationException" {
		t.Errorf("an iterator of a caller who named no stream: %v", err)
	}

	want := []guard.Use{
		{Caller: "AggregateFunction", Action: "kinesis:GetRecords", Resource: arn, Count: 1},
		{Caller: "AggregateFunction", Action: "kinesis:GetShardIterator", Resource: arn, Count: 1},
		{Caller: "IngestFunction", Action: "kinesis:PutRecords", Resource: arn, Count: 1},
	}
	if got := p.Uses(); !slices.Equal(got, want) {
		t.Errorf("uses %+v, want %+v", got, want)
	}
}

// What is refused is said to be refused, in its place, and everything else is on the stream.
func TestSingleRecordsAreRefused(t *testing.T) {
	const n, calls = 100, 5
	outcome := func(seed uint64) (refused []string) {
		stream, _ := newStream(t)
		p := started(t, guard.Options{Service: guard.Kinesis, Upstream: componenttest.Kinesis(t).URL, Seed: seed})
		p.SetFaults(guard.Faults{RefuseRecords: 0.3})
		var stored []string
		for range calls {
			out, err := putNumbers(t.Context(), kinesisClient(p, "IngestFunction"), stream, n)
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for i, record := range out.Records {
				if record.ErrorCode == nil {
					stored = append(stored, fmt.Sprint(i))
					continue
				}
				failed++
				refused = append(refused, fmt.Sprint(i))
				if *record.ErrorCode != "ProvisionedThroughputExceededException" || record.SequenceNumber != nil {
					t.Fatalf("refused record %d: %+v", i, record)
				}
			}
			if len(out.Records) != n || int(*out.FailedRecordCount) != failed {
				t.Fatalf("%d answers, %d failed of which %d are said", len(out.Records), failed, *out.FailedRecordCount)
			}
		}
		if got := numbers(t, componenttest.KinesisClient(t), stream); !slices.Equal(got, stored) {
			t.Errorf("on the stream %q, acknowledged %q", got, stored)
		}
		if share := float64(len(refused)) / (n * calls); share < 0.2 || share > 0.4 {
			t.Errorf("a share of %v was refused, want about 0.3", share)
		}
		return refused
	}
	first := outcome(7)
	if !slices.Equal(first, outcome(7)) {
		t.Error("the same seed refused other records")
	}
	if slices.Equal(first, outcome(8)) {
		t.Error("another seed refused the same records")
	}
}

func TestAllRecordsAreRefused(t *testing.T) {
	stream, _ := newStream(t)
	p := started(t, guard.Options{Service: guard.Kinesis, Upstream: componenttest.Kinesis(t).URL})
	p.SetFaults(guard.Faults{RefuseRecords: 1})
	out, err := putNumbers(t.Context(), kinesisClient(p, "IngestFunction"), stream, 3)
	if err != nil {
		t.Fatal(err)
	}
	if *out.FailedRecordCount != 3 || len(out.Records) != 3 {
		t.Errorf("answer %+v, want 3 records refused", out)
	}
	if got := numbers(t, componenttest.KinesisClient(t), stream); len(got) > 0 {
		t.Errorf("refused records on the stream: %q", got)
	}
}
