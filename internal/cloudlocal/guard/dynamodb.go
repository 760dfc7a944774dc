package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// Context keys of DynamoDB's policies. Source: "Using IAM policy conditions for fine-grained access control" in the
// Amazon DynamoDB Developer Guide.
const (
	leadingKeys        = "dynamodb:LeadingKeys"
	enclosingOperation = "dynamodb:EnclosingOperation"
)

// dynamo is DynamoDB's dialect.
type dynamo struct{ options Options }

// attribute is a value in DynamoDB's JSON; only strings are keys here.
type attribute struct{ S *string }

// attributes are decoded only as far as the partition key needs it.
type attributes map[string]json.RawMessage

// access is what the requests have in common with the parts of a transaction.
type access struct {
	TableName, IndexName      string
	Key, Item                 attributes
	KeyConditionExpression    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues attributes
}

// dynamoBody is the union of the requests that touch items.
type dynamoBody struct {
	access
	TransactItems []part
	RequestItems  map[string]json.RawMessage // of the batches, by table
}

// part is one part of a transaction: one of its members is set.
type part struct{ Get, Put, Delete, Update, ConditionCheck *access }

// only returns what the part does and the action that IAM knows it by.
func (p *part) only() (action string, a *access) {
	switch {
	case p.Get != nil:
		return "GetItem", p.Get
	case p.Put != nil:
		return "PutItem", p.Put
	case p.Delete != nil:
		return "DeleteItem", p.Delete
	case p.Update != nil:
		return "UpdateItem", p.Update
	}
	return "ConditionCheckItem", p.ConditionCheck
}

func (dynamo) readsBody() bool { return true }

func (d dynamo) read(r *http.Request, _ string, body []byte) (string, []need, error) {
	operation, err := target(r, "DynamoDB_20120810.")
	if err != nil {
		return "", nil, err
	}
	var b dynamoBody
	if err := json.Unmarshal(body, &b); err != nil {
		return operation, nil, fmt.Errorf("decode %s: %w", operation, err)
	}
	needs, err := d.needs(operation, &b)
	if err != nil {
		return operation, nil, fmt.Errorf("read %s: %w", operation, err)
	}
	return operation, needs, nil
}

func (d dynamo) needs(operation string, b *dynamoBody) ([]need, error) {
	switch operation {
	case "GetItem", "PutItem", "DeleteItem", "UpdateItem", "Query":
		n, err := d.item(operation, &b.access)
		return []need{n}, err
	case "TransactWriteItems", "TransactGetItems":
		return d.transaction(operation, b)
	case "BatchGetItem":
		return d.batchGet(b)
	case "BatchWriteItem":
		return d.batchWrite(b)
	case "ListTables", "DescribeLimits", "DescribeEndpoints":
		return []need{{Request: policy.Request{Action: "dynamodb:" + operation, Resource: "*"}, class: "*"}}, nil
	}
	return []need{d.need(operation, &b.access)}, nil
}

// need is an operation on a table without regard to keys.
func (d dynamo) need(operation string, a *access) need {
	resource := a.TableName
	if !strings.HasPrefix(resource, "arn:") {
		resource = fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", d.options.Region, d.options.Account, a.TableName)
	}
	if a.IndexName != "" {
		resource += "/index/" + a.IndexName
	}
	return need{Request: policy.Request{Action: "dynamodb:" + operation, Resource: resource}, class: resource}
}

// keyed is an operation on items of the given partition keys; the record files it under the first one's class.
func (d dynamo) keyed(operation string, a *access, keys ...string) need {
	n := d.need(operation, a)
	n.Context = map[string][]string{leadingKeys: keys}
	if len(keys) > 0 {
		n.key = upTo(keys[0], "#")
	}
	return n
}

// item is an operation that names one partition key.
func (d dynamo) item(operation string, a *access) (need, error) {
	key, err := d.partitionKey(a)
	return d.keyed(operation, a, key), err
}

// partitionKey finds the partition key of an item, a key or a query.
func (d dynamo) partitionKey(a *access) (string, error) {
	switch {
	case a.Key != nil:
		return a.Key.text(d.options.PartitionKey)
	case a.Item != nil:
		return a.Item.text(d.options.PartitionKey)
	}
	for _, equation := range equations.FindAllStringSubmatch(a.KeyConditionExpression, -1) {
		name, value := equation[1], equation[2]
		if strings.HasPrefix(name, "#") {
			name = a.ExpressionAttributeNames[name]
		}
		if name == d.options.PartitionKey {
			return a.ExpressionAttributeValues.text(value)
		}
	}
	return "", fmt.Errorf("no value for the partition key %q", d.options.PartitionKey)
}

// equations finds "name = :value" in a key condition.
var equations = regexp.MustCompile(`([#\w.-]+)\s*=\s*(:\w+)`)

// text is the string value of an attribute.
func (a attributes) text(name string) (string, error) {
	var value attribute
	if err := json.Unmarshal(a[name], &value); err != nil || value.S == nil {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return *value.S, nil
}

// transaction takes a transaction apart: IAM knows only its parts.
func (d dynamo) transaction(operation string, b *dynamoBody) ([]need, error) {
	needs := make([]need, 0, len(b.TransactItems))
	for _, part := range b.TransactItems {
		action, a := part.only()
		if a == nil {
			return nil, errors.New("a part of the transaction is not known here")
		}
		n, err := d.item(action, a)
		if err != nil {
			return nil, err
		}
		n.Context[enclosingOperation] = []string{operation}
		needs = append(needs, n)
	}
	return needs, nonEmpty(needs)
}

// batchGet needs one permission per table, for all the keys at once.
func (d dynamo) batchGet(b *dynamoBody) ([]need, error) {
	var needs []need
	for table, raw := range b.RequestItems {
		var wanted struct{ Keys []attributes }
		if err := json.Unmarshal(raw, &wanted); err != nil {
			return nil, err
		}
		more, err := d.batch("BatchGetItem", table, wanted.Keys)
		if err != nil {
			return nil, err
		}
		needs = append(needs, more...)
	}
	return needs, nonEmpty(needs)
}

// batchWrite is batchGet's counterpart.
func (d dynamo) batchWrite(b *dynamoBody) ([]need, error) {
	var needs []need
	for table, raw := range b.RequestItems {
		var writes []struct {
			PutRequest    struct{ Item attributes }
			DeleteRequest struct{ Key attributes }
		}
		if err := json.Unmarshal(raw, &writes); err != nil {
			return nil, err
		}
		items := make([]attributes, len(writes))
		for i, w := range writes {
			items[i] = w.PutRequest.Item
			if items[i] == nil {
				items[i] = w.DeleteRequest.Key
			}
		}
		more, err := d.batch("BatchWriteItem", table, items)
		if err != nil {
			return nil, err
		}
		needs = append(needs, more...)
	}
	return needs, nonEmpty(needs)
}

// batch splits a batch by the class of its keys, so that the record has each. Together they allow what AWS would: its
// one question has all the keys, and ForAllValues asks for each of them.
func (d dynamo) batch(operation, table string, items []attributes) ([]need, error) {
	var needs []need
	seen := map[string]bool{}
	keys := make([]string, 0, len(items))
	for _, item := range items {
		key, err := item.text(d.options.PartitionKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		if class := upTo(key, "#"); !seen[class] {
			seen[class] = true
			n := d.keyed(operation, &access{TableName: table}, keys...)
			n.key = class
			needs = append(needs, n)
		}
	}
	return needs, nil
}

func nonEmpty(needs []need) error {
	if len(needs) == 0 {
		return errors.New("it names no item")
	}
	return nil
}

func (dynamo) malformed(err error) answer {
	return jsonError(json10, "com.amazon.coral.validate#ValidationException", err.Error(), nil)
}

func (d dynamo) denied(caller string, n need) answer {
	return jsonError(json10, "com.amazon.coral.service#AccessDeniedException", notAuthorized(d.options.Account, caller, n), nil)
}

// throttled are the errors of a partition, a table and an account that are asked too much; a transaction may also be
// cancelled because one of its items is. Source: "Error handling with DynamoDB" in the Amazon DynamoDB Developer Guide.
func (dynamo) throttled(c *call) []answer {
	const tooMuch = "Throughput exceeds the current capacity of your table or index. Please try again shortly."
	answers := []answer{jsonError(json10, dynamoErrors+"ProvisionedThroughputExceededException", tooMuch, nil)}
	if strings.HasPrefix(c.operation, "Transact") {
		return append(answers, cancelled(len(c.needs), "ThrottlingError", tooMuch))
	}
	return append(answers, jsonError(json10, "com.amazon.coral.availability#ThrottlingException", tooMuch, nil))
}

// conflicted is the answer to a transaction that meets another one.
func conflicted(c *call) answer {
	return cancelled(len(c.needs), "TransactionConflict", "Transaction is ongoing for the item")
}

const dynamoErrors = "com.amazonaws.dynamodb.v20120810#"

// cancelled is the answer to a transaction of n parts whose first one stands in the way.
func cancelled(n int, code, message string) answer {
	type reason struct {
		Code    string
		Message string `json:",omitempty"`
	}
	reasons, codes := make([]reason, n), make([]string, n)
	for i := range reasons {
		reasons[i] = reason{Code: "None"}
		if i == 0 {
			reasons[i] = reason{code, message}
		}
		codes[i] = reasons[i].Code
	}
	return jsonError(json10, dynamoErrors+"TransactionCanceledException",
		"Transaction cancelled, please refer cancellation reasons for specific reasons ["+strings.Join(codes, ", ")+"]",
		map[string]any{"CancellationReasons": reasons})
}

// target is the operation in the header that names it in the JSON protocols.
func target(r *http.Request, prefix string) (string, error) {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), prefix)
	if !ok {
		return "", fmt.Errorf("X-Amz-Target %q is not an operation of %s", r.Header.Get("X-Amz-Target"), strings.Trim(prefix, "."))
	}
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/x-amz-json") {
		return "", fmt.Errorf("content type %q is not read here", kind)
	}
	return operation, nil
}
