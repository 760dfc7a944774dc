package component

import (
	"context"
	"os/exec"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// Kinesis runs kinesis-mock, a server of the whole Kinesis API: streams in both modes, split and merge, iterators of
// all types. It is in memory and empty at the start; changes of a stream take 20 ms each instead of AWS's seconds. ctx
// bounds the installation and the start; the server then runs until Close. It neither throttles nor refuses single
// records; package guard adds both.
func Kinesis(ctx context.Context, opts Options) (*Server, error) {
	const name = "Kinesis"
	o, err := opts.settled()
	if err != nil {
		return nil, err
	}
	node, err := lookUp("node", name, nodeRemedy)
	if err != nil {
		return nil, err
	}
	dir, err := packages(ctx, o, name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(node, "--require", filepath.Join(dir, "loopback.js"), "main.js")
	cmd.Dir = filepath.Join(dir, "node_modules", "kinesis-local") // it looks there for its certificate
	cmd.Env = environment(kinesisSettings()...)
	s, err := start(ctx, o, launch{name: name, command: cmd, answers: kinesisAnswers})
	if err != nil {
		return nil, err
	}
	s.AccessKey, s.Secret = localKey, localSecret
	return s, nil
}

// kinesisSettings configure the server; the names are from the "Service Configuration" of its README.
func kinesisSettings() []string {
	settings := []string{
		"AWS_REGION=" + Region, "AWS_ACCOUNT_ID=" + Account,
		"SHARD_LIMIT=500", "ON_DEMAND_STREAM_COUNT_LIMIT=500", // tests make one stream each
		"LOAD_DATA_IF_EXISTS=false", "SHOULD_PERSIST_DATA=false",
		"LOG_LEVEL=ERROR",
		"KINESIS_MOCK_PLAIN_PORT=4568", "KINESIS_MOCK_TLS_PORT=4567", // names for loopback.js, not where it listens
	}
	for _, change := range []string{
		"CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT", "UPDATE_STREAM_MODE",
	} {
		settings = append(settings, change+"_DURATION=20ms")
	}
	return settings
}

func kinesisAnswers(ctx context.Context, url string) error {
	client := kinesis.New(kinesis.Options{BaseEndpoint: &url, Region: Region, Credentials: local(), RetryMaxAttempts: 1})
	_, err := client.ListStreams(ctx, nil)
	return err
}
