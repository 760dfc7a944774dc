package rollout

import (
	"errors"
	"strconv"
	"strings"
)

// Error is one thing wrong with what an operator asked for. Code is stable and meant for programs, Message is one
// sentence or two for people: what is wrong and what to do about it.
type Error struct {
	Code    string `json:"code"`
	Field   string `json:"field,omitempty"` // path within what was given: "phases[2].percent"
	Message string `json:"message"`
}

// Error returns the field, if any, and the message.
func (e Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// Errors is everything wrong at once, in the order of the fields. As an error it is never empty.
type Errors []Error

// Error joins the messages with semicolons.
func (es Errors) Error() string {
	texts := make([]string, len(es))
	for i, e := range es {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap lets errors.As find the first Error.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

// CodeOf returns the Code of the first Error within err, or "" when there is none.
func CodeOf(err error) string {
	var e Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Within returns err with prefix put before the Field of every Error in it: Within("bundles[1.4.0]", err). An err that
// holds no Error of this package is returned unchanged, nil included.
func Within(prefix string, err error) error {
	var list Errors
	if !errors.As(err, &list) {
		var one Error
		if !errors.As(err, &one) {
			return err
		}
		list = Errors{one}
	}
	out := make(Errors, len(list))
	for i, e := range list {
		if e.Field == "" {
			e.Field = prefix
		} else {
			e.Field = prefix + "." + e.Field
		}
		out[i] = e
	}
	return out
}

// The codes of a value that is wrong in itself.
const (
	CodeInvalidAppID         = "invalid_app_id"
	CodeInvalidName          = "invalid_name"
	CodeInvalidSemver        = "invalid_semver"
	CodeInvalidURL           = "invalid_url"
	CodeInvalidChecksum      = "invalid_checksum"
	CodeInvalidSessionKey    = "invalid_session_key"
	CodeInvalidKeyID         = "invalid_key_id"
	CodeInvalidFileName      = "invalid_file_name"
	CodeDuplicateFile        = "duplicate_file"
	CodeTooManyFiles         = "too_many_files"
	CodeTextTooLong          = "text_too_long"
	CodeInvalidPolicy        = "invalid_policy"
	CodeInvalidDeviceID      = "invalid_device_id"
	CodeInvalidCustomID      = "invalid_custom_id"
	CodeTooManyMembers       = "too_many_members"
	CodeInvalidPlatform      = "invalid_platform"
	CodeInvalidConstraint    = "invalid_constraint"
	CodeInvalidInstallSource = "invalid_install_source"
	CodeNoPhases             = "no_phases"
	CodeTooManyPhases        = "too_many_phases"
	CodeInvalidPercent       = "invalid_percent"
	CodePhasesShrink         = "phases_shrink"
	CodeInvalidHold          = "invalid_hold"
	CodeInvalidMinDevices    = "invalid_min_devices"
	CodeInvalidHoldback      = "invalid_holdback"
	CodeInvalidTimeout       = "invalid_timeout"
	CodeInvalidAlpha         = "invalid_alpha"
	CodeInvalidBeta          = "invalid_beta"
	CodeUnknownMetric        = "unknown_metric"
	CodeMetricNotJudged      = "metric_not_judged"
	CodeDuplicateGate        = "duplicate_gate"
	CodeInvalidMargin        = "invalid_margin"
	CodeInvalidSevere        = "invalid_severe"
	CodeInvalidLimit         = "invalid_limit"
	CodeInvalidAction        = "invalid_action"
	CodeIncompleteRequest    = "incomplete_request"
	CodeUnknownVerb          = "unknown_verb"
)

// The codes of a reference that leads nowhere.
const (
	CodeUnknownBundle   = "unknown_bundle"
	CodeUnknownChannel  = "unknown_channel"
	CodeUnknownSegment  = "unknown_segment"
	CodeUnknownPlan     = "unknown_plan"
	CodeRolloutNotFound = "rollout_not_found"
)

// The codes of a request that is well formed but not possible as things stand.
const (
	CodeNameMismatch          = "name_mismatch"
	CodeReservedName          = "reserved_name"
	CodePublicChannelConflict = "public_channel_conflict"
	CodeBundleImmutable       = "bundle_immutable"
	CodeLiveRolloutExists     = "live_rollout_exists"
	CodeRolloutExists         = "rollout_exists"
	CodeAlreadyCurrent        = "already_current"
	CodeHotfixScheduled       = "hotfix_scheduled"
	CodeRolloutEnded          = "rollout_ended"
	CodeNotStarted            = "not_started"
	CodeAlreadyStarted        = "already_started"
	CodeStartsLater           = "starts_later"
	CodePaused                = "paused"
	CodeNotPaused             = "not_paused"
	CodeApprovalNeeded        = "approval_needed"
	CodeApprovalNotNeeded     = "approval_not_needed"
	CodeAlreadyApproved       = "already_approved"
)

// problems collects Errors while a value is looked through.
type problems struct{ list Errors }

func (p *problems) add(code, field, message string) {
	p.list = append(p.list, Error{Code: code, Field: field, Message: message})
}

// require adds the problem unless ok.
func (p *problems) require(ok bool, code, field, message string) {
	if !ok {
		p.add(code, field, message)
	}
}

// err returns what was collected as an error, nil when nothing was.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return p.list
}

// at names an element of a list for an Error's Field: at("phases", 2, "percent") is "phases[2].percent".
func at(list string, i int, field string) string {
	path := list + "[" + strconv.Itoa(i) + "]"
	if field != "" {
		path += "." + field
	}
	return path
}

// under names an element of a map for an Error's Field: under("channels", "beta", "bundle") is "channels[beta].bundle".
func under(set, key, field string) string {
	path := set + "[" + key + "]"
	if field != "" {
		path += "." + field
	}
	return path
}
