package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// maxEvents is the largest page of the audit log, as the parameter's tag says too.
const maxEvents = 500

type eventsInput struct {
	AppPath
	Before string `query:"before" maxLength:"64" doc:"Only events older than the one with this id"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"At most this many"`
}

func (s *Service) routeInsight(r router) {
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/events", id: "list-events", summary: "The audit log, newest first", tag: "insight", role: Viewer,
		errors: []int{400, 404},
	}, s.listEvents)
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/rollouts/{id}/metrics", id: "rollout-metrics", summary: "What a rollout's data shows, and the verdict", tag: "insight", role: Viewer,
		errors: []int{404},
	}, s.metrics)
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/explain", id: "explain-device", summary: "What a device gets, and why", tag: "insight", role: Viewer,
		errors: []int{400, 404},
	}, s.explain)
}

func (s *Service) listEvents(ctx context.Context, in *eventsInput) (*object[Items[rollout.Event]], error) {
	limit := min(max(in.Limit, 1), maxEvents)
	events, err := s.apps.Events(ctx, in.App, in.Before, limit)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 { // the log outlives its app, so only silence asks whether there ever was one
		if _, err := s.apps.Revision(ctx, in.App); errors.Is(err, store.ErrNotFound) {
			return nil, notFound("app", in.App)
		}
	}
	page := Items[rollout.Event]{Items: events}
	if len(events) == limit {
		page.Next = events[len(events)-1].ID
	}
	return answerWith(page), nil
}

// metrics judges a rollout's data as it stands; of an ended one, as it stood at the end.
func (s *Service) metrics(ctx context.Context, in *RolloutPath) (*object[MetricsView], error) {
	r, err := s.rollout(ctx, in)
	if err != nil {
		return nil, err
	}
	tallies, err := s.tallies.Load(ctx, in.App, in.ID)
	if err != nil {
		return nil, err
	}
	shown, err := s.display(ctx, in)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if !r.EndedAt.IsZero() {
		now = r.EndedAt
	}
	input := promote.Input(r, tallies, now)
	view := MetricsView{
		Rollout: ViewRollout(r, s.now()), Verdict: judge.Judge(input), Newest: input.Newest,
		Phases: phaseTotals(r.Plan, input.Strata), Adoption: adoptionCurve(input.Strata), Display: shown,
	}
	view.AdoptionTimes = adoptionTimes(view.Adoption, began(r), now)
	for _, phase := range view.Phases {
		view.Arms.Candidate.add(phase.Candidate)
		view.Arms.Control.add(phase.Control)
	}
	return answerWith(view), nil
}

// phaseTotals sums the hours of each phase that has been reached.
func phaseTotals(plan rollout.Plan, strata []judge.Stratum) []PhaseMetrics {
	totals := make([]PhaseMetrics, 0, len(plan.Phases))
	for _, stratum := range strata {
		for len(totals) <= stratum.Phase && len(totals) < len(plan.Phases) {
			totals = append(totals, PhaseMetrics{Phase: len(totals), Name: plan.Phases[len(totals)].Name})
		}
		if stratum.Phase < len(totals) {
			totals[stratum.Phase].Candidate.add(viewArm(stratum.Candidate))
			totals[stratum.Phase].Control.add(viewArm(stratum.Control))
		}
	}
	return totals
}

func viewArm(c judge.Counts) ArmView {
	view := ArmView{Devices: c.Devices, Adopted: c.Adopted, Events: map[string]int64{}}
	for i, info := range rollout.AllMetrics() {
		view.Events[string(info.Metric)] = c.Events[i]
	}
	return view
}

func (a *ArmView) add(b ArmView) {
	a.Devices += b.Devices
	a.Adopted += b.Adopted
	if a.Events == nil {
		a.Events = map[string]int64{}
	}
	for metric, n := range b.Events {
		a.Events[metric] += n
	}
}
