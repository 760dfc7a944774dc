package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/palier-ota/palier/internal/rollout"
)

// maxProblems is how many problems of one body are reported; more would help nobody.
const maxProblems = 50

// shape checks trees against Go types, so that a misspelt field or a number where text belongs is refused with its path
// and not passed over in silence. readOnly names fields, as "Type.field", that the server sets: callers may send back what
// they were shown, and it is ignored.
type shape struct {
	readOnly map[string]bool
	problems []Problem
	found    int // the problems, and those beyond maxProblems that were not kept
}

// err returns what is wrong with the thing that was checked, or nil.
func (s *shape) err(thing string) error {
	if len(s.problems) == 0 {
		return nil
	}
	return invalid(CodeMalformed, thing, s.problems, s.found)
}

// formed is a type whose JSON has several forms.
type formed interface {
	// formOf returns the type that describes the form that v has, or should have.
	formOf(v any) reflect.Type
}

func (s *shape) add(path, format string, args ...any) {
	s.found++
	if len(s.problems) < maxProblems {
		s.problems = append(s.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
}

// check compares the tree v with the type t and removes read-only fields from v. A null fits every type: it asks for the
// default.
func (s *shape) check(path string, v any, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v == nil {
		return
	}
	if many, ok := reflect.Zero(t).Interface().(formed); ok {
		s.check(path, v, many.formOf(v))
		return
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		s.checkText(path, v, t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		s.checkStruct(path, v, t)
	case reflect.Slice:
		s.checkList(path, v, t)
	case reflect.Map:
		s.checkMap(path, v, t)
	case reflect.String:
		if _, ok := v.(string); !ok {
			s.add(path, "%s%s", mismatch(v, "text"), quoteHint(v))
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			s.add(path, "%s", mismatch(v, "true or false"))
		}
	default:
		s.checkNumber(path, v, t)
	}
}

func quoteHint(v any) string {
	if n, ok := v.(json.Number); ok {
		return fmt.Sprintf("; put it in quotes: %q", n.String())
	}
	return ""
}

// mismatch says that v is not what is wanted.
func mismatch(v any, wanted string) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q is not %s", clip(v), wanted)
	case json.Number:
		return fmt.Sprintf("%s is not %s", clip(v.String()), wanted)
	case bool:
		return fmt.Sprintf("%t is not %s", v, wanted)
	}
	return fmt.Sprintf("want %s, not %s", wanted, kindOf(v))
}

// misfit says why the number n cannot be a t.
func misfit(n json.Number, t reflect.Type) string {
	if t.Kind() != reflect.Float64 && strings.ContainsAny(n.String(), ".eE") {
		return clip(n.String()) + " is not a whole number"
	}
	return clip(n.String()) + " is too large a number"
}

// entryName is how a path calls the i-th entry of a list: by its name if entries of the type have one, else by its index.
func entryName(i int, item any, t reflect.Type) string {
	if p, named := entryKeys()[t]; named {
		fields, _ := item.(map[string]any)
		if name, _ := fields[p.key].(string); showable(name) {
			return p.fold(name)
		}
	}
	return strconv.Itoa(i)
}

// showable reports whether a name can stand in a path: short, and of characters that show.
func showable(name string) bool {
	return name != "" && name == clip(name) && !strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) })
}

// checkText lets a type that reads its own JSON say what it thinks of v.
func (s *shape) checkText(path string, v any, t reflect.Type) {
	if t == reflect.TypeFor[time.Time]() {
		s.checkTime(path, v)
		return
	}
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, reflect.New(t).Interface())
	}
	if err != nil {
		s.add(path, "%s", clip(err.Error()))
	}
}

func (s *shape) checkTime(path string, v any) {
	text, ok := v.(string)
	if _, err := time.Parse(time.RFC3339, text); !ok || err != nil {
		s.add(path, "%s such as 2026-12-01T08:00:00Z", mismatch(v, "a time"))
	}
}

func (s *shape) checkNumber(path string, v any, t reflect.Type) {
	n, ok := v.(json.Number)
	if !ok {
		s.add(path, "%s", mismatch(v, "a number"))
		return
	}
	if err := json.Unmarshal([]byte(n), reflect.New(t).Interface()); err != nil {
		s.add(path, "%s", misfit(n, t))
	}
}

func (s *shape) checkList(path string, v any, t reflect.Type) {
	list, ok := v.([]any)
	if !ok {
		s.add(path, "%s", mismatch(v, "a list"))
		return
	}
	for i, item := range list {
		at := fmt.Sprintf("%s[%s]", path, entryName(i, item, t.Elem()))
		if item == nil {
			s.add(at, "want a value, not null")
			continue
		}
		s.check(at, item, t.Elem())
	}
}

// checkMap checks the values of an object whose keys are free.
func (s *shape) checkMap(path string, v any, t reflect.Type) {
	object, ok := v.(map[string]any)
	if !ok {
		s.add(path, "%s", mismatch(v, "an object"))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		s.check(clip(path+"."+key), object[key], t.Elem())
	}
}

func (s *shape) checkStruct(path string, v any, t reflect.Type) {
	object, ok := v.(map[string]any)
	if !ok {
		s.add(path, "%s", mismatch(v, "an object"))
		return
	}
	if t == reflect.TypeFor[rollout.Phase]() && object["percent"] == nil {
		s.add(path+".percent", "is missing: a phase that forgot it would admit nobody")
	}
	fields := fieldsOf(t)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at := key
		if path != "" {
			at = path + "." + key
		}
		field, known := fields[key]
		switch {
		case !known:
			s.add(clip(at), "unknown field%s", suggestion(key, fields))
		case s.readOnly[t.Name()+"."+key]:
			delete(object, key)
		default:
			s.check(at, object[key], field)
		}
	}
}

// fieldsOf returns the JSON names of a struct's fields with their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// suggestion proposes the field that a misspelt key most likely meant.
func suggestion(key string, fields map[string]reflect.Type) string {
	best, least := "", 3
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if d := distance(strings.ToLower(key), name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is the number of letters to add, drop or change to make b of a (Levenshtein's), cut off for long keys.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
