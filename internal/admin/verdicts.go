package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

const (
	// maxVerdicts is the largest page of verdicts, as the parameter's tag says too.
	maxVerdicts = 200
	// maxVerdictBytes is where a page of verdicts ends, however many were asked for: Lambda answers with 6 MB at most.
	maxVerdictBytes = 4 << 20
)

// VerdictView is a verdict as it was given, with all that it was given on. In Input.Strata are only those that the verdict
// before it on the page did not read just so; all, in the first one on a page. StrataOf puts them together.
type VerdictView struct {
	ID       string               `json:"id" doc:"In the order of time"`
	At       time.Time            `json:"at"`
	Judge    int                  `json:"judge" doc:"Version of the judge: another one may judge the same input otherwise"`
	Arch     string               `json:"arch,omitempty" doc:"Processor it was judged on: another one may round a sum's last bit otherwise"`
	Decision judge.Decision       `json:"decision"`
	Verb     rollout.Verb         `json:"verb,omitempty" doc:"What the judge went on to do; the audit log says whether it was first"`
	Input    judge.Input          `json:"input" doc:"What was read. In strata are only those that changed since the verdict before; all, in a page's first"`
	Gone     []store.StratumPlace `json:"strata_gone,omitempty" doc:"Strata of the verdict before that are no more"`
	Verdict  json.RawMessage      `json:"verdict" doc:"Byte for byte as it was given"`
}

// StrataOf returns the strata that v read, given those of the verdict before it on the page; nil for the first one.
func (v VerdictView) StrataOf(before []judge.Stratum) []judge.Stratum {
	return store.StrataChange{Changed: v.Input.Strata, Gone: v.Gone}.ApplyTo(before)
}

type verdictsInput struct {
	RolloutPath
	After string `query:"after" maxLength:"64" doc:"Only verdicts after the one with this id"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"At most this many; fewer when they are large"`
}

func (s *Service) routeVerdicts(r router) {
	register(r, call{
		method: http.MethodGet, path: "/apps/{app}/rollouts/{id}/verdicts", id: "list-verdicts", tag: "insight", role: Viewer,
		summary: "Every verdict on a rollout with what it read, oldest first", errors: []int{400, 404},
	}, s.listVerdicts)
}

func (s *Service) listVerdicts(ctx context.Context, in *verdictsInput) (*object[Items[VerdictView]], error) {
	if _, err := s.rollout(ctx, &in.RolloutPath); err != nil {
		return nil, err
	}
	limit := min(max(in.Limit, 1), maxVerdicts)
	page, bytes := Items[VerdictView]{Items: []VerdictView{}}, 0
	var before []judge.Stratum
	for record, err := range s.verdicts.Each(ctx, in.App, in.ID, in.After) {
		if err != nil {
			return nil, err
		}
		view, size, err := viewVerdict(record, before)
		if err != nil {
			return nil, err
		}
		if n := len(page.Items); n == limit || n > 0 && bytes+size > maxVerdictBytes {
			page.Next = page.Items[n-1].ID
			break
		}
		bytes, before = bytes+size, record.Input.Strata
		page.Items = append(page.Items, view)
	}
	return answerWith(page), nil
}

// viewVerdict returns the record as it follows on one that read the strata before, and its size as JSON.
func viewVerdict(r store.VerdictRecord, before []judge.Stratum) (VerdictView, int, error) {
	var verdict struct{ Decision judge.Decision }
	if err := json.Unmarshal(r.Verdict, &verdict); err != nil {
		return VerdictView{}, 0, fmt.Errorf("reading verdict %s: %w", r.ID, err)
	}
	change := store.ChangeOfStrata(before, r.Input.Strata)
	view := VerdictView{
		ID: r.ID, At: r.Input.Now, Judge: r.Judge, Arch: r.Arch, Decision: verdict.Decision, Verb: r.Verb,
		Input: r.Input, Gone: change.Gone, Verdict: r.Verdict,
	}
	view.Input.Strata = append([]judge.Stratum{}, change.Changed...)
	text, err := json.Marshal(view)
	return view, len(text), err
}
