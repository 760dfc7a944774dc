package validation

import (
	"math"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// rule is one way to decide that a rollout must stop. It is asked after every hour with all hours so far.
type rule struct {
	name  string
	stops func(seen) bool
}

// seen is what a rule may look at.
type seen struct {
	in     judge.Input
	hours  []tally
	last   bool    // the rollout is over
	normal float64 // what is known to be normal: crashes per app start
	limit  float64 // how many times normal the operator calls too much
	fails  float64 // the share of failing installations that the operator calls too much
}

// rules are Palier's judge and its rivals.
func rules() []rule {
	return []rule{
		{"Palier's judge, alpha 0.01", palier},
		{"Capgo's rule: Wilson bound of failed installations, 1 h", wilson},
		{"fixed threshold, 1 h window, at least 100 starts", threshold},
		{"pooled two-proportion z at 0.05, every hour", pooledZ},
		{"Mann-Whitney as Kayenta, every hour from 10 points", mannWhitney},
		{"Mann-Whitney as Kayenta, once at the end", func(s seen) bool { return s.last && mannWhitney(s) }},
	}
}

func palier(s seen) bool {
	_, code := judge.Quick(s.in)
	return code == judge.CodeHarm
}

const (
	wilsonZ           = 1.959963984540054 // two-sided 95 %, as the rule's confidence is meant
	wilsonMinAttempts = 20
)

// wilson is Capgo's automatic pause: of the attempts of the last hour, which are installations and failures, the lower
// Wilson bound of the failing share is at the threshold or above. It sees failed updates only, never a crash.
func wilson(s seen) bool {
	now := s.hours[len(s.hours)-1]
	attempts := float64(now.installed + now.failed)
	if now.failed == 0 || attempts < wilsonMinAttempts {
		return false
	}
	return wilsonLower(float64(now.failed), attempts) >= s.fails
}

// wilsonLower is the lower end of Wilson's interval (1927) of a share of which so many of n were seen.
func wilsonLower(failed, n float64) float64 {
	p, z2 := failed/n, wilsonZ*wilsonZ
	return (p + z2/(2*n) - wilsonZ*math.Sqrt(p*(1-p)/n+z2/(4*n*n))) / (1 + z2/n)
}

const thresholdMinStarts = 100

// threshold compares the crashes per app start of the last hour with a multiple of what is normal.
func threshold(s seen) bool {
	now := s.hours[len(s.hours)-1]
	starts := float64(now.active[0])
	return starts >= thresholdMinStarts && float64(now.crashed[0])/starts >= s.limit*s.normal
}

const pooledCritical = 1.6448536269514722 // one-sided 5 %

// pooledZ compares the share of crashed devices of the arms, summed over all phases, and is looked at all the time.
func pooledZ(s seen) bool {
	var n, x [2]float64
	for i := range s.in.Strata {
		for arm, c := range []*judge.Counts{&s.in.Strata[i].Candidate, &s.in.Strata[i].Control} {
			n[arm] += float64(c.Devices)
			x[arm] += float64(c.Events[rollout.Crash.Index()])
		}
	}
	p := (x[0] + x[1]) / (n[0] + n[1])
	deviation := math.Sqrt(p * (1 - p) * (1/n[0] + 1/n[1]))
	return deviation > 0 && (x[0]/n[0]-x[1]/n[1])/deviation > pooledCritical
}

const kayentaLeastPoints = 10

// mannWhitney classifies the crashes per app start of every hour.
func mannWhitney(s seen) bool {
	if len(s.hours) < kayentaLeastPoints {
		return false
	}
	series := func(arm int) []float64 {
		points := make([]float64, len(s.hours))
		for i, h := range s.hours {
			points[i] = float64(h.crashed[arm]) / float64(h.active[arm]) // NaN when nobody started the app
		}
		return points
	}
	return kayenta(series(0), series(1), false) == kayentaHigh
}
