package judge

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// recorded is the record of so many devices over a week each, which had every event as often as everyday says.
func recorded(devices int64) *rollout.Record {
	r := &rollout.Record{Rollouts: []string{"earlier"}, Devices: devices, DeviceHours: 168 * devices}
	for k, hours := range rollout.RecordedWithin {
		r.Within[k] = min(hours, 168) * devices
	}
	for i, p := range everyday {
		r.Events[i] = int64(p * float64(devices))
	}
	for _, m := range []rollout.Metric{rollout.LoadTime, rollout.APITime, rollout.SessionLength} {
		r.Events[m.Index()] = int64(math.Pow(pace, rollout.ShownLevel+1) * float64(devices))
	}
	for h, p := range habits {
		r.Waited[h], r.Returned[h] = devices, int64(p*float64(devices))
	}
	return r
}

// instant is a rollout to everyone, after so many hours with so many new devices in each.
func instant(run int, hours, perHour int64, record *rollout.Record) Input {
	rng := seeded(run)
	in := Input{Plan: rollout.Plan{Phases: phases(100), OnTimeout: rollout.TimeoutPromote}, Record: record, Held: time.Duration(hours) * time.Hour}
	for hour := range hours {
		in.Strata = append(in.Strata, Stratum{Hour: epochHour + hour, Share: 1, Candidate: arm(rng, perHour)})
	}
	return in.at(hours)
}

func TestPhasesWithoutControlAreHeldAgainstThePast(t *testing.T) {
	crashes := func(in Input, n int64) Input {
		in.Strata[3].Candidate.Events[rollout.Crash.Index()] += n
		return in
	}
	for _, c := range []struct {
		name     string
		in       Input
		decision Decision
		code     string
		says     string
	}{
		{"as ever", instant(1, 30, 100, recorded(20_000)), Wait, CodeNoControl, "held against the app's own past only, which is weaker, and showed no harm; waiting for 48h"},
		{"as ever, out of time", instant(1, 49, 100, recorded(20_000)), Promote, CodeNoControl, "showed no harm; going on by time alone after 49h"},
		{"nothing known of the past", instant(1, 30, 100, nil), Wait, CodeNoControl, "nothing was compared"},
		{"too little known of the past", crashes(instant(1, 30, 100, recorded(leastRecorded-1)), 60), Wait, CodeNoControl, "nothing was compared"},
		{"more crashes", crashes(instant(1, 30, 100, recorded(20_000)), 60), Pause, CodeHarm, "to the app's own past (0.7"},
		{"many more crashes", crashes(instant(1, 30, 100, recorded(20_000)), 300), Rollback, CodeHarm, "weaker than a control, at least"},
		{"more crashes, but a past too short to say so", crashes(instant(1, 30, 100, recorded(600)), 40), Wait, CodeNoControl, ""},
	} {
		v := Judge(c.in)
		if v.Decision != c.decision || v.Code != c.code || !strings.Contains(v.Sentence, c.says) {
			t.Errorf("%s: got %s/%s: %s\nwant %s/%s: …%s…", c.name, v.Decision, v.Code, v.Sentence, c.decision, c.code, c.says)
		}
		if v.Certified {
			t.Errorf("%s: certified without a control", c.name)
		}
		if crash := v.Metrics[0]; (crash.Past > 0) != (c.in.Record != nil && c.in.Record.Devices >= leastRecorded) || crash.Upper != 0 {
			t.Errorf("%s: evidence %+v", c.name, crash)
		}
	}
}

// Silence in a rollout to everyone: a bundle after which nobody comes back is seen although there is nobody to compare with.
func TestSilenceAgainstThePast(t *testing.T) {
	in := instant(1, 30, 100, recorded(20_000))
	for i := range in.Strata {
		in.Strata[i].Candidate.Returned = [NumHorizons]int64{}
	}
	v := Judge(in)
	if v.Code != CodeHarm || !strings.Contains(v.Sentence, "silence ratio") || !strings.Contains(v.Sentence, "own past") {
		t.Errorf("nobody came back: %s/%s: %s", v.Decision, v.Code, v.Sentence)
	}
}

// An innocent bundle that everyone gets is stopped with probability alpha at most, the record's own error included; and
// where the record is so large that it has none, hardly less often than alpha allows for crossing in a limited time.
func TestPastStopsNoInnocentBundle(t *testing.T) {
	const runs, alpha, devices = 1000, .05, 2000
	for _, known := range []int64{leastRecorded, 1_000_000} {
		in := instant(0, 1, 1, recorded(known))
		crash := gates(in.Plan, 0)[0]
		crash.alpha = alpha
		alarms := 0
		for run := range runs {
			rng := seeded(run)
			in.Record.Events[crash.index] = binomial(rng, known, everyday[0])
			s := &in.Strata[0].Candidate
			for s.Devices, s.Events[crash.index] = 0, 0; s.Devices < devices; {
				s.Devices += 1 + int64(rng.ExpFloat64()/everyday[0]) // to the next crash
				s.Events[crash.index]++
				if crash.prepare(read(in)).alarm() {
					alarms++
					break
				}
			}
		}
		t.Logf("a record of %d devices: innocent bundles stopped: %d of %d at alpha %v", known, alarms, runs, alpha)
		if bound := clopperPearson(alarms, runs); bound > alpha || alarms == 0 && known > leastRecorded {
			t.Errorf("a record of %d devices: %d of %d innocent bundles stopped: the rate may be %.4f", known, alarms, runs, bound)
		}
	}
}

// Devices that have had more time than the recorded ones may have more events.
func TestLongerTimesMayHaveMoreEvents(t *testing.T) {
	record := recorded(20_000)
	alone := read(instant(1, 30, 100, record))
	before := alone.past.events(alone, 0, .01).expected
	for k := range record.Within {
		record.Within[k] = record.Devices // one hour each
	}
	if after := alone.past.events(alone, 0, .01).expected; math.Abs(after/before-31) > .1 { // the longest time
		t.Errorf("%v crashes are due of devices with 31 hours at most, and %v if the recorded ones had one hour", before, after)
	}
}

// First events come early: a record of short and long times has less to show of long times than its mean says, and still
// no harmless bundle is blamed.
func TestRecordOfShortAndLongTimes(t *testing.T) {
	record := &rollout.Record{Devices: 200_000, Waited: [NumHorizons]int64{1000, 1000, 1000}, Returned: [NumHorizons]int64{300, 600, 900}}
	record.Events[0] = 200 + 1000 // half of the devices had 10 hours, half 190; all crash at .0002 an hour for 50 hours
	for k, hours := range rollout.RecordedWithin {
		record.Within[k] = 100_000*min(hours, 10) + 100_000*min(hours, 190)
	}
	in := instant(0, 100, 2000, record)
	for i := range in.Strata {
		in.Strata[i].Candidate.Events[0] = 20 // 1 % of them
	}
	if e := Judge(in).Metrics[0]; e.Alarm {
		t.Errorf("blamed for having had its time: %+v", e)
	}
}

// The bound of a share holds at its own error rate, and is not far from what was seen.
func TestShareAtMost(t *testing.T) {
	const n, delta, p = 1000, .05, .01
	wrong := 0
	for run := range 2000 {
		if shareAtMost(binomial(seeded(run), n, p), n, delta) < p {
			wrong++
		}
	}
	if clopperPearson(wrong, 2000) > delta || wrong == 0 {
		t.Errorf("the bound was too low in %d of 2000 runs", wrong)
	}
	for _, c := range []struct {
		hits, n int64
		want    float64
	}{{0, 1000, .002991}, {10, 1000, .019756}, {1000, 1000, 1}, {-5, 10, .2589}, {20, 10, 1}} {
		if got := shareAtMost(c.hits, c.n, delta); math.Abs(got/c.want-1) > .002 {
			t.Errorf("%d of %d: at most %v, want %v", c.hits, c.n, got, c.want)
		}
	}
}
