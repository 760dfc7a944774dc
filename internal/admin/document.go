package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// Document is an app's whole desired state, as `palier apply` sends it and `palier export` returns it. Fields that the
// server sets (revision; served, number and kept inside the lists) are ignored when sent.
type Document struct {
	App                 string            `json:"app" example:"com.example.shop" doc:"The app's id, as the plugin sends it"`
	Revision            int64             `json:"revision,omitempty" readOnly:"true" doc:"Rises by one with every committed change"`
	Name                string            `json:"name,omitempty" example:"Shop"`
	ExposeMetadata      bool              `json:"expose_metadata" doc:"Send link and comment to plugins that show them"`
	AllowDeviceCustomID bool              `json:"allow_device_custom_id" doc:"Let devices put a custom id in telemetry"`
	Bundles             []rollout.Bundle  `json:"bundles,omitempty"`
	Channels            []rollout.Channel `json:"channels,omitempty"`
	Segments            []rollout.Segment `json:"segments,omitempty"`
	Devices             []rollout.Device  `json:"devices,omitempty"`
	Plans               []rollout.Plan    `json:"plans,omitempty"`
}

// readOnlyFields are what the server sets; see shape.
func readOnlyFields() map[string]bool {
	return map[string]bool{"Document.revision": true, "Bundle.served": true, "Channel.number": true, "Channel.kept": true}
}

// export returns the document that describes s. Applying it again changes nothing.
func export(s rollout.State) Document {
	return Document{
		App: s.App.ID, Revision: s.Revision, Name: s.App.Name,
		ExposeMetadata: s.App.ExposeMetadata, AllowDeviceCustomID: s.App.AllowDeviceCustomID,
		Bundles: listed(s.Bundles), Channels: listed(s.Channels), Segments: listed(s.Segments),
		Devices: listed(s.Devices), Plans: listed(s.Plans),
	}
}

// listed returns the values of m in the order of their keys; never nil.
func listed[T any](m map[string]T) []T {
	list := make([]T, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[key])
	}
	return list
}

// readDocument checks that tree has the shape of a Document for app. It removes read-only fields from tree.
func readDocument(app string, tree map[string]any) error {
	s := shape{readOnly: readOnlyFields()}
	s.check("", tree, reflect.TypeFor[Document]())
	if id, given := tree["app"].(string); given && id != app {
		s.add("app", "%s is not the %s of the address", clip(id), clip(app))
	}
	return s.err("the document")
}

// overlay returns base with the given fields laid over it. A field that is null goes back to what fresh, a new entity,
// has there. The result shares no memory with base.
func overlay[T any](base, fresh T, fields map[string]any) (T, error) {
	var out T
	merged, err := fieldsAsJSON(base)
	if err != nil {
		return out, err
	}
	defaults, err := fieldsAsJSON(fresh)
	if err != nil {
		return out, err
	}
	for key, value := range fields {
		if value == nil {
			delete(merged, key)
			if def, ok := defaults[key]; ok {
				merged[key] = def
			}
			continue
		}
		if merged[key], err = json.Marshal(value); err != nil {
			return out, fmt.Errorf("field %s: %w", key, err)
		}
	}
	raw, err := json.Marshal(merged)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(raw, &out)
}

// fieldsAsJSON returns v's fields by their JSON names.
func fieldsAsJSON(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	return fields, json.Unmarshal(raw, &fields)
}

// part is one list of a Document: how it is called, what names an entry and what a new entry looks like.
type part[T any] struct {
	entryKey
	list  string // the document's field
	kind  string // what one entry is called
	fresh func(name string) T
}

// entryKey is what names an entry of a list.
type entryKey struct {
	key   string // the entry's field that holds its name
	lower bool   // names are compared in lower case
}

// fold returns the key under which an entry called name is kept.
func (k entryKey) fold(name string) string {
	if k.lower {
		return strings.ToLower(name)
	}
	return name
}

// entryKeys has the types of a document's entries.
func entryKeys() map[reflect.Type]entryKey {
	return map[reflect.Type]entryKey{
		reflect.TypeFor[rollout.Bundle]():  bundlePart().entryKey,
		reflect.TypeFor[rollout.Channel](): channelPart().entryKey,
		reflect.TypeFor[rollout.Segment](): segmentPart().entryKey,
		reflect.TypeFor[rollout.Device]():  devicePart().entryKey,
		reflect.TypeFor[rollout.Plan]():    planPart().entryKey,
	}
}

func bundlePart() part[rollout.Bundle] {
	return part[rollout.Bundle]{list: "bundles", kind: "bundle", entryKey: entryKey{key: "version"},
		fresh: func(v string) rollout.Bundle { return rollout.Bundle{Version: v} }}
}

func channelPart() part[rollout.Channel] {
	return part[rollout.Channel]{list: "channels", kind: "channel", entryKey: entryKey{key: "name"}, fresh: rollout.NewChannel}
}

func segmentPart() part[rollout.Segment] {
	return part[rollout.Segment]{list: "segments", kind: "segment", entryKey: entryKey{key: "name"},
		fresh: func(n string) rollout.Segment { return rollout.Segment{Name: n} }}
}

func devicePart() part[rollout.Device] {
	return part[rollout.Device]{list: "devices", kind: "device", entryKey: entryKey{key: "device_id", lower: true},
		fresh: func(id string) rollout.Device { return rollout.Device{DeviceID: id} }}
}

func planPart() part[rollout.Plan] {
	return part[rollout.Plan]{list: "plans", kind: "plan", entryKey: entryKey{key: "name"},
		fresh: func(n string) rollout.Plan { return rollout.Plan{Name: n} }}
}

// path is how paths call the i-th entry of the part's list.
func (p part[T]) path(i int, entry any) string {
	return p.list + "[" + entryName(i, entry, reflect.TypeFor[T]()) + "]"
}

// merge lays the part's entries in tree over those of before. With prune, entries that tree does not have are left out of
// the result. Problems name the entry's path.
func (p part[T]) merge(before map[string]T, tree map[string]any, prune bool) (map[string]T, []Problem) {
	after := map[string]T{}
	if !prune {
		maps.Copy(after, before)
	}
	var problems []Problem
	list, _ := tree[p.list].([]any)
	seen := map[string]bool{}
	for i, item := range list {
		path := p.path(i, item)
		fields, _ := item.(map[string]any)
		given, _ := fields[p.key].(string)
		name := p.fold(given)
		switch {
		case name == "":
			problems = append(problems, Problem{Path: path + "." + p.key, Message: "is missing"})
			continue
		case seen[name]:
			problems = append(problems, Problem{Path: path + "." + p.key, Message: fmt.Sprintf("%s %q is listed twice; list it once", p.kind, clip(name))})
			continue
		}
		seen[name] = true
		fields[p.key] = name
		base, exists := before[name]
		if !exists {
			base = p.fresh(name)
		}
		merged, err := overlay(base, p.fresh(name), fields)
		if err != nil {
			problems = append(problems, Problem{Path: path, Message: clip(err.Error())})
			continue
		}
		after[name] = merged
	}
	return after, problems
}

// numberNew gives new channels numbers in the order of the document, so that settle can make them in that order: devices
// list channels by number, and expect the one that was written first to come first.
func numberNew(before, after map[string]rollout.Channel, tree map[string]any) {
	list, _ := tree[channelPart().list].([]any)
	for i, item := range list {
		fields, _ := item.(map[string]any)
		name, _ := fields[channelPart().key].(string)
		if c, ok := after[name]; ok && before[name].Name == "" {
			c.Number = int64(i)
			after[name] = c
		}
	}
}

// desired returns the state that the document tree asks for, given the one that is. Server-set fields are as before:
// settle brings them up to date.
func desired(before rollout.State, tree map[string]any, prune bool) (rollout.State, []Problem) {
	after := before
	top := map[string]any{}
	for _, key := range []string{"name", "expose_metadata", "allow_device_custom_id"} {
		if value, given := tree[key]; given {
			top[key] = value
		}
	}
	var problems []Problem
	app, err := overlay(before.App, rollout.NewApp(before.App.ID), top)
	if err != nil {
		problems = append(problems, Problem{Message: clip(err.Error())})
	}
	after.App = app
	add := func(more []Problem) { problems = append(problems, more...) }
	var more []Problem
	after.Bundles, more = bundlePart().merge(before.Bundles, tree, prune)
	add(more)
	after.Channels, more = channelPart().merge(before.Channels, tree, prune)
	add(more)
	numberNew(before.Channels, after.Channels, tree)
	after.Segments, more = segmentPart().merge(before.Segments, tree, prune)
	add(more)
	after.Devices, more = devicePart().merge(before.Devices, tree, prune)
	add(more)
	after.Plans, more = planPart().merge(before.Plans, tree, prune)
	add(more)
	return after, problems
}
