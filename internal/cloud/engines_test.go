package cloud_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/cloud/bucket"
	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// served is an environment that leads to the real servers of all three services.
func served(t *testing.T) map[string]string {
	t.Helper()
	v := variables()
	delete(v, "PALIER_CLOCK")
	files := componenttest.S3(t) // which alone checks signatures
	v["AWS_REGION"], v["AWS_ACCESS_KEY_ID"], v["AWS_SECRET_ACCESS_KEY"], v["AWS_SESSION_TOKEN"] = component.Region, files.AccessKey, files.Secret, ""
	v["AWS_ENDPOINT_URL_DYNAMODB"], v["AWS_ENDPOINT_URL_KINESIS"], v["AWS_ENDPOINT_URL_S3"] = componenttest.DynamoDB(t).URL, componenttest.Kinesis(t).URL, files.URL
	v["PALIER_TABLE"], v["PALIER_STREAM"], v["PALIER_STATE"] = componenttest.Name("table"), componenttest.Name("stream"), componenttest.Name("state")

	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	_, err := componenttest.DynamoDBClient(t).CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(v["PALIER_TABLE"]), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{key("pk", types.KeyTypeHash), key("sk", types.KeyTypeRange)},
		AttributeDefinitions: []types.AttributeDefinition{text("pk"), text("sk")},
	})
	_, err2 := componenttest.KinesisClient(t).CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String(v["PALIER_STREAM"]), ShardCount: aws.Int32(1)})
	_, err3 := componenttest.S3Client(t).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(v["PALIER_STATE"])})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	wait := kinesis.NewStreamExistsWaiter(componenttest.KinesisClient(t))
	if err := wait.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: aws.String(v["PALIER_STREAM"])}, 60e9); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEnginesReachTheirServices(t *testing.T) {
	e := cloud.Read(get(served(t)), io.Discard)
	table, log, large, state := e.Store(), e.Stream(), e.Large(), bucket.State(e)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	item := store.Item{Key: store.Key{PK: "a", SK: "b"}, Version: 1, Value: []byte("v")}
	if err := table.Write(t.Context(), store.Put(item, store.Absent())); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get(t.Context(), item.Key, store.Strong); err != nil || string(got.Value) != "v" {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := table.Query(t.Context(), store.Range{PK: "a"}, store.Strong); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := log.Append(t.Context(), []stream.Record{{Key: 1, Data: []byte("event")}}); err != nil {
		t.Fatal(err)
	}
	shards, err := log.Shards(t.Context())
	if err != nil || len(shards) != 1 {
		t.Fatalf("%v, %v", shards, err)
	}
	if got, err := log.Read(t.Context(), shards[0], "", 10); err != nil || len(got) != 1 || string(got[0].Data) != "event" {
		t.Errorf("%v, %v", got, err)
	}
	body := []byte(strings.Repeat("snapshot", 100_000))
	if err := large.Put(t.Context(), "snapshots/com.example.shop/7", body); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]interface {
		store.Blobs
	}{"the small client": large, "S3's client": state} {
		if got, err := from.Get(t.Context(), "snapshots/com.example.shop/7"); err != nil || string(got) != string(body) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for range 2 {
		if err := large.Delete(t.Context(), "snapshots/com.example.shop/7"); err != nil {
			t.Error(err)
		}
	}
	if _, err := large.Get(t.Context(), "snapshots/com.example.shop/7"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a deleted object: %v", err)
	}
	if err := errors.Join(log.Trim(t.Context(), shards[0], ""), log.Close(), table.Close()); err != nil {
		t.Error(err)
	}
}

// TestNothingIsAskedBeforeTheFirstUse: a function asks Lambda for its first request before it asks anybody for anything.
func TestNothingIsAskedBeforeTheFirstUse(t *testing.T) {
	var asked atomic.Int64
	var credential atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		who := r.Header.Get("Authorization")
		credential.Store(&who)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	v := variables()
	for _, service := range []string{"DYNAMODB", "KINESIS", "S3"} {
		v["AWS_ENDPOINT_URL_"+service] = server.URL
	}
	e, _ := readAll(v)
	table := e.Store()
	if err := e.Err(); err != nil || asked.Load() != 0 {
		t.Fatalf("%v, %d requests", err, asked.Load())
	}
	if _, err := table.Get(t.Context(), store.Key{PK: "a", SK: "b"}, store.Eventual); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if got := *credential.Load(); !strings.Contains(got, "Credential=AKIDRESOLVE/") || !strings.Contains(got, "/eu-west-1/dynamodb/") || !strings.Contains(got, "x-amz-security-token") {
		t.Errorf("signed by %s", got)
	}
}

// TestLargeObjectsWhileS3IsInTrouble plays S3's failures, which the real server does not have.
func TestLargeObjectsWhileS3IsInTrouble(t *testing.T) {
	var mu sync.Mutex
	var answers []int
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		status := answers[min(asked, len(answers)-1)]
		asked++
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = io.WriteString(w, "whole")
		}
	}))
	defer server.Close()
	v := variables()
	v["AWS_ENDPOINT_URL_S3"] = server.URL
	large := cloud.Read(get(v), io.Discard).Large()
	for _, c := range []struct {
		name    string
		answers []int
		asked   int
		fails   error // nil: it does not
	}{
		{"at once", []int{200}, 1, nil},
		{"busy for a while", []int{503, 429, 200}, 3, nil},
		{"down", []int{500}, 4, blob.ErrUnavailable},
		{"absent", []int{404}, 1, blob.ErrNotFound},
		{"not allowed", []int{403}, 1, errAny},
		{"elsewhere", []int{301}, 1, errAny},
	} {
		answers, asked = c.answers, 0
		got, err := large.Get(t.Context(), "snapshots/a")
		if c.fails == nil && (err != nil || string(got) != "whole") || c.fails != nil && err == nil || c.fails != nil && c.fails != errAny && !errors.Is(err, c.fails) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if asked != c.asked {
			t.Errorf("%s: %d requests, want %d", c.name, asked, c.asked)
		}
	}
	if _, err := large.Get(t.Context(), "../other"); !errors.Is(err, blob.ErrInvalid) {
		t.Errorf("a key that leads elsewhere: %v", err)
	}
	if err := large.Put(t.Context(), "a", make([]byte, blob.MaxObjectBytes+1)); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// errAny stands for a failure without a name.
var errAny = errors.New("any")

// TestConnectionThatSaysNothingIsGivenUp: the first request of each engine is never answered. That must cost one attempt,
// and not all the time that a device is kept waiting while its report is made durable, which is 10 s.
func TestConnectionThatSaysNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	v := variables()
	for service, answer := range map[string]string{
		"DYNAMODB": `{}`, "KINESIS": `{"Records":[{"SequenceNumber":"1","ShardId":"shardId-000000000000"}]}`, "S3": "whole",
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client left
			if asked.Add(1) == 1 {
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, answer)
		}))
		t.Cleanup(server.Close)
		v["AWS_ENDPOINT_URL_"+service] = server.URL
	}
	e := cloud.Read(get(v), io.Discard)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var calls sync.WaitGroup
	calls.Go(func() {
		if _, err := e.Store().Get(ctx, store.Key{PK: "a", SK: "b"}, store.Eventual); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the table: %v", err)
		}
	})
	calls.Go(func() {
		if err := e.Stream().Append(ctx, []stream.Record{{Key: 1, Data: []byte("event")}}); err != nil {
			t.Errorf("the stream: %v", err)
		}
	})
	calls.Go(func() {
		if got, err := e.Large().Get(ctx, "snapshots/a"); err != nil || string(got) != "whole" {
			t.Errorf("the bucket: %q, %v", got, err)
		}
	})
	calls.Wait()
}
