package judge

import (
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// SilenceHorizons are the times within which a device that asked for updates is expected to ask again; each gives one
// silence test, and their e-values are averaged. In hours.
var SilenceHorizons = [NumHorizons]int64{2, 8, 24}

// NumHorizons is the number of SilenceHorizons.
const NumHorizons = 3

// Counts are one arm's tallies in one stratum.
type Counts struct {
	Devices  int64                     `json:"devices"`  // entered the comparison: first check of the phase
	Returned [NumHorizons]int64        `json:"returned"` // of those, seen again in a later hour within the horizon
	Adopted  int64                     `json:"adopted"`  // first check that runs the candidate
	Events   [rollout.NumMetrics]int64 `json:"events"`   // first event per device and rollout, by metric index
}

// Stratum is the pair of arms in one (phase, hour). Share is the design share of candidates among the devices compared
// there, in (0, 1); it is 1 when the phase leaves no control.
type Stratum struct {
	Phase     int     `json:"phase"`
	Hour      int64   `json:"hour"` // hours since the Unix epoch
	Share     float64 `json:"share"`
	Candidate Counts  `json:"candidate"`
	Control   Counts  `json:"control"`
}

// Input is everything a verdict depends on.
type Input struct {
	Plan     rollout.Plan  // resolved: every metric has its gate
	Phase    int           // current
	Held     time.Duration // of the current phase, without pauses
	Approved bool          // the current phase has the approval it may need
	Now      time.Time
	Newest   time.Time // of the newest check that was counted; zero if none
	Strata   []Stratum // any order
}

// Decision is what should happen next.
type Decision string

// The decisions.
const (
	Promote  Decision = "promote"
	Wait     Decision = "wait" // nothing to do yet
	Hold     Decision = "hold" // a person must look
	Pause    Decision = "pause"
	Halt     Decision = "halt"
	Rollback Decision = "rollback"
)

// Verdict is a decision with its evidence.
type Verdict struct {
	Decision  Decision   `json:"decision"`
	Code      string     `json:"code"`     // stable reason: harm, certified, timeout, min_hold, stale, no_data, sample, approval, sample_ratio, no_control
	Sentence  string     `json:"sentence"` // the same in plain words, with numbers
	Certified bool       `json:"certified"`
	Candidate int64      `json:"candidate_devices"`
	Control   int64      `json:"control_devices"`
	Metrics   []Evidence `json:"metrics"` // in the order of rollout.AllMetrics, watched ones only
}

// Evidence is what one metric shows.
type Evidence struct {
	Metric     rollout.Metric `json:"metric"`
	Candidate  int64          `json:"candidate"` // devices with the event
	Control    int64          `json:"control"`
	EValue     float64        `json:"e_value"`      // against "no harm"; alarm at Threshold
	Threshold  float64        `json:"threshold"`    // 1/alpha of this metric
	Ratio      float64        `json:"ratio"`        // estimate of the rate ratio; for limit metrics rate/limit. 0 when unknown
	Lower      float64        `json:"lower"`        // confidence sequence for the ratio at this metric's alpha
	Upper      float64        `json:"upper"`        // 0 means unbounded
	SafeEValue float64        `json:"safe_e_value"` // against "worse than the margin"; certified at 1/beta
	Margin     float64        `json:"margin"`
	Alarm      bool           `json:"alarm"`
	Severe     bool           `json:"severe"`
	Safe       bool           `json:"safe"`
	Action     rollout.Action `json:"action"`
}
