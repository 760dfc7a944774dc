package resolve

import (
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
)

// platforms is a set of Platforms, indexed by them.
type platforms [Electron + 1]bool

// rule is a compiled rollout.Rule.
type rule struct {
	platforms                 platforms
	anyPlatform               bool
	os, build, bundle, plugin []rollout.Constraint
	isProd, isEmulator        *bool
	installSource             []string
}

// compileRule returns nil for a rule without conditions, which matches nobody.
func compileRule(r *rollout.Rule) (*rule, error) {
	if r == nil {
		return nil, nil
	}
	out := &rule{
		anyPlatform: len(r.Platform) == 0, installSource: r.InstallSource, isProd: r.IsProd, isEmulator: r.IsEmulator,
	}
	for _, name := range r.Platform {
		p := PlatformNamed(name)
		if p == PlatformOther {
			return nil, specError("when.platform", quote(name)+" is not a platform")
		}
		out.platforms[p] = true
	}
	for _, condition := range [...]struct {
		field, text string
		to          *[]rollout.Constraint
	}{
		{"when.version_os", r.VersionOS, &out.os},
		{"when.version_build", r.VersionBuild, &out.build},
		{"when.version_name", r.VersionName, &out.bundle},
		{"when.plugin_version", r.PluginVersion, &out.plugin},
	} {
		list, ok := rollout.Constraints(condition.text)
		if !ok {
			return nil, specError(condition.field, quote(condition.text)+" is not a version condition")
		}
		*condition.to = list
	}
	if out.empty() {
		return nil, nil
	}
	return out, nil
}

func (r *rule) empty() bool {
	return r.anyPlatform && len(r.os)+len(r.build)+len(r.bundle)+len(r.plugin)+len(r.installSource) == 0 &&
		r.isProd == nil && r.isEmulator == nil
}

// match reports whether every condition holds for the device. A version that cannot be read satisfies no condition.
// A device that already runs the candidate counts as satisfying a condition on its bundle: the rule says where a device
// comes from, and without this it would be sent back as soon as it had followed the offer.
func (r *rule) match(c *Check, candidate string) bool {
	switch {
	case !r.anyPlatform && !r.platforms[c.Platform]:
		return false
	case r.isProd != nil && *r.isProd != c.IsProd, r.isEmulator != nil && *r.isEmulator != c.IsEmulator:
		return false
	case len(r.installSource) > 0 && !slices.Contains(r.installSource, c.InstallSource):
		return false
	case len(r.build) > 0 && !satisfies(&c.Native, r.build):
		return false
	case len(r.plugin) > 0 && !satisfies(&c.Plugin, r.plugin):
		return false
	}
	return r.matchText(c, candidate)
}

// matchText checks the conditions on versions that a Check carries as text only.
func (r *rule) matchText(c *Check, candidate string) bool {
	if len(r.os) > 0 {
		if os, ok := ParseLooseVersion(c.VersionOS); !ok || !satisfies(&os, r.os) {
			return false
		}
	}
	if len(r.bundle) == 0 || c.VersionName == candidate {
		return true
	}
	bundle, ok := ParseVersion(c.VersionName)
	return ok && satisfies(&bundle, r.bundle)
}

func satisfies(v *Version, all []rollout.Constraint) bool {
	for i := range all {
		if !all[i].Match(v.Major, v.Minor, v.Patch, v.Pre) {
			return false
		}
	}
	return true
}

// PlatformNamed returns the platform with this wire name, PlatformOther for any other text.
func PlatformNamed(name string) Platform {
	switch name {
	case "android":
		return Android
	case "ios":
		return IOS
	case "electron":
		return Electron
	}
	return PlatformOther
}
