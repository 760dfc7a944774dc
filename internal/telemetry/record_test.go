package telemetry

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

const hourMillis = 3_600_000

// drawnEvent is something that a device of a rollout did.
func drawnEvent(t *rapid.T) (Event, Exposure) {
	e := Event{
		Kind: Kind(rapid.IntRange(0, 2).Draw(t, "kind")), App: "app",
		Time: rapid.Int64Range(0, 30).Draw(t, "hour")*hourMillis + rapid.Int64Range(0, hourMillis-1).Draw(t, "ms"),
		Test: rapid.IntRange(0, 9).Draw(t, "test") == 0,
	}
	switch e.Kind {
	case KindAction:
		e.Action = rapid.SampledFrom([]string{"app_crash", "app_anr", "update_fail", "download_fail", "set", "novel"}).Draw(t, "action")
	case KindMetric:
		e.Action = rapid.SampledFrom([]string{"load_time", "load_time", "api_time", "session_length", "js_error"}).Draw(t, "action")
		e.Value = rapid.Float64Range(50, 100_000).Draw(t, "value")
	}
	return e, Exposure{
		Rollout: "r", Phase: rapid.IntRange(0, 3).Draw(t, "phase"),
		Arm:       rollout.Arm(rapid.SampledFrom([]uint8{0, 1, 1, 2, 2}).Draw(t, "arm")),
		Candidate: rapid.Bool().Draw(t, "candidate"),
	}
}

func drawnRecord(t *rapid.T) Record {
	var r Record
	for range rapid.IntRange(0, 12).Draw(t, "events") {
		r = r.Merge(Observe(drawnEvent(t)))
	}
	return r
}

func TestRecordsAreASemilattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawnRecord(t), drawnRecord(t), drawnRecord(t)
		if x, y := a.Merge(b), b.Merge(a); !x.Equal(y) {
			t.Fatalf("not commutative:\n%+v\n%+v", x, y)
		}
		if x, y := a.Merge(b).Merge(c), a.Merge(b.Merge(c)); !x.Equal(y) {
			t.Fatalf("not associative:\n%+v\n%+v", x, y)
		}
		if x := a.Merge(a); !x.Equal(a) {
			t.Fatalf("not idempotent:\n%+v\n%+v", x, a)
		}
		if x := a.Merge(b); !x.Merge(a).Equal(x) {
			t.Fatalf("hearing a again after a ∨ b = %+v gave %+v", x, x.Merge(a))
		}
	})
}

func TestMergeLeavesItsArgumentsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawnRecord(t), drawnRecord(t)
		ca := Record{slices.Clone(a.entries), slices.Clone(a.marks)}
		cb := Record{slices.Clone(b.entries), slices.Clone(b.marks)}
		a.Merge(b)
		if !a.Equal(ca) || !b.Equal(cb) {
			t.Fatal("Merge changed an argument")
		}
	})
}

// step is an event in a table of histories.
type step struct {
	hour      int64
	action    string // "" is a check
	phase     int
	arm       rollout.Arm
	candidate bool
}

func recordOf(steps []step) Record {
	var r Record
	for _, s := range steps {
		e := Event{Kind: KindAction, App: "a", Time: s.hour * hourMillis, Action: s.action}
		if s.action == "" {
			e.Kind = KindCheck
		}
		r = r.Merge(Observe(e, Exposure{"r", s.phase, s.arm, s.candidate}))
	}
	return r
}

func deltaOf(r Record) Delta {
	d := Delta{}
	d.add(r, 1)
	return d
}

func entering(returned ...int64) Tally {
	t := Tally{Counts: judge.Counts{Devices: 1}}
	copy(t.Returned[:], returned)
	return t
}

func event(m rollout.Metric) Tally {
	var t Tally
	t.Events[m.Index()] = 1
	return t
}

func TestWhatARecordContributes(t *testing.T) {
	const cand, ctrl = rollout.ArmCandidate, rollout.ArmControl
	adopted := event(rollout.Adoption)
	adopted.Adopted = 1
	for _, tc := range []struct {
		name  string
		steps []step
		want  Delta
	}{
		{"nothing", nil, Delta{}},
		{"one check", []step{{hour: 5, arm: ctrl}}, Delta{{0, 5, ctrl}: entering()}},
		{"a check twice in an hour is no return", []step{{hour: 5, arm: ctrl}, {hour: 5, arm: ctrl}},
			Delta{{0, 5, ctrl}: entering()}},
		{"back within two hours", []step{{hour: 5, arm: cand}, {hour: 7, arm: cand}},
			Delta{{0, 5, cand}: entering(1, 1, 1)}},
		{"back within eight hours", []step{{hour: 5, arm: cand}, {hour: 8, arm: cand}},
			Delta{{0, 5, cand}: entering(0, 1, 1)}},
		{"back within a day", []step{{hour: 5, arm: cand}, {hour: 29, arm: cand}},
			Delta{{0, 5, cand}: entering(0, 0, 1)}},
		{"back too late", []step{{hour: 5, arm: cand}, {hour: 30, arm: cand}}, Delta{{0, 5, cand}: entering()}},
		{"back in the next phase", []step{{hour: 5, arm: ctrl}, {hour: 6, phase: 1, arm: cand}},
			Delta{{0, 5, ctrl}: entering(1, 1, 1), {1, 6, cand}: entering()}},
		{"a crash before any check waits", []step{{hour: 5, action: "app_crash", arm: cand}}, Delta{}},
		{"a crash in the hour of the check, reported first", []step{{hour: 5, action: "app_crash", arm: cand}, {hour: 5, arm: cand}},
			Delta{{0, 5, cand}: entering().Add(event(rollout.Crash), 1)}},
		{"a crash loop is one crash", []step{{hour: 5, arm: cand}, {hour: 6, action: "app_crash", arm: cand},
			{hour: 7, action: "app_crash", arm: cand}, {hour: 8, action: "app_crash_native", arm: cand}},
			Delta{{0, 5, cand}: entering(), {0, 6, cand}: event(rollout.Crash)}},
		{"an earlier crash arrives late", []step{{hour: 5, arm: cand}, {hour: 9, action: "app_crash", arm: cand},
			{hour: 6, action: "app_crash", arm: cand}},
			Delta{{0, 5, cand}: entering(), {0, 6, cand}: event(rollout.Crash)}},
		{"an earlier check arrives late and lets an earlier crash in", []step{{hour: 8, arm: cand},
			{hour: 6, action: "app_crash", arm: cand}, {hour: 9, action: "app_crash", arm: cand}, {hour: 4, arm: cand}},
			Delta{{0, 4, cand}: entering(0, 1, 1), {0, 6, cand}: event(rollout.Crash)}},
		{"crashes before the first check do not count", []step{{hour: 3, action: "app_crash", arm: cand},
			{hour: 5, arm: cand}, {hour: 6, action: "app_crash", arm: cand}},
			Delta{{0, 5, cand}: entering(), {0, 6, cand}: event(rollout.Crash)}},
		{"an event belongs to the phase last entered, not to the one it was reported in",
			[]step{{hour: 5, arm: ctrl}, {hour: 9, phase: 1, arm: cand}, {hour: 7, phase: 1, action: "app_anr", arm: cand}},
			Delta{{0, 5, ctrl}: entering(0, 1, 1), {1, 9, cand}: entering(), {0, 7, ctrl}: event(rollout.ANR)}},
		{"two phases entered in one hour: the later one", []step{{hour: 5, arm: ctrl}, {hour: 5, phase: 1, arm: cand},
			{hour: 5, action: "app_anr", arm: cand}},
			Delta{{0, 5, ctrl}: entering(), {1, 5, cand}: entering().Add(event(rollout.ANR), 1)}},
		{"conflicting arms: the earlier hour", []step{{hour: 6, arm: cand}, {hour: 5, arm: ctrl}},
			Delta{{0, 5, ctrl}: entering(1, 1, 1)}},
		{"conflicting arms in one hour: the smaller", []step{{hour: 5, arm: ctrl}, {hour: 5, arm: cand}},
			Delta{{0, 5, cand}: entering()}},
		{"adoption", []step{{hour: 5, arm: cand}, {hour: 6, arm: cand, candidate: true}, {hour: 7, arm: cand, candidate: true}},
			Delta{{0, 5, cand}: entering(1, 1, 1), {0, 6, cand}: adopted}},
		{"no arm, no entry", []step{{hour: 5}, {hour: 6, action: "app_crash"}}, Delta{}},
		{"boot failure of the candidate", []step{{hour: 5, arm: cand}, {hour: 5, action: "update_fail", arm: cand, candidate: true}},
			Delta{{0, 5, cand}: entering().Add(event(rollout.BootFailure), 1)}},
		{"boot failure of another bundle", []step{{hour: 5, arm: cand}, {hour: 5, action: "update_fail", arm: cand}},
			Delta{{0, 5, cand}: entering()}},
		{"unknown action", []step{{hour: 5, arm: cand}, {hour: 6, action: "novel", arm: cand}, {hour: 7, action: "other", arm: cand}},
			Delta{{0, 5, cand}: entering(), {0, 6, cand}: {Unknown: 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 20 {
				got := deltaOf(recordOf(tc.steps))
				if !equalDeltas(got, tc.want) {
					t.Fatalf("steps %+v\n got %+v\nwant %+v", tc.steps, got, tc.want)
				}
				rand.Shuffle(len(tc.steps), func(i, j int) { tc.steps[i], tc.steps[j] = tc.steps[j], tc.steps[i] })
			}
		})
	}
}

func equalDeltas(a, b Delta) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestWhatIsNeverCounted(t *testing.T) {
	x := Exposure{Rollout: "r", Arm: rollout.ArmCandidate}
	if r := Observe(Event{Kind: KindCheck, Test: true}, x); !r.IsZero() {
		t.Errorf("a check of an emulator left %+v", r)
	}
	if r := Observe(Event{Kind: KindAction, Action: "app_crash", Test: true}, x); !r.IsZero() {
		t.Errorf("a crash of an emulator left %+v", r)
	}
	for what, e := range map[string]Event{
		"more than its source may report": {Kind: KindAction, Action: "app_crash", Capped: true},
		"a check beyond the cap":          {Kind: KindCheck, Capped: true},
		"a failure where nothing failed":  {Kind: KindAction, Action: "download_fail", Spurious: true},
	} {
		if r := Observe(e, x); !r.IsZero() {
			t.Errorf("%s left %+v", what, r)
		}
	}
	x.Phase = MaxPhase + 1
	if r := Observe(Event{Kind: KindCheck}, x); !r.IsZero() {
		t.Errorf("a check beyond the last phase that can be counted left %+v", r)
	}
}

func TestMarksBeforeTheFirstCheckAreBounded(t *testing.T) {
	var r Record
	x := Exposure{Rollout: "r", Arm: rollout.ArmCandidate}
	for hour := range int64(3 * MaxMarks) {
		r = r.Merge(Observe(Event{Kind: KindAction, Action: "app_crash", Time: hour * hourMillis}, x))
	}
	if len(r.marks) != MaxMarks {
		t.Errorf("%d marks kept, want %d", len(r.marks), MaxMarks)
	}
	r = r.Merge(Observe(Event{Kind: KindCheck, Time: 10 * hourMillis}, x))
	if want := 11; len(r.marks) != want {
		t.Errorf("%d marks kept after a check in hour 10, want %d", len(r.marks), want)
	}
}
