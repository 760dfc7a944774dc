package judge

import "math"

// lower returns the lower end of the confidence sequence: the largest null "ratio ≤ r" whose e-value reaches the threshold;
// 0 when none does. It is at least null exactly when the process alarms against null.
func (w *wager) lower(logThreshold, null float64) float64 {
	if w.empty() {
		return 0
	}
	guess := w.lead.off(-logThreshold)
	if len(w.parts) > 1 { // what the first part alone, which has most of the stake, would say is cheap and seldom far away
		first := *w
		first.parts, first.idle = w.parts[:1], math.Inf(-1)
		guess = turning(func(r float64) float64 { return first.logE(r) - logThreshold }, null, guess)
	}
	r := turning(func(r float64) float64 { return w.logE(r) - logThreshold }, null, guess)
	if r <= leastRatio {
		return 0
	}
	return r
}

// upper returns the upper end: the least null "ratio ≥ r" whose e-value reaches the threshold; +Inf when none does.
func (w *wager) upper(logThreshold float64) float64 {
	if w.empty() {
		return math.Inf(1)
	}
	guess := w.lead.off(logThreshold)
	r := turning(func(r float64) float64 { return logThreshold - w.logE(r) }, guess, guess)
	if r >= mostRatio {
		return math.Inf(1)
	}
	return r
}

// off guesses the ratio that lies so many nats of evidence above the likeliest one, or below it if nats is negative, as
// if its logarithm were normal. It only spares the search for the true one some steps.
func (d draws) off(nats float64) float64 {
	hits, others := float64(d.hits)+.5, float64(d.events()-d.hits)+.5
	ratio, variance := hits/d.expected, 1/hits
	if d.expected == 0 {
		due, rest := 0.0, 0.0
		for _, p := range d.pools {
			due += float64(p.share * float64(p.events))
			rest += float64((1 - p.share) * float64(p.events))
		}
		ratio, variance = hits/due*rest/others, 1/hits+1/others
	}
	away := math.Sqrt(2 * math.Abs(nats) * variance)
	return max(leastRatio, min(ratio*math.Exp(math.Copysign(away, nats)), mostRatio))
}

// Ratios are searched between these; nothing outside can be told from "none" and "without bound".
const (
	leastRatio = 1e-6
	mostRatio  = 1e6
)

// precision is the width, in nats of ratio, to which the end of a confidence sequence is known.
const precision = 1e-7

// turning returns the ratio at which f, which falls as the ratio grows, passes zero: the largest ratio found at which it is
// not negative, to precision. It is leastRatio when f is negative everywhere and mostRatio when it is nowhere. The search
// starts at the ratio from, on whose right side the result is sure to be, and then tries the guess.
func turning(f func(float64) float64, from, guess float64) float64 {
	b := bracket{f: func(logRatio float64) float64 { return f(math.Exp(logRatio)) }}
	at := math.Log(from)
	value := b.f(at)
	b.low, b.atLow, b.high, b.atHigh = at, value, at, value
	if value >= 0 {
		b.raise(math.Log(guess))
	} else {
		b.sink(math.Log(guess))
	}
	switch {
	case b.atLow < 0:
		return leastRatio
	case b.atHigh >= 0:
		return mostRatio
	}
	b.narrow()
	return math.Exp(b.low)
}

// bracket is an interval of log ratios in which f, which falls, passes zero.
type bracket struct {
	f             func(float64) float64
	low, high     float64
	atLow, atHigh float64 // f there: atLow ≥ 0 > atHigh once the bracket is closed
}

// firstStep is how far beyond the guess the search for the other side begins, in nats.
const firstStep = 1. / 32

// raise moves the bracket up from low, first to the guess, until f is negative at high, or the most is reached.
func (b *bracket) raise(guess float64) {
	most := math.Log(mostRatio)
	for next, step := guess, firstStep; b.atHigh >= 0 && b.high < most; next, step = b.high+step, 2*step {
		if !(next > b.high) {
			next = b.high + step
		}
		b.low, b.atLow = b.high, b.atHigh
		b.high = min(next, most)
		b.atHigh = b.f(b.high)
	}
}

// sink moves the bracket down from high, first to the guess, until f is not negative at low, or the least is reached. If
// it is negative even there, which is common with few events, it is found out at once.
func (b *bracket) sink(guess float64) {
	least := math.Log(leastRatio)
	for next, step := guess, firstStep; b.atLow < 0 && b.low > least; next, step = b.low-step, 2*step {
		if !(next < b.low) {
			next = b.low - step
		}
		if step == 2*firstStep && b.f(least) < 0 {
			b.low = least
			return
		}
		b.high, b.atHigh = b.low, b.atLow
		b.low = max(next, least)
		b.atLow = b.f(b.low)
	}
}

// narrow closes the bracket to precision by the method of Oliveira and Takahashi (An enhancement of the bisection method
// average performance preserving minmax optimality, ACM TOMS 47(1) 2021): a secant that never needs more steps than one
// halving in excess of bisection, and as few as a secant where f is smooth.
func (b *bracket) narrow() {
	width := b.high - b.low
	radius := precision / 2 * math.Exp2(math.Ceil(math.Log2(width/precision))+1)
	for b.high-b.low > precision {
		middle, half := (b.low+b.high)/2, (b.high-b.low)/2
		secant := (float64(b.atLow*b.high) - float64(b.atHigh*b.low)) / (b.atLow - b.atHigh)
		toMiddle := math.Copysign(1, middle-secant)
		x := middle
		if nudge := .2 / width * float64(half*half*4); nudge < math.Abs(middle-secant) {
			x = secant + float64(toMiddle*nudge)
		}
		if free := radius - half; math.Abs(x-middle) > free {
			x = middle - float64(toMiddle*free)
		}
		if value := b.f(x); value >= 0 {
			b.low, b.atLow = x, value
		} else {
			b.high, b.atHigh = x, value
		}
		radius /= 2
	}
}
