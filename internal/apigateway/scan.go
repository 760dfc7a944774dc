package apigateway

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deeply arrays and objects may nest in an event. API Gateway needs six levels.
const maxDepth = 64

// scanner walks over JSON text, and takes exactly what encoding/json takes, if it is UTF-8. After the first mistake it is
// failed: nothing that it returns counts then, and every loop over it ends.
type scanner struct {
	text   []byte
	at     int
	depth  int
	failed bool
}

// peek returns the next byte that is not white space, which is where at is then; 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\n', '\r', '\t':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// take moves past c, which must be next.
func (s *scanner) take(c byte) {
	if s.peek() != c {
		s.failed = true
		return
	}
	s.at++
}

// enter moves into an object or array.
func (s *scanner) enter(opening byte) {
	s.take(opening)
	if s.depth++; s.depth > maxDepth {
		s.failed = true
	}
}

// next moves to the next member or element, and reports whether there is one; otherwise it leaves the object or array.
func (s *scanner) next(closing byte, first bool) bool {
	if s.failed {
		return false
	}
	if s.peek() == closing {
		s.at++
		s.depth--
		return false
	}
	if !first {
		s.take(',')
	}
	return !s.failed
}

// key moves past a member's name and colon and returns the name.
func (s *scanner) key() []byte {
	name := s.quoted()
	s.take(':')
	if !name.verbatim {
		return name.appendTo(nil) // nobody sends that
	}
	return name.text
}

// quoted is a string as it stands between its quotes, well formed.
type quoted struct {
	text     []byte
	verbatim bool // it has no escapes
}

// quoted moves past a string.
func (s *scanner) quoted() quoted {
	s.take('"')
	if s.failed {
		return quoted{}
	}
	start, verbatim, ascii := s.at, true, true
	for s.at < len(s.text) && !s.failed {
		switch c := s.text[s.at]; {
		case c == '"':
			text := s.text[start:s.at]
			s.at++
			s.failed = !ascii && !utf8.Valid(text)
			return quoted{text, verbatim}
		case c == '\\':
			verbatim = false
			s.escape()
		case c < ' ':
			s.failed = true
		default:
			ascii = ascii && c < utf8.RuneSelf
			s.at++
		}
	}
	s.failed = true
	return quoted{}
}

// escape moves past the escape that begins here.
func (s *scanner) escape() {
	rest := s.text[s.at:]
	switch {
	case len(rest) >= 6 && rest[1] == 'u' && hex4(rest[2:]) >= 0:
		s.at += 6
	case len(rest) >= 2 && strings.IndexByte(`"\/bfnrt`, rest[1]) >= 0:
		s.at += 2
	default:
		s.failed = true
	}
}

// skip moves past any value.
func (s *scanner) skip() {
	switch s.peek() {
	case '"':
		s.quoted()
	case '{':
		s.enter('{')
		for first := true; s.next('}', first); first = false {
			s.quoted()
			s.take(':')
			s.skip()
		}
	case '[':
		s.enter('[')
		for first := true; s.next(']', first); first = false {
			s.skip()
		}
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	default:
		s.number()
	}
}

// word moves past a literal.
func (s *scanner) word(literal string) {
	if !bytes.HasPrefix(s.text[s.at:], []byte(literal)) {
		s.failed = true
		return
	}
	s.at += len(literal)
}

// number moves past a number.
func (s *scanner) number() {
	s.optional('-', '-')
	if !s.optional('0', '0') {
		s.digits()
	}
	if s.optional('.', '.') {
		s.digits()
	}
	if s.optional('e', 'E') {
		s.optional('+', '-')
		s.digits()
	}
}

// optional moves past the next byte if it is one of two, and reports whether it was.
func (s *scanner) optional(a, b byte) bool {
	if s.at < len(s.text) && (s.text[s.at] == a || s.text[s.at] == b) {
		s.at++
		return true
	}
	return false
}

// digits moves past one decimal digit or more.
func (s *scanner) digits() {
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	if s.at == start {
		s.failed = true
	}
}

// appendTo appends what the string means. As in encoding/json, half a surrogate pair becomes U+FFFD.
func (q quoted) appendTo(dst []byte) []byte {
	text := q.text
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		text = text[i:]
		switch c := text[1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := codePoint(text)
			dst, text = utf8.AppendRune(dst, r), text[n:]
			continue
		default:
			dst = append(dst, c)
		}
		text = text[2:]
	}
}

// codePoint decodes the \uXXXX with which text begins, together with the second half of its surrogate pair if it has one,
// and returns how many bytes it took.
func codePoint(text []byte) (r rune, n int) {
	r = hex4(text[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(text) >= 12 && text[6] == '\\' && text[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(text[8:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 returns the value of the four hexadecimal digits with which text begins, or -1.
func hex4(text []byte) rune {
	var r rune
	for _, c := range text[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}
