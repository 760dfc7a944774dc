package telemetry

import (
	"cmp"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// MaxMarks is how many distinct hours of one kind of event a Record keeps while they are earlier than the device's
// first check. After that check one hour per kind is enough, so only a device that reports for six weeks without ever
// asking for an update can reach it.
const MaxMarks = 1024

// MaxPhase is the highest phase index that is counted. It bounds how many tallies one device can touch, so that one
// device's change always fits one write to the store.
const MaxPhase = 31

// markKinds is the number of kinds of mark: one per metric, and one for actions that are unknown.
const markKinds = rollout.NumMetrics + 1

const (
	markAdoption = 11 // rollout.Adoption's index: the one mark that checks leave
	markUnknown  = rollout.NumMetrics
)

// never is the hour of something that has not happened.
const never int32 = -1

// Record is all that is remembered of one device in one rollout. It holds whole hours since the Unix epoch only, so
// that it is small and says little. The zero value is a device of which nothing is known. Records are values: no method
// changes its receiver, and slices may be shared.
type Record struct {
	entries []entry // one per phase in which the device was checked, by phase
	marks   []mark  // hours of events, by kind and hour
}

// entry says when a device was seen in a phase.
type entry struct {
	first  int32 // hour of the earliest check
	second int32 // hour of the earliest check in a later hour than first, or never
	phase  uint8
	arm    rollout.Arm // of the earliest check; the smaller one if there were two in that hour
}

// mark is an hour in which something of its kind was reported.
type mark struct {
	hour int32
	kind uint8 // metric index, or markUnknown. Adoption marks are checks that run the candidate
}

// hourOf returns the whole hours since the epoch of a time in Unix milliseconds.
func hourOf(millis int64) int32 { return int32(millis / time.Hour.Milliseconds()) }

// Observe returns what e adds to the Record of its device in the rollout of x: the zero Record for events that are not
// counted, because they come from a test device, or are more than their source may count, or come from one outside the comparison, or from beyond MaxPhase, or are no bad event.
func Observe(e Event, x Exposure) Record {
	if e.Test || e.Capped || x.Arm == rollout.ArmNone || x.Phase > MaxPhase {
		return Record{}
	}
	hour := hourOf(e.Time)
	if e.Kind == KindCheck {
		r := Record{entries: []entry{{first: hour, second: never, phase: uint8(x.Phase), arm: x.Arm}}}
		if x.Candidate {
			r.marks = []mark{{hour: hour, kind: markAdoption}}
		}
		return r
	}
	class := Classify(e)
	switch {
	case !class.Known:
		return Record{marks: []mark{{hour: hour, kind: markUnknown}}}
	case class.Bad && (x.Candidate || !class.OfCandidate):
		return Record{marks: []mark{{hour: hour, kind: uint8(class.Metric.Index())}}}
	}
	return Record{}
}

// IsZero reports whether r says nothing.
func (r Record) IsZero() bool { return len(r.entries) == 0 && len(r.marks) == 0 }

// Bytes returns an upper bound on what r takes in a page, in bytes.
func (r Record) Bytes() int { return 16 + 12*len(r.entries) + 6*len(r.marks) }

// Equal reports whether r and other say the same.
func (r Record) Equal(other Record) bool {
	return slices.Equal(r.entries, other.entries) && slices.Equal(r.marks, other.marks)
}

// Merge returns the join of r and other: what is known after hearing both, in whatever order and however often.
func (r Record) Merge(other Record) Record {
	if other.IsZero() {
		return r
	}
	if r.IsZero() {
		return other
	}
	return Record{
		entries: append(slices.Clone(r.entries), other.entries...),
		marks:   append(slices.Clone(r.marks), other.marks...),
	}.normalise()
}

// normalise brings r, whose slices it may reorder, into its one canonical form.
func (r Record) normalise() Record {
	r.entries = joinEntries(r.entries)
	r.marks = pruneMarks(r.marks, r.entered())
	return r
}

// joinEntries sorts entries by phase and joins those of one phase, in place.
func joinEntries(entries []entry) []entry {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(a.first, b.first), cmp.Compare(a.arm, b.arm))
	})
	out := entries[:0]
	for _, e := range entries {
		if n := len(out); n > 0 && out[n-1].phase == e.phase {
			// e.first is not before the kept first: a later hour of either kind may be the second.
			out[n-1].second = earliestAfter(out[n-1].first, out[n-1].second, e.first, e.second)
			continue
		}
		out = append(out, e)
	}
	return out
}

// earliestAfter returns the smallest of hours that lies after the given one, or never.
func earliestAfter(after int32, hours ...int32) int32 {
	next := never
	for _, h := range hours {
		if h > after && (next == never || h < next) {
			next = h
		}
	}
	return next
}

// pruneMarks sorts marks and drops, in place, those that can never be counted. The counted one of a kind is the first
// that is not before the hour in which the device entered. That hour can only become earlier, so whatever follows the
// counted one is of no use, while marks before it must be kept.
func pruneMarks(marks []mark, entered int32) []mark {
	slices.SortFunc(marks, compareMarks)
	out := marks[:0]
	ofKind := 0
	for _, m := range marks {
		if n := len(out); n > 0 && out[n-1].kind == m.kind {
			last := out[n-1].hour
			if last == m.hour || ofKind == MaxMarks || entered != never && last >= entered {
				continue
			}
			ofKind++
		} else {
			ofKind = 1
		}
		out = append(out, m)
	}
	return out
}

func compareMarks(a, b mark) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.hour, b.hour))
}

// entered returns the hour of the device's first check in any phase, or never.
func (r Record) entered() int32 {
	first := never
	for _, e := range r.entries {
		if first == never || e.first < first {
			first = e.first
		}
	}
	return first
}

// contribute reports what r adds to the tallies: per phase one device, with whether it came back; per kind of event
// its first one since the device entered. A key may be reported several times. A device whose checks have not arrived
// contributes nothing.
func (r Record) contribute(add func(TallyKey, Tally)) {
	entered := r.entered()
	if entered == never {
		return
	}
	for _, e := range r.entries {
		var t Tally
		t.Devices = 1
		if next := r.nextCheck(e.first); next != never {
			for i, horizon := range judge.SilenceHorizons {
				if int64(next-e.first) <= horizon {
					t.Returned[i] = 1
				}
			}
		}
		add(e.key(e.first), t)
	}
	counted := -1
	for _, m := range r.marks {
		if m.hour < entered || int(m.kind) == counted {
			continue
		}
		counted = int(m.kind)
		add(r.during(m.hour).key(m.hour), m.tally())
	}
}

// nextCheck returns the hour of the earliest remembered check after the given hour, whatever its phase: a device that
// comes back when the next phase has begun is not silent.
func (r Record) nextCheck(after int32) int32 {
	next := never
	for _, e := range r.entries {
		next = earliestAfter(after, next, e.first, e.second)
	}
	return next
}

// during returns the latest phase that the device had entered by hour. It must have entered one.
func (r Record) during(hour int32) entry {
	var at entry
	for _, e := range r.entries {
		if e.first <= hour {
			at = e
		}
	}
	return at
}

func (e entry) key(hour int32) TallyKey {
	return TallyKey{Phase: int(e.phase), Hour: int64(hour), Arm: e.arm}
}

// tally returns one device in the count that m belongs to.
func (m mark) tally() Tally {
	var t Tally
	if m.kind == markUnknown {
		t.Unknown = 1
		return t
	}
	t.Events[m.kind] = 1
	if m.kind == markAdoption {
		t.Adopted = 1
	}
	return t
}
