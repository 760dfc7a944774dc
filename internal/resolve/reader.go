package resolve

import (
	"strings"
	"unsafe"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/rollout"
)

// reader walks JSON text that is known to be well formed, so that only a value of the wrong kind can be amiss. Such a
// problem stops it: the reader stays where that value begins, and every object is at its end. Nobody has to look for
// errors on the way.
//
// It is written to be small: strconv, encoding/hex and encoding/base64 would do their part in several times the code.
type reader struct {
	json    []byte
	at      int    // where the value at hand begins, or where the last one ended
	room    int    // how many bytes may still be made of lists
	problem string // with the value at hand; "" if there is none
}

// roomPerByte is how many bytes lists may take per byte of text. An object that json.Marshal writes takes less than 11,
// a string in a list less than 6; only a forged text promises more than it holds.
const roomPerByte = 16

// newReader returns a reader whose value at hand is all of text.
func newReader(text []byte) *reader {
	r := &reader{json: text, room: roomPerByte * len(text)}
	r.space()
	end := jsontext.Skip(text, r.at, 0)
	if end == jsontext.Fail || jsontext.Space(text, end) != len(text) {
		r.fail("is not JSON")
	}
	return r
}

// result returns the problem, if there was one, as a *SpecError. The whole text goes by the name given.
func (r *reader) result(name string) error {
	problem := r.problem
	if problem == "" {
		return nil
	}
	r.problem = ""
	return specError(name+r.path(r.at), problem)
}

// fail stops at the value at hand, unless something stopped the reader before.
func (r *reader) fail(problem string) {
	if r.problem == "" {
		r.problem = problem
	}
}

// failAt stops at the value that begins at start, which was read already.
func (r *reader) failAt(start int, problem string) {
	if r.problem == "" {
		r.at, r.problem = start, problem
	}
}

// peek returns the byte at hand.
func (r *reader) peek() byte { return r.json[r.at] }

// space steps over white space.
func (r *reader) space() { r.at = jsontext.Space(r.json, r.at) }

// next steps over one byte of punctuation and the white space around it.
func (r *reader) next() {
	if r.problem == "" {
		r.space()
		r.at++
		r.space()
	}
}

// skip steps over the value at hand.
func (r *reader) skip() { r.at = jsontext.Skip(r.json, r.at, 0) }

// key reads a key and steps to its value.
func (r *reader) key() string {
	key := r.quoted()
	r.next()
	return key
}

// member steps to the next member of the object at hand, of those that say something and have one of the keys, between
// which are spaces. It returns which key, counted from 0, or -1 at the end.
func (r *reader) member(keys string) int {
	for r.problem == "" {
		r.space()
		switch r.peek() {
		case '{', ',':
			r.next()
		case '}':
		case 'n':
			r.skip()
			return -1
		default:
			r.fail("want an object")
			return -1
		}
		if r.peek() == '}' {
			r.at++
			return -1
		}
		n := indexWord(keys, r.key())
		if n >= 0 && r.peek() != 'n' {
			return n
		}
		r.skip()
	}
	return -1
}

// indexWord returns which of the words between spaces is word, or -1.
func indexWord(words, word string) int {
	for n := 0; ; n++ {
		first, end := words, strings.IndexByte(words, ' ')
		if end >= 0 {
			first = words[:end]
		}
		if first == word {
			return n
		}
		if end < 0 {
			return -1
		}
		words = words[end+1:]
	}
}

// list reads a list with read, which reads one element. It is made at once, in the size that it needs.
func list[T any](r *reader, into *[]T, read func(*reader, *T)) {
	all := make([]T, r.count(int(unsafe.Sizeof(*new(T)))))
	for i := range all {
		read(r, &all[i])
		r.next()
	}
	*into = all
}

// count steps to the first element of the list at hand and returns how many there are. Each will take size bytes, for
// which there must be room.
func (r *reader) count(size int) (n int) {
	if r.peek() != '[' {
		r.fail("want a list")
		return 0
	}
	start := r.at
	for r.next(); r.peek() != ']'; n++ {
		r.skip()
		r.space()
		if r.peek() == ',' {
			r.next()
		}
	}
	if n > 0 { // of an empty list the end is stepped over at once
		r.at = start
	}
	if n > r.room/size {
		r.fail("is too long for its text")
		return 0
	}
	r.room -= n * size
	r.next()
	return n
}

// quoted reads a string that is there. Without escapes it is a view into the text.
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

// text reads a string, or null in a list.
func (r *reader) text(into *string) {
	switch r.peek() {
	case '"':
		*into = r.quoted()
	case 'n':
		r.skip()
	default:
		r.fail("want a string")
	}
}

// texts reads a list of strings.
func (r *reader) texts(into *[]string) { list(r, into, (*reader).text) }

// flag reads true or false.
func (r *reader) flag(into *bool) {
	c := r.peek()
	*into = c == 't'
	if c != 't' && c != 'f' {
		r.fail("want true or false")
		return
	}
	r.skip()
}

// choice reads true or false where neither differs from false.
func (r *reader) choice(into **bool) {
	*into = new(bool)
	r.flag(*into)
}

// integer reads a whole number.
func (r *reader) integer(into *int64) { *into = int64(r.number(0, 1<<63-1)) }

// index reads a whole number that any int can hold.
func (r *reader) index(into *int) { *into = int(r.number(0, 1<<31-1)) }

// percent reads what rollout.Percent writes, in its unit of 10⁻⁷ percent.
func (r *reader) percent(into *rollout.Percent) {
	*into = rollout.Percent(r.number(7, uint64(rollout.Everyone)))
}

// number reads a number without sign or exponent, up to largest, in units of the last of the decimals that it may have.
func (r *reader) number(decimals int, largest uint64) (n uint64) {
	start := r.at
	r.skip()
	left := -1 // decimals still to come; below 0 before the point
	for _, c := range r.json[start:r.at] {
		switch digit := uint64(c - '0'); {
		case c == '.':
			left = decimals
		case digit > 9 || left == 0 || n > largest/10:
			r.failAt(start, "want a number in range, without sign or exponent")
			return 0
		default:
			n = 10*n + digit
			left--
		}
	}
	if left < 0 {
		left = decimals
	}
	for ; left > 0; left-- {
		n *= 10
	}
	if n > largest {
		r.failAt(start, "want a number in range")
	}
	return n
}

// salt reads what rollout.Salt writes: two hex digits a byte.
func (r *reader) salt(into *rollout.Salt) {
	start := r.at
	var digits string
	r.text(&digits)
	if len(digits) != 2*len(into) || !fill(into[:], digits, 4, jsontext.HexDigit) {
		r.failAt(start, "want 32 hex digits")
	}
}

// octets reads bytes as padded base64 (RFC 4648, section 4), without line breaks.
func (r *reader) octets(into *[]byte) {
	start := r.at
	var text string
	r.text(&text)
	digits := strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
	*into = make([]byte, len(digits)*6/8)
	if len(text)%4 != 0 || !fill(*into, digits, 6, base64Digit) {
		r.failAt(start, "want base64")
	}
}

// fill fills into from digits that stand for so many bits each, and reports whether they all are digits. There must be
// enough of them; bits that make no whole byte are dropped.
func fill(into []byte, digits string, width int, value func(byte) rune) bool {
	bits, n := 0, 0
	for i := range len(digits) {
		digit := value(digits[i])
		if digit < 0 {
			return false
		}
		bits = bits<<width | int(digit)
		if n += width; n >= 8 {
			n -= 8
			into[0] = byte(bits >> n)
			into = into[1:]
		}
	}
	return true
}

// base64Digit returns the value of a digit, or -1.
func base64Digit(c byte) rune {
	switch {
	case c >= 'A' && c <= 'Z':
		return rune(c - 'A')
	case c >= 'a' && c <= 'z':
		return rune(c-'a') + 26
	case c >= '0' && c <= '9':
		return rune(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}
