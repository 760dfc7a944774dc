package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
)

// CodeForecastTooLong is 400: the plays that were asked for take longer than a call has.
const CodeForecastTooLong = "forecast_too_long"

const (
	defaultPlays = 50  // of each bundle, when a call does not say
	maxPlays     = 500 // as the field's doc says too
	pastRollouts = 3   // that are learned from
	pastLooks    = 8   // ended rollouts whose counts are read in search of them
	searchPlays  = 20  // of each bundle, of a plan that is recommended; an API's search is small
)

// How long is waited for what a call can do without.
const (
	learnTimeout  = 3 * time.Second  // a start, for what earlier rollouts show
	marginTimeout = 5 * time.Second  // a start, for margins to be chosen
	searchTimeout = 10 * time.Second // a forecast, for a plan within a budget
)

// The sources of a number of an audience.
const (
	sourceGiven   = "given"
	sourceLearned = "learned"
	sourceDefault = "default"
)

// AudienceView is what is known of an app's devices before a rollout.
type AudienceView struct {
	forecast.Audience
	Sources map[string]string `json:"sources" doc:"Where each number is from, by its name, such as base.crash: given, learned or default"`
	Learned []string          `json:"learned_from" doc:"The ended rollouts whose controls were counted, newest first"`
	Record  *rollout.Record   `json:"record,omitempty" doc:"What those controls did"`
}

// AudienceBody is what a caller says of an app's devices. What it leaves out is learned, or else taken to be typical.
type AudienceBody struct {
	Devices        int64                      `json:"devices,omitempty" example:"20000" doc:"Active devices"`
	SessionsPerDay float64                    `json:"sessions_per_day,omitempty" example:"2" doc:"Update checks of a device in a day"`
	Base           map[rollout.Metric]float64 `json:"base,omitempty" doc:"By metric, the share of devices with a first event in a week; for failures of an update, the share of updates that fail"`
	Segments       map[string]float64         `json:"segments,omitempty" doc:"Share of the devices in each segment"`
}

// RegressionBody is a harm to be played.
type RegressionBody struct {
	Metric rollout.Metric `json:"metric,omitempty" example:"crash" doc:"What it makes worse; crash if left out"`
	Ratio  float64        `json:"ratio,omitempty" example:"5" doc:"So many times the base rate"`
	Share  float64        `json:"share,omitempty" doc:"Or: the share of devices that it hits as soon as they run it"`
}

// BudgetBody asks for the fastest plan that harms no more devices than this.
type BudgetBody struct {
	Harmed int            `json:"harmed" required:"true" example:"20" doc:"Devices, in nine plays of ten"`
	Ratio  float64        `json:"ratio,omitempty" example:"5" doc:"Of the regression; 5 if left out"`
	Metric rollout.Metric `json:"metric,omitempty" example:"crash" doc:"Of the regression; crash if left out"`
}

// ForecastBody asks what a rollout would come to.
type ForecastBody struct {
	Plan        PlanRef          `json:"plan,omitempty" doc:"A plan's name or a plan of its own; progressive if left out"`
	Channel     string           `json:"channel,omitempty" example:"production" doc:"Learn from rollouts on this channel before others"`
	Audience    AudienceBody     `json:"audience,omitempty"`
	Regressions []RegressionBody `json:"regressions,omitempty" doc:"Harmful bundles to play; 2, 5 and 10 times the crashes, and one that never starts, if left out"`
	Budget      *BudgetBody      `json:"budget,omitempty" doc:"Also recommend a plan for this budget"`
	Runs        int              `json:"runs,omitempty" example:"50" doc:"Plays of each bundle, at most 500; 50 if left out"`
	Seed        uint64           `json:"seed,omitempty" doc:"The same seed gives the same answer"`
}

// ForecastView is a forecast with where its numbers come from.
type ForecastView struct {
	forecast.Forecast
	Audience AudienceView     `json:"audience"`
	Advice   *forecast.Advice `json:"advice,omitempty" doc:"For the budget, if one was given"`
}

type audienceInput struct {
	AppPath
	Channel string `query:"channel" maxLength:"128" doc:"Learn from rollouts on this channel before others"`
}

type forecastInput struct {
	AppPath
	RawBody []byte
}

func (s *Service) routeForecast(r router) {
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/audience", id: "get-audience", summary: "What is known of an app's devices from its past rollouts", tag: "insight", role: Viewer, errors: []int{400, 404},
	}, func(ctx context.Context, in *audienceInput) (*object[AudienceView], error) {
		state, err := s.load(ctx, in.App)
		if err != nil {
			return nil, err
		}
		view, err := s.audience(ctx, state, in.Channel, AudienceBody{})
		return answerWith(view), err
	})
	register(r, call{
		method: http.MethodPost, path: "/apps/{app}/forecast", id: "forecast", summary: "Play a plan forward before it starts", tag: "insight", role: Viewer,
		body: reflect.TypeFor[ForecastBody](), bodyOptional: true, bodyLimit: maxRequest, errors: []int{400, 404, 413, 415},
		example: map[string]any{"plan": "progressive", "audience": map[string]any{"devices": 20000}, "budget": map[string]any{"harmed": 20, "ratio": 5}},
	}, s.forecast)
}

// forecast plays a plan. It writes nothing. One is played at a time, so that forecasts cannot keep operators from a server.
func (s *Service) forecast(ctx context.Context, in *forecastInput) (*object[ForecastView], error) {
	var body ForecastBody
	if len(in.RawBody) > 0 {
		var err error
		if body, err = readBody[ForecastBody](contentType(ctx), in.RawBody); err != nil {
			return nil, err
		}
	}
	if body.Runs > maxPlays {
		return nil, rollout.Error{Code: forecast.CodeInvalidOptions, Field: "runs", Message: "a call plays each bundle 500 times at most; palier simulate, which plays where you are, takes more"}
	}
	state, err := s.load(ctx, in.App)
	if err != nil {
		return nil, err
	}
	plan, err := planOf(state, body.Plan)
	if err != nil {
		return nil, err
	}
	audience, err := s.audience(ctx, state, body.Channel, body.Audience)
	if err != nil {
		return nil, err
	}
	select {
	case s.playing <- struct{}{}:
		defer func() { <-s.playing }()
	default:
		return nil, retryLater(http.StatusTooManyRequests, CodeTooManyRequests, "another forecast is being made: ask again when it is done", 10*time.Second)
	}
	view, err := play(ctx, plan, audience, body)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, refuse(http.StatusBadRequest, CodeForecastTooLong, "so many plays take longer than a call has: ask for fewer runs, or use palier simulate, which plays where you are")
	}
	return answerWith(view), err
}

// play makes the forecast, and finds a plan where there is a budget.
func play(ctx context.Context, plan rollout.Plan, audience AudienceView, body ForecastBody) (ForecastView, error) {
	o := forecast.Options{Runs: cmp.Or(body.Runs, defaultPlays), Seed: body.Seed, Record: audience.Record}
	for _, r := range body.Regressions {
		o.Regressions = append(o.Regressions, forecast.Regression{Metric: cmp.Or(r.Metric, rollout.Crash), Ratio: r.Ratio, Share: r.Share})
	}
	var budget forecast.Budget
	if b := body.Budget; b != nil {
		budget = forecast.Budget{Harmed: b.Harmed, Regression: forecast.Regression{Metric: cmp.Or(b.Metric, rollout.Crash), Ratio: cmp.Or(b.Ratio, 5)}}
		if err := budget.Check(o); err != nil {
			return ForecastView{}, err
		}
	}
	f, err := forecast.Run(ctx, plan, audience.Audience, o)
	if err != nil {
		return ForecastView{}, err
	}
	view := ForecastView{Forecast: f, Audience: audience}
	view.Warnings = append(view.Warnings, audience.Cautions(f)...)
	if body.Budget != nil {
		o.Brief, o.Runs = true, min(o.Runs, searchPlays)
		ctx, cancel := context.WithTimeout(ctx, searchTimeout)
		defer cancel()
		switch advice, err := forecast.Recommend(ctx, audience.Audience, budget, o); {
		case errors.Is(err, context.DeadlineExceeded): // the forecast is made, and worth having by itself
			view.Warnings = append(view.Warnings, "the search for a plan within the budget takes longer than a call has; palier simulate --budget, which plays where you are, searches longer")
		case err != nil:
			return ForecastView{}, err
		default:
			view.Advice = &advice
		}
	}
	return view, nil
}

// planOf returns the plan that ref means, whole.
func planOf(state rollout.State, ref PlanRef) (rollout.Plan, error) {
	if ref.Inline {
		if err := ref.Validate(); err != nil {
			return rollout.Plan{}, rollout.Within("plan", err)
		}
		return rollout.Resolve(ref.Plan), nil
	}
	plan, ok := state.PlanNamed(ref.Name)
	if !ok {
		return rollout.Plan{}, rollout.Error{Code: rollout.CodeUnknownPlan, Field: "plan", Message: "there is no plan of that name; use progressive, cautious, groups, small or instant, or add it under plans: in the app's document"}
	}
	return plan, nil
}

// audience puts together what is given, what past rollouts show, and what is typical.
func (s *Service) audience(ctx context.Context, state rollout.State, channel string, given AudienceBody) (AudienceView, error) {
	record, learned, known, err := s.learn(ctx, state, channel)
	if err != nil {
		return AudienceView{}, err
	}
	view := TypicalAudience()
	if known {
		view.learn(record, learned)
	}
	view.Give(given)
	return view, view.Validate()
}

// TypicalAudience is the audience of an app of which nothing is known.
func TypicalAudience() AudienceView {
	v := AudienceView{Audience: forecast.Typical(defaultDevices), Sources: map[string]string{}, Learned: []string{}}
	v.Sources["devices"], v.Sources["sessions_per_day"] = sourceDefault, sourceDefault
	for m := range v.Base {
		v.Sources["base."+string(m)] = sourceDefault
	}
	return v
}

// learn replaces what is typical by what past rollouts show.
func (v *AudienceView) learn(record rollout.Record, a forecast.Audience) {
	v.Record, v.Learned = &record, record.Rollouts
	v.Devices, v.SessionsPerDay = a.Devices, a.SessionsPerDay
	v.Sources["devices"], v.Sources["sessions_per_day"] = sourceLearned, sourceLearned
	v.setBase(a.Base, sourceLearned)
}

// Give replaces what was found out by what somebody says.
func (v *AudienceView) Give(given AudienceBody) {
	if given.Devices != 0 {
		v.Devices, v.Sources["devices"] = given.Devices, sourceGiven
	}
	if given.SessionsPerDay != 0 {
		v.SessionsPerDay, v.Sources["sessions_per_day"] = given.SessionsPerDay, sourceGiven
	}
	v.setBase(given.Base, sourceGiven)
	v.Segments = given.Segments
}

// Cautions say when the margins of f are not those that a start would take: a start goes by what was learned alone.
func (v AudienceView) Cautions(f forecast.Forecast) []string {
	if len(f.Margins) == 0 {
		return nil
	}
	if v.Record == nil {
		return []string{"a start today would take the widest margins, 10×, since nothing was learned yet: those shown rest on given or typical numbers"}
	}
	names := []string{"devices", "sessions_per_day"}
	for _, c := range f.Margins {
		names = append(names, "base."+string(c.Metric))
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		source := v.Sources[name]
		return source == "" || source == sourceLearned
	})
	if len(names) == 0 {
		return nil
	}
	return []string{"a start today may take other margins, since it goes by what was learned alone: here " + strings.Join(names, ", ") + " are given or typical"}
}

func (v *AudienceView) setBase(base map[rollout.Metric]float64, source string) {
	v.Base = maps.Clone(v.Base)
	for m, share := range base {
		v.Base[m], v.Sources["base."+clip(string(m))] = share, source
	}
}

// defaultDevices is the audience of an app of which nothing is known.
const defaultDevices = 10_000

// learn returns what the latest ended rollouts of the app show, those on the channel first; false when that is too little.
func (s *Service) learn(ctx context.Context, state rollout.State, channel string) (rollout.Record, forecast.Audience, bool, error) {
	var past []forecast.Past
	for i, r := range endedRollouts(state, channel) {
		if i == pastLooks || len(past) == pastRollouts {
			break
		}
		tallies, err := s.tallies.Load(ctx, state.App.ID, r.ID)
		if err != nil {
			return rollout.Record{}, forecast.Audience{}, false, err
		}
		p := forecast.Past{Rollout: r, Strata: promote.Input(r, tallies, r.EndedAt).Strata}
		if p.HasControls() {
			past = append(past, p)
		}
	}
	record, audience, known := forecast.Learn(past)
	return record, audience, known, nil
}

// learnInTime is learn for somebody who cannot wait: what cannot be read soon is as if it had never been counted, because a
// hotfix must not depend on the tallies of rollouts that are over. It reports whether they were read.
func (s *Service) learnInTime(ctx context.Context, state rollout.State, channel string) (rollout.Record, forecast.Audience, bool) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	record, audience, _, err := s.learn(ctx, state, channel)
	if err != nil {
		s.log.Error("starting a rollout without what earlier ones show", "app", state.App.ID, "error", err)
		return rollout.Record{}, forecast.Audience{}, false
	}
	return record, audience, true
}

// endedRollouts lists the rollouts that started and are over: those on the channel first, and the latest first.
func endedRollouts(state rollout.State, channel string) []rollout.Rollout {
	var ended []rollout.Rollout
	for _, r := range state.Rollouts {
		if !r.State.Live() && !r.PhaseStartedAt.IsZero() {
			ended = append(ended, r)
		}
	}
	elsewhere := func(r rollout.Rollout) int {
		if r.Channel == channel {
			return 0
		}
		return 1
	}
	slices.SortFunc(ended, func(a, b rollout.Rollout) int {
		return cmp.Or(cmp.Compare(elsewhere(a), elsewhere(b)), b.EndedAt.Compare(a.EndedAt), cmp.Compare(b.ID, a.ID))
	})
	return ended
}

// prepare fills in, of a start, what only the server knows: what the app's devices did before, and the margins that the
// plan leaves to the judge, which it returns with what to warn of. It fails for nothing that a start can do without. A plan
// that cannot be started is left for the start to refuse.
func (s *Service) prepare(ctx context.Context, app string, req *rollout.StartRequest) (choices []forecast.Choice, warnings []string, err error) {
	state, err := s.load(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	plan := req.Plan
	if len(plan.Phases) == 0 {
		var found bool
		if plan, found = state.PlanNamed(plan.Name); !found {
			return nil, nil, nil
		}
	}
	if plan.Validate() != nil || !forecast.NeedsPast(plan) {
		return nil, nil, nil
	}
	record, audience, read := s.learnInTime(ctx, state, req.Channel)
	if !read {
		warnings = append(warnings, "what earlier rollouts show could not be read in time: this one starts as if nothing were known of the app's devices")
	}
	if forecast.SoundRecord(record) {
		req.Record = &record
	}
	plan, choices, slow := s.marginsInTime(ctx, plan, audience)
	if slow {
		warnings = append(warnings, "choosing margins took longer than a start waits: they are the widest")
	}
	if len(choices) > 0 {
		req.Plan = plan
	}
	return choices, warnings, nil
}

// marginsInTime chooses the margins of a plan, or the widest when that takes too long, and reports whether it did.
func (s *Service) marginsInTime(ctx context.Context, plan rollout.Plan, a forecast.Audience) (_ rollout.Plan, _ []forecast.Choice, slow bool) {
	within, cancel := context.WithTimeout(ctx, marginTimeout)
	defer cancel()
	chosen, choices, err := forecast.Margins(within, plan, a)
	if err == nil {
		return chosen, choices, false
	}
	s.log.Error("starting a rollout with the widest margins", "plan", plan.Name, "error", err)
	chosen, choices, _ = forecast.Margins(ctx, plan, forecast.Audience{}) // plays nothing, and so cannot fail
	for i, c := range choices {
		choices[i].Sentence = fmt.Sprintf("%s in phase %s: %g×, the widest, because choosing took too long", c.Metric, c.Name, float64(c.Margin))
	}
	return chosen, choices, true
}
