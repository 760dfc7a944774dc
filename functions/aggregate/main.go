// Command aggregate is the Lambda function between the telemetry stream and the tallies: an event source mapping gives it
// batches of Kinesis records, and it folds them (see package aggregate).
//
// It answers with the first record that is not safe yet, from which on the batch comes again, and never with an error of
// its own: that would bring back all of the batch. Records that nobody can read are kept as dead letters, each with what it
// takes to replay it, before the stream goes on.
package main

import (
	"iter"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/cloud/bucket"
	"github.com/palier-ota/palier/internal/deadletter"
)

// tallied is the name under which everything is counted, for ever. It is not that of the Kinesis stream, which may be
// replaced by another one: whoever was counted must not be counted again for that.
const tallied = "telemetry"

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	h := &handler{
		aggregator: &aggregate.Aggregator{Store: env.Store(), Name: tallied, Log: env.Log, Now: env.Clock.Now},
		letters:    deadletter.Box{Store: bucket.State(env)},
		log:        env.Log,
		now:        env.Clock.Now,
		// A line for each of its few invocations makes every count exact.
		report: func(counts iter.Seq2[string, int64]) { env.Metrics(os.Stdout).Report(counts) },
	}
	if err := env.Err(); err != nil {
		env.Log.Error("the function cannot start", slog.Any("error", err))
		os.Exit(1)
	}
	lambda.Start(h.Fold)
}
