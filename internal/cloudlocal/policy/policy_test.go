package policy_test

import (
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

const (
	table   = "arn:aws:dynamodb:us-east-1:000000000000:table/palier"
	getItem = "dynamodb:GetItem"
	keys    = "dynamodb:LeadingKeys"
)

type conditions = map[string]map[string][]string

func allow(actions, resources string, when conditions) policy.Statement {
	return statement(policy.Allow, actions, resources, when)
}

func deny(actions, resources string, when conditions) policy.Statement {
	return statement(policy.Deny, actions, resources, when)
}

func statement(effect, actions, resources string, when conditions) policy.Statement {
	return policy.Statement{
		Effect: effect, Actions: strings.Fields(actions), Resources: strings.Fields(resources), Conditions: when,
	}
}

func TestActionsAndResources(t *testing.T) {
	bucket := "arn:aws:s3:::state"
	for _, c := range []struct {
		name             string
		statements       []policy.Statement
		action, resource string
		want             bool
	}{
		{"nothing said", nil, getItem, table, false},
		{"exact", []policy.Statement{allow(getItem, table, nil)}, getItem, table, true},
		{"other action", []policy.Statement{allow(getItem, table, nil)}, "dynamodb:PutItem", table, false},
		{"other resource", []policy.Statement{allow(getItem, table, nil)}, getItem, table + "2", false},
		{"one of several", []policy.Statement{allow("dynamodb:Query dynamodb:GetItem", "a "+table, nil)}, getItem, table, true},
		{"two statements", []policy.Statement{allow("s3:GetObject", "*", nil), allow(getItem, table, nil)}, getItem, table, true},
		{"halves of two statements", []policy.Statement{allow(getItem, bucket, nil), allow("s3:GetObject", table, nil)}, getItem, table, false},
		{"action in other case", []policy.Statement{allow("DynamoDB:getitem", table, nil)}, getItem, table, true},
		{"resource in other case", []policy.Statement{allow(getItem, strings.ToUpper(table), nil)}, getItem, table, false},
		{"star in the action", []policy.Statement{allow("dynamodb:*Item", table, nil)}, getItem, table, true},
		{"star in the action, no match", []policy.Statement{allow("dynamodb:*Items", table, nil)}, getItem, table, false},
		{"question mark", []policy.Statement{allow("dynamodb:?etItem", table, nil)}, getItem, table, true},
		{"question mark is one character", []policy.Statement{allow("dynamodb:Ge?tItem", table, nil)}, getItem, table, false},
		{"lone star", []policy.Statement{allow("*", "*", nil)}, getItem, table, true},
		{"star at the end", []policy.Statement{allow(getItem, "arn:aws:dynamodb:us-east-1:000000000000:table/*", nil)}, getItem, table, true},
		{"star over slashes", []policy.Statement{allow("s3:GetObject", bucket+"/*", nil)}, "s3:GetObject", bucket + "/dead/2026/a", true},
		{"objects are not the bucket", []policy.Statement{allow("s3:ListBucket", bucket+"/*", nil)}, "s3:ListBucket", bucket, false},
		{"prefix", []policy.Statement{allow("s3:GetObject", bucket+"/snapshots/*", nil)}, "s3:GetObject", bucket + "/dead/a", false},
		{"star does not cross a colon", []policy.Statement{allow(getItem, "arn:aws:dynamodb:*:table/palier", nil)}, getItem, table, false},
		{"star for a part", []policy.Statement{allow(getItem, "arn:aws:dynamodb:*:*:table/palier", nil)}, getItem, table, true},
		{"not an ARN", []policy.Statement{allow(getItem, "table", nil)}, getItem, "table", true},
		{"deny wins after", []policy.Statement{allow("*", "*", nil), deny(getItem, table, nil)}, getItem, table, false},
		{"deny wins before", []policy.Statement{deny("dynamodb:*", "*", nil), allow(getItem, table, nil)}, getItem, table, false},
		{"deny of another", []policy.Statement{allow("*", "*", nil), deny("dynamodb:Put*", "*", nil)}, getItem, table, true},
		{"misspelt effect does not allow", []policy.Statement{statement("allow", "*", "*", nil)}, getItem, table, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := policy.Allowed(c.statements, policy.Request{Action: c.action, Resource: c.resource})
			if got != c.want {
				t.Errorf("Allowed = %v, want %v", got, c.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	when := func(operator string, wanted ...string) conditions {
		return conditions{operator: {keys: wanted}}
	}
	for _, c := range []struct {
		name   string
		when   conditions
		values []string // nil = the request lacks the key
		want   bool
	}{
		{"equal", when("StringEquals", "LIVE"), []string{"LIVE"}, true},
		{"not equal", when("StringEquals", "LIVE"), []string{"APPS"}, false},
		{"equal means case", when("StringEquals", "LIVE"), []string{"live"}, false},
		{"equal whatever the case", when("StringEqualsIgnoreCase", "LIVE"), []string{"live"}, true},
		{"equal knows no star", when("StringEquals", "APP#*"), []string{"APP#a"}, false},
		{"key missing", when("StringEquals", "LIVE"), nil, false},
		{"two values without a set operator", when("StringEquals", "a", "b"), []string{"a", "b"}, false},
		{"like", when("StringLike", "APP#*"), []string{"APP#com.example"}, true},
		{"like, other prefix", when("StringLike", "APP#*"), []string{"APPS"}, false},
		{"like, key missing", when("StringLike", "*"), nil, false},
		{"all match", when("ForAllValues:StringLike", "APP#*", "LIVE"), []string{"APP#a", "LIVE"}, true},
		{"one does not", when("ForAllValues:StringLike", "APP#*", "LIVE"), []string{"APP#a", "TOKEN#x"}, false},
		{"all of none", when("ForAllValues:StringLike", "APP#*"), []string{}, true},
		{"all, key missing", when("ForAllValues:StringLike", "APP#*"), nil, true},
		{"some match", when("ForAnyValue:StringEquals", "a"), []string{"b", "a"}, true},
		{"none match", when("ForAnyValue:StringEquals", "a"), []string{"b", "c"}, false},
		{"some of none", when("ForAnyValue:StringEquals", "a"), []string{}, false},
		{"some, key missing", when("ForAnyValue:StringEquals", "a"), nil, false},
		{"ARN", when("ArnLike", "arn:aws:s3:::b/*"), []string{"arn:aws:s3:::b/c"}, true},
		{"ARN equals knows stars", when("ArnEquals", "arn:aws:s3:::b/*"), []string{"arn:aws:s3:::b/c"}, true},
		{"ARN, star at a colon", when("ArnLike", "arn:aws:s3:*b"), []string{"arn:aws:s3:::b"}, false},
		{"bool", when("Bool", "true"), []string{"TRUE"}, true},
		{"unknown operator", when("NumericLessThan", "3"), []string{"1"}, false},
		{"unknown operator on every value", when("ForAllValues:DateLessThan", "3"), nil, false},
		{"name of the key in other case", conditions{"StringEquals": {"DYNAMODB:leadingkeys": {"a"}}}, []string{"a"}, true},
		{"all keys must hold", conditions{"StringEquals": {keys: {"a"}, "aws:other": {"b"}}}, []string{"a"}, false},
		{"all operators must hold", conditions{"StringEquals": {keys: {"a"}}, "StringLike": {keys: {"b*"}}}, []string{"a"}, false},
		{"no value wanted", when("StringEquals"), []string{"a"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := policy.Request{Action: getItem, Resource: table}
			if c.values != nil {
				r.Context = map[string][]string{keys: c.values}
			}
			if got := policy.Allowed([]policy.Statement{allow(getItem, table, c.when)}, r); got != c.want {
				t.Errorf("Allowed = %v, want %v", got, c.want)
			}
		})
	}
}

func TestDenyWithConditions(t *testing.T) {
	r := policy.Request{Action: getItem, Resource: table, Context: map[string][]string{keys: {"TOKEN#x"}}}
	for _, c := range []struct {
		name string
		when conditions
		want bool
	}{
		{"that hold", conditions{"StringLike": {keys: {"TOKEN#*"}}}, false},
		{"that do not hold", conditions{"StringLike": {keys: {"APP#*"}}}, true},
		{"that nobody understands", conditions{"NumericEquals": {keys: {"1"}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			statements := []policy.Statement{allow("*", "*", nil), deny(getItem, "*", c.when)}
			if got := policy.Allowed(statements, r); got != c.want {
				t.Errorf("Allowed = %v, want %v", got, c.want)
			}
		})
	}
}

func TestManyStarsStayCheap(t *testing.T) {
	s := allow(strings.Repeat("*a", 200)+"b", "*", nil)
	if policy.Allowed([]policy.Statement{s}, policy.Request{Action: strings.Repeat("a", 2000), Resource: table}) {
		t.Error("a pattern that ends in b matched a row of a")
	}
}
