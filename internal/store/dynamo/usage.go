package dynamo

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
)

// Usage is what one answered request consumed, in DynamoDB's capacity units. DynamoDB Local miscounts transactions of
// several items; see WriteUnits.
type Usage struct {
	Request     string // as DynamoDB calls it: "GetItem", "TransactWriteItems"
	Read, Write float64
}

// WriteUnits returns the write units that a Write of ops consumes by DynamoDB's rule: one for every kilobyte begun of
// every item, and twice that in a transaction. For a Check that is the most it can be. A Put that replaces a larger
// item is charged for that one, a Delete or Check for the item that is there: let op.Item be it, or it counts as its
// key.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
func WriteUnits(ops ...store.Op) float64 {
	ops = meaningful(ops)
	const kilobyte = 1024
	units := 0
	for _, op := range ops {
		units += max(1, (itemBytes(op.Item)+kilobyte-1)/kilobyte)
	}
	if transactional(ops) {
		units *= 2
	}
	return float64(units)
}

// itemBytes is the size of an item as DynamoDB counts it: names and values of all attributes. A number takes a byte for
// two digits, trailing zeros aside, and one more.
func itemBytes(i store.Item) int {
	size := len(attrPK) + len(i.PK) + len(attrSK) + len(i.SK)
	size += len(attrVersion) + numberBytes(i.Version) + len(attrValue) + len(i.Value)
	if !i.Expires.IsZero() {
		size += len(attrExpires) + numberBytes(seconds(i.Expires))
	}
	return size
}

func numberBytes(n int64) int { return (len(strings.TrimRight(number(n).Value, "0"))+1)/2 + 1 }

// report says whether DynamoDB is to say what a request consumed.
func (s *Store) report() types.ReturnConsumedCapacity {
	if s.options.Consumed == nil {
		return types.ReturnConsumedCapacityNone
	}
	return types.ReturnConsumedCapacityTotal
}

func (s *Store) readUnits(request string, c *types.ConsumedCapacity) {
	if s.options.Consumed != nil && c != nil {
		s.options.Consumed(Usage{Request: request, Read: aws.ToFloat64(c.CapacityUnits)})
	}
}

func (s *Store) writeUnits(request string, tables ...types.ConsumedCapacity) {
	if s.options.Consumed == nil {
		return
	}
	used := Usage{Request: request}
	for _, c := range tables {
		used.Write += aws.ToFloat64(c.CapacityUnits)
	}
	s.options.Consumed(used)
}
