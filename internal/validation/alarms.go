package validation

import (
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Alarms is how often harmless bundles were stopped in one kind of world.
type Alarms struct {
	World string
	Runs  int
	// Stopped and Held count the runs in which, at any tick, a gate showed harm or the arms' sizes did not fit the design:
	// at an alpha of 0.05 and of 0.01.
	Stopped, Held [2]int
	Ticks         int
	Events        float64 // telemetry events of a run, on average
	Crashes       float64 // devices of a run that crashed, on average: what the gate with the largest part of alpha weighs
}

// alphas are the levels at which alarms are counted.
var alphas = [2]float64{.05, .01}

// innocence is what one run of a harmless bundle came to.
type innocence struct {
	stopped, held   [2]bool
	events, crashes int
}

// falseAlarms plays the matrix.
func (s *study) falseAlarms(worlds []world) ([]Alarms, error) {
	var out []Alarms
	for _, w := range worlds {
		runs := make([]innocence, s.fraction(1))
		err := s.each("false alarms: "+w.name, 1, func(stage *stage, run int) (err error) {
			runs[run], err = stage.innocent(w, seeded(s.Seed, w.name, run))
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, alarmsOf(w, runs))
	}
	return out, nil
}

// innocent plays one rollout and judges it at every tick at the larger alpha. Whatever alarms at the smaller one alarms at
// the larger one too, so the smaller one is only asked about when there is something to ask.
func (s *stage) innocent(w world, rng source) (innocence, error) {
	var found innocence
	w.plan.Alpha = alphas[0]
	err := s.play(&w, rng, func(_ int, in judge.Input) move {
		for i, alpha := range alphas {
			in.Plan.Alpha = alpha
			_, code := judge.Quick(in)
			if code != judge.CodeHarm && code != judge.CodeSampleRatio {
				break
			}
			found.stopped[i] = found.stopped[i] || code == judge.CodeHarm
			found.held[i] = found.held[i] || code == judge.CodeSampleRatio
		}
		return stay
	})
	found.events = s.ledger.events
	for i := range s.ledger.strata {
		stratum, crash := &s.ledger.strata[i], rollout.Crash.Index()
		found.crashes += int(stratum.Candidate.Events[crash] + stratum.Control.Events[crash])
	}
	return found, err
}

func alarmsOf(w world, runs []innocence) Alarms {
	a := Alarms{World: w.name, Runs: len(runs), Ticks: w.hours * w.ticks}
	for _, r := range runs {
		for i := range alphas {
			a.Stopped[i] += one(r.stopped[i])
			a.Held[i] += one(r.held[i])
		}
		a.Events += float64(r.events) / float64(len(runs))
		a.Crashes += float64(r.crashes) / float64(len(runs))
	}
	return a
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// The answers of Shown.
const (
	shown    = "yes"
	refuted  = "no"
	unproven = "too few runs"
)

// Shown says whether so many of so many runs show, with 99 % confidence, that the true rate is alpha at most. Of fewer than
// FullRuns it asks less: only what would be unlikely at a rate of alpha refutes it.
func Shown(count, runs int, alpha float64) string {
	switch {
	case clopperPearson(count, runs) <= alpha:
		return shown
	case runs < FullRuns && (count == 0 || 1-binomialAtMost(count-1, runs, alpha) > .01):
		return unproven
	}
	return refuted
}
