package capgo

import (
	"strings"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

// StatsEvent is one thing that a plugin reports. Its strings point into the body or into the Batch's memory: they are
// valid until the body is changed.
type StatsEvent struct {
	Check resolve.Check // who reports, with VersionName as in an update check

	Action   string // well formed, but possibly not one that the protocol knows: see Known
	Known    bool   // the protocol's list has the action
	Spurious bool   // a failure report that old plugins send when nothing failed: worth keeping, never to be counted

	Version        string // the bundle the event is about, as sent: a version, "builtin" or "unknown"
	VersionMissing bool   // the event is of the kind that Android's download worker sends without naming the bundle
	File           string // the file of the bundle, when the event is about one
	OldVersion     string // the bundle before, or ""

	Timestamp int64             // the device's clock, Unix milliseconds; 0 if not sent
	Metadata  map[string]string // nil if not sent

	native string // version_build as sent, which is how newer plugins call the store build
}

// Item is the outcome of one event of a Batch.
type Item struct {
	Event   StatsEvent
	Refusal *Refusal // why the event is not used; nil if it is
}

// Use reports whether the item's Event is to be recorded.
func (it *Item) Use() bool { return it.Refusal == nil }

// Batch is one request to /stats: a single event or an array of them, all of one app.
type Batch struct {
	AppID  string // "" only if there are no items
	Single bool   // the body was one object, and the answer is for one
	Items  []Item // in the order of the body
}

// ParseStats reads the body of POST /stats. A bad event does not cost the batch: it becomes an Item with a Refusal. The
// whole is refused when it is not JSON, longer than MaxEvents, or without any event that names an app; and a single event
// is refused when it is bad. An action that the protocol does not know is kept in a batch, which newer plugins send, and
// refused when single, as on Capgo's server.
func ParseStats(body []byte) (*Batch, *Refusal) {
	i := jsontext.Space(body, 0)
	if i < len(body) && body[i] == '[' {
		return parseEvents(body, i)
	}
	return parseSingle(body)
}

func parseSingle(body []byte) (*Batch, *Refusal) {
	var r Request
	if !r.object.whole(body) {
		if refusal := r.notObject(body); refusal.Code == CodeParse {
			return nil, refusal
		}
		return nil, badApp()
	}
	b := &Batch{Single: true, Items: make([]Item, 1)}
	b.take(&r, &b.Items[0])
	if refusal := b.Items[0].Refusal; refusal != nil {
		return nil, refusal
	}
	if !b.Items[0].Event.Known {
		return nil, r.object.badField(fAction, "is not an action of the plugin")
	}
	return b, nil
}

func parseEvents(body []byte, i int) (*Batch, *Refusal) {
	var r Request
	b := &Batch{}
	i = jsontext.Space(body, i+1)
	for i < len(body) && body[i] != ']' {
		if len(b.Items) == MaxEvents {
			return nil, refuse(CodeBody, "too many events", "body", "at most 2000 events a request")
		}
		b.Items = append(b.Items, Item{})
		item := &b.Items[len(b.Items)-1]
		if i = b.element(&r, body, i, item); i == jsontext.Fail {
			return nil, r.object.notJSON()
		}
		if i = jsontext.Space(body, i); i < len(body) && body[i] == ',' {
			if i = jsontext.Space(body, i+1); i < len(body) && body[i] == ']' {
				return nil, r.object.notJSON()
			}
		} else if i < len(body) && body[i] != ']' {
			return nil, r.object.notJSON()
		}
	}
	if i >= len(body) || jsontext.Space(body, i+1) != len(body) {
		return nil, r.object.notJSON()
	}
	if b.AppID == "" && len(b.Items) > 0 {
		return nil, badApp()
	}
	return b, nil
}

// element reads the array element at i into item and returns the position after it.
func (b *Batch) element(r *Request, body []byte, i int, item *Item) int {
	if body[i] != '{' {
		item.Refusal = badApp()
		return jsontext.Skip(body, i, 1)
	}
	end := r.object.read(body, i, 1)
	if end != jsontext.Fail {
		b.take(r, item)
	}
	return end
}

func badApp() *Refusal {
	return refuse(CodeAppID, "app_id is missing or not a reverse-domain id", fAppID.name(), "must be a reverse-domain id, such as com.example.app")
}

// take turns the object that r has read into item.
func (b *Batch) take(r *Request, item *Item) {
	app := r.object.get(fAppID)
	if !appID(app) {
		item.Refusal = badApp()
		return
	}
	if b.AppID == "" {
		b.AppID = app
	}
	if app != b.AppID {
		item.Refusal = refuse(CodeMixedApps, "all events of a request must be of one app", fAppID.name(), "differs from the first event's")
		return
	}
	if refusal := r.event(&item.Event); refusal != nil {
		own := *refusal
		item.Refusal = &own
		return
	}
	item.Event.Spurious = legacyFailure(&item.Event)
}

// event reads the statistics fields of the object, after those it shares with every request.
func (r *Request) event(e *StatsEvent) *Refusal {
	if refusal := r.reporter(); refusal != nil {
		return refusal
	}
	o := &r.object
	e.Check = r.Check
	e.Action = o.get(fAction)
	if !wellFormedAction(e.Action) {
		return r.object.badField(fAction, "must be a name of at most 64 letters, digits and underscores")
	}
	e.Known = knownAction(e.Action)
	if s := o.shape(fOldVersionName); s != absent && s != isText {
		return r.object.badField(fOldVersionName, "must be a string")
	}
	if e.OldVersion = o.get(fOldVersionName); longer(e.OldVersion, maxVersion) {
		return r.object.badField(fOldVersionName, "must have at most 128 characters")
	}
	e.Timestamp = o.timestamp()
	if o.shape(fVersionName) == absent {
		if e.VersionMissing = sentWithoutVersion(e.Action); !e.VersionMissing {
			return r.object.badField(fVersionName, "is required")
		}
	}
	e.name(o.get(fVersionName), o.get(fVersionBuild))
	if longer(e.Version, maxVersion) || longer(e.File, maxFile) {
		return r.object.badField(fVersionName, "must have at most 128 characters, and its file at most 1024")
	}
	var refusal *Refusal
	e.Metadata, refusal = o.metadata()
	return refusal
}

// reporter fills r.Check from an event's common fields. Unlike an update check, an event may come from any platform, may
// be about no bundle, need not say the native version or the plugin's, and must say the system's version and have a short
// custom id.
func (r *Request) reporter() *Refusal {
	if refusal := r.identify(); refusal != nil {
		return refusal
	}
	if refusal := r.native(); refusal != nil {
		return refusal
	}
	if r.object.null(fVersionName) {
		r.object.forget(fVersionName)
	}
	const required = 1<<fPlatform | 1<<fDeviceID | 1<<fAppID | 1<<fVersionOS
	if refusal := r.fillCommon(required); refusal != nil {
		return refusal
	}
	if longer(r.Check.CustomID, maxCustomID) {
		return r.object.badField(fCustomID, "must have at most 36 characters")
	}
	return nil
}

// name sets what the event is about from version_name, which is "version" or "version:file".
func (e *StatsEvent) name(versionName, native string) {
	e.native = native
	e.Version, e.File, _ = strings.Cut(versionName, ":")
	e.Check.VersionName, e.Check.RunsBuiltin = e.Version, e.Version == rollout.Builtin
	if e.Check.RunsBuiltin {
		e.Check.VersionName = e.Check.VersionBuild
	}
}

// legacyFailure reports whether e is a download_fail of a plugin that reports one whenever it is answered "no update":
// before 7.17.0, except 6.x from 6.14.25 on. A real failure of such a plugin looks the same.
func legacyFailure(e *StatsEvent) bool {
	p := e.Check.Plugin
	return e.Action == "download_fail" && !p.AtLeast(7, 17, 0) && !(p.Major == 6 && p.AtLeast(6, 14, 25))
}

// sentWithoutVersion reports whether an event may leave out the bundle: failures of Android's download worker do, and
// are about the bundle that the device was offered last. update_fail and set_fail always name theirs.
func sentWithoutVersion(action string) bool {
	switch action {
	case "update_fail", "set_fail":
		return false
	case "insufficient_disk_space":
		return true
	}
	return strings.HasSuffix(action, "_fail")
}

// CheckVersions refuses the events about bundles that the app does not have; has reports whether it has one. The store
// build needs no bundle, whether it calls itself builtin, unknown or, from plugin 8.44 on, by its native version. Spurious
// events are about none, and are answered ok whatever they name, as on Capgo's server.
func (b *Batch) CheckVersions(has func(version string) bool) {
	for i := range b.Items {
		it := &b.Items[i]
		if it.Use() && !it.Event.Spurious && !it.Event.VersionMissing && !it.Event.ofStoreBuild() && !has(it.Event.Version) {
			it.Refusal = &Refusal{
				Status: StatusOK, Code: CodeNoVersion, Message: "Version not found",
				Field: fVersionName.name(), Problem: it.Event.subject(), App: b.AppID,
			}
		}
	}
}

// subject returns what the event is about, as it was sent.
func (e *StatsEvent) subject() string {
	if e.File == "" {
		return e.Version
	}
	return e.Version + ":" + e.File
}

func (e *StatsEvent) ofStoreBuild() bool {
	switch e.Version {
	case "":
		return false
	case rollout.Builtin, unknownVersion, e.native, e.Check.VersionBuild:
		return true
	}
	return false
}
