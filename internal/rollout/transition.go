package rollout

import "time"

// Verb is something done to a rollout.
type Verb string

// The verbs. Start also begins a scheduled rollout whose time has come; Complete and Supersede never come from outside:
// promote out of the last phase completes, and starting a hotfix supersedes.
const (
	VerbStart     Verb = "start"
	VerbPause     Verb = "pause"
	VerbResume    Verb = "resume"
	VerbPromote   Verb = "promote"
	VerbApprove   Verb = "approve"
	VerbHold      Verb = "hold" // of the judge: nothing changes but that a person is asked to look
	VerbHalt      Verb = "halt"
	VerbRollback  Verb = "rollback"
	VerbComplete  Verb = "complete"
	VerbSupersede Verb = "supersede"
)

// Event is one line of an App's audit log.
type Event struct {
	ID      string         `json:"id"` // ULID, set by whoever commits; its time part is Time
	Time    time.Time      `json:"time"`
	Actor   string         `json:"actor"`   // token name, or "palier" when the judge acted
	Verb    string         `json:"verb"`    // apply, delete, or a rollout Verb
	Subject string         `json:"subject"` // what it was done to: "channel production", "rollout 01J…"
	Rollout string         `json:"rollout,omitempty"`
	From    RolloutState   `json:"from,omitempty"`
	To      RolloutState   `json:"to,omitempty"`
	Phase   int            `json:"phase,omitempty"`
	Percent Percent        `json:"percent,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Detail  map[string]any `json:"detail,omitempty"` // the evidence
}

// Transition is the outcome of a verb: the new values of what changed, and its audit events, to be committed together.
type Transition struct {
	Rollouts []Rollout
	Channel  Channel  // the rollout's channel after the change
	Bundles  []Bundle // bundles newly marked Served
	Events   []Event
}

// Command is a request to act on a rollout.
type Command struct {
	Verb   Verb
	Actor  string
	Reason string
	At     time.Time
	Code   string   // of a hold: what the person is asked about, as the judge's verdict codes it
	Alarms []Metric // of a pause by the judge: the metrics that showed harm
	Detail map[string]any
}

// StartRequest asks for a new rollout. ID and Salt are drawn by the caller, who has the randomness.
type StartRequest struct {
	ID       string
	Salt     Salt
	Channel  string
	Bundle   string
	Plan     Plan      // unresolved is fine: Start fills defaults and validates
	StartsAt time.Time // zero or past: at once
	Hotfix   bool      // allowed to supersede a live rollout on the channel
	Shadow   bool      // judge and report, but move by time alone
	Record   *Record   // what the app's devices did before; nil when nothing is known
	Actor    string
	Reason   string
	At       time.Time
}
