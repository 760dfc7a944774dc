package judge

import (
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// Version numbers the method. It is raised whenever the same Input would give other bytes, and is stored with every
// verdict, so that whoever recomputes one knows whether to expect the same.
const Version = 1

// SilenceHorizons are the times within which a device that asked for updates is expected to ask again; each gives one
// silence test, and their e-values are averaged. In hours.
var SilenceHorizons = [NumHorizons]int64{2, 8, 24}

// NumHorizons is the number of SilenceHorizons.
const NumHorizons = 3

// Counts are one arm's tallies in one stratum.
type Counts struct {
	Devices  int64                     `json:"devices"`  // entered the comparison: first check of the phase
	Returned [NumHorizons]int64        `json:"returned"` // of those, seen again in a later hour within the horizon
	Adopted  int64                     `json:"adopted"`  // first check that runs the candidate, once per device and rollout
	Events   [rollout.NumMetrics]int64 `json:"events"`   // first event per device and rollout, by metric index

	Measured [rollout.NumMeasured]Measure `json:"measured,omitzero"` // by rollout.Metric.Measured
}

// Measure is what an arm showed of one measured metric in one stratum: how far devices went for the first time.
type Measure struct {
	Devices int64                    `json:"devices"` // that passed a boundary here which they had not passed before
	Beyond  [rollout.NumLevels]int64 `json:"beyond"`  // of those, by boundary, since they entered the comparison
	Squares int64                    `json:"squares"` // sum over those devices of the squared number of boundaries passed here
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

// Input is everything a verdict depends on. Its JSON reads back as the same Input, so that a verdict can be recomputed.
type Input struct {
	Plan     rollout.Plan  `json:"plan"`     // resolved: every metric has its gate
	Phase    int           `json:"phase"`    // current
	Held     time.Duration `json:"held"`     // of the current phase, without pauses; in JSON nanoseconds
	Approved bool          `json:"approved"` // the current phase has the approval it may need
	Now      time.Time     `json:"now"`
	Newest   time.Time     `json:"newest,omitzero"`   // of the newest check that was counted; zero if none
	Complete time.Time     `json:"complete,omitzero"` // before it everything has been counted, by every shard of the stream; zero means before Newest
	Strata   []Stratum     `json:"strata"`            // any order
	// Record is what the app's devices did before the rollout, for phases that leave no control; nil when nothing is known.
	Record *rollout.Record `json:"record,omitempty"`
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

// The codes of a Verdict: stable reasons that programs may rely on.
const (
	CodeHarm        = "harm"         // a gate shows harm: pause, halt, rollback or hold, as the gate says
	CodeCertified   = "certified"    // promote: shown to be no worse than the margins
	CodeTimeout     = "timeout"      // held for its longest with nothing proven; the plan decides
	CodeMinHold     = "min_hold"     // wait: the least time of the phase is not over
	CodeStale       = "stale"        // wait: the newest check is older than StaleAfter
	CodeNoData      = "no_data"      // wait: nothing has been counted
	CodeSample      = "sample"       // wait: too few candidate devices in this phase
	CodeUnproven    = "unproven"     // wait: no harm shown, safety not shown either, and there is time left
	CodeApproval    = "approval"     // hold: all is ready but a person's approval; or promote on approval alone where nothing can be compared
	CodeSampleRatio = "sample_ratio" // hold: the arms' sizes do not fit the design, so nothing else can be trusted
	CodeNoControl   = "no_control"   // the phase leaves nobody to compare with
	CodeNoPhase     = "no_phase"     // hold: the plan has no such phase
)

// StaleAfter is the age of the newest check from which data is too old to promote on.
const StaleAfter = 6 * time.Hour

// Verdict is a decision with its evidence. It never holds a NaN or an infinity, and its floats are rounded to six digits.
type Verdict struct {
	Decision  Decision   `json:"decision"`
	Code      string     `json:"code"`              // stable reason, one of the Code constants
	Sentence  string     `json:"sentence"`          // the same in plain words, with numbers
	Certified bool       `json:"certified"`         // every stability metric is shown to be within its margin
	Candidate int64      `json:"candidate_devices"` // most devices of the arm seen in any one phase
	Control   int64      `json:"control_devices"`
	Metrics   []Evidence `json:"metrics"` // in the order of rollout.AllMetrics, watched ones only
}

// Evidence is what one metric shows. Ratios are candidate/control, or control/candidate where fewer events are harm, so
// that more than 1 is always harm; for metrics with a limit they are the rate of failure over the limit, and where Past is
// set, the candidate's events over those that were due.
//
// Each of Lower and Upper is a one-sided bound at this metric's part of alpha, valid at all times at once. The parts sum
// to the plan's alpha, so the lower bounds of all metrics hold together with confidence 1−alpha, and so do the upper ones.
type Evidence struct {
	Metric     rollout.Metric `json:"metric"`
	Candidate  int64          `json:"candidate"`    // devices with the event
	Control    int64          `json:"control"`      // 0 for metrics with a limit
	EValue     float64        `json:"e_value"`      // against "no harm"; alarm at Threshold
	Threshold  float64        `json:"threshold"`    // 1/alpha of this metric
	Ratio      float64        `json:"ratio"`        // estimate; 0 when unknown, or when no candidate had the event
	Lower      float64        `json:"lower"`        // 0 when unknown
	Upper      float64        `json:"upper"`        // 0 means unbounded
	SafeEValue float64        `json:"safe_e_value"` // against "worse than the margin"; certified at 1/beta
	Margin     float64        `json:"margin"`
	Limit      float64        `json:"limit,omitempty"` // the rate that ratios are relative to, for metrics with a limit
	Alarm      bool           `json:"alarm"`           // harm is shown
	Severe     bool           `json:"severe"`          // and Lower has passed the gate's Severe
	Safe       bool           `json:"safe"`            // shown to be within the margin, or negligible
	Action     rollout.Action `json:"action"`          // what the gate does on alarm; rollback when severe

	// Boundary of a measured metric, in milliseconds: the one that shows most. Candidate, Control and Ratio are of the
	// devices beyond it, Lower and Upper hold for all boundaries at once; EValue is the mean over all boundaries.
	Boundary float64 `json:"boundary_ms,omitempty"`
	Mean     *Mean   `json:"mean,omitempty"` // of a measured metric, in the current phase
	// SinceHour is set on an alarm that is due to what happened from a later hour on: Ratio is of that time. Hours since
	// the first stratum.
	SinceHour int64 `json:"since_hour,omitempty"`
	// Past is set where the ratio is not to a control but to the app's own past: the share of devices that were due to
	// have the event, at most.
	Past float64 `json:"past,omitempty"`
}

// Mean is how much further the mean device went as a candidate, in boundaries of rollout.Metric.Levels: half octaves of
// time, octaves of session length. Above 0 is worse. The bounds hold at all times in the limit of many devices, each at
// the metric's part of alpha. It is for display: nothing is decided by it.
type Mean struct {
	Difference float64 `json:"difference"`
	Lower      float64 `json:"lower"`
	Upper      float64 `json:"upper"`
}
