package rollout

// Counting is the version of what counts as an event of which metric. It is kept with every rollout, so that a record never
// takes a metric for harmless that was not counted then. Raise it when telemetry classifies an action otherwise.
const Counting = 2

// NumWithin is the number of RecordedWithin.
const NumWithin = 8

// RecordedWithin are the hours at which the time of a recorded device is cut off, one sum each.
var RecordedWithin = [NumWithin]int64{3, 6, 12, 24, 48, 96, 192, 384}

// Record is what an app's devices are known to do by themselves: the controls of rollouts that have ended. It is taken
// when a rollout starts and kept with it, so that a later verdict can be recomputed from the rollout alone.
type Record struct {
	Rollouts    []string `json:"rollouts"`     // whose controls were counted, newest first
	Devices     int64    `json:"devices"`      // that entered
	DeviceHours int64    `json:"device_hours"` // from each device's first check to the end of its rollout
	// Within are device-hours in the phase that most devices entered, each device with RecordedWithin hours at most.
	Within   [NumWithin]int64  `json:"within"`
	Events   [NumMetrics]int64 `json:"events"`             // devices with a first event, by metric index
	Arriving int64             `json:"arriving,omitempty"` // candidates and controls that entered in the first day
	Returned [3]int64          `json:"returned,omitempty"` // controls seen again within 2, 8 and 24 hours
	Waited   [3]int64          `json:"waited,omitempty"`   // controls of which that could be known
}
