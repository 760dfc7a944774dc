package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
)

func newBacktest(c *connection) *cobra.Command {
	var plan string
	cmd := &cobra.Command{
		Use:   "backtest APP ID --plan NAME|FILE",
		Short: "Try a plan on what was recorded of a past rollout, without doing anything",
		Long: `Backtest walks a plan over the recorded verdicts of a rollout: with its own gates, margins, rates and holds it judges the
devices as they were counted at each moment. It tells when the plan would have gone on, asked, paused, halted or taken the
bundle back, beside what really happened, and how many devices had the bundle by then. Nothing is sent to any device.

Which devices had the bundle when is as recorded. Where the plan would have given it to others, backtest says what the
recording cannot answer. A shadow rollout (palier rollout start --shadow) records the most, since nothing stops it.`,
		Example: `  palier backtest com.example.shop 1.4.0 --plan cautious
  palier backtest com.example.shop 1.4.0 --plan ./stricter.yaml --json | jq .plan`,
		Args: exactArgs("APP", "ID"), ValidArgsFunction: c.completeRollout, SuggestFor: []string{"dryrun", "whatif"},
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := c.backtest(cmd, args, plan)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			return out.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&plan, "plan", "", "plan by name, or a YAML file (required)")
	_ = cmd.MarkFlagRequired("plan")
	offer(cmd, "plan", c.completePlan)
	return cmd
}

// backtestReport is what a plan would have done, and what happened.
type backtestReport struct {
	promote.BacktestResult
	App      string            `json:"app"`
	Rollout  admin.RolloutView `json:"rollout"` // as it is now
	PlanName string            `json:"plan_name"`
	// PhaseName is that of the plan's phase at the end.
	PhaseName string          `json:"phase_name"`
	Happened  []rollout.Event `json:"happened"` // the rollout's part of the audit log, oldest first
}

func (c *connection) backtest(cmd *cobra.Command, args []string, plan string) (out backtestReport, err error) {
	ctx := cmd.Context()
	out.App = args[0]
	id, err := c.pick(ctx, args)
	if err != nil {
		return out, err
	}
	if err := c.get(ctx, appPath(out.App, "rollouts", id), &out.Rollout); err != nil {
		return out, err
	}
	walked, err := c.planOf(ctx, out.App, plan)
	if err != nil {
		return out, err
	}
	out.PlanName = cmp.Or(walked.Name, plan)
	if out.Happened, err = c.history(ctx, out.App, id); err != nil {
		return out, err
	}
	walk := promote.NewBacktest(walked)
	if err := c.eachVerdict(cmd, out.App, id, "judging", walk.Read); err != nil {
		return out, err
	}
	out.BacktestResult = walk.Result()
	out.PhaseName = rollout.Resolve(walked).Phases[out.Phase].Name
	return out, nil
}

// planOf returns the plan in a file, or the app's or the built-in one of that name.
func (c *connection) planOf(ctx context.Context, app, argument string) (rollout.Plan, error) {
	name, plan, err := readPlan(argument)
	if err != nil {
		return plan, err
	}
	if name != "" {
		err = c.get(ctx, appPath(app, "plans", name), &plan)
		return plan, err
	}
	if err := plan.Validate(); err != nil {
		return plan, usageError{fmt.Errorf("the plan in %s: %w", argument, err)}
	}
	return plan, nil
}

// history returns a rollout's part of its app's audit log, oldest first.
func (c *connection) history(ctx context.Context, app, id string) ([]rollout.Event, error) {
	events := []rollout.Event{}
	for before := ""; ; {
		var page admin.Items[rollout.Event]
		if err := c.get(ctx, appPath(app, "events")+"?limit=500&before="+url.QueryEscape(before), &page); err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			if e.Rollout != id {
				continue
			}
			e.Detail = nil // the evidence is told with the verdicts
			events = append(events, e)
			if e.Verb == string(rollout.VerbStart) && e.From == "" {
				page.Next = "" // nothing of it is older
			}
		}
		if before = page.Next; before == "" {
			slices.Reverse(events)
			return events, nil
		}
	}
}

// sceneIndent is where a scene's text begins.
const sceneIndent = 21

// scene is a line of the story: something that happened, or that the plan would have done.
type scene struct {
	at   time.Time
	who  string
	text string
}

// print tells a person.
func (r backtestReport) print(w io.Writer) error {
	begun := cmp.Or(r.Rollout.CreatedAt, r.From)
	if len(r.Happened) > 0 {
		begun = r.Happened[0].Time
	}
	fmt.Fprintf(w, "plan %s on what was recorded of %s (rollout %s)\n", r.PlanName, r.Rollout.Bundle, r.Rollout.ID)
	fmt.Fprintf(w, "%d verdicts in %s\n\n", r.Verdicts, short(rollout.Duration(r.To.Sub(begun))))
	fmt.Fprintf(w, "%-9s %s\n%-9s %s\n", "happened", r.happenedLane(begun), "plan", r.planLane(begun))
	fmt.Fprintf(w, "%-9s %s\n\n", "", "▶ goes on  ? asks a person  ‖ pauses  ▪ halts  ◀ takes back  ✓ everyone")
	for _, s := range r.scenes() {
		text := wrap(strings.Repeat(" ", sceneIndent)+s.text, sceneIndent)
		fmt.Fprintf(w, "%9s  %-*s%s\n", "+"+short(rollout.Duration(s.at.Sub(begun))), sceneIndent-11, s.who, text[sceneIndent:])
	}
	_, err := fmt.Fprintln(w, "\n"+wrap(r.sum(), 0))
	return err
}

// scenes are what happened and what the plan would have done, in the order of time.
func (r backtestReport) scenes() (all []scene) {
	for _, e := range r.Happened {
		text := fmt.Sprintf("%s by %s, %s %%", e.Verb, e.Actor, e.Percent)
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		all = append(all, scene{e.Time, "happened", clip(text, 240)})
	}
	for _, s := range r.Plan {
		text := fmt.Sprintf("%s, after %d candidate devices", s.Verb, s.Devices)
		if s.Percent > 0 {
			text = fmt.Sprintf("%s, %s %%, after %d candidate devices", s.Verb, s.Percent, s.Devices)
		}
		all = append(all, scene{s.At, "plan", clip(text+": "+s.Sentence, 240)})
	}
	for _, n := range r.Notes {
		all = append(all, scene{n.At, "note", n.Text})
	}
	slices.SortStableFunc(all, func(a, b scene) int { return a.at.Compare(b.at) })
	return all
}

// sum is the outcome in a sentence.
func (r backtestReport) sum() string {
	text := fmt.Sprintf("With the plan %s the bundle would be %s", r.PlanName, inWords(r.State))
	if r.Waiting != "" {
		text += " and waiting for a person"
	}
	if r.State.Live() {
		text += fmt.Sprintf(" in phase %d (%s) when the recording ends", r.Phase+1, r.PhaseName)
	} else if n := len(r.Plan); n > 0 {
		text += " " + short(rollout.Duration(r.Plan[n-1].At.Sub(r.From))) + " after the first verdict"
	}
	return text + fmt.Sprintf("; by then the recording counts %d candidate devices. Really it is %s.", r.Devices, inWords(r.Rollout.State))
}

// mark is a sign on a lane.
type mark struct {
	at   time.Time
	verb rollout.Verb
}

func (r backtestReport) happenedLane(begun time.Time) string {
	var marks []mark
	for _, e := range r.Happened {
		marks = append(marks, mark{e.Time, rollout.Verb(e.Verb)})
	}
	return lane(marks, begun, r.To)
}

func (r backtestReport) planLane(begun time.Time) string {
	var marks []mark
	for _, s := range r.Plan {
		marks = append(marks, mark{s.At, s.Verb})
	}
	return lane(marks, begun, r.To)
}

// lane draws marks on a line from one instant to another, which ends where the rollout does.
func lane(marks []mark, from, to time.Time) string {
	const width = 60
	place := func(at time.Time) int {
		if !to.After(from) {
			return 0
		}
		return max(0, min(width-1, int(float64(width-1)*float64(at.Sub(from))/float64(to.Sub(from)))))
	}
	cells := []rune(strings.Repeat("─", width))
	for _, m := range marks {
		at := place(m.at)
		sign, ends := signOf(m.verb)
		if sign != 0 {
			cells[at] = sign
		}
		if ends {
			return string(cells[:at+1])
		}
	}
	return string(cells)
}

// signOf returns how a verb is drawn, 0 for one that is not, and whether it ends the rollout.
func signOf(v rollout.Verb) (sign rune, ends bool) {
	switch v {
	case rollout.VerbPromote, rollout.VerbResume:
		return '▶', false
	case rollout.VerbHold:
		return '?', false
	case rollout.VerbPause:
		return '‖', false
	case rollout.VerbHalt, rollout.VerbSupersede:
		return '▪', true
	case rollout.VerbRollback:
		return '◀', true
	case rollout.VerbComplete:
		return '✓', true
	}
	return 0, false
}
