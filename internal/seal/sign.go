//go:build !tinygo

package seal

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"strconv"
)

// Edges sign nothing and write no keys, and what the standard library needs for it would not fit into their module.

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
	hex.Encode(sealed, ed25519.Sign(private, sealed[signatureText+1:]))
	return sealed
}
