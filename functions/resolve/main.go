// Command resolve is the Lambda function that answers update checks and the channel calls of devices.
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
	return []string{device.PathUpdates, device.PathManifestSize, device.PathChannelSelf, device.PathHealth}
}
