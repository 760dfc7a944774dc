//go:build !race

// What drives DynamoDB Local is built without the race detector: make test runs it by itself.

package aggregate_test

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/telemetry"
)

func TestMain(m *testing.M) { os.Exit(componenttest.Main(m)) }

// newTable returns a store in a DynamoDB table of its own.
func newTable(t *testing.T, o dynamo.Options) *dynamo.Store {
	t.Helper()
	return dynamo.New(componenttest.DynamoDBClient(t), componenttest.Table(t), o)
}

// TestPushingToDynamoDBCountsWhatPullingFromSQLiteCounts folds one log twice: pulled into SQLite, and pushed by several
// hosts at once into DynamoDB. What was counted must be the same bytes.
func TestPushingToDynamoDBCountsWhatPullingFromSQLiteCounts(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(51, 1)), 40, 200)
	log, pulled := engines(t)
	appendAll(t, log, h.records(t, 1))
	drain(t, func() *aggregate.Aggregator {
		return &aggregate.Aggregator{Stream: log, Store: pulled, Name: streamName}
	})

	table := newTable(t, dynamo.Options{})
	records := pushed(h.records(t, 1), 1)
	var folding sync.WaitGroup
	for i := range 3 {
		host := &aggregate.Aggregator{Store: table, Name: streamName, Limits: telemetry.Limits{Leaf: 400, Patch: 100, Journal: 300}}
		folding.Go(func() {
			deliver(t, rand.New(rand.NewPCG(uint64(i), 52)), 300, records[i*20:], func() *aggregate.Aggregator { return host })
		})
	}
	folding.Wait()
	deliver(t, rand.New(rand.NewPCG(9, 52)), 300, records, func() *aggregate.Aggregator {
		return &aggregate.Aggregator{Store: table, Name: streamName}
	})
	checkCounted(t, table, h)
	if got, want := merged(t, table), merged(t, pulled); got != want {
		t.Errorf("pushed:\n%s\npulled:\n%s", got, want)
	}
}
