package policy

import "strings"

// Prefixes that say how a condition treats a context key with several values.
const (
	forAllValues = "ForAllValues:"
	forAnyValue  = "ForAnyValue:"
)

// conditionsHold reports whether all of the statement's conditions hold, and whether all of them were understood.
func (s *Statement) conditionsHold(context map[string][]string) (holds, known bool) {
	holds, known = true, true
	for operator, keys := range s.Conditions {
		set, compare := operatorOf(operator)
		if compare == nil {
			return false, false
		}
		for key, wanted := range keys {
			if !set(lookup(context, key), wanted, compare) {
				holds = false
			}
		}
	}
	return holds, known
}

// lookup finds a context key; IAM compares their names without regard to case.
func lookup(context map[string][]string, key string) []string {
	for name, values := range context {
		if strings.EqualFold(name, key) {
			return values
		}
	}
	return nil
}

// quantifier says how a request's values and a condition's wanted ones must relate.
type quantifier func(values, wanted []string, compare func(pattern, value string) bool) bool

// operatorOf splits "ForAllValues:StringLike" into its parts; compare is nil for an operator that is not known.
func operatorOf(name string) (set quantifier, compare func(pattern, value string) bool) {
	set = single
	if rest, ok := strings.CutPrefix(name, forAllValues); ok {
		set, name = every, rest
	} else if rest, ok := strings.CutPrefix(name, forAnyValue); ok {
		set, name = some, rest
	}
	switch name {
	case "StringEquals":
		compare = func(pattern, value string) bool { return pattern == value }
	case "StringEqualsIgnoreCase", "Bool":
		compare = strings.EqualFold
	case "StringLike":
		compare = like
	case "ArnEquals", "ArnLike": // the same since 2013, says the guide
		compare = matchARN
	}
	return set, compare
}

// single is the rule without a set operator: the key must be there, with one value.
func single(values, wanted []string, compare func(pattern, value string) bool) bool {
	return len(values) == 1 && anyMatches(wanted, values[0], compare)
}

// every holds for no values at all: a request that does not carry the key passes.
func every(values, wanted []string, compare func(pattern, value string) bool) bool {
	for _, v := range values {
		if !anyMatches(wanted, v, compare) {
			return false
		}
	}
	return true
}

// some fails for no values at all.
func some(values, wanted []string, compare func(pattern, value string) bool) bool {
	for _, v := range values {
		if anyMatches(wanted, v, compare) {
			return true
		}
	}
	return false
}
