// Package componenttest gives tests the real servers of package component: one of each for a test binary, started when
// the first test asks, empty then, and shared by all tests after it. Tests therefore make tables, streams and buckets
// of their own, with names nobody else uses (Name).
//
// A binary that uses it should have
//
//	func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }
//
// so that no server outlives it. On Linux none does anyhow, also when the binary is killed.
//
// A server that cannot be started fails the test and never skips it. The first use on a machine installs the servers;
// S3 is compiled from source then, which takes minutes.
package componenttest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
)

// installWithin bounds an installation together with the start.
const installWithin = 10 * time.Minute

// shared is a server that is started once. A test binary has no other place for it than a package's variable.
type shared struct {
	start func(context.Context) (*component.Server, error)

	once   sync.Once
	server *component.Server
	err    error
}

var (
	sharedDynamoDB = &shared{start: func(ctx context.Context) (*component.Server, error) {
		return component.DynamoDB(ctx, options())
	}}
	sharedKinesis = &shared{start: func(ctx context.Context) (*component.Server, error) {
		return component.Kinesis(ctx, options())
	}}
	sharedS3 = &shared{start: func(ctx context.Context) (*component.Server, error) {
		return component.S3(ctx, component.S3Options{Options: options()})
	}}
)

func options() component.Options { return component.Options{Log: slog.Default()} }

// DynamoDB returns the binary's DynamoDB Local; its URL is the endpoint.
func DynamoDB(tb testing.TB) *component.Server { tb.Helper(); return sharedDynamoDB.get(tb) }

// Kinesis returns the binary's Kinesis server; its URL is the endpoint.
func Kinesis(tb testing.TB) *component.Server { tb.Helper(); return sharedKinesis.get(tb) }

// S3 returns the binary's S3 server; its URL is the endpoint, for clients in the path style with the server's
// credentials.
func S3(tb testing.TB) *component.Server { tb.Helper(); return sharedS3.get(tb) }

// DynamoDBClient returns a client of DynamoDB(tb), with the SDK's own settings unless optFns change them.
func DynamoDBClient(tb testing.TB, optFns ...func(*dynamodb.Options)) *dynamodb.Client {
	tb.Helper()
	s := DynamoDB(tb)
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &s.URL, Region: component.Region,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.Secret, ""),
	}, optFns...)
}

// KinesisClient returns a client of Kinesis(tb), with the SDK's own settings unless optFns change them.
func KinesisClient(tb testing.TB, optFns ...func(*kinesis.Options)) *kinesis.Client {
	tb.Helper()
	s := Kinesis(tb)
	return kinesis.New(kinesis.Options{
		BaseEndpoint: &s.URL, Region: component.Region,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.Secret, ""),
	}, optFns...)
}

// S3Client returns a client of S3(tb) in the path style, with the SDK's own settings unless optFns change them.
func S3Client(tb testing.TB, optFns ...func(*s3.Options)) *s3.Client {
	tb.Helper()
	s := S3(tb)
	return s3.New(s3.Options{
		BaseEndpoint: &s.URL, Region: component.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.Secret, ""),
	}, optFns...)
}

// Name returns a name that no other test uses: prefix, a hyphen and 26 random characters, valid for a table, a stream
// and a bucket if the prefix is of lower-case letters and digits.
func Name(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()) }

// Main runs the tests, ends the servers they started, and returns the code to exit with.
func Main(m *testing.M) int {
	defer sharedDynamoDB.end()
	defer sharedKinesis.end()
	defer sharedS3.end()
	return m.Run()
}

func (s *shared) get(tb testing.TB) *component.Server {
	tb.Helper()
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), installWithin)
		defer cancel()
		s.server, s.err = s.start(ctx)
	})
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.server
}

// end stops the server if there is one, and keeps one from being started after.
func (s *shared) end() {
	s.once.Do(func() {})
	if s.server != nil {
		_ = s.server.Close()
	}
}

// Table makes an empty table of Palier's shape in DynamoDB(tb), with a name of its own, and returns the name.
func Table(tb testing.TB) string {
	tb.Helper()
	name := Name("palier")
	_, err := DynamoDBClient(tb).CreateTable(tb.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return name
}
