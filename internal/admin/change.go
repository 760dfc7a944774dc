package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
)

// Op is what happened to an entity.
type Op string

// The operations.
const (
	Create Op = "create"
	Update Op = "update"
	Delete Op = "delete"
)

// Change is one line of the difference between two states of an app.
type Change struct {
	Op     Op            `json:"op" enum:"create,update,delete"`
	Kind   string        `json:"kind" enum:"app,bundle,channel,segment,device,plan"`
	Name   string        `json:"name" example:"production"`
	Fields []FieldChange `json:"fields,omitempty" doc:"For an update: what differs"`
}

// FieldChange is one field's old and new value; a value that is absent was or will be the default.
type FieldChange struct {
	Field string          `json:"field" example:"bundle"`
	From  json.RawMessage `json:"from,omitempty"`
	To    json.RawMessage `json:"to,omitempty"`
}

// differences lists what an operator would call the changes from before to after: in the order of the document, then by
// name, without the fields that the server sets.
func differences(before, after rollout.State) ([]Change, error) {
	all := []Change{}
	apps := func(s rollout.State) map[string]rollout.App {
		if s.Revision == 0 {
			return nil
		}
		return map[string]rollout.App{s.App.ID: s.App}
	}
	for _, compare := range []func() ([]Change, error){
		func() ([]Change, error) {
			return compareAll("app", apps(before), map[string]rollout.App{after.App.ID: after.App})
		},
		func() ([]Change, error) { return compareAll("bundle", before.Bundles, after.Bundles) },
		func() ([]Change, error) { return compareAll("channel", before.Channels, after.Channels) },
		func() ([]Change, error) { return compareAll("segment", before.Segments, after.Segments) },
		func() ([]Change, error) { return compareAll("device", before.Devices, after.Devices) },
		func() ([]Change, error) { return compareAll("plan", before.Plans, after.Plans) },
	} {
		changes, err := compare()
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
	}
	return all, nil
}

func compareAll[T any](kind string, before, after map[string]T) ([]Change, error) {
	names := map[string]bool{}
	for name := range before {
		names[name] = true
	}
	for name := range after {
		names[name] = true
	}
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, was := before[name]
		now, is := after[name]
		switch {
		case !was:
			changes = append(changes, Change{Op: Create, Kind: kind, Name: name})
		case !is:
			changes = append(changes, Change{Op: Delete, Kind: kind, Name: name})
		default:
			fields, err := compareFields(old, now)
			if err != nil {
				return nil, fmt.Errorf("comparing %s %s: %w", kind, name, err)
			}
			if len(fields) > 0 {
				changes = append(changes, Change{Op: Update, Kind: kind, Name: name, Fields: fields})
			}
		}
	}
	return changes, nil
}

// compareFields compares two entities by their JSON form, in which an empty list and no list are the same.
func compareFields(old, now any) ([]FieldChange, error) {
	from, err := fieldsAsJSON(old)
	if err != nil {
		return nil, err
	}
	to, err := fieldsAsJSON(now)
	if err != nil {
		return nil, err
	}
	names := maps.Clone(from)
	maps.Copy(names, to)
	var fields []FieldChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if serverSet(name) || bytes.Equal(from[name], to[name]) {
			continue
		}
		fields = append(fields, FieldChange{Field: name, From: from[name], To: to[name]})
	}
	return fields, nil
}

// serverSet reports whether a field follows from others and is no change of its own.
func serverSet(field string) bool { return field == "served" || field == "number" || field == "kept" }

// Bounds of an audit event's list of changes, which must fit an item of the store together with everything else.
const (
	maxAuditChanges = 200
	maxAuditBytes   = 200_000
	maxAuditValue   = 256 // bytes of one field's value
)

// auditDetail returns the changes as an event keeps them: long values left out, a long list cut and the rest counted.
func auditDetail(changes []Change) map[string]any {
	kept, size := []Change{}, 0
	for _, c := range changes {
		c.Fields = shortened(c.Fields)
		size += weight(c)
		if len(kept) == maxAuditChanges || size > maxAuditBytes {
			break
		}
		kept = append(kept, c)
	}
	detail := map[string]any{"changes": kept}
	if more := len(changes) - len(kept); more > 0 {
		detail["more"] = more
	}
	return detail
}

func shortened(fields []FieldChange) []FieldChange {
	short := slices.Clone(fields)
	for i := range short {
		if len(short[i].From) > maxAuditValue {
			short[i].From = nil
		}
		if len(short[i].To) > maxAuditValue {
			short[i].To = nil
		}
	}
	return short
}

// weight is about how many bytes of JSON a change takes.
func weight(c Change) int {
	size := len(c.Kind) + len(c.Name) + 50
	for _, f := range c.Fields {
		size += len(f.Field) + len(f.From) + len(f.To) + 30
	}
	return size
}
