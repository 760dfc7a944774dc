package component_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	ktypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/palier-ota/palier/internal/cloudlocal/component"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

func TestDynamoDBHoldsItems(t *testing.T) {
	client, table := componenttest.DynamoDBClient(t), componenttest.Name("table")
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &table, BillingMode: dtypes.BillingModePayPerRequest,
		AttributeDefinitions: []dtypes.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: "S"}},
		KeySchema:            []dtypes.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: "HASH"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	item := map[string]dtypes.AttributeValue{"pk": &dtypes.AttributeValueMemberS{Value: "a"}}
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatal(err)
	}
	// another key and region see the same data
	client = componenttest.DynamoDBClient(t, func(o *dynamodb.Options) {
		o.Region, o.Credentials = "eu-west-1", credentials.NewStaticCredentialsProvider("ResolveFunction", "x", "")
	})
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: item})
	if err != nil || out.Item == nil {
		t.Errorf("item %v, %v", out, err)
	}
}

func TestKinesisHoldsRecords(t *testing.T) {
	client, stream := componenttest.KinesisClient(t), componenttest.Name("stream")
	_, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{
		StreamName: &stream, StreamModeDetails: &ktypes.StreamModeDetails{StreamMode: ktypes.StreamModeOnDemand},
	})
	if err != nil {
		t.Fatal(err)
	}
	waiter := kinesis.NewStreamExistsWaiter(client, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	})
	if err := waiter.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &stream}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	put, err := client.PutRecord(t.Context(), &kinesis.PutRecordInput{
		StreamName: &stream, PartitionKey: aws.String("p"), Data: []byte("data"),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: &stream, ShardId: put.ShardId, ShardIteratorType: ktypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: at.ShardIterator})
	if err != nil || len(got.Records) != 1 || string(got.Records[0].Data) != "data" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestS3HoldsObjects(t *testing.T) {
	client, bucket := componenttest.S3Client(t), componenttest.Name("bucket")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	key := aws.String("a/b")
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: key, Body: strings.NewReader("data"), ContentType: aws.String("application/zip"),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: key, Range: aws.String("bytes=1-2")})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(out.Body)
	if err != nil || string(data) != "at" || aws.ToString(out.ContentType) != "application/zip" {
		t.Errorf("got %q of type %q, %v", data, aws.ToString(out.ContentType), err)
	}
	stranger := componenttest.S3Client(t, func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(componenttest.S3(t).AccessKey, "another secret", "")
	})
	if _, err := stranger.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: key}); err == nil {
		t.Error("a wrong signature was accepted")
	}
}

// A server that listens on every network answers on all addresses of this machine; one on 127.0.0.1 on that alone.
func TestServersListenOnLoopbackAlone(t *testing.T) {
	hosts := []string{"127.0.0.2", "::1"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, ip.IP.String())
		}
	}
	for name, server := range map[string]*component.Server{
		"DynamoDB": componenttest.DynamoDB(t), "Kinesis": componenttest.Kinesis(t), "S3": componenttest.S3(t),
	} {
		port := portOf(t, server)
		if !listens("127.0.0.1", port) {
			t.Errorf("%s does not listen on 127.0.0.1", name)
		}
		for _, host := range hosts {
			if listens(host, port) {
				t.Errorf("%s listens on %s", name, host)
			}
		}
	}
}

func portOf(t *testing.T, s *component.Server) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func listens(host, port string) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func TestCloseAndKill(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // to see what is left
	for name, end := range map[string]func(*component.Server) error{
		"close": (*component.Server).Close,
		"kill":  (*component.Server).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			server, err := component.S3(t.Context(), component.S3Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := end(server); err != nil {
				t.Error(err)
			}
			select {
			case <-server.Exited():
			default:
				t.Error("the server has not ended")
			}
			if listens("127.0.0.1", portOf(t, server)) {
				t.Error("the server still listens")
			}
			if err := server.Close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
		})
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestS3KeepsItsFolder(t *testing.T) {
	dir := t.TempDir()
	options := component.S3Options{Data: dir, AccessKey: "owner", Secret: "a secret"}
	var got []byte
	for range 2 {
		server, err := component.S3(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		client := s3.New(s3.Options{
			BaseEndpoint: &server.URL, Region: component.Region, UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider("owner", "a secret", ""),
		})
		if out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("kept"), Key: aws.String("k")}); err == nil {
			if got, err = io.ReadAll(out.Body); err != nil {
				t.Error(err)
			}
		} else {
			_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("kept")})
			_, err2 := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String("kept"), Key: aws.String("k"), Body: strings.NewReader("data"),
			})
			if err := errors.Join(err, err2); err != nil {
				t.Error(err)
			}
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	if string(got) != "data" {
		t.Errorf("after a restart: %q", got)
	}
}

// Without its compiler, Java alone still runs DynamoDB Local, and the log says at what price.
func TestDynamoDBWithoutJavaCompiler(t *testing.T) {
	programs := t.TempDir()
	for _, name := range []string{"java", "npm", "node"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", programs)
	var log bytes.Buffer
	server, err := component.DynamoDB(t.Context(), component.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "listens on every network") {
		t.Errorf("no warning in the log: %q", log.String())
	}
}

func TestMissingPrograms(t *testing.T) {
	fresh := component.Options{Dir: t.TempDir()}
	t.Setenv("PATH", t.TempDir())
	for program, start := range map[string]func() (*component.Server, error){
		"java": func() (*component.Server, error) { return component.DynamoDB(t.Context(), fresh) },
		"node": func() (*component.Server, error) { return component.Kinesis(t.Context(), fresh) },
		"go": func() (*component.Server, error) {
			return component.S3(t.Context(), component.S3Options{Options: fresh})
		},
	} {
		_, err := start()
		var missing *component.MissingError
		if !errors.As(err, &missing) || missing.Program != program {
			t.Errorf("without %s: %v", program, err)
			continue
		}
		for _, word := range []string{program, missing.Component, "install", "http"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q", err, word)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(fresh.Dir, "*"))
	if left = slices.DeleteFunc(left, func(p string) bool { return strings.HasSuffix(p, ".lock") }); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
