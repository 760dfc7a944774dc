package cloud

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// Store returns the table that PALIER_TABLE names.
func (e *Environment) Store() store.Store {
	table, now := e.Required("PALIER_TABLE"), e.Clock.Now
	config, endpoint := e.AWS("DYNAMODB")
	return lazyStore{sync.OnceValue(func() store.Store {
		client := dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = endpoint })
		return dynamo.New(client, table, dynamo.Options{Now: now})
	})}
}

// Stream returns the stream that PALIER_STREAM names.
func (e *Environment) Stream() stream.Stream {
	name := e.Required("PALIER_STREAM")
	config, endpoint := e.AWS("KINESIS")
	return lazyStream{sync.OnceValue(func() stream.Stream {
		client := awskinesis.NewFromConfig(config, func(o *awskinesis.Options) { o.BaseEndpoint = endpoint })
		return kinesis.New(client, name, kinesis.Options{})
	})}
}

// lazyStore is a store.Store that is made when it is first used, so that a function can ask for its first request before.
type lazyStore struct{ engine func() store.Store }

// Get is store.Store's.
func (s lazyStore) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	return s.engine().Get(ctx, k, c)
}

// Query is store.Store's.
func (s lazyStore) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	return s.engine().Query(ctx, r, c)
}

// Write is store.Store's.
func (s lazyStore) Write(ctx context.Context, ops ...store.Op) error {
	return s.engine().Write(ctx, ops...)
}

// Close is store.Store's.
func (s lazyStore) Close() error { return s.engine().Close() }

// lazyStream is a stream.Stream that is made when it is first used.
type lazyStream struct{ engine func() stream.Stream }

// Append is stream.Stream's.
func (s lazyStream) Append(ctx context.Context, batch []stream.Record) error {
	return s.engine().Append(ctx, batch)
}

// Shards is stream.Stream's.
func (s lazyStream) Shards(ctx context.Context) ([]string, error) { return s.engine().Shards(ctx) }

// Read is stream.Stream's.
func (s lazyStream) Read(ctx context.Context, shard string, after stream.Position, limit int) ([]stream.Delivered, error) {
	return s.engine().Read(ctx, shard, after, limit)
}

// Trim is stream.Stream's.
func (s lazyStream) Trim(ctx context.Context, shard string, upTo stream.Position) error {
	return s.engine().Trim(ctx, shard, upTo)
}

// Close is stream.Stream's.
func (s lazyStream) Close() error { return s.engine().Close() }
