package resolve

import "github.com/palier-ota/palier/internal/rollout"

// ParseSpec reads the JSON form of a Spec, as json.Marshal writes it, with the same result as json.Unmarshal and without
// its reflection: it is what edges read snapshots with. It fails with a *SpecError.
//
// Keys that it does not know are skipped, so that an edge reads the snapshots of a newer Palier; keys are told apart by
// case. Of equal keys the last one counts. Null is the zero value; a salt and a percent cannot be null. What is made of
// the text is in proportion to it. Whether the Spec makes sense is for Compile to say.
//
// The Spec's strings are views into text, which must not change afterwards.
func ParseSpec(text []byte) (Spec, error) {
	var s Spec
	r := newReader(text)
	r.spec(&s)
	if r.err != nil {
		return Spec{}, r.err
	}
	return s, nil
}

// ParseFacts reads the JSON form of Facts by the rules of ParseSpec. It too fails with a *SpecError, and the Facts' strings
// are views into text.
func ParseFacts(text []byte) (Facts, error) {
	var f Facts
	r := newReader(text)
	r.facts(&f)
	if r.err != nil {
		return Facts{}, within("facts", r.err)
	}
	return f, nil
}

func (r *reader) facts(f *Facts) {
	for r.object(); r.more(); {
		switch r.key() {
		case "channel":
			r.text(&f.Channel)
		case "set_by":
			r.text(&f.SetBy)
		case "failed":
			list(r, &f.Failed, (*reader).text)
		case "consented":
			list(r, &f.Consented, (*reader).text)
		case "generation":
			r.integer(&f.Generation)
		default:
			r.skip()
		}
	}
}

func (r *reader) spec(s *Spec) {
	for r.object(); r.more(); {
		switch r.key() {
		case "app":
			r.text(&s.App)
		case "revision":
			r.integer(&s.Revision)
		case "expose_metadata":
			r.flag(&s.ExposeMetadata)
		case "allow_device_custom_id":
			r.flag(&s.AllowDeviceCustomID)
		case "bundles":
			list(r, &s.Bundles, (*reader).bundle)
		case "versions":
			list(r, &s.Versions, (*reader).text)
		case "channels":
			list(r, &s.Channels, (*reader).channel)
		case "segments":
			list(r, &s.Segments, (*reader).segment)
		case "rollouts":
			list(r, &s.Rollouts, (*reader).rollout)
		case "owned":
			r.octets(&s.Owned)
		case "generation":
			r.integer(&s.Generation)
		default:
			r.skip()
		}
	}
}

func (r *reader) bundle(b *BundleSpec) {
	for r.object(); r.more(); {
		switch r.key() {
		case "version":
			r.text(&b.Version)
		case "url":
			r.text(&b.URL)
		case "checksum":
			r.text(&b.Checksum)
		case "session_key":
			r.text(&b.SessionKey)
		case "key_id":
			r.text(&b.KeyID)
		case "manifest":
			list(r, &b.Manifest, (*reader).file)
		case "min_update_version":
			r.text(&b.MinUpdateVersion)
		case "link":
			r.text(&b.Link)
		case "comment":
			r.text(&b.Comment)
		case "requires_consent":
			r.flag(&b.RequiresConsent)
		case "served":
			r.flag(&b.Served)
		default:
			r.skip()
		}
	}
}

func (r *reader) file(f *rollout.ManifestFile) {
	for r.object(); r.more(); {
		switch r.key() {
		case "file_name":
			r.text(&f.FileName)
		case "file_hash":
			r.text(&f.FileHash)
		case "download_url":
			r.text(&f.DownloadURL)
		default:
			r.skip()
		}
	}
}

func (r *reader) channel(c *ChannelSpec) {
	for r.object(); r.more(); {
		switch r.key() {
		case "name":
			r.text(&c.Name)
		case "bundle":
			r.text(&c.Bundle)
		case "public":
			r.flag(&c.Public)
		case "ios":
			r.flag(&c.IOS)
		case "android":
			r.flag(&c.Android)
		case "electron":
			r.flag(&c.Electron)
		case "allow_device_self_set":
			r.flag(&c.AllowDeviceSelfSet)
		case "allow_dev":
			r.flag(&c.AllowDev)
		case "allow_prod":
			r.flag(&c.AllowProd)
		case "allow_emulator":
			r.flag(&c.AllowEmulator)
		case "allow_device":
			r.flag(&c.AllowDevice)
		case "disable_auto_update":
			r.text((*string)(&c.DisableAutoUpdate))
		case "disable_auto_update_under_native":
			r.flag(&c.DisableAutoUpdateUnderNative)
		case "number":
			r.integer(&c.Number)
		case "kept":
			list(r, &c.Kept, (*reader).text)
		default:
			r.skip()
		}
	}
}

func (r *reader) segment(s *SegmentSpec) {
	for r.object(); r.more(); {
		switch r.key() {
		case "name":
			r.text(&s.Name)
		case "device_ids":
			r.octets(&s.DeviceIDs)
		case "custom_ids":
			r.octets(&s.CustomIDs)
		case "when":
			r.when(&s.When)
		default:
			r.skip()
		}
	}
}

func (r *reader) when(into **rollout.Rule) {
	*into = nil
	if !r.null() {
		*into = new(rollout.Rule)
		r.rule(*into)
	}
}

func (r *reader) rule(w *rollout.Rule) {
	for r.object(); r.more(); {
		switch r.key() {
		case "platform":
			list(r, &w.Platform, (*reader).text)
		case "version_os":
			r.text(&w.VersionOS)
		case "version_build":
			r.text(&w.VersionBuild)
		case "version_name":
			r.text(&w.VersionName)
		case "plugin_version":
			r.text(&w.PluginVersion)
		case "is_prod":
			r.choice(&w.IsProd)
		case "is_emulator":
			r.choice(&w.IsEmulator)
		case "install_source":
			list(r, &w.InstallSource, (*reader).text)
		default:
			r.skip()
		}
	}
}

func (r *reader) rollout(s *RolloutSpec) {
	for r.object(); r.more(); {
		switch r.key() {
		case "id":
			r.text(&s.ID)
		case "channel":
			r.text(&s.Channel)
		case "bundle":
			r.text(&s.Bundle)
		case "baseline":
			r.text(&s.Baseline)
		case "paused":
			r.flag(&s.Paused)
		case "salt":
			r.salt(&s.Salt)
		case "phase":
			r.index(&s.Phase)
		case "cuts":
			list(r, &s.Cuts, (*reader).cut)
		case "follows":
			list(r, &s.Follows, (*reader).audience)
		default:
			r.skip()
		}
	}
}

func (r *reader) audience(a *rollout.Audience) {
	for r.object(); r.more(); {
		switch r.key() {
		case "salt":
			r.salt(&a.Salt)
		case "cuts":
			list(r, &a.Cuts, (*reader).cut)
		default:
			r.skip()
		}
	}
}

func (r *reader) cut(c *rollout.Cut) {
	for r.object(); r.more(); {
		switch r.key() {
		case "percent":
			r.percent(&c.Percent)
		case "segments":
			list(r, &c.Segments, (*reader).text)
		default:
			r.skip()
		}
	}
}
