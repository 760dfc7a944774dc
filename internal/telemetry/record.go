package telemetry

import (
	"cmp"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// MaxPhase is the highest phase index that is counted. Plans have fewer phases.
const MaxPhase = 31

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

// hourOf returns the whole hours since the epoch of a time in Unix milliseconds.
func hourOf(millis int64) int32 { return int32(millis / time.Hour.Milliseconds()) }

// Observe returns what e adds to the Record of its device in the rollout of x. It is the zero Record for what is not
// counted: events of test devices, more than their source may report, devices outside the comparison, phases beyond
// MaxPhase, and whatever speaks of no metric.
func Observe(e Event, x Exposure) Record {
	if e.Test || e.Capped || x.Arm == rollout.ArmNone || x.Phase > MaxPhase {
		return Record{}
	}
	hour := hourOf(e.Time)
	if e.Kind == KindCheck {
		r := Record{entries: []entry{{first: hour, second: never, phase: uint8(x.Phase), arm: x.Arm}}}
		if x.Candidate {
			r.marks = []mark{{hour: hour, kind: markAdoption, level: 1}}
		}
		return r
	}
	class := Classify(e)
	switch {
	case !class.Known:
		return Record{marks: []mark{{hour: hour, kind: markUnknown, level: 1}}}
	case class.Level > 0 && class.counts(x):
		return Record{marks: []mark{{hour: hour, kind: uint8(class.Metric.Index()), level: uint8(class.Level)}}}
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

// contribution is what a device adds to one row of the tallies: that it entered a phase, or a mark of its.
type contribution struct {
	back   int32 // hours from entering the phase until the next check, or never; for entries
	mark   mark  // else
	before uint8 // boundaries passed before the mark
	enters bool
}

// count adds sign times c to t.
func (c contribution) count(t *Tally, sign int64) {
	if !c.enters {
		c.mark.count(t, c.before, sign)
		return
	}
	t.Devices += sign
	for i, horizon := range judge.SilenceHorizons {
		if c.back != never && int64(c.back) <= horizon {
			t.Returned[i] += sign
		}
	}
}

// contribute reports what r adds to the tallies: per phase one device, with whether it came back; per kind of event
// its first one since the device entered; per boundary of a measured metric the first time beyond it. A key may be
// reported several times, and there are at most MaxRows keys. A device whose checks have not arrived contributes nothing.
func (r Record) contribute(add func(TallyKey, contribution)) {
	entered := r.entered()
	if entered == never {
		return
	}
	for _, e := range r.entries {
		c := contribution{enters: true, back: never}
		if next := r.nextCheck(e.first); next != never {
			c.back = next - e.first
		}
		add(e.key(e.first), c)
	}
	r.passings(entered, r.mostSteps(), func(m mark, before uint8) {
		add(r.during(m.hour).key(m.hour), contribution{mark: m, before: before})
	})
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
