package rollout

import (
	"strconv"
	"strings"
)

// semver is a parsed Semantic Version 2.0.0 (semver.org) without its build metadata, which orders nothing.
type semver struct {
	major, minor, patch uint64
	pre                 string
}

// parseSemver reads s by the strict grammar: three numbers without leading zeros, then an optional pre-release and
// optional build metadata. Numbers beyond 64 bits are refused.
func parseSemver(s string) (semver, bool) {
	s, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !validIdentifiers(build, false) {
		return semver{}, false
	}
	core, pre, hasPre := strings.Cut(s, "-")
	if hasPre && !validIdentifiers(pre, true) {
		return semver{}, false
	}
	numbers, count, ok := parseNumbers(core)
	if !ok || count != 3 {
		return semver{}, false
	}
	return semver{major: numbers[0], minor: numbers[1], patch: numbers[2], pre: pre}, true
}

// parseNumbers reads one to three dotted numbers without leading zeros.
func parseNumbers(s string) (numbers [3]uint64, count int, ok bool) {
	for rest, more := s, true; more; count++ {
		var part string
		part, rest, more = strings.Cut(rest, ".")
		if count == len(numbers) || !isNumber(part) || len(part) > 1 && part[0] == '0' {
			return numbers, count, false
		}
		n, fits := number(part)
		if !fits {
			return numbers, count, false
		}
		numbers[count] = n
	}
	return numbers, count, true
}

// number reads decimal digits, and reports false for more than 64 bits.
func number(digits string) (n uint64, fits bool) {
	for i := range len(digits) {
		d := uint64(digits[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// validIdentifiers checks the dotted identifiers of a pre-release (where numeric ones have no leading zeros) or of
// build metadata (where they may).
func validIdentifiers(s string, isPre bool) bool {
	for rest, more := s, true; more; {
		var id string
		id, rest, more = strings.Cut(rest, ".")
		if id == "" || isPre && len(id) > 1 && id[0] == '0' && isNumber(id) {
			return false
		}
		for i := range len(id) {
			if c := id[i]; !isAlphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// comparePre orders two pre-releases by semver.org item 11: none is above any, numbers are below words, numbers compare
// as numbers, words by bytes, and of two that agree the longer is above. It does not allocate.
func comparePre(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	for moreA, moreB := true, true; ; {
		var idA, idB string
		idA, a, moreA = strings.Cut(a, ".")
		idB, b, moreB = strings.Cut(b, ".")
		if c := compareIdentifiers(idA, idB); c != 0 {
			return c
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
	}
}

func compareIdentifiers(a, b string) int {
	numberA, numberB := isNumber(a), isNumber(b)
	switch {
	case numberA && !numberB:
		return -1
	case !numberA && numberB:
		return 1
	case numberA && len(a) != len(b): // no leading zeros, so the longer number is the larger
		if len(a) < len(b) {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// Op is how a Constraint compares.
type Op uint8

// The operators, as they are written: =, !=, <, <=, >, >=.
const (
	OpEqual Op = iota
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
)

// Constraint is one comparison of a version condition. It compares only the parts that were written: "<=17" holds for
// 17.5.1 and "=17" for every 17; with all three parts the whole version counts, pre-release included.
type Constraint struct {
	Op                  Op
	Parts               int // how many of Major, Minor and Patch were written, 1 to 3; the others are 0
	Major, Minor, Patch uint64
	Pre                 string // only with three parts
}

// Match reports whether the version major.minor.patch-pre satisfies c. A version with fewer parts passes zeros for those
// it lacks, and "" for no pre-release. It does not allocate.
func (c Constraint) Match(major, minor, patch uint64, pre string) bool {
	order := c.compare(major, minor, patch, pre)
	switch c.Op {
	case OpEqual:
		return order == 0
	case OpNotEqual:
		return order != 0
	case OpLess:
		return order < 0
	case OpLessEqual:
		return order <= 0
	case OpGreater:
		return order > 0
	case OpGreaterEqual:
		return order >= 0
	}
	return false
}

// compare orders the version against c's, over the parts that c has.
func (c Constraint) compare(major, minor, patch uint64, pre string) int {
	given, want := [3]uint64{major, minor, patch}, [3]uint64{c.Major, c.Minor, c.Patch}
	for i := range min(c.Parts, 3) {
		if given[i] < want[i] {
			return -1
		}
		if given[i] > want[i] {
			return 1
		}
	}
	if c.Parts < 3 {
		return 0
	}
	return comparePre(pre, c.Pre)
}

// Constraints reads a version condition: comparisons separated by commas, all of which must hold, such as
// ">=8.0.0,<9". A comparison without an operator means "=". An empty s is no condition: nil and true. It reports false for what
// is none.
func Constraints(s string) ([]Constraint, bool) {
	list, _, ok := readConstraints(s)
	return list, ok
}

// readConstraints is Constraints, and returns the comparison that is none: "" if there are too many.
func readConstraints(s string) (list []Constraint, bad string, ok bool) {
	if trim(s) == "" {
		return nil, "", true
	}
	for more := true; more; {
		var text string
		text, s, more = strings.Cut(s, ",")
		c, ok := parseComparison(trim(text))
		if !ok {
			return nil, text, false
		}
		if list = append(list, c); len(list) > maxComparisons {
			return nil, "", false
		}
	}
	return list, "", true
}

// ParseConstraint is Constraints that says what is wrong: its error is an Error with code invalid_constraint.
func ParseConstraint(s string) ([]Constraint, error) {
	list, bad, ok := readConstraints(s)
	switch {
	case ok:
		return list, nil
	case bad == "" && strings.Count(s, ",") >= maxComparisons:
		return nil, Error{Code: CodeInvalidConstraint, Message: "has more than " + strconv.Itoa(maxComparisons) + " comparisons; use fewer"}
	}
	return nil, Error{
		Code:    CodeInvalidConstraint,
		Message: strconv.Quote(clip(bad)) + ` is not a version comparison; write one to three numbers after =, !=, <, <=, > or >=, such as ">=8.0.0,<9"`,
	}
}

// trim takes the ASCII white space off both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || '\t' <= s[0] && s[0] <= '\r') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || '\t' <= s[len(s)-1] && s[len(s)-1] <= '\r') {
		s = s[:len(s)-1]
	}
	return s
}

func parseComparison(s string) (Constraint, bool) {
	op, rest := cutOp(s)
	core, pre, hasPre := strings.Cut(trim(rest), "-")
	numbers, count, ok := parseNumbers(core)
	if !ok || hasPre && (count != 3 || !validIdentifiers(pre, true)) {
		return Constraint{}, false
	}
	return Constraint{Op: op, Parts: count, Major: numbers[0], Minor: numbers[1], Patch: numbers[2], Pre: pre}, true
}

func cutOp(s string) (Op, string) {
	// The two-character operators come first: each begins with a one-character one.
	for _, known := range [...]struct {
		text string
		op   Op
	}{{">=", OpGreaterEqual}, {"<=", OpLessEqual}, {"!=", OpNotEqual}, {"==", OpEqual}, {">", OpGreater}, {"<", OpLess}, {"=", OpEqual}} {
		if rest, ok := strings.CutPrefix(s, known.text); ok {
			return known.op, rest
		}
	}
	return OpEqual, s
}
