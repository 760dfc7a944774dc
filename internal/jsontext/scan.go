// Package jsontext reads and writes the strings and values of JSON text without reflection and without allocating.
//
// It is for those who know what they look for, in bodies and events whose every byte costs: they step from position to
// position in the text, and what does not interest them they skip. It takes exactly what encoding/json takes, except that
// text which is not UTF-8 is refused, and nesting is bounded.
package jsontext

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deeply arrays and objects may nest. Nobody who sends to Palier needs more than six levels.
const MaxDepth = 64

// Fail is the position that is returned for text that is not JSON.
const Fail = -1

// Masks for looking at eight bytes at once, after the classic "determine if a word has a byte less than n".
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// Alarm returns a word in which the lowest set bit is the top bit of the first byte of w (the lowest one first) that Plain
// looks for. It is 0 if there is no such byte. An ASCII byte minus n only has its top bit set if it is below n; a borrow can raise false
// alarms above a true one, where they do no harm.
func Alarm(w uint64) uint64 {
	quote, slash := w^'"'*ones, w^'\\'*ones
	return ((quote - ones) | (slash - ones) | (w - ' '*ones) | w) & tops
}

// Plain returns the position of the first byte of b at or after i that ends or complicates
// a JSON string: a quote, a backslash, a control character or any byte of a non-ASCII character; len(b) if there is none.
func Plain(b []byte, i int) int {
	for len(b)-i >= 8 {
		if a := Alarm(binary.LittleEndian.Uint64(b[i:])); a != 0 {
			return i + bits.TrailingZeros64(a)>>3
		}
		i += 8
	}
	var rest uint64 // the bytes beyond the end are zero, and so alarming
	for j := len(b) - 1; j >= i; j-- {
		rest = rest<<8 | uint64(b[j])
	}
	return i + bits.TrailingZeros64(Alarm(rest))>>3
}

// Space returns the position of the first byte at or after i that is not JSON white space.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// Trim returns s without the white space of JSON around it.
func Trim(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// Closing returns the position of the quote that ends the string whose text starts at i, and whether the text is the
// string's value as it stands. It fails on control characters, bad escapes and bytes that are not UTF-8.
func Closing(b []byte, i int) (end int, verbatim bool) {
	verbatim, ascii, start := true, true, i
	for {
		i = Plain(b, i)
		if i >= len(b) || b[i] < ' ' {
			return Fail, false
		}
		switch {
		case b[i] == '"':
			if !ascii && !utf8.Valid(b[start:i]) {
				return Fail, false
			}
			return i, verbatim
		case b[i] == '\\':
			verbatim = false
			if i = escape(b, i+1); i == Fail {
				return Fail, false
			}
		default:
			ascii = false
			i++
		}
	}
}

// escape returns the position after the escape whose letter is at i, the backslash being before it.
func escape(b []byte, i int) int {
	if i >= len(b) {
		return Fail
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if hex4(b, i+1) < 0 {
			return Fail
		}
		return i + 5
	}
	return Fail
}

// hex4 returns the value of the four hex digits at i, or -1.
func hex4(b []byte, i int) rune {
	if len(b)-i < 4 {
		return -1
	}
	var r rune
	for _, c := range b[i : i+4] {
		d := HexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | d
	}
	return r
}

// HexDigit returns the value of a hex digit, or -1.
func HexDigit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// Unescape appends the value of a string's text, which Closing has found well formed. As in encoding/json, half a
// surrogate pair becomes U+FFFD.
func Unescape(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			dst = append(dst, text[i])
			i++
			continue
		}
		switch c := text[i+1]; c {
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
			r, n := codeUnit(text, i)
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		default:
			dst = append(dst, c)
		}
		i += 2
	}
	return dst
}

// codeUnit decodes the \uXXXX at i, with the second half of its surrogate pair if it has one, and returns how many
// bytes it took.
func codeUnit(text []byte, i int) (rune, int) {
	r := hex4(text, i+2)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(text)-i >= 12 && text[i+6] == '\\' && text[i+7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(text, i+8)); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// Skip returns the position after the JSON value at i, at nesting depth depth, or Fail.
func Skip(b []byte, i, depth int) int {
	if i >= len(b) {
		return Fail
	}
	switch b[i] {
	case '"':
		end, _ := Closing(b, i+1)
		if end == Fail {
			return Fail
		}
		return end + 1
	case '{':
		return skipObject(b, i, depth)
	case '[':
		return skipArray(b, i, depth)
	case 't':
		return Literal(b, i, "true")
	case 'f':
		return Literal(b, i, "false")
	case 'n':
		return Literal(b, i, "null")
	}
	return number(b, i)
}

func skipObject(b []byte, i, depth int) int {
	if depth >= MaxDepth {
		return Fail
	}
	if i = Space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for i < len(b) && b[i] == '"' {
		end, _ := Closing(b, i+1)
		if end == Fail {
			return Fail
		}
		if i = Space(b, end+1); i >= len(b) || b[i] != ':' {
			return Fail
		}
		if i = Skip(b, Space(b, i+1), depth+1); i == Fail {
			return Fail
		}
		if i = Space(b, i); i >= len(b) {
			return Fail
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return Fail
		}
		i = Space(b, i+1)
	}
	return Fail
}

func skipArray(b []byte, i, depth int) int {
	if depth >= MaxDepth {
		return Fail
	}
	if i = Space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = Skip(b, i, depth+1); i == Fail {
			return Fail
		}
		if i = Space(b, i); i >= len(b) {
			return Fail
		}
		if b[i] == ']' {
			return i + 1
		}
		if b[i] != ',' {
			return Fail
		}
		i = Space(b, i+1)
	}
}

// Literal returns the position after the word at i, or Fail if another one stands there.
func Literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) {
		return Fail
	}
	for n := range len(word) { // TinyGo would copy what is compared as a whole
		if b[i+n] != word[n] {
			return Fail
		}
	}
	return i + len(word)
}

// number returns the position after the JSON number at i.
func number(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		if i = digits(b, i); i == Fail {
			return Fail
		}
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i == Fail {
			return Fail
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits returns the position after the one or more decimal digits at i.
func digits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == start {
		return Fail
	}
	return i
}
