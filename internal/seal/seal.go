package seal

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"
	"unsafe"
)

// MaxBytes is the size of the largest sealed Snapshot that edges take. One of a thousand channels has a tenth of it.
const MaxBytes = 8 << 20

const (
	signatureSize = 64 // bytes, RFC 8032
	signatureText = 88 // the same in base64

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

// ParseKey reads what String writes; false for anything else.
func ParseKey(text string) (Key, bool) {
	var k Key
	if len(text) != base64.StdEncoding.EncodedLen(len(k)) {
		return k, false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != len(k) {
		return k, false
	}
	return Key(raw), true
}

// String returns the key in standard base64, as settings and `palier keys` have it.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// PublicKey returns the Key that verifies what private signs.
func PublicKey(private ed25519.PrivateKey) Key {
	return Key(private[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

// Sign returns the sealed Snapshot of a Spec's JSON. The same arguments give the same bytes.
func Sign(private ed25519.PrivateKey, h Header, spec []byte) []byte {
	sealed := make([]byte, signatureText, signatureText+1+maxHeader+len(spec))
	sealed = append(sealed, '\n')
	sealed = append(append(sealed, title...), h.App...)
	for _, n := range [...]int64{h.Revision, h.Issued, h.Expires} {
		sealed = strconv.AppendInt(append(sealed, ' '), n, 10)
	}
	sealed = append(append(sealed, '\n'), spec...)
	base64.StdEncoding.Encode(sealed, ed25519.Sign(private, sealed[signatureText+1:]))
	return sealed
}

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
	var signature [signatureText]byte // base64 decodes more than it keeps
	if len(sealed) <= signatureText || sealed[signatureText] != '\n' {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(signature[:], sealed[:signatureText])
	if err != nil || n != signatureSize {
		return false
	}
	for i := range keys {
		if ed25519.Verify(keys[i][:], sealed[signatureText+1:], signature[:signatureSize]) {
			return true
		}
	}
	return false
}
