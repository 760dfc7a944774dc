// Command promote is the Lambda function that a schedule calls to judge every live rollout and move those whose numbers
// ask for it (see package promote). Two of them at once do no harm: each transition happens once.
package main

import (
	"crypto/rand"
	"iter"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/palier-ota/palier/internal/cloud"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/store"
)

func main() {
	env := cloud.Read(os.Getenv, os.Stderr)
	table, large := env.Store(), env.Large()
	edges := relay.NewPusher(relay.PusherConfig{
		Apps: store.Apps{Store: table, Large: large}, Keys: store.Keys{Store: table}, Edges: env.Edges(relay.ParseEdge), Log: env.Log,
	})
	h := &handler{
		edges: edges,
		ticker: &promote.Ticker{
			Apps:    store.Apps{Store: store.Observe(table, edges.Changed), NewID: store.NewULID(rand.Reader), Large: large},
			Tallies: store.Tallies{Store: table}, Verdicts: store.Verdicts{Store: table}, Now: env.Clock.Now, Log: env.Log,
		},
		// A line for each tick makes every count exact.
		report: func(counts iter.Seq2[string, int64]) { env.Metrics(os.Stdout).Report(counts) },
	}
	if err := env.Err(); err != nil {
		env.Log.Error("the function cannot start", slog.Any("error", err))
		os.Exit(1)
	}
	lambda.Start(h.Tick)
}
