package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

func TestValuesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.String()).Draw(t, "text")
		if rapid.Bool().Draw(t, "long") {
			want = append(want, strings.Repeat("0123456789", rapid.IntRange(compressFrom/10-2, compressFrom).Draw(t, "times")))
		}
		value, err := encodeValue(want)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := decodeItem(Item{Value: value}, &got); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v, %v", got, err)
		}
		text, err := expandValue(value)
		if err != nil || !json.Valid(text) || len(value) > max(len(text), compressFrom) {
			t.Fatalf("%d bytes for %d, %v", len(value), len(text), err)
		}
	})
}

func TestDamagedValues(t *testing.T) {
	whole, err := encodeValue(strings.Repeat("x", 2*compressFrom))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{
		"empty": {}, "no JSON": []byte("{"), "other type": []byte("{}"), "cut": whole[:len(whole)/2], "only the magic": whole[:2],
	} {
		var text string
		err := decodeItem(Item{Key: Key{"P", "S"}, Value: value}, &text)
		if err == nil || !strings.Contains(err.Error(), "P/S") {
			t.Errorf("%s: %v, want an error that names the item", name, err)
		}
	}
}

// TestKeysNameNoDevice holds that keys, which are in errors and so in logs, are written without the ids of devices.
func TestKeysNameNoDevice(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want string
	}{
		{factsKey("com.shop", "D1"), "DEVICE#com.shop#…/DEVICE"},
		{factsKey("com.shop", "a#b/c"), "DEVICE#com.shop#…/DEVICE"},
		{factsKey("com.shop", ""), "DEVICE#com.shop#…/DEVICE"},
		{entityKey("com.shop", prefixDevice, "d1"), "APP#com.shop/DEVICE#…"},
		{Key{"DEVICE#com.shop", skDevice}, "DEVICE#com.shop/DEVICE"},
		{Key{"P", "DEVICE#d1"}, "P/DEVICE#d1"},
		{entityKey("com.shop", prefixDevice, ""), "APP#com.shop/DEVICE#"},
		{entityKey("com.shop", prefixChannel, "beta"), "APP#com.shop/CHANNEL#beta"},
		{snapshotKey("com.shop"), "APP#com.shop/SNAPSHOT"},
		{liveKey("com.shop", "01R"), "LIVE/com.shop#01R"},
		{Key{}, "/"},
	} {
		if got := c.key.String(); got != c.want {
			t.Errorf("%q is written %q, want %q", []string{c.key.PK, c.key.SK}, got, c.want)
		}
	}
	key := factsKey("com.shop", "d1")
	for _, ops := range [][]Op{{Delete(key, Always()), Delete(key, Always())}, {Put(Item{Key: key}, Always())}, {Delete(factsKey("com.shop", strings.Repeat("d1", MaxPKBytes)), Always())}} {
		if err := CheckWrite(ops); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "d1") {
			t.Errorf("%v, want ErrInvalid that does not name the device", err)
		}
	}
}

func TestULIDs(t *testing.T) {
	draw := NewULID(rand.Reader)
	at := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	last := ""
	for i := range 1000 {
		id := draw(at.Add(time.Duration(i/100) * time.Millisecond))
		if len(id) != 26 || id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
	if next := draw(at.Add(time.Hour)); next <= last {
		t.Errorf("%s, an hour later, after %s", next, last)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				id := draw(at)
				mu.Lock()
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(seen) != 1600 {
		t.Errorf("%d different ids, want 1600", len(seen))
	}
}

func TestULIDWithoutEntropy(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an id was made of nothing")
		}
	}()
	NewULID(bytes.NewReader(nil))(time.Unix(1, 0))
}

func TestTooLargeSaysWhatToShrink(t *testing.T) {
	bundle := func(n int) resolve.BundleSpec {
		return resolve.BundleSpec{Bundle: rollout.Bundle{Version: fmt.Sprintf("1.0.%d", n), Comment: strings.Repeat("x", n)}}
	}
	for _, c := range []struct {
		spec resolve.Spec
		want string
	}{
		{resolve.Spec{Bundles: []resolve.BundleSpec{bundle(10), bundle(900), bundle(20)}}, "bundle 1.0.900"},
		{resolve.Spec{Bundles: []resolve.BundleSpec{bundle(10)}, Segments: []resolve.SegmentSpec{{Name: "big", DeviceIDs: make([]byte, 800)}}}, "segment big"},
		{resolve.Spec{Versions: slices.Repeat([]string{"1.0.0"}, 500), Bundles: []resolve.BundleSpec{bundle(10)}}, "delete bundles"},
	} {
		err := error(&TooLargeError{What: "the app's snapshot", Bytes: 500_000, Most: MaxItemBytes, Hint: heaviest(c.spec)})
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "500000 bytes") {
			t.Errorf("%q, want it to mention %q", err, c.want)
		}
	}
}

// TestSplit changes apps at random: the steps are small, each differs from the one before by what it says, and the last
// is the goal.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := randomState(t, "before"), randomState(t, "after")
		given := toText(t, before) + toText(t, after)
		last, steps := before, 0
		for i, state := range Split(before, after) {
			if i != steps {
				t.Fatalf("step %d is numbered %d", steps, i)
			}
			steps++
			changes := diffStates(last, state)
			if ops, bytes := weigh(changes); ops > stepOps || bytes > stepBytes {
				t.Fatalf("step %d needs %d operations, %d bytes", i, ops, bytes)
			}
			if ops, _ := weigh(changes); ops == 0 && i > 0 {
				t.Fatalf("step %d changes nothing", i)
			}
			last = state
		}
		if !reflect.DeepEqual(last, after) {
			t.Fatal("the last step is not the goal")
		}
		if toText(t, before)+toText(t, after) != given {
			t.Fatal("the given states were changed")
		}
		total, bytes := weigh(diffStates(before, after))
		if least := max(1, (total+stepOps-1)/stepOps); steps < least || steps > 2*least+2*bytes/stepBytes+2 {
			t.Fatalf("%d steps for %d operations", steps, total)
		}
	})
}

func TestSplitStopsWhenAsked(t *testing.T) {
	after := rollout.State{Bundles: map[string]rollout.Bundle{}}
	for i := range 1000 {
		v := fmt.Sprint(i)
		after.Bundles[v] = rollout.Bundle{Version: v}
	}
	for i := range Split(rollout.State{}, after) {
		if i == 1 {
			return
		}
	}
	t.Error("there were no two steps")
}

func randomState(t *rapid.T, label string) rollout.State {
	count := func(kind string, most int) []string {
		ids := make([]string, rapid.IntRange(0, most).Draw(t, label+" "+kind))
		for i := range ids {
			ids[i] = fmt.Sprint(kind, i)
		}
		return ids
	}
	salt := rapid.IntRange(0, 1).Draw(t, label+" content")
	state := rollout.State{
		App: rollout.App{ID: "a.b", Name: label}, Bundles: map[string]rollout.Bundle{}, Channels: map[string]rollout.Channel{},
		Segments: map[string]rollout.Segment{}, Devices: map[string]rollout.Device{}, Plans: map[string]rollout.Plan{},
		Rollouts: map[string]rollout.Rollout{},
	}
	heavy := rapid.SampledFrom([]int{0, 0, 40_000}).Draw(t, label+" bytes")
	for _, id := range count("bundle", 150) {
		state.Bundles[id] = rollout.Bundle{Version: id, Comment: strings.Repeat("x", salt+heavy)}
	}
	for _, id := range count("channel", 60) {
		state.Channels[id] = rollout.Channel{Name: id, Number: int64(salt)}
	}
	for _, id := range count("segment", 60) {
		state.Segments[id] = rollout.Segment{Name: id, CustomIDs: []string{fmt.Sprint(salt)}}
	}
	for _, id := range count("device", 200) {
		state.Devices[id] = rollout.Device{DeviceID: id, Channel: fmt.Sprint(salt)}
	}
	for _, id := range count("plan", 30) {
		state.Plans[id] = rollout.Plan{Name: id, Alpha: float64(salt)}
	}
	for _, id := range count("rollout", 60) {
		state.Rollouts[id] = rollout.Rollout{ID: id, Version: int64(salt)}
	}
	return state
}

func toText(t *rapid.T, s rollout.State) string {
	keys := slices.Concat(slices.Sorted(maps.Keys(s.Bundles)), slices.Sorted(maps.Keys(s.Devices)), slices.Sorted(maps.Keys(s.Channels)),
		slices.Sorted(maps.Keys(s.Segments)), slices.Sorted(maps.Keys(s.Plans)), slices.Sorted(maps.Keys(s.Rollouts)))
	return fmt.Sprint(s.App, keys, s.Devices, s.Channels)
}

// TestSweepPartsStayWithinAWrite cuts what is to be cleared so that each part fits a Write, whatever its sizes.
func TestSweepPartsStayWithinAWrite(t *testing.T) {
	for _, sizes := range [][]int{nil, {1}, slices.Repeat([]int{10}, 100), slices.Repeat([]int{MaxItemBytes - 10}, 20), {MaxItemBytes - 10, 1, 1, MaxItemBytes - 10}} {
		var items []Item
		for i, n := range sizes {
			items = append(items, Item{Key: Key{"p", fmt.Sprint(i)}, Value: make([]byte, n)})
		}
		swept := 0
		for part := range sweepParts(items) {
			bytes := 0
			for _, item := range part {
				bytes += itemSize(item)
			}
			if len(part) == 0 || len(part) > sweepItems || bytes > MaxWriteBytes {
				t.Errorf("a part of %d items and %d bytes", len(part), bytes)
			}
			swept += len(part)
		}
		if swept != len(items) {
			t.Errorf("%d of %d items swept", swept, len(items))
		}
	}
}
