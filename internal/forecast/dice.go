package forecast

import (
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// dice are the randomness of one play.
type dice struct{ source *rand.PCG }

// throw returns the dice of one play of one scenario: independent of all others, and the same every time.
func throw(seed uint64, scenario, play int) dice {
	return dice{rand.NewPCG(seed, uint64(scenario)<<32|uint64(play))}
}

// binomial returns how many of n have something of chance p.
func (d dice) binomial(n int64, p float64) int64 {
	switch {
	case n <= 0 || !(p > 0):
		return 0
	case p >= 1:
		return n
	}
	return int64(distuv.Binomial{N: float64(n), P: p, Src: d.source}.Rand())
}

// happens reports whether something of chance p happens.
func (d dice) happens(p float64) bool { return d.binomial(1, p) == 1 }
