package dynamo_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
)

// full is an item of so many bytes, as the contract counts them, with the longest keys, version and expiry.
func full(n, size int) store.Item {
	sk := fmt.Sprintf("%04d", n) + strings.Repeat("s", store.MaxSKBytes-4)
	k := store.Key{PK: strings.Repeat("p", store.MaxPKBytes), SK: sk}
	value := bytes.Repeat([]byte{0xab}, size-len(k.PK)-len(k.SK))
	return store.Item{Key: k, Version: 1<<63 - 1, Value: value, Expires: time.Unix(99_999_999_999, 0).UTC()}
}

// TestLargest writes the largest item and the largest transactions that the contract allows, whole and conditional, new
// and over others as large, and reads them back: what DynamoDB counts beside keys and values fits too.
func TestLargest(t *testing.T) {
	s := dynamo.New(connect(endpoint(t)), newTable(t), dynamo.Options{})
	writes := map[string][]store.Item{"one": {full(0, store.MaxItemBytes)}}
	for i := range 10 {
		writes["few"] = append(writes["few"], full(10+i, store.MaxWriteBytes/10))
	}
	for i := range store.MaxWriteItems {
		writes["many"] = append(writes["many"], full(100+i, store.MaxWriteBytes/store.MaxWriteItems))
	}
	for name, items := range writes {
		for _, condition := range []store.Condition{store.Absent(), store.AtVersion(1<<63 - 1), store.Always()} {
			var ops []store.Op
			for _, i := range items {
				ops = append(ops, store.Put(i, condition))
			}
			if err := s.Write(t.Context(), ops...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for _, want := range items {
			got, err := s.Get(t.Context(), want.Key, store.Strong)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %s is back with %d bytes at version %d, %v", name, want.SK[:4], len(got.Value), got.Version, err)
			}
		}
	}
}

// TestImpossibleKeys asks for what no item can be at, which DynamoDB itself refuses: there is nothing.
func TestImpossibleKeys(t *testing.T) {
	s := dynamo.New(connect(endpoint(t)), newTable(t), dynamo.Options{})
	long := strings.Repeat("a", store.MaxSKBytes+1)
	for _, k := range []store.Key{{}, {PK: "a"}, {SK: "a"}, {PK: "a\xff", SK: "a"}, {PK: "a", SK: long}} {
		if _, err := s.Get(t.Context(), k, store.Eventual); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%.20q: %v, want ErrNotFound", k, err)
		}
	}
	for _, pk := range []string{"", "a\xff", strings.Repeat("a", store.MaxPKBytes+1)} {
		if items, err := s.Query(t.Context(), store.Range{PK: pk}, store.Eventual); err != nil || len(items) != 0 {
			t.Errorf("%.20q: %v, %v", pk, items, err)
		}
	}
	for _, r := range []store.Range{{Prefix: "\xff"}, {After: "a\xff"}, {After: long}} {
		r.PK = "a"
		if _, err := s.Query(t.Context(), r, store.Eventual); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%.40q: %v, want ErrInvalid", fmt.Sprint(r), err)
		}
	}
}

// TestExpiredTakeNoPlace has most of a partition expire: every limit is filled from what is left, across pages.
func TestExpiredTakeNoPlace(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := dynamo.New(connect(endpoint(t)), newTable(t), dynamo.Options{Now: func() time.Time { return now }})
	var live []string
	for part := range 2 {
		var ops []store.Op
		for i := range 60 {
			k := store.Key{PK: "P", SK: fmt.Sprintf("%03d", part*60+i)}
			item := store.Item{Key: k, Version: 1, Value: make([]byte, 30_000)}
			if i%7 == 3 {
				live = append(live, item.SK)
			} else {
				item.Expires = now.Add(time.Second)
			}
			ops = append(ops, store.Put(item, store.Absent()))
		}
		if err := s.Write(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	for _, backward := range []bool{false, true} {
		want := slices.Clone(live)
		if backward {
			slices.Reverse(want)
		}
		for limit := range len(live) + 2 {
			got, err := s.Query(t.Context(), store.Range{PK: "P", Limit: limit, Backward: backward}, store.Strong)
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, item := range got {
				keys = append(keys, item.SK)
			}
			n := len(live)
			if limit > 0 {
				n = min(n, limit)
			}
			if !slices.Equal(keys, want[:n]) {
				t.Errorf("limit %d, backward %v: %q, want %q", limit, backward, keys, want[:n])
			}
		}
	}
}

// TestForeignItems has another program write into the table: its items are named and never mistaken for ours.
func TestForeignItems(t *testing.T) {
	client, table := connect(endpoint(t)), newTable(t)
	s := dynamo.New(client, table, dynamo.Options{})
	text := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	number := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
	binary := &types.AttributeValueMemberB{Value: []byte("x")}
	for name, attributes := range map[string]map[string]types.AttributeValue{
		"nothing else":      {},
		"no value":          {"v": number("1")},
		"no version":        {"d": binary},
		"value as text":     {"v": number("1"), "d": text("x")},
		"version as text":   {"v": text("1"), "d": binary},
		"broken version":    {"v": number("1.5"), "d": binary},
		"expiry as text":    {"v": number("1"), "d": binary, "expires": text("soon")},
		"expiry in decimal": {"v": number("1"), "d": binary, "expires": number("0.5")},
	} {
		attributes["pk"], attributes["sk"] = text(name), text("S")
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: attributes}); err != nil {
			t.Fatal(err)
		}
		_, getErr := s.Get(t.Context(), store.Key{PK: name, SK: "S"}, store.Strong)
		_, queryErr := s.Query(t.Context(), store.Range{PK: name}, store.Strong)
		for _, err := range []error{getErr, queryErr} {
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "another program") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
