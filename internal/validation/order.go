package validation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Order is how often a verdict hung on the order in which events came.
type Order struct {
	Rollouts      int
	Rearrangement int // foldings of each that were compared
	Different     int // foldings whose verdict had other bytes
	Events        float64
}

const rearrangements = 4

// order folds the same events again and again: shuffled, repeated, cut into other batches, over other shards, with censuses
// that are written to pages and read back at any moment.
func (s *study) order() (Order, error) { return s.orderOf(worlds()[len(worlds())-1], rearrangements) }

func (s *study) orderOf(w world, rearrangements int) (Order, error) {
	type result struct{ different, events int }
	results := make([]result, s.fraction(250))
	err := s.each("order of events", 250, func(stage *stage, run int) error {
		rng := seeded(s.Seed, "order", run)
		events, in, err := stage.recorded(w, rng)
		if err != nil {
			return err
		}
		var first []byte
		for range rearrangements {
			verdict, err := refold(events, in, stage.ledger.share, rng)
			if err != nil {
				return err
			}
			if first == nil {
				first = verdict
			}
			results[run].different += one(!bytes.Equal(first, verdict))
		}
		results[run].events = len(events)
		return nil
	})
	out := Order{Rollouts: len(results), Rearrangement: rearrangements}
	for _, r := range results {
		out.Different += r.different
		out.Events += float64(r.events) / float64(len(results))
	}
	return out, err
}

// recorded plays a rollout and keeps its events, with the judge's last input.
func (s *stage) recorded(w world, rng source) ([]telemetry.Event, judge.Input, error) {
	if err := s.ledger.begin(w.plan); err != nil {
		return nil, judge.Input{}, err
	}
	var events []telemetry.Event
	s.crowd.begin(&w, s.names, rng, func(e telemetry.Event) {
		e.Exposures = slices.Clone(e.Exposures)
		events = append(events, e)
	})
	for hour := range w.hours {
		s.phase = w.phaseAt(hour)
		s.crowd.live(hour, 0, 1, s.phase)
	}
	return events, s.input(0), nil
}

// refold folds events in some other way and returns the verdict as JSON.
func refold(events []telemetry.Event, in judge.Input, share func(int) float64, rng source) ([]byte, error) {
	shards := make([]shelf, 1+rng.IntN(4))
	events = append(slices.Clone(events), events[:rng.IntN(len(events))]...)
	rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for len(events) > 0 {
		n := min(len(events), 1+rng.IntN(4000))
		for i := range shards {
			if err := shards[i].fold(events[:n], i, len(shards), rng); err != nil {
				return nil, err
			}
		}
		events = events[n:]
	}
	tallies := telemetry.Tallies{}
	for i := range shards {
		for key, tally := range shards[i].tallies {
			tallies.Rows = append(tallies.Rows, telemetry.Row{Shard: fmt.Sprint(i), TallyKey: key, Tally: tally})
		}
	}
	rng.Shuffle(len(tallies.Rows), func(i, j int) { tallies.Rows[i], tallies.Rows[j] = tallies.Rows[j], tallies.Rows[i] })
	in.Strata = tallies.Strata(share)
	rng.Shuffle(len(in.Strata), func(i, j int) { in.Strata[i], in.Strata[j] = in.Strata[j], in.Strata[i] })
	in.Newest = in.Now
	text, err := json.Marshal(judge.Judge(in))
	if err != nil {
		return nil, fmt.Errorf("write the verdict: %w", err)
	}
	return text, nil
}

// shelf is what a store holds of one shard.
type shelf struct {
	leaves   map[uint64]telemetry.Leaf
	patches  map[int64]telemetry.Patch
	tallies  telemetry.Delta
	sequence int64
}

// fold reads the census from its pages, folds the shard's part of a batch, and writes back what changed.
func (s *shelf) fold(batch []telemetry.Event, shard, shards int, rng source) error {
	if s.tallies == nil {
		*s = shelf{map[uint64]telemetry.Leaf{}, map[int64]telemetry.Patch{}, telemetry.Delta{}, 0}
	}
	var observed []telemetry.Device
	for _, e := range batch {
		if e.Device%uint64(shards) != uint64(shard) {
			continue
		}
		for _, x := range e.Exposures {
			observed = append(observed, telemetry.Device{Fingerprint: e.Device, Record: telemetry.Observe(e, x)})
		}
	}
	census, err := telemetry.OpenCensus(slices.Collect(maps.Values(s.leaves)), slices.Collect(maps.Values(s.patches)), telemetry.Limits{Leaf: 2000})
	if err != nil {
		return fmt.Errorf("read shard %d: %w", shard, err)
	}
	changes, err := census.Diff(observed)
	if err != nil {
		return fmt.Errorf("fold shard %d: %w", shard, err)
	}
	s.sequence++
	patch := census.Patch(changes, s.sequence)
	census.Apply(changes, patch)
	s.patches[patch.Sequence] = patch
	for _, change := range changes {
		change.AddTo(s.tallies)
	}
	if rng.IntN(3) > 0 {
		return nil
	}
	return s.compact(census)
}

// compact merges the patches into the leaves.
func (s *shelf) compact(census *telemetry.Census) error {
	for leaf, err := range census.Rewrites() {
		if err != nil {
			return fmt.Errorf("merge patches: %w", err)
		}
		s.leaves[leaf.Low] = leaf
	}
	clear(s.patches)
	return nil
}
