// Command relay is the Lambda function that answers edges: it hands them signed snapshots, and takes what devices told them
// (see package relay).
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/store"
)

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	table := env.Store()
	apps := store.Apps{Store: table, Large: env.Large()}
	devices := device.Config{
		Apps: apps, Devices: store.Devices{Store: table}, Stream: env.Stream(),
		Now: env.Clock.Now, Log: env.Log, SnapshotTTL: env.SnapshotTTL(), Frozen: true,
	}
	if err := env.Err(); err != nil {
		env.Log.Error("the function cannot start", "error", err)
		os.Exit(1)
	}
	h := newHandler(relay.Config{
		Apps: apps, Tokens: store.Tokens{Store: table}, Keys: store.Keys{Store: table, Now: env.Clock.Now},
		Devices: device.New(devices), Now: env.Clock.Now, Ago: env.Clock.Ago, Log: env.Log,
	})
	h.report = env.Metrics(os.Stdout).Report
	lambda.Start(h)
}
