// Package policy decides whether IAM would let a request through: the statements of a function's role in, yes or no
// out.
//
// The rules are those of IAM's policy evaluation for identity-based policies: what no statement allows is denied, and
// one matching Deny outweighs every Allow. A statement matches when its actions, its resources and all its conditions
// do. Only what Palier's template may use is known: a statement with a condition that is not understood never allows,
// and, if it is a Deny, always denies, so a gap in this package shows as a refusal, never as a hole.
//
// Source: "Policy evaluation logic", "IAM JSON policy elements: Condition operators" and "Set operators for multivalued
// context keys" in the AWS IAM User Guide.
package policy

import "strings"

// Effects of a Statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Statement is one statement of an identity-based policy. Conditions maps operator → context key → allowed values:
// all operators and keys must hold, for each of them one value is enough.
type Statement struct {
	Effect     string // Allow or Deny
	Actions    []string
	Resources  []string // ARN patterns
	Conditions map[string]map[string][]string
}

// Request is what a caller wants to do: one action on one resource, with the context keys the service would set
// (dynamodb:LeadingKeys and the like). A request on several resources is several Requests.
type Request struct {
	Action   string // as in IAM: "dynamodb:GetItem"
	Resource string // ARN
	Context  map[string][]string
}

// Allowed reports whether the statements together let the request through.
func Allowed(statements []Statement, r Request) bool {
	allowed := false
	for i := range statements {
		s := &statements[i]
		if !s.covers(r) {
			continue
		}
		holds, known := s.conditionsHold(r.Context)
		switch s.Effect {
		case Allow:
			allowed = allowed || (holds && known)
		default: // Deny, and any misspelling of it
			if holds || !known {
				return false
			}
		}
	}
	return allowed
}

// covers reports whether the request's action and resource are among the statement's.
func (s *Statement) covers(r Request) bool {
	return anyMatches(s.Actions, r.Action, matchAction) && anyMatches(s.Resources, r.Resource, matchARN)
}

func anyMatches(patterns []string, value string, match func(pattern, value string) bool) bool {
	for _, p := range patterns {
		if match(p, value) {
			return true
		}
	}
	return false
}

func matchAction(pattern, action string) bool {
	return like(strings.ToLower(pattern), strings.ToLower(action))
}

// arnParts is the number of colon-separated parts of an ARN; the last one may hold colons itself.
const arnParts = 6

// matchARN compares part by part, so that a star does not reach over a colon into the next part. A lone star is every
// resource.
func matchARN(pattern, arn string) bool {
	if pattern == "*" {
		return true
	}
	want, got := strings.SplitN(pattern, ":", arnParts), strings.SplitN(arn, ":", arnParts)
	if len(want) != arnParts || len(got) != arnParts {
		return pattern == arn
	}
	for i := range want {
		if !like(want[i], got[i]) {
			return false
		}
	}
	return true
}

// like reports whether text matches pattern, in which * stands for any run of characters and ? for one byte. It goes
// back only to the last star, so no pattern costs more than len(pattern)·len(text).
func like(pattern, text string) bool {
	p, t := 0, 0
	star, mark := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
