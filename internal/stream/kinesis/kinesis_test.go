package kinesis_test

import (
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
	"github.com/palier-ota/palier/internal/stream/streamtest"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// newStream makes an empty Kinesis stream and returns its name.
func newStream(t testing.TB, shards int32) string {
	t.Helper()
	client, name := componenttest.KinesisClient(t), componenttest.Name("telemetry")
	if _, err := client.CreateStream(t.Context(), &sdk.CreateStreamInput{StreamName: &name, ShardCount: &shards}); err != nil {
		t.Fatal(err)
	}
	awaitActive(t, client, name)
	return name
}

// awaitActive waits until a change of the stream is done.
func awaitActive(t testing.TB, client *sdk.Client, name string) {
	t.Helper()
	waiter := sdk.NewStreamExistsWaiter(client, func(o *sdk.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	})
	if err := waiter.Wait(t.Context(), &sdk.DescribeStreamInput{StreamName: &name, Limit: aws.Int32(100)}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// fresh opens an empty log of its own.
func fresh(t testing.TB, client *sdk.Client, shards int32, o kinesis.Options) *kinesis.Stream {
	t.Helper()
	s := kinesis.New(client, newStream(t, shards), o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	streamtest.Run(t, streamtest.Engine{
		Open: func(t *testing.T) stream.Stream {
			return fresh(t, componenttest.KinesisClient(t), 2, kinesis.Options{})
		},
		OpenTight: func(t *testing.T, pending int) stream.Stream {
			return fresh(t, componenttest.KinesisClient(t), 2, kinesis.Options{MaxPending: pending})
		},
		Reopen: func(t *testing.T) func() stream.Stream {
			name := newStream(t, 2)
			return func() stream.Stream { return kinesis.New(componenttest.KinesisClient(t), name, kinesis.Options{}) }
		},
	})
}
