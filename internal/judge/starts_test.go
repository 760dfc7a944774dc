package judge

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// timeline is a rollout of one phase whose first crashes arrive event by event, so many candidate devices an hour.
type timeline struct {
	in      Input
	at      crowd
	perHour float64
}

func newTimeline(rng *rand.Rand, share, rate, perHour float64) *timeline {
	return &timeline{
		in: Input{Plan: rollout.Plan{Phases: phases(5)}}, perHour: perHour,
		at: crowd{rng: rng, share: share, rate: rate, ratio: 1},
	}
}

// next moves to the next crash, and reports whether a candidate had it.
func (l *timeline) next() bool {
	candidate := l.at.next()
	hour := epochHour + int64(l.at.devices/l.perHour)
	if n := len(l.in.Strata); n == 0 || l.in.Strata[n-1].Hour != hour {
		l.in.Strata = append(l.in.Strata, Stratum{Hour: hour, Share: l.at.share})
	}
	s := &l.in.Strata[len(l.in.Strata)-1]
	s.Candidate.Devices, s.Control.Devices = int64(l.perHour), int64(l.perHour/l.at.share*(1-l.at.share))
	if candidate {
		s.Candidate.Events[rollout.Crash.Index()]++
	} else {
		s.Control.Events[rollout.Crash.Index()]++
	}
	return candidate
}

// skip plays on until so many candidate devices have been seen, at the present ratio. What has no memory may stop in between.
func (l *timeline) skip(devices float64) {
	for before := l.at; ; before = l.at {
		ahead := l.at
		seed := *l.at.rng
		if ahead.next(); ahead.devices > devices {
			l.at, *l.at.rng = before, seed
			l.at.devices = devices
			return
		}
		*l.at.rng = seed
		l.next()
	}
}

func (l *timeline) process() process { return read(l.in).sinceStarts(rollout.Crash.Index(), false) }

// The stakes of all starts sum to 1 at every time, however sparse the events are.
func TestStakesSumToOne(t *testing.T) {
	for run := range 50 {
		rng := seeded(run)
		l := newTimeline(rng, .05, .005, 50+3000*rng.Float64())
		l.in.Plan.Phases = phases(5, 20, 50)[:1+rng.IntN(3)]
		for range 1 + rng.IntN(300) {
			l.next()
			l.in.Strata[len(l.in.Strata)-1].Phase = rng.IntN(len(l.in.Plan.Phases))
		}
		sum := 0.0
		for _, p := range l.process() {
			if sum += p.weight; p.weight <= 0 {
				t.Fatalf("run %d: a part with weight %v", run, p.weight)
			}
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Fatalf("run %d: the stakes sum to %v", run, sum)
		}
	}
}

// The parts are what the definition says: one bet for every even hour since the first, of the events from then on. The plain
// twin places them one by one, over more hours than there are events.
func TestStartsAgreeWithTheirDefinition(t *testing.T) {
	up := harmBets()
	for run := range 30 {
		rng := seeded(run)
		l := newTimeline(rng, .05, .005, 20+500*rng.Float64())
		for range 1 + rng.IntN(200) {
			l.next()
		}
		r, crash := read(l.in), rollout.Crash.Index()
		plain := process{{weight: firstStake, draws: r.draws(events(crash))}}
		rest := 1 - firstStake
		for k := int64(1); k < 2000; k++ {
			from := draws{pools: []pool{{share: .05}}}
			for _, s := range l.in.Strata {
				if s.Hour >= r.first+k*startEvery {
					from.hits += s.Candidate.Events[crash]
					from.pools[0].events += s.Candidate.Events[crash] + s.Control.Events[crash]
				}
			}
			var until before
			for _, s := range l.in.Strata {
				if s.Hour < r.first+k*startEvery {
					until.add(s.Candidate.Events[crash], s.Control.Events[crash], .05)
				}
			}
			weight := laterStake * (startedBy(k*startEvery) - startedBy((k-1)*startEvery))
			rest -= weight
			plain = append(plain, part{weight: weight, draws: from, due: until.due(), had: until.hits})
		}
		plain = append(plain, part{weight: rest})
		for _, null := range []float64{.5, 1, 2} {
			if got, want := l.process().logE(up, null), plain.logE(up, null); math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
				t.Errorf("run %d, null %v: ln E = %v with starts merged, %v one by one", run, null, got, want)
			}
		}
	}
}

// Harm that begins after 20 000 healthy candidate devices is found nearly as soon as harm that was there from the start,
// and without later starts only after 4 600 devices.
func TestLateOnset(t *testing.T) {
	const runs, healthy, ratio, alpha = 120, 20_000, 3, .01
	for _, c := range []struct {
		perHour float64
		limit   float64
	}{
		{1000, 2200}, // begins with a start
		{500, 2200},
		{3000, 2950}, // 2 000 healthy devices into a start
	} {
		var starts, one []float64
		for run := range runs {
			l := newTimeline(seeded(run), .05, .005, c.perHour)
			l.skip(healthy)
			l.at.ratio = ratio
			for first, any := false, false; !first || !any; {
				if !l.next() {
					continue // harm is found when a candidate crashes
				}
				p := l.process()
				if !any && p.logE(harmBets(), 1) >= -math.Log(alpha) {
					any = true
					starts = append(starts, l.at.devices-healthy)
				}
				if !first && whole(p[0].draws).logE(harmBets(), 1) >= -math.Log(alpha) {
					first = true
					one = append(one, l.at.devices-healthy)
				}
				if len(one) > 20 { // enough to show what the starts spare
					first = true
				}
			}
		}
		median := quantile(starts, .5)
		t.Logf("ratio %v after %v healthy candidate devices, %v an hour: found after a median of %.0f more, 9 of 10 within %.0f; with one start %.0f",
			ratio, healthy, c.perHour, median, quantile(starts, .9), quantile(one, .5))
		if median > c.limit || quantile(one, .5) < 1.5*median {
			t.Errorf("%v devices an hour: found after %.0f devices, want %.0f; with one start %.0f", c.perHour, median, c.limit, quantile(one, .5))
		}
	}
}

// Whenever anyone stops to look, the lower bound of a process with starts is below the true ratio but for alpha, and it is
// at least 1 exactly when the process alarms.
func TestBoundWithStartsCovers(t *testing.T) {
	const runs, alpha = 400, .05
	threshold, up := -math.Log(alpha), harmBets()
	for _, ratio := range []float64{.7, 1, 2} {
		wrong := 0
		for run := range runs {
			rng := seeded(run)
			l := newTimeline(rng, .05, .005, 20+1000*rng.Float64())
			l.at.ratio = ratio
			last := 50 + rng.IntN(500)
			for n := range last {
				// Stop at random, or when the newest events look bad.
				if l.next() && n%10 == 0 && l.process().logE(up, ratio) > threshold-1 {
					break
				}
			}
			p := l.process()
			lower := p.staked(up).lower(threshold, 1)
			if alarm := p.logE(up, 1) >= threshold; alarm != (lower >= 1) {
				t.Fatalf("run %d: alarm %v with a lower bound of %v", run, alarm, lower)
			}
			if lower > ratio {
				wrong++
			}
		}
		t.Logf("ratio %v: the lower bound was above it in %d of %d runs", ratio, wrong, runs)
		if bound := clopperPearson(wrong, runs); bound > alpha {
			t.Errorf("ratio %v: the lower bound was above it in %d of %d runs: the rate may be %.4f", ratio, wrong, runs, bound)
		}
	}
}

// A verdict on harm that began late says since when, shows the ratio of that time, and gives no upper bound where no one
// ratio fits the whole.
func TestSentenceOfLateHarm(t *testing.T) {
	in := healthy()
	in.Strata = nil
	for hour := range int64(48) {
		arm := Counts{Devices: 1000, Adopted: 1000, Returned: [NumHorizons]int64{300, 600, 900}}
		arm.Events[rollout.Crash.Index()] = 20
		s := Stratum{Phase: 1, Hour: epochHour + hour, Share: .5, Candidate: arm, Control: arm}
		if hour >= 40 {
			s.Candidate.Events[rollout.Crash.Index()] = 60
		}
		in.Strata = append(in.Strata, s)
	}
	in.Newest = time.Unix((epochHour+48)*3600, 0)
	in.Now = in.Newest
	v := Judge(in)
	e := v.Metrics[0]
	if v.Code != CodeHarm || e.SinceHour != 40 || e.Ratio < 2.9 || e.Ratio > 3.01 || e.Upper != 0 && e.Upper < e.Lower || e.Lower <= 1 {
		t.Errorf("got %s with %+v", v.Code, e)
	}
	if !strings.Contains(v.Sentence, "crash ratio ") || !strings.Contains(v.Sentence, "since hour 40 of the rollout") {
		t.Errorf("sentence: %s", v.Sentence)
	}
	t.Log(v.Sentence)
}

// A candidate that has spared many devices their first event has more of them left to have one. That must not pass for harm
// that began late.
func TestBetterCandidateIsNotBlamedLater(t *testing.T) {
	const devices = 20_000
	in := Input{Plan: rollout.Plan{Phases: phases(50, 50)}, Phase: 1, Strata: []Stratum{
		{Phase: 0, Hour: epochHour, Share: .5, Candidate: Counts{Devices: devices}, Control: Counts{Devices: devices}},
		{Phase: 1, Hour: epochHour + 10, Share: .5, Candidate: Counts{Devices: devices}, Control: Counts{Devices: devices}},
	}}
	for _, m := range []rollout.Metric{rollout.Crash, rollout.LoadTime} {
		for arm, first := range map[*Counts]int64{&in.Strata[0].Candidate: devices / 10, &in.Strata[0].Control: devices / 2} {
			arm.Events[m.Index()] = first
			arm.Measured[0].Beyond[5] = first
		}
		// From then on one in five of those who are left has its first, whichever arm it is in.
		for arm, left := range map[*Counts]int64{&in.Strata[1].Candidate: devices * 9 / 10, &in.Strata[1].Control: devices / 2} {
			arm.Events[m.Index()] = left / 5
			arm.Measured[0].Beyond[5] = left / 5
		}
	}
	uses := rollout.FeatureUse.Index()
	for i := range in.Strata { // a candidate that is used sooner, so that fewer are left to use it for the first time
		s := &in.Strata[i]
		s.Candidate.Events[uses], s.Control.Events[uses] = s.Control.Events[0], s.Candidate.Events[0]
	}
	for _, e := range Judge(in).Metrics {
		if e.Alarm {
			t.Errorf("blamed for having been better: %+v", e)
		}
	}
	in.Strata[0].Candidate = in.Strata[0].Control
	if e := Judge(in).Metrics[0]; !e.Alarm {
		t.Errorf("not blamed for being worse: %+v", e)
	}
}

// Devices differ: those that crash at all may crash later, and those that use a feature may find it sooner. Nobody is worse
// off at any time, and nobody is to be blamed.
func TestSparedDevicesMayCrashLater(t *testing.T) {
	crash, uses := rollout.Crash.Index(), rollout.FeatureUse.Index()
	in := Input{Plan: rollout.Plan{Phases: phases(5, 20)}, Phase: 0}
	for hour := range int64(40) {
		s := Stratum{Hour: epochHour + hour, Share: .05}
		if hour == 0 {
			s.Candidate.Devices, s.Control.Devices = 2000, 38_000
		}
		if hour >= 2 && hour < 21 {
			s.Control.Events[crash] = 10
		}
		if hour >= 24 && hour < 29 {
			s.Candidate.Events[crash] = 2
		}
		if hour < 6 {
			s.Candidate.Events[uses] = 100
		}
		s.Control.Events[uses] = 11_400 / 40
		in.Strata = append(in.Strata, s)
	}
	in.Newest = time.Unix((epochHour+40)*3600, 0)
	in.Now = in.Newest
	for hours := range len(in.Strata) {
		now := in
		now.Strata = in.Strata[:hours+1]
		for _, e := range Judge(now).Metrics {
			if e.Alarm {
				t.Fatalf("hour %d: blamed for having been better: %+v", hours, e)
			}
		}
	}
}
