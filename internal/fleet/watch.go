package fleet

import (
	"sync"
)

// Kind names what the server did wrong.
type Kind string

// The kinds of violation.
const (
	OfferedFailed   Kind = "offered_failed_bundle"  // after it had acknowledged that the bundle does not boot there
	OfferedRunning  Kind = "offered_running_bundle" // an offer of what the device reported to run
	MovedBack       Kind = "moved_back"             // to an older bundle, and Config.AllowDowngrade did not allow it
	EmptyBody       Kind = "empty_body"             // a 200 without a body, which iOS takes for a failure
	NotJSON         Kind = "not_json"               // a 200 that is no JSON object
	ErrorInOffer    Kind = "error_in_offer"         // an offer with an error, kind or message key: no update for most plugins
	MissingURL      Kind = "missing_url"            // an offer without an absolute URL
	MissingVersion  Kind = "missing_version"        // neither an offer nor a refusal
	MissingChecksum Kind = "missing_checksum"       // a zip offer without one, to a plugin that then refuses it
	MissingKind     Kind = "missing_kind"           // a refusal that newer plugins report as a failed download
	NullString      Kind = "null_string"            // null where the plugin reads a string
	WrongType       Kind = "wrong_type"             // a field of another type, which spoils the answer on iOS
	NotForPlugin    Kind = "not_for_plugin"         // a manifest or a version builtin for a plugin too old for it
	NoRetryAfter    Kind = "no_retry_after"         // a 429 that does not say when to come back
	ServerError     Kind = "server_error"           // a 5xx
	Refused         Kind = "refused"                // a 4xx, or a refused event: the fleet sends only valid requests
	Redirected      Kind = "redirected"             // a 3xx: a redirected POST becomes a GET
)

// Violation is one thing that the server did wrong to one device.
type Violation struct {
	Device string `json:"device"` // lower-case id
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail,omitempty"`
}

// keptViolations is how many violations a Report lists; further ones are only counted.
const keptViolations = 200

// ledger keeps the first violations and counts them all.
type ledger struct {
	counts tallies[Kind]
	mu     sync.Mutex
	first  []Violation
}

func (l *ledger) add(v Violation) {
	l.counts.add(v.Kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.first) < keptViolations {
		l.first = append(l.first, v)
	}
}

func (l *ledger) list() []Violation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Violation(nil), l.first...)
}

// tallies counts by name.
type tallies[K comparable] struct {
	mu     sync.Mutex
	counts map[K]uint64
}

func (t *tallies[K]) add(name K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[K]uint64)
	}
	t.counts[name]++
}

// snapshot returns a copy, never nil.
func (t *tallies[K]) snapshot() map[K]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[K]uint64, len(t.counts))
	for name, n := range t.counts {
		out[name] = n
	}
	return out
}

func (f *fleet) blame(d *device, kind Kind, detail string) {
	f.violations.add(Violation{Device: lower(d.id), Kind: kind, Detail: detail})
}

// countError counts a request that was not answered 2xx, by status or as network or timeout.
func (f *fleet) countError(name string) { f.errors.add(name) }
