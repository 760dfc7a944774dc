package telemetry

import (
	"strconv"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// NegativeScore is the highest score of feedback, of 5, that is negative. It is fixed, so that counts of different shards
// and times add up, and so are the boundaries of measured metrics: see rollout.Metric.Levels.
const NegativeScore = 2

// Category is the group of an action, as the protocol's list of actions has them.
type Category string

// The categories.
const (
	CategoryCheck       Category = "check"       // an update check
	CategoryLife        Category = "life"        // a bundle was set, queued, deleted
	CategoryRollback    Category = "rollback"    // a bundle failed and was taken back
	CategoryDownload    Category = "download"    // progress of a download
	CategoryDelivery    Category = "delivery"    // a failure on the way to the device: download, verification, unzip
	CategoryApp         Category = "app"         // foreground and background
	CategoryLaunch      Category = "launch"      // start-up timing
	CategoryCrash       Category = "crash"       // crashes and exits
	CategoryWebView     Category = "webview"     // what the WebView reports
	CategoryEnvironment Category = "environment" // the device or native app changed
	CategoryRefusal     Category = "refusal"     // an update was refused
	CategoryChannel     Category = "channel"     // the device's channel
	CategoryThrottle    Category = "throttle"    // rate limits
	CategoryMetric      Category = "metric"      // reported by the app itself
	CategoryUnknown     Category = "unknown"
)

// Class is what an event means to the counts.
type Class struct {
	Category Category
	Metric   rollout.Metric // the metric it speaks of; "" for none
	Bad      bool           // it is one of the events that Metric counts; a measured one if beyond rollout.ShownLevel
	Known    bool           // the action is one that Palier knows
	// Level is how far the event went: how many boundaries of a measured Metric it is beyond, 1 for an event that another
	// Metric counts, and 0 for one that it does not count.
	Level  int
	Millis float64 // of a measured Metric
	// OfCandidate: among candidates it only counts when it is about the candidate bundle. Such actions name the bundle that
	// failed, and another bundle's failure says nothing about the candidate.
	OfCandidate bool
}

// counts reports whether the event counts for a device of x's arm.
//
// What a control device fails to fetch is another bundle, if it is any: it is offered the baseline, or asks for news in
// vain. All of that counts for the control. An outage that hits everybody then shows in both arms, and where the control
// has failures that have nothing to do with any bundle, the comparison errs on the candidate's side: delivery is never
// certified by it, but by the metric's limit alone.
func (c Class) counts(x Exposure) bool {
	return !c.OfCandidate || x.Candidate || c.Category == CategoryDelivery && x.Arm == rollout.ArmControl
}

// Classify returns what e means. It never fails: an action that it does not know has Known false. An Event that is Spurious
// speaks of no metric.
func Classify(e Event) Class {
	switch e.Kind {
	case KindCheck:
		return known(CategoryCheck)
	case KindMetric:
		return classifyMetric(e)
	case KindAction:
		return classifyAction(e)
	}
	return Class{Category: CategoryUnknown}
}

func known(c Category) Class { return Class{Category: c, Known: true} }

// bad is an event that m counts.
func bad(c Category, m rollout.Metric) Class {
	return Class{Category: c, Metric: m, Bad: true, Known: true, Level: 1}
}

// failed is an event that m counts if it is about the candidate.
func failed(c Category, m rollout.Metric) Class {
	return Class{Category: c, Metric: m, Bad: true, Known: true, Level: 1, OfCandidate: true}
}

// measure is an event that says how long something took.
func measure(c Category, m rollout.Metric, millis float64) Class {
	level := m.LevelOf(millis)
	return Class{Category: c, Metric: m, Bad: level > rollout.ShownLevel, Known: true, Level: level, Millis: millis}
}

// classifyAction covers the plugin's actions and those of Capgo's servers, which older tools replay.
func classifyAction(e Event) Class {
	if e.Spurious {
		return known(CategoryDelivery)
	}
	switch e.Action {
	case "get", "set", "set_next", "delete", "reset", "ping", "uninstall":
		return known(CategoryLife)
	case "update_fail", "set_fail":
		return failed(CategoryRollback, rollout.BootFailure)
	case "app_launch_timeout":
		return failed(CategoryLaunch, rollout.BootFailure)
	case "app_initialization_failure":
		return failed(CategoryCrash, rollout.BootFailure)
	case "download_complete", "download_zip_start", "download_zip_complete", "download_manifest_start",
		"download_manifest_complete":
		return known(CategoryDownload)
	case "download_fail", "finish_download_fail", "low_mem_fail", "insufficient_disk_space",
		"download_manifest_file_fail", "manifest_path_fail":
		return failed(CategoryDelivery, rollout.DownloadFailure)
	case "checksum_fail", "download_manifest_checksum_fail", "checksum_required":
		return failed(CategoryDelivery, rollout.ChecksumFailure)
	case "decrypt_fail", "session_key_required":
		return failed(CategoryDelivery, rollout.DecryptFailure)
	case "unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail", "download_manifest_brotli_fail":
		return failed(CategoryDelivery, rollout.UnzipFailure)
	case "app_moved_to_foreground", "app_moved_to_background":
		return known(CategoryApp)
	case "app_launch_start":
		return known(CategoryLaunch)
	case "app_launch_ready":
		return loaded(CategoryLaunch, e)
	// A web bundle cannot crash the native process directly: what it can take down is the WebView's own process, and
	// the user sees the same. iOS's app_crash is a guess from an unclean exit, equally wrong in both arms.
	case "app_crash", "app_crash_native":
		return bad(CategoryCrash, rollout.Crash)
	case "webview_render_process_gone", "webview_content_process_terminated":
		return bad(CategoryWebView, rollout.Crash)
	case "app_anr":
		return bad(CategoryCrash, rollout.ANR)
	// The system kills background apps for its own reasons far more often than for the bundle's. It does so in both arms
	// alike, so that only a bundle that needs more than the one before shows. A warning costs the user nothing.
	case "app_killed_low_memory", "app_killed_excessive_resource_usage":
		return bad(CategoryCrash, rollout.LowMemory)
	case "app_memory_warning":
		return known(CategoryCrash)
	case "webview_javascript_error", "webview_unhandled_rejection":
		return bad(CategoryWebView, rollout.ErrorLog)
	case "webview_dom_content_loaded", "webview_page_loaded":
		return loaded(CategoryWebView, e)
	case "webview_resource_error", "webview_security_policy_violation", "webview_unclean_restart":
		return known(CategoryWebView)
	case "os_version_changed", "native_app_version_changed", "blocked_by_server_url":
		return known(CategoryEnvironment)
	case "noNew", "needPlanUpgrade", "missingBundle", "cannotGetBundle", "NoChannelOrOverride", "disablePlatformIos",
		"disablePlatformAndroid", "disablePlatformElectron", "disableAutoUpdateToMajor", "disableAutoUpdateToMinor",
		"disableAutoUpdateToPatch", "disableAutoUpdateMetadata", "disableAutoUpdateUnderNative", "disableAutoUpdate",
		"channelMisconfigured", "cannotUpdateViaPrivateChannel", "disableProdBuild", "disableDevBuild",
		"disableDevice", "disableEmulator", "keyMismatch", "InvalidIp", "customIdBlocked", "backend_refusal":
		return known(CategoryRefusal)
	case "setChannel", "getChannel":
		return known(CategoryChannel)
	case "rateLimited", "rate_limit_reached":
		return known(CategoryThrottle)
	}
	if isDownloadStep(e.Action) {
		return known(CategoryDownload)
	}
	return Class{Category: CategoryUnknown}
}

// isDownloadStep reports whether action is download_0, download_10, … download_90.
func isDownloadStep(action string) bool {
	step, ok := strings.CutPrefix(action, "download_")
	return ok && (step == "0" || len(step) == 2 && step[0] >= '1' && step[0] <= '9' && step[1] == '0')
}

// loaded classifies a launch or a page load: the plugin says in metadata, as text, how long it took. One that does not say
// so measures nothing.
func loaded(c Category, e Event) Class {
	ms, err := strconv.ParseFloat(e.Metadata["duration_ms"], 64)
	if err != nil || !(ms >= 0 && ms <= maxMetricMillis) {
		return known(c)
	}
	return measure(c, rollout.LoadTime, ms)
}

func classifyMetric(e Event) Class {
	switch MetricType(e.Action) {
	case MetricLoadTime:
		return measure(CategoryMetric, rollout.LoadTime, e.Value)
	case MetricAPITime:
		return measure(CategoryMetric, rollout.APITime, e.Value)
	case MetricSessionLength:
		return measure(CategoryMetric, rollout.SessionLength, e.Value)
	case MetricFeatureUse:
		return bad(CategoryMetric, rollout.FeatureUse)
	case MetricJSError:
		return bad(CategoryMetric, rollout.ErrorLog)
	case MetricFeedback:
		if e.Metadata[metaNegative] == "true" || e.Value > 0 && e.Value <= NegativeScore {
			return bad(CategoryMetric, rollout.Feedback)
		}
		return Class{Category: CategoryMetric, Metric: rollout.Feedback, Known: true}
	case MetricConsent:
		return known(CategoryMetric)
	}
	return Class{Category: CategoryUnknown}
}
