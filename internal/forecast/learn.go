package forecast

import (
	"math"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Past is a rollout that has ended, with what was counted of it.
type Past struct {
	Rollout rollout.Rollout
	Strata  []judge.Stratum
}

// HasControls reports whether anything can be learned from p.
func (p Past) HasControls() bool { return p.learnInto(&rollout.Record{}) }

// leastControls is how many controls must have been seen, and waited for a day, before anything is said to be known: with
// fewer, a rate of one in a hundred would rest on less than one device.
const leastControls = 100

// Learn returns what the controls of past rollouts, newest first, did by themselves, and the audience that follows from
// it; false when too few were seen for the audience to mean anything. The record has a validity of its own: SoundRecord. Nothing of a candidate is used, except that failures of an
// update, which controls cannot have, are taken from the candidates of rollouts that completed.
//
// A device that is a control in several phases of a rollout counts once among the devices, and its hours count from its
// first check in a phase to the end of that phase; so hours are counted short rather than long, and rates are high rather
// than low. How often devices ask is learned from those that came back; as devices that hardly ever ask are hardly ever
// counted, it comes out up to a seventh too high. Rollouts
// whose events were classified otherwise than today's are left out.
func Learn(past []Past) (rollout.Record, Audience, bool) {
	var record rollout.Record
	var updates [rollout.NumMetrics]int64
	var updated, active int64
	for _, p := range past {
		if p.Rollout.Counting == rollout.Counting && p.learnInto(&record) {
			record.Rollouts = append(record.Rollouts, p.Rollout.ID)
		}
		if p.Rollout.State == rollout.Completed {
			updated += p.failures(&updates)
		}
	}
	longest := judge.NumHorizons - 1
	if record.Devices < leastControls || record.Waited[longest] < leastControls || record.DeviceHours == 0 {
		return record, Audience{}, false
	}
	a := Audience{SessionsPerDay: sessionsFrom(record), Base: map[rollout.Metric]float64{}}
	for i, info := range rollout.AllMetrics() {
		switch {
		case info.Metric == rollout.Silence || info.Comparison == rollout.ShownOnly:
		case ofUpdate(i) && updated >= leastControls:
			a.Base[info.Metric] = rounded(min(.99, float64(updates[i])/float64(updated)))
		case !ofUpdate(i):
			a.Base[info.Metric] = rounded(weekly(hazardFrom(record, record.Events[i])))
		}
	}
	for _, p := range past {
		active = max(active, p.active(a.SessionsPerDay))
	}
	a.Devices = active
	return record, a, a.Devices > 0
}

// SoundRecord reports whether a record counts enough devices, over any time, to be kept with a rollout; the judge asks more
// of it where it holds a candidate against it. What an audience needs besides, that devices were waited for, it does not.
func SoundRecord(record rollout.Record) bool {
	return record.Devices >= leastControls && record.DeviceHours > 0
}

// learnInto adds the controls of p, and reports whether there were any.
func (p Past) learnInto(record *rollout.Record) bool {
	ends := p.phaseEnds()
	controls, within := make([]int64, len(ends)), make([][rollout.NumWithin]int64, len(ends))
	for _, s := range p.Strata {
		if s.Phase < 0 || s.Phase >= len(ends) || !(s.Share > 0 && s.Share < 1) {
			continue
		}
		if s.Phase == 0 && s.Hour < p.startHour()+24 {
			record.Arriving += sound(s.Candidate.Devices) + sound(s.Control.Devices)
		}
		controls[s.Phase] += sound(s.Control.Devices)
		hours := max(0, ends[s.Phase]-s.Hour)
		record.DeviceHours += sound(s.Control.Devices) * hours
		for k, most := range rollout.RecordedWithin {
			within[s.Phase][k] += sound(s.Control.Devices) * min(hours, most)
		}
		for i := range record.Events {
			record.Events[i] += sound(s.Control.Events[i])
		}
		for h, horizon := range judge.SilenceHorizons {
			if p.endHour()-s.Hour > horizon {
				record.Waited[h] += sound(s.Control.Devices)
				record.Returned[h] += min(sound(s.Control.Devices), sound(s.Control.Returned[h]))
			}
		}
	}
	most := 0
	for phase, n := range controls {
		if n > controls[most] {
			most = phase
		}
	}
	if len(controls) == 0 || controls[most] == 0 {
		return false
	}
	record.Devices += controls[most]
	for k, hours := range within[most] {
		record.Within[k] += hours
	}
	return true
}

// failures adds the failures of updates among the candidates of p, and returns how many were offered one.
func (p Past) failures(updates *[rollout.NumMetrics]int64) (updated int64) {
	for _, s := range p.Strata {
		for i := range updates {
			if ofUpdate(i) {
				updates[i] += sound(s.Candidate.Events[i])
			}
		}
		updated += sound(s.Candidate.Adopted) + sound(s.Candidate.Events[rollout.BootFailure.Index()])
	}
	return updated
}

// active estimates the active devices from the phase of everyone's in which most were seen: how many were seen within its
// time, over the share of devices that ask at least once in so long.
func (p Past) active(sessionsPerDay float64) int64 {
	var most float64
	ends := p.phaseEnds()
	for phase, end := range ends {
		if len(p.Rollout.Plan.Phases[phase].Segments) > 0 {
			continue
		}
		seen, first := int64(0), end
		for _, s := range p.Strata {
			if s.Phase == phase {
				seen += sound(s.Candidate.Devices) + sound(s.Control.Devices)
				first = min(first, s.Hour)
			}
		}
		if hours := float64(end - first); hours >= 1 {
			most = max(most, float64(seen)/seenWithin(sessionsPerDay, hours))
		}
	}
	return int64(min(most, MaxDevices))
}

// phaseEnds returns, by phase, the hour before which everything was counted in it: where the next phase begins to be seen,
// or the rollout ended.
func (p Past) phaseEnds() []int64 {
	ends := make([]int64, len(p.Rollout.Plan.Phases))
	for i := range ends {
		ends[i] = p.endHour()
		for _, s := range p.Strata {
			if s.Phase > i {
				ends[i] = min(ends[i], s.Hour)
			}
		}
	}
	return ends
}

// startHour is the hour of the first count.
func (p Past) startHour() int64 {
	first := int64(math.MaxInt64 / 2)
	for _, s := range p.Strata {
		first = min(first, s.Hour)
	}
	return first
}

// endHour is the hour in which the rollout ended; where that is not known, the one after the last count.
func (p Past) endHour() int64 {
	if !p.Rollout.EndedAt.IsZero() {
		return p.Rollout.EndedAt.Unix() / 3600
	}
	last := int64(0)
	for _, s := range p.Strata {
		last = max(last, s.Hour+1)
	}
	return last
}

// sound keeps counts that make no sense from doing harm.
func sound(n int64) int64 { return max(0, min(n, 1<<40)) }

// sessionsFrom finds the checks per day under which as many devices come back within the horizons as did.
func sessionsFrom(record rollout.Record) float64 {
	excess := func(sessions float64) float64 {
		sum := 0.0
		for h, horizon := range judge.SilenceHorizons {
			sum += float64(record.Returned[h]) - float64(record.Waited[h])*seenWithin(sessions, float64(horizon))
		}
		return sum
	}
	low, high := math.Log(.01), math.Log(1000.)
	for range 40 {
		if middle := (low + high) / 2; excess(math.Exp(middle)) > 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return rounded(math.Exp(low))
}

// hazardFrom returns first events per device-hour, such that the devices of the record have so many in the mean time they
// were watched.
func hazardFrom(record rollout.Record, events int64) float64 {
	devices := float64(record.Devices)
	share := min(.98, float64(events)/devices)
	return -math.Log1p(-share) / (float64(record.DeviceHours) / devices)
}
