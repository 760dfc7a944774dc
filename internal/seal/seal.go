package seal

import (
	"strings"
	"unsafe"
)

// MaxBytes is the size of the largest sealed Snapshot that edges take. One of a thousand channels has a tenth of it.
const MaxBytes = 8 << 20

const (
	signatureSize = 64                // bytes, RFC 8032
	signatureText = 2 * signatureSize // in hexadecimal digits

	title     = "palier-snapshot 1 " // how what is signed begins
	maxHeader = 1 << 10              // bytes of the second line; an App's id has at most 128
)

// Header says what a sealed Snapshot is.
type Header struct {
	App      string // a view of the sealed bytes, where it was read from such
	Revision int64
	Issued   int64 // Unix seconds
	Expires  int64 // Unix seconds; from then on the Snapshot is not to be taken any more
}

// Key is an Ed25519 public key.
type Key [32]byte

// Read returns the header and the Spec's JSON of a sealed Snapshot, as views of it, and false when it is none. It does not
// look at the signature.
func Read(sealed []byte) (h Header, spec []byte, ok bool) {
	const start = signatureText + 1
	if len(sealed) <= start || len(sealed) > MaxBytes || sealed[start-1] != '\n' {
		return Header{}, nil, false
	}
	line := unsafe.String(&sealed[start], min(len(sealed)-start, maxHeader))
	line, _, whole := strings.Cut(line, "\n")
	rest, titled := strings.CutPrefix(line, title)
	if !whole || !titled {
		return Header{}, nil, false
	}
	var more bool
	h.App, rest, more = strings.Cut(rest, " ")
	for _, n := range [...]*int64{&h.Revision, &h.Issued, &h.Expires} {
		if !more {
			return Header{}, nil, false
		}
		var digits string
		digits, rest, more = strings.Cut(rest, " ")
		if *n, ok = number(digits); !ok {
			return Header{}, nil, false
		}
	}
	if h.App == "" || more {
		return Header{}, nil, false
	}
	return h, sealed[start+len(line)+1:], true
}

// number reads a decimal number that is not negative, without leading zeros, of at most 18 digits.
func number(digits string) (n int64, ok bool) {
	if digits == "" || len(digits) > 18 || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}

// Verify reports whether one of the keys made the signature of a sealed Snapshot.
func Verify(sealed []byte, keys []Key) bool {
	var signature [signatureSize]byte
	if len(sealed) <= signatureText || sealed[signatureText] != '\n' || !unhex(signature[:], sealed) {
		return false
	}
	for i := range keys {
		if verify(&keys[i], sealed[signatureText+1:], &signature) {
			return true
		}
	}
	return false
}

// unhex fills into from the hexadecimal digits that text begins with, which must be small ones.
func unhex(into, text []byte) bool {
	for i := range into {
		high, low := digit(text[2*i]), digit(text[2*i+1])
		if high|low > 15 {
			return false
		}
		into[i] = high<<4 | low
	}
	return true
}

// digit returns the value of a small hexadecimal digit, more than 15 for anything else.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
