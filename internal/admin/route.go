package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/palier-ota/palier/internal/rollout"
)

// Largest bodies, in bytes.
const (
	maxDocument = 2 << 20 // an app's document, or one of its resources
	maxRequest  = 64 << 10
)

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 15 * time.Second

const prefix = "/api/v1"

// call describes one call of the API.
type call struct {
	method, path string // path below /api/v1
	id           string
	summary      string
	tag          string
	role         Role
	dryRun       bool         // with dry_run=true it writes nothing, and the role Viewer is enough
	body         reflect.Type // of the request; nil when there is none
	bodyOptional bool
	bodyLimit    int64
	example      any
	success      int // status; 200 if 0
	errors       []int
}

// router registers calls with huma, each behind its guard.
type router struct {
	service *Service
	api     huma.API
}

// register adds a call. Errors that h returns are put in this API's words.
func register[I, O any](r router, c call, h func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		Method: c.method, Path: prefix + c.path, OperationID: c.id, Summary: c.summary, Tags: []string{c.tag},
		Description:   c.needs(),
		DefaultStatus: c.success,
		Security:      []map[string][]string{{"token": {}}},
		Middlewares:   huma.Middlewares{r.service.guard(c)},
		Responses:     r.errorResponses(append(c.errors, 401, 403, 429, 500, 503)),
	}
	if c.body != nil {
		op.MaxBodyBytes = c.bodyLimit
		op.BodyReadTimeout = bodyTimeout
		op.SkipValidateBody = true // the calls check shapes themselves, with paths and suggestions
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	}
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, r.service.answer(ctx, c.id, err)
		}
		return out, nil
	})
	if c.body != nil {
		r.describeBody(op.RequestBody, c)
	}
}

// needs says in a sentence which role the call needs.
func (c call) needs() string {
	if c.dryRun {
		return fmt.Sprintf("Needs the role %s; a dry run, %s.", c.role, Viewer)
	}
	return fmt.Sprintf("Needs the role %s.", c.role)
}

// describeBody documents a body that the call reads itself.
func (r router) describeBody(body *huma.RequestBody, c call) {
	media := &huma.MediaType{Schema: r.api.OpenAPI().Components.Schemas.Schema(c.body, true, c.id), Example: c.example}
	body.Required = !c.bodyOptional
	body.Content = map[string]*huma.MediaType{"application/json": media, "application/yaml": media}
}

func (r router) errorResponses(statuses []int) map[string]*huma.Response {
	schema := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Error](), true, "Error")
	responses := map[string]*huma.Response{}
	for _, status := range statuses {
		responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
		}
	}
	return responses
}

// route builds the handler and the API's description of itself.
func (s *Service) route(version string) error {
	mux := http.NewServeMux()
	r := router{service: s, api: humago.New(mux, describe(version))}
	s.routeApps(r)
	s.routeResources(r)
	s.routeRollouts(r)
	s.routeInsight(r)
	s.routeVerdicts(r)
	s.routeForecast(r)
	s.routeTokens(r)
	s.routeKeys(r)
	r.routeSelf()
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} { // huma's own, which never leave this API
		delete(r.api.OpenAPI().Components.Schemas.Map(), unused)
	}
	var err error
	if s.spec, err = json.Marshal(r.api.OpenAPI()); err != nil {
		return fmt.Errorf("describing the API: %w", err)
	}
	outside := s.outside(mux)
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat)) // the clock that all times in the answer are of
		outside.ServeHTTP(w, r)
	})
	return nil
}

// describe returns the head of the API's description.
func describe(version string) huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[rollout.Percent](), reflect.TypeFor[float64]())
	schemas.RegisterTypeAlias(reflect.TypeFor[rollout.Duration](), reflect.TypeFor[string]())
	schemas.RegisterTypeAlias(reflect.TypeFor[rollout.Margin](), reflect.TypeFor[marginForm]())
	schemas.RegisterTypeAlias(reflect.TypeFor[json.RawMessage](), reflect.TypeFor[any]())
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Palier operator API",
				Version: version,
				Description: "Apply an app's desired state, start and operate rollouts, and see why a device gets what it gets. " +
					"Durations are text such as \"24h\" or \"3d\"; percentages are numbers from 0 to 100 with at most seven decimals. " +
					"Every error is {error, message, details?} with a stable code.",
			},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", Description: "An access token, made with `palier token create` or POST /api/v1/tokens"},
				},
			},
			Tags: []*huma.Tag{
				{Name: "apps", Description: "An app's whole desired state as one document"},
				{Name: "resources", Description: "Bundles, channels, segments, devices and plans, one by one"},
				{Name: "rollouts", Description: "Start and operate rollouts"},
				{Name: "insight", Description: "What happened, what is measured, and why"},
				{Name: "edges", Description: "What edges are to trust"},
				{Name: "access", Description: "Tokens, and this description"},
			},
		},
		Formats:       formats(),
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{translate},
	}
	config.FieldsOptionalByDefault = true
	config.RejectUnknownQueryParameters = true // a misspelt dry_run must not become a change
	return config
}

// routeSelf serves the API's description, which needs no token: it holds no secret.
func (r router) routeSelf() {
	type output struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	huma.Register(r.api, huma.Operation{
		Method: http.MethodGet, Path: prefix + "/openapi.json", OperationID: "get-openapi", Tags: []string{"access"},
		Summary: "This description", Description: "Needs no token.",
		Responses: map[string]*huma.Response{
			"200": {Description: "OpenAPI 3.1", Content: map[string]*huma.MediaType{"application/openapi+json": {Schema: &huma.Schema{Type: "object"}}}},
			"500": r.errorResponses([]int{http.StatusInternalServerError})["500"],
		},
	}, func(context.Context, *struct{}) (*output, error) {
		return &output{ContentType: "application/openapi+json", Body: r.service.spec}, nil
	})
}

// object is a body that answers with v.
type object[T any] struct {
	Body T
}

func answerWith[T any](v T) *object[T] { return &object[T]{Body: v} }

// Items is a list that is the whole answer; Next is the parameter that continues it.
type Items[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Pass as before to read on; absent at the end"`
}
