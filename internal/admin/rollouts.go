package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// StartBody asks for a rollout.
type StartBody struct {
	Channel  string    `json:"channel" required:"true" example:"production"`
	Bundle   string    `json:"bundle" required:"true" example:"1.4.0" doc:"The candidate's version"`
	Plan     PlanRef   `json:"plan,omitempty" doc:"A plan's name or a plan of its own; progressive if left out"`
	StartsAt time.Time `json:"starts_at,omitzero" doc:"When to start; now if left out"`
	Hotfix   bool      `json:"hotfix,omitempty" doc:"Take over from a live rollout on the channel"`
	Shadow   bool      `json:"shadow,omitempty" doc:"Judge and report, but move by time alone: a phase ends at its longest hold, or its least where there is none"`
	Reason   string    `json:"reason,omitempty" doc:"For the audit log"`
}

// OperateBody goes with a verb.
type OperateBody struct {
	Reason  string `json:"reason,omitempty" example:"support reports a broken checkout" doc:"For the audit log"`
	Version int64  `json:"version,omitempty" doc:"Only if the rollout is still at this version; whatever its version if left out"`
}

// RolloutPath names a rollout of an app.
type RolloutPath struct {
	AppPath
	ID string `path:"id" maxLength:"64" example:"01JBX2V3K4M5N6P7Q8R9S0T1V2" doc:"The rollout's id"`
}

type startInput struct {
	AppPath
	RawBody []byte
}

type operateInput struct {
	RolloutPath
	RawBody []byte
}

type listRolloutsInput struct {
	AppPath
	Channel string `query:"channel" maxLength:"128" doc:"Only those on this channel"`
	Live    bool   `query:"live" doc:"Only those that may still change"`
}

func (s *Service) routeRollouts(r router) {
	register(r, call{
		method: http.MethodPost, path: "/apps/{app}/rollouts", id: "start-rollout", summary: "Start a rollout", tag: "rollouts", role: Operator,
		body: reflect.TypeFor[StartBody](), bodyLimit: maxRequest, success: http.StatusCreated, errors: []int{400, 404, 409, 413, 415},
		example: map[string]any{"channel": "production", "bundle": "1.4.0", "plan": "progressive"},
	}, s.startRollout)
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/rollouts", id: "list-rollouts", summary: "List rollouts, newest first", tag: "rollouts", role: Viewer, errors: []int{404},
	}, s.listRollouts)
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/rollouts/{id}", id: "get-rollout", summary: "Show one rollout", tag: "rollouts", role: Viewer, errors: []int{404},
	}, func(ctx context.Context, in *RolloutPath) (*object[RolloutView], error) {
		found, err := s.rollout(ctx, in)
		return answerWith(ViewRollout(found, s.now())), err
	})
	for verb, does := range map[rollout.Verb]string{
		rollout.VerbPause:    "New devices get the baseline; those on the candidate keep it",
		rollout.VerbResume:   "Go on after a pause; the hold clock goes on where it stopped",
		rollout.VerbPromote:  "Enter the next phase, or complete the rollout out of the last",
		rollout.VerbHalt:     "End the rollout; devices on the candidate keep it",
		rollout.VerbRollback: "End the rollout; devices on the candidate go back to the baseline",
		rollout.VerbApprove:  "Give the approval that the current phase asks for",
	} {
		register(r, call{
			method: http.MethodPost, path: "/apps/{app}/rollouts/{id}/" + string(verb), id: string(verb) + "-rollout", summary: does, tag: "rollouts", role: Operator,
			body: reflect.TypeFor[OperateBody](), bodyOptional: true, bodyLimit: maxRequest, errors: []int{400, 404, 409, 413, 415},
			example: map[string]any{"reason": "support reports a broken checkout"},
		}, func(ctx context.Context, in *operateInput) (*object[RolloutView], error) {
			return s.operate(ctx, in, verb)
		})
	}
}

// rollout returns one rollout of an app, or an *Error with 404.
func (s *Service) rollout(ctx context.Context, in *RolloutPath) (rollout.Rollout, error) {
	state, err := s.load(ctx, in.App)
	if err != nil {
		return rollout.Rollout{}, err
	}
	found, ok := state.Rollouts[in.ID]
	if !ok {
		return rollout.Rollout{}, notFound("rollout", in.ID)
	}
	return found, nil
}

func (s *Service) listRollouts(ctx context.Context, in *listRolloutsInput) (*object[Items[RolloutView]], error) {
	state, err := s.load(ctx, in.App)
	if err != nil {
		return nil, err
	}
	views := []RolloutView{}
	for _, found := range slices.Backward(listed(state.Rollouts)) { // ids are in the order of time
		if in.Channel != "" && found.Channel != in.Channel || in.Live && !found.State.Live() {
			continue
		}
		views = append(views, ViewRollout(found, s.now()))
	}
	return answerWith(Items[RolloutView]{Items: views}), nil
}

func (s *Service) startRollout(ctx context.Context, in *startInput) (*object[RolloutView], error) {
	body, err := readBody[StartBody](contentType(ctx), in.RawBody)
	if err != nil {
		return nil, err
	}
	if body.Plan.Inline { // a plan of its own must be whole: only a name may stand for phases written elsewhere
		if err := body.Plan.Validate(); err != nil {
			return nil, rollout.Within("plan", err)
		}
	}
	var salt rollout.Salt
	if _, err := io.ReadFull(s.random, salt[:]); err != nil {
		return nil, fmt.Errorf("drawing a salt: %w", err)
	}
	req := rollout.StartRequest{
		Salt: salt, Channel: body.Channel, Bundle: body.Bundle, Plan: body.Plan.Plan,
		StartsAt: body.StartsAt, Hotfix: body.Hotfix, Shadow: body.Shadow, Actor: caller(ctx).Name, Reason: body.Reason,
	}
	margins, cautions, err := s.prepare(ctx, in.App, &req)
	if err != nil {
		return nil, err
	}
	at := s.now().UTC() // what is prepared may take seconds
	req.ID, req.At = s.newID(at), at
	var warnings []string
	view, err := s.transit(ctx, in.App, req.ID, func(state rollout.State) (rollout.Transition, error) {
		warnings = warnStart(state, req.Channel, req.Bundle, at)
		return rollout.Start(state, req)
	})
	if err != nil {
		return nil, err
	}
	view.Body.Warnings, view.Body.Margins = append(warnings, cautions...), margins
	return view, nil
}

func (s *Service) operate(ctx context.Context, in *operateInput, verb rollout.Verb) (*object[RolloutView], error) {
	var body OperateBody
	if len(in.RawBody) > 0 {
		var err error
		if body, err = readBody[OperateBody](contentType(ctx), in.RawBody); err != nil {
			return nil, err
		}
	}
	cmd := rollout.Command{Verb: verb, Actor: caller(ctx).Name, Reason: body.Reason, At: s.now().UTC()}
	expected := body.Version
	return s.transit(ctx, in.App, in.ID, func(state rollout.State) (rollout.Transition, error) {
		// A verb is meant for the rollout as its sender saw it: when a race is lost to someone who moved this very
		// rollout, repeating a promote would skip a phase.
		version := state.Rollouts[in.ID].Version
		if expected != 0 && expected != version {
			return rollout.Transition{}, store.ErrConflict
		}
		expected = version
		return rollout.Operate(state, in.ID, cmd)
	})
}

// transit commits the transition that compute derives from the app's state and answers with the rollout after it.
func (s *Service) transit(ctx context.Context, app, id string, compute func(rollout.State) (rollout.Transition, error)) (*object[RolloutView], error) {
	load := func(ctx context.Context) (rollout.State, error) { return s.load(ctx, app) }
	state, err := s.change(ctx, load, func(before rollout.State) (rollout.State, []rollout.Event, error) {
		t, err := compute(before)
		if err != nil {
			return before, nil, err
		}
		return t.ApplyTo(before), t.Events, nil
	})
	if err != nil {
		return nil, err
	}
	return answerWith(ViewRollout(state.Rollouts[id], s.now())), nil
}
