// Command admin is the Lambda function that answers operators: the API under /api/v1.
package main

import (
	"crypto/rand"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloud"
)

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	first := env.AdminTokenHash()
	config := admin.Config{Store: env.Store(), Large: env.Large(), Now: env.Clock.Now, Rand: rand.Reader, Log: env.Log}
	err := env.Err()
	if err == nil {
		var h *handler
		if h, err = newHandler(config, first); err == nil {
			lambda.Start(h)
		}
	}
	env.Log.Error("admin cannot start", "error", err)
	os.Exit(1)
}
