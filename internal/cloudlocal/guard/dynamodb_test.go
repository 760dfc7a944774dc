package guard_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// onTable is one caller's statement: actions on a table, for partition keys that match the patterns.
func onTable(arn string, keys []string, actions ...string) policy.Statement {
	return policy.Statement{
		Effect: policy.Allow, Actions: actions, Resources: []string{arn},
		Conditions: map[string]map[string][]string{"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys}},
	}
}

// operations are the calls on items, all about keys of A# or B#.
func operations(table string) map[string]func(context.Context, *dynamodb.Client) error {
	put := func(pk string) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{TableName: &table, Item: key(pk, "s")}}
	}
	return map[string]func(context.Context, *dynamodb.Client) error{
		"GetItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: key("A#1", "s")})
			return err
		},
		"PutItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: key("A#1", "s")})
			return err
		},
		"DeleteItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &table, Key: key("A#1", "s")})
			return err
		},
		"UpdateItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &table, Key: key("A#1", "s")})
			return err
		},
		"Query": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.Query(ctx, &dynamodb.QueryInput{
				TableName: &table, KeyConditionExpression: aws.String("begins_with(sk, :s) AND #k = :p"),
				ExpressionAttributeNames: map[string]string{"#k": "pk"},
				ExpressionAttributeValues: map[string]types.AttributeValue{
					":p": &types.AttributeValueMemberS{Value: "A#1"}, ":s": &types.AttributeValueMemberS{Value: "s"},
				},
			})
			return err
		},
		"BatchGetItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
				table: {Keys: []map[string]types.AttributeValue{key("A#1", "s"), key("B#1", "s"), key("B#2", "s")}},
			}})
			return err
		},
		"BatchWriteItem": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{
				table: {
					{PutRequest: &types.PutRequest{Item: key("A#3", "s")}},
					{DeleteRequest: &types.DeleteRequest{Key: key("B#3", "s")}},
				},
			}})
			return err
		},
		"TransactGetItems": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.TransactGetItems(ctx, &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
				{Get: &types.Get{TableName: &table, Key: key("B#1", "s")}},
			}})
			return err
		},
		"TransactWriteItems": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
				put("A#5"),
				put("A#6"),
				{Delete: &types.Delete{TableName: &table, Key: key("B#7", "s")}},
				{Update: &types.Update{
					TableName: &table, Key: key("B#8", "s"), UpdateExpression: aws.String("SET n = :n"),
					ExpressionAttributeValues: map[string]types.AttributeValue{":n": &types.AttributeValueMemberN{Value: "1"}},
				}},
				{ConditionCheck: &types.ConditionCheck{
					TableName: &table, Key: key("LIVE", "s"), ConditionExpression: aws.String("attribute_not_exists(pk)"),
				}},
			}})
			return err
		},
		"DescribeTable": func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
			return err
		},
	}
}

// used says what an operation of operations needs, as "action key count".
var used = map[string][]string{
	"GetItem":        {"GetItem A# 1"},
	"PutItem":        {"PutItem A# 1"},
	"DeleteItem":     {"DeleteItem A# 1"},
	"UpdateItem":     {"UpdateItem A# 1"},
	"Query":          {"Query A# 1"},
	"BatchGetItem":   {"BatchGetItem A# 1", "BatchGetItem B# 1"},
	"BatchWriteItem": {"BatchWriteItem A# 1", "BatchWriteItem B# 1"},
	"TransactGetItems": {
		"GetItem B# 1",
	},
	"TransactWriteItems": {"ConditionCheckItem LIVE 1", "DeleteItem B# 1", "PutItem A# 2", "UpdateItem B# 1"},
	"DescribeTable":      {"DescribeTable  1"},
}

func TestDynamoDBNeeds(t *testing.T) {
	table, arn := newTable(t)
	for name, call := range operations(table) {
		t.Run(name, func(t *testing.T) {
			p := started(t, guard.Options{Service: guard.DynamoDB, Upstream: componenttest.DynamoDB(t).URL})
			if err := call(t.Context(), dynamoClient(p, "ResolveFunction")); err != nil {
				t.Fatal(err)
			}
			if got := usesOf(t, p, "ResolveFunction", "dynamodb:", arn); !slices.Equal(got, used[name]) {
				t.Errorf("uses %q, want %q", got, used[name])
			}
		})
	}
}

// usesOf is the record of the one caller, as "action key count", all on resource.
func usesOf(t *testing.T, p *guard.Proxy, caller, service, resource string) (list []string) {
	t.Helper()
	for _, use := range p.Uses() {
		if use.Caller != caller || use.Resource != resource {
			t.Errorf("use of %s by %s, want of %s by %s", use.Resource, use.Caller, resource, caller)
		}
		list = append(list, strings.TrimPrefix(use.Action, service)+" "+use.LeadingKey+" "+strconv.FormatInt(use.Count, 10))
	}
	return list
}

// Each operation is let through with exactly the permissions that the record names, and with none of them missing.
func TestDynamoDBLetsThroughWhatPoliciesAllow(t *testing.T) {
	table, arn := newTable(t)
	var rules policies
	p := started(t, guard.Options{
		Service: guard.DynamoDB, Upstream: componenttest.DynamoDB(t).URL, Authorize: rules.authorize,
	})
	client := dynamoClient(p, "AdminFunction")
	for name, call := range operations(table) {
		t.Run(name, func(t *testing.T) {
			var statements []policy.Statement
			for _, entry := range used[name] {
				fields := strings.Split(entry, " ")
				keys := []string{fields[1] + "*"}
				if strings.HasPrefix(name, "Batch") {
					keys = []string{"A#*", "B#*"} // a batch is one question with all its keys
				}
				statements = append(statements, onTable(arn, keys, "dynamodb:"+fields[0]))
			}
			rules.allow("AdminFunction", statements...)
			if err := call(t.Context(), client); err != nil {
				t.Errorf("with all permissions: %v", err)
			}
			before := p.Uses()
			for i := range statements {
				if strings.HasPrefix(name, "Batch") && i > 0 {
					continue // the statements are the same
				}
				rules.allow("AdminFunction", slices.Delete(slices.Clone(statements), i, i+1)...)
				if strings.HasPrefix(name, "Batch") {
					rules.allow("AdminFunction", onTable(arn, []string{"A#*"}, "dynamodb:"+name))
				}
				if code := codeOf(call(t.Context(), client)); code != "AccessDeniedException" {
					t.Errorf("without %v %v: error code %q", statements[i].Actions, statements[i].Conditions, code)
				}
			}
			if !slices.Equal(p.Uses(), before) {
				t.Error("refused calls were recorded as uses")
			}
		})
	}
}

func TestUnsignedAndUnreadableCallsAreRefused(t *testing.T) {
	table, arn := newTable(t)
	var rules policies
	rules.allow("AdminFunction", onTable(arn, []string{"*"}, "dynamodb:*"))
	p := started(t, guard.Options{
		Service: guard.DynamoDB, Upstream: componenttest.DynamoDB(t).URL, Authorize: rules.authorize,
	})
	get := operations(table)["GetItem"]
	if code := codeOf(get(t.Context(), dynamoClient(p, "SomebodyElse"))); code != "AccessDeniedException" {
		t.Errorf("another caller: error code %q", code)
	}
	anonymous := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &p.URL, Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, RetryMaxAttempts: 1,
	})
	if code := codeOf(get(t.Context(), anonymous)); code != "AccessDeniedException" {
		t.Errorf("an unsigned call: error code %q", code)
	}
	_, err := dynamoClient(p, "AdminFunction").Query(t.Context(), &dynamodb.QueryInput{
		TableName: &table, KeyConditionExpression: aws.String("sk = :s"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":s": &types.AttributeValueMemberS{Value: "s"}},
	})
	if code := codeOf(err); code != "ValidationException" {
		t.Errorf("a query without a partition key: error code %q", code)
	}
	if uses := p.Uses(); len(uses) > 0 {
		t.Errorf("refused calls were recorded as uses: %v", uses)
	}
}

// codeOf is the code of an AWS error; "" for no error, and for another one its text.
func codeOf(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}
