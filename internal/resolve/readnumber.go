package resolve

import (
	"strconv"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/rollout"
)

// What is a number, or bytes written as text, is read here. strconv, encoding/hex and encoding/base64 would do the same for
// more code than the rest of the reader has.

// integer reads a whole number.
func (r *reader) integer(into *int64) {
	*into = 0
	if r.null() {
		return
	}
	end := jsontext.Skip(r.json, r.at, 0)
	negative := r.json[r.at] == '-'
	if negative {
		r.at++
	}
	switch n := r.digits(0); {
	case r.at != end:
		r.fail("want a whole number")
	case negative && n <= 1<<63:
		*into = -int64(n)
	case n < 1<<63:
		*into = int64(n)
	default:
		r.fail("is too large")
	}
	r.at = end
}

// index reads a whole number that an int can hold.
func (r *reader) index(into *int) {
	var n int64
	r.integer(&n)
	if *into = int(n); int64(*into) != n {
		r.fail("is too large")
	}
}

// percent reads what rollout.Percent writes and takes: no null, no sign, no exponent.
func (r *reader) percent(into *rollout.Percent) {
	const most = 7 // places: the unit is 10⁻⁷ percent
	end := jsontext.Skip(r.json, r.at, 0)
	n, places := r.digits(0), 0
	if r.json[r.at] == '.' {
		r.at++
		start := r.at
		n = r.digits(n)
		places = r.at - start
	}
	if r.at != end || places > most {
		r.fail("want a number of percent with at most 7 places")
	}
	for ; places < most && n <= uint64(rollout.Everyone); places++ {
		n *= 10
	}
	if n > uint64(rollout.Everyone) {
		r.fail("is not from 0 to 100")
	}
	r.at, *into = end, rollout.Percent(n)
}

// digits reads decimal digits as the end of the number n. What is too large becomes the largest.
func (r *reader) digits(n uint64) uint64 {
	const largest = 1<<64 - 1
	for ; ; r.at++ {
		digit := uint64(r.json[r.at]) - '0'
		switch {
		case digit > 9:
			return n
		case n >= largest/10:
			n = largest
		default:
			n = 10*n + digit
		}
	}
}

// salt reads what rollout.Salt writes: two hex digits a byte, and no null.
func (r *reader) salt(into *rollout.Salt) {
	var digits string
	r.text(&digits)
	ok := len(digits) == 2*len(into)
	for i := 0; ok && i < len(into); i++ {
		high, low := jsontext.HexDigit(digits[2*i]), jsontext.HexDigit(digits[2*i+1])
		into[i] = byte(high<<4 | low)
		ok = high >= 0 && low >= 0
	}
	if !ok {
		r.fail("want " + strconv.Itoa(2*len(into)) + " hex digits")
	}
}

// octets reads bytes in padded base64 (RFC 4648, section 4), without line breaks.
func (r *reader) octets(into *[]byte) {
	*into = nil
	if r.null() {
		return
	}
	var digits string
	r.text(&digits)
	ok := len(digits)%4 == 0
	size := len(digits) / 4 * 3
	for n := 0; ok && n < 2 && size > 0 && digits[len(digits)-1] == '='; n++ {
		digits = digits[:len(digits)-1]
		size--
	}
	bytes, bits := make([]byte, 0, size), 0
	for i := 0; ok && i < len(digits); i++ {
		value := base64Digit(digits[i])
		bits = bits<<6 | value
		if nth := i % 4; nth > 0 { // the first of four digits ends no byte
			bytes = append(bytes, byte(bits>>(6-2*nth)))
		}
		ok = value >= 0
	}
	if !ok {
		r.fail("want base64")
	}
	*into = bytes
}

// base64Digit returns the value of a digit, or -1.
func base64Digit(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}
