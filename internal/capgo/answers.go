package capgo

import (
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// noZip is the url of a bundle that has only a manifest. The plugin demands an absolute URL in every offer but does not
// use it when there is a manifest; the top-level domain is reserved for names that never resolve (RFC 2606).
const noZip = "https://manifest-only.invalid/no.zip"

// builtinBody sends a device back to its store build: no url is needed then, and no error may be present.
const builtinBody = `{"version":"` + rollout.Builtin + `"}`

// Answers holds the answers to update checks under one Snapshot, ready to copy. It is immutable and safe for concurrent
// use.
type Answers struct {
	offers []rendered // as Snapshot.Bundles has the bundles
}

// rendered is what is offered of one bundle.
type rendered struct {
	bundle *resolve.Bundle
	offers offers
}

// offers is one bundle's offer for each generation of plugins, indexed by what the plugin understands.
type offers [2][2][]byte // [manifest][link and comment]

// NewAnswers renders the offers of all bundles of s.
func NewAnswers(s *resolve.Snapshot) *Answers {
	bundles := s.Bundles()
	a := &Answers{offers: make([]rendered, len(bundles))}
	for i := range bundles {
		a.offers[i] = rendered{&bundles[i], renderOffers(&bundles[i], s.ExposeMetadata())}
	}
	return a
}

// renderOffers renders a bundle's distinct offers; generations that are told the same share the bytes.
func renderOffers(b *resolve.Bundle, expose bool) offers {
	plain := appendOffer(nil, b, false, false)
	o := offers{{plain, plain}, {plain, plain}}
	if expose && (b.Link != "" || b.Comment != "") {
		o[0][1] = appendOffer(nil, b, false, true)
		o[1][1] = o[0][1]
	}
	if len(b.Manifest) > 0 {
		o[1][0] = appendOffer(nil, b, true, false)
		o[1][1] = o[1][0]
		if expose {
			o[1][1] = appendOffer(nil, b, true, true)
		}
	}
	return o
}

// appendOffer appends an offer of b. No key of it may be called error, kind or message, and no string may be null, since
// plugins take either for a failure; only a checksum that does not exist is null, as Capgo sends it.
func appendOffer(dst []byte, b *resolve.Bundle, manifest, metadata bool) []byte {
	url := b.URL
	if !b.HasZip() {
		url = noZip
	}
	dst = append(dst, '{')
	dst = appendMember(dst, "version", b.Version)
	dst = append(dst, ',')
	dst = appendMember(dst, "url", url)
	dst = append(dst, ',')
	dst = appendMember(dst, "session_key", b.SessionKey)
	dst = append(dst, ',')
	if b.Checksum == "" {
		dst = append(dst, `"checksum":null`...)
	} else {
		dst = appendMember(dst, "checksum", b.Checksum)
	}
	if manifest {
		dst = appendManifest(append(dst, `,"manifest":[`...), b.Manifest)
	}
	if metadata && b.Link != "" {
		dst = appendMember(append(dst, ','), "link", b.Link)
	}
	if metadata && b.Comment != "" {
		dst = appendMember(append(dst, ','), "comment", b.Comment)
	}
	return append(dst, '}')
}

func appendManifest(dst []byte, files []rollout.ManifestFile) []byte {
	for i, f := range files {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendFile(append(dst, '{'), f), '}')
	}
	return append(dst, ']')
}

// Append appends the JSON that answers c, on which d was decided under the Snapshot of these Answers. The status is
// always StatusOK. It does not allocate if dst has room.
func (a *Answers) Append(dst []byte, c *resolve.Check, d resolve.Decision) []byte {
	switch d.Reason {
	case resolve.Offer:
		if at := d.Bundle.Index(); at < len(a.offers) && a.offers[at].bundle == d.Bundle {
			o := &a.offers[at].offers
			return append(dst, o[index(resolve.SupportsManifest(c.Plugin))][index(resolve.SupportsMetadata(c.Plugin))]...)
		}
		d.Reason, d.Kind = resolve.NoBundle, resolve.Failed // a bundle of another Snapshot: offer nothing rather than guess
	case resolve.OfferBuiltin:
		return append(dst, builtinBody...)
	}
	return appendNoOffer(dst, c, d)
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// appendNoOffer appends an answer without an offer: error, message and kind, always all three, and what goes with the
// error. Codes and messages are constants that need no escape.
func appendNoOffer(dst []byte, c *resolve.Check, d resolve.Decision) []byte {
	kind := d.Kind
	if kind == resolve.KindNone {
		kind = resolve.Failed
	}
	dst = append(dst, `{"error":"`...)
	dst = append(dst, d.Reason.Code(c.Platform)...)
	dst = append(dst, `","message":"`...)
	dst = append(dst, d.Reason.Message()...)
	dst = append(dst, `","kind":"`...)
	dst = append(dst, kind.String()...)
	dst = append(dst, '"')
	dst = appendExtras(dst, c, d)
	return append(dst, '}')
}

// appendExtras appends the members that some errors have beside the three. The old version is the native one where the
// channel's policy compared with that, and the running bundle elsewhere, also for the guard against bundles below the
// native version, as on Capgo's server.
func appendExtras(dst []byte, c *resolve.Check, d resolve.Decision) []byte {
	switch d.Reason {
	case resolve.KeyIDMismatch:
		dst = appendMember(append(dst, ','), "deviceKeyId", c.KeyID)
		if d.Bundle != nil {
			dst = appendMember(append(dst, ','), "bundleKeyId", d.Bundle.KeyID)
		}
	case resolve.DisableMajor, resolve.DisableMinor, resolve.DisablePatch, resolve.DisableMetadata, resolve.MisconfiguredChannel:
		if d.Reason.MajorStep() {
			dst = append(dst, `,"major":true`...)
		}
		dst = appendStep(dst, d.Bundle, c.VersionBuild)
	case resolve.DisabledPlatform, resolve.PrivateChannel, resolve.DisableUnderNative, resolve.DisableProd, resolve.DisableDev,
		resolve.DisableDevice, resolve.DisableEmulator, resolve.ConsentRequired:
		dst = appendStep(dst, d.Bundle, c.VersionName)
	}
	return dst
}

func appendStep(dst []byte, b *resolve.Bundle, old string) []byte {
	if b != nil {
		dst = appendMember(append(dst, ','), "version", b.Version)
	}
	return appendMember(append(dst, ','), "old", old)
}
