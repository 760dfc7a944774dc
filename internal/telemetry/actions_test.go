package telemetry

import (
	"fmt"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
)

func TestClassifyActions(t *testing.T) {
	for metric, actions := range map[rollout.Metric][]string{
		rollout.Crash:       {"app_crash", "app_crash_native", "webview_render_process_gone", "webview_content_process_terminated"},
		rollout.ANR:         {"app_anr"},
		rollout.BootFailure: {"update_fail", "set_fail", "app_launch_timeout", "app_initialization_failure"},
		rollout.ErrorLog:    {"webview_javascript_error", "webview_unhandled_rejection"},
		rollout.DownloadFailure: {"download_fail", "finish_download_fail", "low_mem_fail", "insufficient_disk_space",
			"download_manifest_file_fail", "download_manifest_checksum_fail", "download_manifest_brotli_fail",
			"manifest_path_fail", "checksum_fail", "checksum_required", "session_key_required", "decrypt_fail",
			"unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail"},
	} {
		for _, action := range actions {
			c := Classify(Event{Kind: KindAction, Action: action})
			if !c.Known || !c.Bad || c.Metric != metric {
				t.Errorf("%s: %+v, want a bad event of %s", action, c, metric)
			}
			if c.OfCandidate != (metric == rollout.BootFailure) {
				t.Errorf("%s: OfCandidate is %t", action, c.OfCandidate)
			}
		}
	}
	harmless := []string{"get", "set", "set_next", "delete", "reset", "ping", "uninstall", "download_complete",
		"download_zip_start", "download_zip_complete", "download_manifest_start", "download_manifest_complete",
		"app_moved_to_foreground", "app_moved_to_background", "app_launch_start", "app_killed_low_memory",
		"app_killed_excessive_resource_usage", "app_memory_warning", "webview_resource_error",
		"webview_security_policy_violation", "webview_unclean_restart", "webview_dom_content_loaded",
		"webview_page_loaded", "os_version_changed", "native_app_version_changed", "blocked_by_server_url",
		"noNew", "needPlanUpgrade", "missingBundle", "cannotGetBundle", "NoChannelOrOverride", "disablePlatformIos",
		"disablePlatformAndroid", "disablePlatformElectron", "disableAutoUpdateToMajor", "disableAutoUpdateToMinor",
		"disableAutoUpdateToPatch", "disableAutoUpdateMetadata", "disableAutoUpdateUnderNative", "disableAutoUpdate",
		"channelMisconfigured", "cannotUpdateViaPrivateChannel", "disableProdBuild", "disableDevBuild", "disableDevice",
		"disableEmulator", "keyMismatch", "InvalidIp", "customIdBlocked", "backend_refusal", "setChannel", "getChannel",
		"rateLimited", "rate_limit_reached"}
	for step := 0; step < 100; step += 10 {
		harmless = append(harmless, fmt.Sprintf("download_%d", step))
	}
	for _, action := range harmless {
		if c := Classify(Event{Kind: KindAction, Action: action}); !c.Known || c.Bad || c.Category == CategoryUnknown {
			t.Errorf("%s: %+v, want known and not bad", action, c)
		}
	}
	for _, action := range []string{"", "download_5", "download_05", "download_100", "download_", "download_1x", "load_time", "Set"} {
		if c := Classify(Event{Kind: KindAction, Action: action}); c.Known || c.Bad || c.Category != CategoryUnknown {
			t.Errorf("%q: %+v, want unknown", action, c)
		}
	}
	if c := Classify(Event{Kind: KindCheck}); !c.Known || c.Bad || c.Category != CategoryCheck {
		t.Errorf("check: %+v", c)
	}
	if c := Classify(Event{Kind: 9}); c.Known || c.Bad {
		t.Errorf("kind 9: %+v", c)
	}
}

func TestClassifyMeasures(t *testing.T) {
	launch := func(ms string) Event {
		return Event{Kind: KindAction, Action: "app_launch_ready", Metadata: map[string]string{"duration_ms": ms}}
	}
	metric := func(kind MetricType, value float64) Event {
		return Event{Kind: KindMetric, Action: string(kind), Value: value}
	}
	negative := metric(MetricFeedback, 0)
	negative.Metadata = map[string]string{"negative": "true"}
	for _, tc := range []struct {
		event  Event
		metric rollout.Metric
		bad    bool
	}{
		{launch("3999.9"), rollout.LoadTime, false},
		{launch("4000"), rollout.LoadTime, true},
		{launch("soon"), rollout.LoadTime, false},
		{launch("NaN"), rollout.LoadTime, false},
		{Event{Kind: KindAction, Action: "app_launch_ready"}, rollout.LoadTime, false},
		{metric(MetricLoadTime, 3999), rollout.LoadTime, false},
		{metric(MetricLoadTime, 4000), rollout.LoadTime, true},
		{metric(MetricAPITime, 1999), rollout.APITime, false},
		{metric(MetricAPITime, 2000), rollout.APITime, true},
		{metric(MetricSessionLength, 9999), rollout.SessionLength, true},
		{metric(MetricSessionLength, 10000), rollout.SessionLength, false},
		{metric(MetricFeatureUse, 0), rollout.FeatureUse, true},
		{metric(MetricJSError, 0), rollout.ErrorLog, true},
		{metric(MetricFeedback, 2), rollout.Feedback, true},
		{metric(MetricFeedback, 3), rollout.Feedback, false},
		{metric(MetricFeedback, 0), rollout.Feedback, false},
		{negative, rollout.Feedback, true},
		{metric(MetricConsent, 0), "", false},
	} {
		c := Classify(tc.event)
		if !c.Known || c.Metric != tc.metric || c.Bad != tc.bad {
			t.Errorf("%+v: %+v, want %q, bad %t", tc.event, c, tc.metric, tc.bad)
		}
	}
	if c := Classify(metric("novel", 1)); c.Known {
		t.Errorf("novel metric: %+v", c)
	}
}
