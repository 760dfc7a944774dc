package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

const shop = "com.example.shop"

// noon is when everything in these tests happens.
var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func apps(s store.Store, seed uint64) store.Apps {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	return store.Apps{Store: s, NewID: store.NewULID(rand.NewChaCha8(key))}
}

func event(verb, subject string) rollout.Event {
	return rollout.Event{Time: noon, Actor: "tester", Verb: verb, Subject: subject, Detail: map[string]any{"why": "test"}}
}

// shopState is an app with one of everything.
func shopState() rollout.State {
	production := rollout.NewChannel("production")
	production.Bundle, production.Public, production.Number = "1.0.0", true, 1
	production.Kept = []string{"0.9.0"}
	return rollout.State{
		App: rollout.App{ID: shop, Name: "Shop", ExposeMetadata: true},
		Bundles: map[string]rollout.Bundle{
			"1.0.0": {Version: "1.0.0", URL: "https://cdn.example.com/1.zip", Checksum: "c1", Served: true},
			"1.1.0": {Version: "1.1.0", URL: "https://cdn.example.com/2.zip", Manifest: []rollout.ManifestFile{{FileName: "a.js", FileHash: "h", DownloadURL: "https://x"}}},
		},
		Channels: map[string]rollout.Channel{"production": production, "beta": rollout.NewChannel("beta")},
		Segments: map[string]rollout.Segment{"internal": {Name: "internal", DeviceIDs: []string{"d1"}, When: &rollout.Rule{Platform: []string{"ios"}}}},
		Devices:  map[string]rollout.Device{"d1": {DeviceID: "d1", Channel: "beta"}},
		Plans:    map[string]rollout.Plan{"own": {Name: "own", Phases: []rollout.Phase{{Percent: rollout.Everyone}}}},
		Rollouts: map[string]rollout.Rollout{"01A": shopRollout("01A", rollout.Running), "01B": shopRollout("01B", rollout.Halted)},
	}
}

func shopRollout(id string, state rollout.RolloutState) rollout.Rollout {
	return rollout.Rollout{
		ID: id, App: shop, Channel: "production", Bundle: "1.1.0", Baseline: "1.0.0", State: state, Version: 1,
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: 5 * rollout.OnePercent}}}, Salt: rollout.Salt{1, 2, 3},
		Percent: 5 * rollout.OnePercent, CreatedAt: noon, PhaseStartedAt: noon,
	}
}

func testApps(t *testing.T, e Engine) {
	t.Run("life of an app", func(t *testing.T) { testAppLife(t, e) })
	t.Run("operators' devices", func(t *testing.T) { testNamedDevices(t, e) })
	t.Run("a device in between", func(t *testing.T) { testDeviceInBetween(t, e) })
	t.Run("audit log", func(t *testing.T) { testEvents(t, e) })
	t.Run("races", func(t *testing.T) { testAppRaces(t, e) })
	t.Run("a reader never sees half a change", func(t *testing.T) { testAppReaders(t, e) })
	t.Run("a change seen in part", func(t *testing.T) { testEarlySight(t, e) })
	t.Run("too large", func(t *testing.T) { testAppTooLarge(t, e) })
	t.Run("split", func(t *testing.T) { testSplit(t, e) })
	t.Run("delete", func(t *testing.T) { testDeleteApp(t, e) })
	t.Run("deletion cut short", func(t *testing.T) { testDeleteCutShort(t, e) })
	t.Run("app ids cannot run into each other", func(t *testing.T) {
		a := apps(e.Open(t), 1)
		for _, id := range []string{"", "com.example#shop"} {
			_, err := a.Commit(t.Context(), rollout.State{}, rollout.State{App: rollout.App{ID: id}}, nil)
			wantError(t, err, store.ErrInvalid)
			_, err = a.Load(t.Context(), id)
			wantError(t, err, store.ErrNotFound)
			_, err = a.Snapshot(t.Context(), id)
			wantError(t, err, store.ErrNotFound)
		}
	})
}

// create commits an app and checks that it is loaded as it was committed.
func create(t *testing.T, a store.Apps, want rollout.State) rollout.State {
	t.Helper()
	return commit(t, a, rollout.State{}, want)
}

func commit(t *testing.T, a store.Apps, before, after rollout.State, events ...rollout.Event) rollout.State {
	t.Helper()
	got, err := a.Commit(t.Context(), before, after, events)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	wantStored(t, a, got)
	return got
}

// wantStored fails unless the app is stored as state, Snapshot and markers included.
func wantStored(t *testing.T, a store.Apps, state rollout.State) {
	t.Helper()
	loaded, err := a.Load(t.Context(), state.App.ID)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if !bytes.Equal(loaded.Owned, state.Owned) {
		t.Error("the loaded bitmap of owned devices is another")
	}
	owned := state.Owned
	loaded.Owned, state.Owned = nil, nil // too long to print
	if got, want := toJSON(t, loaded), toJSON(t, state); got != want {
		t.Errorf("loaded %s\nwant %s", got, want)
	}
	state.Owned = owned
	snapshot, err := a.Snapshot(t.Context(), state.App.ID)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	raw, err := snapshot.Raw()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	if want := toJSON(t, resolve.NewSpec(state)); string(raw) != want || snapshot.Revision != state.Revision {
		t.Errorf("snapshot at %d: %.3000s\nwant at %d: %.3000s", snapshot.Revision, raw, state.Revision, want)
	}
	if spec, err := snapshot.Spec(); err != nil || toJSON(t, spec) != string(raw) {
		t.Errorf("spec %+v, %v", spec, err)
	}
	if revision, err := a.Revision(t.Context(), state.App.ID); err != nil || revision != state.Revision {
		t.Errorf("revision %d, %v, want %d", revision, err, state.Revision)
	}
	var want []store.LiveRollout
	for _, id := range slices.Sorted(maps.Keys(state.Rollouts)) {
		if state.Rollouts[id].State.Live() {
			want = append(want, store.LiveRollout{App: state.App.ID, Rollout: id})
		}
	}
	live, err := a.Live(t.Context())
	live = slices.DeleteFunc(live, func(l store.LiveRollout) bool { return l.App != state.App.ID })
	if err != nil || !slices.Equal(live, want) {
		t.Errorf("live %v, %v, want %v", live, err, want)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func testAppLife(t *testing.T, e Engine) {
	a := apps(e.Open(t), 1)
	_, err := a.Load(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)
	_, err = a.Snapshot(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)

	first := create(t, a, shopState())
	if first.Revision != 1 {
		t.Errorf("revision %d, want 1", first.Revision)
	}
	_, err = a.Commit(t.Context(), rollout.State{}, shopState(), nil)
	wantError(t, err, store.ErrConflict)

	second := first
	second.App.Name = "Shop 2"
	second.Retired = []rollout.RetiredBundle{{Version: "1.1.0", Content: "c"}}
	second.Bundles = maps.Clone(first.Bundles)
	delete(second.Bundles, "1.1.0")
	second.Bundles["1.2.0"] = rollout.Bundle{Version: "1.2.0"}
	second.Plans = nil
	second.Rollouts = map[string]rollout.Rollout{"01A": shopRollout("01A", rollout.Completed), "01C": shopRollout("01C", rollout.Scheduled)}
	second = commit(t, a, first, second)
	if second.Revision != 2 || first.Revision != 1 {
		t.Errorf("revisions %d and %d, want 1 and 2", first.Revision, second.Revision)
	}
	third := commit(t, a, second, second) // nothing but the revision
	_, err = a.Commit(t.Context(), second, first, nil)
	wantError(t, err, store.ErrConflict)
	wantStored(t, a, third)

	other := shopState()
	other.App.ID = "a.b"
	create(t, a, other)
	if ids, err := a.List(t.Context()); err != nil || !slices.Equal(ids, []string{"a.b", shop}) {
		t.Errorf("apps %q, %v", ids, err)
	}
	_, err = a.Commit(t.Context(), third, other, nil)
	wantError(t, err, store.ErrInvalid)
	wantStored(t, a, third)

	broken := third
	broken.Bundles = nil // and channels that still point at one
	_, err = a.Commit(t.Context(), third, broken, nil)
	if unservable, ok := errors.AsType[*store.UnservableError](err); !ok || unservable.Cause == nil {
		t.Errorf("a state that does not compile was met with %v", err)
	}
	wantStored(t, a, third)
}

func testNamedDevices(t *testing.T, e Engine) {
	s := e.Open(t)
	a, d := apps(s, 1), store.Devices{Store: s}
	wantFacts := func(device string, want resolve.Facts) {
		t.Helper()
		if got, err := d.Facts(t.Context(), shop, device); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("facts of %s: %+v, %v, want %+v", device, got, err, want)
		}
	}
	update(t, d, "d2", func(f *resolve.Facts) { f.Failed = []string{"1.1.0"} })
	update(t, d, "d3", func(f *resolve.Facts) { f.Channel, f.SetBy = "beta", "device" })
	first := shopState()
	first.Owned = resolve.WithOwned(nil, "self")
	state := create(t, a, first)
	wantFacts("d1", resolve.Facts{Channel: "beta", SetBy: "operator"})
	if !resolve.MayOwn(state.Owned, "d1") || resolve.MayOwn(state.Owned, "d2") {
		t.Error("the bitmap of owned devices wants d1 and not d2")
	}

	next := state
	next.Devices = map[string]rollout.Device{
		"d1": {DeviceID: "d1", Channel: "production"},
		"d2": {DeviceID: "d2", Channel: "beta"},
		"d3": {DeviceID: "d3", Channel: "production"},
		"d4": {DeviceID: "d4"},
	}
	next.Owned = nil // bits are only ever set
	next = commit(t, a, state, next)
	wantFacts("d1", resolve.Facts{Channel: "production", SetBy: "operator"})
	wantFacts("d2", resolve.Facts{Channel: "beta", SetBy: "operator", Failed: []string{"1.1.0"}})
	wantFacts("d3", resolve.Facts{Channel: "production", SetBy: "operator"})
	wantFacts("d4", resolve.Facts{})

	update(t, d, "d3", func(f *resolve.Facts) { f.Channel, f.SetBy = "beta", "device" })
	last := next
	last.Devices = map[string]rollout.Device{}
	last = commit(t, a, next, last)
	wantFacts("d1", resolve.Facts{})
	wantFacts("d2", resolve.Facts{Failed: []string{"1.1.0"}})
	wantFacts("d3", resolve.Facts{Channel: "beta", SetBy: "device"})
	for _, id := range []string{"self", "d1", "d2", "d3"} {
		if !resolve.MayOwn(last.Owned, id) {
			t.Errorf("the bit of %s was cleared", id)
		}
	}
	wantAbsent(t, s, key("DEVICE#"+shop+"#d1", "DEVICE"))
}

// testDeviceInBetween has a device change its own record between an operator's reading and writing of it: the operator's
// change goes through, and nothing of the device's is lost. Another operator's change is a conflict.
func testDeviceInBetween(t *testing.T, e Engine) {
	s := e.Open(t)
	d := store.Devices{Store: s}
	state := create(t, apps(s, 1), shopState())
	next := state
	next.Devices = map[string]rollout.Device{"d1": {DeviceID: "d1", Channel: "production"}}
	fails := func() { update(t, d, "d1", func(f *resolve.Facts) { f.Failed = []string{"1.1.0"} }) }
	next, err := apps(&meddler{Store: s, meddle: fails}, 2).Commit(t.Context(), state, next, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantStored(t, apps(s, 1), next)
	want := resolve.Facts{Channel: "production", SetBy: "operator", Failed: []string{"1.1.0"}}
	if got, err := d.Facts(t.Context(), shop, "d1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("facts %+v, %v, want %+v", got, err, want)
	}

	last := next
	last.Devices = nil
	other := next
	commits := func() { other = commit(t, apps(s, 3), next, next) }
	_, err = apps(&meddler{Store: s, meddle: commits}, 4).Commit(t.Context(), next, last, nil)
	wantError(t, err, store.ErrConflict)
	wantStored(t, apps(s, 1), other)
}

func testEvents(t *testing.T, e Engine) {
	a := apps(e.Open(t), 1)
	state := create(t, a, shopState())
	var subjects []string
	for i := range 7 {
		var events []rollout.Event
		for j := range 3 {
			one := event("apply", fmt.Sprintf("%d.%d", i, j))
			one.Time = noon.Add(time.Duration(i) * time.Minute)
			subjects = append(subjects, one.Subject)
			events = append(events, one)
		}
		state = commit(t, a, state, state, events...)
	}
	slices.Reverse(subjects)
	all, err := a.Events(t.Context(), shop, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.Subject)
	}
	if !slices.Equal(got, subjects) {
		t.Fatalf("events %q\n  want %q", got, subjects)
	}
	if len(all[0].ID) != 26 || !all[0].Time.Equal(noon.Add(6*time.Minute)) || all[0].Detail["why"] != "test" {
		t.Errorf("event %+v", all[0])
	}
	var paged []rollout.Event
	for before := ""; ; {
		page, err := a.Events(t.Context(), shop, before, 4)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		before = page[len(page)-1].ID
	}
	if toJSON(t, paged) != toJSON(t, all) {
		t.Errorf("in pages: %v\nwant %v", paged, all)
	}
}

// testAppRaces lets everyone commit from what they loaded: exactly the winners' changes are there, one revision each,
// with one event each, and nothing of the losers.
func testAppRaces(t *testing.T, e Engine) {
	s := e.Open(t)
	state := create(t, apps(s, 1), shopState())
	d := store.Devices{Store: s}
	var won atomic.Int64
	var wins [writers][]string
	together(writers, func(w int) {
		a := apps(s, uint64(w+2))
		for try := range 2 {
			before, err := a.Load(t.Context(), shop)
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			if err != nil {
				t.Errorf("load: %v", err)
				return
			}
			version := fmt.Sprintf("2.%d.%d", w, try)
			after := before
			after.Bundles = maps.Clone(before.Bundles)
			after.Bundles[version] = rollout.Bundle{Version: version}
			after.Devices = maps.Clone(before.Devices)
			after.Devices["shared"] = rollout.Device{DeviceID: "shared", Channel: version}
			_, err = a.Commit(t.Context(), before, after, []rollout.Event{event("apply", version)})
			switch {
			case err == nil:
				won.Add(1)
				wins[w] = append(wins[w], version)
			case !errors.Is(err, store.ErrConflict):
				t.Errorf("commit: %v", err)
			}
			// A device's own record changes all the while, and must neither be lost nor stop the operator for good.
			err = d.Update(t.Context(), shop, "shared", func(f *resolve.Facts) bool {
				f.Failed = append(f.Failed, version)
				return true
			})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				t.Errorf("update: %v", err)
			}
		}
	})
	if won.Load() == 0 {
		t.Fatal("nobody ever won")
	}
	a := apps(s, 1)
	final, err := a.Load(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	wantStored(t, a, final)
	if final.Revision != state.Revision+won.Load() {
		t.Errorf("revision %d after %d winners", final.Revision, won.Load())
	}
	want := slices.Sorted(slices.Values(append(slices.Concat(wins[:]...), "1.0.0", "1.1.0")))
	if got := slices.Sorted(maps.Keys(final.Bundles)); !slices.Equal(got, want) {
		t.Errorf("bundles %q\n   want %q", got, want)
	}
	events, err := a.Events(t.Context(), shop, "", 0)
	if err != nil || int64(len(events)) != won.Load() {
		t.Errorf("%d events for %d winners, %v", len(events), won.Load(), err)
	}
	facts, err := d.Facts(t.Context(), shop, "shared")
	if err != nil || facts.Channel != final.Devices["shared"].Channel || facts.SetBy != "operator" {
		t.Errorf("facts %+v, %v; the operator's last word is %q", facts, err, final.Devices["shared"].Channel)
	}
}

// testAppReaders changes a channel and a bundle together, again and again: every State and Snapshot read meanwhile has
// the two of one change.
func testAppReaders(t *testing.T, e Engine) {
	s := e.Open(t)
	a := apps(s, 1)
	at := func(state rollout.State, n int) rollout.State {
		version := fmt.Sprintf("3.0.%d", n)
		channel := rollout.NewChannel("production")
		channel.Bundle = version
		state.Channels = map[string]rollout.Channel{"production": channel}
		state.Bundles = map[string]rollout.Bundle{version: {Version: version}}
		state.Rollouts = nil
		return state
	}
	state := create(t, a, at(shopState(), 0))
	const changes = 40
	var done atomic.Bool
	var reads atomic.Int64
	together(4, func(reader int) {
		if reader == 0 {
			defer done.Store(true)
			for n := range changes {
				next, err := a.Commit(t.Context(), state, at(state, n+1), nil)
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				state = next
			}
			return
		}
		for !done.Load() {
			if got, err := a.Load(t.Context(), shop); err == nil {
				reads.Add(1)
				if _, ok := got.Bundles[got.Channels["production"].Bundle]; !ok || got.Revision-1 > changes {
					t.Errorf("revision %d has channel %q and bundles %v", got.Revision, got.Channels["production"].Bundle, got.Bundles)
				}
			} else if !errors.Is(err, store.ErrConflict) {
				t.Errorf("load: %v", err)
			}
			snapshot, err := a.Snapshot(t.Context(), shop)
			if err != nil {
				t.Errorf("snapshot: %v", err)
				continue
			}
			spec, err := snapshot.Spec()
			if want := fmt.Sprintf("3.0.%d", spec.Revision-1); err != nil || spec.Revision != snapshot.Revision || spec.Channels[0].Bundle != want {
				t.Errorf("snapshot %d: %+v, %v", snapshot.Revision, spec, err)
			}
		}
	})
	if reads.Load() == 0 {
		t.Error("no reader ever got through")
	}
}

func testAppTooLarge(t *testing.T, e Engine) {
	a := apps(e.Open(t), 1)
	state := create(t, a, shopState())
	refused := func(after rollout.State, mentions string) {
		t.Helper()
		_, err := a.Commit(t.Context(), state, after, []rollout.Event{event("apply", "large")})
		wantError(t, err, store.ErrTooLarge)
		if err == nil || !strings.Contains(err.Error(), mentions) {
			t.Errorf("error %q, want it to mention %q", err, mentions)
		}
		wantStored(t, a, state)
	}
	with := func(f func(*rollout.State)) rollout.State {
		after := state
		after.Bundles, after.Segments = maps.Clone(state.Bundles), maps.Clone(state.Segments)
		f(&after)
		return after
	}
	refused(with(func(s *rollout.State) {
		s.Bundles["9.0.0"] = rollout.Bundle{Version: "9.0.0", Comment: noise(1, 700_000)}
	}), "bundle 9.0.0")
	refused(with(func(s *rollout.State) {
		for i := range 101 {
			v := fmt.Sprintf("9.0.%d", i)
			s.Bundles[v] = rollout.Bundle{Version: v}
		}
	}), "operations")
	refused(grown(state, 4), "bundle 9.0.")

	// A long one that compresses well is fine.
	commit(t, a, state, with(func(s *rollout.State) {
		s.Bundles["9.0.0"] = rollout.Bundle{Version: "9.0.0", Comment: strings.Repeat("again and ", 100_000)}
	}))
}

// testSplit turns an app into a quite different one by many steps, each of which can be committed and refers to
// nothing that is not there.
func testSplit(t *testing.T, e Engine) {
	a := apps(e.Open(t), 1)
	build := func(first, last int) rollout.State {
		state := shopState()
		state.Rollouts = map[string]rollout.Rollout{}
		state.Devices = map[string]rollout.Device{}
		for i := first; i < last; i++ {
			name, version := fmt.Sprint("c", i), fmt.Sprintf("5.%d.0", i)
			channel := rollout.NewChannel(name)
			channel.Bundle = version
			state.Bundles[version] = rollout.Bundle{Version: version}
			state.Channels[name] = channel
			state.Segments["s"+name] = rollout.Segment{Name: "s" + name}
			state.Plans["p"+name] = rollout.Plan{Name: "p" + name, Phases: []rollout.Phase{{Segments: []string{"s" + name}}}}
			id := fmt.Sprint("dev", i)
			state.Devices[id] = rollout.Device{DeviceID: id, Channel: name}
		}
		return state
	}
	valid := func(s rollout.State) error {
		for name, c := range s.Channels {
			if _, ok := s.Bundles[c.Bundle]; c.Bundle != "" && !ok {
				return fmt.Errorf("channel %s has no bundle %s", name, c.Bundle)
			}
		}
		for name, p := range s.Plans {
			for _, phase := range p.Phases {
				for _, segment := range phase.Segments {
					if _, ok := s.Segments[segment]; !ok {
						return fmt.Errorf("plan %s has no segment %s", name, segment)
					}
				}
			}
		}
		for id, d := range s.Devices {
			if _, ok := s.Channels[d.Channel]; !ok {
				return fmt.Errorf("device %s has no channel %s", id, d.Channel)
			}
		}
		return nil
	}
	state := rollout.State{}
	for _, target := range []rollout.State{build(0, 130), build(100, 250), build(0, 0)} {
		before, steps := state, 0
		for i, step := range store.Split(before, target) {
			if err := valid(step); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if i != steps {
				t.Fatalf("step %d is numbered %d", steps, i)
			}
			next, err := a.Commit(t.Context(), state, step, []rollout.Event{event("apply", "split")})
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			state, steps = next, steps+1
		}
		if steps < 5 {
			t.Errorf("%d steps for some hundred changes", steps)
		}
		target.Revision, target.Owned = state.Revision, state.Owned
		wantStored(t, a, target)
	}
	steps := 0
	for range store.Split(state, state) {
		steps++
	}
	if steps != 1 {
		t.Errorf("%d steps for no change, want 1", steps)
	}
}

func testDeleteApp(t *testing.T, e Engine) {
	s := e.Open(t)
	a, d := apps(s, 1), store.Devices{Store: s}
	first := shopState()
	first.Retired = []rollout.RetiredBundle{{Version: "0.1.0", Content: "c"}}
	for i := range 120 {
		v := fmt.Sprintf("7.0.%d", i)
		first.Rollouts["01Z"+v] = shopRollout("01Z"+v, rollout.Scheduled)
	}
	var state rollout.State
	for _, step := range store.Split(rollout.State{}, first) {
		next, err := a.Commit(t.Context(), state, step, nil)
		if err != nil {
			t.Fatal(err)
		}
		state = next
	}
	stale := state
	stale.Revision--
	wantError(t, a.Delete(t.Context(), stale, nil), store.ErrConflict)
	wantStored(t, a, state)

	if err := a.Delete(t.Context(), state, []rollout.Event{event("delete", "app "+shop)}); err != nil {
		t.Fatal(err)
	}
	wantGone(t, a)
	if f, err := d.Facts(t.Context(), shop, "d1"); err != nil || f.Channel != "" {
		t.Errorf("facts %+v, %v: the operator's word is still there", f, err)
	}
	left, err := s.Query(t.Context(), store.Range{PK: "APP#" + shop}, store.Strong)
	if err != nil || len(left) != 2 { // the revision and the event
		t.Errorf("%d items left, %v", len(left), err)
	}
	wantError(t, a.Delete(t.Context(), state, nil), store.ErrConflict)

	again := create(t, a, shopState())
	if again.Revision <= state.Revision {
		t.Errorf("revision %d after %d: it went back", again.Revision, state.Revision)
	}
	if len(again.Retired) > 0 {
		t.Errorf("the new app remembers bundles of the old one: %+v", again.Retired)
	}
	if again.Generation != state.Generation+1 {
		t.Errorf("generation %d after %d", again.Generation, state.Generation)
	}
	wantStored(t, a, again)
	if f, err := d.Facts(t.Context(), shop, "d1"); err != nil || f.Channel == "" || f.Generation != again.Generation {
		t.Errorf("facts %+v, %v: the operator's word is not of the new app", f, err)
	}
	_, err = a.Commit(t.Context(), state, state, nil)
	wantError(t, err, store.ErrConflict)
	events, err := a.Events(t.Context(), shop, "", 0)
	if err != nil || len(events) != 1 || events[0].Verb != "delete" {
		t.Errorf("events %v, %v", events, err)
	}
}

// wantGone fails unless nobody is told of the app any more.
func wantGone(t *testing.T, a store.Apps) {
	t.Helper()
	_, err := a.Load(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)
	_, err = a.Snapshot(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)
	_, err = a.Revision(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)
	if ids, err := a.List(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("apps %q, %v", ids, err)
	}
	if live, err := a.Live(t.Context()); err != nil || len(live) != 0 {
		t.Errorf("live %v, %v", live, err)
	}
}

// testDeleteCutShort deletes an app with a store that fails after the first write, as when the process dies there: an
// app of the same id starts empty all the same.
func testDeleteCutShort(t *testing.T, e Engine) {
	s := e.Open(t)
	whole := apps(s, 1)
	state := create(t, whole, shopState())
	cut := apps(&oneWrite{Store: s}, 2)
	wantError(t, cut.Delete(t.Context(), state, nil), store.ErrUnavailable)
	_, err := whole.Snapshot(t.Context(), shop)
	wantError(t, err, store.ErrNotFound)

	fresh := create(t, whole, rollout.State{App: rollout.App{ID: shop}})
	if len(fresh.Bundles)+len(fresh.Channels)+len(fresh.Devices) > 0 {
		t.Errorf("the new app has %+v", fresh)
	}
}
