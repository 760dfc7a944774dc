package rollout

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a record may hold at most. Lengths are in characters. The protocol's own limits are 36 and 20 characters for
// custom_id and key_id; the others keep a State readable in one go and an answer small enough for a device.
const (
	maxName          = 128
	maxText          = 2048 // comment, link, reason
	maxURL           = 4096 // signed URLs are long
	maxToken         = 1024 // checksum, session key, file hash: an RSA-4096 value in hex fits
	maxFileName      = 1024
	maxKeyID         = 20
	maxCustomID      = 36
	maxInstallSource = 64
	maxFiles         = 20_000
	maxMembers       = 50_000
	maxPhases        = 20
	maxComparisons   = 16
)

// checkName requires a name that people can read and that can be part of a path or a key.
func (p *problems) checkName(field, name string) {
	p.require(validName(name), CodeInvalidName, field,
		"must have 1 to "+strconv.Itoa(maxName)+" characters, without control characters or space around it")
}

func validName(s string) bool {
	return s != "" && s == strings.TrimSpace(s) && shorter(s, maxName) && plain(s)
}

// checkText bounds free text of one or more lines.
func (p *problems) checkText(field, text string, limit int) {
	p.require(utf8.ValidString(text) && shorter(text, limit), CodeTextTooLong, field,
		"must be UTF-8 text of at most "+strconv.Itoa(limit)+" characters; shorten it")
}

// checkVersion requires a version that can name a bundle.
func (p *problems) checkVersion(field, version string) {
	_, ok := parseSemver(version)
	p.require(ok && shorter(version, maxName), CodeInvalidSemver, field,
		strconv.Quote(clip(version))+` is not a semantic version; write three numbers such as "1.4.0" or "2.0.0-rc.1"`)
}

// checkURL requires an absolute URL. Its scheme may be anything: whether devices can use it is decided when one asks.
func (p *problems) checkURL(field, text string) {
	p.require(absoluteURL(text), CodeInvalidURL, field,
		strconv.Quote(clip(text))+` is not an absolute URL; write it whole and percent-encoded, such as "https://cdn.example.com/shop/1.4.0.zip"`)
}

// validAppID is the pattern ^[a-z0-9]+(\.[\w-]+)+$ in any case, the reverse-domain form that the plugin's servers accept.
func validAppID(s string) bool {
	if !shorter(s, maxName) {
		return false
	}
	first, rest, dotted := strings.Cut(s, ".")
	if !dotted || !consistsOf(first, isAlphanumeric) {
		return false
	}
	for part := range strings.SplitSeq(rest, ".") {
		if !consistsOf(part, func(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '-' }) {
			return false
		}
	}
	return true
}

// validDeviceID is the UUID form 8-4-4-4-12 of hex digits, in any case and of any UUID version.
func validDeviceID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

// validFileName accepts a slash-separated path that stays inside the folder it is unpacked in.
func validFileName(s string) bool {
	if !shorter(s, maxFileName) || !plain(s) || strings.Contains(s, `\`) {
		return false
	}
	for part := range strings.SplitSeq(s, "/") { // an absolute path has an empty first part
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return len(s) < 2 || s[1] != ':' // C:…
}

// validToken accepts encoded bytes: printable ASCII without spaces.
func validToken(s string, limit int) bool {
	return len(s) <= limit && (s == "" || consistsOf(s, func(c byte) bool { return c > ' ' && c < 0x7f }))
}

// validLabel accepts a short text on one line that is not empty.
func validLabel(s string, limit int) bool { return s != "" && shorter(s, limit) && plain(s) }

// shorter reports whether s has at most limit characters.
func shorter(s string, limit int) bool { return len(s) <= limit || utf8.RuneCountInString(s) <= limit }

// plain reports whether s is UTF-8 without control characters.
func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

func consistsOf(s string, in func(byte) bool) bool {
	for i := range len(s) {
		if !in(s[i]) {
			return false
		}
	}
	return s != ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// clip shortens what is quoted back in a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
