package aggregate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	epochHour  = 490_000
	hourMillis = 3_600_000
)

// history is what happened to some devices, oldest first.
type history struct {
	events []telemetry.Event
	poison int // records among them that nobody can read
}

// randomHistory lets devices live through rollouts whose phases begin at common hours. Servers hear of a new phase at
// different moments, devices crash before they ask, custom ids change arms, emulators take part.
func randomHistory(random *rand.Rand, devices, events int) history {
	const hours, phases = 60, 4
	type plan struct {
		app, id string
		starts  [phases]int64
	}
	plans := []plan{{app: "com.example.shop", id: "01A"}, {app: "com.example.shop", id: "01B"}, {app: "com.example.chat", id: "01C"}}
	for i := range plans {
		for p := 1; p < phases; p++ {
			plans[i].starts[p] = plans[i].starts[p-1] + 1 + random.Int64N(25)
		}
	}
	actions := []string{"app_crash", "app_crash", "app_anr", "update_fail", "set_fail", "download_fail", "checksum_fail", "set",
		"novel_action", "webview_javascript_error", "app_killed_low_memory", "app_moved_to_background"}
	metrics := []telemetry.MetricType{telemetry.MetricLoadTime, telemetry.MetricAPITime, telemetry.MetricSessionLength,
		telemetry.MetricFeatureUse, telemetry.MetricFeedback, telemetry.MetricConsent, "novel_metric"}
	var h history
	for range events {
		device := random.IntN(devices)
		hour := random.Int64N(hours)
		e := telemetry.Event{
			App: "com.example.shop", Device: telemetry.Fingerprint(fmt.Sprint("device-", device)),
			Time: (epochHour+hour)*hourMillis + random.Int64N(hourMillis), Test: device%17 == 0,
		}
		switch random.IntN(5) {
		case 0:
			e.Kind, e.Action = telemetry.KindAction, actions[random.IntN(len(actions))]
		case 1:
			e.Kind, e.Action, e.Value = telemetry.KindMetric, string(metrics[random.IntN(len(metrics))]), random.Float64()*20_000
		}
		if device%3 == 0 {
			e.App = "com.example.chat"
		}
		for i, p := range plans {
			if p.app != e.App {
				continue
			}
			phase := 0
			for phase+1 < phases && p.starts[phase+1] <= hour {
				phase++
			}
			if phase > 0 && random.IntN(20) == 0 {
				phase-- // a server that has not heard of the phase yet
			}
			arm := rollout.ArmControl
			if (device*7+i*3)%10 < 2+2*phase {
				arm = rollout.ArmCandidate
			}
			if random.IntN(25) == 0 {
				arm = rollout.Arm(random.IntN(3)) // a changed custom id moves it between segments
			}
			e.Exposures = append(e.Exposures, telemetry.Exposure{
				Rollout: p.id, Phase: phase, Arm: arm, Candidate: arm == rollout.ArmCandidate && random.IntN(2) == 0,
			})
		}
		h.events = append(h.events, e)
	}
	slices.SortStableFunc(h.events, func(a, b telemetry.Event) int { return int(a.Time - b.Time) })
	return h
}

// records returns the history as a stream would be given it, every event so many times.
func (h history) records(t testing.TB, copies int) []stream.Record {
	var out []stream.Record
	for _, e := range h.events {
		data, err := telemetry.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		for range copies {
			out = append(out, stream.Record{Key: e.Device, Data: data})
		}
	}
	for i := range h.poison {
		out = append(out, stream.Record{Key: uint64(i), Data: []byte(`{"app":`)})
	}
	return out
}

// place is where a number is counted.
type place struct {
	app, rollout string
	telemetry.TallyKey
}

// naive counts the history with all of it at hand, device by device, as the definition says. It shares nothing with
// the fold but the meaning of actions.
func (h history) naive() map[place]telemetry.Tally {
	type subject struct {
		app, rollout string
		device       uint64
	}
	type exposed struct {
		telemetry.Event
		telemetry.Exposure
		hour int64
	}
	lives := map[subject][]exposed{}
	for _, e := range h.events {
		for _, x := range e.Exposures {
			if !e.Test && x.Arm != rollout.ArmNone {
				s := subject{e.App, x.Rollout, e.Device}
				lives[s] = append(lives[s], exposed{e, x, e.Time / hourMillis})
			}
		}
	}
	tallies := map[place]telemetry.Tally{}
	for s, life := range lives {
		count := func(k telemetry.TallyKey, add func(*telemetry.Tally)) {
			p := place{s.app, s.rollout, k}
			t := tallies[p]
			add(&t)
			tallies[p] = t
		}
		// Per phase: the first check, and the two earliest hours with checks.
		type start struct {
			telemetry.TallyKey
			hours []int64
		}
		var starts []start
		var checkHours []int64
		for phase := range 4 {
			var hours []int64
			for _, e := range life {
				if e.Kind == telemetry.KindCheck && e.Phase == phase {
					hours = append(hours, e.hour)
				}
			}
			if len(hours) == 0 {
				continue
			}
			slices.Sort(hours)
			hours = slices.Compact(hours)
			first := start{telemetry.TallyKey{Phase: phase, Hour: hours[0], Arm: rollout.ArmControl}, hours[:min(2, len(hours))]}
			for _, e := range life {
				if e.Kind == telemetry.KindCheck && e.Phase == phase && e.hour == hours[0] && e.Arm == rollout.ArmCandidate {
					first.Arm = rollout.ArmCandidate
				}
			}
			starts = append(starts, first)
			checkHours = append(checkHours, first.hours...)
		}
		if len(starts) == 0 {
			continue
		}
		entered := slices.Min(checkHours)
		for _, at := range starts {
			count(at.TallyKey, func(t *telemetry.Tally) {
				t.Devices++
				for i, horizon := range judge.SilenceHorizons {
					if slices.ContainsFunc(checkHours, func(h int64) bool { return h > at.Hour && h <= at.Hour+horizon }) {
						t.Returned[i]++
					}
				}
			})
		}
		phaseAt := func(hour int64) telemetry.TallyKey {
			var latest telemetry.TallyKey
			for _, at := range starts {
				if at.Hour <= hour {
					latest = at.TallyKey
				}
			}
			latest.Hour = hour
			return latest
		}
		firstHour := func(matches func(exposed) bool) (int64, bool) {
			var hours []int64
			for _, e := range life {
				if e.hour >= entered && matches(e) {
					hours = append(hours, e.hour)
				}
			}
			if len(hours) == 0 {
				return 0, false
			}
			return slices.Min(hours), true
		}
		for i, info := range rollout.AllMetrics() {
			hour, happened := firstHour(func(e exposed) bool {
				class := telemetry.Classify(e.Event)
				if info.Metric == rollout.Adoption {
					return e.Kind == telemetry.KindCheck && e.Candidate
				}
				ofArm := e.Candidate || !class.OfCandidate || e.Arm == rollout.ArmControl && class.Category == telemetry.CategoryDelivery
				return class.Bad && class.Metric == info.Metric && ofArm
			})
			if measured := info.Metric.Measured(); measured >= 0 {
				passed := map[int64]int64{}
				for level := range rollout.NumLevels {
					hour, happened := firstHour(func(e exposed) bool {
						class := telemetry.Classify(e.Event)
						return class.Metric == info.Metric && class.Level > level
					})
					if happened {
						passed[hour]++
						count(phaseAt(hour), func(t *telemetry.Tally) { t.Measured[measured].Beyond[level]++ })
					}
				}
				for hour, n := range passed {
					count(phaseAt(hour), func(t *telemetry.Tally) {
						t.Measured[measured].Devices++
						t.Measured[measured].Squares += n * n
					})
				}
			}
			if !happened {
				continue
			}
			count(phaseAt(hour), func(t *telemetry.Tally) {
				t.Events[i]++
				if info.Metric == rollout.Adoption {
					t.Adopted++
				}
			})
		}
		if hour, happened := firstHour(func(e exposed) bool { return !telemetry.Classify(e.Event).Known }); happened {
			count(phaseAt(hour), func(t *telemetry.Tally) { t.Unknown++ })
		}
	}
	return tallies
}

// newest returns when the newest counted check of each rollout was received.
func (h history) newest() map[string]int64 {
	out := map[string]int64{}
	for _, e := range h.events {
		for _, x := range e.Exposures {
			if e.Kind == telemetry.KindCheck && !e.Test && x.Arm != rollout.ArmNone {
				out[x.Rollout] = max(out[x.Rollout], e.Time)
			}
		}
	}
	return out
}

// checkCounted fails the test unless the store's tallies are what the history says, number by number.
func checkCounted(t *testing.T, st store.Store, h history) {
	t.Helper()
	want := h.naive()
	got := map[place]telemetry.Tally{}
	for _, r := range [][2]string{{"com.example.shop", "01A"}, {"com.example.shop", "01B"}, {"com.example.chat", "01C"}} {
		tallies, err := store.Tallies{Store: st}.Load(t.Context(), r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range tallies.Rows {
			if row.Tally == (telemetry.Tally{}) {
				t.Errorf("rollout %s has an empty row at %+v", r[1], row.TallyKey)
			}
			p := place{r[0], r[1], row.TallyKey}
			got[p] = got[p].Add(row.Tally, 1)
		}
		if newest := h.newest()[r[1]]; tallies.Newest.UnixMilli() != newest {
			t.Errorf("rollout %s: newest check is %d, want %d", r[1], tallies.Newest.UnixMilli(), newest)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			want[p] = telemetry.Tally{}
		}
	}
	for p, tally := range want {
		if got[p] != tally {
			t.Errorf("%+v:\n counted %+v\n    want %+v", p, got[p], tally)
		}
	}
}
