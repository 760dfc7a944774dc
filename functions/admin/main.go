// Command admin is the Lambda function that answers operators: the API under /api/v1.
package main

import (
	"crypto/rand"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/store"
)

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	first := env.AdminTokenHash()
	table, large := env.Store(), env.Large()
	edges := relay.NewPusher(relay.PusherConfig{
		Apps: store.Apps{Store: table, Large: large}, Keys: store.Keys{Store: table}, Edges: env.Edges(relay.ParseEdge), Log: env.Log,
	})
	config := admin.Config{Store: store.Observe(table, edges.Changed), Large: large, Now: env.Clock.Now, Rand: rand.Reader, Log: env.Log}
	err := env.Err()
	if err == nil {
		var h *handler
		if h, err = newHandler(config, first); err == nil {
			h.edges = edges
			lambda.Start(h)
		}
	}
	env.Log.Error("admin cannot start", "error", err)
	os.Exit(1)
}
