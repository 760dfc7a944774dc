package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/url"
	"runtime"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/store"
)

func newReplay(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "replay APP [ID]",
		Short: "Recompute every verdict on a rollout from what it read, and compare",
		Long: `Replay fetches every verdict on a rollout with the counts, the plan and the times that it was given on, has this palier's
own judge give it anew, and compares the two byte for byte. Nothing of the server's word is taken but what was counted.

The exit code is 0 when all are identical and 1 when one is not; then the first is shown with what differs. A verdict that
another version of the judge gave, or another kind of processor, may rightly differ: that is said.`,
		Example: `  palier replay com.example.shop
  palier replay com.example.shop 1.4.0 --json | jq .identical`,
		Args: appAndMaybeID, ValidArgsFunction: c.completeRollout, SuggestFor: []string{"recompute", "verify", "audit"},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			out := replayReport{App: args[0], Rollout: id, Judge: judge.Version, Arch: runtime.GOARCH}
			if err := c.eachVerdict(cmd, args[0], id, "recomputing", out.add); err != nil {
				return err
			}
			if c.json {
				err = printJSON(cmd.OutOrStdout(), out)
			} else {
				err = out.print(cmd.OutOrStdout())
			}
			if err == nil && out.Identical < out.Verdicts {
				err = errExit(exitFailed)
			}
			return err
		},
	}
}

// eachVerdict has take look at every verdict on a rollout, oldest first, and draws how far through the rollout's life that is.
// It ends with the first error, and fails when there is no verdict.
func (c *connection) eachVerdict(cmd *cobra.Command, app, id, doing string, take func(store.VerdictRecord) error) error {
	var r admin.RolloutView
	if err := c.get(cmd.Context(), appPath(app, "rollouts", id), &r); err != nil {
		return err
	}
	life := cmp.Or(r.EndedAt, c.now()).Sub(r.CreatedAt)
	bar := progressbar.NewOptions64(max(1, int64(life/time.Second)), progressbar.OptionSetWriter(cmd.ErrOrStderr()),
		progressbar.OptionSetWidth(30), progressbar.OptionSetDescription(doing), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetVisibility(isTerminal(cmd.ErrOrStderr())))
	read := 0
	for record, err := range c.verdicts(cmd.Context(), app, id) {
		if err == nil {
			err = take(record)
		}
		if err != nil {
			return err
		}
		read++
		passed := record.Input.Now.Sub(r.CreatedAt)
		_ = bar.Set64(int64(max(0, min(life, passed)) / time.Second)) // a bar that cannot be drawn changes nothing
	}
	_ = bar.Finish()
	if read == 0 {
		return fmt.Errorf("no verdict on rollout %s is stored: none has been given yet, or they are older than 400 days", id)
	}
	return nil
}

// verdicts yields every verdict on a rollout, oldest first, and ends with the first error.
func (c *connection) verdicts(ctx context.Context, app, id string) iter.Seq2[store.VerdictRecord, error] {
	return func(yield func(store.VerdictRecord, error) bool) {
		for after := ""; ; {
			var page admin.Items[admin.VerdictView]
			path := appPath(app, "rollouts", id, "verdicts") + "?limit=200&after=" + url.QueryEscape(after)
			if err := c.get(ctx, path, &page); err != nil {
				yield(store.VerdictRecord{}, err)
				return
			}
			var strata []judge.Stratum
			for _, v := range page.Items {
				strata = v.StrataOf(strata)
				v.Input.Strata = strata
				record := store.VerdictRecord{
					ID: v.ID, Judge: v.Judge, Arch: v.Arch, Input: v.Input, Verdict: v.Verdict, Verb: v.Verb,
				}
				if !yield(record, nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// replayReport is what recomputing showed.
type replayReport struct {
	App       string         `json:"app"`
	Rollout   string         `json:"rollout"`
	Verdicts  int            `json:"verdicts"`
	Identical int            `json:"identical"` // byte for byte
	From      time.Time      `json:"from,omitzero"`
	To        time.Time      `json:"to,omitzero"`
	Judge     int            `json:"judge"`          // version of this palier's
	Arch      string         `json:"arch"`           // its processor
	Others    int            `json:"other_versions"` // verdicts that another version gave
	First     *otherVerdict  `json:"first_difference,omitempty"`
	Decisions map[string]int `json:"decisions"`
}

// otherVerdict is a verdict that came out otherwise.
type otherVerdict struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Judge      int             `json:"judge"`
	Arch       string          `json:"arch"`
	Was        json.RawMessage `json:"was"`
	Is         json.RawMessage `json:"is"`
	Difference []string        `json:"difference"` // the fields that differ, in words
}

// add recomputes one verdict.
func (r *replayReport) add(record store.VerdictRecord) error {
	verdict := judge.Judge(record.Input)
	again, err := json.Marshal(verdict)
	if err != nil {
		return fmt.Errorf("encoding the verdict of %s: %w", record.Input.Now.Format(time.RFC3339), err)
	}
	if r.Verdicts == 0 {
		r.From, r.Decisions = record.Input.Now, map[string]int{}
	}
	r.Verdicts++
	r.To = record.Input.Now
	r.Decisions[string(verdict.Decision)]++
	if record.Judge != judge.Version {
		r.Others++
	}
	if bytes.Equal(again, record.Verdict) {
		r.Identical++
		return nil
	}
	if r.First == nil {
		r.First = &otherVerdict{
			ID: record.ID, At: record.Input.Now, Judge: record.Judge, Arch: record.Arch,
			Was: record.Verdict, Is: again, Difference: differences(record.Verdict, again),
		}
	}
	return nil
}

// print tells a person.
func (r *replayReport) print(w io.Writer) error {
	const minute = "2006-01-02 15:04"
	fmt.Fprintf(w, "rollout %s of %s: %d verdicts, %s to %s UTC\n", r.Rollout, r.App, r.Verdicts,
		r.From.UTC().Format(minute), r.To.UTC().Format(minute))
	if r.Others > 0 {
		fmt.Fprintln(w, wrap(fmt.Sprintf("%d of them were given by another version of the judge than this palier's, which is %d",
			r.Others, r.Judge), 2))
	}
	if r.First == nil {
		_, err := fmt.Fprintln(w, "all identical when recomputed, byte for byte")
		return err
	}
	f := r.First
	fmt.Fprintf(w, "%d identical, %d NOT; the first that is not: %s, given %s\n", r.Identical, r.Verdicts-r.Identical, f.ID,
		f.At.UTC().Format(time.RFC3339))
	for _, d := range f.Difference {
		fmt.Fprintln(w, "  "+d)
	}
	_, err := fmt.Fprintln(w, wrap(r.excuse(), 2))
	return err
}

// excuse says what may be behind the first difference.
func (r *replayReport) excuse() string {
	switch f := r.First; {
	case f.Judge != r.Judge:
		return fmt.Sprintf("judge version %d gave it, and this is version %d, so it may rightly differ: "+
			"replay with the palier that gave it", f.Judge, r.Judge)
	case f.Arch != r.Arch:
		return fmt.Sprintf("it was given on %s, and this is %s, where a last digit may be rounded otherwise: "+
			"replay there to be sure", f.Arch, r.Arch)
	}
	return "the same version of the judge gave it, so what is stored is not what was given, or not on what was read"
}
