package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// anyMethod matches all methods that have no route of their own.
const anyMethod = "ANY"

// defaultPath is the path of the route for what no other matches.
const defaultPath = "$default"

// kind orders segments from the most to the least specific.
type kind int

const (
	literal kind = iota
	parameter
	greedy
)

// segment is one part of a pattern between slashes.
type segment struct {
	kind kind
	name string // of the parameter, or the literal itself
}

// route is a Route made ready to be matched.
type route struct {
	key      string // as events name it: "GET /pets/{id}" or "$default"
	method   string
	segments []segment // nil for $default
	invoke   Invoke
}

// compile returns the routes, the most specific first.
func compile(routes []Route) ([]route, error) {
	var table, catchAll []route
	known := map[string]bool{}
	for _, r := range routes {
		c, err := compileOne(r)
		if err != nil {
			return nil, err
		}
		if known[c.shape()] {
			return nil, fmt.Errorf("route %q: another one matches the same requests", c.key)
		}
		known[c.shape()] = true
		if c.method == anyMethod {
			catchAll = append(catchAll, c)
		} else {
			table = append(table, c)
		}
	}
	table = append(table, catchAll...) // for one path, methods come before ANY
	slices.SortStableFunc(table, moreSpecific)
	return table, nil
}

func compileOne(r Route) (route, error) {
	if r.Path == defaultPath {
		return route{key: defaultPath, method: anyMethod, invoke: r.Invoke}, nil
	}
	key := r.Method + " " + r.Path
	path, rooted := strings.CutPrefix(r.Path, "/")
	if r.Method == "" || r.Method != strings.ToUpper(r.Method) || !rooted {
		return route{}, fmt.Errorf("route %q: want a method in capitals, or ANY, and a path from the root", key)
	}
	c := route{key: key, method: r.Method, segments: []segment{}, invoke: r.Invoke}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		s, ok := readSegment(part)
		if !ok || s.kind == greedy && i < len(parts)-1 {
			return route{}, fmt.Errorf("route %q: %q is no literal, {parameter} or {last+}", key, part)
		}
		c.segments = append(c.segments, s)
	}
	return c, nil
}

func readSegment(part string) (segment, bool) {
	name, open := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	s := segment{kind: literal, name: part}
	if open && closed {
		s.kind, s.name = parameter, name
		if short, all := strings.CutSuffix(name, "+"); all {
			s.kind, s.name = greedy, short
		}
	}
	wellFormed := open == closed && !strings.ContainsAny(s.name, "{}") && (s.kind == literal || s.name != "")
	return s, wellFormed
}

// shape is the same for routes that match the same requests, whatever their parameters are called.
func (r *route) shape() string {
	shape := r.method
	for _, s := range r.segments {
		if s.kind != literal {
			s.name = ""
		}
		shape += fmt.Sprintf("/%d%s", s.kind, s.name)
	}
	return shape
}

// moreSpecific orders paths as API Gateway prefers them: full matches, then greedy ones, then $default; among equals,
// segment by segment from the left, a literal before a parameter before a greedy one.
func moreSpecific(a, b route) int {
	if c := cmp.Compare(a.reach(), b.reach()); c != 0 {
		return c
	}
	for i := range min(len(a.segments), len(b.segments)) {
		if c := cmp.Compare(a.segments[i].kind, b.segments[i].kind); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(b.segments), len(a.segments))
}

// reach tells full matches (literal) from greedy ones and those from $default.
func (r *route) reach() kind {
	if r.segments == nil {
		return greedy + 1
	}
	if last := r.segments[len(r.segments)-1]; last.kind == greedy {
		return greedy
	}
	return literal
}

// match returns the route for a request, with the values of its path parameters, or nil. The path is decoded.
func match(table []route, method, path string) (*route, map[string]string) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i := range table {
		r := &table[i]
		if r.method != anyMethod && r.method != method {
			continue
		}
		if parameters, ok := r.match(parts); ok {
			return r, parameters
		}
	}
	return nil, nil
}

func (r *route) match(parts []string) (map[string]string, bool) {
	if r.segments == nil {
		return nil, true
	}
	var parameters map[string]string
	for i, s := range r.segments {
		if i >= len(parts) {
			return nil, false
		}
		value := parts[i]
		switch {
		case s.kind == literal && s.name != value:
			return nil, false
		case s.kind == literal:
			continue
		case s.kind == greedy:
			value = strings.Join(parts[i:], "/")
			parts = parts[:i+1]
		}
		if value == "" {
			return nil, false
		}
		if parameters == nil {
			parameters = map[string]string{}
		}
		parameters[s.name] = value
	}
	return parameters, len(parts) == len(r.segments)
}
