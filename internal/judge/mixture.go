package judge

import "math"

// mixture is the bet that an e-process places: alternatives as multiples of the null ratio, with weights that sum to 1.
// Which alternatives are betted on decides how fast a test is, never whether it is valid.
//
// Multiples, rather than fixed ratios, make the e-value monotone in the null, so that a confidence sequence is one
// interval and its ends are zeros of one function.
type mixture []atom

type atom struct {
	multiple    float64
	logMultiple float64
	logWeight   float64
}

// knot is a point of a mixture's density over the log scale, which is linear between knots.
type knot struct{ multiple, density float64 }

// spread returns a mixture of so many atoms, evenly spaced on the log scale from the first knot to the last, with weights
// in proportion to the density.
func spread(atoms int, knots ...knot) mixture {
	m := make(mixture, atoms)
	first := math.Log(knots[0].multiple)
	step := (math.Log(knots[len(knots)-1].multiple) - first) / float64(atoms-1)
	total, at := 0.0, 0
	for i := range m {
		logMultiple := first + float64(float64(i)*step)
		for at < len(knots)-2 && logMultiple > math.Log(knots[at+1].multiple) {
			at++
		}
		from, to := knots[at], knots[at+1]
		along := (logMultiple - math.Log(from.multiple)) / (math.Log(to.multiple) - math.Log(from.multiple))
		density := from.density + float64((to.density-from.density)*along)
		total += density
		m[i] = atom{multiple: math.Exp(logMultiple), logMultiple: logMultiple, logWeight: math.Log(density)}
	}
	for i := range m {
		m[i].logWeight -= math.Log(total)
	}
	return m
}

// Numbers of atoms over the range of ratios that matters. With the coarse one the nearest atom is within 8 % of any ratio,
// with the fine one within 4 %: a likelihood is broader than that while a test is undecided.
const (
	coarse = 24
	fine   = 48
)

// logUniform returns a mixture of equal weights, evenly spaced on the log scale from multiple a to multiple b.
func logUniform(atoms int, a, b float64) mixture { return spread(atoms, knot{a, 1}, knot{b, 1}) }

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
	out, rest := make(mixture, 0, len(m)+1), math.Log1p(-w)
	for _, a := range m {
		a.logWeight += rest
		out = append(out, a)
	}
	return append(out, atom{multiple: k, logMultiple: math.Log(k), logWeight: math.Log(w)})
}

// bets are the mixtures of one metric: up looks for more events than the null allows, down for fewer; safe is down,
// leaning on what a healthy candidate would show.
type bets struct{ up, down, safe mixture }

// ratioBets are the bets on a rate ratio, all but safe, which depends on the margin.
func ratioBets() bets { return bets{up: harmBets(), down: logUniform(coarse, 1.1, 30).inverse()} }

// certifying adds the bets of a certificate: most of the stake is on a ratio of exactly 1, where an innocent bundle is.
func (b bets) certifying(margin float64) bets {
	b.safe = b.down.leaning(1/margin, leanToHealthy)
	return b
}

// harmBets are the bets on a ratio of harm, from 5 % more to forty times. The density was found by a numerical search for
// the least medians of devices until an alarm, at ratios of 1.5, 2, 3, 5 and 10 and shares of 5 and 50 %, with firstStake
// of the stake: what the other starts cost is won back from bets that equal weights waste (TestDevicesUntilAlarm has the
// figures). Beyond twelve times little is staked, since a few events are enough there whatever the bet; below 1.2 times
// only what lets the lower bound come close to the ratio in the end.
func harmBets() mixture {
	return spread(coarse+2, knot{1.05, .02}, knot{1.2, .2}, knot{1.5, 1}, knot{2.5, 1.6}, knot{4, 1.6}, knot{7, .7}, knot{11, 2.2},
		knot{20, .1}, knot{40, .01})
}

// levelBets are the bets on more devices beyond a boundary: smaller ratios than those of crashes, since what lies beyond
// most boundaries is common, and what is common cannot become ten times as common.
func levelBets() mixture {
	return spread(coarse, knot{1.1, .4}, knot{1.25, 1}, knot{2, 1}, knot{3, .6}, knot{5, .25}, knot{20, .05})
}

// leanToHealthy is the part of a certificate's stake that bets on a ratio of 1.
const leanToHealthy = 0.8

// limitBets are the bets on the odds of failure. The largest alternative is a failure rate of 99.9 %: a bundle that
// fails everywhere is then caught by its second or third device.
func limitBets(limit float64) bets {
	up := logUniform(fine, 1.25, max(2, 999/odds(limit)))
	down := logUniform(coarse, 1.1, 30).inverse()
	return bets{up: up, down: down, safe: down}
}

// countBets are the two-sided bets on the numbers of devices in the arms, where small deviations matter.
func countBets() bets {
	up := logUniform(fine, 1.01, 10)
	return bets{up: up, down: up.inverse()}
}

// rateBets are the bets on a rate far below negligible.
func rateBets() mixture { return logUniform(fine, 1.1, 1000).inverse() }

// odds turns a probability into odds.
func odds(p float64) float64 { return p / (1 - p) }

// chance turns odds into a probability; infinite odds are certainty.
func chance(odds float64) float64 {
	if math.IsInf(odds, 1) {
		return 1
	}
	return odds / (1 + odds)
}
