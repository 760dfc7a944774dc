package validation

import (
	"math"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Vector is a pair of series on which Kayenta is reported to fail, and what the judge says of it.
type Vector struct {
	Name       string
	Reported   string // where
	Experiment []float64
	Control    []float64
	Share      float64 // of candidates
	Absent     bool    // no device of the control was heard of, rather than none that crashed

	Kayenta  string // its classification, with missing points removed; and with zeros for them where that differs
	Decision judge.Decision
	Code     string
	Sentence string
	Want     string // the judge's code
	Why      string
}

// vectors are the reported series. Each point is the devices of an arm that crashed in an hour; of either arm a hundred
// devices enter in an hour where the arms are alike, and in proportion where they are not.
func vectors() []Vector {
	sparse, zeros := []float64{0, 1, 2, 1, 0, 0}, []float64{0, 0, 0, 0, 0, 0}
	nan := math.NaN()
	return []Vector{
		{
			Name: "sparse errors against none", Reported: "spinnaker/kayenta#426", Experiment: sparse, Control: zeros,
			Share: .5, Want: judge.CodeMinHold,
			Why: "four crashes of one arm out of two alike happen to one harmless bundle in sixteen: no reason to stop, and none to pass either",
		},
		{
			Name: "the same, three times over", Reported: "spinnaker/kayenta#426",
			Experiment: append(append(append([]float64(nil), sparse...), sparse...), sparse...),
			Control:    append(append(append([]float64(nil), zeros...), zeros...), zeros...),
			Share:      .5, Want: judge.CodeHarm,
			Why: "twelve of twelve is one in four thousand",
		},
		{
			Name: "the same once, with 5 % candidates", Reported: "spinnaker/kayenta#426", Experiment: sparse, Control: zeros,
			Share: .05, Want: judge.CodeHarm,
			Why: "all four crashes among a twentieth of the devices is one in 160 000: why a phase of 5 % finds harm with fewer devices",
		},
		{
			Name: "no points of the baseline, whose devices are there", Reported: "spinnaker/kayenta#377, #799",
			Experiment: []float64{1, 4, 2, 3, 1}, Control: []float64{nan, nan, nan, nan, nan}, Share: .5, Want: judge.CodeHarm,
			Why: "a device that was seen and reports no crash had none: eleven against none is harm, whatever a chart has no points of",
		},
		{
			Name: "no baseline at all", Reported: "spinnaker/kayenta#377, #799",
			Experiment: []float64{1, 4, 2, 3, 1}, Control: []float64{nan, nan, nan, nan, nan}, Share: .5, Absent: true,
			Want: judge.CodeSampleRatio,
			Why:  "half of the devices should be there and none is: the comparison is broken, so a person must look; nothing passes",
		},
		{
			Name: "seven of ten points a hundred times higher", Reported: "spinnaker/spinnaker#6278, spinnaker/kayenta#780",
			Experiment: []float64{100, 100, 100, 100, 100, 100, 100, 1, 1, 1}, Control: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
			Share: .5, Want: judge.CodeHarm,
			Why: "703 against 10; a test of a shift sees ties where counts see a ratio of 70",
		},
	}
}

// Vectors judges the reported series.
func Vectors() []Vector {
	out := vectors()
	for i := range out {
		v := &out[i]
		v.Kayenta = string(kayenta(v.Experiment, v.Control, false))
		if zeros := string(kayenta(v.Experiment, v.Control, true)); zeros != v.Kayenta {
			v.Kayenta += ", or " + zeros + " with zeros"
		}
		verdict := judge.Judge(v.input())
		v.Decision, v.Code, v.Sentence = verdict.Decision, verdict.Code, verdict.Sentence
	}
	return out
}

// input is the series as tallies, an hour a point.
func (v Vector) input() judge.Input {
	end := time.Unix((epochHour+int64(len(v.Experiment)))*3600, 0)
	in := judge.Input{
		Plan: planOf(24*time.Hour, rollout.Percent(v.Share*float64(rollout.Everyone))), Held: time.Duration(len(v.Experiment)) * time.Hour,
		Now: end, Newest: end,
	}
	for i := range v.Experiment {
		s := judge.Stratum{Hour: epochHour + int64(i), Share: v.Share}
		s.Candidate = hourOf(100, v.Experiment[i])
		if !v.Absent {
			s.Control = hourOf(int64(math.Round(100*(1-v.Share)/v.Share)), v.Control[i])
		}
		in.Strata = append(in.Strata, s)
	}
	return in
}

// hourOf is one arm's hour: so many devices, all of which come back, and so many of which crash.
func hourOf(devices int64, crashed float64) judge.Counts {
	if math.IsNaN(crashed) {
		crashed = 0
	}
	c := judge.Counts{Devices: max(devices, int64(crashed))}
	for i := range c.Returned {
		c.Returned[i] = c.Devices
	}
	c.Events[rollout.Crash.Index()] = int64(crashed)
	return c
}
