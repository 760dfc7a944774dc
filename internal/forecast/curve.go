package forecast

import (
	"math"

	"github.com/palier-ota/palier/internal/rollout"
)

// Curve is a forecast over time, for drawing.
type Curve struct {
	Hours   []float64     `json:"hours"`   // since the start
	Exposed Band          `json:"exposed"` // share of the devices that have run a harmless bundle
	Stopped []StopCurve   `json:"stopped"` // of the harmful bundles, in the order of the forecast
	Phases  []PhaseBounds `json:"phases"`  // when a harmless bundle enters each phase
}

// Band is a share at every hour of the curve: the median play, and where one in ten plays is below and above.
type Band struct {
	Low    []float64 `json:"low"`
	Median []float64 `json:"median"`
	High   []float64 `json:"high"`
}

// StopCurve is the share of plays in which a bundle was stopped by every hour of the curve.
type StopCurve struct {
	Name  string    `json:"name"`
	Share []float64 `json:"share"`
}

// PhaseBounds is the median hour at which a harmless bundle enters a phase.
type PhaseBounds struct {
	Name  string  `json:"name"`
	Start float64 `json:"start"`
}

// points is about how many points a curve has.
const points = 96

// gridOf returns the hours between the points of a curve that spans the plan: whole ones, and whole steps of a play where
// most of it is played in those.
func gridOf(plan rollout.Plan) float64 {
	hours := onTimeHours(plan)
	if hours <= points {
		return 1
	}
	return 6 * math.Ceil(hours/points/6)
}

// curve draws the plays of a harmless bundle and of the harmful ones, up to where nine of ten harmless ones have ended.
func (s stage) curve(plays [][]play, harmful []Regression) Curve {
	ends := make([]float64, 0, len(plays[0]))
	for _, p := range plays[0] {
		ends = append(ends, p.hours)
	}
	var c Curve
	last := min(onTimeHours(s.plan), quantile(ends, .9))
	for i := 0; float64(i)*s.grid < last+s.grid; i++ {
		c.Hours = append(c.Hours, float64(i)*s.grid)
		exposed := make([]float64, 0, len(plays[0]))
		for _, p := range plays[0] {
			exposed = append(exposed, float64(p.growth[min(i, len(p.growth)-1)])/float64(s.audience.Devices))
		}
		c.Exposed.Low = append(c.Exposed.Low, quantile(exposed, .1))
		c.Exposed.Median = append(c.Exposed.Median, quantile(exposed, .5))
		c.Exposed.High = append(c.Exposed.High, quantile(exposed, .9))
	}
	for i, r := range harmful {
		c.Stopped = append(c.Stopped, stopCurve(r, plays[i+1], c.Hours))
	}
	c.Phases = phaseBounds(s.plan, plays[0])
	return c
}

func stopCurve(r Regression, plays []play, hours []float64) StopCurve {
	c := StopCurve{Name: r.String()}
	for _, hour := range hours {
		n := 0
		for _, p := range plays {
			if p.wasStopped() && p.hours <= hour {
				n++
			}
		}
		c.Share = append(c.Share, rounded(float64(n)/float64(len(plays))))
	}
	return c
}

func phaseBounds(plan rollout.Plan, plays []play) []PhaseBounds {
	var bounds []PhaseBounds
	starts := make([][]float64, len(plan.Phases))
	for _, p := range plays {
		at := 0.0
		for i, phase := range p.phases {
			starts[i] = append(starts[i], at)
			at += phase.hours
		}
	}
	for i, phase := range plan.Phases {
		if len(starts[i]) > 0 {
			bounds = append(bounds, PhaseBounds{Name: phase.Name, Start: quantile(starts[i], .5)})
		}
	}
	return bounds
}
