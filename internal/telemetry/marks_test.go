package telemetry

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

func TestMarksAreMetricIndexes(t *testing.T) {
	if got := rollout.Adoption.Index(); got != markAdoption {
		t.Errorf("rollout.Adoption has index %d, records use %d", got, markAdoption)
	}
	for i, info := range rollout.AllMetrics() {
		if got, want := measureOf(uint8(i)), info.Metric.Measured(); got != want {
			t.Errorf("%s is measure %d, records use %d", info.Metric, want, got)
		}
	}
	if measureOf(markUnknown) >= 0 {
		t.Error("what is unknown is measured")
	}
}

// drawnMark is a mark of some kind in the first hours.
func drawnMark(t *rapid.T, hours int32) mark {
	m := mark{
		hour: rapid.Int32Range(0, hours).Draw(t, "hour"),
		kind: rapid.SampledFrom([]uint8{0, markMeasured, markMeasured, markMeasured + 2, markUnknown}).Draw(t, "kind"),
	}
	m.level = uint8(rapid.IntRange(1, levelsOf(m.kind)).Draw(t, "level"))
	return m
}

// drawnLife is the Record of one that was checked in a few phases and left marks.
func drawnLife(t *rapid.T, phases int, hours int32, marks int) Record {
	var r Record
	for range rapid.IntRange(0, phases).Draw(t, "checks") {
		r = r.Merge(Record{entries: []entry{{
			first: rapid.Int32Range(0, hours).Draw(t, "first"), second: never,
			phase: uint8(rapid.IntRange(0, phases-1).Draw(t, "phase")), arm: rollout.ArmControl,
		}}})
	}
	for range rapid.IntRange(0, marks).Draw(t, "marks") {
		r = r.Merge(Record{marks: []mark{drawnMark(t, hours)}})
	}
	return r
}

func TestRecordsOfMeasuresAreASemilattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawnLife(t, 3, 12, 20), drawnLife(t, 3, 12, 20), drawnLife(t, 3, 12, 20)
		if x, y := a.Merge(b), b.Merge(a); !x.Equal(y) {
			t.Fatalf("not commutative:\n%+v\n%+v", x, y)
		}
		if x, y := a.Merge(b).Merge(c), a.Merge(b.Merge(c)); !x.Equal(y) {
			t.Fatalf("not associative:\n%+v\n%+v", x, y)
		}
		if x := a.Merge(b); !x.Merge(a).Equal(x) || !a.Merge(a).Equal(a) {
			t.Fatalf("not idempotent:\n%+v\n%+v", a, x)
		}
	})
}

// TestPrunedMarksCountAsAllOfThem holds what is counted of a Record that was merged piece by piece, its entry becoming
// earlier meanwhile, against the definition applied to all marks ever heard: for each boundary, the first hour since the
// device entered in which it was beyond it.
func TestPrunedMarksCountAsAllOfThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		var marks []mark
		entered := never
		for range rapid.IntRange(1, 40).Draw(t, "news") {
			if rapid.IntRange(0, 5).Draw(t, "what") == 0 {
				hour := rapid.Int32Range(0, 30).Draw(t, "check")
				r = r.Merge(Record{entries: []entry{{first: hour, second: never, arm: rollout.ArmCandidate}}})
				if entered == never || hour < entered {
					entered = hour
				}
				continue
			}
			m := drawnMark(t, 30)
			marks = append(marks, m)
			r = r.Merge(Record{marks: []mark{m}})
		}
		got := map[int32]Tally{}
		r.contribute(func(k TallyKey, c contribution) {
			if !c.enters {
				tally := got[int32(k.Hour)]
				c.count(&tally, 1)
				got[int32(k.Hour)] = tally
			}
		})
		for hour := range int32(31) {
			if want := definedTally(marks, entered, hour); got[hour] != want {
				t.Fatalf("entered %d, marks %+v\nkept %+v\nhour %d\n got %+v\nwant %+v", entered, marks, r.marks, hour, got[hour], want)
			}
		}
	})
}

// definedTally is what marks count in an hour, by the definition.
func definedTally(marks []mark, entered, hour int32) Tally {
	first := func(kind uint8, boundary int) bool {
		at := int32(math.MaxInt32)
		for _, m := range marks {
			if m.kind == kind && int(m.level) > boundary && m.hour >= entered {
				at = min(at, m.hour)
			}
		}
		return at == hour
	}
	var t Tally
	if entered == never {
		return t
	}
	for kind := range uint8(rollout.NumMetrics) {
		measure := measureOf(kind)
		if measure < 0 {
			if first(kind, 0) {
				t.Events[kind] = 1
			}
			continue
		}
		passed := int64(0)
		for i := range rollout.NumLevels {
			if first(kind, i) {
				t.Measured[measure].Beyond[i], passed = 1, passed+1
			}
		}
		t.Measured[measure].Devices, t.Measured[measure].Squares = min(1, passed), passed*passed
		t.Events[kind] = t.Measured[measure].Beyond[rollout.ShownLevel]
	}
	if first(markUnknown, 0) {
		t.Unknown = 1
	}
	return t
}

// TestMarksBeforeTheFirstCheckAreBoundedByLevel floods a Record that was never checked, in one piece and in many.
func TestMarksBeforeTheFirstCheckAreBoundedByLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const hours = 6 * MaxMarks / rollout.NumLevels
		marks := make([]mark, hours)
		random := rapid.IntRange(1, rollout.NumLevels)
		for i := range marks {
			marks[i] = mark{hour: int32(i), kind: markMeasured, level: uint8(random.Draw(t, "level"))}
		}
		whole := Record{marks: slices.Clone(marks)}.normalise()
		if len(whole.marks) > MaxMarks {
			t.Fatalf("%d marks of one kind kept", len(whole.marks))
		}
		entry := Record{entries: []entry{{first: rapid.Int32Range(0, hours).Draw(t, "entered"), second: never, arm: 1}}}
		cut := rapid.IntRange(0, hours).Draw(t, "cut")
		odd := slices.Clone(marks[cut:])
		slices.Reverse(odd)
		pieces := Record{marks: slices.Clone(marks[:cut])}.normalise().Merge(entry).Merge(Record{marks: odd}.normalise())
		if late := whole.Merge(entry); !late.Equal(pieces) {
			t.Fatalf("entry after all:\n%+v\nbetween:\n%+v", late, pieces)
		}
	})
}

// TestOneDevicesChangeFitsOneWrite has a device do everything there is, each in an hour of its own, going further and
// further with every measure, in as many phases as there may be; and then enter earlier than was known, which moves all.
func TestOneDevicesChangeFitsOneWrite(t *testing.T) {
	most := 0
	for phases := 1; phases <= MaxPhase; phases++ {
		var r Record
		for phase := range phases {
			r.entries = append(r.entries, entry{first: 1, second: never, phase: uint8(phase), arm: rollout.ArmCandidate})
			r.entries[phase].first += int32(phase)
		}
		hour := int32(100)
		for kind := range uint8(markKinds) {
			for level := range levelsOf(kind) {
				hour++
				r.marks = append(r.marks, mark{hour: hour, kind: kind, level: uint8(level) + 1})
			}
		}
		r = r.normalise()
		if rows := rowsOf(r); len(rows) > MaxRows {
			t.Errorf("%d phases: %d rows of one device", phases, len(rows))
		} else {
			most = max(most, len(rows))
		}
		late := Record{entries: []entry{{first: 50, second: never, phase: MaxPhase, arm: rollout.ArmControl}}}
		d := Delta{}
		Change{Old: r, New: r.Merge(late)}.AddTo(d)
		if len(d) > 2*MaxRows {
			t.Errorf("%d phases: a change of one device touches %d rows", phases, len(d))
		}
	}
	if most < MaxRows-rollout.NumMeasured {
		t.Errorf("at most %d rows were seen: the bound was not exercised", most)
	}
}

// rowsOf returns the rows that r contributes to.
func rowsOf(r Record) map[TallyKey]bool {
	rows := map[TallyKey]bool{}
	r.contribute(func(k TallyKey, _ contribution) { rows[k] = true })
	return rows
}

// report is a measure in a table of histories.
type report struct {
	hour   int64
	metric MetricType
	millis float64
}

func TestWhatMeasuresContribute(t *testing.T) {
	const cand = rollout.ArmCandidate
	check := func(hour int64) Record { return recordOf([]step{{hour: hour, arm: cand}}) }
	at := func(hour int64) TallyKey { return TallyKey{0, hour, cand} }
	passing := func(m rollout.Metric, before, now uint8) Tally {
		var t Tally
		countPassings(&t.Measured[m.Measured()], before, now, 1)
		if before <= rollout.ShownLevel && now > rollout.ShownLevel {
			t.Events[m.Index()] = 1
		}
		return t
	}
	for _, tc := range []struct {
		name    string
		entered int64
		reports []report
		want    Delta
	}{
		{"a load at once", 5, []report{{6, MetricLoadTime, 600}}, Delta{at(5): entering(), at(6): passing(rollout.LoadTime, 0, 4)}},
		{"a very fast load", 5, []report{{6, MetricLoadTime, 100}}, Delta{at(5): entering()}},
		{"in the hour of the check", 5, []report{{5, MetricAPITime, 90}},
			Delta{at(5): entering().Add(passing(rollout.APITime, 0, 1), 1)}},
		{"the slowest of an hour", 5, []report{{6, MetricLoadTime, 600}, {6, MetricLoadTime, 5000}, {6, MetricLoadTime, 300}},
			Delta{at(5): entering(), at(6): passing(rollout.LoadTime, 0, 10)}},
		{"slower and slower", 5, []report{{6, MetricLoadTime, 600}, {7, MetricLoadTime, 500}, {8, MetricLoadTime, 3000}, {9, MetricLoadTime, 40_000}},
			Delta{at(5): entering(), at(6): passing(rollout.LoadTime, 0, 4), at(8): passing(rollout.LoadTime, 4, 9), at(9): passing(rollout.LoadTime, 9, 16)}},
		{"a short session", 5, []report{{6, MetricSessionLength, 100_000}, {7, MetricSessionLength, 1000}},
			Delta{at(5): entering(), at(6): passing(rollout.SessionLength, 0, 6), at(7): passing(rollout.SessionLength, 6, 13)}},
		{"slow before it entered", 5, []report{{4, MetricLoadTime, 9000}, {6, MetricLoadTime, 600}},
			Delta{at(5): entering(), at(6): passing(rollout.LoadTime, 0, 4)}},
		{"metrics apart", 5, []report{{6, MetricLoadTime, 5000}, {6, MetricAPITime, 5000}},
			Delta{at(5): entering(), at(6): passing(rollout.LoadTime, 0, 10).Add(passing(rollout.APITime, 0, 12), 1)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := check(tc.entered)
			for _, m := range slices.Backward(tc.reports) {
				e := Event{Kind: KindMetric, Action: string(m.metric), Value: m.millis, Time: m.hour * hourMillis}
				r = r.Merge(Observe(e, Exposure{Rollout: "r", Arm: cand}))
			}
			if got := deltaOf(r); !equalDeltas(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestPassingsOfOneDevice(t *testing.T) {
	want := judge.Measure{Devices: 1, Squares: 9}
	want.Beyond[2], want.Beyond[3], want.Beyond[4] = 1, 1, 1
	var got judge.Measure
	if countPassings(&got, 2, 5, 1); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if countPassings(&got, 2, 5, -1); got != (judge.Measure{}) {
		t.Errorf("taken out again: %+v", got)
	}
}
