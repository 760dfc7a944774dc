package admin

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// readBody reads a body into a T, refusing fields that T does not have.
func readBody[T any](contentType string, body []byte) (T, error) {
	var out T
	tree, err := parseObject(contentType, body)
	if err != nil {
		return out, err
	}
	s := shape{}
	s.check("", tree, reflect.TypeFor[T]())
	if err := s.err("the request"); err != nil {
		return out, err
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, malformed(err)
	}
	return out, nil
}

// ReadPlan reads a plan as JSON. It refuses, with an *Error, what a start would refuse of its shape: unknown fields, and numbers
// where text belongs.
func ReadPlan(text []byte) (rollout.Plan, error) {
	return readBody[rollout.Plan]("application/json", text)
}

// PlanRef is a plan given by its name or as a whole.
type PlanRef struct {
	rollout.Plan
	Inline bool `json:"-"` // given as a whole
}

// UnmarshalJSON reads a name or a plan.
func (p *PlanRef) UnmarshalJSON(raw []byte) error {
	*p = PlanRef{}
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &p.Name)
	}
	p.Inline = true
	return json.Unmarshal(raw, &p.Plan)
}

// MarshalJSON writes the form that was read.
func (p PlanRef) MarshalJSON() ([]byte, error) {
	if p.Inline {
		return json.Marshal(p.Plan)
	}
	return json.Marshal(p.Name)
}

// formOf tells the two forms apart for shape.
func (PlanRef) formOf(v any) reflect.Type {
	if _, inline := v.(map[string]any); inline {
		return reflect.TypeFor[rollout.Plan]()
	}
	return reflect.TypeFor[string]()
}

// Schema describes the two forms.
func (PlanRef) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString, Examples: []any{rollout.DefaultPlan}},
		r.Schema(reflect.TypeFor[rollout.Plan](), true, "Plan"),
	}}
}
