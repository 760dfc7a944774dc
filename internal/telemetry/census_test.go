package telemetry

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/rollout"
)

// shelf is what a store would hold of a Census.
type shelf struct {
	leaves  map[uint64][]byte
	patches map[int64][]byte
}

func (s shelf) open(t rapid.TB, limits Limits) *Census {
	var leaves []Leaf
	for low, data := range s.leaves {
		leaves = append(leaves, Leaf{low, data})
	}
	var patches []Patch
	for sequence, data := range s.patches {
		patches = append(patches, Patch{sequence, data})
	}
	c, err := OpenCensus(leaves, patches, limits)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCensusAgainstAMap drives a Census through folds, merges of the journal that are cut short anywhere, and
// reopening, and holds it against a plain map of Records.
func TestCensusAgainstAMap(t *testing.T) {
	most := 0
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Leaf: rapid.IntRange(1, 300).Draw(t, "leaf"), Patch: rapid.IntRange(1, 100).Draw(t, "patch"), Journal: 200}
		s := shelf{map[uint64][]byte{}, map[int64][]byte{}}
		model := map[uint64]Record{}
		c := s.open(t, limits)
		for sequence := range int64(rapid.IntRange(1, 30).Draw(t, "folds")) {
			var observed []Device
			for range rapid.IntRange(0, 6).Draw(t, "observed") {
				device := Fingerprint(string(rune('a' + rapid.IntRange(0, 25).Draw(t, "device"))))
				observed = append(observed, Device{device, Observe(drawnEvent(t))})
			}
			changes, err := c.Diff(observed)
			if err != nil {
				t.Fatal(err)
			}
			checkChanges(t, changes, model)
			for _, o := range observed {
				if !o.Record.IsZero() {
					model[o.Fingerprint] = model[o.Fingerprint].Merge(o.Record)
				}
			}
			checkModel(t, changes, model)
			if len(changes) > 0 {
				p := c.Patch(changes, sequence+1)
				s.patches[p.Sequence] = p.Data
				c.Apply(changes, p)
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0:
				c = s.open(t, limits)
			case 1:
				if !s.compact(t, c, rapid.IntRange(0, 20).Draw(t, "steps")) {
					c = s.open(t, limits) // cut short
				}
			}
			most = max(most, len(s.leaves))
			checkContents(t, c, model)
			checkContents(t, s.open(t, limits), model)
		}
	})
	if most < 3 {
		t.Errorf("at most %d leaves were ever there: cutting was not exercised", most)
	}
}

// compact does at most so many steps of merging the journal and reports whether that was all.
func (s shelf) compact(t rapid.TB, c *Census, steps int) bool {
	var rewrites []Leaf
	for leaf, err := range c.Rewrites() {
		if err != nil {
			t.Fatal(err)
		}
		if steps == 0 {
			return false
		}
		steps--
		s.leaves[leaf.Low] = leaf.Data
		rewrites = append(rewrites, leaf)
	}
	for _, sequence := range c.Journal() {
		if steps == 0 {
			return false
		}
		steps--
		delete(s.patches, sequence)
	}
	c.Compacted(rewrites)
	if c.Crowded() || len(c.Journal()) > 0 {
		t.Fatal("a journal is left after merging it")
	}
	return true
}

func checkChanges(t *rapid.T, changes []Change, before map[uint64]Record) {
	if !slices.IsSortedFunc(changes, func(a, b Change) int { return compareDevices(Device{a.Device, a.New}, Device{b.Device, b.New}) }) {
		t.Fatal("changes are not in order")
	}
	for _, change := range changes {
		if !change.Old.Equal(before[change.Device]) {
			t.Fatalf("device %x was %+v, Diff says %+v", change.Device, before[change.Device], change.Old)
		}
		if change.New.Equal(change.Old) {
			t.Fatalf("device %x: a change that changes nothing", change.Device)
		}
	}
}

func checkModel(t *rapid.T, changes []Change, after map[uint64]Record) {
	for _, change := range changes {
		if !change.New.Equal(after[change.Device]) {
			t.Fatalf("device %x became %+v, Diff says %+v", change.Device, after[change.Device], change.New)
		}
	}
}

// checkContents looks every device up, and one that was never seen.
func checkContents(t rapid.TB, c *Census, model map[uint64]Record) {
	var devices []Device
	for _, f := range slices.Sorted(maps.Keys(model)) {
		devices = append(devices, Device{Fingerprint: f})
	}
	found, err := c.lookup(devices)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range devices {
		if !found[i].Equal(model[d.Fingerprint]) {
			t.Fatalf("device %x is %+v, want %+v", d.Fingerprint, found[i], model[d.Fingerprint])
		}
	}
	size := 0
	for _, leaf := range c.leaves {
		size += len(leaf.Data)
	}
	for _, e := range c.journal {
		size += e.size
	}
	if size != c.Bytes() {
		t.Fatalf("Bytes says %d, the pages have %d", c.Bytes(), size)
	}
}

// TestALeafForgetsWhatItsSuccessorTookOver cuts a leaf but stores only the new part, so that the old one still holds
// outdated Records of the new one's devices, and then rewrites the old one.
func TestALeafForgetsWhatItsSuccessorTookOver(t *testing.T) {
	limits := Limits{Leaf: 1000, Patch: 1, Journal: 1}
	s := shelf{map[uint64][]byte{}, map[int64][]byte{}}
	model := map[uint64]Record{}
	sequence := int64(0)
	fold := func(first, last uint64, hour int64) *Census {
		t.Helper()
		c := s.open(t, limits)
		var observed []Device
		for device := first; device <= last; device++ {
			observed = append(observed, Device{device << 50, recordOf([]step{{hour: hour, phase: int(hour), arm: 1}})})
		}
		changes, err := c.Diff(observed)
		if err != nil {
			t.Fatal(err)
		}
		sequence++
		p := c.Patch(changes, sequence)
		s.patches[p.Sequence] = p.Data
		c.Apply(changes, p)
		for _, change := range changes {
			model[change.Device] = model[change.Device].Merge(change.New)
		}
		return c
	}
	if c := fold(1, 28, 0); !s.compact(t, c, 99) || len(s.leaves) != 1 {
		t.Fatalf("%d leaves, want one", len(s.leaves))
	}
	limits.Leaf = len(s.leaves[0]) + 10 // now it is almost full
	if c := fold(25, 28, 1); s.compact(t, c, 1) || len(s.leaves) != 2 {
		t.Fatalf("%d leaves, want the old one and its last part", len(s.leaves))
	}
	for hour := range int64(3) {
		s.compact(t, fold(25, 28, 2+hour), 99)
	}
	limits.Leaf = 100 // many parts, so that the outdated ones would hide the successor
	c := fold(1, 14, 5)
	s.compact(t, c, 99)
	checkContents(t, c, model)
	checkContents(t, s.open(t, limits), model)
}

func TestCorruptPagesAreReported(t *testing.T) {
	if _, err := OpenCensus(nil, []Patch{{1, []byte("no page")}}, Limits{}); err == nil {
		t.Error("a corrupt patch was accepted")
	}
	c, err := OpenCensus([]Leaf{{0, []byte("no page")}}, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Diff([]Device{{1, recordOf([]step{{hour: 1, arm: 1}})}}); err == nil {
		t.Error("a corrupt leaf was read")
	}
}

// fullCensus has so many devices as one shard of a large app has, two phases into its rollout. Those that measure have
// shown in a few hours how long their loads, calls and sessions take.
func fullCensus(b *testing.B, devices int, measure bool) (*Census, []uint64) {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	c, err := OpenCensus(nil, nil, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	fingerprints := make([]uint64, devices)
	for i := range fingerprints {
		fingerprints[i] = Fingerprint(fmt.Sprint("device-", i))
	}
	sequence := int64(0)
	for chunk := range slices.Chunk(fingerprints, 5000) {
		var observed []Device
		for _, f := range chunk {
			at := 480_000 + random.Int64N(48)
			r := recordOf([]step{{hour: at, arm: 1}, {hour: at + 1 + random.Int64N(24), arm: 1}, {hour: at + 60, phase: 1, arm: 2}})
			if measure {
				r = r.Merge(drawnMeasures(random, at))
			}
			observed = append(observed, Device{f, r})
		}
		changes, err := c.Diff(observed)
		if err != nil {
			b.Fatal(err)
		}
		sequence++
		c.Apply(changes, c.Patch(changes, sequence))
		if c.Crowded() {
			var rewrites []Leaf
			for leaf, err := range c.Rewrites() {
				if err != nil {
					b.Fatal(err)
				}
				rewrites = append(rewrites, leaf)
			}
			c.Compacted(rewrites)
		}
	}
	return c, fingerprints
}

// drawnMeasures is what a device's nine sessions in three days show: each a load, a call and its length, about as
// lognormal as they are.
func drawnMeasures(random *rand.Rand, entered int64) Record {
	var r Record
	for range 9 {
		at := (entered + random.Int64N(72)) * hourMillis
		for metric, median := range map[MetricType]float64{MetricLoadTime: 900, MetricAPITime: 250, MetricSessionLength: 120_000} {
			e := Event{Kind: KindMetric, Action: string(metric), Time: at, Value: median * math.Exp(random.NormFloat64())}
			r = r.Merge(Observe(e, Exposure{Rollout: "r", Arm: rollout.ArmCandidate}))
		}
	}
	return r
}

// BenchmarkDiff folds batches of checks and crashes into a shard of 250 000 devices: all of them random devices, the
// worst case, since every leaf is then read. Apps that measure send loads, too.
func BenchmarkDiff(b *testing.B) {
	const devices, batch = 250_000, 1000
	for _, measure := range []bool{false, true} {
		b.Run(fmt.Sprint("measures=", measure), func(b *testing.B) {
			c, fingerprints := fullCensus(b, devices, measure)
			random := rand.New(rand.NewChaCha8([32]byte{2}))
			observed := make([]Device, batch)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for i := range observed {
					e := Event{Kind: KindCheck, Time: (480_100 + random.Int64N(5)) * hourMillis}
					switch {
					case i%50 == 0:
						e.Kind, e.Action = KindAction, "app_crash"
					case measure && i%2 == 0:
						e.Kind, e.Action, e.Value = KindMetric, string(MetricLoadTime), 900*math.Exp(random.NormFloat64())
					}
					observed[i] = Device{fingerprints[random.IntN(devices)], Observe(e, Exposure{"r", 1, 2, false})}
				}
				b.StartTimer()
				changes, err := c.Diff(observed)
				if err != nil {
					b.Fatal(err)
				}
				d := Delta{}
				for _, change := range changes {
					change.AddTo(d)
				}
			}
			b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(c.Bytes())/devices, "bytes/device")
		})
	}
}
