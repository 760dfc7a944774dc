package resolve

// A plugin's version says what it understands, but not by plain comparison: the lines 5, 6, 7 and 8 receive the same
// features under different minor numbers, and 9.0.0 and 10.0.0 on npm are old code of the Capacitor 5 era published
// under high numbers. So every question about a plugin is asked per major line, and a major of 9 or more counts as too
// old for everything.

const newestLine = 8

// SupportsManifest reports whether a plugin can fetch a bundle file by file: ≥ 5.10.0, ≥ 6.25.0, ≥ 7.0.35, every 8.x.
func SupportsManifest(plugin Version) bool {
	switch plugin.Major {
	case 5:
		return plugin.AtLeast(5, 10, 0)
	case 6:
		return plugin.AtLeast(6, 25, 0)
	case 7:
		return plugin.AtLeast(7, 0, 35)
	}
	return plugin.Major == newestLine
}

// SupportsMetadata reports whether a plugin shows an offer's link and comment: 5.35.0, 6.35.0, 7.35.0, 8.35.0 and later
// on the same line.
func SupportsMetadata(plugin Version) bool {
	return 5 <= plugin.Major && plugin.Major <= newestLine && plugin.AtLeast(plugin.Major, 35, 0)
}

// StoresChannelOnDevice reports whether a plugin keeps its channel itself and sends it as defaultChannel: 5.34.0, 6.34.0,
// 7.34.0 and later on the same line, every 8.x. The zero Version, a channel call without plugin_version, counts as one
// that does.
func StoresChannelOnDevice(plugin Version) bool {
	switch plugin.Major {
	case 0, newestLine:
		return true
	case 5, 6, 7:
		return plugin.AtLeast(plugin.Major, 34, 0)
	}
	return false
}

// SupportsBuiltin reports whether a plugin goes back to the store build when it is offered the version "builtin":
// ≥ 6.2.0.
func SupportsBuiltin(plugin Version) bool {
	return plugin.Major <= newestLine && plugin.AtLeast(6, 2, 0)
}

// sendsLongKeyID reports whether a plugin's key_id has enough characters to tell keys apart: above 8.40.7. The lines 5
// to 7 are below it by plain comparison, as on Capgo's server.
func sendsLongKeyID(plugin Version) bool {
	return plugin.Compare(Version{Major: 8, Minor: 40, Patch: 7}) > 0
}
