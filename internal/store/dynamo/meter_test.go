package dynamo_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
)

// meter is a store that writes down the requests it makes and what they consume: reads as the server counts them,
// writes by DynamoDB's rule, because the server miscounts transactions.
type meter struct {
	store.Store
	plain store.Store // the same table, unwatched
	mu    sync.Mutex
	lines []string
	used  dynamo.Usage
}

func newMeter(url, table string) *meter {
	m := &meter{plain: dynamo.New(connect(url), table, dynamo.Options{})}
	m.Store = dynamo.New(connect(url, m.watch), table, dynamo.Options{Consumed: func(u dynamo.Usage) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.used.Read += u.Read
	}})
	return m
}

// Write counts what ops consume, given the items that they replace, remove or check.
func (m *meter) Write(ctx context.Context, ops ...store.Op) error {
	charged := slices.Clone(ops)
	for i, op := range ops {
		was, err := m.plain.Get(ctx, op.Item.Key, store.Strong)
		if err == nil && (op.Kind != store.OpPut || len(was.Value) > len(op.Item.Value)) {
			charged[i].Item = was
		}
	}
	m.mu.Lock()
	m.used.Write += dynamo.WriteUnits(charged...)
	m.mu.Unlock()
	return m.Store.Write(ctx, ops...)
}

// watch has the SDK show every request to m, as the table of the package comment names them.
func (m *meter) watch(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("meter", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			m.mu.Lock()
			m.lines = append(m.lines, describe(in.Parameters)...)
			m.mu.Unlock()
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	})
}

// describe says which items a request is about, under which conditions and how consistently, a line for each item.
func describe(input any) []string {
	switch in := input.(type) {
	case *dynamodb.GetItemInput:
		return []string{fmt.Sprintf("Get    %s, %s", where(in.Key), consistency(in.ConsistentRead))}
	case *dynamodb.QueryInput:
		bounds := text(in.ExpressionAttributeValues[":pk"])
		if prefix, ok := in.ExpressionAttributeValues[":prefix"]; ok {
			bounds += " / " + text(prefix) + "*"
		}
		if in.Limit != nil {
			bounds += fmt.Sprintf(", limit %d", *in.Limit)
		}
		if in.ExclusiveStartKey != nil {
			bounds += ", next page"
		}
		return []string{fmt.Sprintf("Query  %s, %s", bounds, consistency(in.ConsistentRead))}
	case *dynamodb.PutItemInput:
		return []string{"Put    " + where(in.Item)}
	case *dynamodb.TransactWriteItemsInput:
		var lines []string
		for _, item := range in.TransactItems {
			switch {
			case item.Put != nil:
				lines = append(lines, "Put    "+where(item.Put.Item)+condition(item.Put.ConditionExpression))
			case item.Delete != nil:
				lines = append(lines, "Delete "+where(item.Delete.Key)+condition(item.Delete.ConditionExpression))
			default:
				lines = append(lines, "Check  "+where(item.ConditionCheck.Key)+condition(item.ConditionCheck.ConditionExpression))
			}
		}
		return lines
	}
	return []string{fmt.Sprintf("%T", input)}
}

func condition(expression *string) string {
	switch e := aws.ToString(expression); {
	case e == "":
		return ""
	case strings.HasPrefix(e, "attribute_not_exists(pk)"):
		return ", if absent"
	case strings.HasPrefix(e, "v = :v"):
		return ", if unchanged"
	default:
		return ", if " + e
	}
}

func text(a types.AttributeValue) string { return a.(*types.AttributeValueMemberS).Value }

func where(attributes map[string]types.AttributeValue) string {
	return text(attributes["pk"]) + " / " + text(attributes["sk"])
}

func consistency(strong *bool) string {
	if aws.ToBool(strong) {
		return "strong"
	}
	return "eventual"
}

// names replaces what the test made up by what it stands for.
var names = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`com\.example\.shop`), "{app}"},
	{regexp.MustCompile(`EVENT#[0-9A-Z]{26}`), "EVENT#{id}"},
	{regexp.MustCompile(`01R`), "{rollout}"},
	{regexp.MustCompile(`TOKEN#[0-9a-f]{64}`), "TOKEN#{hash}"},
	{regexp.MustCompile(`BUNDLE#[0-9.]+`), "BUNDLE#{version}"},
	{regexp.MustCompile(`CHANNEL#[a-z0-9]+`), "CHANNEL#{name}"},
	{regexp.MustCompile(`TOKENS / [a-z]+`), "TOKENS / {name}"},
	{regexp.MustCompile(`dev-[0-9]+`), "{device}"},
	{regexp.MustCompile(`telemetry`), "{stream}"},
	{regexp.MustCompile(`\d\d#\d{10}#\d#s00`), "{phase}#{hour}#{arm}#{shard}"},
	{regexp.MustCompile(`s00`), "{shard}"},
	{regexp.MustCompile(`(leaf|patch)#[0-9a-f]{16}`), "$1#{n}"},
	{regexp.MustCompile(`(verdict|frame)#\d{13}-[0-9a-f]{8}`), "$1#{ms}-{digest}"},
	{regexp.MustCompile(`(frame#\S+)#\d\d`), "$1#{part}"},
}

// table renders a pattern: its name and units, and below them its requests.
func (m *meter) table(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out strings.Builder
	title := fmt.Sprintf("%-78s %7s %7s", name, units(m.used.Read), units(m.used.Write))
	out.WriteString(strings.TrimRight(title, " ") + "\n")
	var lines []string
	for _, line := range m.lines {
		for _, n := range names {
			line = n.pattern.ReplaceAllString(line, n.name)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	for len(lines) > 0 {
		same := 1
		for same < len(lines) && lines[same] == lines[0] {
			same++
		}
		times := ""
		if same > 1 {
			times = fmt.Sprintf(" (%d×)", same)
		}
		fmt.Fprintf(&out, "  %s%s\n", lines[0], times)
		lines = lines[same:]
	}
	return out.String()
}

func units(n float64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// TestWriteUnits compares the rule with the server's own count, where that is right: for one item.
func TestWriteUnits(t *testing.T) {
	var used dynamo.Usage
	s := dynamo.New(connect(endpoint(t)), newTable(t), dynamo.Options{Consumed: func(u dynamo.Usage) { used = u }})
	for _, size := range []int{0, 1, 900, 980, 990, 995, 1000, 1005, 1010, 1024, 2000, 2030, 2040, 100_000} {
		for _, version := range []int64{1, 99, 100, 12345, 1 << 62} {
			item := store.Item{
				Key: store.Key{PK: "P", SK: "S"}, Version: version, Value: make([]byte, size),
				Expires: noon.AddDate(90, 0, int(version%100)),
			}
			for _, ops := range [][]store.Op{
				{store.Delete(item.Key, store.Always())},
				{store.Put(item, store.Absent())},
				{store.Put(item, store.Always())},
			} {
				if err := s.Write(t.Context(), ops...); err != nil {
					t.Fatal(err)
				}
				if want := dynamo.WriteUnits(ops...); ops[0].Kind == store.OpPut && used.Write != want {
					t.Errorf("%s of %d bytes at version %d: %v units, want %v", used.Request, size, version, used.Write, want)
				}
			}
		}
	}
	if got := dynamo.WriteUnits(store.Check(store.Key{PK: "P", SK: "S"}, store.Always())); got != 0 {
		t.Errorf("a check of nothing: %v units", got)
	}
}
