package store_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

func tallyStore(t *testing.T) store.Store {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "palier.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func devicesTally(n int64) telemetry.Tally {
	var t telemetry.Tally
	t.Devices = n
	return t
}

func TestTalliesOfAllShardsAreLoadedInOrder(t *testing.T) {
	st := tallyStore(t)
	key := func(phase int, hour int64, arm rollout.Arm) telemetry.TallyKey {
		return telemetry.TallyKey{Phase: phase, Hour: hour, Arm: arm}
	}
	commit := func(shard string, newest int64, tallies map[telemetry.TallyKey]telemetry.Tally) {
		t.Helper()
		_, err := store.Shard{Store: st, Stream: "s", Name: shard}.Commit(t.Context(), store.Checkpoint{}, store.Checkpoint{Position: "1"},
			store.Fold{App: "app", Rollout: "r", Tallies: tallies, Newest: newest},
			store.Fold{App: "app", Rollout: "other", Tallies: tallies, Newest: newest + 1})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit("shard#2", 5000, map[telemetry.TallyKey]telemetry.Tally{
		key(10, 9, rollout.ArmControl): devicesTally(1), key(2, 490_000, rollout.ArmCandidate): devicesTally(2),
	})
	commit("1", 7000, map[telemetry.TallyKey]telemetry.Tally{
		key(2, 490_000, rollout.ArmCandidate): devicesTally(3), key(2, 99_999, rollout.ArmControl): devicesTally(4),
	})
	got, err := store.Tallies{Store: st}.Load(t.Context(), "app", "r")
	if err != nil {
		t.Fatal(err)
	}
	want := telemetry.Tallies{Newest: time.UnixMilli(7000).UTC(), Complete: time.UnixMilli(5000).UTC(), Rows: []telemetry.Row{
		{Shard: "1", TallyKey: key(2, 99_999, rollout.ArmControl), Tally: devicesTally(4)},
		{Shard: "1", TallyKey: key(2, 490_000, rollout.ArmCandidate), Tally: devicesTally(3)},
		{Shard: "shard#2", TallyKey: key(2, 490_000, rollout.ArmCandidate), Tally: devicesTally(2)},
		{Shard: "shard#2", TallyKey: key(10, 9, rollout.ArmControl), Tally: devicesTally(1)},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	none, err := store.Tallies{Store: st}.Load(t.Context(), "app", "unheard of")
	if err != nil || len(none.Rows) != 0 || !none.Newest.IsZero() {
		t.Errorf("a rollout without tallies: %v, %+v", err, none)
	}
}

// TestSketchesStandBesideTheTallies: they are read on their own, per shard, and never taken for a tally.
func TestSketchesStandBesideTheTallies(t *testing.T) {
	st := tallyStore(t)
	k := telemetry.TallyKey{Phase: 1, Hour: 2, Arm: rollout.ArmCandidate}
	fold := store.Fold{
		App: "app", Rollout: "r", Newest: 5, Sketch: []byte("first"), Tallies: map[telemetry.TallyKey]telemetry.Tally{k: devicesTally(1)},
	}
	if fold.Ops() != 3 {
		t.Errorf("Ops is %d, want 3", fold.Ops())
	}
	first, second := store.Shard{Store: st, Stream: "s", Name: "0"}, store.Shard{Store: st, Stream: "s", Name: "1"}
	if data, err := first.Sketch(t.Context(), "app", "r"); err != nil || data != nil {
		t.Errorf("before the first commit: %v, %q", err, data)
	}
	at, err := first.Commit(t.Context(), store.Checkpoint{}, store.Checkpoint{}, fold)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Commit(t.Context(), store.Checkpoint{}, store.Checkpoint{}, store.Fold{App: "app", Rollout: "r", Sketch: []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if at, err = first.Commit(t.Context(), at, at, store.Fold{App: "app", Rollout: "r", Sketch: []byte("second")}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Commit(t.Context(), at, at, store.Fold{App: "app", Rollout: "r", Newest: 6}); err != nil {
		t.Fatal(err)
	}
	if data, err := first.Sketch(t.Context(), "app", "r"); err != nil || string(data) != "second" {
		t.Errorf("%v: the sketch is %q", err, data)
	}
	tallies := store.Tallies{Store: st}
	if got, err := tallies.Sketches(t.Context(), "app", "r"); err != nil || !reflect.DeepEqual(got, [][]byte{[]byte("second"), []byte("other")}) {
		t.Errorf("%v: the sketches are %q", err, got)
	}
	if got, err := tallies.Sketches(t.Context(), "app", "another"); err != nil || len(got) != 0 {
		t.Errorf("%v: another rollout's are %q", err, got)
	}
	loaded, err := tallies.Load(t.Context(), "app", "r")
	if err != nil || len(loaded.Rows) != 1 || loaded.Rows[0].Devices != 1 || loaded.Newest.UnixMilli() != 6 {
		t.Errorf("%v: the tallies are %+v", err, loaded)
	}
}

func TestOnlyOneCommitFollowsACheckpoint(t *testing.T) {
	st := tallyStore(t)
	shard := store.Shard{Store: st, Stream: "s", Name: "0"}
	start, err := shard.Checkpoint(t.Context())
	if err != nil || start != (store.Checkpoint{}) {
		t.Fatalf("%v: first checkpoint is %+v", err, start)
	}
	k := telemetry.TallyKey{Phase: 1, Hour: 2, Arm: rollout.ArmCandidate}
	fold := func(n int64) store.Fold {
		return store.Fold{App: "app", Rollout: "r", Tallies: map[telemetry.TallyKey]telemetry.Tally{k: devicesTally(n)}}
	}
	first, err := shard.Commit(t.Context(), start, store.Checkpoint{Position: "10", Newest: 99}, fold(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shard.Commit(t.Context(), start, store.Checkpoint{Position: "20"}, fold(2)); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("the second commit on one checkpoint: %v", err)
	}
	if again, err := shard.Checkpoint(t.Context()); err != nil || again != first || again.Position != "10" || again.Version() != 1 {
		t.Errorf("%v: checkpoint is %+v, want %+v", err, again, first)
	}
	if got, err := shard.Tally(t.Context(), "app", "r", k); err != nil || got != devicesTally(1) {
		t.Errorf("%v: the refused commit left %+v", err, got)
	}
	if _, err := shard.Commit(t.Context(), first, first, fold(0)); err != nil {
		t.Fatal(err)
	}
	if loaded, err := (store.Tallies{Store: st}).Load(t.Context(), "app", "r"); err != nil || len(loaded.Rows) != 0 {
		t.Errorf("%v: a row that counts nothing is still there: %+v", err, loaded)
	}
}

func TestCensusIsReadBackAndStrangeItemsAreRefused(t *testing.T) {
	st := tallyStore(t)
	shard := store.Shard{Store: st, Stream: "s", Name: "0"}
	page := telemetry.EncodePage([]telemetry.Device{{Fingerprint: 1 << 63}})
	fold := store.Fold{
		App: "app", Rollout: "r", Newest: 5,
		Leaves:  []telemetry.Leaf{{Low: 0, Data: page}, {Low: 1 << 63, Data: page}},
		Patches: []telemetry.Patch{{Sequence: 1, Data: page}, {Sequence: 17, Data: page}},
	}
	if fold.Ops() != 5 {
		t.Errorf("Ops is %d, want 5", fold.Ops())
	}
	at, err := shard.Commit(t.Context(), store.Checkpoint{}, store.Checkpoint{}, fold)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (*telemetry.Census, error) {
		leaves, patches, err := shard.Pages(t.Context(), "app", "r", 0)
		if err != nil {
			return nil, err
		}
		return telemetry.OpenCensus(leaves, patches, telemetry.Limits{})
	}
	census, err := read()
	if err != nil || census.Bytes() != 4*len(page) || !reflect.DeepEqual(census.Journal(), []int64{1, 17}) {
		t.Errorf("%v: census of %d bytes, journal %v", err, census.Bytes(), census.Journal())
	}
	if newest, err := shard.Newest(t.Context(), "app", "r"); err != nil || newest != 5 {
		t.Errorf("%v: newest is %d", err, newest)
	}
	if _, err := shard.Commit(t.Context(), at, at, store.Fold{App: "app", Rollout: "r", Merged: []int64{1}}); err != nil {
		t.Fatal(err)
	}
	if census, err = read(); err != nil || !reflect.DeepEqual(census.Journal(), []int64{17}) {
		t.Errorf("%v: journal %v after deleting patch 1", err, census.Journal())
	}
	for _, sk := range []string{"leaf#xyz", "other#0000000000000001", "patch#ffffffffffffffff"} {
		k := store.Key{PK: "SEEN#app#r#s#0", SK: sk}
		if err := st.Write(t.Context(), store.Put(store.Item{Key: k, Version: 1, Value: page}, store.Always())); err != nil {
			t.Fatal(err)
		}
		if _, err := read(); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", sk, err)
		}
		if err := st.Write(t.Context(), store.Delete(k, store.Always())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoHasReadTheDevicesNeedsOnlyWhatWasAdded follows a shard's device records as somebody else adds to them, until the
// checkpoint says that they were rewritten.
func TestWhoHasReadTheDevicesNeedsOnlyWhatWasAdded(t *testing.T) {
	shard := store.Shard{Store: tallyStore(t), Stream: "s", Name: "0"}
	page := telemetry.EncodePage([]telemetry.Device{{Fingerprint: 1}})
	grown := telemetry.EncodePage([]telemetry.Device{{Fingerprint: 1}, {Fingerprint: 2}})
	checkpoint := store.Checkpoint{}
	commit := func(f store.Fold) {
		t.Helper()
		f.App, f.Rollout = "app", "r"
		var err error
		if checkpoint, err = shard.Commit(t.Context(), checkpoint, checkpoint, f); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(from int64) ([]telemetry.Leaf, []telemetry.Patch) {
		t.Helper()
		leaves, patches, err := shard.Pages(t.Context(), "app", "r", from)
		if err != nil {
			t.Fatal(err)
		}
		return leaves, patches
	}
	commit(store.Fold{Leaves: []telemetry.Leaf{{Data: page}}})
	commit(store.Fold{Patches: []telemetry.Patch{{Sequence: 2, Data: page}}})
	compacted := checkpoint.Compacted
	if leaves, patches := pages(0); len(leaves) != 1 || len(patches) != 1 || compacted != 1 {
		t.Fatalf("%d leaves and %d patches, compacted at %d", len(leaves), len(patches), compacted)
	}
	commit(store.Fold{Patches: []telemetry.Patch{{Sequence: 2, Data: grown}}})
	commit(store.Fold{Patches: []telemetry.Patch{{Sequence: 17, Data: page}}})
	want := []telemetry.Patch{{Sequence: 2, Data: grown}, {Sequence: 17, Data: page}}
	if leaves, patches := pages(2); len(leaves) != 0 || !reflect.DeepEqual(patches, want) {
		t.Errorf("from patch 2 on: leaves %v, patches %v", leaves, patches)
	}
	if leaves, patches := pages(3); len(leaves) != 0 || !reflect.DeepEqual(patches, want[1:]) {
		t.Errorf("from patch 3 on: leaves %v, patches %v", leaves, patches)
	}
	if checkpoint.Compacted != compacted {
		t.Errorf("adding patches counts as compacting: %d, want %d", checkpoint.Compacted, compacted)
	}
	for _, f := range []store.Fold{{Leaves: []telemetry.Leaf{{Data: grown}}}, {Merged: []int64{2}}} {
		commit(f)
		read, err := shard.Checkpoint(t.Context())
		if err != nil || read.Compacted != read.Version() {
			t.Errorf("%v: after %+v compacted at %d, version %d", err, f, read.Compacted, read.Version())
		}
	}
}
