package capgo

import (
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/jsontext"
)

// readQuery reads a URL's raw query string, the part after the question mark, as if it were a body: words true and false
// of the boolean fields become booleans, everything else is text. Of equal keys the first one counts. It reports false
// for escapes that are none and for bytes that are not UTF-8.
func (o *object) readQuery(query string) bool {
	o.reset()
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		name, okName := o.percent(key)
		text, okText := o.percent(value)
		if !okName || !okText {
			return false
		}
		o.members++
		o.setWord(fieldNamed(name), text)
	}
	return true
}

// setWord gives f the value that word stands for, unless it has one.
func (o *object) setWord(f field, word string) {
	if o.seen().has(f) {
		return
	}
	s := isText
	if boolFields.has(f) {
		switch word {
		case "true":
			s = isTrue
		case "false":
			s = isFalse
		case "":
			s = absent
		}
	}
	o.set(f, s, word)
}

// percent undoes the encoding of a query's key or value.
func (o *object) percent(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, utf8.ValidString(s)
	}
	from := len(o.scratch)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			o.scratch = append(o.scratch, ' ')
		case '%':
			if len(s)-i < 3 || jsontext.HexDigit(s[i+1]) < 0 || jsontext.HexDigit(s[i+2]) < 0 {
				return "", false
			}
			o.scratch = append(o.scratch, byte(jsontext.HexDigit(s[i+1])<<4|jsontext.HexDigit(s[i+2])))
			i += 2
		default:
			o.scratch = append(o.scratch, s[i])
		}
	}
	text := view(o.scratch, from, len(o.scratch))
	return text, utf8.ValidString(text)
}
