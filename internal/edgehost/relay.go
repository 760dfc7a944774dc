package edgehost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// The bounds of one POST /relay; package internal/relay refuses what is larger.
const (
	maxReports = 100
	maxNotes   = 1000
	maxWeight  = 512 << 10 // bytes of reports as JSON strings; with the notes the body stays below a megabyte
)

// report is what a device said of itself, on /stats or /telemetry, and from where.
type report struct {
	path   string
	body   []byte
	source string // the network, see sourceOf; empty if it is not known
}

// weight returns how many bytes the body has as a JSON string, roughly and never too few.
func (r *report) weight() int {
	n := len(r.body) + 2
	for _, c := range r.body {
		switch {
		case c == '"' || c == '\\':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		}
	}
	return n
}

// fits reports whether the body can be handed over together with others: as text, and within the bounds. What does not fit goes to
// the origin by itself, as it is.
func (r *report) fits() bool { return r.weight() <= maxWeight && utf8.Valid(r.body) }

// note says that a device in an arm of a live rollout asked: the module's words, and when that was.
type note struct {
	text   []byte
	at     time.Time
	source string // as report's
}

// seen remembers notes. Each instance of the module notes a device once an hour, and does not know what the others noted.
type seen struct{ young, old map[uint64]struct{} }

// maxSeen is how many notes are remembered at least; twice as many at most.
const maxSeen = 1 << 15

// first reports whether a note was not seen in its hour, as far as is remembered.
func (s *seen) first(n note) bool {
	key := xxhash.Sum64(n.text) ^ uint64(n.at.Unix()/3600)*0x9E3779B97F4A7C15
	if _, ok := s.young[key]; ok {
		return false
	}
	_, again := s.old[key]
	if s.young == nil || len(s.young) >= maxSeen {
		s.young, s.old = make(map[uint64]struct{}), s.young
	}
	s.young[key] = struct{}{}
	return !again
}

// relayed is what the origin made of a batch.
type relayed struct {
	answers []answer      // one for each report
	taken   bool          // it has the notes
	after   time.Duration // when to come again with the notes, if not
}

// relay hands over notes and reports, which must fit. Its error is an *errUnreachable, an *errRefused, or the context's.
func (o *origin) relay(ctx context.Context, notes []note, reports []report) (relayed, error) {
	body, err := relayBody(notes, reports, o.reach.now())
	if err != nil {
		return relayed{}, err
	}
	req, err := o.own(ctx, http.MethodPost, pathRelay, body)
	if err != nil {
		return relayed{}, err
	}
	req.Header.Set("Content-Type", contentType)
	r, err := o.ask(ctx, req, maxAnswer)
	if err != nil {
		return relayed{}, err
	}
	return readRelayed(r.body, len(reports))
}

func relayBody(notes []note, reports []report, now time.Time) ([]byte, error) {
	type request struct {
		Path   string `json:"path"`
		Body   string `json:"body"`
		Source string `json:"source,omitempty"`
	}
	var batch struct {
		Checks   []json.RawMessage `json:"checks,omitempty"`
		Requests []request         `json:"requests,omitempty"`
	}
	for _, n := range notes {
		age := max(0, int64(now.Sub(n.at)/time.Second))
		check := fmt.Appendf(nil, `%s,"age":%d`, n.text, age)
		if n.source != "" {
			check = fmt.Appendf(check, `,"source":%q`, n.source)
		}
		batch.Checks = append(batch.Checks, append(check, '}'))
	}
	for _, r := range reports {
		batch.Requests = append(batch.Requests, request{r.path, string(r.body), r.source})
	}
	var out bytes.Buffer
	text := json.NewEncoder(&out)
	text.SetEscapeHTML(false)
	if err := text.Encode(batch); err != nil {
		return nil, fmt.Errorf("writing a batch for the origin: %w", err)
	}
	return out.Bytes(), nil
}

func readRelayed(body []byte, reports int) (relayed, error) {
	var said struct {
		Checks struct {
			Taken      *bool `json:"taken"`
			RetryAfter int   `json:"retry_after"`
		} `json:"checks"`
		Answers []struct {
			Status     int    `json:"status"`
			Body       string `json:"body"`
			RetryAfter int    `json:"retry_after"`
		} `json:"answers"`
	}
	if err := json.Unmarshal(body, &said); err != nil || len(said.Answers) != reports {
		return relayed{}, &errUnreachable{cause: errors.New("its answer to a batch is not one")}
	}
	out := relayed{
		taken: said.Checks.Taken == nil || *said.Checks.Taken, after: time.Duration(said.Checks.RetryAfter) * time.Second,
		answers: make([]answer, reports),
	}
	for i, a := range said.Answers {
		if a.Status < 200 || a.Status > 599 {
			return relayed{}, &errUnreachable{cause: fmt.Errorf("it answers a device %d", a.Status)}
		}
		out.answers[i] = answer{status: a.Status, body: []byte(a.Body), retryAfter: a.RetryAfter}
	}
	return out, nil
}
