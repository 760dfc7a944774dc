package telemetry

import (
	"cmp"
	"slices"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// MaxMarks is how many marks of one kind a Record keeps, at most, while they are earlier than the device's first check:
// the earliest 1024 hours in which something happened, and for a measured metric the earliest 64 beyond each of its 16
// boundaries. After that check one mark per boundary is enough, so only a device that reports for days on end without ever
// asking for an update can reach it. That kind of mark then counts for nothing, whatever its arm.
const MaxMarks = 1024

// MaxRows is how many tally rows one Record contributes to, at most. A change of a device takes it out of so many rows
// and puts it into so many others, and has to fit one write to the store.
const MaxRows = 45

// markKinds is the number of kinds of mark: one per metric, and one for actions that are unknown.
const markKinds = rollout.NumMetrics + 1

const (
	markMeasured = 5  // the index of rollout.LoadTime, which the other measured metrics follow
	markAdoption = 11 // rollout.Adoption's index: the one mark that checks leave
	markUnknown  = rollout.NumMetrics
)

// mark is an hour in which something of its kind was reported.
type mark struct {
	hour  int32
	kind  uint8 // metric index, or markUnknown. Adoption marks are checks that run the candidate
	level uint8 // how many boundaries of a measured metric it is beyond; 1 for kinds that happen or do not
}

// measureOf returns the place of a kind among the measured metrics, or -1 if it is none.
func measureOf(kind uint8) int {
	if kind >= markMeasured && kind < markMeasured+rollout.NumMeasured {
		return int(kind) - markMeasured
	}
	return -1
}

// levelsOf returns how many boundaries a kind has: what happens or does not has one.
func levelsOf(kind uint8) int {
	if measureOf(kind) < 0 {
		return 1
	}
	return rollout.NumLevels
}

// slot is the kind and hour of m, in the order in which marks stand.
func (m mark) slot() uint64 { return uint64(m.kind)<<32 | uint64(uint32(m.hour)) }

// compareMarks orders marks by kind and hour, the furthest of an hour first.
func compareMarks(a, b mark) int {
	return cmp.Compare(a.slot()<<8|uint64(^a.level), b.slot()<<8|uint64(^b.level))
}

// pruneMarks sorts marks and drops, in place, those that can never be counted. What is counted of a kind is, for each of
// its boundaries, the first mark beyond it that is not before the hour in which the device entered. That hour can only
// become earlier, so from it on only marks that go further than all before them are of use: the Pareto frontier of early
// and far. Of the hours before it, all must be kept.
func pruneMarks(marks []mark, entered int32) []mark {
	slices.SortFunc(marks, compareMarks)
	out := marks[:0]
	var kept frontier
	for _, m := range marks {
		switch n := len(out); {
		case n == 0 || out[n-1].kind != m.kind:
			kept = frontier{}
		case out[n-1].hour == m.hour:
			continue
		}
		if kept.take(m, entered) {
			out = append(out, m)
		}
	}
	return out
}

// frontier is what pruneMarks knows of the marks of one kind that it has kept, while it goes through them by hour.
type frontier struct {
	hours  [rollout.NumLevels]uint16 // by boundary: marks beyond it, before the device entered; MaxMarks/levels at most
	passed uint8                     // boundaries passed since it entered
}

// take reports whether m is kept: whether it is one of the first marks beyond at least one boundary. As a mark beyond a
// boundary is beyond all lower ones, the highest boundary that it is beyond decides.
func (f *frontier) take(m mark, entered int32) bool {
	most := uint16(MaxMarks / levelsOf(m.kind))
	if m.level <= f.passed || f.hours[m.level-1] == most {
		return false
	}
	if entered != never && m.hour >= entered {
		f.passed = m.level
		return true
	}
	for i := range m.level {
		f.hours[i] = min(f.hours[i]+1, most)
	}
	return true
}

// passings reports the marks by which the device, since the hour in which it entered, went beyond a boundary for the
// first time, with the number of boundaries that it had passed before. It reports so many of one kind at most.
func (r Record) passings(entered int32, most int, pass func(m mark, before uint8)) {
	var passed uint8
	kind, steps := -1, 0
	for _, m := range r.marks {
		if int(m.kind) != kind {
			kind, steps, passed = int(m.kind), 0, 0
		}
		if m.hour < entered || m.level <= passed || steps == most {
			continue
		}
		pass(m, passed)
		passed, steps = m.level, steps+1
	}
}

// mostSteps is in how many hours a device may pass boundaries of one measured metric, for its rows to be no more than
// MaxRows: ten in the first phase, and one less for every third phase entered. A device that goes a little further in yet
// another hour is not counted there: nearly none does, and it is the same in both arms.
func (r Record) mostSteps() int {
	const others = markKinds - rollout.NumMeasured // rows of what happens once
	return (MaxRows - others - len(r.entries)) / rollout.NumMeasured
}

// count adds sign times one device to the counts that m belongs to, having passed so many boundaries before.
func (m mark) count(t *Tally, before uint8, sign int64) {
	if m.kind == markUnknown {
		t.Unknown += sign
		return
	}
	if before <= shownLevel(m.kind) && m.level > shownLevel(m.kind) {
		t.Events[m.kind] += sign
	}
	if m.kind == markAdoption {
		t.Adopted += sign
	}
	if measure := measureOf(m.kind); measure >= 0 {
		countPassings(&t.Measured[measure], before, m.level, sign)
	}
}

// shownLevel returns the boundary beyond which a kind counts as an event.
func shownLevel(kind uint8) uint8 {
	if measureOf(kind) < 0 {
		return 0
	}
	return rollout.ShownLevel
}

// countPassings adds sign times a device that was beyond so many boundaries before and is beyond so many now.
func countPassings(t *judge.Measure, before, now uint8, sign int64) {
	passed := int64(now - before)
	t.Devices += sign
	t.Squares += sign * passed * passed
	for i := before; i < now; i++ {
		t.Beyond[i] += sign
	}
}
