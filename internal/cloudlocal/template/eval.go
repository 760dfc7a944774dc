package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// noValue is what !Ref AWS::NoValue leaves: whatever holds it does without it.
type noValue struct{}

// scope is what intrinsic functions can see.
type scope struct {
	parameters map[string]value
	mappings   map[string]value
	conditions map[string]value
	resources  map[string]map[string]value
	pseudo     map[string]value
	names      names
	depth      int
}

// eval returns v with every intrinsic function in it carried out.
func (s *scope) eval(v value) (value, error) {
	if s.depth++; s.depth > maxDepth {
		return nil, fmt.Errorf("nested too deeply, or in a circle")
	}
	defer func() { s.depth-- }()
	switch v := v.(type) {
	case []value:
		return s.evalList(v)
	case map[string]value:
		if name, argument, ok := intrinsic(v); ok {
			result, err := s.call(name, argument)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return result, nil
		}
		return s.evalMap(v)
	}
	return v, nil
}

func (s *scope) evalList(list []value) ([]value, error) {
	out := make([]value, 0, len(list))
	for i, item := range list {
		v, err := s.eval(item)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		if v != (noValue{}) {
			out = append(out, v)
		}
	}
	return out, nil
}

func (s *scope) evalMap(m map[string]value) (map[string]value, error) {
	out := make(map[string]value, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v, err := s.eval(m[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if v != (noValue{}) {
			out[key] = v
		}
	}
	return out, nil
}

// intrinsic takes {"Fn::Name": argument} apart.
func intrinsic(m map[string]value) (name string, argument value, ok bool) {
	if len(m) != 1 {
		return "", nil, false
	}
	for name, argument = range m {
	}
	return name, argument, name == "Ref" || name == "Condition" || strings.HasPrefix(name, "Fn::")
}

func (s *scope) call(name string, argument value) (value, error) {
	switch name { // those whose arguments are names, or are not all to be looked at
	case "Ref":
		return s.ref(argument)
	case "Condition":
		return s.condition(argument)
	case "Fn::GetAtt":
		return s.getAtt(argument)
	case "Fn::If":
		return s.choose(argument)
	case "Fn::Sub":
		return s.sub(argument)
	}
	evaluated, err := s.eval(argument)
	if err != nil {
		return nil, err
	}
	list, ok := evaluated.([]value)
	if !ok {
		return nil, fmt.Errorf("wants a list, has %v", evaluated)
	}
	switch name {
	case "Fn::Equals":
		if len(list) != 2 {
			return nil, fmt.Errorf("wants two values, has %d", len(list))
		}
		return text(list[0]) == text(list[1]), nil
	case "Fn::Not", "Fn::And", "Fn::Or":
		return logic(name, list)
	case "Fn::Join":
		return join(list)
	case "Fn::Split":
		return split(list)
	case "Fn::Select":
		return pick(list)
	case "Fn::FindInMap":
		return s.find(list)
	}
	return nil, fmt.Errorf("is not known here")
}

// ref returns a parameter, a pseudo parameter, or what a resource goes by.
func (s *scope) ref(argument value) (value, error) {
	name, ok := argument.(string)
	if !ok {
		return nil, fmt.Errorf("wants a name, has %v", argument)
	}
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	if v, ok := s.pseudo[name]; ok {
		return v, nil
	}
	if v, ok := s.parameters[name]; ok {
		return v, nil
	}
	kind, err := s.kindOf(name)
	if err != nil {
		return nil, err
	}
	return s.names.ref(name, kind, s)
}

func (s *scope) getAtt(argument value) (value, error) {
	list, ok := argument.([]value)
	if !ok || len(list) != 2 {
		return nil, fmt.Errorf("wants a resource and an attribute, has %v", argument)
	}
	name := text(list[0])
	kind, err := s.kindOf(name)
	if err != nil {
		return nil, err
	}
	return s.names.attribute(name, kind, text(list[1]), s)
}

// kindOf returns the type of a resource, or of the parameter or pseudo parameter that is missing.
func (s *scope) kindOf(name string) (string, error) {
	resource, ok := s.resources[name]
	if !ok {
		return "", fmt.Errorf("there is no resource or parameter %q", name)
	}
	return text(resource["Type"]), nil
}

func (s *scope) condition(argument value) (value, error) {
	name := text(argument)
	c, ok := s.conditions[name]
	if !ok {
		return nil, fmt.Errorf("there is no condition %q", name)
	}
	v, err := s.eval(c)
	if err != nil {
		return nil, fmt.Errorf("condition %s: %w", name, err)
	}
	holds, ok := v.(bool)
	if !ok {
		return nil, fmt.Errorf("condition %s is neither true nor false", name)
	}
	return holds, nil
}

func (s *scope) choose(argument value) (value, error) {
	list, ok := argument.([]value)
	if !ok || len(list) != 3 {
		return nil, fmt.Errorf("wants a condition and two values")
	}
	holds, err := s.condition(list[0])
	if err != nil {
		return nil, err
	}
	if holds == true {
		return s.eval(list[1])
	}
	return s.eval(list[2])
}

// placeholder is ${Name}, ${Resource.Attribute} or ${!Literal}.
var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

func (s *scope) sub(argument value) (value, error) {
	pattern, given, err := s.subArguments(argument)
	if err != nil {
		return nil, err
	}
	var failed error
	out := placeholder.ReplaceAllStringFunc(pattern, func(hole string) string {
		v, err := s.fill(strings.TrimSpace(hole[2:len(hole)-1]), given)
		if err != nil && failed == nil {
			failed = err
		}
		return text(v)
	})
	return out, failed
}

func (s *scope) subArguments(argument value) (pattern string, given map[string]value, err error) {
	if list, ok := argument.([]value); ok && len(list) == 2 {
		m, ok := list[1].(map[string]value)
		if !ok {
			return "", nil, fmt.Errorf("wants a mapping of its own names, has %v", list[1])
		}
		if given, err = s.evalMap(m); err != nil {
			return "", nil, err
		}
		argument = list[0]
	}
	pattern, ok := argument.(string)
	if !ok {
		return "", nil, fmt.Errorf("wants text, has %v", argument)
	}
	return pattern, given, nil
}

func (s *scope) fill(name string, given map[string]value) (value, error) {
	if literal, ok := strings.CutPrefix(name, "!"); ok {
		return "${" + literal + "}", nil
	}
	if v, ok := given[name]; ok {
		return v, nil
	}
	if resource, attribute, ok := strings.Cut(name, "."); ok {
		return s.getAtt([]value{resource, attribute})
	}
	return s.ref(name)
}

func (s *scope) find(list []value) (value, error) {
	v := value(s.mappings)
	for _, key := range list {
		m, _ := v.(map[string]value)
		next, ok := m[text(key)]
		if !ok {
			return nil, fmt.Errorf("there is no %v in the mappings", list)
		}
		v = next
	}
	return v, nil
}

func logic(name string, list []value) (value, error) {
	holding := 0
	for _, v := range list {
		b, ok := v.(bool)
		if !ok {
			return nil, fmt.Errorf("wants conditions, has %v", v)
		}
		if b {
			holding++
		}
	}
	switch {
	case name == "Fn::And":
		return holding == len(list), nil
	case name == "Fn::Or":
		return holding > 0, nil
	case len(list) == 1:
		return holding == 0, nil
	}
	return nil, fmt.Errorf("wants one condition, has %d", len(list))
}

func join(list []value) (value, error) {
	if len(list) != 2 {
		return nil, fmt.Errorf("wants a separator and a list")
	}
	items, ok := list[1].([]value)
	if !ok {
		return nil, fmt.Errorf("wants a list to join, has %v", list[1])
	}
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = text(item)
	}
	return strings.Join(texts, text(list[0])), nil
}

func split(list []value) (value, error) {
	if len(list) != 2 || text(list[0]) == "" {
		return nil, fmt.Errorf("wants a separator and a text")
	}
	var out []value
	for part := range strings.SplitSeq(text(list[1]), text(list[0])) {
		out = append(out, part)
	}
	return out, nil
}

func pick(list []value) (value, error) {
	if len(list) != 2 {
		return nil, fmt.Errorf("wants an index and a list")
	}
	items, ok := list[1].([]value)
	i, err := strconv.Atoi(text(list[0]))
	if !ok || err != nil || i < 0 || i >= len(items) {
		return nil, fmt.Errorf("there is no item %v in %v", list[0], list[1])
	}
	return items[i], nil
}

// text is what CloudFormation makes of a scalar where text is wanted.
func text(v value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return fmt.Sprint(v)
}
