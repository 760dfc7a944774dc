package validation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// numShards is how many shards the stream has. A device's events are all in one.
const numShards = 2

// ledger is the fold of one rollout: what the aggregator does, without a store. Events are observed, an hour's worth of
// them is held against each shard's census, and what changes is added to the tallies.
type ledger struct {
	share  func(phase int) float64
	shards [numShards]shard
	rows   map[rowKey]telemetry.Tally
	events int

	strata []judge.Stratum // the rows paired, kept up to date: see telemetry.Tallies.Strata, which gives the same
	at     map[place]int   // in strata
	delta  telemetry.Delta
}

type shard struct {
	census *telemetry.Census
	newest int64 // received time of the newest check that was folded, Unix milliseconds
	last   int64 // received time of the newest check in the batch
	batch  []telemetry.Device
	queue  []batch // batches that wait because the shard is behind
}

// batch is an hour of a shard.
type batch struct {
	devices []telemetry.Device
	newest  int64
}

type rowKey struct {
	shard int
	telemetry.TallyKey
}

type place struct {
	phase int
	hour  int64
}

// begin empties l for a rollout of the plan.
func (l *ledger) begin(plan rollout.Plan) error {
	share := func(phase int) float64 { return rollout.EffectivePercent(plan, phase).Share() }
	*l = ledger{
		share: share, rows: map[rowKey]telemetry.Tally{}, at: map[place]int{}, strata: l.strata[:0],
		delta: telemetry.Delta{}, shards: l.shards,
	}
	for i := range l.shards {
		census, err := telemetry.OpenCensus(nil, nil, telemetry.Limits{})
		if err != nil {
			return fmt.Errorf("open an empty census: %w", err)
		}
		l.shards[i] = shard{census: census, batch: l.shards[i].batch[:0]}
	}
	return nil
}

// hear takes an event into the current batch of its shard.
func (l *ledger) hear(e telemetry.Event) {
	l.events++
	s := &l.shards[e.Device%numShards]
	for _, x := range e.Exposures {
		observed := telemetry.Observe(e, x)
		if observed.IsZero() {
			continue
		}
		s.batch = append(s.batch, telemetry.Device{Fingerprint: e.Device, Record: observed})
		if e.Kind == telemetry.KindCheck {
			s.last = max(s.last, e.Time)
		}
	}
}

// fold counts the batches, that of the last shard so many batches late. With a source of randomness it does so in any
// order, and again what it has counted before.
func (l *ledger) fold(lag int, shuffle *rand.Rand) error {
	for i := range l.shards {
		s := &l.shards[i]
		if i < numShards-1 || lag == 0 {
			if err := l.count(i, batch{s.batch, s.last}, shuffle); err != nil {
				return err
			}
			s.batch = s.batch[:0]
			continue
		}
		s.queue = append(s.queue, batch{append([]telemetry.Device(nil), s.batch...), s.last})
		s.batch = s.batch[:0]
		if len(s.queue) > lag {
			if err := l.count(i, s.queue[0], shuffle); err != nil {
				return err
			}
			s.queue = s.queue[1:]
		}
	}
	return nil
}

// count folds one batch into a shard.
func (l *ledger) count(i int, b batch, shuffle *rand.Rand) error {
	if shuffle != nil {
		shuffle.Shuffle(len(b.devices), func(a, z int) { b.devices[a], b.devices[z] = b.devices[z], b.devices[a] })
		if half := b.devices[:len(b.devices)/2]; len(half) > 0 { // a batch that is cut and delivered once more
			if err := l.merge(i, half); err != nil {
				return err
			}
		}
	}
	l.shards[i].newest = max(l.shards[i].newest, b.newest)
	return l.merge(i, b.devices)
}

// merge folds what was observed into a shard's census and adds what changes to the tallies.
func (l *ledger) merge(i int, observed []telemetry.Device) error {
	s := &l.shards[i]
	changes, err := s.census.Diff(observed)
	if err != nil {
		return fmt.Errorf("fold shard %d: %w", i, err)
	}
	if len(changes) == 0 {
		return nil
	}
	// The patch itself is for the store; that census and pages agree is shown where the order of events is.
	s.census.Apply(changes, telemetry.Patch{Sequence: 1})
	clear(l.delta)
	for _, change := range changes {
		change.AddTo(l.delta)
	}
	for key, change := range l.delta {
		row := rowKey{i, key}
		l.rows[row] = l.rows[row].Add(change, 1)
		l.pair(key, change)
	}
	return nil
}

// pair adds a change to the strata.
func (l *ledger) pair(key telemetry.TallyKey, change telemetry.Tally) {
	at := place{key.Phase, key.Hour}
	n, ok := l.at[at]
	if !ok {
		n = len(l.strata)
		l.at[at] = n
		l.strata = append(l.strata, judge.Stratum{Phase: key.Phase, Hour: key.Hour, Share: l.share(key.Phase)})
	}
	arm := &l.strata[n].Control
	if key.Arm == rollout.ArmCandidate {
		arm = &l.strata[n].Candidate
	}
	*arm = telemetry.Tally{Counts: *arm}.Add(change, 1).Counts
}

// tallies returns what a store would.
func (l *ledger) tallies() telemetry.Tallies {
	var t telemetry.Tallies
	for key, tally := range l.rows {
		t.Rows = append(t.Rows, telemetry.Row{Shard: fmt.Sprint(key.shard), TallyKey: key.TallyKey, Tally: tally})
	}
	t.Newest, t.Complete = l.clocks()
	return t
}

// clocks returns when the newest counted check was received, and the same of the shard that is furthest behind.
func (l *ledger) clocks() (newest, complete time.Time) {
	for i := range l.shards {
		if l.shards[i].newest == 0 {
			continue
		}
		at := time.UnixMilli(l.shards[i].newest)
		if at.After(newest) {
			newest = at
		}
		if complete.IsZero() || at.Before(complete) {
			complete = at
		}
	}
	return newest, complete
}
