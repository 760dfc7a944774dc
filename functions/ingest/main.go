// Command ingest is the Lambda function that takes what devices report: events of the plugin, and the app's own metrics. It
// also hands out the browser client that measures those.
package main

import (
	"os"

	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/device/onlambda"
)

func main() { onlambda.Start(cloud.Read(os.Getenv, os.Stderr), paths()...) }

// paths returns what this function answers.
func paths() []string {
	return []string{device.PathStats, device.PathTelemetry, device.PathClient}
}
