package admin

import "github.com/danielgtaylor/huma/v2"

// marginForm describes a rollout.Margin to the API's readers: a ratio, or auto.
type marginForm float64

// Schema implements huma.SchemaProvider.
func (marginForm) Schema(huma.Registry) *huma.Schema {
	least := 1.0
	return &huma.Schema{
		Description: "Ratio of candidate to control that a certificate must exclude, above 1; or auto, which leaves it to the judge at the start",
		OneOf: []*huma.Schema{
			{Type: huma.TypeNumber, ExclusiveMinimum: &least},
			{Type: huma.TypeString, Enum: []any{"auto"}},
		},
	}
}
