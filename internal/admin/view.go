package admin

import (
	"time"

	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// RolloutView is a rollout as operators see it: everything but the salt, with what follows from it at the moment of the
// answer.
type RolloutView struct {
	ID             string               `json:"id" doc:"ULID"`
	App            string               `json:"app"`
	Channel        string               `json:"channel"`
	Bundle         string               `json:"bundle" doc:"The candidate's version"`
	Baseline       string               `json:"baseline" doc:"What the channel served at the start; empty for the store build"`
	State          rollout.RolloutState `json:"state" enum:"scheduled,running,paused,completed,halted,rolled_back,superseded"`
	Live           bool                 `json:"live" doc:"Whether it may still change"`
	Phase          int                  `json:"phase" doc:"The current phase, counted from 0"`
	PhaseName      string               `json:"phase_name"`
	Phases         int                  `json:"phases" doc:"How many phases the plan has"`
	Percent        rollout.Percent      `json:"percent" doc:"Share of the phase's audience that gets the candidate"`
	PhaseStartedAt time.Time            `json:"phase_started_at,omitzero"`
	Held           rollout.Duration     `json:"held" doc:"How long the phase has lasted, without pauses"`
	Hold           rollout.Hold         `json:"hold" doc:"How long the phase lasts at least and at most"`
	Approval       bool                 `json:"approval,omitempty" doc:"A person must approve before the phase is left"`
	Approved       bool                 `json:"approved,omitempty" doc:"The current phase has that approval"`
	Shadow         bool                 `json:"shadow,omitempty" doc:"The judge only tells: time alone moves it"`
	Plan           rollout.Plan         `json:"plan" doc:"The complete plan it walks, defaults filled in"`
	Waiting        string               `json:"waiting,omitempty" doc:"What a person is asked to look at: the code of the verdict that holds it"`
	Alarms         []rollout.Metric     `json:"alarms,omitempty" doc:"The metrics whose harm paused it"`
	Waived         []rollout.Metric     `json:"waived,omitempty" doc:"Metrics whose alarm a person resumed from"`
	Reason         string               `json:"reason,omitempty" doc:"Of the latest change"`
	Actor          string               `json:"actor,omitempty" doc:"Who made the latest change: a token's name, or palier for the judge"`
	Version        int64                `json:"version" doc:"Rises by one with every change"`
	CreatedAt      time.Time            `json:"created_at"`
	StartsAt       time.Time            `json:"starts_at,omitzero"`
	PausedAt       time.Time            `json:"paused_at,omitzero"`
	EndedAt        time.Time            `json:"ended_at,omitzero"`
	Supersedes     string               `json:"supersedes,omitempty"`
	SupersededBy   string               `json:"superseded_by,omitempty"`
	Warnings       []string             `json:"warnings,omitempty" doc:"At a start: what to think twice about"`
	Margins        []forecast.Choice    `json:"margins,omitempty" doc:"At a start: the margins that the plan left to the judge, and what was chosen"`
}

// ViewRollout returns r as operators see it at the instant now.
func ViewRollout(r rollout.Rollout, now time.Time) RolloutView {
	v := RolloutView{
		ID: r.ID, App: r.App, Channel: r.Channel, Bundle: r.Bundle, Baseline: r.Baseline,
		State: r.State, Live: r.State.Live(), Phase: r.Phase, Phases: len(r.Plan.Phases), Percent: r.Percent,
		PhaseStartedAt: r.PhaseStartedAt, Approved: r.Approved, Plan: r.Plan, Reason: r.Reason, Actor: r.Actor, Version: r.Version,
		CreatedAt: r.CreatedAt, StartsAt: r.StartsAt, PausedAt: r.PausedAt, EndedAt: r.EndedAt,
		Waiting: r.Waiting, Alarms: r.Alarms, Waived: r.Waived, Shadow: r.Shadow,
		Supersedes: r.Supersedes, SupersededBy: r.SupersededBy,
	}
	if !r.EndedAt.IsZero() && r.EndedAt.Before(now) {
		now = r.EndedAt
	}
	v.Held = rollout.Duration(r.Held(now).Truncate(time.Second))
	if r.Phase >= 0 && r.Phase < len(r.Plan.Phases) {
		phase := r.Plan.Phases[r.Phase]
		v.PhaseName, v.Hold, v.Approval = phase.Name, phase.Hold, phase.Approval
	}
	return v
}

// ApplyResult is what an apply or a change of one resource did, or would do.
type ApplyResult struct {
	App      string   `json:"app"`
	Revision int64    `json:"revision" doc:"Of the app after the call; unchanged when nothing changed or on a dry run"`
	Changes  []Change `json:"changes"`
	DryRun   bool     `json:"dry_run"`
	Warnings []string `json:"warnings,omitempty" doc:"What to think twice about"`
}

// AppSummary is one line of the list of apps.
type AppSummary struct {
	App      string `json:"app"`
	Name     string `json:"name,omitempty"`
	Revision int64  `json:"revision"`
	Bundles  int    `json:"bundles"`
	Channels int    `json:"channels"`
	Live     int    `json:"live_rollouts"`
}

// PlanView is a plan with whether it is one of those every app has.
type PlanView struct {
	rollout.Plan
	Builtin bool `json:"builtin"`
}

// DeviceView is a device as the operator and its own record know it.
type DeviceView struct {
	DeviceID  string   `json:"device_id"`
	Channel   string   `json:"channel,omitempty" doc:"Its own channel"`
	SetBy     string   `json:"set_by,omitempty" doc:"Who chose the channel: operator or device"`
	Failed    []string `json:"failed,omitempty" doc:"Bundles that failed on it and are not offered again until cleared"`
	Consented []string `json:"consented,omitempty" doc:"Bundles its user agreed to"`
}

// ArmView is one arm of a rollout's comparison, over all phases.
type ArmView struct {
	Devices int64            `json:"devices" doc:"Devices that entered the comparison"`
	Adopted int64            `json:"adopted" doc:"Of those, seen running the candidate"`
	Events  map[string]int64 `json:"events" doc:"First events per device, by metric"`
}

// PhaseMetrics are the totals of one phase.
type PhaseMetrics struct {
	Phase     int     `json:"phase"`
	Name      string  `json:"name"`
	Candidate ArmView `json:"candidate"`
	Control   ArmView `json:"control"`
}

// AdoptionPoint is one hour of the adoption curve. Counts are cumulative.
type AdoptionPoint struct {
	Hour    time.Time `json:"hour" doc:"The hour's beginning"`
	Devices int64     `json:"devices" doc:"Candidate devices seen until its end, in the phase that had most"`
	Adopted int64     `json:"adopted" doc:"Of those, running the candidate"`
}

// AdoptionTimes are the hours from a rollout's start until so many of the candidate devices seen by now ran the candidate.
type AdoptionTimes struct {
	P50 *float64 `json:"p50,omitempty" doc:"Until half of them did; absent when they do not yet"`
	P90 *float64 `json:"p90,omitempty" doc:"Until nine in ten did; absent when they do not yet"`
}

// Percentiles are those of all values of a measured metric that an arm reported, in milliseconds, each within 2 %.
type Percentiles struct {
	Count int64   `json:"count" doc:"Values"`
	P50   float64 `json:"p50" doc:"Milliseconds"`
	P75   float64 `json:"p75" doc:"Milliseconds"`
	P95   float64 `json:"p95" doc:"Milliseconds"`
	P99   float64 `json:"p99" doc:"Milliseconds"`
}

// ArmDisplay is what one arm reported, summed up for people to look at. Verdicts do not rest on it: it is an estimate, up
// to a minute old, and a process that was killed may have taken a minute with it.
type ArmDisplay struct {
	Devices       uint64       `json:"devices" doc:"Devices heard of, an estimate with a standard error of 1.6 %"`
	LoadTime      *Percentiles `json:"load_time,omitempty"`
	APITime       *Percentiles `json:"api_time,omitempty"`
	SessionLength *Percentiles `json:"session_length,omitempty"`
}

// DisplayView is both arms' ArmDisplay side by side.
type DisplayView struct {
	Candidate ArmDisplay `json:"candidate"`
	Control   ArmDisplay `json:"control"`
}

// MetricsView is what a rollout's data shows, and what follows from it.
type MetricsView struct {
	Rollout  RolloutView     `json:"rollout"`
	Verdict  judge.Verdict   `json:"verdict"`
	Arms     ArmsView        `json:"arms"`
	Phases   []PhaseMetrics  `json:"strata" doc:"Totals by phase"`
	Adoption []AdoptionPoint `json:"adoption" doc:"The adoption curve, by hour"`
	Newest   time.Time       `json:"newest,omitzero" doc:"When the newest counted check was received"`

	AdoptionTimes AdoptionTimes `json:"adoption_times" doc:"Hours from the start until 50 % and 90 % run the candidate"`
	Display       DisplayView   `json:"display" doc:"Devices and percentiles for people to look at; nothing is decided by them"`
}

// ArmsView is both arms side by side.
type ArmsView struct {
	Candidate ArmView `json:"candidate"`
	Control   ArmView `json:"control"`
}

// TokenView is an access token without its secret.
type TokenView struct {
	Name      string    `json:"name" doc:"Unique; the audit log shows it"`
	Role      Role      `json:"role" enum:"viewer,operator,admin,edge"`
	Apps      []string  `json:"apps,omitempty" doc:"The apps it is limited to; none means all"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Expired   bool      `json:"expired,omitempty" doc:"It lets nobody in any more"`
}

// NewTokenView is a TokenView at the only moment when the secret is known.
type NewTokenView struct {
	TokenView
	Token string `json:"token" doc:"The secret. It is shown once: only its hash is stored"`
}

// Whoami is the caller's own token.
type Whoami struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Apps      []string  `json:"apps,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}
