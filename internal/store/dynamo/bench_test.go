package dynamo_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
)

// repeated answers every request at once, as the server answered the first: what is left is the client's own work.
type repeated struct {
	status int
	header http.Header
	body   []byte
}

func (r *repeated) Do(request *http.Request) (*http.Response, error) {
	if r.body == nil {
		answer, err := transport.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if r.body, err = io.ReadAll(answer.Body); err != nil {
			return nil, err
		}
		r.status, r.header = answer.StatusCode, answer.Header
	}
	return &http.Response{
		StatusCode: r.status, Header: r.header, Request: request,
		Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)),
	}, nil
}

// BenchmarkGet reads an item of 300 bytes by the bare SDK, which is the floor, and by the store, in turns: ×sdk is how
// much longer the store takes. "client" has no server in it.
func BenchmarkGet(b *testing.B) {
	table := newTable(b)
	item := store.Item{Key: store.Key{PK: "BENCH", SK: "item"}, Version: 1, Value: make([]byte, 300)}
	s := dynamo.New(connect(endpoint(b)), table, dynamo.Options{})
	if err := s.Write(b.Context(), store.Put(item, store.Always())); err != nil {
		b.Fatal(err)
	}
	b.Run("server", func(b *testing.B) { benchmarkGet(b, connect(endpoint(b)), table, item.Key) })
	b.Run("client", func(b *testing.B) {
		alone := func(o *dynamodb.Options) { o.HTTPClient = &repeated{} }
		benchmarkGet(b, connect(endpoint(b), alone), table, item.Key)
	})
}

func benchmarkGet(b *testing.B, client *dynamodb.Client, table string, k store.Key) {
	s := dynamo.New(client, table, dynamo.Options{})
	if _, err := s.Get(b.Context(), k, store.Eventual); err != nil { // connects
		b.Fatal(err)
	}
	var bare, ours time.Duration
	for b.Loop() {
		start := time.Now()
		out, err := client.GetItem(b.Context(), &dynamodb.GetItemInput{
			TableName: &table, ConsistentRead: aws.Bool(false),
			Key: map[string]types.AttributeValue{
				"pk": &types.AttributeValueMemberS{Value: k.PK}, "sk": &types.AttributeValueMemberS{Value: k.SK},
			},
		})
		if err != nil || len(out.Item) == 0 {
			b.Fatal(out, err)
		}
		between := time.Now()
		if _, err := s.Get(b.Context(), k, store.Eventual); err != nil {
			b.Fatal(err)
		}
		bare, ours = bare+between.Sub(start), ours+time.Since(between)
	}
	b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "sdk-ns/op")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "store-ns/op")
	b.ReportMetric(float64(ours)/float64(bare), "×sdk")
}
