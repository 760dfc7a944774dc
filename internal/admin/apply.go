package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// applyOptions say how a document is meant.
type applyOptions struct {
	prune  bool // remove what the document leaves out
	dryRun bool // only say what would change
	create bool // make the app when it does not exist
}

// apply brings the app to the state that the document tree asks for and returns what changed. Applied again, it changes
// nothing. A refused document leaves everything as it was; one that is too big for one transaction is committed in steps
// of which each is valid, and may be cut short between two of them: applying it again completes it.
func (s *Service) apply(ctx context.Context, app string, tree map[string]any, opts applyOptions) (ApplyResult, error) {
	if err := readDocument(app, tree); err != nil {
		return ApplyResult{}, err
	}
	result := ApplyResult{App: app, DryRun: opts.dryRun}
	load := func(ctx context.Context) (rollout.State, error) {
		state, err := s.load(ctx, app)
		var missing *Error
		if opts.create && errors.As(err, &missing) && missing.Code == CodeNotFound {
			return rollout.State{App: rollout.NewApp(app)}, nil
		}
		return state, err
	}
	state, err := s.change(ctx, load, func(before rollout.State) (rollout.State, []rollout.Event, error) {
		after, changes, err := nextState(before, tree, opts.prune)
		if rollout.CodeOf(err) != "" {
			err = refusal("the document", err)
		}
		result.Changes, result.Warnings = changes, warnApply(before, after)
		if err != nil || len(changes) == 0 || opts.dryRun {
			return before, nil, err
		}
		return after, []rollout.Event{{
			Time: s.now().UTC(), Actor: caller(ctx).Name, Verb: "apply", Subject: subject(app, changes), Detail: auditDetail(changes),
		}}, nil
	})
	if err != nil {
		return ApplyResult{}, err
	}
	result.Revision = state.Revision
	return result, nil
}

// subject names what an event is about: the one thing that changed, or the app.
func subject(app string, changes []Change) string {
	if len(changes) == 1 {
		return changes[0].Kind + " " + changes[0].Name
	}
	return "app " + app
}

// nextState returns the state after the document and the difference to the one before, or why it cannot be.
func nextState(before rollout.State, tree map[string]any, prune bool) (rollout.State, []Change, error) {
	wanted, problems := desired(before, tree, prune)
	if len(problems) > 0 {
		return before, nil, invalid(CodeMalformed, "the document", problems[:min(len(problems), maxProblems)], len(problems))
	}
	changes, err := differences(before, wanted)
	if err != nil {
		return before, nil, err
	}
	after, err := settle(before, wanted, changes)
	if err != nil {
		return before, nil, err
	}
	return after, changes, nil
}

// settle lets the domain make each change, which checks it and sets what the server sets: a channel's number, what its
// devices keep, and which bundles were served. It reports every refusal, not only the first, but none that only follows
// from another: a channel is not told that a bundle is missing which is there and refused.
func settle(before, wanted rollout.State, changes []Change) (rollout.State, error) {
	after := before
	after.App, after.Segments, after.Devices, after.Plans = wanted.App, wanted.Segments, wanted.Devices, wanted.Plans
	var refusals rollout.Errors
	note := func(prefix string, err error) {
		if err != nil {
			refusals = append(refusals, within(prefix, err)...)
		}
	}
	for _, c := range changes {
		place := fmt.Sprintf("%ss[%s]", c.Kind, c.Name)
		switch {
		case c.Kind == "app":
			note("", wanted.App.Validate())
		case c.Op == Delete:
		case c.Kind == "bundle":
			state, err := after.WithBundle(wanted.Bundles[c.Name])
			after = state
			note(place, err)
		case c.Kind == "segment":
			note(place, wanted.Segments[c.Name].Validate())
		case c.Kind == "device":
			note(place, wanted.Devices[c.Name].Validate())
		case c.Kind == "plan":
			note(place, wanted.Plans[c.Name].Validate())
		}
	}
	for _, c := range channelsToSet(wanted, changes) { // once all bundles are there that channels may point at
		state, err := after.WithChannel(c)
		after = state
		if rollout.CodeOf(err) == rollout.CodeUnknownBundle && wanted.Bundles[c.Bundle].Version != "" {
			continue
		}
		note(fmt.Sprintf("channels[%s]", c.Name), err)
	}
	if len(refusals) > 0 {
		return before, refusals
	}
	after = after.WithoutBundles(deleted("bundle", changes)...)
	after.Channels = without(after.Channels, "channel", changes)
	if err := checkUses(after, changes); err != nil {
		return before, err
	}
	return after, after.Validate()
}

// channelsToSet returns the new and changed channels, new ones in the order of the document.
func channelsToSet(wanted rollout.State, changes []Change) []rollout.Channel {
	var list []rollout.Channel
	for _, c := range changes {
		if c.Kind == "channel" && c.Op != Delete {
			list = append(list, wanted.Channels[c.Name])
		}
	}
	slices.SortStableFunc(list, func(a, b rollout.Channel) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// within puts prefix before the field of every refusal in err.
func within(prefix string, err error) rollout.Errors {
	if prefix != "" {
		err = rollout.Within(prefix, err)
	}
	var list rollout.Errors
	if errors.As(err, &list) {
		return list
	}
	var one rollout.Error
	if errors.As(err, &one) {
		return rollout.Errors{one}
	}
	return rollout.Errors{{Code: CodeInvalidDocument, Field: prefix, Message: err.Error()}}
}

// without returns m less what changes delete of the kind.
func without[T any](m map[string]T, kind string, changes []Change) map[string]T {
	left := maps.Clone(m)
	for _, name := range deleted(kind, changes) {
		delete(left, name)
	}
	return left
}

// deleted returns the names of what changes delete of the kind.
func deleted(kind string, changes []Change) (names []string) {
	for _, c := range changes {
		if c.Kind == kind && c.Op == Delete {
			names = append(names, c.Name)
		}
	}
	return names
}

// checkUses refuses to remove what something that stays refers to, and says what does.
func checkUses(after rollout.State, changes []Change) error {
	var uses []Problem
	for _, c := range changes {
		if c.Op != Delete {
			continue
		}
		for _, by := range usesOf(after, c.Kind, c.Name) {
			uses = append(uses, Problem{Path: fmt.Sprintf("%ss[%s]", c.Kind, c.Name), Message: by})
		}
	}
	if len(uses) == 0 {
		return nil
	}
	e := refuse(http.StatusConflict, CodeInUse,
		"%s: change what uses it, or end the rollout, and then remove it; nothing was changed", uses[0].Message)
	e.Details = uses
	return e
}

// usesOf lists, in words, what in s refers to the entity. Ended rollouts are history and hold nothing back.
func usesOf(s rollout.State, kind, name string) []string {
	switch kind {
	case "bundle":
		return usesOfBundle(s, name)
	case "segment":
		return usesOfSegment(s, name)
	case "channel":
		return usesOfChannel(s, name)
	}
	return nil
}

func usesOfBundle(s rollout.State, version string) (uses []string) {
	for _, c := range listed(s.Channels) {
		if c.Bundle == version {
			uses = append(uses, fmt.Sprintf("channel %q serves bundle %s", c.Name, version))
		}
		if slices.Contains(c.Kept, version) {
			uses = append(uses, fmt.Sprintf("devices of channel %q keep bundle %s since its rollout was halted", c.Name, version))
		}
	}
	for _, r := range live(s) {
		if r.Bundle == version || r.Baseline == version {
			uses = append(uses, fmt.Sprintf("rollout %s on channel %q compares bundle %s", r.ID, r.Channel, version))
		}
	}
	return uses
}

func usesOfSegment(s rollout.State, name string) (uses []string) {
	inPlan := func(p rollout.Plan) bool {
		return slices.ContainsFunc(p.Phases, func(phase rollout.Phase) bool { return slices.Contains(phase.Segments, name) })
	}
	for _, p := range listed(s.Plans) {
		if inPlan(p) {
			uses = append(uses, fmt.Sprintf("plan %q has a phase of segment %q", p.Name, name))
		}
	}
	for _, r := range live(s) {
		followed := slices.ContainsFunc(r.Follows, func(a rollout.Audience) bool {
			return slices.ContainsFunc(a.Cuts, func(c rollout.Cut) bool { return slices.Contains(c.Segments, name) })
		})
		if inPlan(r.Plan) || followed {
			uses = append(uses, fmt.Sprintf("rollout %s on channel %q has a phase of segment %q", r.ID, r.Channel, name))
		}
	}
	return uses
}

func usesOfChannel(s rollout.State, name string) (uses []string) {
	for _, r := range live(s) {
		if r.Channel == name {
			uses = append(uses, fmt.Sprintf("rollout %s is live on channel %q", r.ID, name))
		}
	}
	for _, d := range listed(s.Devices) {
		if d.Channel == name {
			uses = append(uses, fmt.Sprintf("device %s has channel %q", d.DeviceID, name))
			if len(uses) >= 10 {
				return append(uses, "and more devices")
			}
		}
	}
	return uses
}

// live returns the rollouts that may still change, oldest first.
func live(s rollout.State) []rollout.Rollout {
	return slices.DeleteFunc(listed(s.Rollouts), func(r rollout.Rollout) bool { return !r.State.Live() })
}

// commit writes after in as many steps as it needs; the events go with the last.
func (s *Service) commit(ctx context.Context, before, after rollout.State, events []rollout.Event) (rollout.State, error) {
	var steps []rollout.State
	for _, state := range store.Split(before, after) {
		steps = append(steps, state)
	}
	for i, state := range steps {
		var log []rollout.Event
		if i == len(steps)-1 {
			log = events
		}
		committed, err := s.apps.Commit(ctx, before, state, log)
		if err != nil {
			return rollout.State{}, err
		}
		before = committed
	}
	return before, nil
}
