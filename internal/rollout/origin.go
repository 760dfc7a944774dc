//go:build !tinygo

package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// This file has what only those need who change a State. The module for edges never does, and has no room for the
// packages: what they prepare before main would be three quarters of it.

// fingerprint is equal for bundles of the SameContent, and for no others: 128 bits of the SHA-256 of its JSON, in hex.
// It is stored, so fields of Bundle keep their order, and new ones are left out of the JSON when they are empty.
func (b Bundle) fingerprint() string {
	b.Served = false
	text, err := json.Marshal(b)
	if err != nil {
		panic("rollout: a bundle is plain text: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// absoluteURL reports whether s is a URL with a scheme and a place.
func absoluteURL(s string) bool {
	if !shorter(s, maxURL) || strings.ContainsAny(s, " \t\r\n") {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "")
}
