package onlambda

import (
	"crypto/rand"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/store"
)

// Start answers the paths from what env says, for as long as the process lives. When env lacks something the process says
// so and ends.
func Start(env *cloud.Environment, paths ...string) {
	table := env.Store()
	h := New(device.Config{
		Apps:    store.Apps{Store: table, Large: env.Large(), NewID: store.NewULID(rand.Reader)},
		Devices: store.Devices{Store: table}, Stream: env.Stream(),
		Now: env.Clock.Now, Log: env.Log, SnapshotTTL: env.SnapshotTTL(), Frozen: true,
		TrustProxies: env.TrustProxies(),
	}, paths...)
	metrics := env.Metrics(os.Stdout)
	h.Answered = func() { metrics.Report(h.Devices.Totals) }
	if err := env.Err(); err != nil {
		env.Log.Error("the function cannot start", "error", err)
		os.Exit(1)
	}
	h.Prefetch(env.Provisioned(), func(err error) { env.Log.Warn("starting without all snapshots", "error", err) })
	lambda.Start(h)
}
