package telemetry

import (
	"math"
	"strconv"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// Boundaries beyond which a continuous measure is a bad event, in milliseconds. They are fixed, so that counts of
// different shards and times add up, and they must not be tuned to a release under test.
const (
	SlowLoadMillis     = 4000  // a page or app load of this or more is slow
	SlowAPIMillis      = 2000  // an API response of this or more is slow
	ShortSessionMillis = 10000 // a session below this is short
	NegativeScore      = 2     // feedback of this score or less, of 5, is negative
)

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
	Bad      bool           // it is one of the events that Metric counts
	Known    bool           // the action is one that Palier knows
	// OfCandidate: it only counts when it is about the candidate bundle. Such actions name the bundle that failed, and
	// another bundle's failure says nothing about the candidate.
	OfCandidate bool
}

// Classify returns what e means. It never fails: an action that it does not know has Known false.
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

func bad(c Category, m rollout.Metric) Class {
	return Class{Category: c, Metric: m, Bad: true, Known: true}
}

// classifyAction covers the plugin's actions and those of Capgo's servers, which older tools replay.
func classifyAction(e Event) Class {
	switch e.Action {
	case "get", "set", "set_next", "delete", "reset", "ping", "uninstall":
		return known(CategoryLife)
	case "update_fail", "set_fail":
		return Class{CategoryRollback, rollout.BootFailure, true, true, true}
	case "app_launch_timeout":
		return Class{CategoryLaunch, rollout.BootFailure, true, true, true}
	case "app_initialization_failure":
		return Class{CategoryCrash, rollout.BootFailure, true, true, true}
	case "download_complete", "download_zip_start", "download_zip_complete", "download_manifest_start",
		"download_manifest_complete":
		return known(CategoryDownload)
	case "download_fail", "finish_download_fail", "low_mem_fail", "insufficient_disk_space",
		"download_manifest_file_fail", "download_manifest_checksum_fail", "download_manifest_brotli_fail",
		"manifest_path_fail", "checksum_fail", "checksum_required", "session_key_required", "decrypt_fail",
		"unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail":
		return bad(CategoryDelivery, rollout.DownloadFailure)
	case "app_moved_to_foreground", "app_moved_to_background":
		return known(CategoryApp)
	case "app_launch_start":
		return known(CategoryLaunch)
	case "app_launch_ready":
		return atLeast(CategoryLaunch, rollout.LoadTime, launchMillis(e), SlowLoadMillis)
	// A web bundle cannot crash the native process directly: what it can take down is the WebView's own process, and
	// the user sees the same. iOS's app_crash is a guess from an unclean exit, equally wrong in both arms.
	case "app_crash", "app_crash_native":
		return bad(CategoryCrash, rollout.Crash)
	case "webview_render_process_gone", "webview_content_process_terminated":
		return bad(CategoryWebView, rollout.Crash)
	case "app_anr":
		return bad(CategoryCrash, rollout.ANR)
	// The system kills background apps for its own reasons far more often than for the bundle's: shown, not counted.
	case "app_killed_low_memory", "app_killed_excessive_resource_usage", "app_memory_warning":
		return known(CategoryCrash)
	case "webview_javascript_error", "webview_unhandled_rejection":
		return bad(CategoryWebView, rollout.ErrorLog)
	case "webview_resource_error", "webview_security_policy_violation", "webview_unclean_restart",
		"webview_dom_content_loaded", "webview_page_loaded":
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

// launchMillis returns how long the launch took: the plugin says so in metadata, as text. Zero when it does not.
func launchMillis(e Event) float64 {
	ms, err := strconv.ParseFloat(e.Metadata["duration_ms"], 64)
	if err != nil || math.IsNaN(ms) {
		return e.Value
	}
	return ms
}

func classifyMetric(e Event) Class {
	switch MetricType(e.Action) {
	case MetricLoadTime:
		return atLeast(CategoryMetric, rollout.LoadTime, e.Value, SlowLoadMillis)
	case MetricAPITime:
		return atLeast(CategoryMetric, rollout.APITime, e.Value, SlowAPIMillis)
	case MetricSessionLength:
		return Class{Category: CategoryMetric, Metric: rollout.SessionLength, Bad: e.Value < ShortSessionMillis, Known: true}
	case MetricFeatureUse:
		return bad(CategoryMetric, rollout.FeatureUse)
	case MetricJSError:
		return bad(CategoryMetric, rollout.ErrorLog)
	case MetricFeedback:
		negative := e.Metadata[metaNegative] == "true" || e.Value > 0 && e.Value <= NegativeScore
		return Class{Category: CategoryMetric, Metric: rollout.Feedback, Bad: negative, Known: true}
	case MetricConsent:
		return known(CategoryMetric)
	}
	return Class{Category: CategoryUnknown}
}

func atLeast(c Category, m rollout.Metric, value, boundary float64) Class {
	return Class{Category: c, Metric: m, Bad: value >= boundary, Known: true}
}
