package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/store/sqlite"
)

var verdictsStart = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// readAt is what a tick reads of a rollout, so many minutes after its start, on an app to which about perHour devices come
// every hour. All metrics have events; an hour's counts grow during that hour, and its devices come back for a day.
func readAt(minute int, perHour float64) judge.Input {
	plan, _ := rollout.BuiltinPlan(rollout.DefaultPlan)
	now := verdictsStart.Add(time.Duration(minute) * time.Minute)
	in := judge.Input{
		Plan: plan, Phase: 1, Held: time.Duration(minute) * time.Minute, Now: now,
		Newest: now.Add(-1_234_567 * time.Microsecond), Complete: now.Add(-2 * time.Second),
		Record: &rollout.Record{Devices: 123, Rollouts: []string{"01M0000000000000000000000A"}},
	}
	for hour := range minute/60 + 1 {
		chance := rand.New(rand.NewPCG(uint64(hour), 1))
		age := float64(minute-60*hour) / 60
		in.Strata = append(in.Strata, judge.Stratum{
			Phase: hour / 48, Hour: verdictsStart.Unix()/3600 + int64(hour), Share: .2,
			Candidate: armAt(age, .2*perHour, chance), Control: armAt(age, .8*perHour, chance),
		})
	}
	return in
}

// armAt is what an arm to which about perHour devices came shows age hours after the beginning of that hour.
func armAt(age, perHour float64, chance *rand.Rand) (c judge.Counts) {
	n := min(1, age) * perHour * (.5 + chance.Float64())
	some := func(share float64) int64 { return int64(n * share * (.8 + .4*chance.Float64())) }
	c.Devices, c.Adopted = int64(n), some(.7)
	for i, horizon := range judge.SilenceHorizons {
		c.Returned[i] = int64(n * .9 * min(1, age/float64(horizon)))
	}
	for i := range c.Events {
		c.Events[i] = some(.002 * float64(i+1))
	}
	for i := range c.Measured {
		c.Measured[i].Devices, c.Measured[i].Squares = some(.9), some(9)
		for level := range c.Measured[i].Beyond {
			c.Measured[i].Beyond[level] = some(1 / float64(int(1)<<level))
		}
	}
	return c
}

// recordOf is the record of a tick that read in.
func recordOf(t testing.TB, in judge.Input) store.VerdictRecord {
	t.Helper()
	verdict, err := json.Marshal(judge.Judge(in))
	if err != nil {
		t.Fatal(err)
	}
	return store.VerdictRecord{Judge: judge.Version, Arch: runtime.GOARCH, Input: in, Verdict: verdict}
}

// appendVerdict stores r as one of rollout r of app and returns it as it is to be read.
func appendVerdict(t *testing.T, s store.Store, r store.VerdictRecord) store.VerdictRecord {
	t.Helper()
	var err error
	if r.ID, err = (store.Verdicts{Store: s}).Append(t.Context(), "app", "r", r); err != nil {
		t.Fatal(err)
	}
	return r
}

// readVerdicts returns the verdicts after an ID, limit of them at most.
func readVerdicts(t *testing.T, s store.Store, after string, limit int) (all []store.VerdictRecord) {
	t.Helper()
	for r, err := range (store.Verdicts{Store: s}).Each(t.Context(), "app", "r", after) {
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, r); len(all) == limit {
			break
		}
	}
	return all
}

// TestVerdictsAreReadAsTheyWereStored has a tick a minute for two hours and more, with the plan changed on the way.
func TestVerdictsAreReadAsTheyWereStored(t *testing.T) {
	st := tallyStore(t)
	var want []store.VerdictRecord
	for minute := range 130 {
		in := readAt(24*60+minute, 500)
		if minute > 70 {
			in.Plan = rollout.Resolve(rollout.Plan{Phases: make([]rollout.Phase, 2), Margin: rollout.MarginAuto})
		}
		r := recordOf(t, in)
		if minute == 90 {
			r.Verb = rollout.VerbPromote
		}
		want = append(want, appendVerdict(t, st, r))
	}
	if got := readVerdicts(t, st, "", 0); !reflect.DeepEqual(got, want) {
		t.Fatalf("%d verdicts, want %d as they were stored", len(got), len(want))
	}
	if got := readVerdicts(t, st, want[8].ID, 103); !reflect.DeepEqual(got, want[9:112]) {
		t.Errorf("after the 9th: %d verdicts, want the 103 that follow", len(got))
	}
	if got := readVerdicts(t, st, want[129].ID, 0); len(got) != 0 {
		t.Errorf("after the last: %d verdicts", len(got))
	}
	for i, r := range want {
		if again := recordOf(t, r.Input); string(again.Verdict) != string(r.Verdict) {
			t.Fatalf("verdict %d is another when given anew:\n%s\n%s", i, r.Verdict, again.Verdict)
		}
	}
}

// TestTicksAtOnceKeepAllTheirVerdicts: the same once, others beside each other, though all are of one instant.
func TestTicksAtOnceKeepAllTheirVerdicts(t *testing.T) {
	st := tallyStore(t)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			in := readAt(60, 500)
			in.Approved = i%2 == 0
			appendVerdict(t, st, recordOf(t, in))
		})
	}
	all.Wait()
	got := readVerdicts(t, st, "", 0)
	if len(got) != 2 || got[0].Input.Approved == got[1].Input.Approved {
		t.Errorf("%d verdicts, want both that were given: %+v", len(got), got)
	}
}

// TestVerdictsOutgrowItems stores years of hourly strata, which compress badly, and refuses what is more than a Write.
func TestVerdictsOutgrowItems(t *testing.T) {
	st := tallyStore(t)
	in := readAt(60, 100)
	chance := rand.New(rand.NewPCG(3, 4))
	grow := func(to int) {
		for len(in.Strata) < to {
			in.Strata = append(in.Strata, judge.Stratum{
				Phase: 1, Hour: int64(len(in.Strata)), Share: .5, Candidate: armAt(9, 1e15, chance), Control: armAt(9, 1e15, chance),
			})
		}
	}
	grow(1500)
	r := store.VerdictRecord{Input: in, Verdict: json.RawMessage(`{}`)}
	want := []store.VerdictRecord{appendVerdict(t, st, r)}
	r.Input.Now = in.Now.Add(time.Minute)
	want = append(want, appendVerdict(t, st, r))
	r.Input.Strata = slices.Clone(in.Strata)
	for i := range r.Input.Strata { // nothing is as it was: a record like this needs a frame of its own
		r.Input.Strata[i].Candidate = armAt(9, 1e15, chance)
	}
	r.Input.Now = in.Now.Add(2 * time.Minute)
	want = append(want, appendVerdict(t, st, r))
	if got := readVerdicts(t, st, "", 0); !reflect.DeepEqual(got, want) {
		t.Fatalf("%d verdicts, not as they were stored", len(got))
	}
	frames, err := st.Query(t.Context(), store.Range{PK: "VERDICT#app#r", Prefix: "frame#"}, store.Strong)
	if err != nil || len(frames) < 4 {
		t.Errorf("%d items of frames, %v; want two frames of several", len(frames), err)
	}
	grow(4600)
	r.Input = in
	if _, err := (store.Verdicts{Store: st}).Append(t.Context(), "app", "r", r); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("stored what is more than a Write can take: %v", err)
	}
}

// TestVerdictsExpire a year and more after they were given, and the frame not before them.
func TestVerdictsExpire(t *testing.T) {
	now := verdictsStart
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "palier.db"), sqlite.Options{Relaxed: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for minute := range 59 {
		appendVerdict(t, st, recordOf(t, readAt(minute, 0)))
	}
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{0, 59}, {400*24*time.Hour - 1, 59}, {400*24*time.Hour + 30*time.Minute, 28}, {400*24*time.Hour + 58*time.Minute, 0}} {
		now = verdictsStart.Add(c.after)
		if got := readVerdicts(t, st, "", 0); len(got) != c.left {
			t.Errorf("after %s: %d verdicts, want %d", c.after, len(got), c.left)
		}
	}
}

// TestSpoiltVerdictsAreNotRead: a record says by its key what must be in it. One that is spoilt stops no later tick.
func TestSpoiltVerdictsAreNotRead(t *testing.T) {
	for what, spoil := range map[string]func(record, frame *store.Item){
		"no frame named":  func(r, _ *store.Item) { r.Value = r.Value[40:] },
		"another frame":   func(r, _ *store.Item) { r.Value[2]++ },
		"a byte of it":    func(r, _ *store.Item) { r.Value[len(r.Value)-1]++ },
		"another's key":   func(r, _ *store.Item) { r.SK = r.SK[:len(r.SK)-1] + "x" },
		"a byte of frame": func(_, f *store.Item) { f.Value[len(f.Value)/2]++ },
	} {
		st := tallyStore(t)
		appendVerdict(t, st, recordOf(t, readAt(90, 500)))
		items, err := st.Query(t.Context(), store.Range{PK: "VERDICT#app#r"}, store.Strong)
		if err != nil || len(items) != 2 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		frame, record := items[0], items[1]
		if err := st.Write(t.Context(), store.Delete(record.Key, store.Always())); err != nil {
			t.Fatal(err)
		}
		spoil(&record, &frame)
		if err := st.Write(t.Context(), store.Put(record, store.Always()), store.Put(frame, store.Always())); err != nil {
			t.Fatal(err)
		}
		for _, err := range (store.Verdicts{Store: st}).Each(t.Context(), "app", "r", "") {
			if err == nil {
				t.Errorf("%s spoilt, and read", what)
			}
			break
		}
		next := appendVerdict(t, st, recordOf(t, readAt(91, 500)))
		if got := readVerdicts(t, st, next.ID[:13], 1); len(got) != 1 || got[0].ID != next.ID {
			t.Errorf("%s spoilt: the next verdict is not to be had", what)
		}
	}
}

// TestInputsSurviveJSON: what was read is read back exactly, whatever it was, and judged the same.
func TestInputsSurviveJSON(t *testing.T) {
	chance := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		in := anyInput(chance)
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var back judge.Input
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if !reflect.DeepEqual(back, in) {
			t.Fatalf("%s\nreads back as %+v\nit was        %+v", text, back, in)
		}
		if was, is := recordOf(t, in).Verdict, recordOf(t, back).Verdict; string(was) != string(is) {
			t.Fatalf("judged %s\nthen   %s", was, is)
		}
	}
}

// anyInput draws an Input with numbers of all sizes.
func anyInput(chance *rand.Rand) judge.Input {
	anyTime := func() time.Time { return time.Unix(chance.Int64N(4e9), chance.Int64N(1e9)).UTC() }
	in := judge.Input{
		Phase: chance.IntN(3), Held: time.Duration(chance.Int64N(math.MaxInt64)), Approved: chance.IntN(2) == 0,
		Now: anyTime(), Newest: anyTime(), Strata: []judge.Stratum{}, Plan: anyPlan(chance),
	}
	if chance.IntN(2) == 0 {
		in.Complete, in.Record = anyTime(), &rollout.Record{Devices: chance.Int64(), Rollouts: []string{"a"}, Waited: [3]int64{1, 2, 3}}
	}
	for hour := range chance.Int64N(5) {
		in.Strata = append(in.Strata, judge.Stratum{
			Phase: chance.IntN(3), Hour: hour, Share: chance.Float64(),
			Candidate: armAt(3, 1e4*chance.Float64(), chance), Control: armAt(3, 1e15*chance.Float64(), chance),
		})
	}
	return in
}

// anyPlan draws a resolved plan.
func anyPlan(chance *rand.Rand) rollout.Plan {
	plan := rollout.Plan{
		Name: "<any> & \u2028", OnTimeout: rollout.TimeoutRollback, Holdback: rollout.Percent(chance.Int64N(1e9)),
		Alpha: chance.Float64() / 3, Beta: math.Exp(-9 * chance.Float64()), Margin: rollout.Margin(1 + chance.ExpFloat64()),
	}
	for range 3 {
		phase := rollout.Phase{Percent: rollout.Percent(chance.Int64N(1e9)), MinDevices: chance.IntN(9)}
		phase.Hold = rollout.Hold{Min: rollout.Duration(chance.Int64()), Max: rollout.Duration(chance.Int64N(1e15))}
		if chance.IntN(2) == 0 {
			phase.Segments, phase.Margins = []string{"beta"}, map[rollout.Metric]rollout.Margin{rollout.Crash: 1 / rollout.Margin(chance.Float64())}
		}
		plan.Phases = append(plan.Phases, phase)
	}
	plan.Gates = []rollout.Gate{{Metric: rollout.ANR, Margin: rollout.MarginAuto, Severe: 9 * chance.Float64(), Off: chance.IntN(2) == 0}}
	return rollout.Resolve(plan)
}

// billed is a Store that adds up what its Writes take and cost.
type billed struct {
	store.Store
	bytes, units, items float64
}

func (b *billed) Write(ctx context.Context, ops ...store.Op) error {
	for _, op := range ops {
		b.items++
		b.bytes += float64(len(op.Item.PK) + len(op.Item.SK) + len(op.Item.Value))
	}
	b.units += dynamo.WriteUnits(ops...)
	return b.Store.Write(ctx, ops...)
}

// TestVerdictsAreSmall measures an hour of ticks, one a minute, halfway through a rollout of ten days.
func TestVerdictsAreSmall(t *testing.T) {
	for _, c := range []struct {
		what        string
		perHour     float64
		most, units float64 // a day
	}{
		{"a million devices", 40_000, 3.5e6, 4000},
		{"five thousand devices", 200, 2e6, 2500},
		{"nobody yet", 0, 4e5, 1800},
	} {
		b := &billed{Store: tallyStore(t)}
		for minute := range 60 {
			appendVerdict(t, b, recordOf(t, readAt(5*24*60+minute, c.perHour)))
		}
		if b.items != 61 {
			t.Errorf("%s: %.0f items in an hour, want a frame and 60 records", c.what, b.items)
		}
		bytes, units := 24*b.bytes, 24*b.units
		t.Logf("%s: %.0f KB and %.0f write units a day", c.what, bytes/1000, units)
		if bytes > c.most || units > c.units {
			t.Errorf("%s: %.0f bytes and %.0f write units a day, want %.0f and %.0f at most", c.what, bytes, units, c.most, c.units)
		}
	}
}

// BenchmarkAppendVerdict stores verdicts of the eighth day of a rollout on an app of a million devices.
func BenchmarkAppendVerdict(b *testing.B) {
	st, err := sqlite.Open(filepath.Join(b.TempDir(), "palier.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	r := recordOf(b, readAt(7*24*60, 40_000))
	b.ReportAllocs()
	for b.Loop() {
		r.Input.Now = r.Input.Now.Add(time.Second)
		if _, err := (store.Verdicts{Store: st}).Append(b.Context(), "app", "r", r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadVerdicts reads an hour's verdicts of the eighth day of a rollout on an app of a million devices.
func BenchmarkReadVerdicts(b *testing.B) {
	st, err := sqlite.Open(filepath.Join(b.TempDir(), "palier.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	for minute := range 60 {
		if _, err := (store.Verdicts{Store: st}).Append(b.Context(), "app", "r", recordOf(b, readAt(7*24*60+minute, 40_000))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range (store.Verdicts{Store: st}).Each(b.Context(), "app", "r", "") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
