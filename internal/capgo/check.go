package capgo

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// Request reads requests of devices, one after another; the zero value is ready. It is meant to be kept in a pool: it
// reuses its memory and learns the order in which a fleet sends its keys. It must not be used concurrently.
//
// The strings of Check and Channel point into the body that was parsed or into the Request's own memory, and so do
// refusals. They are valid until the body is changed or the Request parses again, whichever comes first; what must live
// longer is to be cloned.
type Request struct {
	Check resolve.Check

	Channel    string // of a channel_self request: the channel it names
	HasChannel bool   // it named one

	object object
	app    []byte // the last app id that was found well formed: a fleet asks for few
	build  memo   // of version_build
	plugin memo   // of plugin_version
}

// memo remembers the last plain version it has parsed, because most devices of a fleet send the same.
type memo struct {
	text    []byte
	version resolve.Version
}

func (m *memo) parse(s string) (resolve.Version, bool) {
	if s == view(m.text, 0, len(m.text)) && s != "" {
		return m.version, true
	}
	v, ok := resolve.ParseVersion(s)
	if ok && v.Pre == "" { // a prerelease would point into the body
		m.text, m.version = append(m.text[:0], s...), v
	}
	return v, ok
}

// ParseCheck reads the body of POST /updates into r.Check. Faults are looked for in the order of Capgo's server, and the
// first one is the answer: not JSON, empty object, no device id, no app id, version_build that is no version, then the
// schema of the fields. It returns nil when the Check is good. It does not allocate then.
func (r *Request) ParseCheck(body []byte) *Refusal {
	if refusal := r.readBody(body); refusal != nil {
		return refusal
	}
	if refusal := r.identify(); refusal != nil {
		return refusal
	}
	if refusal := r.native(); refusal != nil {
		return refusal
	}
	return r.fill()
}

// readBody reads a body that must be a JSON object with members.
func (r *Request) readBody(body []byte) *Refusal {
	r.object.reset()
	if !r.object.whole(body) {
		return r.notObject(body)
	}
	if r.object.members == 0 {
		return r.object.refuse(CodeBody, "the body is an empty object", "body", "must not be empty")
	}
	return nil
}

// notObject tells a body that is no JSON from one that is some other JSON value.
func (r *Request) notObject(body []byte) *Refusal {
	start := jsontext.Space(body, 0)
	if start < len(body) && body[start] == '{' {
		return r.object.notJSON()
	}
	if end := jsontext.Skip(body, start, 0); end == jsontext.Fail || jsontext.Space(body, end) != len(body) {
		return r.object.notJSON()
	}
	return r.object.refuse(CodeBody, "the body must be a JSON object", "body", "must be an object")
}

// identify demands that the request says who asks. Null and the empty string count as nothing said.
func (r *Request) identify() *Refusal {
	if r.object.empty(fDeviceID) {
		return r.object.refuse(CodeNoDeviceID, "device_id is required", fDeviceID.name(), "is required")
	}
	return r.ofApp()
}

func (r *Request) ofApp() *Refusal {
	if r.object.empty(fAppID) {
		return r.object.refuse(CodeNoAppID, "app_id is required", fAppID.name(), "is required")
	}
	return nil
}

// native coerces version_build to a version of three parts. One that is empty or no string is left to the schema, which
// differs between the calls; where it lets that through, the native version counts as 0.0.0.
func (r *Request) native() *Refusal {
	c := &r.Check
	c.VersionBuild, c.Native = "", resolve.Version{}
	build := r.object.get(fVersionBuild)
	if build == "" {
		return nil
	}
	v, ok := r.build.parse(build)
	if !ok {
		build = r.coerce(build)
		if v, ok = resolve.ParseVersion(build); !ok {
			return r.object.refuse(CodeSemver, "version_build is not a semantic version", fVersionBuild.name(), "must be a semantic version, such as 1.2.3")
		}
	}
	c.VersionBuild, c.Native = build, v
	return nil
}

// coerce completes a version with too few parts, and takes off what people put before one: spaces and a "v".
func (r *Request) coerce(build string) string {
	if build == rollout.Builtin || build == unknownVersion {
		return "0.0.0"
	}
	build = strings.TrimPrefix(jsontext.Trim(build), "v")
	switch strings.Count(build, ".") {
	case 0:
		return r.object.join(build, ".0.0")
	case 1:
		return r.object.join(build, ".0")
	}
	return build
}

// unknownVersion is what a plugin in trouble says of its versions.
const unknownVersion = "unknown"

// fill checks the schema of an update check and fills r.Check.
func (r *Request) fill() *Refusal {
	const required = 1<<fPlatform | 1<<fDeviceID | 1<<fAppID | 1<<fVersionBuild | 1<<fVersionName | 1<<fPluginVersion
	if refusal := r.fillCommon(required); refusal != nil {
		return refusal
	}
	if r.Check.Platform == resolve.PlatformOther {
		return r.object.badField(fPlatform, "must be android, ios or electron")
	}
	if r.Check.VersionBuild == "" {
		return r.object.badField(fVersionBuild, "must not be empty")
	}
	return r.fillRunning()
}

// fillRunning fills the name of the running bundle, which must not be empty.
func (r *Request) fillRunning() *Refusal {
	if r.object.get(fVersionName) == "" {
		return r.object.badField(fVersionName, "must not be empty")
	}
	r.nameRunning()
	return nil
}

func (r *Request) nameRunning() {
	c := &r.Check
	c.VersionName = r.object.get(fVersionName)
	if c.RunsBuiltin = c.VersionName == rollout.Builtin; c.RunsBuiltin {
		c.VersionName = c.VersionBuild
	}
}

// The fields that every kind of request shares, by the type they must have when they are there.
const (
	textFields fieldSet = 1<<fPlatform | 1<<fDeviceID | 1<<fAppID | 1<<fCustomID | 1<<fVersionBuild | 1<<fVersionCode |
		1<<fVersionOS | 1<<fVersionName | 1<<fPluginVersion | 1<<fInstallSource | 1<<fDefaultChannel | 1<<fKeyID
	boolFields fieldSet = 1<<fIsEmulator | 1<<fIsProd
)

// Longest values, in characters.
const (
	maxKeyID         = 20
	maxInstallSource = 64
	maxCustomID      = 36   // on /stats only
	maxVersion       = 128  // on /stats only: no bundle has a longer one
	maxFile          = 1024 // on /stats only: no bundle has a file with a longer name
)

// fillCommon checks what every kind of request demands of the fields and fills all of r.Check but the running version.
// Required fields must be there; fields that are there must have their type.
func (r *Request) fillCommon(required fieldSet) *Refusal {
	o, c := &r.object, &r.Check
	if o.others&boolFields != 0 {
		o.forgetNulls(boolFields)
	}
	if required&^o.texts|o.seen()&textFields&^o.texts|(o.texts|o.others)&boolFields != 0 {
		return o.mistyped(required)
	}
	if refusal := r.fillNames(); refusal != nil {
		return refusal
	}
	c.Platform = platform(o.get(fPlatform))
	if !r.fillPlugin() && required.has(fPluginVersion) {
		return r.object.badField(fPluginVersion, "must be a semantic version")
	}
	c.KeyID = o.get(fKeyID)
	if longer(c.KeyID, maxKeyID) {
		return r.object.badField(fKeyID, "must have at most 20 characters")
	}
	c.InstallSource = o.get(fInstallSource)
	if longer(c.InstallSource, maxInstallSource) {
		return r.object.badField(fInstallSource, "must have at most 64 characters")
	}
	c.CustomID = o.get(fCustomID)
	c.VersionOS = o.get(fVersionOS)
	c.VersionCode = o.get(fVersionCode)
	c.DefaultChannel = o.get(fDefaultChannel)
	c.IsEmulator = o.trues.has(fIsEmulator)
	c.IsProd = !o.falses.has(fIsProd)
	return nil
}

// unreadablePlugin is what a plugin counts as whose version cannot be read: older than every line in use.
var unreadablePlugin = resolve.Version{Major: 1}

// fillPlugin fills the plugin's version, the zero one if it is not said, and reports whether it is a version.
func (r *Request) fillPlugin() (ok bool) {
	c := &r.Check
	c.PluginVersion, c.Plugin = r.object.get(fPluginVersion), resolve.Version{}
	if c.PluginVersion == "" {
		return false
	}
	if c.Plugin, ok = r.plugin.parse(c.PluginVersion); !ok {
		c.Plugin = unreadablePlugin
	}
	return ok
}

// mistyped returns the refusal for the first field that is missing or has another type than it must have.
func (o *object) mistyped(required fieldSet) *Refusal {
	for f := range fUnknown {
		switch s := o.shape(f); {
		case s == absent && required.has(f):
			return o.badField(f, "is required")
		case s != absent && s != isText && textFields.has(f):
			return o.badField(f, "must be a string")
		case (s == isText || s == isOther) && boolFields.has(f):
			return o.badField(f, "must be true or false")
		}
	}
	return nil
}

// fillNames fills the ids of the app and of the device, which is in lower case then.
func (r *Request) fillNames() *Refusal {
	app, id := r.object.get(fAppID), r.object.get(fDeviceID)
	if app != view(r.app, 0, len(r.app)) {
		if !appID(app) {
			return r.object.badField(fAppID, "must be a reverse-domain id, such as com.example.app")
		}
		r.app = append(r.app[:0], app...)
	}
	r.Check.AppID, r.Check.DeviceID = app, id
	if id == "" {
		return nil
	}
	upper, ok := uuid(id)
	if !ok {
		return r.object.badField(fDeviceID, "must be a UUID of 36 characters")
	}
	if upper {
		r.Check.DeviceID = r.object.lower(id)
	}
	return nil
}

// empty reports whether a field says nothing: absent, null or "".
func (o *object) empty(f field) bool {
	switch o.shape(f) {
	case absent:
		return true
	case isText:
		return o.text[f] == ""
	}
	return o.null(f)
}

// null reports whether a field's value is null.
func (o *object) null(f field) bool { return o.others.has(f) && o.text[f] == "null" }

// forgetNulls makes those of the fields absent that are null.
func (o *object) forgetNulls(fields fieldSet) {
	for f := range fUnknown {
		if fields.has(f) && o.null(f) {
			o.forget(f)
		}
	}
}

// join returns a+b in scratch memory.
func (o *object) join(a, b string) string {
	from := len(o.scratch)
	o.scratch = append(append(o.scratch, a...), b...)
	return view(o.scratch, from, len(o.scratch))
}

// lower returns an ASCII string in lower case in scratch memory.
func (o *object) lower(s string) string {
	from := len(o.scratch)
	o.scratch = append(o.scratch, s...)
	for i, c := range o.scratch[from:] {
		if c >= 'A' && c <= 'Z' {
			o.scratch[from+i] = c | 0x20
		}
	}
	return view(o.scratch, from, len(o.scratch))
}

// longer reports whether s has more than n characters.
func longer(s string, n int) bool { return len(s) > n && utf8.RuneCountInString(s) > n }

func platform(s string) resolve.Platform {
	switch s {
	case "android":
		return resolve.Android
	case "ios":
		return resolve.IOS
	case "electron":
		return resolve.Electron
	}
	return resolve.PlatformOther
}

// appID reports whether s is a reverse-domain id: letters and digits, then one or more parts, each a dot followed by
// letters, digits, underscores and hyphens.
func appID(s string) bool {
	dots, part := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9':
			part++
		case (c == '_' || c == '-') && dots > 0:
			part++
		case c == '.' && part > 0:
			dots, part = dots+1, 0
		default:
			return false
		}
	}
	return dots > 0 && part > 0
}

// uuid reports whether s has the form 8-4-4-4-12 of hex digits, and whether any of them is upper case. It looks at
// eight bytes at once: the four hyphens are turned into zeros, after which every byte must be a hex digit.
func uuid(s string) (upper, ok bool) {
	const hyphen = '-' ^ '0'
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false, false
	}
	b := raw(s)
	words := [5]uint64{
		binary.LittleEndian.Uint64(b[0:]),
		binary.LittleEndian.Uint64(b[8:]) ^ (hyphen | hyphen<<40),
		binary.LittleEndian.Uint64(b[16:]) ^ (hyphen<<16 | hyphen<<56),
		binary.LittleEndian.Uint64(b[24:]),
		binary.LittleEndian.Uint64(b[28:]),
	}
	var bad, capital uint64
	for _, w := range words {
		bad |= notHex(w)
		capital |= w >> 1 &^ w // a letter has bit 6, a small one bit 5 as well
	}
	return capital&(0x20*ones) != 0, bad == 0
}

// Masks for looking at eight bytes at once.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// notHex returns a non-zero word if any of the eight bytes of w is no hex digit.
func notHex(w uint64) uint64 {
	const low = 0x7f * ones
	ascii := w & low
	fold := ascii | 0x20*ones
	digit := (ascii + (0x80-'0')*ones) &^ (ascii + (0x7f-'9')*ones)
	letter := (fold + (0x80-'a')*ones) &^ (fold + (0x7f-'f')*ones)
	return (w | ^(digit | letter)) & tops
}
