//go:build !tinygo

package resolve

import (
	"strconv"

	"github.com/palier-ota/palier/internal/jsontext"
)

func specError(where, problem string) *SpecError { return &SpecError{Where: where, Problem: problem} }

// within puts a SpecError of a part into the whole; another error stays as it is.
func within(where string, err error) error {
	if inner, ok := err.(*SpecError); ok { // only ever made here, never wrapped
		return specError(where+": "+inner.Where, inner.Problem)
	}
	return err
}

// quote shows a name from an untrusted Spec, cut to a readable length.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return string(jsontext.AppendString(nil, s))
}

// path walks to the value at at, and returns the way: ".channels[2].name".
func (r *reader) path(at int) (way string) {
	r.at = 0
	r.space()
	for r.at < at {
		object := r.peek() == '{'
		key, n, start := "", -1, 0
		for r.at <= at {
			r.next()
			if object {
				key = r.key()
			}
			n++
			start = r.at
			r.skip()
		}
		r.at = start
		if object {
			way += "." + key
		} else {
			way += "[" + strconv.Itoa(n) + "]"
		}
	}
	return way
}
