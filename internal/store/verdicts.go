package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Verdicts keeps every verdict on a rollout with all that it was given on, so that whoever doubts one can recompute it.
//
// A tick a minute reads nearly the same as the one before. So at most once an hour there is a frame, which holds a reading
// whole, and a record holds how its own differs from the frame that it names. Keys say when, and end in a digest of the
// content: writing the same twice is writing it once, two ticks at once keep both of theirs, and nothing ever changes.
//
// A rollout of ten days with a tick a minute is 14 400 verdicts. TestVerdictsAreSmall measures a day: 0.2 MB and 1 500 write
// units while no device comes, 1.3 MB and 1 800 for 5 000 active devices, 2.4 MB and 3 600 for a million. So ten days are
// 24 MB at most, and at DynamoDB's prices ($0.625 a million write units, $0.25 a gigabyte and month) 2 cents to write and
// 8 cents to keep for 400 days.
type Verdicts struct{ Store Store }

// VerdictRecord is one verdict with what it read. Nothing else is needed to recompute it.
type VerdictRecord struct {
	// ID names the record among those of its rollout, in the order of time. Append returns it and Each sets it.
	ID      string          `json:"-"`
	Judge   int             `json:"judge"`   // judge.Version
	Arch    string          `json:"arch"`    // runtime.GOARCH: another kind of processor may round a sum's last bit otherwise
	Input   judge.Input     `json:"input"`   // Now is the time of the verdict
	Verdict json.RawMessage `json:"verdict"` // the judge.Verdict, as json.Marshal wrote it
	// Verb is what the tick went on to do; empty when nothing. It is stored before it is done, so a tick that then lost the
	// race for its app has left its record too: the audit log has what was committed.
	Verb rollout.Verb `json:"verb,omitempty"`
}

// verdictLife is how long a record is kept: a year, and a month to look back over it.
const verdictLife = 400 * 24 * time.Hour

const (
	prefixFrame   = "frame#"
	prefixVerdict = "verdict#"
)

func verdictsPK(app, rolloutID string) string { return "VERDICT#" + app + "#" + rolloutID }

// verdictID names text of the instant at.
func verdictID(at time.Time, text []byte) string {
	digest := sha256.Sum256(text)
	return fmt.Sprintf("%013d-%x", at.UnixMilli(), digest[:4])
}

// verdictText is what a record or a frame holds.
type verdictText struct {
	Strata []judge.Stratum `json:"strata"`         // of a frame all; of a record those that differ from the frame's
	Gone   []StratumPlace  `json:"gone,omitempty"` // of the frame's
	Record VerdictRecord   `json:"record"`         // its Input is without strata
}

// Append stores r and returns its ID. Strata come back in the order of phases and hours, whatever theirs was. It fails with
// ErrTooLarge when what was read does not fit into one Write even when compressed: some ten thousand strata.
func (v Verdicts) Append(ctx context.Context, app, rolloutID string, r VerdictRecord) (id string, err error) {
	p := partition{v.Store, verdictsPK(app, rolloutID)}
	id, err = p.append(ctx, r)
	if err != nil {
		return "", fmt.Errorf("storing a verdict on rollout %s: %w", rolloutID, err)
	}
	return id, nil
}

// Each yields the verdicts on a rollout in the order of time, from the one that follows the ID after on; "" is before all.
// They are read as they are asked for. It ends with the first error, which it yields.
func (v Verdicts) Each(ctx context.Context, app, rolloutID, after string) iter.Seq2[VerdictRecord, error] {
	p := partition{v.Store, verdictsPK(app, rolloutID)}
	return func(yield func(VerdictRecord, error) bool) {
		err := p.each(ctx, after, func(r VerdictRecord) bool { return yield(r, nil) })
		if err != nil {
			yield(VerdictRecord{}, fmt.Errorf("reading the verdicts on rollout %s: %w", rolloutID, err))
		}
	}
}

// partition is where the verdicts on one rollout are.
type partition struct {
	store Store
	pk    string
}

func (p partition) append(ctx context.Context, r VerdictRecord) (id string, err error) {
	at := r.Input.Now
	f, err := p.newestFrame(ctx)
	if err != nil {
		return "", err
	}
	item := Item{Version: 1, Expires: at.Add(verdictLife)}
	if f.covers(at) {
		id, item.Value, err = f.pack(r)
	}
	if err == nil && (id == "" || len(item.Value) > partBytes) { // no frame, or it has grown too far from it
		if f, err = p.putFrame(ctx, r); err == nil {
			id, item.Value, err = f.pack(r)
		}
	}
	if err != nil {
		return "", err
	}
	item.Key = Key{p.pk, prefixVerdict + id}
	return id, p.store.Write(ctx, Put(item, Always()))
}

// verdictPage is how many records are fetched at a time: each is a kilobyte or two, and many times that when unpacked.
const verdictPage = 100

func (p partition) each(ctx context.Context, after string, yield func(VerdictRecord) bool) error {
	var f frame
	page := Range{PK: p.pk, Prefix: prefixVerdict, Limit: verdictPage}
	if after != "" {
		page.After = prefixVerdict + after
	}
	for {
		items, err := p.store.Query(ctx, page, Strong)
		if err != nil {
			return err
		}
		for _, item := range items {
			if id := frameOf(item.Value); id != f.id {
				if f, err = p.frame(ctx, id); err != nil {
					return fmt.Errorf("%s: %w", item.SK, err)
				}
			}
			r, err := f.unpack(strings.TrimPrefix(item.SK, prefixVerdict), item.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", item.SK, err)
			}
			if !yield(r) {
				return nil
			}
		}
		if len(items) < verdictPage {
			return nil
		}
		page.After = items[len(items)-1].SK
	}
}
