package validation

import (
	"math"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Detection is how many devices a regression costs until it is stopped.
type Detection struct {
	Base    float64 // share of control devices that crash
	Share   float64 // of candidates
	Ratio   float64
	Healthy float64 // candidate devices before the regression begins
	Runs    int

	Median, P90 float64 // candidate devices from the regression to the alarm
	Limit       float64 // what the median may be at most; 0 for none
	Within      int     // runs within the limit
}

// Holds reports whether the median is within its limit. Of few runs it asks less: they must not be unlikely for a median
// that is.
func (d Detection) Holds() bool {
	few := d.Runs < fractionOf(FullRuns, detectionPart)
	return d.Limit == 0 || d.Median <= d.Limit || few && binomialAtMost(d.Within, d.Runs, .5) > .01
}

// detectionPart is how many runs of the matrix one of a detection stands for.
const detectionPart = 5

// guard is how much a median may exceed the published one: a tenth, for chance.
const guard = 1.1

// published are the median candidate devices until alarm of an independent simulation of the test, with the crash gate at an
// alpha of 0.01 to itself, by base rate, share and ratio.
func published() map[[3]float64]float64 {
	return map[[3]float64]float64{
		{.001, .05, 1.5}: 58986, {.001, .05, 2}: 15470, {.001, .05, 3}: 4140, {.001, .05, 5}: 1377, {.001, .05, 10}: 395,
		{.005, .05, 1.5}: 11754, {.005, .05, 2}: 2998, {.005, .05, 3}: 796, {.005, .05, 5}: 261, {.005, .05, 10}: 80,
		{.02, .05, 1.5}: 2788, {.02, .05, 2}: 754, {.02, .05, 3}: 199, {.02, .05, 5}: 64, {.02, .05, 10}: 19,
		{.005, .5, 1.5}: 23928, {.005, .5, 2}: 6112, {.005, .5, 3}: 1856, {.005, .5, 5}: 648, {.005, .5, 10}: 220,
	}
}

// detections are the cells whose medians are shown: regressions from the start, and ones that begin late.
func detections() []Detection {
	var cells []Detection
	for _, share := range []float64{.05, .5} {
		for _, base := range []float64{.001, .005, .02} {
			for _, ratio := range []float64{1.5, 2, 3, 5, 10} {
				limit := guard * published()[[3]float64{base, share, ratio}]
				cells = append(cells, Detection{Base: base, Share: share, Ratio: ratio, Limit: limit})
			}
		}
	}
	// Without tests that start later it would be 4 615 and 10 294; with a start exactly at the change, 1 206 and 1 284.
	return append(cells,
		Detection{Base: .005, Share: .05, Ratio: 3, Healthy: 20_000, Limit: 4615},
		Detection{Base: .005, Share: .05, Ratio: 3, Healthy: 100_000, Limit: 10_294})
}

func (s *study) detections() ([]Detection, error) {
	cells := detections()
	for i := range cells {
		if err := s.detect(&cells[i]); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// detect fills in a cell.
func (s *study) detect(cell *Detection) error {
	devices := make([]float64, s.fraction(detectionPart))
	name := "devices until alarm: " + percent(cell.Base) + " at " + percent(cell.Share) + " ×" + number(cell.Ratio)
	if cell.Healthy > 0 {
		name += " after " + number(cell.Healthy)
	}
	err := s.each(name, detectionPart, func(_ *stage, run int) error {
		devices[run] = cell.untilAlarm(seeded(s.Seed, name, run))
		return nil
	})
	for _, n := range devices {
		cell.Within += one(n <= cell.Limit)
	}
	cell.Runs, cell.Median, cell.P90 = len(devices), quantile(devices, .5), quantile(devices, .9)
	return err
}

// untilAlarm plays candidate devices arriving one by one, and controls beside them, until the judge sees harm. Events of
// either arm are then Poisson processes in the number of candidate devices; the judge is asked after each event of a
// candidate, since others only speak for the bundle. So many devices arrive in a day as would take a regression from the
// start about a day to find.
func (d Detection) untilAlarm(rng source) float64 {
	plan := onlyCrash(planOf(24*time.Hour, rollout.Percent(d.Share*float64(rollout.Everyone))))
	plan.Alpha = .01
	a := arrival{cell: d, perHour: max(d.expected(), d.Healthy/5) / 24}
	for a.devices < 200*d.expected()+d.Healthy {
		if !a.next(rng) {
			continue
		}
		if _, code := judge.Quick(a.input(plan)); code == judge.CodeHarm && a.devices > d.Healthy {
			return a.devices - d.Healthy
		}
	}
	return math.Inf(1)
}

// expected is about how many candidate devices an alarm takes: base rates only scale the published figures.
func (d Detection) expected() float64 {
	return published()[[3]float64{.005, d.Share, d.Ratio}] * .005 / d.Base
}

// arrival is the state of untilAlarm.
type arrival struct {
	cell    Detection
	perHour float64 // candidate devices
	devices float64 // candidate devices so far
	strata  []judge.Stratum
}

// next goes on to the next crash and reports whether a candidate had it.
func (a *arrival) next(rng source) bool {
	ours, theirs := a.cell.Base, a.cell.Base*(1-a.cell.Share)/a.cell.Share
	if a.devices >= a.cell.Healthy {
		ours *= a.cell.Ratio
	}
	at := a.devices + rng.ExpFloat64()/(ours+theirs)
	if a.devices < a.cell.Healthy && at > a.cell.Healthy {
		a.enter(a.cell.Healthy) // the regression begins before the next crash
		return false
	}
	a.enter(at)
	s, candidate := &a.strata[len(a.strata)-1], rng.Float64()*(ours+theirs) < ours
	if candidate {
		s.Candidate.Events[rollout.Crash.Index()]++
	} else {
		s.Control.Events[rollout.Crash.Index()]++
	}
	return candidate
}

// enter lets devices arrive until there are so many candidates.
func (a *arrival) enter(until float64) {
	for {
		hour := len(a.strata)
		if hour == 0 || until >= float64(hour)*a.perHour {
			a.strata = append(a.strata, judge.Stratum{Hour: epochHour + int64(hour), Share: a.cell.Share})
			continue
		}
		s, before := &a.strata[hour-1], float64(hour-1)*a.perHour
		s.Candidate.Devices = int64(until) - int64(before)
		s.Control.Devices = int64(until/a.cell.Share) - int64(before/a.cell.Share) - s.Candidate.Devices
		a.devices = until
		return
	}
}

// input is what the judge reads now.
func (a *arrival) input(plan rollout.Plan) judge.Input {
	now := time.Unix((epochHour+int64(len(a.strata)))*3600, 0)
	return judge.Input{Plan: plan, Held: time.Duration(len(a.strata)) * time.Hour, Now: now, Newest: now, Strata: a.strata}
}
