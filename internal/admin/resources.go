package admin

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// NamePath names one resource of an app.
type NamePath struct {
	AppPath
	Name string `path:"name" maxLength:"128" example:"production" doc:"The resource's name, version or id"`
}

type putInput struct {
	NamePath
	DryRun  bool `query:"dry_run" doc:"Only say what would change"`
	RawBody []byte
}

type deleteInput struct {
	NamePath
	DryRun bool `query:"dry_run" doc:"Only say what would change"`
}

// resource is how one kind of a document's entries is read: T is what operators write, V what they are shown.
type resource[T, V any] struct {
	part    part[T]
	list    func(rollout.State) []V
	get     func(context.Context, rollout.State, string) (v V, exists bool, err error)
	example map[string]any
}

// asWritten is a resource that is shown as it is kept.
func asWritten[T any](p part[T], of func(rollout.State) map[string]T, example map[string]any) resource[T, T] {
	return resource[T, T]{
		part: p, example: example,
		list: func(s rollout.State) []T { return listed(of(s)) },
		get: func(_ context.Context, s rollout.State, name string) (T, bool, error) {
			v, exists := of(s)[name]
			return v, exists, nil
		},
	}
}

func (s *Service) routeResources(r router) {
	routeResource(r, asWritten(bundlePart(), func(s rollout.State) map[string]rollout.Bundle { return s.Bundles },
		map[string]any{"url": "https://cdn.example.com/shop/1.4.0.zip", "comment": "Faster checkout"}))
	routeResource(r, asWritten(channelPart(), func(s rollout.State) map[string]rollout.Channel { return s.Channels },
		map[string]any{"bundle": "1.3.0", "public": true}))
	routeResource(r, asWritten(segmentPart(), func(s rollout.State) map[string]rollout.Segment { return s.Segments },
		map[string]any{"when": map[string]any{"platform": []string{"ios"}, "version_os": ">=17"}}))
	routeResource(r, resource[rollout.Plan, PlanView]{
		part: planPart(), list: listPlans, get: getPlan,
		example: map[string]any{"phases": []map[string]any{{"percent": 10, "hold": map[string]string{"min": "24h"}}, {"percent": 100}}},
	})
	routeResource(r, resource[rollout.Device, DeviceView]{
		part: devicePart(), list: listDevices, get: s.getDevice,
		example: map[string]any{"channel": "beta"},
	})
	register(r, call{
		method: http.MethodDelete, path: "/apps/{app}/devices/{name}/failed/{version}", id: "clear-failed-bundle",
		summary: "Offer a bundle that failed on a device to it again", tag: "resources", role: Operator,
		success: http.StatusNoContent, errors: []int{404, 409},
	}, s.clearFailed)
}

// routeResource adds the calls of one kind of resource.
func routeResource[T, V any](r router, res resource[T, V]) {
	routeReads(r, res)
	routeWrites(r, res)
}

func routeReads[T, V any](r router, res resource[T, V]) {
	s, p := r.service, res.part
	register(r, call{
		method: http.MethodGet, path: p.address(), id: "list-" + p.list, summary: "List " + p.list, tag: "resources", role: Viewer, errors: []int{404},
	}, func(ctx context.Context, in *AppPath) (*object[Items[V]], error) {
		state, err := s.load(ctx, in.App)
		if err != nil {
			return nil, err
		}
		return answerWith(Items[V]{Items: res.list(state)}), nil
	})
	register(r, call{
		method: http.MethodGet, path: p.address() + "/{name}", id: "get-" + p.kind, summary: "Show one " + p.kind, tag: "resources", role: Viewer, errors: []int{404},
	}, func(ctx context.Context, in *NamePath) (*object[V], error) {
		state, err := s.load(ctx, in.App)
		if err != nil {
			return nil, err
		}
		v, exists, err := res.get(ctx, state, p.fold(in.Name))
		if err == nil && !exists {
			err = notFound(p.kind, in.Name)
		}
		return answerWith(v), err
	})
}

// routeWrites adds the changes of a resource. Putting one is the same as applying a document that has only this.
func routeWrites[T, V any](r router, res resource[T, V]) {
	s, p := r.service, res.part
	register(r, call{
		method: http.MethodPut, path: p.address() + "/{name}", id: "put-" + p.kind, summary: "Create or change one " + p.kind, tag: "resources", role: Operator, dryRun: true,
		body: reflect.TypeFor[T](), bodyLimit: maxDocument, example: res.example, errors: []int{400, 404, 409, 413, 415},
	}, func(ctx context.Context, in *putInput) (*object[ApplyResult], error) {
		fields, err := parseObject(contentType(ctx), in.RawBody)
		if err != nil {
			return nil, err
		}
		if err := p.read(fields, in.Name); err != nil {
			return nil, err
		}
		result, err := s.apply(ctx, in.App, map[string]any{p.list: []any{fields}}, applyOptions{dryRun: in.DryRun})
		return answerWith(result), err
	})
	register(r, call{
		method: http.MethodDelete, path: p.address() + "/{name}", id: "delete-" + p.kind, summary: "Remove one " + p.kind, tag: "resources", role: Operator, dryRun: true,
		errors: []int{404, 409},
	}, func(ctx context.Context, in *deleteInput) (*object[ApplyResult], error) {
		result, err := s.removeOne(ctx, in, p.kind, p.fold(in.Name))
		return answerWith(result), err
	})
}

// address returns where the part's entries are, below /api/v1.
func (p part[T]) address() string { return "/apps/{app}/" + p.list }

// read checks the fields of one entry and gives them the name that the address says. The body may repeat it, but not say
// another.
func (p part[T]) read(fields map[string]any, name string) error {
	s := shape{readOnly: readOnlyFields()}
	given := fields[p.key]
	fields[p.key] = name
	path := p.path(0, fields)
	if text, ok := given.(string); given != nil && (!ok || p.fold(text) != p.fold(name)) {
		s.add(path+"."+p.key, "want %s as in the address, or leave it out", clip(name))
	}
	s.check(path, fields, reflect.TypeFor[T]())
	return s.err("the " + p.kind)
}

// removeOne removes one entry, unless something refers to it.
func (s *Service) removeOne(ctx context.Context, in *deleteInput, kind, name string) (ApplyResult, error) {
	changes := []Change{{Op: Delete, Kind: kind, Name: name}}
	load := func(ctx context.Context) (rollout.State, error) { return s.load(ctx, in.App) }
	state, err := s.change(ctx, load, func(before rollout.State) (rollout.State, []rollout.Event, error) {
		wanted, exists := lacking(before, kind, name)
		if !exists {
			return before, nil, notFound(kind, in.Name)
		}
		after, err := settle(before, wanted, changes)
		if err != nil || in.DryRun {
			return before, nil, err
		}
		return after, []rollout.Event{{
			Time: s.now().UTC(), Actor: caller(ctx).Name, Verb: "delete", Subject: kind + " " + name,
		}}, nil
	})
	if err != nil {
		return ApplyResult{}, err
	}
	return ApplyResult{App: in.App, Revision: state.Revision, Changes: changes, DryRun: in.DryRun}, nil
}

// lacking returns s without the entry, and whether it was there.
func lacking(s rollout.State, kind, name string) (rollout.State, bool) {
	changes := []Change{{Op: Delete, Kind: kind, Name: name}}
	var exists bool
	switch kind {
	case "bundle":
		_, exists = s.Bundles[name]
		s = s.WithoutBundles(name)
	case "channel":
		_, exists = s.Channels[name]
		s.Channels = without(s.Channels, kind, changes)
	case "segment":
		_, exists = s.Segments[name]
		s.Segments = without(s.Segments, kind, changes)
	case "device":
		_, exists = s.Devices[name]
		s.Devices = without(s.Devices, kind, changes)
	case "plan":
		_, exists = s.Plans[name]
		s.Plans = without(s.Plans, kind, changes)
	}
	return s, exists
}

// listPlans returns the built-in plans, the default first, and then the app's own.
func listPlans(s rollout.State) []PlanView {
	var plans []PlanView
	for _, name := range rollout.BuiltinPlanNames() {
		if plan, ok := rollout.BuiltinPlan(name); ok {
			plans = append(plans, PlanView{Plan: plan, Builtin: true})
		}
	}
	for _, plan := range listed(s.Plans) {
		plans = append(plans, PlanView{Plan: plan})
	}
	return plans
}

func getPlan(_ context.Context, s rollout.State, name string) (PlanView, bool, error) {
	if plan, ok := rollout.BuiltinPlan(name); ok {
		return PlanView{Plan: plan, Builtin: true}, true, nil
	}
	plan, ok := s.Plans[name]
	return PlanView{Plan: plan}, ok, nil
}

// listDevices returns the devices that an operator named; those that only have a record of their own are in no list.
func listDevices(s rollout.State) []DeviceView {
	views := []DeviceView{}
	for _, d := range listed(s.Devices) {
		view := DeviceView{DeviceID: d.DeviceID, Channel: d.Channel}
		if d.Channel != "" {
			view.SetBy = store.SetByOperator
		}
		views = append(views, view)
	}
	return views
}

// getDevice returns what is known of one device, whether or not an operator named it.
func (s *Service) getDevice(ctx context.Context, state rollout.State, id string) (DeviceView, bool, error) {
	facts, err := s.devices.Facts(ctx, state.App.ID, id)
	if err != nil {
		return DeviceView{}, false, err
	}
	facts = facts.Of(state.Generation)
	_, named := state.Devices[id]
	known := named || facts.Channel != "" || len(facts.Failed) > 0 || len(facts.Consented) > 0
	return DeviceView{
		DeviceID: id, Channel: facts.Channel, SetBy: facts.SetBy, Failed: facts.Failed, Consented: facts.Consented,
	}, known, nil
}

type clearFailedInput struct {
	NamePath
	Version string `path:"version" maxLength:"128" example:"1.4.0" doc:"The bundle that failed"`
}

// clearFailed forgets that a bundle failed on a device. The device's record and the audit log are written one after the
// other: a record that is cleared without a line in the log is possible, the reverse is not.
func (s *Service) clearFailed(ctx context.Context, in *clearFailedInput) (*struct{}, error) {
	id := strings.ToLower(in.Name)
	load := func(ctx context.Context) (rollout.State, error) { return s.load(ctx, in.App) }
	state, err := load(ctx)
	if err != nil {
		return nil, err
	}
	cleared := false
	err = s.devices.Update(ctx, in.App, id, func(f *resolve.Facts) bool {
		*f = f.Of(state.Generation)
		at := slices.Index(f.Failed, in.Version)
		cleared = at >= 0
		if cleared {
			f.Failed = slices.Delete(slices.Clone(f.Failed), at, at+1)
		}
		return cleared
	})
	if err != nil {
		return nil, err
	}
	if !cleared {
		return nil, notFound("failed bundle on this device", in.Version)
	}
	_, err = s.change(ctx, load, func(before rollout.State) (rollout.State, []rollout.Event, error) {
		return before, []rollout.Event{{
			Time: s.now().UTC(), Actor: caller(ctx).Name, Verb: "clear_failed", Subject: "device " + id,
			Detail: map[string]any{"bundle": in.Version},
		}}, nil
	})
	return nil, err
}
