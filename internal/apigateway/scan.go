package apigateway

import "github.com/palier-ota/palier/internal/jsontext"

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
	if s.at = jsontext.Space(s.text, s.at); s.at < len(s.text) {
		return s.text[s.at]
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
	if s.depth++; s.depth > jsontext.MaxDepth {
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
		return jsontext.Unescape(nil, name.text) // nobody sends that
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
	end, verbatim := jsontext.Closing(s.text, s.at)
	if end == jsontext.Fail {
		s.failed = true
		return quoted{}
	}
	q := quoted{s.text[s.at:end], verbatim}
	s.at = end + 1
	return q
}

// skip moves past any value.
func (s *scanner) skip() {
	s.peek()
	s.moveTo(jsontext.Skip(s.text, s.at, s.depth))
}

// word moves past a literal.
func (s *scanner) word(literal string) { s.moveTo(jsontext.Literal(s.text, s.at, literal)) }

// moveTo goes to a position that jsontext returned.
func (s *scanner) moveTo(at int) {
	if at == jsontext.Fail {
		s.failed = true
		return
	}
	s.at = at
}
