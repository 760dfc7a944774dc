package capgo

// maxAction is the length of the longest action that is taken, in bytes.
const maxAction = 64

// wellFormedAction reports whether s could be an action of some version of the plugin.
func wellFormedAction(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxAction
}

// knownAction reports whether the protocol's list has the action: those that plugins send, and those that Capgo's server
// makes itself but accepts from a device too.
func knownAction(s string) bool {
	switch s {
	case "get", "set", "set_next", "delete", "reset", "ping", "uninstall", "update_fail", "set_fail",
		"download_0", "download_10", "download_20", "download_30", "download_40", "download_50", "download_60",
		"download_70", "download_80", "download_90", "download_complete", "download_zip_start", "download_zip_complete",
		"download_manifest_start", "download_manifest_complete",
		"download_fail", "finish_download_fail", "low_mem_fail", "insufficient_disk_space", "download_manifest_file_fail",
		"download_manifest_checksum_fail", "download_manifest_brotli_fail", "manifest_path_fail",
		"checksum_fail", "checksum_required", "session_key_required", "decrypt_fail",
		"unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail":
		return true
	}
	return lifeAction(s) || serverAction(s)
}

// lifeAction reports whether s is about the running app: its life, launches, crashes and web view.
func lifeAction(s string) bool {
	switch s {
	case "app_moved_to_foreground", "app_moved_to_background", "app_launch_start", "app_launch_ready", "app_launch_timeout",
		"app_crash", "app_crash_native", "app_anr", "app_killed_low_memory", "app_killed_excessive_resource_usage",
		"app_initialization_failure", "app_memory_warning",
		"webview_javascript_error", "webview_unhandled_rejection", "webview_resource_error",
		"webview_security_policy_violation", "webview_unclean_restart", "webview_render_process_gone",
		"webview_content_process_terminated", "webview_dom_content_loaded", "webview_page_loaded",
		"os_version_changed", "native_app_version_changed", "blocked_by_server_url":
		return true
	}
	return false
}

// serverAction reports whether s is one that a server usually makes itself.
func serverAction(s string) bool {
	switch s {
	case "noNew", "needPlanUpgrade", "missingBundle", "cannotGetBundle", "NoChannelOrOverride",
		"disablePlatformIos", "disablePlatformAndroid", "disablePlatformElectron",
		"disableAutoUpdateToMajor", "disableAutoUpdateToMinor", "disableAutoUpdateToPatch", "disableAutoUpdateMetadata",
		"disableAutoUpdateUnderNative", "disableAutoUpdate", "channelMisconfigured", "cannotUpdateViaPrivateChannel",
		"disableProdBuild", "disableDevBuild", "disableDevice", "disableEmulator", "keyMismatch", "InvalidIp",
		"customIdBlocked", "setChannel", "getChannel", "rateLimited", "rate_limit_reached", "backend_refusal":
		return true
	}
	return false
}
