package validation

import (
	"time"

	"github.com/palier-ota/palier/internal/judge"
)

// stage is what one run needs, used again for the next.
type stage struct {
	names  []identity
	crowd  crowd
	ledger ledger

	phase int
	since time.Duration // from the start of the rollout until the phase began
}

// move is what whoever looks at a rollout does.
type move uint8

const (
	stay    move = iota
	advance      // to the next phase, in worlds that leave the phases to verdicts
	leave        // nothing more is to be seen
)

// play runs a rollout through a world and calls look at every tick with what the judge would read, until look leaves, the
// plan's last phase is passed or the world's hours are over.
func (s *stage) play(w *world, rng source, look func(hour int, in judge.Input) move) error {
	if err := s.ledger.begin(w.plan); err != nil {
		return err
	}
	s.crowd.begin(w, s.names, rng, s.ledger.hear)
	s.phase, s.since = 0, 0
	var shuffle source
	if w.shuffling {
		shuffle = rng
	}
	for tick := range w.hours * w.ticks {
		hour := tick / w.ticks
		if w.begins != nil {
			s.phase = w.phaseAt(hour)
			s.since = time.Duration(w.begins[s.phase]) * time.Hour
		}
		s.crowd.live(hour, tick%w.ticks, w.ticks, s.phase)
		if err := s.ledger.fold(w.lag, shuffle); err != nil {
			return err
		}
		gone := time.Duration(tick+1) * time.Hour / time.Duration(w.ticks)
		switch look(hour, s.input(gone)) {
		case leave:
			return nil
		case advance:
			if s.phase, s.since = s.phase+1, gone; s.phase == len(w.plan.Phases) {
				return nil
			}
		}
	}
	return nil
}

// input is what the judge reads so long after the start.
func (s *stage) input(gone time.Duration) judge.Input {
	in := judge.Input{
		Plan: s.crowd.world.plan, Phase: s.phase, Held: gone - s.since,
		Now: time.Unix(epochHour*3600, 0).Add(gone), Strata: s.ledger.strata,
	}
	in.Newest, in.Complete = s.ledger.clocks()
	return in
}
