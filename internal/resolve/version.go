package resolve

import "strings"

// Version is a parsed semantic version (https://semver.org, 2.0.0). Pre holds the prerelease identifiers without the
// leading hyphen and shares the memory of the text it was parsed from; build metadata carries no order and is dropped.
// The zero Version stands for "not given".
type Version struct {
	Major, Minor, Patch uint64
	Pre                 string
}

// ParseVersion reads a strict semantic version: three numbers without leading zeros, then an optional prerelease and
// optional build metadata. It reports false for anything else, including numbers beyond 64 bits. It does not allocate.
func ParseVersion(s string) (Version, bool) {
	var v Version
	var ok bool
	if v.Major, s, ok = leadingNumber(s); !ok || s == "" || s[0] != '.' {
		return Version{}, false
	}
	if v.Minor, s, ok = leadingNumber(s[1:]); !ok || s == "" || s[0] != '.' {
		return Version{}, false
	}
	if v.Patch, s, ok = leadingNumber(s[1:]); !ok {
		return Version{}, false
	}
	if s == "" {
		return v, true
	}
	return v.withSuffix(s)
}

// withSuffix reads what follows the three numbers: "-prerelease", "+build" or both.
func (v Version) withSuffix(s string) (Version, bool) {
	rest, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !identifiers(build, false) {
		return Version{}, false
	}
	if rest == "" {
		return v, true
	}
	if rest[0] != '-' || !identifiers(rest[1:], true) {
		return Version{}, false
	}
	v.Pre = rest[1:]
	return v, true
}

// ParseLooseVersion reads what operating systems call a version: one to any number of numeric parts, of which the
// first three count and missing ones are zero ("15", "18.6", "10.0.19045.3803", "013"), followed by anything that
// does not begin with a letter or digit ("14 (API 34)"). It reports false when the text does not begin with a number.
// It does not allocate.
func ParseLooseVersion(s string) (Version, bool) {
	var v Version
	for i := 0; ; i++ {
		n, digits := 0, uint64(0)
		for n < len(s) && isDigit(s[n]) {
			if digits > (1<<63)/10 {
				return Version{}, false
			}
			digits = digits*10 + uint64(s[n]-'0')
			n++
		}
		if n == 0 {
			return Version{}, false
		}
		switch i {
		case 0:
			v.Major = digits
		case 1:
			v.Minor = digits
		case 2:
			v.Patch = digits
		}
		if s = s[n:]; s == "" {
			return v, true
		}
		if s[0] != '.' {
			return v, !isLetter(s[0])
		}
		s = s[1:]
	}
}

// leadingNumber splits a number without leading zeros off the front of s.
func leadingNumber(s string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		d := uint64(s[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, s, false
		}
		n = n*10 + d
		i++
	}
	if i == 0 || (i > 1 && s[0] == '0') {
		return 0, s, false
	}
	return n, s[i:], true
}

// identifiers reports whether s is a dot-separated list of non-empty identifiers of letters, digits and hyphens; with
// strict, numeric ones may not begin with a zero.
func identifiers(s string, strict bool) bool {
	for {
		id, rest, more := strings.Cut(s, ".")
		if id == "" || (strict && len(id) > 1 && id[0] == '0' && isNumeric(id)) {
			return false
		}
		for i := range len(id) {
			if !isDigit(id[i]) && !isLetter(id[i]) && id[i] != '-' {
				return false
			}
		}
		if !more {
			return true
		}
		s = rest
	}
}

// Compare returns -1, 0 or +1 as v is below, equal to or above w in semver's precedence: a prerelease is below its
// release, numeric identifiers are below alphanumeric ones and compare by value. It does not allocate.
func (v Version) Compare(w Version) int {
	switch {
	case v.Major != w.Major:
		return order(v.Major < w.Major)
	case v.Minor != w.Minor:
		return order(v.Minor < w.Minor)
	case v.Patch != w.Patch:
		return order(v.Patch < w.Patch)
	}
	return comparePre(v.Pre, w.Pre)
}

// AtLeast reports whether v is major.minor.patch or above; a prerelease of exactly that version is below it.
func (v Version) AtLeast(major, minor, patch uint64) bool {
	return v.Compare(Version{Major: major, Minor: minor, Patch: patch}) >= 0
}

func comparePre(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	for {
		x, restA, moreA := strings.Cut(a, ".")
		y, restB, moreB := strings.Cut(b, ".")
		if c := compareIdentifier(x, y); c != 0 {
			return c
		}
		if moreA != moreB { // all equal so far: the longer list is the larger
			return order(moreB)
		}
		if !moreA {
			return 0
		}
		a, b = restA, restB
	}
}

func compareIdentifier(x, y string) int {
	if x == y {
		return 0
	}
	numX, numY := isNumeric(x), isNumeric(y)
	switch {
	case numX != numY:
		return order(numX)
	case numX && len(x) != len(y): // no leading zeros, so the longer is the larger, whatever its size
		return order(len(x) < len(y))
	}
	return order(x < y)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isNumeric(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}
