package resolve

import "github.com/palier-ota/palier/internal/rollout"

// ParseSpec reads the JSON form of a Spec that json.Marshal writes, with the same result as json.Unmarshal, without
// reflection and in little code: it is how edges read snapshots. It fails with a *SpecError.
//
// Keys that it does not know are skipped, so that an edge reads the snapshots of a newer Palier; keys are told apart by
// case. Of equal keys the last one counts. Null says nothing, as if its key were not there. An empty list is empty, not
// nil, which makes no difference to Compile. Numbers may not be negative: those of a Spec that NewSpec made never are.
// What is made of a text is in proportion to its length, and its depth is bounded, but whether it makes sense is for
// Compile to say.
//
// The Spec's strings are views into text, which must not change afterwards.
func ParseSpec(text []byte) (Spec, error) {
	var s Spec
	r := newReader(text)
	r.spec(&s)
	return s, r.result("spec")
}

// ParseFacts reads the JSON form of Facts by the rules of ParseSpec. It too fails with a *SpecError, and the strings are
// views into text.
func ParseFacts(text []byte) (Facts, error) {
	var f Facts
	r := newReader(text)
	r.facts(&f)
	return f, r.result("facts")
}

// A struct is read member by member: the cases below stand in the order of the keys, and these in that of its fields.

func (r *reader) facts(f *Facts) {
	for {
		switch r.member("channel set_by failed consented generation") {
		case 0:
			r.text(&f.Channel)
		case 1:
			r.text(&f.SetBy)
		case 2:
			r.texts(&f.Failed)
		case 3:
			r.texts(&f.Consented)
		case 4:
			r.integer(&f.Generation)
		default:
			return
		}
	}
}

func (r *reader) spec(s *Spec) {
	for {
		switch r.member("app revision expose_metadata allow_device_custom_id bundles versions channels segments rollouts " +
			"owned generation") {
		case 0:
			r.text(&s.App)
		case 1:
			r.integer(&s.Revision)
		case 2:
			r.flag(&s.ExposeMetadata)
		case 3:
			r.flag(&s.AllowDeviceCustomID)
		case 4:
			list(r, &s.Bundles, (*reader).bundle)
		case 5:
			r.texts(&s.Versions)
		case 6:
			list(r, &s.Channels, (*reader).channel)
		case 7:
			list(r, &s.Segments, (*reader).segment)
		case 8:
			list(r, &s.Rollouts, (*reader).rollout)
		case 9:
			r.octets(&s.Owned)
		case 10:
			r.integer(&s.Generation)
		default:
			return
		}
	}
}

func (r *reader) bundle(b *BundleSpec) {
	for {
		switch r.member("version url checksum session_key key_id manifest min_update_version link comment " +
			"requires_consent served") {
		case 0:
			r.text(&b.Version)
		case 1:
			r.text(&b.URL)
		case 2:
			r.text(&b.Checksum)
		case 3:
			r.text(&b.SessionKey)
		case 4:
			r.text(&b.KeyID)
		case 5:
			list(r, &b.Manifest, (*reader).file)
		case 6:
			r.text(&b.MinUpdateVersion)
		case 7:
			r.text(&b.Link)
		case 8:
			r.text(&b.Comment)
		case 9:
			r.flag(&b.RequiresConsent)
		case 10:
			r.flag(&b.Served)
		default:
			return
		}
	}
}

func (r *reader) file(f *rollout.ManifestFile) {
	for {
		switch r.member("file_name file_hash download_url") {
		case 0:
			r.text(&f.FileName)
		case 1:
			r.text(&f.FileHash)
		case 2:
			r.text(&f.DownloadURL)
		default:
			return
		}
	}
}

func (r *reader) channel(c *ChannelSpec) {
	for {
		switch r.member("name bundle public ios android electron allow_device_self_set allow_dev allow_prod allow_emulator " +
			"allow_device disable_auto_update disable_auto_update_under_native number kept") {
		case 0:
			r.text(&c.Name)
		case 1:
			r.text(&c.Bundle)
		case 2:
			r.flag(&c.Public)
		case 3:
			r.flag(&c.IOS)
		case 4:
			r.flag(&c.Android)
		case 5:
			r.flag(&c.Electron)
		case 6:
			r.flag(&c.AllowDeviceSelfSet)
		case 7:
			r.flag(&c.AllowDev)
		case 8:
			r.flag(&c.AllowProd)
		case 9:
			r.flag(&c.AllowEmulator)
		case 10:
			r.flag(&c.AllowDevice)
		case 11:
			r.text((*string)(&c.DisableAutoUpdate))
		case 12:
			r.flag(&c.DisableAutoUpdateUnderNative)
		case 13:
			r.integer(&c.Number)
		case 14:
			r.texts(&c.Kept)
		default:
			return
		}
	}
}

func (r *reader) segment(s *SegmentSpec) {
	for {
		switch r.member("name device_ids custom_ids when") {
		case 0:
			r.text(&s.Name)
		case 1:
			r.octets(&s.DeviceIDs)
		case 2:
			r.octets(&s.CustomIDs)
		case 3:
			s.When = new(rollout.Rule)
			r.rule(s.When)
		default:
			return
		}
	}
}

func (r *reader) rule(w *rollout.Rule) {
	for {
		switch r.member("platform version_os version_build version_name plugin_version is_prod is_emulator install_source") {
		case 0:
			r.texts(&w.Platform)
		case 1:
			r.text(&w.VersionOS)
		case 2:
			r.text(&w.VersionBuild)
		case 3:
			r.text(&w.VersionName)
		case 4:
			r.text(&w.PluginVersion)
		case 5:
			r.choice(&w.IsProd)
		case 6:
			r.choice(&w.IsEmulator)
		case 7:
			r.texts(&w.InstallSource)
		default:
			return
		}
	}
}

func (r *reader) rollout(s *RolloutSpec) {
	for {
		switch r.member("id channel bundle baseline paused salt phase cuts follows") {
		case 0:
			r.text(&s.ID)
		case 1:
			r.text(&s.Channel)
		case 2:
			r.text(&s.Bundle)
		case 3:
			r.text(&s.Baseline)
		case 4:
			r.flag(&s.Paused)
		case 5:
			r.salt(&s.Salt)
		case 6:
			r.index(&s.Phase)
		case 7:
			r.cuts(&s.Cuts)
		case 8:
			list(r, &s.Follows, (*reader).audience)
		default:
			return
		}
	}
}

func (r *reader) audience(a *rollout.Audience) {
	for {
		switch r.member("salt cuts") {
		case 0:
			r.salt(&a.Salt)
		case 1:
			r.cuts(&a.Cuts)
		default:
			return
		}
	}
}

func (r *reader) cut(c *rollout.Cut) {
	for {
		switch r.member("percent segments") {
		case 0:
			r.percent(&c.Percent)
		case 1:
			r.texts(&c.Segments)
		default:
			return
		}
	}
}

func (r *reader) cuts(into *[]rollout.Cut) { list(r, into, (*reader).cut) }
