package admin_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type openapi struct {
	OpenAPI string `json:"openapi"`
	Info    struct{ Title, Description, Version string }
	Tags    []struct{ Name, Description string }
	Paths   map[string]map[string]struct {
		OperationID string   `json:"operationId"`
		Summary     string   `json:"summary"`
		Tags        []string `json:"tags"`
		Security    []map[string][]string
		Parameters  []struct{ Name, In, Description string }
		RequestBody *struct {
			Content map[string]struct {
				Schema  map[string]any
				Example any
			}
		} `json:"requestBody"`
		Responses map[string]struct {
			Description string
			Content     map[string]struct{ Schema map[string]any }
		}
	}
	Components struct {
		Schemas         map[string]any
		SecuritySchemes map[string]any `json:"securitySchemes"`
	}
}

func description(t *testing.T) (openapi, string) {
	t.Helper()
	s := newServer(t)
	text := s.do(request{method: "GET", path: "/api/v1/openapi.json", noToken: true}).body
	var api openapi
	if err := json.Unmarshal([]byte(text), &api); err != nil {
		t.Fatal(err)
	}
	return api, text
}

func TestDescriptionNamesEveryCall(t *testing.T) {
	api, _ := description(t)
	const app = "/api/v1/apps/{app}"
	want := map[string]string{
		"/api/v1/apps": "get", app: "put get delete",
		app + "/rollouts": "post get", app + "/rollouts/{id}": "get", app + "/rollouts/{id}/metrics": "get", app + "/rollouts/{id}/verdicts": "get",
		app + "/explain": "get", app + "/events": "get", app + "/audience": "get", app + "/forecast": "post",
		app + "/devices/{name}/failed/{version}": "delete",
		"/api/v1/tokens":                         "post get", "/api/v1/tokens/{name}": "delete",
		"/api/v1/keys": "get", "/api/v1/keys/next": "post", "/api/v1/keys/activate": "post",
		"/api/v1/whoami": "get", "/api/v1/openapi.json": "get",
	}
	for _, list := range []string{"bundles", "channels", "segments", "devices", "plans"} {
		want[app+"/"+list], want[app+"/"+list+"/{name}"] = "get", "put get delete"
	}
	for _, verb := range []string{"pause", "resume", "promote", "halt", "rollback", "approve"} {
		want[app+"/rollouts/{id}/"+verb] = "post"
	}
	for path, methods := range want {
		for method := range strings.FieldsSeq(methods) {
			if _, ok := api.Paths[path][method]; !ok {
				t.Errorf("%s %s is not described", method, path)
			}
		}
		if len(api.Paths[path]) != len(strings.Fields(methods)) {
			t.Errorf("%s has %d methods, want %s", path, len(api.Paths[path]), methods)
		}
	}
	for path := range api.Paths {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is described and not wanted", path)
		}
	}
}

func TestDescriptionIsComplete(t *testing.T) {
	api, text := description(t)
	if api.OpenAPI != "3.1.0" || api.Info.Title == "" || api.Info.Description == "" || api.Components.SecuritySchemes["token"] == nil {
		t.Errorf("head: %+v", api.Info)
	}
	var tags, ids []string
	for _, tag := range api.Tags {
		tags = append(tags, tag.Name)
	}
	for path, methods := range api.Paths {
		for method, op := range methods {
			at := method + " " + path
			if op.Summary == "" || len(op.Tags) != 1 || !slices.Contains(tags, op.Tags[0]) {
				t.Errorf("%s: summary %q, tags %v", at, op.Summary, op.Tags)
			}
			if slices.Contains(ids, op.OperationID) {
				t.Errorf("%s: operation id %q is used twice", at, op.OperationID)
			}
			ids = append(ids, op.OperationID)
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In, Description string }) bool {
					return p.Name == name[1] && p.In == "path" && p.Description != ""
				}) {
					t.Errorf("%s: parameter %s is not described", at, name[1])
				}
			}
			if open := path == "/api/v1/openapi.json"; open != (len(op.Security) == 0) {
				t.Errorf("%s: security %v", at, op.Security)
			} else if !open && (op.Responses["401"].Content == nil || op.Responses["403"].Content == nil) {
				t.Errorf("%s: refusals are not described", at)
			}
			for status, response := range op.Responses {
				for media, content := range response.Content {
					if status >= "400" && (media != "application/json" || content.Schema["$ref"] != "#/components/schemas/Error") {
						t.Errorf("%s: %s is described as %s %v", at, status, media, content.Schema)
					}
				}
			}
			if method == "put" || method == "post" {
				if op.RequestBody == nil || len(op.RequestBody.Content) != 2 || op.RequestBody.Content["application/json"].Example == nil || op.RequestBody.Content["application/yaml"].Schema == nil {
					t.Errorf("%s: body %+v", at, op.RequestBody)
				}
			}
		}
	}
	for _, ref := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(text, -1) {
		if api.Components.Schemas[ref[1]] == nil {
			t.Errorf("the schema %s is referred to and not there", ref[1])
		}
	}
	for name := range api.Components.Schemas {
		if !strings.Contains(text, `"#/components/schemas/`+name+`"`) {
			t.Errorf("nothing refers to the schema %s", name)
		}
	}
	for _, word := range []string{"salt", "Salt"} {
		if strings.Contains(text, `"`+word+`"`) {
			t.Errorf("the description speaks of %s", word)
		}
	}
}
