// Command resolve is the Lambda function that answers update checks and the channel calls of devices.
package main

import (
	"crypto/rand"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/onlambda"
	"github.com/palier-ota/palier/internal/store"
)

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	table := env.Store()
	h := newHandler(device.Config{
		Apps: store.Apps{Store: table, Large: env.Large(), NewID: store.NewULID(rand.Reader)}, Devices: store.Devices{Store: table}, Stream: env.Stream(),
		Now: env.Clock.Now, Log: env.Log, SnapshotTTL: env.SnapshotTTL(), Frozen: true,
	})
	metrics := env.Metrics(os.Stdout)
	h.Answered = func() { metrics.Report(h.Devices.Totals) }
	if err := env.Err(); err != nil {
		env.Log.Error("resolve cannot start", "error", err)
		os.Exit(1)
	}
	h.Prefetch(env.Provisioned(), func(err error) { env.Log.Warn("starting without all snapshots", "error", err) })
	lambda.Start(h)
}

// newHandler returns the function as a value.
func newHandler(c device.Config) *onlambda.Handler {
	return &onlambda.Handler{
		Devices: device.New(c),
		Paths:   []string{device.PathUpdates, device.PathManifestSize, device.PathChannelSelf, device.PathHealth},
	}
}
