package fleet

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// plugin is what one published version of the plugin can do and how it behaves; devices share it.
type plugin struct {
	version string

	upperCaseIDs   bool // on iOS, as the system gives them: before 6.5.0
	defaultChannel bool // sends it: ≥ 5.5.0
	userAgent      bool // names itself: ≥ 7.9.0, 6.14.28
	nativeName     bool // the store build reports the native version as its name: ≥ 8.44.0
	installSource  bool // sends it: ≥ 8.50.0
	manifests      bool // understands manifests
	builtinAnswer  bool // understands {"version":"builtin"}: ≥ 6.2.0
	needsChecksum  bool // refuses a zip without one: ≥ 8.51.23

	oldName      bool // sends old_version_name: ≥ 5.9.0
	batches      bool // statistics travel in arrays with a timestamp: ≥ 8.42.0
	setNext      bool // reports set_next: ≥ 8.44.0
	exits        bool // reports crashes and JavaScript errors, with metadata: ≥ 8.46.0
	launches     bool // reports app_launch_*: ≥ 8.51.0
	requeues     bool // keeps statistics that failed, honours Retry-After: ≥ 8.51.5
	mutedBy429   bool // stops all statistics until the process restarts: 7.23.8–8.51.4
	reportsLimit bool // sends rate_limit_reached: ≥ 7.23.12

	refusal refusal
}

// refusal is what a plugin reports when the answer is no update.
type refusal uint8

const (
	refusalAsDownloadFail refusal = iota // download_fail, even for "no new version": ≤ 7.16, ≤ 6.14.24
	refusalAsBackend                     // backend_refusal, except for "no new version": 7.17–7.33
	refusalQuiet                         // nothing when the status is 2xx: 7.34–8.45.10
	refusalByKind                        // download_fail when kind is failed or missing: ≥ 8.45.11
)

// newPlugin returns the plugin of a version, with PROTOCOL's version table. Lines 5, 6 and 7 carry the code of line 8
// under the same minor from .34 on; 9 and 10 are old code under high numbers.
func newPlugin(version string) (*plugin, error) {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return nil, fmt.Errorf("fleet: plugin version %q: want a semantic version, such as 8.51.23: %w", version, err)
	}
	if v.Major() < 5 {
		return nil, fmt.Errorf("fleet: plugin version %s: the fleet speaks the protocol from 5.0.0 on", version)
	}
	code := codeOf(v.Major(), v.Minor(), v.Patch())
	switch {
	case v.Major() >= 9:
		code = codeOf(5, 0, 0)
	case v.Major() < 8 && v.Minor() >= 34:
		code = codeOf(8, v.Minor(), v.Patch())
	}
	since := func(major, minor, patch uint64) bool { return code >= codeOf(major, minor, patch) }
	line6 := code/1_000_000 == 6
	line5 := code/1_000_000 == 5

	p := &plugin{
		version:        version,
		upperCaseIDs:   !since(6, 5, 0),
		defaultChannel: since(5, 5, 0),
		userAgent:      since(7, 9, 0) || line6 && since(6, 14, 28),
		nativeName:     since(8, 44, 0),
		installSource:  since(8, 50, 0),
		manifests:      line5 && since(5, 10, 0) || line6 && since(6, 25, 0) || since(7, 0, 35),
		builtinAnswer:  since(6, 2, 0),
		needsChecksum:  since(8, 51, 23),
		oldName:        since(5, 9, 0),
		batches:        since(8, 42, 0),
		setNext:        since(8, 44, 0),
		exits:          since(8, 46, 0),
		launches:       since(8, 51, 0),
		requeues:       since(8, 51, 5),
		mutedBy429:     since(7, 23, 8) && !since(8, 51, 5),
		reportsLimit:   since(7, 23, 12),
	}
	switch {
	case since(8, 45, 11):
		p.refusal = refusalByKind
	case since(7, 34, 0):
		p.refusal = refusalQuiet
	case since(7, 17, 0) || line6 && since(6, 14, 25):
		p.refusal = refusalAsBackend
	}
	return p, nil
}

// codeOf packs a version so that later is larger.
func codeOf(major, minor, patch uint64) uint64 {
	return major*1_000_000 + min(minor, 999)*1_000 + min(patch, 999)
}
