package guard_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	ktypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
)

// holds reports whether the table really holds the item that operations' PutItem writes.
func holds(t *testing.T, table string) bool {
	t.Helper()
	out, err := componenttest.DynamoDBClient(t).GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &table, Key: key("A#1", "s"), ConsistentRead: new(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item != nil
}

// faulty is a table behind a Proxy with faults.
func faulty(t *testing.T, f guard.Faults) (p *guard.Proxy, table string) {
	t.Helper()
	table, _ = newTable(t)
	p = started(t, guard.Options{Service: guard.DynamoDB, Upstream: componenttest.DynamoDB(t).URL})
	p.SetFaults(f)
	return p, table
}

// A throttled call has no effect, and a client meets all the ways in which DynamoDB says so.
func TestThrottledDynamoDB(t *testing.T) {
	p, table := faulty(t, guard.Faults{Throttle: 1})
	client := dynamoClient(p, "AdminFunction")
	seen := map[string]bool{}
	for range 30 {
		for _, operation := range []string{"PutItem", "TransactWriteItems"} {
			err := operations(table)[operation](t.Context(), client)
			var cancelled *types.TransactionCanceledException
			code := operation + " " + codeOf(err)
			if errors.As(err, &cancelled) {
				code += " " + *cancelled.CancellationReasons[0].Code
			}
			seen[code] = true
		}
	}
	want := []string{
		"PutItem ProvisionedThroughputExceededException", "PutItem ThrottlingException",
		"TransactWriteItems ProvisionedThroughputExceededException",
		"TransactWriteItems TransactionCanceledException ThrottlingError",
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	if holds(t, table) {
		t.Error("a throttled call wrote")
	}
	p.SetFaults(guard.Faults{})
	if err := operations(table)["PutItem"](t.Context(), client); err != nil {
		t.Errorf("without faults: %v", err)
	}
}

func TestThrottledKinesisAndS3(t *testing.T) {
	stream, _ := newStream(t)
	k := started(t, guard.Options{Service: guard.Kinesis, Upstream: componenttest.Kinesis(t).URL})
	k.SetFaults(guard.Faults{Throttle: 1})
	var exceeded *ktypes.ProvisionedThroughputExceededException
	if _, err := putNumbers(t.Context(), kinesisClient(k, "IngestFunction"), stream, 1); !errors.As(err, &exceeded) {
		t.Errorf("Kinesis: %v", err)
	}

	b := newBucket(t)
	b.allowOn("AdminFunction", "", "s3:ListBucket")
	b.SetFaults(guard.Faults{Throttle: 1})
	_, err := s3Client(b.URL, "AdminFunction").ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &b.name})
	if codeOf(err) != "SlowDown" {
		t.Errorf("S3: %v", err)
	}
}

// Which calls are hit follows from the seed, and their share is the one that was asked for.
func TestFaultsFollowFromTheSeed(t *testing.T) {
	const calls = 200
	table, _ := newTable(t)
	outcome := func(seed uint64) (hits []int) {
		p := started(t, guard.Options{Service: guard.DynamoDB, Upstream: componenttest.DynamoDB(t).URL, Seed: seed})
		p.SetFaults(guard.Faults{Throttle: 0.25})
		client := dynamoClient(p, "ResolveFunction")
		for i := range calls {
			switch code := codeOf(operations(table)["GetItem"](t.Context(), client)); code {
			case "":
			case "ProvisionedThroughputExceededException", "ThrottlingException":
				hits = append(hits, i)
			default:
				t.Fatal(code)
			}
		}
		return hits
	}
	first := outcome(1)
	if len(first) < calls/8 || len(first) > calls*3/8 {
		t.Errorf("%d of %d calls were throttled, want about a quarter", len(first), calls)
	}
	if !slices.Equal(first, outcome(1)) {
		t.Error("the same seed hit other calls")
	}
	if slices.Equal(first, outcome(2)) {
		t.Error("another seed hit the same calls")
	}
}

func TestTransactionConflict(t *testing.T) {
	p, table := faulty(t, guard.Faults{Conflict: 1})
	client := dynamoClient(p, "AdminFunction")
	var cancelled *types.TransactionCanceledException
	if err := operations(table)["TransactWriteItems"](t.Context(), client); !errors.As(err, &cancelled) {
		t.Fatal(err)
	}
	var codes []string
	for _, reason := range cancelled.CancellationReasons {
		codes = append(codes, *reason.Code)
	}
	if want := []string{"TransactionConflict", "None", "None", "None", "None"}; !slices.Equal(codes, want) {
		t.Errorf("reasons %q, want %q", codes, want)
	}
	if err := operations(table)["PutItem"](t.Context(), client); err != nil {
		t.Errorf("a call that is no transaction: %v", err)
	}
}

func TestDown(t *testing.T) {
	p, table := faulty(t, guard.Faults{Down: true})
	client := dynamoClient(p, "ResolveFunction")
	if code := codeOf(operations(table)["PutItem"](t.Context(), client)); code == "" || code == "AccessDeniedException" {
		t.Errorf("a service that is down answered: %q", code)
	}
	if holds(t, table) {
		t.Error("a service that is down wrote")
	}
	p.SetFaults(guard.Faults{})
	if err := operations(table)["PutItem"](t.Context(), client); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestDelay(t *testing.T) {
	p, table := faulty(t, guard.Faults{Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := operations(table)["PutItem"](ctx, dynamoClient(p, "AdminFunction")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that takes an hour ended with %v", err)
	}
	if holds(t, table) {
		t.Error("a call was carried out before its time")
	}
	p.SetFaults(guard.Faults{Delay: time.Millisecond})
	if err := operations(table)["PutItem"](t.Context(), dynamoClient(p, "AdminFunction")); err != nil || !holds(t, table) {
		t.Errorf("a call that takes a millisecond longer: %v", err)
	}
}

func TestCutAnswers(t *testing.T) {
	p, table := faulty(t, guard.Faults{Cut: 1})
	if err := operations(table)["PutItem"](t.Context(), dynamoClient(p, "AdminFunction")); err == nil || codeOf(err) != err.Error() {
		t.Errorf("the answer arrived: %v", err)
	}
	if !holds(t, table) {
		t.Error("the call was not carried out")
	}
}

func TestFaultsOfSomeCalls(t *testing.T) {
	p, table := faulty(t, guard.Faults{
		Throttle: 1, Cut: 1, Delay: time.Millisecond,
		Only: func(caller, operation string) bool { return caller == "ResolveFunction" && operation == "GetItem" },
	})
	for _, test := range []struct {
		caller, operation string
		hit               bool
	}{
		{"ResolveFunction", "GetItem", true},
		{"ResolveFunction", "Query", false},
		{"AdminFunction", "GetItem", false},
	} {
		err := operations(table)[test.operation](t.Context(), dynamoClient(p, test.caller))
		if (err != nil) != test.hit {
			t.Errorf("%s by %s: %v", test.operation, test.caller, err)
		}
	}
}

// A component that is gone is, to callers, a service that is down.
func TestComponentGone(t *testing.T) {
	p := started(t, guard.Options{Service: guard.DynamoDB, Upstream: "http://127.0.0.1:1"})
	if code := codeOf(operations("none")["GetItem"](t.Context(), dynamoClient(p, "ResolveFunction"))); code == "" {
		t.Error("a call without a component succeeded")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]guard.Options{
		"no service":  {Upstream: "http://127.0.0.1:1"},
		"no upstream": {Service: guard.S3},
	} {
		if _, err := guard.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
