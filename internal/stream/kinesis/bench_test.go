package kinesis_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// BenchmarkAppend is one sender who waits for the Kinesis server, beside the least that any program would do to the same
// end: one call of the SDK with the records as they are.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100} {
		benchAppend(b, componenttest.KinesisClient(b), newStream(b, 2), n)
	}
}

// BenchmarkAppendAlone is the same without the server, which takes by far the most of the time: what this process does
// itself.
func BenchmarkAppendAlone(b *testing.B) {
	for _, n := range []int{1, 10, 100, 500} {
		benchAppend(b, answering(n), "any", n)
	}
}

func benchAppend(b *testing.B, client *sdk.Client, name string, n int) {
	batch := make([]stream.Record, n)
	entries := make([]types.PutRecordsRequestEntry, n)
	for i := range batch {
		batch[i] = stream.Record{Key: device(i), Data: make([]byte, 300)}
		entries[i].Data, entries[i].PartitionKey = batch[i].Data, aws.String(fmt.Sprintf("%016x", batch[i].Key))
	}
	b.Run(fmt.Sprintf("%d records/append", n), func(b *testing.B) {
		log := kinesis.New(client, name, kinesis.Options{})
		for b.Loop() {
			if err := log.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("%d records/sdk", n), func(b *testing.B) {
		for b.Loop() {
			if _, err := client.PutRecords(b.Context(), &sdk.PutRecordsInput{StreamName: &name, Records: entries}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// answering is a client whose calls are answered at once: so many records were taken.
func answering(n int) *sdk.Client {
	const taken = `{"SequenceNumber":"49680468707673496509488423795308948618023918739780534274","ShardId":"shardId-000000000000"}`
	body := `{"FailedRecordCount":0,"Records":[` + strings.Repeat(taken+",", n-1) + taken + `]}`
	return sdk.New(sdk.Options{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient: clientFunc(func(r *http.Request) (*http.Response, error) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
			return &http.Response{
				StatusCode: http.StatusOK,
				Header:     http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
				Body:       io.NopCloser(strings.NewReader(body)),
			}, nil
		}),
	})
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }
