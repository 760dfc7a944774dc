package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/rollout"
)

func newRollout(c *connection) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "rollout",
		Short: "Start, watch and operate rollouts",
		Long: `A rollout walks a bundle through the phases of a plan on one channel, and is judged at every step.

ID, where a command takes one, is the rollout's id, the beginning of it, or the version of its bundle. Without one the
rollout that is live is meant, or the newest.`,
		Example: `  palier rollout start com.example.shop --channel production --bundle 1.4.0
  palier rollout status com.example.shop
  palier rollout rollback com.example.shop --reason "checkout is broken"`,
	})
	cmd.AddCommand(newRolloutStart(c), newRolloutList(c), newRolloutStatus(c), newRolloutWatch(c))
	for _, v := range []verb{
		{"pause", "New devices get the baseline; devices on the candidate keep it; can be resumed", "crashes in support tickets, looking into it", []string{"stop", "hold"}},
		{"resume", "Go on after a pause; the phase's clock goes on where it stopped", "the crashes come from an old device, not from this bundle", []string{"continue", "unpause"}},
		{"promote", "Go to the next phase now; out of the last one, complete", "tested by hand, the fix is urgent", []string{"advance", "next"}},
		{"approve", "Give the current phase the approval it waits for", "the testers are content", []string{"accept"}},
		{"halt", "End it: new devices get the baseline, devices on the candidate keep it", "1.5.0 will replace it", []string{"abort", "cancel"}},
		{"rollback", "End it: every device goes back to the baseline", "checkout is broken", []string{"revert", "undo"}},
	} {
		cmd.AddCommand(newRolloutVerb(c, v))
	}
	return cmd
}

func newRolloutStart(c *connection) *cobra.Command {
	var channel, bundle, plan, reason, at string
	var hotfix, shadow bool
	cmd := &cobra.Command{
		Use:   "start APP --channel NAME --bundle VERSION [--plan NAME|FILE]",
		Short: "Start a rollout of a bundle on a channel",
		Long: `Start begins a rollout. The plan is the name of a built-in one (progressive, cautious, groups, small, instant), of one of
the app's own, or a YAML file. --hotfix replaces the rollout that is live on the channel: devices that had its
candidate get the new one first.

--shadow has the rollout judged and reported on as any other, but the verdict never acts: a phase ends at its longest hold,
or at its least where there is none. Use it to see what the judge would do before you trust it.`,
		Example: `  palier rollout start com.example.shop --channel production --bundle 1.4.0
  palier rollout start com.example.shop --channel production --bundle 1.4.1 --plan cautious --hotfix
  palier rollout start com.example.shop --channel beta --bundle 1.5.0 --plan ./careful.yaml --at 2026-12-01T08:00:00Z`,
		Args: exactArgs("APP"), ValidArgsFunction: c.completeApp, SuggestFor: []string{"create", "new", "begin"},
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"channel": channel, "bundle": bundle, "hotfix": hotfix, "shadow": shadow}
			if reason != "" {
				in["reason"] = reason
			}
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usageError{fmt.Errorf("--at %q: want a time such as 2026-12-01T08:00:00Z", at)}
				}
				in["starts_at"] = t
			}
			if plan != "" {
				p, err := planArgument(plan)
				if err != nil {
					return err
				}
				in["plan"] = p
			}
			var out admin.RolloutView
			if err := c.send(cmd.Context(), http.MethodPost, appPath(args[0], "rollouts"), in, &out); err != nil {
				return err
			}
			warn(cmd.ErrOrStderr(), out.Warnings)
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "rollout %s: %s\nwatch it: palier rollout watch %s\n", out.ID, describe(out), args[0])
			printMargins(cmd.OutOrStdout(), out.Margins)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&channel, "channel", "production", "the channel it walks on")
	f.StringVar(&bundle, "bundle", "", "version of the candidate (required)")
	f.StringVar(&plan, "plan", "", "plan by name, or a YAML file (default progressive)")
	f.StringVar(&reason, "reason", "", "why, for the audit log")
	f.StringVar(&at, "at", "", "start later, at this time")
	f.BoolVar(&hotfix, "hotfix", false, "supersede the rollout that is live on the channel")
	f.BoolVar(&shadow, "shadow", false, "judge and report, but let time alone move it")
	_ = cmd.MarkFlagRequired("bundle")
	offer(cmd, "channel", c.completeNamed(channelsOf))
	offer(cmd, "bundle", c.completeNamed(bundlesOf))
	offer(cmd, "plan", c.completePlan)
	return cmd
}

// planArgument returns a plan's name, or the plan in a file when the argument names one.
func planArgument(arg string) (any, error) {
	if !strings.HasSuffix(arg, ".yaml") && !strings.HasSuffix(arg, ".yml") && !strings.HasSuffix(arg, ".json") {
		return arg, nil
	}
	raw, err := os.ReadFile(arg)
	if err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	text, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("the plan in %s: %w", arg, err)
	}
	return json.RawMessage(text), nil
}

func newRolloutList(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "list APP", Short: "List an app's rollouts, newest first", Example: "  palier rollout list com.example.shop",
		Args: exactArgs("APP"), ValidArgsFunction: c.completeApp, SuggestFor: []string{"ls"},
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := c.rollouts(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), admin.Items[admin.RolloutView]{Items: list})
			}
			return printRollouts(cmd.OutOrStdout(), list, c.now())
		},
	}
}

// printRollouts draws a table as wide as w at most; the reasons get what the other columns leave.
func printRollouts(w io.Writer, list []admin.RolloutView, now time.Time) error {
	const leastReason, gap = 10, 2
	width := terminalWidth(w)
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, gap, ' ', 0)
	fmt.Fprintln(t, "ID\tCHANNEL\tBUNDLE\tSTATE\tPHASE\tPERCENT\tSINCE\t")
	for _, r := range list {
		id := r.ID
		if width < plainWidth {
			id = shortest(id, list)
		}
		since := cmp.Or(r.EndedAt, r.PausedAt, r.PhaseStartedAt, r.CreatedAt)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\t\n", id, r.Channel, r.Bundle, stateColumn(r), r.Phase+1, r.Phases, r.Percent, sinceColumn(since, now))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	whys := []string{"WHY"}
	for _, r := range list {
		whys = append(whys, r.Reason)
	}
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		left := max(leastReason, width-utf8.RuneCountInString(line))
		if _, err := fmt.Fprintln(w, strings.TrimRight(line+clip(strings.Join(strings.Fields(whys[i]), " "), left), " ")); err != nil {
			return err
		}
	}
	return nil
}

// stateColumn is where a rollout is in its life, and whether the judge has a say in it.
func stateColumn(r admin.RolloutView) string {
	if r.Shadow {
		return inWords(r.State) + " (shadow)"
	}
	return inWords(r.State)
}

// sinceColumn is an age, or a time to come as a date.
func sinceColumn(t, now time.Time) string {
	if toCome(t, now) {
		return t.Format("01-02 15:04")
	}
	return age(now.Sub(t))
}

// shortest is the beginning of an id that no other in the list shares, and no less than its time.
func shortest(id string, list []admin.RolloutView) string {
	const timeLength = 10 // of a ULID
	for n := min(timeLength, len(id)); n < len(id); n++ {
		if !slices.ContainsFunc(list, func(r admin.RolloutView) bool { return r.ID != id && strings.HasPrefix(r.ID, id[:n]) }) {
			return id[:n]
		}
	}
	return id
}

// rollouts lists an app's rollouts, newest first.
func (c *connection) rollouts(ctx context.Context, app string) ([]admin.RolloutView, error) {
	var out admin.Items[admin.RolloutView]
	err := c.get(ctx, appPath(app, "rollouts"), &out)
	return out.Items, err
}

// pick returns the id of the rollout that is meant: the one named, or the app's only live one, or its newest one when
// none is live.
func (c *connection) pick(ctx context.Context, args []string) (string, error) {
	list, err := c.rollouts(ctx, args[0])
	if err != nil {
		return "", err
	}
	if len(args) > 1 {
		return find(args[0], list, args[1])
	}
	live := idsOf(list, func(r admin.RolloutView) bool { return r.State.Live() })
	switch {
	case len(live) == 1:
		return live[0], nil
	case len(live) > 1:
		return "", usageError{fmt.Errorf("%s has %d live rollouts; name one: %s", args[0], len(live), strings.Join(live, ", "))}
	case len(list) > 0:
		return list[0].ID, nil
	}
	return "", fmt.Errorf("%s has no rollout yet; start one: palier rollout start %s --bundle VERSION", args[0], args[0])
}

// find returns the id of the rollout of that id, of that beginning of an id, or of that bundle; of several with the bundle, the one
// that is live.
func find(app string, list []admin.RolloutView, name string) (string, error) {
	for _, of := range []func(admin.RolloutView) bool{
		func(r admin.RolloutView) bool { return strings.EqualFold(r.ID, name) },
		func(r admin.RolloutView) bool { return r.Bundle == name && r.State.Live() },
		func(r admin.RolloutView) bool { return r.Bundle == name },
		func(r admin.RolloutView) bool { return strings.HasPrefix(r.ID, strings.ToUpper(name)) },
	} {
		switch ids := idsOf(list, of); {
		case len(ids) == 1:
			return ids[0], nil
		case len(ids) > 1:
			return "", fmt.Errorf("%q may be %d rollouts of %s; name one by its id: %s", name, len(ids), app, strings.Join(ids, ", "))
		}
	}
	return "", fmt.Errorf("%s has no rollout with the id or the bundle %q; see palier rollout list %s", app, name, app)
}

func idsOf(list []admin.RolloutView, of func(admin.RolloutView) bool) (ids []string) {
	for _, r := range list {
		if of(r) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// appAndMaybeID accepts APP [ID].
func appAndMaybeID(cmd *cobra.Command, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usageError{fmt.Errorf("%s wants APP and, if several rollouts are live, an ID; see %s --help", cmd.Name(), cmd.CommandPath())}
	}
	return nil
}

func newRolloutStatus(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "status APP [ID]", Short: "Show where a rollout stands and what its numbers say",
		Example: `  palier rollout status com.example.shop
  palier rollout status com.example.shop 1.4.0 --json | jq .verdict`,
		Args: appAndMaybeID, ValidArgsFunction: c.completeRollout, SuggestFor: []string{"show", "get", "info"},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			if c.json {
				var raw json.RawMessage
				if err := c.get(cmd.Context(), appPath(args[0], "rollouts", id, "metrics"), &raw); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), raw)
			}
			l, err := c.look(cmd.Context(), args[0], id)
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), l)
			return nil
		},
	}
}

// verb is a command that operates a rollout.
type verb struct {
	name, short, reason string   // reason: a fitting one, for the example
	alike               []string // what people may type for it
}

func newRolloutVerb(c *connection, v verb) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     v.name + " APP [ID]",
		Short:   v.short,
		Example: fmt.Sprintf("  palier rollout %s com.example.shop --reason %q", v.name, v.reason),
		Args:    appAndMaybeID,

		SuggestFor:        v.alike,
		ValidArgsFunction: c.completeRollout,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			var out admin.RolloutView
			if err := c.send(cmd.Context(), http.MethodPost, appPath(args[0], "rollouts", id, v.name), map[string]string{"reason": reason}, &out); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "rollout %s: %s\n", out.ID, describe(out))
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

// describe says in a few words where a rollout is.
func describe(r admin.RolloutView) string {
	base := cmp.Or(r.Baseline, "the store build")
	text := fmt.Sprintf("%s over %s on %s is %s", r.Bundle, base, r.Channel, inWords(r.State))
	switch {
	case r.State == rollout.Scheduled:
		text += fmt.Sprintf(" for %s", r.StartsAt.Format("2006-01-02 15:04 MST"))
	case r.State.Live():
		text += fmt.Sprintf(", phase %d of %d (%s)", r.Phase+1, r.Phases, share(r))
	}
	if r.Shadow {
		text += ", a shadow: moved by time alone"
	}
	return text
}

func inWords(s rollout.RolloutState) string { return strings.ReplaceAll(string(s), "_", " ") }

// share says whom a rollout's candidate is for now.
func share(r admin.RolloutView) string {
	if r.State == rollout.Completed {
		return "everyone"
	}
	return shareOf(r.Percent, r.Plan, r.Phase)
}

// shareOf says whom the phase of the plan is for, when it admits percent: "5 %", "everyone", "everyone but the 1 %
// control", "everyone in internal".
func shareOf(percent rollout.Percent, plan rollout.Plan, phase int) string {
	text := percent.String() + " %"
	var segments []string
	if phase >= 0 && phase < len(plan.Phases) {
		segments = plan.Phases[phase].Segments
	}
	switch {
	case percent == rollout.Everyone:
		text = "everyone"
	case len(segments) == 0 && plan.Holdback > 0 && percent == rollout.Everyone-plan.Holdback:
		text = fmt.Sprintf("everyone but the %s %% control", plan.Holdback)
	}
	if len(segments) > 0 {
		text += " in " + strings.Join(segments, ", ")
	}
	return text
}
