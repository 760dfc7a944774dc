package dynamo

import (
	"context"
	"crypto/rand"
	"fmt"
	random "math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
)

// Options of New. The zero value is right for production.
type Options struct {
	Now func() time.Time // clock for expiry; default time.Now
	// Consumed, if set, is told what every answered request consumed. It may be called concurrently.
	Consumed func(Usage)
	// Attempts is how often a request is made at most, the first included, before throttling, conflicts with other
	// transactions or a lost network become an error; default 6.
	Attempts int
	// MaxBackoff is the longest pause between two attempts; default 1 s. A pause is drawn evenly between nothing and a
	// bound that starts at a 40th of it and doubles with every attempt.
	MaxBackoff time.Duration
	// Jitter draws the pauses: numbers in [0, 1), concurrently; default rand.Float64.
	Jitter func() float64
	// Token draws the tokens of transactions: at most 36 characters that never come twice; default crypto/rand.Text.
	Token func() string
}

// Store is a store.Store in one DynamoDB table.
type Store struct {
	client  *dynamodb.Client
	table   *string
	options Options
	retry   aws.Retryer
}

var _ store.Store = (*Store)(nil)

// New returns the store in the table of that name, which must exist. It makes no request. The client stays the
// caller's; the store retries by its own rules, whatever the client's are.
func New(client *dynamodb.Client, table string, options Options) *Store {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Attempts <= 0 {
		options.Attempts = 6
	}
	if options.MaxBackoff <= 0 {
		options.MaxBackoff = time.Second
	}
	if options.Jitter == nil {
		options.Jitter = random.Float64
	}
	if options.Token == nil {
		options.Token = rand.Text
	}
	s := &Store{client: client, table: aws.String(table), options: options}
	s.retry = s.newRetryer()
	return s
}

// Get returns the item at k, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, k store.Key, c store.Consistency) (store.Item, error) {
	if !k.Valid() { // DynamoDB would refuse to look for what cannot be there
		return store.Item{}, fmt.Errorf("%.80q: %w", k.String(), store.ErrNotFound)
	}
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: s.table, Key: keyAttributes(k), ConsistentRead: aws.Bool(bool(c)), ReturnConsumedCapacity: s.report(),
	}, s.configure)
	if err != nil {
		return store.Item{}, fmt.Errorf("reading %s: %w", k, classify(ctx, err))
	}
	s.readUnits("GetItem", out.ConsumedCapacity)
	if out.Item == nil {
		return store.Item{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	item, err := parseItem(out.Item)
	if err != nil {
		return store.Item{}, fmt.Errorf("reading %s: %w", k, err)
	}
	if s.expired(item) {
		return store.Item{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	return item, nil
}

// Query returns the items of r. A Prefix or After that no sort key can begin with is store.ErrInvalid.
func (s *Store) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	fail := func(err error) ([]store.Item, error) {
		return nil, fmt.Errorf("querying %.80s/%.80s: %w", r.PK, r.Prefix, err)
	}
	input, err := s.queryInput(r, c)
	if err != nil {
		return fail(err)
	}
	if input == nil {
		return nil, nil
	}
	var items []store.Item
	for {
		if r.Limit > 0 {
			input.Limit = aws.Int32(int32(min(r.Limit-len(items), maxPage)))
		}
		out, err := s.client.Query(ctx, input, s.configure)
		if err != nil {
			return fail(classify(ctx, err))
		}
		s.readUnits("Query", out.ConsumedCapacity)
		if items, err = s.appendLive(items, out.Items); err != nil {
			return fail(err)
		}
		if len(out.LastEvaluatedKey) == 0 || (r.Limit > 0 && len(items) == r.Limit) {
			return items, nil
		}
		input.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// appendLive appends the items of one page that have not expired.
func (s *Store) appendLive(items []store.Item, page []map[string]types.AttributeValue) ([]store.Item, error) {
	for _, attributes := range page {
		item, err := parseItem(attributes)
		if err != nil {
			return nil, err
		}
		if !s.expired(item) {
			items = append(items, item)
		}
	}
	return items, nil
}

// Close does nothing: the client is its owner's, and every Write is durable when it returns.
func (s *Store) Close() error { return nil }

// expired reports whether item has ended by the store's clock. DynamoDB removes what has expired days later.
func (s *Store) expired(item store.Item) bool {
	return !item.Expires.IsZero() && !s.options.Now().Before(item.Expires)
}

// configure gives one request the store's own retrying.
func (s *Store) configure(o *dynamodb.Options) { o.Retryer = s.retry }
