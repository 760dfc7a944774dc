package store

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestExpandingStops(t *testing.T) {
	text := strings.Repeat("again and ", 10_000)
	value, err := compress([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := expandUpTo(value, int64(len(text))); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := expandUpTo(value, int64(len(text))-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
}

// TestSnapshotLimits lets the Snapshot of an app grow, with and without a place for large ones.
func TestSnapshotLimits(t *testing.T) {
	k := snapshotKey("a.b")
	keyBytes := len(k.PK) + len(k.SK)
	zeros := make([]byte, maxSnapshotBytes+1)
	for _, c := range []struct {
		what        string
		large       bool
		text, value int
		most, size  int
	}{
		{"small", false, 1000, 1000, 0, 0},
		{"an item's worth", false, 1 << 20, MaxItemBytes - keyBytes, 0, 0},
		{"more than an item's worth", false, 1 << 20, MaxItemBytes - keyBytes + 1, MaxItemBytes, MaxItemBytes + 1},
		{"expands to too much", false, maxSpecBytes + 1, 1000, maxSpecBytes, maxSpecBytes + 1},
		{"more than an item's worth, as an object", true, 1 << 20, MaxItemBytes, 0, 0},
		{"an object's worth", true, maxSpecBytes, maxSnapshotBytes, 0, 0},
		{"more than an object's worth", true, maxSpecBytes, maxSnapshotBytes + 1, maxSnapshotBytes, maxSnapshotBytes + 1},
		{"an object that expands to too much", true, maxSpecBytes + 1, 1000, maxSpecBytes, maxSpecBytes + 1},
	} {
		var a Apps
		if c.large {
			a.Large = struct{ Blobs }{}
		}
		most, size := a.excess(c.text, Item{Key: k, Value: zeros[:c.value]})
		if most != c.most || size != c.size {
			t.Errorf("%s: %d of %d, want %d of %d", c.what, size, most, c.size, c.most)
		}
	}
}

func TestReferencesAreNoContent(t *testing.T) {
	key := objectKey("com.example.shop", 7, []byte("data"))
	if want := "snapshots/com.example.shop/7-3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"; key != want {
		t.Errorf("key %s, want %s", key, want)
	}
	if got := reference([]byte(referenceMark + key)); got != key {
		t.Errorf("reference %q", got)
	}
	for _, content := range []string{"", "{}", `{"object ":1}`, "\x1f\x8bobject x", "object"} {
		if got := reference([]byte(content)); got != "" {
			t.Errorf("%q refers to %q", content, got)
		}
	}
}

// lagging is a Store of one item, of which eventual reads find the former state.
type lagging struct {
	Store
	former, item Item
}

func (l lagging) Get(_ context.Context, _ Key, c Consistency) (Item, error) {
	if c == Eventual {
		return l.former, nil
	}
	return l.item, nil
}

// onlyObject is a Blobs with one object.
type onlyObject struct {
	Blobs
	key  string
	data []byte
}

func (o onlyObject) Get(_ context.Context, key string) ([]byte, error) {
	if key != o.key {
		return nil, errors.New("no such object: " + key)
	}
	return o.data, nil
}

// TestALargeSnapshotIsFoundWhileReadsLag replaces a large Snapshot by another, which removes the first one's object.
func TestALargeSnapshotIsFoundWhileReadsLag(t *testing.T) {
	data := []byte("{}")
	at := func(revision int64, key string) Item {
		return Item{Key: snapshotKey("a.b"), Version: revision, Value: []byte(referenceMark + key)}
	}
	key := objectKey("a.b", 2, data)
	apps := Apps{Store: lagging{former: at(1, objectKey("a.b", 1, nil)), item: at(2, key)}, Large: onlyObject{key: key, data: data}}
	snapshot, err := apps.Snapshot(t.Context(), "a.b")
	if err != nil || snapshot.Revision != 2 {
		t.Fatalf("revision %d, %v", snapshot.Revision, err)
	}
	if text, err := snapshot.Raw(); err != nil || string(text) != "{}" {
		t.Errorf("%q, %v", text, err)
	}
}
