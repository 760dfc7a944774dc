package resolve

import (
	"strconv"
	"unsafe"

	"github.com/palier-ota/palier/internal/jsontext"
)

// reader walks JSON text that is known to be well formed, so that only a value of the wrong kind can be amiss. It has one
// method per kind of value; each reads the value at hand into its argument, in which null leaves the zero value. The first
// problem is kept, its value stepped over, and the walk goes on: nobody has to look for errors on the way.
type reader struct {
	json []byte
	at   int // where the value at hand begins
	room int // how many bytes may still be made of lists

	trail [maxTrail]step // the objects and lists around at
	depth int            // how many of them there are
	err   error
}

// step is an object or a list on the way to a value.
type step struct {
	key   string // of the object's value at hand; "" in a list
	index int    // of the value at hand
	empty bool   // there was none: null or a value of another kind stands in its place
}

// maxTrail is how deep a Spec is: the spec, rollouts, rollout, follows, audience, cuts, cut, segments.
const maxTrail = 8

// roomPerByte is how many bytes lists may take per byte of text. The objects that json.Marshal writes take less than 11,
// strings in a list less than 6; only a forged text promises more than it holds.
const roomPerByte = 16

// newReader returns a reader whose value at hand is all of text.
func newReader(text []byte) *reader {
	r := &reader{json: text, at: jsontext.Space(text, 0), room: roomPerByte * len(text)}
	end := jsontext.Skip(text, r.at, 0)
	if end == jsontext.Fail || jsontext.Space(text, end) != len(text) {
		r.fail("is not JSON")
		r.json, r.at = []byte("null"), 0
	}
	return r
}

// fail keeps the first problem and where it is: "channels[2].name".
func (r *reader) fail(problem string) {
	if r.err != nil {
		return
	}
	where := "text"
	for i, s := range r.trail[:r.depth] {
		switch {
		case i == 0:
			where = s.key
		case s.key != "":
			where += "." + s.key
		default:
			where += "[" + strconv.Itoa(s.index) + "]"
		}
	}
	r.err = specError(where, problem)
}

// skip steps over the value at hand.
func (r *reader) skip() { r.at = jsontext.Skip(r.json, r.at, 0) }

// null reports whether the value at hand is null, and steps over it if so.
func (r *reader) null() bool {
	if r.json[r.at] != 'n' {
		return false
	}
	r.skip()
	return true
}

// begins reports whether the value at hand begins with first. If not it is stepped over, and should have been null.
func (r *reader) begins(first byte, want string) bool {
	switch {
	case r.json[r.at] == first:
		return true
	case !r.null():
		r.fail("want " + want)
		r.skip()
	}
	return false
}

// object steps into the object at hand: for r.object(); r.more(); { switch r.key() {
func (r *reader) object() { r.enter(!r.begins('{', "an object")) }

// enter steps into the object or list at hand, or what stands for an empty one.
func (r *reader) enter(empty bool) {
	if !empty {
		r.at++
	}
	r.trail[r.depth] = step{index: -1, empty: empty}
	r.depth++
}

// more steps to the next key of the innermost object or value of the innermost list, or out of it if there is none.
func (r *reader) more() bool {
	s := &r.trail[r.depth-1]
	if !s.empty {
		r.at = jsontext.Space(r.json, r.at)
		if c := r.json[r.at]; c == ',' {
			r.at = jsontext.Space(r.json, r.at+1)
		} else if c == '}' || c == ']' {
			r.at++
			s.empty = true
		}
	}
	if s.empty {
		r.depth--
		return false
	}
	s.index++
	return true
}

// key reads a key and steps to its value.
func (r *reader) key() string {
	key := r.quoted()
	r.trail[r.depth-1].key = key
	colon := jsontext.Space(r.json, r.at)
	r.at = jsontext.Space(r.json, colon+1)
	return key
}

// quoted reads a string. Without escapes it is a view into the text.
func (r *reader) quoted() string {
	start := r.at + 1
	end, verbatim := jsontext.Closing(r.json, start)
	r.at = end + 1
	value := r.json[start:end]
	if !verbatim {
		value = jsontext.Unescape(make([]byte, 0, len(value)), value)
	}
	return unsafe.String(unsafe.SliceData(value), len(value))
}

// list reads a list with read, which reads one element. It is made at once, in the size that it needs.
func list[T any](r *reader, into *[]T, read func(*reader, *T)) {
	*into = nil
	n := r.count(int(unsafe.Sizeof(*new(T))))
	if n < 0 {
		return
	}
	*into = make([]T, n)
	r.enter(false)
	for i := 0; r.more(); i++ {
		read(r, &(*into)[i])
	}
}

// count returns how many elements the list at hand has, each of which will take size bytes. It is -1, and the value is
// stepped over, if it is no list or there is no room for it.
func (r *reader) count(size int) (n int) {
	if !r.begins('[', "a list") {
		return -1
	}
	for at := jsontext.Space(r.json, r.at+1); r.json[at] != ']'; n++ {
		at = jsontext.Space(r.json, jsontext.Skip(r.json, at, 0))
		if r.json[at] == ',' {
			at = jsontext.Space(r.json, at+1)
		}
	}
	if n > r.room/size {
		r.fail("is too long for its text")
		r.skip()
		return -1
	}
	r.room -= n * size
	return n
}

// text reads a string.
func (r *reader) text(into *string) {
	*into = ""
	if r.begins('"', "a string") {
		*into = r.quoted()
	}
}

// flag reads true or false.
func (r *reader) flag(into *bool) {
	*into = r.json[r.at] == 't'
	if *into || r.begins('f', "true or false") {
		r.skip()
	}
}

// choice reads true or false where null means neither.
func (r *reader) choice(into **bool) {
	*into = nil
	if !r.null() {
		*into = new(bool)
		r.flag(*into)
	}
}
