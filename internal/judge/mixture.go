package judge

import "math"

// mixture is the bet that an e-process places: alternatives as multiples of the null ratio, with weights that sum to 1.
// Which alternatives are betted on decides how fast a test is, never whether it is valid.
//
// Multiples, rather than fixed ratios, make the e-value monotone in the null, so that a confidence sequence is one
// interval and bisection finds its ends exactly.
type mixture []atom

type atom struct {
	multiple    float64
	logMultiple float64
	logWeight   float64
}

// atoms is the size of every mixture: fine enough that the nearest atom is within 4 % of any ratio between its ends.
const atoms = 48

// logUniform returns a mixture of equal weights, evenly spaced on the log scale from multiple a to multiple b.
func logUniform(a, b float64) mixture {
	m := make(mixture, atoms)
	first, step := math.Log(a), (math.Log(b)-math.Log(a))/(atoms-1)
	for i := range m {
		logMultiple := first + float64(float64(i)*step)
		m[i] = atom{multiple: math.Exp(logMultiple), logMultiple: logMultiple, logWeight: -math.Log(atoms)}
	}
	return m
}

// inverse mirrors the mixture: every multiple k becomes 1/k.
func (m mixture) inverse() mixture {
	out := make(mixture, len(m))
	for i, a := range m {
		out[i] = atom{multiple: 1 / a.multiple, logMultiple: -a.logMultiple, logWeight: a.logWeight}
	}
	return out
}

// leaning puts weight w on the one multiple k and leaves the rest to the mixture.
func (m mixture) leaning(k, w float64) mixture {
	out := make(mixture, 0, len(m)+1)
	for _, a := range m {
		a.logWeight += math.Log1p(-w)
		out = append(out, a)
	}
	return append(out, atom{multiple: k, logMultiple: math.Log(k), logWeight: math.Log(w)})
}

// bets are the mixtures of one metric: up looks for more events than the null allows, down for fewer; safe is down,
// leaning on what a healthy candidate would show.
type bets struct{ up, down, safe mixture }

// ratioBets are the bets on a rate ratio: from 10 % more than the null to thirty times, and the mirror. A certificate
// bets most of its stake on a ratio of exactly 1, where an innocent bundle is.
func ratioBets(margin float64) bets {
	up := logUniform(1.1, 30)
	down := up.inverse()
	return bets{up: up, down: down, safe: down.leaning(1/margin, leanToHealthy)}
}

// leanToHealthy is the part of a certificate's stake that bets on a ratio of 1.
const leanToHealthy = 0.8

// limitBets are the bets on the odds of failure. The largest alternative is a failure rate of 99.9 %: a bundle that
// fails everywhere is then caught by its second or third device.
func limitBets(limit float64) bets {
	up := logUniform(1.25, max(2, 999/odds(limit)))
	down := logUniform(1.1, 30).inverse()
	return bets{up: up, down: down, safe: down}
}

// countBets are the two-sided bets on the numbers of devices in the arms, where small deviations matter.
func countBets() bets {
	up := logUniform(1.01, 10)
	return bets{up: up, down: up.inverse()}
}

// odds turns a probability into odds.
func odds(p float64) float64 { return p / (1 - p) }

// chance turns odds into a probability; infinite odds are certainty.
func chance(odds float64) float64 {
	if math.IsInf(odds, 1) {
		return 1
	}
	return odds / (1 + odds)
}
