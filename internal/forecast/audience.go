package forecast

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/palier-ota/palier/internal/rollout"
)

// Codes of refusals, in rollout.Error.
const (
	CodeInvalidAudience = "invalid_audience" // a number of the audience makes no sense
	CodeInvalidOptions  = "invalid_forecast" // a number of runs, a regression or a budget makes no sense
	CodePlanTooLong     = "plan_too_long"    // the plan's holds are longer than is ever played
)

// MaxDevices is the largest audience that is played.
const MaxDevices = 10_000_000_000

// Audience is what a plan is played against.
type Audience struct {
	Devices        int64   `json:"devices"`          // active ones
	SessionsPerDay float64 `json:"sessions_per_day"` // update checks of a device, on the mean
	// Base is, by metric, the share of devices with a first event within a week of running the app; for failures of an
	// update, the share of updates that fail. For measured metrics it is the share beyond the shown boundary. Silence needs
	// none: it follows from how often devices ask.
	Base map[rollout.Metric]float64 `json:"base"`
	// Segments is the share of the devices in each segment. A segment that is not named has SegmentShare.
	Segments map[string]float64 `json:"segments,omitempty"`
}

// Typical returns an audience of so many devices about which nothing else is known. The shares are round numbers of the
// size that published crash and update statistics of mobile apps have; they are there to compare plans by.
func Typical(devices int64) Audience {
	return Audience{
		Devices: devices, SessionsPerDay: 2,
		Base: map[rollout.Metric]float64{
			rollout.Crash: .005, rollout.ANR: .002, rollout.LowMemory: .003, rollout.ErrorLog: .05, rollout.BootFailure: .002,
			rollout.LoadTime: .05, rollout.APITime: .05, rollout.SessionLength: .3, rollout.FeatureUse: .5, rollout.Feedback: .001,
			rollout.DownloadFailure: .005,
		},
	}
}

// SegmentShare is the share of devices in a segment of that name when nothing is known: what the built-in plan of groups
// is made for, and one in twenty for any other name.
func SegmentShare(name string) float64 {
	switch name {
	case "internal":
		return .03
	case "beta":
		return .10
	case "early-access":
		return .20
	}
	return .05
}

// Validate refuses, with rollout.Errors, numbers that make no sense.
func (a Audience) Validate() error {
	var found rollout.Errors
	refuse := func(field, message string) {
		found = append(found, rollout.Error{Code: CodeInvalidAudience, Field: field, Message: message})
	}
	if a.Devices < 1 || a.Devices > MaxDevices {
		refuse("devices", strconv.FormatInt(a.Devices, 10)+" is not from 1 to ten thousand million devices")
	}
	if !(a.SessionsPerDay >= .01 && a.SessionsPerDay <= 1000) {
		refuse("sessions_per_day", "must be from 0.01 to 1000 update checks of a device in a day")
	}
	for _, m := range slices.Sorted(maps.Keys(a.Base)) {
		if m.Index() < 0 {
			refuse("base."+clip(string(m)), "is not a metric; use crash, anr, error or another name of the metrics page")
		} else if share := a.Base[m]; !(share >= 0 && share < 1) {
			refuse("base."+string(m), "must be a share of devices from 0 to below 1, such as 0.005 for one in two hundred")
		}
	}
	sum := 0.0
	for _, name := range slices.Sorted(maps.Keys(a.Segments)) {
		share := a.Segments[name]
		if !(share >= 0 && share <= 1) {
			refuse("segments."+clip(name), "must be a share of devices from 0 to 1, such as 0.05")
			continue
		}
		sum += share
	}
	if sum > 1+1e-9 {
		refuse("segments", "the shares add up to more than 1; segments are taken to be disjoint")
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

const week = 7 * 24. // hours

// hazard turns a share of devices within a week into first events per device-hour.
func hazard(share float64) float64 { return -math.Log1p(-share) / week }

// weekly is the inverse of hazard.
func weekly(hazard float64) float64 { return -math.Expm1(-hazard * week) }

// numHabits is how many kinds of devices there are, of equal size.
const numHabits = 3

// habits returns how often a kind of device asks, as multiples of the mean.
func habits() [numHabits]float64 { return [numHabits]float64{.25, .75, 2} }

// checksPerHour returns how often each kind of device asks.
func checksPerHour(sessionsPerDay float64) (rates [numHabits]float64) {
	for k, multiple := range habits() {
		rates[k] = sessionsPerDay / 24 * multiple
	}
	return rates
}

// seenWithin is the share of devices that ask at least once in so many hours.
func seenWithin(sessionsPerDay, hours float64) float64 {
	share := 0.0
	for _, rate := range checksPerHour(sessionsPerDay) {
		share -= math.Expm1(-rate*hours) / numHabits
	}
	return share
}

// clip keeps what a caller sent from filling a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
