package forecast

import (
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/mathext"
)

// Chance is how often something happened in independent plays, and what that says of its probability: each of Low and
// High is a one-sided 95 % bound, exact for any number of plays (Clopper and Pearson, Biometrika 26, 1934).
type Chance struct {
	Times int     `json:"times"`
	Of    int     `json:"of"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// oneSided is the chance that a bound is wrong.
const oneSided = .05

// chanceOf is the Chance of something that happened so many times.
func chanceOf(times, of int) Chance {
	c := Chance{Times: times, Of: of, High: 1}
	if of == 0 {
		return c
	}
	k, n := float64(times), float64(of)
	c.Share = rounded(k / n)
	if times > 0 {
		c.Low = rounded(mathext.InvRegIncBeta(k, n-k+1, oneSided))
	}
	if times < of {
		c.High = rounded(mathext.InvRegIncBeta(k+1, n-k, 1-oneSided))
	}
	return c
}

// String says the chance with what it is worth: "3 of 200 (0.4–3.8 %)", "0 of 200 (at most 1.5 %)".
func (c Chance) String() string {
	text := strconv.Itoa(c.Times) + " of " + strconv.Itoa(c.Of)
	switch {
	case c.Of == 0:
		return "unknown"
	case c.Times == 0:
		return text + " (at most " + percent(c.High) + " %)"
	case c.Times == c.Of:
		return text + " (at least " + percent(c.Low) + " %)"
	}
	return text + " (" + percent(c.Low) + "–" + percent(c.High) + " %)"
}

// percent writes a share with two digits, or three where it is near to all.
func percent(share float64) string {
	x, digits := 100*share, 2
	if x >= 90 && x < 100 {
		digits = 3
	}
	x, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', digits, 64), 64)
	if err != nil {
		return "?"
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

// Spread is where the middle and the nine tenths of some plays lie; zeros when there were none.
type Spread struct {
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	Of     int     `json:"of"` // plays that it is taken from
}

// spreadOf sorts the values.
func spreadOf(values []float64) Spread {
	return Spread{Median: quantile(values, .5), P90: quantile(values, .9), Of: len(values)}
}

// quantile returns the least value that so large a share of the values does not exceed; it sorts them.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	at := int(math.Ceil(share*float64(len(values)))) - 1
	return rounded(values[max(0, at)])
}

// rounded keeps four digits, which is more than any number of plays supports.
func rounded(x float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		return 0
	}
	return short
}
