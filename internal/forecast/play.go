package forecast

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// ending says how a play ended.
type ending uint8

const (
	completed ending = iota
	stopped          // for harm
	gaveUp           // taken back because nothing was proven in time
	waiting          // a person has to decide
)

// play is what happened in one play.
type play struct {
	end     ending
	hours   float64 // until the end
	phases  []passed
	exposed int64
	harmed  int64
	growth  []int64 // devices exposed, at every point of the grid until the end
}

// passed is a phase that was left, or the one in which the play ended.
type passed struct {
	hours     float64
	devices   int64 // candidates seen in it
	left      bool
	certified bool
}

// stage is a plan ready to be played.
type stage struct {
	plan     rollout.Plan
	audience Audience
	record   *rollout.Record
	seed     uint64
	grid     float64 // hours between the points of a curve
}

// The clock of a play starts at some hour; the judge only compares hours.
const firstHour = 480_000

// patience is how long a person is waited for after a phase's longest hold, in hours; and after its least one where there
// is no longest.
const patience, patienceWithoutEnd = 7 * 24., 14 * 24.

// run plays the plan once.
func (s stage) run(ctx context.Context, scenario, number int, r Regression) (play, error) {
	w := walk{stage: s, crowd: newCrowd(s.plan, s.audience, r, throw(s.seed, scenario, number))}
	for phase := range s.plan.Phases {
		w.enter(phase)
		promoted, err := w.hold(ctx)
		if err != nil {
			return play{}, fmt.Errorf("playing %s: %w", r, err)
		}
		if !promoted {
			return w.play, nil
		}
	}
	w.end = completed
	return w.play, nil
}

// walk is a play while it goes on.
type walk struct {
	stage
	play
	crowd   *crowd
	phase   int
	entered float64 // hours at which the phase began
	newest  float64 // hours at which a device last asked
	asked   bool    // any did
	strata  []judge.Stratum
}

func (w *walk) enter(phase int) {
	w.phase, w.entered = phase, w.hours
	w.crowd.enter(w.plan, phase)
	w.phases = append(w.phases, passed{})
}

// hold stays in the phase until the judge leaves it, and reports whether it promoted. It returns ctx's error when ctx ends.
func (w *walk) hold(ctx context.Context) (promoted bool, err error) {
	now := &w.phases[w.phase]
	for last := longest(w.plan.Phases[w.phase]); ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		w.advance(step(w.phase, w.hours-w.entered))
		now.hours = w.hours - w.entered
		decision, code := judge.Quick(w.input())
		switch decision {
		case judge.Promote:
			now.left, now.certified = true, code == judge.CodeCertified
			return true, nil
		case judge.Pause, judge.Halt, judge.Rollback:
			w.end = stopped
			if code != judge.CodeHarm {
				w.end = gaveUp
			}
			return false, nil
		}
		if now.hours >= last {
			w.end = waiting
			return false, nil
		}
	}
}

// step is how long to let time go by before the judge is asked again, in hours, so long into a phase: often while a phase
// is young, and most often in the first, where the first devices can be saved. Steps divide an hour, or the six hours
// after which the judge begins new tests.
func step(phase int, held float64) float64 {
	switch {
	case phase == 0 && held < 6:
		return .25
	case phase == 0 && held < 24, held < 6:
		return 1
	case held < 24:
		return 3
	case held < 14*24:
		return 6
	}
	return 24
}

// longest is how long a phase is played at most, in hours.
func longest(phase rollout.Phase) float64 {
	if phase.Hold.Max > 0 {
		return phase.Hold.Max.Std().Hours() + patience
	}
	return phase.Hold.Min.Std().Hours() + patienceWithoutEnd
}

// advance lets time go by.
func (w *walk) advance(hours float64) {
	s := w.stratum()
	before := s.Candidate.Devices
	asked := w.crowd.pass(hours, s)
	w.phases[w.phase].devices += s.Candidate.Devices - before
	w.hours += hours
	if asked {
		w.newest, w.asked = w.hours, true
	}
	for float64(len(w.growth))*w.grid <= w.hours && w.grid > 0 {
		w.growth = append(w.growth, w.crowd.exposed)
	}
	w.exposed, w.harmed = w.crowd.exposed, w.crowd.harmed
}

// stratum returns where the current hour of the current phase is counted.
func (w *walk) stratum() *judge.Stratum {
	hour := firstHour + int64(math.Floor(w.hours))
	if n := len(w.strata); n == 0 || w.strata[n-1].Phase != w.phase || w.strata[n-1].Hour != hour {
		share := rollout.EffectivePercent(w.plan, w.phase).Share()
		w.strata = append(w.strata, judge.Stratum{Phase: w.phase, Hour: hour, Share: share})
	}
	return &w.strata[len(w.strata)-1]
}

// input is what the judge is shown now.
func (w *walk) input() judge.Input {
	in := judge.Input{
		Plan: w.plan, Phase: w.phase, Held: span(w.hours - w.entered), Approved: true,
		Now: instant(w.hours), Strata: w.strata, Record: w.record,
	}
	if w.asked {
		in.Newest = instant(w.newest)
	}
	return in
}

func span(hours float64) time.Duration { return time.Duration(hours * float64(time.Hour)) }

func instant(hours float64) time.Time { return time.Unix(firstHour*3600, 0).UTC().Add(span(hours)) }

// segmentsOf lists the segments that a plan names, in the order in which they come first.
func segmentsOf(plan rollout.Plan) []string {
	var names []string
	for _, phase := range plan.Phases {
		for _, name := range phase.Segments {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// inAudience reports whether the devices of a segment belong to the audience of a phase.
func inAudience(phase rollout.Phase, segment string) bool {
	return len(phase.Segments) == 0 || slices.Contains(phase.Segments, segment)
}

// segment returns the share of the devices in a segment.
func (a Audience) segment(name string) float64 {
	if share, ok := a.Segments[name]; ok {
		return share
	}
	return SegmentShare(name)
}
