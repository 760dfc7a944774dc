package edge

import (
	"bytes"
	"strings"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/seal"
)

// How many keys and Apps an Edge takes. Two keys are enough to change one for another.
const (
	MaxKeys = 4
	MaxApps = 64
)

// Edge answers update checks. It must not be used concurrently.
type Edge struct {
	keys []seal.Key
	apps []app

	request capgo.Request
	facts   resolve.Facts
	result  Result
	noted   *noted // nil until there is something to note

	tooLarge, unavailable *capgo.Refusal
}

// app is what is held of one App.
type app struct {
	id       string
	revision int64 // the newest seen, also after Forget
	issued   int64 // of that revision, the latest seen
	ends     int64 // when it no longer answers: its expiry and the grace, Unix seconds
	expires  int64
	snapshot *resolve.Snapshot // nil when the App was forgotten
	answers  *capgo.Answers
}

// New returns an Edge that trusts no key and serves no App yet.
func New() *Edge {
	return &Edge{tooLarge: capgo.TooLarge(capgo.MaxCheckBody), unavailable: capgo.Unavailable()}
}

// Trust adds a raw Ed25519 public key whose signatures count. It reports false for what is no key, and beyond MaxKeys.
func (e *Edge) Trust(key []byte) bool {
	if len(key) != len(seal.Key{}) || len(e.keys) == MaxKeys {
		return false
	}
	e.keys = append(e.keys, seal.Key(key))
	return true
}

// Outcome is what became of a sealed Snapshot.
type Outcome uint32

// The outcomes. Only Loaded changes what is answered.
const (
	Loaded    Outcome = iota
	Same              // it is the one already held; if it was issued anew, its expiry is the later one now
	Older             // a newer one was seen before
	Untrusted         // no trusted key signed it: it was tampered with, or the origin has another key
	Expired
	OtherApp  // it is of another App than the one asked for
	Malformed // it is no sealed Snapshot, or what it says makes no sense
	Full      // MaxApps are served already
)

// String returns the outcome as a word for logs.
func (o Outcome) String() string {
	switch o {
	case Loaded:
		return "loaded"
	case Same:
		return "same"
	case Older:
		return "older"
	case Untrusted:
		return "untrusted"
	case Expired:
		return "expired"
	case OtherApp:
		return "other_app"
	case Malformed:
		return "malformed"
	case Full:
		return "full"
	}
	return "unknown"
}

// Load takes the sealed Snapshot that was fetched for an App at the time now, in Unix seconds, to answer from until its
// expiry and grace seconds more. It keeps nothing of its arguments.
func (e *Edge) Load(id string, sealed []byte, now, grace uint32) Outcome {
	h, spec, ok := seal.Read(sealed)
	if !ok {
		return Malformed
	}
	if h.App != id {
		return OtherApp
	}
	held := e.find(id)
	if held != nil {
		switch {
		case h.Revision < held.revision:
			return Older
		case h.Revision == held.revision && h.Issued <= held.issued && held.snapshot != nil:
			return Same
		}
	}
	switch {
	case int64(now) >= h.Expires:
		return Expired
	case !seal.Verify(sealed, e.keys):
		return Untrusted
	}
	ends := h.Expires + int64(grace)
	if held != nil && held.snapshot != nil && h.Revision == held.revision {
		held.issued, held.expires, held.ends = h.Issued, h.Expires, ends
		return Same
	}
	return e.take(app{id: strings.Clone(id), revision: h.Revision, issued: h.Issued, expires: h.Expires, ends: ends}, bytes.Clone(spec))
}

// take compiles a verified Spec and answers from it from now on.
func (e *Edge) take(next app, text []byte) Outcome {
	spec, err := resolve.ParseSpec(text)
	if err != nil || spec.App != next.id || spec.Revision != next.revision {
		return Malformed
	}
	if next.snapshot, err = resolve.Compile(spec); err != nil {
		return Malformed
	}
	next.answers = capgo.NewAnswers(next.snapshot)
	if held := e.find(next.id); held != nil {
		*held = next
		return Loaded
	}
	if len(e.apps) == MaxApps {
		return Full
	}
	e.apps = append(e.apps, next)
	return Loaded
}

// Forget stops answering for an App, which the origin no longer has. Its revision stays remembered: a Snapshot from before is
// refused for ever.
func (e *Edge) Forget(id string) {
	if held := e.find(id); held != nil {
		held.snapshot, held.answers = nil, nil
	}
}

// find returns what is held of an App, or nil. There are few.
func (e *Edge) find(id string) *app {
	for i := range e.apps {
		if e.apps[i].id == id {
			return &e.apps[i]
		}
	}
	return nil
}

// Verdict says what to do with a Result.
type Verdict uint32

// The verdicts.
const (
	Answered   Verdict = iota // send the answer
	NeedsFacts                // ask the origin, which has the device's record; the answer is for when it cannot be reached
	NoSnapshot                // ask the origin; the answer is for when it cannot be reached
)

// Result is the answer to a check. Its slices are valid until the Edge is used again.
type Result struct {
	Verdict    Verdict
	Status     int    // HTTP
	Answer     []byte // JSON, never empty
	RetryAfter int    // seconds for the Retry-After header; 0 is no header
	Note       []byte // what to tell the origin if Answer is sent, see note.go; empty is nothing
	Stale      bool   // the Snapshot has expired and answers by grace
}

// Check answers the body of a POST /updates at the time now, in Unix seconds. facts is the device's Facts as JSON; empty means
// that they are not known.
func (e *Edge) Check(body, facts []byte, now uint32) *Result {
	if len(body) > capgo.MaxCheckBody {
		return e.TooLarge()
	}
	if refusal := e.request.ParseCheck(body); refusal != nil {
		return e.refuse(Answered, refusal)
	}
	c := &e.request.Check
	held := e.find(c.AppID)
	if held == nil || held.snapshot == nil || int64(now) >= held.ends {
		return e.Unavailable()
	}
	verdict, d := Answered, held.snapshot.Resolve(c, e.factsOf(held, facts))
	if d.Reason == resolve.NeedFacts {
		verdict, d = NeedsFacts, d.WithoutFacts()
	}
	e.result = Result{
		Verdict: verdict, Status: capgo.StatusOK, Answer: held.answers.Append(e.result.Answer[:0], c, d),
		Note: e.result.Note[:0], Stale: int64(now) >= held.expires,
	}
	if d.Arm != rollout.ArmNone {
		e.note(c, &d, now)
	}
	return &e.result
}

// factsOf returns the Facts of a text, or nil when there is none that can be read.
func (e *Edge) factsOf(held *app, text []byte) *resolve.Facts {
	if len(text) == 0 {
		return nil
	}
	facts, err := resolve.ParseFacts(text)
	if err != nil {
		return nil
	}
	e.facts = facts.Of(held.snapshot.Generation())
	return &e.facts
}

// TooLarge returns the answer to a check of more than capgo.MaxCheckBody bytes.
func (e *Edge) TooLarge() *Result { return e.refuse(Answered, e.tooLarge) }

// Unavailable returns the answer to a request that neither the Edge nor the origin can answer.
func (e *Edge) Unavailable() *Result { return e.refuse(NoSnapshot, e.unavailable) }

func (e *Edge) refuse(v Verdict, r *capgo.Refusal) *Result {
	e.result = Result{
		Verdict: v, Status: r.Status, Answer: r.Append(e.result.Answer[:0]), RetryAfter: r.RetryAfter, Note: e.result.Note[:0],
	}
	return &e.result
}
