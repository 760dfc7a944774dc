package judge

import "math"

// draws are the sufficient statistics of one comparison. Every event falls on one of two sides, and under a rate ratio r
// an event of a pool falls on the suspected side with probability ρr/(1−ρ+ρr), ρ being the pool's share. So all that
// matters is how many fell on the suspected side altogether, and how many events each share has seen.
//
// A success-or-failure count is the same thing with r read as the odds of failure and a share of one half: a trial fails
// with probability r/(1+r). And where there is no other side, but a number of events that is expected of the suspected
// one, the count is Poisson with r times that mean: the limit of a pool whose share is as small as its events are many.
type draws struct {
	hits     int64   // events on the suspected side, over all pools
	pools    []pool  // each share once, in an order that does not depend on that of the strata
	expected float64 // hits that a ratio of 1 would bring; 0 unless the draws are a Poisson count without pools
	exposed  int64   // devices that those are expected of; shown, never used
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

// empty reports whether nothing was drawn, so that the draws say nothing.
func (d draws) empty() bool { return d.events() == 0 && d.expected == 0 }

// theta is the chance that an event falls on the suspected side, under the share and a ratio.
func theta(share, ratio float64) float64 {
	odds := float64(share * ratio) // not to be fused into the sum
	return odds / (1 - share + odds)
}

// estimate returns the ratio under which the draws are likeliest, the root of hits = Σ events·θ(r); 0 when it is unknown
// because one side, or both, has seen nothing.
func (d draws) estimate() float64 {
	if d.expected > 0 {
		return float64(d.hits) / d.expected
	}
	events := d.events()
	if d.hits <= 0 || d.hits >= events {
		return 0
	}
	if len(d.pools) == 1 {
		return odds(float64(d.hits)/float64(events)) / odds(d.pools[0].share)
	}
	return turning(func(r float64) float64 {
		excess := float64(d.hits)
		for _, p := range d.pools {
			excess -= float64(float64(p.events) * theta(p.share, r))
		}
		return excess
	}, 1, 1)
}

// process is an e-process for a null hypothesis on the ratio: the weighted mean of the parts' mixtures. Within one part
// draws are independent and likelihood ratios multiply; between parts nothing is assumed, and a mean of e-values is an
// e-value whatever the dependence. The parts' weights are fixed by the plan, never by the data, and sum to 1 at most; a
// part that has not begun counts as 1.
type process []part

type part struct {
	weight float64
	draws  draws
	since  int64 // hours from the beginning to the first of the draws, for parts that start in time; shown, never used

	due float64 // of a later start: hits before it that were due at a ratio of 1
	had int64   // and those there were
}

// whole is the process of a single part.
func whole(d draws) process { return process{{weight: 1, draws: d}} }

// scaled returns the process with every weight multiplied by w.
func (p process) scaled(w float64) process {
	out := make(process, len(p))
	for i, part := range p {
		out[i] = part
		out[i].weight *= w
	}
	return out
}

func (p process) empty() bool {
	for _, part := range p {
		if !part.draws.empty() {
			return false
		}
	}
	return true
}

// logE returns ln E for the null r0 against the mixture of alternatives m·r0. If every multiple is above 1 the null is
// "ratio ≤ r0" and the result falls as r0 grows; if every one is below 1 it is "ratio ≥ r0" and the result rises.
func (p process) logE(m mixture, r0 float64) float64 { return p.staked(m).logE(r0) }

// wager is a process staked on a mixture, laid out so that ln E can be had quickly for many nulls.
type wager struct {
	mixture mixture
	shares  []float64
	parts   []stake
	pools   []placed
	idle    float64 // ln of the weight of all parts without draws, which count as 1
	lead    draws   // of the first part that has any, from which bounds are guessed
}

// empty reports whether nothing was drawn.
func (w *wager) empty() bool { return len(w.parts) == 0 }

// stake is one part of a wager: its pools are those from first up to last.
type stake struct {
	logWeight, hits, expected float64
	first, last               int

	due, had float64
	rarest   int // of its pools, the one of the smallest share
}

// placed is a pool whose share is named by its place among the wager's shares.
type placed struct {
	share  int
	events float64
}

// staked lays the process out.
func (p process) staked(m mixture) *wager {
	w := &wager{mixture: m, parts: make([]stake, 0, len(p)), pools: make([]placed, 0, 2*len(p))}
	idle := 0.0
	for i := range p {
		d := &p[i].draws
		if d.empty() {
			idle += p[i].weight
			continue
		}
		if w.empty() {
			w.lead = *d
		}
		s := stake{logWeight: math.Log(p[i].weight), hits: float64(d.hits), expected: d.expected, first: len(w.pools)}
		s.due, s.had, s.rarest = p[i].due, float64(p[i].had), s.first
		for _, pool := range d.pools {
			if pool.events > 0 {
				w.pools = append(w.pools, placed{share: w.place(pool.share), events: float64(pool.events)})
				if last := len(w.pools) - 1; w.shares[w.pools[last].share] < w.shares[w.pools[s.rarest].share] {
					s.rarest = last
				}
			}
		}
		s.last = len(w.pools)
		w.parts = append(w.parts, s)
	}
	w.idle = math.Log(idle)
	return w
}

// place returns the index of a share, adding it if it is new. There are about as many as phases.
func (w *wager) place(share float64) int {
	for i, s := range w.shares {
		if s == share {
			return i
		}
	}
	w.shares = append(w.shares, share)
	return len(w.shares) - 1
}

// logE returns ln E for the null r0. The likelihood ratio of an atom k is
//
//	L = Π [θ(k·r0)/θ(r0)]^hits · [(1−θ(k·r0))/(1−θ(r0))]^others = k^hits · Π [1 + θ(r0)·(k−1)]^−events
//
// with the factors of the product over pools gathered; that of a Poisson count is k^hits · exp(−expected·r0·(k−1)). What
// an event costs depends on its share and the atom alone, not on the part, and is computed once.
func (w *wager) logE(r0 float64) float64 {
	var room [16 * (fine + 1)]float64
	costs := w.costs(room[:0], r0)
	var terms [fine + 1]float64
	n := len(w.mixture)
	sum := logTotal{top: w.idle, sum: 1}
	for _, p := range w.parts {
		behind := p.behind(r0)
		for i := range w.mixture {
			a := &w.mixture[i]
			// The conversions keep compilers from fusing products into sums, which would change the last bit.
			terms[i] = p.logWeight + a.logWeight + float64((p.hits-behind)*a.logMultiple)
		}
		if behind > 0 { // they are no events, either: of the share under which leaving them out costs the bet most
			rarest := w.pools[p.rarest]
			for i, c := range costs[rarest.share*n : (rarest.share+1)*n] {
				terms[i] += float64(min(behind, rarest.events) * c)
			}
		}
		if p.expected > 0 {
			for i := range w.mixture {
				terms[i] -= float64(p.expected * r0 * (w.mixture[i].multiple - 1))
			}
		}
		for _, pool := range w.pools[p.first:p.last] {
			cost := costs[pool.share*n : (pool.share+1)*n]
			for i, c := range cost {
				terms[i] -= float64(pool.events * c)
			}
		}
		sum.add(terms[:n])
	}
	return sum.log()
}

// behind is how many of the part's hits are left out: as many as were missing before its start under the null r0, but for
// one standard deviation, since half of all harmless candidates lack a few by chance.
func (s *stake) behind(r0 float64) float64 {
	due := float64(r0 * s.due)
	return min(s.hits, max(0, due-math.Sqrt(due)-s.had))
}

// costs appends, share by share, what one event takes from the log of each atom: ln(1 + θ(r0)·(k−1)).
func (w *wager) costs(to []float64, r0 float64) []float64 {
	for _, share := range w.shares {
		t := theta(share, r0)
		for i := range w.mixture {
			to = append(to, log1p(float64(t*(w.mixture[i].multiple-1))))
		}
	}
	return to
}

// log1p is math.Log1p, by the faster logarithm where that is as good: no count is large enough for the digits that are lost
// to show in six.
func log1p(x float64) float64 {
	if math.Abs(x) < 1e-3 {
		return math.Log1p(x)
	}
	return math.Log(1 + x)
}

// logTotal adds up numbers that are given by their logarithms, without overflow.
type logTotal struct {
	top float64 // the largest logarithm so far
	sum float64 // of all, in units of exp(top)
}

// negligible is how far below the largest term, in nats, another is left out: ten thousand such terms would not change the
// sixth digit.
const negligible = 25

func (t *logTotal) add(logs []float64) {
	for _, x := range logs {
		switch d := x - t.top; {
		case d > 0:
			t.sum = float64(t.sum*math.Exp(-d)) + 1
			t.top = x
		case d > -negligible:
			t.sum += math.Exp(d)
		}
	}
}

func (t *logTotal) log() float64 { return t.top + math.Log(t.sum) }

// logSum returns ln Σ exp(terms), without overflow; −Inf for none.
func logSum(terms ...float64) float64 {
	top := math.Inf(-1)
	for _, t := range terms {
		top = max(top, t)
	}
	if math.IsInf(top, 0) || math.IsNaN(top) {
		return top
	}
	total := logTotal{top: top}
	total.add(terms)
	return total.log()
}
