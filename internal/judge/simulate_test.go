package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mathext"
)

// bettor is an e-process kept up to date event by event: the plain twin of process.logE, and what makes thousands of
// simulated rollouts affordable. It tests one null; the share may change between events, as it does between phases.
type bettor struct {
	mixture mixture
	null    float64
	share   float64
	step    [2][]float64 // what an event adds to every atom: on the other side, on the suspected side
	logs    []float64    // ln L of every atom
	top     float64      // the largest of them
}

func newBettor(m mixture, null, share float64) *bettor {
	b := &bettor{mixture: m, null: null, logs: make([]float64, len(m))}
	b.step = [2][]float64{make([]float64, len(m)), make([]float64, len(m))}
	b.setShare(share)
	return b
}

func (b *bettor) setShare(share float64) {
	b.share = share
	p0 := share * b.null / (1 - share + share*b.null)
	for i, a := range b.mixture {
		r := a.multiple * b.null
		p := share * r / (1 - share + share*r)
		b.step[1][i], b.step[0][i] = math.Log(p/p0), math.Log((1-p)/(1-p0))
	}
}

func (b *bettor) see(suspected bool) {
	side := 0
	if suspected {
		side = 1
	}
	logs, top := b.logs, math.Inf(-1)
	for i, s := range b.step[side] {
		l := logs[i] + s
		logs[i] = l
		if l > top {
			top = l
		}
	}
	b.top = top
}

// passed reports whether E ≥ exp(logThreshold). E is a mean, so it cannot pass unless its largest term does.
func (b *bettor) passed(logThreshold float64) bool {
	return b.top >= logThreshold && b.logE() >= logThreshold
}

func (b *bettor) logE() float64 {
	terms := make([]float64, len(b.logs))
	for i, l := range b.logs {
		terms[i] = l + b.mixture[i].logWeight
	}
	return logSum(terms...)
}

// crowd is devices arriving one by one in two arms, time being measured in candidate devices: events of either arm are
// then Poisson processes. It is the limit of many devices with a rare event.
type crowd struct {
	rng         *rand.Rand
	share       float64
	rate, ratio float64 // events per control device, and the candidate's multiple of it
	devices     float64 // candidate devices so far
}

// next moves to the next event and reports whether a candidate had it.
func (c *crowd) next() (candidate bool) {
	ours := c.rate * c.ratio
	theirs := c.rate * (1 - c.share) / c.share
	c.devices += c.rng.ExpFloat64() / (ours + theirs)
	return c.rng.Float64() < ours/(ours+theirs)
}

// seeded returns the randomness of one simulated run; runs are independent and the same every time.
func seeded(run int) *rand.Rand { return rand.New(rand.NewPCG(uint64(run), 0x9e3779b97f4a7c15)) }

// quantile returns the q-quantile of the values, which it sorts.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

// clopperPearson returns the exact upper 99 % bound of a proportion of which k of n were seen.
func clopperPearson(k, n int) float64 {
	return mathext.InvRegIncBeta(float64(k+1), float64(n-k), .99)
}

func TestClopperPearson(t *testing.T) {
	// No case in n: 1 − 0.01^(1/n).
	for _, n := range []int{10, 500, 2000} {
		if got, want := clopperPearson(0, n), 1-math.Pow(.01, 1/float64(n)); math.Abs(got-want) > 1e-6 {
			t.Errorf("0 of %d: upper bound %v, want %v", n, got, want)
		}
	}
	if got := clopperPearson(5, 100); math.Abs(got-.1255) > .002 { // published tables: 12.6 %
		t.Errorf("5 of 100: upper bound %v", got)
	}
}

func TestBettorAgreesWithProcess(t *testing.T) {
	for run := range 50 {
		rng := seeded(run)
		bets := ratioBets().certifying(1.5)
		m := [][]atom{bets.up, bets.down, bets.safe, countBets().up}[run%4]
		null := math.Exp(rng.NormFloat64())
		b := newBettor(m, null, .05)
		var d draws
		for _, share := range []float64{.05, .2, .7} {
			b.setShare(share)
			p := pool{share: share}
			for range rng.IntN(200) {
				hit := rng.Float64() < share
				b.see(hit)
				p.events++
				if hit {
					d.hits++
				}
			}
			d.pools = append(d.pools, p)
		}
		if got, want := whole(d).logE(m, null), b.logE(); math.Abs(got-want) > 1e-7*(1+math.Abs(want)) {
			t.Errorf("run %d: ln E = %v in one piece, %v event by event", run, got, want)
		}
	}
}
