package rollout

// Metric names something a Gate can watch. The order of AllMetrics is fixed: stored tallies index by it.
type Metric string

// The metrics.
const (
	Crash           Metric = "crash"            // first crash of the app on the device
	ANR             Metric = "anr"              // first "application not responding"
	BootFailure     Metric = "boot_failure"     // the bundle could not be activated or never said it was ready
	Silence         Metric = "silence"          // asked for updates, then never again within the horizon
	ErrorLog        Metric = "error"            // first JavaScript error or unhandled rejection
	LoadTime        Metric = "load_time"        // first page or app load slower than the boundary
	APITime         Metric = "api_time"         // first API response slower than the boundary
	SessionLength   Metric = "session_length"   // first session shorter than the boundary
	FeatureUse      Metric = "feature_use"      // first use of a tracked feature; fewer is harm
	Feedback        Metric = "feedback"         // first negative feedback
	DownloadFailure Metric = "download_failure" // first bundle that could not be fetched or stored
	Adoption        Metric = "adoption"         // first check that already runs the candidate; shown, not gated
	LowMemory       Metric = "low_memory"       // first time the system killed the app for want of memory
	ChecksumFailure Metric = "checksum_failure" // first bundle whose bytes were not those that were signed
	DecryptFailure  Metric = "decrypt_failure"  // first bundle that could not be decrypted
	UnzipFailure    Metric = "unzip_failure"    // first bundle that could not be unpacked
)

// Category groups metrics.
type Category string

// The categories.
const (
	Stability    Category = "stability"
	Performance  Category = "performance"
	Engagement   Category = "engagement"
	Distribution Category = "distribution"
)

// Comparison says what a metric's candidate count is held against.
type Comparison uint8

// The comparisons.
const (
	// AgainstControl compares the two arms hour by hour: harm is more events than the design share predicts.
	AgainstControl Comparison = iota
	// AgainstControlFewer is the same with harm being fewer events.
	AgainstControlFewer
	// AgainstLimit compares candidates that failed with candidates that entered, for events that a control device
	// cannot have because it is offered nothing.
	AgainstLimit
	// AgainstBoth is AgainstLimit for events that a control device can have too, for another reason: harm must show
	// against the limit and against the control, so that an outage which hits both arms stops nobody.
	AgainstBoth
	// AgainstControlLevels compares, boundary by boundary, the devices whose measure went beyond it: see Metric.Levels.
	AgainstControlLevels
	// ShownOnly metrics are counted and drawn, never judged.
	ShownOnly
)

// MetricInfo describes a Metric and its default Gate.
type MetricInfo struct {
	Metric     Metric
	Category   Category
	Comparison Comparison
	Gate       Gate    // the default
	AlphaShare float64 // its part of the release's alpha; the shares of all gated metrics sum to 1
}

// NumMetrics is the length of AllMetrics.
const NumMetrics = 16

// AllMetrics lists every metric, in the fixed order of stored tallies.
func AllMetrics() [NumMetrics]MetricInfo {
	gate := func(m Metric, margin Margin, severe, limit float64, a Action) Gate {
		return Gate{Metric: m, Margin: margin, Severe: severe, Limit: limit, Action: a}
	}
	return [NumMetrics]MetricInfo{
		{Crash, Stability, AgainstControl, gate(Crash, 1.5, 3, 0, ActionPause), .35},
		{ANR, Stability, AgainstControl, gate(ANR, 1.5, 3, 0, ActionPause), .04},
		{BootFailure, Stability, AgainstLimit, gate(BootFailure, 1.5, 3, .02, ActionPause), .14},
		{Silence, Stability, AgainstControl, gate(Silence, 1.5, 3, 0, ActionPause), .14},
		{ErrorLog, Stability, AgainstControl, gate(ErrorLog, 1.5, 3, 0, ActionPause), .05},
		{LoadTime, Performance, AgainstControlLevels, gate(LoadTime, 1.5, 0, 0, ActionRollback), .05},
		{APITime, Performance, AgainstControlLevels, gate(APITime, 1.5, 0, 0, ActionRollback), .05},
		{SessionLength, Engagement, AgainstControlLevels, gate(SessionLength, 1.5, 0, 0, ActionHalt), .03},
		{FeatureUse, Engagement, AgainstControlFewer, gate(FeatureUse, 1.5, 0, 0, ActionHalt), .03},
		{Feedback, Engagement, AgainstControl, gate(Feedback, 1.5, 0, 0, ActionHalt), .03},
		{DownloadFailure, Distribution, AgainstBoth, gate(DownloadFailure, 1.5, 0, .05, ActionPause), .02},
		{Adoption, Distribution, ShownOnly, Gate{Metric: Adoption, Off: true}, 0},
		{LowMemory, Stability, AgainstControl, gate(LowMemory, 1.5, 3, 0, ActionPause), .03},
		{ChecksumFailure, Distribution, AgainstBoth, gate(ChecksumFailure, 1.5, 0, .01, ActionPause), .015},
		{DecryptFailure, Distribution, AgainstBoth, gate(DecryptFailure, 1.5, 0, .01, ActionPause), .01},
		{UnzipFailure, Distribution, AgainstBoth, gate(UnzipFailure, 1.5, 0, .01, ActionPause), .015},
	}
}

// Index returns m's place in AllMetrics, or -1 for a name that is none.
func (m Metric) Index() int {
	for i, info := range AllMetrics() {
		if info.Metric == m {
			return i
		}
	}
	return -1
}
