package edgehost

import "strconv"

// Verdict says what to do with a Result; see package internal/edge.
type Verdict uint32

// The verdicts.
const (
	Answered   Verdict = iota // send the answer
	NeedsFacts                // ask the origin; the answer is for when it cannot be reached
	NoSnapshot                // as NeedsFacts
)

// Result is the answer to a check. It can be used again: Check writes over it and keeps its memory.
type Result struct {
	Verdict    Verdict
	Status     int    // HTTP
	RetryAfter int    // seconds for the Retry-After header; 0 is no header
	Stale      bool   // an expired Snapshot answers by grace
	Answer     []byte // JSON
	Note       []byte // what to tell the origin if Answer is sent: a JSON object without its closing brace; empty is nothing
}

// Outcome is what became of a sealed Snapshot; see package internal/edge.
type Outcome uint32

// The outcomes.
const (
	Loaded Outcome = iota
	Same
	Older
	Untrusted
	Expired
	OtherApp
	Malformed
	Full
)

// String returns the outcome as a word for logs and answers.
func (o Outcome) String() string {
	words := [...]string{"loaded", "same", "older", "untrusted", "expired", "other_app", "malformed", "full"}
	if int(o) < len(words) {
		return words[o]
	}
	return "outcome " + strconv.Itoa(int(o))
}

// taken reports whether the Snapshot is the one that answers now.
func (o Outcome) taken() bool { return o == Loaded || o == Same }
