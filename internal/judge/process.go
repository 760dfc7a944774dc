package judge

import "math"

// draws are the sufficient statistics of one comparison. Every event falls on one of two sides, and under a rate ratio r
// an event of a pool falls on the suspected side with probability ρr/(1−ρ+ρr), ρ being the pool's share. So all that
// matters is how many fell on the suspected side altogether, and how many events each share has seen.
//
// A success-or-failure count is the same thing with r read as the odds of failure and a share of one half: a trial fails
// with probability r/(1+r).
type draws struct {
	hits  int64  // events on the suspected side, over all pools
	pools []pool // by ascending share, each share once
}

// pool is the number of events, of both sides, that happened under one design share.
type pool struct {
	share  float64 // in (0, 1)
	events int64
}

func (d draws) events() int64 {
	var n int64
	for _, p := range d.pools {
		n += p.events
	}
	return n
}

// theta is the chance that an event falls on the suspected side, under the share and a ratio.
func theta(share, ratio float64) float64 {
	odds := share * ratio
	return odds / (1 - share + odds)
}

// logLikelihoodRatio returns ln L(k·r0 | r0): how much better the ratio k·r0 explains the draws than r0 does. It is
//
//	L = Π [θ(k·r0)/θ(r0)]^hits · [(1−θ(k·r0))/(1−θ(r0))]^others = k^hits · Π [1 + θ(r0)·(k−1)]^−events
//
// with the factors of the product over pools gathered.
func (d draws) logLikelihoodRatio(a atom, r0 float64) float64 {
	sum := float64(d.hits) * a.logMultiple
	for _, p := range d.pools {
		// The conversion keeps compilers from fusing the product into the sum, which would change the last bit.
		sum -= float64(float64(p.events) * math.Log1p(theta(p.share, r0)*(a.multiple-1)))
	}
	return sum
}

// estimate returns the ratio under which the draws are likeliest, the root of hits = Σ events·θ(r); 0 when it is unknown
// because one side, or both, has seen nothing.
func (d draws) estimate() float64 {
	if d.hits <= 0 || d.hits >= d.events() {
		return 0
	}
	return zero(func(r float64) float64 {
		excess := float64(d.hits)
		for _, p := range d.pools {
			excess -= float64(float64(p.events) * theta(p.share, r))
		}
		return excess
	})
}

// process is an e-process for a null hypothesis on the ratio: the weighted mean of the parts' mixtures. Within one part
// draws are independent and likelihood ratios multiply; between parts nothing is assumed, and a mean of e-values is an
// e-value whatever the dependence. The parts' weights are fixed by the plan, never by the data, and sum to 1; a part
// that has not begun counts as 1.
type process []part

type part struct {
	weight float64
	draws  draws
}

// whole is the process of a single part.
func whole(d draws) process { return process{{weight: 1, draws: d}} }

func (p process) empty() bool {
	for _, part := range p {
		if part.draws.events() > 0 {
			return false
		}
	}
	return true
}

// logE returns ln E for the null r0 against the mixture of alternatives m·r0. If every multiple is above 1 the null is
// "ratio ≤ r0" and the result falls as r0 grows; if every one is below 1 it is "ratio ≥ r0" and the result rises.
func (p process) logE(m mixture, r0 float64) float64 {
	parts := make([]float64, 0, 16)
	for _, part := range p {
		parts = append(parts, math.Log(part.weight)+part.draws.logE(m, r0))
	}
	return logSum(parts)
}

// logE is the log of the mixture's likelihood ratio against r0; 0 before the first event.
func (d draws) logE(m mixture, r0 float64) float64 {
	if len(d.pools) == 0 {
		return 0
	}
	var terms [atoms + 1]float64
	for i, a := range m {
		terms[i] = a.logWeight + d.logLikelihoodRatio(a, r0)
	}
	return logSum(terms[:len(m)])
}

// lower returns the lower end of the confidence sequence: the largest null "ratio ≤ r" whose e-value reaches the threshold;
// 0 when none does.
func (p process) lower(up mixture, logThreshold float64) float64 {
	if p.empty() {
		return 0
	}
	r := zero(func(r float64) float64 { return p.logE(up, r) - logThreshold })
	if r <= leastRatio {
		return 0
	}
	return r
}

// upper returns the upper end: the least null "ratio ≥ r" whose e-value reaches the threshold; +Inf when none does.
func (p process) upper(down mixture, logThreshold float64) float64 {
	if p.empty() {
		return math.Inf(1)
	}
	r := zero(func(r float64) float64 { return logThreshold - p.logE(down, r) })
	if r >= mostRatio {
		return math.Inf(1)
	}
	return r
}

// Ratios are searched between these; nothing outside can be told from "none" and "without bound".
const (
	leastRatio = 1e-6
	mostRatio  = 1e6
)

// zero returns the ratio at which f, which falls as the ratio grows, passes zero, to seven digits: the largest ratio found
// at which it is not negative. It is leastRatio when f is negative everywhere and mostRatio when it is nowhere.
func zero(f func(float64) float64) float64 {
	if f(leastRatio) < 0 {
		return leastRatio
	}
	if f(mostRatio) >= 0 {
		return mostRatio
	}
	low, high := math.Log(leastRatio), math.Log(mostRatio)
	for range 28 { // so many halvings of 27.6 nats leave 10⁻⁷
		if mid := (low + high) / 2; f(math.Exp(mid)) >= 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Exp(low)
}

// logSum returns ln Σ exp(terms), without overflow.
func logSum(terms []float64) float64 {
	top := math.Inf(-1)
	for _, t := range terms {
		top = max(top, t)
	}
	if math.IsInf(top, 0) || math.IsNaN(top) {
		return top
	}
	sum := 0.0
	for _, t := range terms {
		sum += math.Exp(t - top)
	}
	return top + math.Log(sum)
}
