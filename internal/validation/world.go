package validation

import (
	"math"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// world is what devices live in. It treats both arms alike; only ratio, which is 1 for a harmless bundle, does not.
type world struct {
	name     string
	devices  int
	hours    int     // from the start of the rollout until nobody looks any more
	sessions float64 // app starts per device and hour, on average
	plan     rollout.Plan
	begins   []int // the hour in which each phase of the plan begins; none when verdicts move the rollout
	ticks    int   // looks per hour

	rates   [numHappenings]float64 // by happening: chance per app start, or per installation
	install float64                // chance that a candidate installs the bundle after an app start
	ratio   float64                // the candidates' multiple of the crash rate
	kill    float64                // share of installations after which the app never starts again

	activity func(hour int) float64 // multiplies sessions
	weather  func(hour int) float64 // multiplies the rates of what goes wrong

	loop      float64 // crash reports of one device that crashes, on average; 0 and 1 are one
	late      float64 // share of reports that arrive hours later
	repeated  float64 // share of reports that arrive again
	lag       int     // hours by which one of the shards is folded later
	churn     float64 // share of the devices that leave for good in an hour; as many new ones come
	joining   float64 // share of the devices that are not there at the start and join at any time
	shuffling bool    // what arrives in one hour is folded in any order, and half of it twice
}

// happening is something that devices report.
type happening struct {
	kind      telemetry.Kind
	action    string
	median    float64 // milliseconds of a measure; 0 for what is none
	spread    float64 // of its logarithm
	installer bool    // happens when the candidate is installed, not in a session
	weathered bool    // the weather multiplies its rate
}

const (
	crash = iota
	anr
	lowMemory
	scriptError
	loadTime
	apiTime
	sessionLength
	featureUse
	feedback
	bootFailure
	downloadFailure
	checksumFailure
	decryptFailure
	unzipFailure
	numHappenings
)

// happenings are what can be reported, as the plugin and the app report it.
func happenings() [numHappenings]happening {
	return [numHappenings]happening{
		crash:           {kind: telemetry.KindAction, action: "app_crash_native", weathered: true},
		anr:             {kind: telemetry.KindAction, action: "app_anr", weathered: true},
		lowMemory:       {kind: telemetry.KindAction, action: "app_killed_low_memory"},
		scriptError:     {kind: telemetry.KindAction, action: "webview_javascript_error", weathered: true},
		loadTime:        {kind: telemetry.KindMetric, action: string(telemetry.MetricLoadTime), median: 900, spread: 1, weathered: true},
		apiTime:         {kind: telemetry.KindMetric, action: string(telemetry.MetricAPITime), median: 250, spread: 1.2, weathered: true},
		sessionLength:   {kind: telemetry.KindMetric, action: string(telemetry.MetricSessionLength), median: 120_000, spread: 1.8},
		featureUse:      {kind: telemetry.KindMetric, action: string(telemetry.MetricFeatureUse)},
		feedback:        {kind: telemetry.KindMetric, action: string(telemetry.MetricFeedback), weathered: true},
		bootFailure:     {kind: telemetry.KindAction, action: "update_fail", installer: true},
		downloadFailure: {kind: telemetry.KindAction, action: "download_fail", installer: true},
		checksumFailure: {kind: telemetry.KindAction, action: "checksum_fail", installer: true},
		decryptFailure:  {kind: telemetry.KindAction, action: "decrypt_fail", installer: true},
		unzipFailure:    {kind: telemetry.KindAction, action: "unzip_fail", installer: true},
	}
}

// stormy are rates at which every gate has work: within the nine app starts of a run most devices crash, and all else that
// is watched happens to many. What fails at installation is held against a limit; these are below it.
func stormy() [numHappenings]float64 {
	return [numHappenings]float64{
		crash: .25, anr: .05, lowMemory: .05, scriptError: .1, loadTime: .1, apiTime: .1, sessionLength: .1, featureUse: .1,
		feedback: .03, bootFailure: .012, downloadFailure: .03, checksumFailure: .008, decryptFailure: .008, unzipFailure: .008,
	}
}

// calm is the world in which nothing changes: 400 devices, one phase of the given percentage, and so many hours.
func calm(hours int, percent rollout.Percent) world {
	return world{
		devices: 400, hours: hours, ticks: 1, sessions: 9 / float64(hours),
		plan: planOf(time.Duration(hours)*time.Hour, percent), begins: []int{0},
		rates: stormy(), install: .7, ratio: 1,
		activity: always, weather: always,
	}
}

// walking is the calm world under a plan of 5, 20 and 50 %: a quarter of the hours for each phase, and another quarter
// beyond the plan.
func walking(hours int) world {
	w := calm(hours, 0)
	quarter := hours / 4
	w.begins = []int{0, quarter, 2 * quarter}
	w.plan = planOf(time.Duration(quarter)*time.Hour, 5*rollout.OnePercent, 20*rollout.OnePercent, 50*rollout.OnePercent)
	return w
}

// planOf is a plan of phases of everyone with the default gates, each of which lasts as long.
func planOf(hold time.Duration, percents ...rollout.Percent) rollout.Plan {
	plan := rollout.Plan{Name: "validation", OnTimeout: rollout.TimeoutHold}
	for _, percent := range percents {
		d := rollout.Duration(hold)
		plan.Phases = append(plan.Phases, rollout.Phase{Percent: percent, Hold: rollout.Hold{Min: d, Max: 100 * d}})
	}
	return rollout.Resolve(plan)
}

func always(int) float64 { return 1 }

// daily is ±70 % over the day.
func daily(hour int) float64 { return 1 + .7*math.Sin(2*math.Pi*float64(hour)/24) }

// weekly is busy for five days and quiet for two.
func weekly(hour int) float64 {
	if hour/24%7 < 5 {
		return 1.2
	}
	return .5
}

// incident is a server that fails for three hours of the second phase, for whoever asks.
func (w *world) incident(hour int) float64 {
	if begin := w.begins[1] + 3; hour >= begin && hour < begin+3 {
		return 5
	}
	return 1
}

// step is a base rate that triples when the third phase begins, which fools whoever pools the phases.
func (w *world) step(hour int) float64 {
	if hour >= w.begins[2] {
		return 3
	}
	return 1
}

// worlds are the cells of the matrix of false alarms: two days in most of them.
func worlds() []world {
	const hours = 48
	named := func(name string, w world, change func(*world)) world {
		w.name = name
		if change != nil {
			change(&w)
		}
		return w
	}
	return []world{
		named("stationary, 5 %", calm(hours, 5*rollout.OnePercent), nil),
		named("stationary, half", calm(hours, 50*rollout.OnePercent), nil),
		named("phase jumps 5 → 20 → 50 %", walking(hours), nil),
		named("diurnal ±70 %", walking(hours), func(w *world) { w.activity, w.weather = daily, daily }),
		named("weekly", walking(168), func(w *world) {
			w.activity, w.weather = weekly, func(hour int) float64 { return 1 / weekly(hour) }
		}),
		named("incident ×5 for 3 h", walking(hours), func(w *world) { w.weather = w.incident }),
		named("base rate ×3 at phase 3", walking(hours), func(w *world) { w.weather, w.rates[crash] = w.step, .15 }),
		named("crash loops, mean 5", walking(hours), func(w *world) { w.loop = 5 }),
		named("crash loops, mean 20", walking(hours), func(w *world) { w.loop = 20 }),
		named("late and repeated reports", walking(hours), func(w *world) { w.late, w.repeated, w.lag, w.shuffling = .4, .5, 5, true }),
		named("devices come and go", walking(hours), func(w *world) { w.churn = .02 }),
		named("late joiners", walking(hours), func(w *world) { w.joining = .6 }),
		named("all at once", walking(hours), func(w *world) {
			w.weather = func(hour int) float64 { return daily(hour) * w.incident(hour) * w.step(hour) }
			w.activity, w.rates[crash], w.loop = daily, .15, 5
			w.late, w.repeated, w.lag, w.shuffling = .4, .5, 5, true
			w.churn, w.joining = .02, .4
		}),
	}
}

// phaseAt returns the phase that the plan has reached in an hour.
func (w *world) phaseAt(hour int) int {
	phase := 0
	for i, begin := range w.begins {
		if hour >= begin {
			phase = i
		}
	}
	return phase
}
