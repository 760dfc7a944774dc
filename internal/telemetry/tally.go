package telemetry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// TallyKey is the place of a Tally within one rollout.
type TallyKey struct {
	Phase int
	Hour  int64 // hours since the Unix epoch
	Arm   rollout.Arm
}

// Compare orders keys by phase, hour and arm.
func (k TallyKey) Compare(other TallyKey) int {
	return cmp.Or(cmp.Compare(k.Phase, other.Phase), cmp.Compare(k.Hour, other.Hour), cmp.Compare(k.Arm, other.Arm))
}

// Tally is how many devices did what, in one phase, hour and arm. Every number counts devices, never reports.
type Tally struct {
	judge.Counts
	Unknown int64 `json:"unknown,omitempty"` // devices whose first report of an action Palier does not know fell here
}

// Add returns t + sign·other, number by number.
func (t Tally) Add(other Tally, sign int64) Tally {
	t.add(&other, sign)
	return t
}

// add is Add in place: a Tally has more than seventy numbers.
func (t *Tally) add(other *Tally, sign int64) {
	t.Devices += sign * other.Devices
	for i := range t.Returned {
		t.Returned[i] += sign * other.Returned[i]
	}
	t.Adopted += sign * other.Adopted
	for i := range t.Events {
		t.Events[i] += sign * other.Events[i]
	}
	for i := range t.Measured {
		addMeasure(&t.Measured[i], &other.Measured[i], sign)
	}
	t.Unknown += sign * other.Unknown
}

func addMeasure(m, other *judge.Measure, sign int64) {
	m.Devices += sign * other.Devices
	for i := range m.Beyond {
		m.Beyond[i] += sign * other.Beyond[i]
	}
	m.Squares += sign * other.Squares
}

// Encode returns t as JSON.
func (t Tally) Encode() ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode tally: %w", err)
	}
	return text, nil
}

// DecodeTally reads what Encode wrote, now or when there were twelve metrics.
func DecodeTally(data []byte) (Tally, error) {
	var wire struct {
		Tally
		Events []int64 `json:"events"` // hides that of Tally, for its length to be seen
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return Tally{}, fmt.Errorf("decode tally: %w", err)
	}
	t := wire.Tally
	copy(t.Events[:], wire.Events)
	if len(wire.Events) == formerMetrics {
		t.measureEvents()
	}
	return t, nil
}

// measureEvents sets Measured for a tally of the time when a measured metric was an event. Those devices went beyond
// rollout.ShownLevel and all boundaries before it at once, which is how their Records, in pages of that time, are read: so
// what a Record contributes is what stands in the tallies, and can be taken out again.
func (t *Tally) measureEvents() {
	for i := range t.Measured {
		t.Measured[i] = judge.Measure{}
		countPassings(&t.Measured[i], 0, rollout.ShownLevel+1, t.Events[markMeasured+i])
	}
}

// Delta is a change of a rollout's tallies.
type Delta map[TallyKey]Tally

// add puts sign times what r contributes into d, leaving no empty entries.
func (d Delta) add(r Record, sign int64) {
	r.contribute(func(k TallyKey, c contribution) {
		sum := d[k]
		c.count(&sum, sign)
		d.set(k, &sum)
	})
}

// Merge adds other into d, leaving no empty entries.
func (d Delta) Merge(other Delta) {
	for k, t := range other {
		sum := d[k]
		sum.add(&t, 1)
		d.set(k, &sum)
	}
}

func (d Delta) set(k TallyKey, sum *Tally) {
	if *sum == (Tally{}) {
		delete(d, k)
	} else {
		d[k] = *sum
	}
}

// Keys returns the keys of d in order.
func (d Delta) Keys() []TallyKey { return slices.SortedFunc(maps.Keys(d), TallyKey.Compare) }

// Row is a Tally as one shard of the stream knows it.
type Row struct {
	Shard string
	TallyKey
	Tally
}

// Tallies is all that was counted of one rollout.
type Tallies struct {
	Rows   []Row
	Newest time.Time // when the newest counted check was received; zero if there was none
	// Complete is the Newest of the shard that is furthest behind, of those that counted anything: before it, all that
	// was received has been counted.
	Complete time.Time
}

// Strata sums the rows over shards and pairs the arms, ordered by phase and hour. share gives the design share of
// candidates among the devices that a phase compares, in (0, 1], which only the rollout's plan knows.
func (t Tallies) Strata(share func(phase int) float64) []judge.Stratum {
	type place struct {
		phase int
		hour  int64
	}
	strata := map[place]*judge.Stratum{}
	for _, row := range t.Rows {
		at := place{row.Phase, row.Hour}
		s := strata[at]
		if s == nil {
			s = &judge.Stratum{Phase: row.Phase, Hour: row.Hour, Share: share(row.Phase)}
			strata[at] = s
		}
		switch row.Arm {
		case rollout.ArmCandidate:
			s.Candidate = sumCounts(s.Candidate, row.Counts)
		case rollout.ArmControl:
			s.Control = sumCounts(s.Control, row.Counts)
		}
	}
	out := make([]judge.Stratum, 0, len(strata))
	for _, s := range strata {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b judge.Stratum) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Hour, b.Hour))
	})
	return out
}

func sumCounts(a, b judge.Counts) judge.Counts {
	return Tally{Counts: a}.Add(Tally{Counts: b}, 1).Counts
}
