package validation

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// source is the randomness of one run.
type source = *rand.Rand

// seeded returns the randomness of one run of what is named.
func seeded(seed uint64, name string, run int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name)) // a hash never fails
	return rand.New(rand.NewPCG(seed^h.Sum64(), uint64(run)*0x9e3779b97f4a7c15+1))
}

// clopperPearson returns the exact upper 99 % bound of a proportion of which k of n were seen: the p at which so few have
// probability 0.01 (Clopper and Pearson, Biometrika 26, 1934).
func clopperPearson(k, n int) float64 {
	if n == 0 || k >= n {
		return 1
	}
	return mathext.InvRegIncBeta(float64(k+1), float64(n-k), .99)
}

// binomialAtMost is P(X ≤ k) of X ~ binomial(n, p).
func binomialAtMost(k, n int, p float64) float64 {
	if k >= n {
		return 1
	}
	return 1 - mathext.RegIncBeta(float64(k+1), float64(n-k), p)
}

// quantile returns the q-quantile of values, which it leaves as they are; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
