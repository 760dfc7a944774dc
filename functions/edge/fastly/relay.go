//go:build wasip1

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fastly/compute-sdk-go/fsthttp"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/source"
)

const (
	maxReport = 512 << 10 // bytes of a report as JSON; a batch has a megabyte at most, and notes take the rest
	maxNotes  = 1000      // in a batch
	someNotes = 100       // are handed over, and
	oldNotes  = time.Second
	// retryNotes is when to try again with notes that the origin did not take.
	retryNotes = 5 * time.Second
)

// errRefused says that the origin takes no batch from here, or not this one.
var errRefused = errors.New("the origin takes no batch")

// note says that a device in an arm of a live rollout asked: the edge's words, and when that was.
type note struct {
	text   []byte
	at     time.Time
	source string // as report's
}

// report is what a device said on /stats or /telemetry, and from which network; empty if that is not known.
type report struct {
	Path   string `json:"path"`
	Body   string `json:"body"`
	Source string `json:"source,omitempty"`
}

// sourceOf returns the network that a request comes from, which is what the origin wants to know of it. The address itself goes
// nowhere.
func sourceOf(r *fsthttp.Request) string {
	network, ok := source.Of(r.RemoteAddr, nil, nil)
	if !ok {
		return ""
	}
	return network.String()
}

// note remembers who asked, for the next batch. When there are too many, all are forgotten, and who asks again is noted again.
func (h *host) note(text []byte, from string) {
	if len(text) == 0 {
		return
	}
	if len(h.notes) == maxNotes {
		h.notes = nil
		h.core.Renote()
	}
	h.notes = append(h.notes, note{bytes.Clone(text), time.Now(), from})
}

// handOverSome hands over notes when there are some, or old ones.
func (h *host) handOverSome(ctx context.Context) {
	now := time.Now()
	if len(h.notes) == 0 || now.Before(h.notesDue) || len(h.notes) < someNotes && now.Sub(h.notes[0].at) < oldNotes {
		return
	}
	h.handOver(ctx)
}

// handOver hands over all notes. What the origin does not take is kept, as long as the sandbox lives.
func (h *host) handOver(ctx context.Context) {
	if len(h.notes) == 0 {
		return
	}
	if _, err := h.relay(ctx); err != nil {
		h.log.Warn("notes are not handed over", "notes", len(h.notes), "problem", err)
	}
}

// relayed is what the origin makes of a batch.
type relayed struct {
	Checks struct {
		Taken *bool `json:"taken"`
	} `json:"checks"`
	Answers []struct {
		Status     int    `json:"status"`
		Body       string `json:"body"`
		RetryAfter int    `json:"retry_after"`
	} `json:"answers"`
}

// relay hands over reports, and the notes with them, and returns an answer for each report. Its error is errRefused, or says that
// the origin cannot be reached.
func (h *host) relay(ctx context.Context, reports ...report) ([]answer, error) {
	h.notesDue = time.Now().Add(retryNotes)
	said, err := h.origin.relay(ctx, h.notes, reports)
	if err != nil {
		return nil, err
	}
	if said.Checks.Taken == nil || *said.Checks.Taken {
		h.notes, h.notesDue = h.notes[:0], time.Time{}
	}
	answers := make([]answer, len(reports))
	for i, a := range said.Answers {
		answers[i] = answer{status: a.Status, body: []byte(a.Body), retryAfter: a.RetryAfter}
	}
	return answers, nil
}

func (o *origin) relay(ctx context.Context, notes []note, reports []report) (said relayed, err error) {
	var batch struct {
		Checks   []json.RawMessage `json:"checks,omitempty"`
		Requests []report          `json:"requests,omitempty"`
	}
	batch.Requests = reports
	for _, n := range notes {
		check := fmt.Appendf(nil, `%s,"age":%d`, n.text, time.Since(n.at)/time.Second)
		if n.source != "" {
			check = fmt.Appendf(check, `,"source":%q`, n.source)
		}
		batch.Checks = append(batch.Checks, append(check, '}'))
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return said, fmt.Errorf("writing a batch: %w", err)
	}
	req, err := o.own(fsthttp.MethodPost, "/relay", bytes.NewReader(body))
	if err != nil {
		return said, err
	}
	req.Header.Set("Content-Type", capgo.ContentType)
	r, err := o.do(ctx, req, patienceOwn)
	switch {
	case err != nil:
		return said, err
	case r.status == fsthttp.StatusTooManyRequests:
		return said, errors.New("the origin has too much to do")
	case r.status != fsthttp.StatusOK:
		return said, fmt.Errorf("%w: it answers %d", errRefused, r.status)
	}
	if err := json.Unmarshal(r.body, &said); err != nil || len(said.Answers) != len(reports) {
		return said, errors.New("what the origin answers to a batch is no answer to one")
	}
	for _, a := range said.Answers {
		if a.Status < 200 || a.Status > 599 {
			return said, fmt.Errorf("the origin answers a device %d", a.Status)
		}
	}
	return said, nil
}
