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
		rollout.LowMemory:   {"app_killed_low_memory", "app_killed_excessive_resource_usage"},
		rollout.DownloadFailure: {"download_fail", "finish_download_fail", "low_mem_fail", "insufficient_disk_space",
			"download_manifest_file_fail", "manifest_path_fail"},
		rollout.ChecksumFailure: {"checksum_fail", "checksum_required", "download_manifest_checksum_fail"},
		rollout.DecryptFailure:  {"decrypt_fail", "session_key_required"},
		rollout.UnzipFailure: {"unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail",
			"download_manifest_brotli_fail"},
	} {
		for _, action := range actions {
			c := Classify(Event{Kind: KindAction, Action: action})
			if !c.Known || !c.Bad || c.Level != 1 || c.Metric != metric {
				t.Errorf("%s: %+v, want a bad event of %s", action, c, metric)
			}
			info := rollout.AllMetrics()[metric.Index()]
			if of := metric == rollout.BootFailure || info.Category == rollout.Distribution; c.OfCandidate != of {
				t.Errorf("%s: OfCandidate is %t", action, c.OfCandidate)
			}
			if (c.Category == CategoryDelivery) != (info.Category == rollout.Distribution) {
				t.Errorf("%s of %s has category %s", action, metric, c.Category)
			}
		}
	}
	harmless := []string{"get", "set", "set_next", "delete", "reset", "ping", "uninstall", "download_complete",
		"download_zip_start", "download_zip_complete", "download_manifest_start", "download_manifest_complete",
		"app_moved_to_foreground", "app_moved_to_background", "app_launch_start", "app_launch_ready",
		"app_memory_warning", "webview_resource_error",
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
		if c := Classify(Event{Kind: KindAction, Action: action}); !c.Known || c.Bad || c.Level != 0 || c.Metric != "" || c.Category == CategoryUnknown {
			t.Errorf("%s: %+v, want known and of no metric", action, c)
		}
	}
	for _, action := range []string{"", "download_5", "download_05", "download_100", "download_", "download_1x", "load_time", "Set"} {
		if c := Classify(Event{Kind: KindAction, Action: action}); c.Known || c.Bad || c.Category != CategoryUnknown {
			t.Errorf("%q: %+v, want unknown", action, c)
		}
	}
	if c := Classify(Event{Kind: KindAction, Action: "download_fail", Spurious: true}); c != known(CategoryDelivery) {
		t.Errorf("a failure where nothing failed: %+v", c)
	}
	if c := Classify(Event{Kind: KindCheck}); !c.Known || c.Bad || c.Category != CategoryCheck {
		t.Errorf("check: %+v", c)
	}
	if c := Classify(Event{Kind: 9}); c.Known || c.Bad {
		t.Errorf("kind 9: %+v", c)
	}
}

func TestClassifyMeasures(t *testing.T) {
	timed := func(action, ms string) Event {
		return Event{Kind: KindAction, Action: action, Metadata: map[string]string{"duration_ms": ms}}
	}
	launch := func(ms string) Event { return timed("app_launch_ready", ms) }
	metric := func(kind MetricType, value float64) Event {
		return Event{Kind: KindMetric, Action: string(kind), Value: value}
	}
	negative := metric(MetricFeedback, 0)
	negative.Metadata = map[string]string{"negative": "true"}
	for _, tc := range []struct {
		event  Event
		metric rollout.Metric
		level  int
		bad    bool
	}{
		{launch("810"), rollout.LoadTime, 5, false}, // as the plugin reports it
		{launch("3999.9"), rollout.LoadTime, 9, false},
		{launch("4000"), rollout.LoadTime, 10, true},
		{launch("2592000000"), rollout.LoadTime, 16, true},
		{launch("2592000001"), "", 0, false},
		{launch("-1"), "", 0, false},
		{launch("soon"), "", 0, false},
		{launch("NaN"), "", 0, false},
		{launch("Inf"), "", 0, false},
		{timed("webview_dom_content_loaded", "250"), rollout.LoadTime, 2, false},
		{timed("webview_page_loaded", "32000"), rollout.LoadTime, 16, true},
		{timed("webview_page_loaded", ""), "", 0, false},
		{timed("app_launch_timeout", "30000"), rollout.BootFailure, 1, true},
		{metric(MetricLoadTime, 0), rollout.LoadTime, 0, false},
		{metric(MetricLoadTime, 3999), rollout.LoadTime, 9, false},
		{metric(MetricLoadTime, 4000), rollout.LoadTime, 10, true},
		{metric(MetricAPITime, 88), rollout.APITime, 1, false},
		{metric(MetricAPITime, 1999), rollout.APITime, 9, false},
		{metric(MetricAPITime, 2000), rollout.APITime, 10, true},
		{metric(MetricSessionLength, 5_120_000), rollout.SessionLength, 0, false},
		{metric(MetricSessionLength, 10_000), rollout.SessionLength, 9, false},
		{metric(MetricSessionLength, 9999), rollout.SessionLength, 10, true},
		{metric(MetricSessionLength, 0), rollout.SessionLength, 16, true},
		{metric(MetricFeatureUse, 0), rollout.FeatureUse, 1, true},
		{metric(MetricJSError, 0), rollout.ErrorLog, 1, true},
		{metric(MetricFeedback, 2), rollout.Feedback, 1, true},
		{metric(MetricFeedback, 3), rollout.Feedback, 0, false},
		{metric(MetricFeedback, 0), rollout.Feedback, 0, false},
		{negative, rollout.Feedback, 1, true},
		{metric(MetricConsent, 0), "", 0, false},
	} {
		c := Classify(tc.event)
		if !c.Known || c.Metric != tc.metric || c.Bad != tc.bad || c.Level != tc.level {
			t.Errorf("%+v: %+v, want %q, level %d, bad %t", tc.event, c, tc.metric, tc.level, tc.bad)
		}
		if measured := c.Metric.Measured() >= 0; !measured && c.Millis != 0 || measured && tc.event.Kind == KindMetric && c.Millis != tc.event.Value {
			t.Errorf("%+v: measured %g ms", tc.event, c.Millis)
		}
	}
	if c := Classify(launch("810.5")); c.Millis != 810.5 {
		t.Errorf("the launch took %g ms", c.Millis)
	}
	if c := Classify(metric("novel", 1)); c.Known {
		t.Errorf("novel metric: %+v", c)
	}
}

// TestWhoseFailuresCount has each kind of failure happen in either arm, about the candidate and about another bundle.
func TestWhoseFailuresCount(t *testing.T) {
	const cand, ctrl = rollout.ArmCandidate, rollout.ArmControl
	for action, counted := range map[string][4]bool{ // candidate arm: of the candidate, of another; control arm: the same
		"app_crash":             {true, true, true, true},
		"app_killed_low_memory": {true, true, true, true},
		"update_fail":           {true, false, true, false},
		"download_fail":         {true, false, true, true},
		"checksum_fail":         {true, false, true, true},
		"decrypt_fail":          {true, false, true, true},
		"unzip_fail":            {true, false, true, true},
	} {
		for i, x := range []Exposure{{Arm: cand, Candidate: true}, {Arm: cand}, {Arm: ctrl, Candidate: true}, {Arm: ctrl}} {
			if r := Observe(Event{Kind: KindAction, Action: action}, x); r.IsZero() == counted[i] {
				t.Errorf("%s with %+v left %+v, counted should be %t", action, x, r, counted[i])
			}
		}
	}
}
