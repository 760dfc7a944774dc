package resolve

// wording is what one Reason looks like to a device.
type wording struct {
	code, message string
	kind          Kind
}

// wordings is the table of answers without an offer. Codes and kinds are those of Capgo's server, which plugins and apps
// branch on, and at the end Palier's own.
var wordings = [NumReasons]wording{
	NeedFacts:            {"need_facts", "the device's record is needed to answer", KindNone},
	UnsupportedPlugin:    {"unsupported_plugin_version", "This plugin version is no longer supported, please update @capgo/capacitor-updater", Failed},
	NoChannel:            {"no_channel", "no default channel or override", Failed},
	NoBundle:             {"no_bundle", "Cannot get bundle", Failed},
	KeyIDMismatch:        {"key_id_mismatch", "The bundle is encrypted for another public key than the device has", Blocked},
	NoNewVersion:         {"no_new_version_available", "No new version available", UpToDate},
	DisabledPlatform:     {"disabled_platform", "Cannot update, the channel is disabled for this platform", Blocked},
	DisableMajor:         {"disable_auto_update_to_major", "Cannot upgrade major version", Blocked},
	PrivateChannel:       {"cannot_update_via_private_channel", "Cannot update via a private channel. Make the channel public or let devices choose it", Blocked},
	DisableMinor:         {"disable_auto_update_to_minor", "Cannot upgrade minor version", Blocked},
	DisablePatch:         {"disable_auto_update_to_patch", "Cannot upgrade patch version", Blocked},
	MisconfiguredChannel: {"misconfigured_channel", "The channel's policy is version_number, but its bundle has no min_update_version", Failed},
	DisableMetadata:      {"disable_auto_update_to_metadata", "Cannot upgrade, the bundle needs a newer native version", Blocked},
	DisableUnderNative:   {"disable_auto_update_under_native", "Cannot revert under native version", Blocked},
	DisableProd:          {"disable_prod_build", "Cannot update, production builds are disabled", Blocked},
	DisableDev:           {"disable_dev_build", "Cannot update, development builds are disabled", Blocked},
	DisableDevice:        {"disable_device", "Cannot update, physical devices are disabled", Blocked},
	DisableEmulator:      {"disable_emulator", "Cannot update, emulators are disabled", Blocked},
	AlreadyOnBuiltin:     {"already_on_builtin", "Already on builtin", UpToDate},
	BuiltinPluginTooOld:  {"revert_to_builtin_plugin_version_too_old", "Going back to the store build needs plugin 6.2.0 or newer", Failed},
	NoBundleURL:          {"no_bundle_url", "Cannot get bundle url", Failed},
	BundleFailedOnDevice: {"bundle_failed_on_device", "The bundle failed on this device and is not offered to it again", Blocked},
	ConsentRequired:      {"consent_required", "The bundle waits for the user's consent", Blocked},
}

// wording returns the entry of r, an empty one for a number that is no Reason.
func (r Reason) wording() *wording {
	if r >= NumReasons {
		return &wordings[ReasonNone]
	}
	return &wordings[r]
}

// Code returns the wire error of an answer that offers nothing; "" for the offers and ReasonNone. The platform only
// matters for DisabledPlatform.
func (r Reason) Code(p Platform) string {
	if r != DisabledPlatform {
		return r.wording().code
	}
	switch p {
	case Android:
		return "disabled_platform_android"
	case IOS:
		return "disabled_platform_ios"
	case Electron:
		return "disabled_platform_electron"
	}
	return "disabled_platform"
}

// Message returns the wire message that goes with Code: a sentence for people, without details of the device.
func (r Reason) Message() string { return r.wording().message }

// String returns a name for logs and traces: the wire code, or offer, offer_builtin, none.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case Offer:
		return "offer"
	case OfferBuiltin:
		return "offer_builtin"
	}
	return r.wording().code
}

// Kind returns the kind that goes with the reason unless the Decision says otherwise; KindNone for the offers.
func (r Reason) Kind() Kind { return r.wording().kind }

// String returns the wire name: up_to_date, blocked or failed; "" for KindNone.
func (k Kind) String() string {
	switch k {
	case UpToDate:
		return "up_to_date"
	case Blocked:
		return "blocked"
	case Failed:
		return "failed"
	}
	return ""
}

// String returns own, default, public, or none.
func (s Source) String() string {
	switch s {
	case SourceOwn:
		return "own"
	case SourceDefault:
		return "default"
	case SourcePublic:
		return "public"
	}
	return "none"
}

// MajorStep reports whether an answer with this reason carries "major": true on the wire.
func (r Reason) MajorStep() bool {
	switch r {
	case DisableMajor, DisableMinor, DisablePatch, DisableMetadata:
		return true
	}
	return false
}
