package rollout

import (
	"slices"
	"strconv"
	"strings"
)

// Validate checks a in itself. The error, if any, is Errors.
func (a App) Validate() error {
	var p problems
	p.require(validAppID(a.ID), CodeInvalidAppID, "app",
		strconv.Quote(clip(a.ID))+` is not an app id; use the id of capacitor.config, such as "com.example.shop"`)
	if a.Name != "" {
		p.checkName("name", a.Name)
	}
	return p.err()
}

// Validate checks b in itself. A bundle without a URL and without a manifest is valid: it is known but cannot be
// offered. So is a URL that is absolute but not http(s): devices that would be offered it are told no_bundle_url. The
// error, if any, is Errors.
func (b Bundle) Validate() error {
	var p problems
	p.checkVersion("version", b.Version)
	if b.URL != "" {
		p.checkURL("url", b.URL)
	}
	p.require(validToken(b.Checksum, maxToken), CodeInvalidChecksum, "checksum",
		strconv.Quote(clip(b.Checksum))+" is not a checksum; want the SHA-256 of the zip as 64 hex digits (sha256sum bundle.zip), "+
			"a CRC32 of 8, or the encoded text of an encrypted bundle, without spaces")
	p.require(b.SessionKey == "" || validSessionKey(b.SessionKey), CodeInvalidSessionKey, "session_key",
		"must be the initialisation vector, a colon and the encrypted key, or empty when the bundle is not encrypted")
	p.require(validToken(b.KeyID, maxKeyID), CodeInvalidKeyID, "key_id",
		"must have at most 20 characters without spaces: the first of the public key's base64 text")
	if b.MinUpdateVersion != "" {
		p.checkVersion("min_update_version", b.MinUpdateVersion)
	}
	if b.Link != "" {
		p.checkURL("link", b.Link)
		p.checkText("link", b.Link, maxText)
	}
	p.checkText("comment", b.Comment, maxText)
	p.checkManifest(b.Manifest)
	return p.err()
}

func validSessionKey(s string) bool {
	iv, key, ok := strings.Cut(s, ":")
	return ok && iv != "" && key != "" && validToken(s, maxToken)
}

func (p *problems) checkManifest(files []ManifestFile) {
	if len(files) > maxFiles {
		p.add(CodeTooManyFiles, "manifest", strconv.Itoa(len(files))+" files are more than "+
			strconv.Itoa(maxFiles)+"; deliver the bundle as a zip instead")
		return
	}
	seen := make(map[string]bool, len(files))
	for i, f := range files {
		p.require(validFileName(f.FileName), CodeInvalidFileName, at("manifest", i, "file_name"),
			strconv.Quote(clip(f.FileName))+` is not a path inside the bundle; write it with forward slashes and without "..", such as "assets/app.js"`)
		p.require(!seen[f.FileName], CodeDuplicateFile, at("manifest", i, "file_name"),
			strconv.Quote(clip(f.FileName))+" is listed twice; list every file once")
		seen[f.FileName] = true
		p.require(f.FileHash != "" && validToken(f.FileHash, maxToken), CodeInvalidChecksum, at("manifest", i, "file_hash"),
			"want the SHA-256 of the file as 64 hex digits (sha256sum FILE), or the encoded text of an encrypted file, without spaces")
		p.checkURL(at("manifest", i, "download_url"), f.DownloadURL)
	}
}

// SameContent reports whether b and o are the same bundle to every device: equal in everything but Served.
func (b Bundle) SameContent(o Bundle) bool {
	return b.Version == o.Version && b.URL == o.URL && b.Checksum == o.Checksum && b.SessionKey == o.SessionKey &&
		b.KeyID == o.KeyID && slices.Equal(b.Manifest, o.Manifest) && b.MinUpdateVersion == o.MinUpdateVersion &&
		b.Link == o.Link && b.Comment == o.Comment && b.RequiresConsent == o.RequiresConsent
}

// Validate checks c in itself; whether its bundle exists is a question to the State. The error, if any, is Errors.
func (c Channel) Validate() error {
	var p problems
	p.checkName("name", c.Name)
	if !isStoreBuild(c.Bundle) {
		p.checkVersion("bundle", c.Bundle)
	}
	switch c.DisableAutoUpdate {
	case PolicyMajor, PolicyMinor, PolicyPatch, PolicyVersionNumber, PolicyNone:
	default:
		p.add(CodeInvalidPolicy, "disable_auto_update",
			strconv.Quote(clip(string(c.DisableAutoUpdate)))+" is not a policy; use major, minor, patch, version_number or none")
	}
	for i, version := range c.Kept {
		p.checkVersion(at("kept", i, ""), version)
	}
	return p.err()
}

// isStoreBuild reports whether a Channel's Bundle names the build that the app store delivered.
func isStoreBuild(version string) bool { return version == "" || version == Builtin }

// Validate checks s in itself. A segment without members and without a rule is valid: it contains nobody yet. The
// error, if any, is Errors.
func (s Segment) Validate() error {
	var p problems
	p.checkName("name", s.Name)
	if n := len(s.DeviceIDs) + len(s.CustomIDs); n > maxMembers {
		p.add(CodeTooManyMembers, "device_ids", strconv.Itoa(n)+" members are more than "+
			strconv.Itoa(maxMembers)+"; split the segment, name both in the phase, or describe it with a rule under when")
		return p.err()
	}
	for i, id := range s.DeviceIDs {
		p.checkDeviceID(at("device_ids", i, ""), id)
	}
	for i, id := range s.CustomIDs {
		p.require(validLabel(id, maxCustomID), CodeInvalidCustomID, at("custom_ids", i, ""),
			"must have 1 to 36 characters on one line, as the app passes to setCustomId")
	}
	if s.When != nil {
		s.When.check(&p)
	}
	return p.err()
}

func (p *problems) checkDeviceID(field, id string) {
	p.require(validDeviceID(id), CodeInvalidDeviceID, field, strconv.Quote(clip(id))+
		` is not a device id; want a UUID of 36 characters, as the app's getDeviceId gives, such as "00009a6b-eefe-490a-9c60-8e965132ae51"`)
}

func (r Rule) check(p *problems) {
	for i, platform := range r.Platform {
		p.require(platform == "ios" || platform == "android" || platform == "electron", CodeInvalidPlatform,
			at("when.platform", i, ""), strconv.Quote(clip(platform))+" is not a platform; use ios, android or electron")
	}
	for _, condition := range [...]struct{ field, text string }{
		{"when.version_os", r.VersionOS},
		{"when.version_build", r.VersionBuild},
		{"when.version_name", r.VersionName},
		{"when.plugin_version", r.PluginVersion},
	} {
		if _, err := ParseConstraint(condition.text); err != nil {
			p.add(CodeInvalidConstraint, condition.field, err.Error())
		}
	}
	for i, source := range r.InstallSource {
		p.require(validLabel(source, maxInstallSource), CodeInvalidInstallSource, at("when.install_source", i, ""),
			"must have 1 to 64 characters on one line, as the plugin sends it")
	}
}

// Validate checks d in itself. The error, if any, is Errors.
func (d Device) Validate() error {
	var p problems
	p.checkDeviceID("device_id", d.DeviceID)
	if d.Channel != "" {
		p.checkName("channel", d.Channel)
	}
	return p.err()
}
