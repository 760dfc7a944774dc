package template

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// parameter is one of the template's parameters. Numbers are compared as CloudFormation compares them.
type parameter struct {
	Type           string
	Default        *scalar
	AllowedValues  []scalar
	AllowedPattern string
	MinValue       *float64
	MaxValue       *float64

	Description           any
	ConstraintDescription any
	NoEcho                any
}

// settle returns the values of the parameters: those given, or the defaults.
func settle(declared map[string]value, given map[string]string) (map[string]value, error) {
	for name := range given {
		if _, ok := declared[name]; !ok {
			return nil, fmt.Errorf("the template has no parameter %q", name)
		}
	}
	out := make(map[string]value, len(declared))
	for name, declaration := range declared {
		var p parameter
		if err := decode(declaration, &p); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		chosen, ok := given[name]
		if !ok {
			if p.Default == nil {
				return nil, fmt.Errorf("parameter %s has no default: give it a value", name)
			}
			chosen = string(*p.Default)
		}
		v, err := p.accept(chosen)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

// accept returns the value that text is, if the parameter allows it.
func (p parameter) accept(text string) (value, error) {
	if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, scalar(text)) {
		return nil, fmt.Errorf("%q is none of %v", text, p.AllowedValues)
	}
	if p.AllowedPattern != "" {
		whole, err := regexp.Compile(`^(?:` + p.AllowedPattern + `)$`)
		if err != nil {
			return nil, err
		}
		if !whole.MatchString(text) {
			return nil, fmt.Errorf("%q does not match %s", text, p.AllowedPattern)
		}
	}
	if p.Type != "Number" {
		return text, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no number", text)
	}
	if p.MinValue != nil && n < *p.MinValue || p.MaxValue != nil && n > *p.MaxValue {
		return nil, fmt.Errorf("%s is out of bounds", text)
	}
	return json.Number(text), nil
}
