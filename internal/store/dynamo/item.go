package dynamo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
)

// The attributes of an item. Their names are short because DynamoDB charges for them in every item.
const (
	attrPK      = "pk"      // S
	attrSK      = "sk"      // S
	attrVersion = "v"       // N
	attrValue   = "d"       // B, may be empty
	attrExpires = "expires" // N, Unix seconds; the table's time to live. Absent: never
)

// maxPage is the most items asked for in one page: any number above what a page of 1 MB can hold.
const maxPage = 1 << 20

// errDamaged says that an item was not written by this package.
var errDamaged = errors.New("not an item of Palier [does another program write into this table?]")

func keyAttributes(k store.Key) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		attrPK: &types.AttributeValueMemberS{Value: k.PK},
		attrSK: &types.AttributeValueMemberS{Value: k.SK},
	}
}

func itemAttributes(i store.Item) map[string]types.AttributeValue {
	attributes := keyAttributes(i.Key)
	attributes[attrVersion] = number(i.Version)
	attributes[attrValue] = &types.AttributeValueMemberB{Value: i.Value}
	if i.Value == nil {
		attributes[attrValue] = &types.AttributeValueMemberB{Value: []byte{}}
	}
	if !i.Expires.IsZero() {
		attributes[attrExpires] = number(seconds(i.Expires))
	}
	return attributes
}

// parseItem is the inverse of itemAttributes.
func parseItem(attributes map[string]types.AttributeValue) (store.Item, error) {
	pk, okPK := attributes[attrPK].(*types.AttributeValueMemberS)
	sk, okSK := attributes[attrSK].(*types.AttributeValueMemberS)
	value, okValue := attributes[attrValue].(*types.AttributeValueMemberB)
	version, err := parseNumber(attributes[attrVersion])
	if !okPK || !okSK || !okValue || err != nil {
		return store.Item{}, errDamaged
	}
	item := store.Item{Key: store.Key{PK: pk.Value, SK: sk.Value}, Version: version, Value: value.Value}
	if at, ok := attributes[attrExpires]; ok {
		end, err := parseNumber(at)
		if err != nil {
			return store.Item{}, errDamaged
		}
		item.Expires = time.Unix(end, 0).UTC()
	}
	return item, nil
}

func number(n int64) *types.AttributeValueMemberN {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func parseNumber(attribute types.AttributeValue) (int64, error) {
	n, ok := attribute.(*types.AttributeValueMemberN)
	if !ok {
		return 0, errDamaged
	}
	return strconv.ParseInt(n.Value, 10, 64)
}

// seconds returns t in Unix seconds, rounded up. Nothing ends before 1: DynamoDB's time to live ignores the past of
// more than five years ago, but readers here do not.
func seconds(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		t = t.Add(time.Second)
	}
	return max(1, t.Unix())
}

// guard is a condition as DynamoDB wants it.
type guard struct {
	expression *string
	values     map[string]types.AttributeValue
}

// guard returns what c demands of the item at its key, at this instant; the zero guard when c demands nothing.
func (s *Store) guard(c store.Condition, now time.Time) guard {
	version := c.Split()
	if version < 0 {
		return guard{}
	}
	values := map[string]types.AttributeValue{":now": number(now.Unix())}
	if version == 0 {
		return guard{aws.String("attribute_not_exists(pk) OR expires <= :now"), values}
	}
	values[":v"] = number(version)
	return guard{aws.String("v = :v AND (attribute_not_exists(expires) OR expires > :now)"), values}
}

// queryInput returns the first request of a Query; nil when there can be no answer.
//
// DynamoDB takes one condition on the sort key. It is the prefix, while After is the key that the read starts behind:
// the place of a page's end, whether or not an item is there.
func (s *Store) queryInput(r store.Range, c store.Consistency) (*dynamodb.QueryInput, error) {
	if !(store.Key{PK: r.PK, SK: "any"}).Valid() {
		return nil, nil // no item can have such a key
	}
	for _, bound := range []string{r.Prefix, r.After} {
		if bound != "" && !(store.Key{PK: r.PK, SK: bound}).Valid() {
			return nil, fmt.Errorf("%w: no sort key begins with %.80q", store.ErrInvalid, bound)
		}
	}
	after, empty := startKey(r)
	if empty {
		return nil, nil
	}
	input := &dynamodb.QueryInput{
		TableName: s.table, ConsistentRead: aws.Bool(bool(c)), ScanIndexForward: aws.Bool(!r.Backward),
		ReturnConsumedCapacity:    s.report(),
		KeyConditionExpression:    aws.String("pk = :pk"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":pk": &types.AttributeValueMemberS{Value: r.PK}},
	}
	if r.Prefix != "" {
		input.KeyConditionExpression = aws.String("pk = :pk AND begins_with(sk, :prefix)")
		input.ExpressionAttributeValues[":prefix"] = &types.AttributeValueMemberS{Value: r.Prefix}
	}
	if after != "" {
		input.ExclusiveStartKey = keyAttributes(store.Key{PK: r.PK, SK: after})
	}
	return input, nil
}

// startKey returns the sort key that a read of r starts behind, "" for none, and whether r is empty whatever the
// partition holds. An After outside the prefix is before all of its keys or beyond them.
func startKey(r store.Range) (after string, empty bool) {
	if r.After == "" || strings.HasPrefix(r.After, r.Prefix) {
		return r.After, false
	}
	beyond := r.After > r.Prefix
	if r.Backward {
		beyond = r.After < r.Prefix
	}
	return "", beyond
}
