package admin

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// AppPath names the app of a call.
type AppPath struct {
	App string `path:"app" maxLength:"128" example:"com.example.shop" doc:"The app's id"`
}

type applyInput struct {
	AppPath
	Prune   bool `query:"prune" doc:"Remove what the document leaves out"`
	DryRun  bool `query:"dry_run" doc:"Only say what would change"`
	RawBody []byte
}

func (s *Service) routeApps(r router) {
	register(r, call{
		method: http.MethodGet, path: "/apps", id: "list-apps", summary: "List apps", tag: "apps", role: Viewer,
	}, s.listApps)
	register(r, call{
		method: http.MethodPut, path: "/apps/{app}", id: "apply-app", summary: "Apply an app's document", tag: "apps", role: Operator, dryRun: true,
		body: reflect.TypeFor[Document](), bodyLimit: maxDocument, example: exampleDocument(), errors: []int{400, 409, 413, 415},
	}, func(ctx context.Context, in *applyInput) (*object[ApplyResult], error) {
		tree, err := parseObject(contentType(ctx), in.RawBody)
		if err != nil {
			return nil, err
		}
		result, err := s.apply(ctx, in.App, tree, applyOptions{prune: in.Prune, dryRun: in.DryRun, create: true})
		return answerWith(result), err
	})
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}", id: "export-app", summary: "Export an app's document", tag: "apps", role: Viewer, errors: []int{404},
	}, func(ctx context.Context, in *AppPath) (*object[Document], error) {
		state, err := s.load(ctx, in.App)
		if err != nil {
			return nil, err
		}
		return answerWith(export(state)), nil
	})
	register(r, call{
		method: http.MethodDelete, path: "/apps/{app}", id: "delete-app", summary: "Delete an app and all that belongs to it", tag: "apps", role: Admin,
		success: http.StatusNoContent, errors: []int{404, 409},
	}, s.deleteApp)
}

func (s *Service) listApps(ctx context.Context, _ *struct{}) (*object[Items[AppSummary]], error) {
	ids, err := s.apps.List(ctx)
	if err != nil {
		return nil, err
	}
	list := Items[AppSummary]{Items: []AppSummary{}}
	for _, id := range ids {
		if !caller(ctx).Sees(id) {
			continue
		}
		state, err := s.apps.Load(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted since it was listed
		}
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, AppSummary{
			App: id, Name: state.App.Name, Revision: state.Revision,
			Bundles: len(state.Bundles), Channels: len(state.Channels), Live: len(live(state)),
		})
	}
	return answerWith(list), nil
}

func (s *Service) deleteApp(ctx context.Context, in *AppPath) (*struct{}, error) {
	state, err := s.load(ctx, in.App)
	if err != nil {
		return nil, err
	}
	event := rollout.Event{Time: s.now().UTC(), Actor: caller(ctx).Name, Verb: "delete", Subject: "app " + in.App}
	if ended := live(state); len(ended) > 0 {
		ids := make([]string, len(ended))
		for i, r := range ended {
			ids[i] = r.ID
		}
		event.Detail = map[string]any{"rollouts": ids} // they end with the app
	}
	return nil, s.apps.Delete(ctx, state, []rollout.Event{event})
}

// exampleDocument is what the API's description shows of a document.
func exampleDocument() map[string]any {
	return map[string]any{
		"app":  "com.example.shop",
		"name": "Shop",
		"bundles": []map[string]any{
			{"version": "1.3.0", "url": "https://cdn.example.com/shop/1.3.0.zip"},
			{"version": "1.4.0", "url": "https://cdn.example.com/shop/1.4.0.zip", "comment": "Faster checkout"},
		},
		"channels": []map[string]any{{"name": "production", "bundle": "1.3.0", "public": true}},
		"segments": []map[string]any{{"name": "internal", "device_ids": []string{"00009a6b-eefe-490a-9c60-8e965132ae51"}}},
	}
}
