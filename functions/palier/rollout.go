package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
)

func newRollout(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Start, watch and operate rollouts",
		Long:  "A rollout walks a bundle through the phases of a plan on one channel, and is judged at every step.",
	}
	cmd.AddCommand(newRolloutStart(c), newRolloutList(c), newRolloutStatus(c), newRolloutWatch(c))
	for _, v := range []struct{ verb, short string }{
		{"pause", "New devices get the baseline; devices on the candidate keep it; can be resumed"},
		{"resume", "Go on after a pause; the phase's clock goes on where it stopped"},
		{"promote", "Go to the next phase now; out of the last one, complete"},
		{"approve", "Give the current phase the approval it waits for"},
		{"halt", "End it: new devices get the baseline, devices on the candidate keep it"},
		{"rollback", "End it: every device goes back to the baseline"},
	} {
		cmd.AddCommand(newRolloutVerb(c, v.verb, v.short))
	}
	return cmd
}

func newRolloutStart(c *connection) *cobra.Command {
	var channel, bundle, plan, reason, at string
	var hotfix bool
	cmd := &cobra.Command{
		Use:   "start APP --channel NAME --bundle VERSION [--plan NAME|FILE]",
		Short: "Start a rollout of a bundle on a channel",
		Long: `Start begins a rollout. The plan is the name of a built-in one (progressive, cautious, groups, instant), of one of
the app's own, or a YAML file. --hotfix replaces the rollout that is live on the channel: devices that had its
candidate get the new one first.`,
		Example: `  palier rollout start com.example.shop --channel production --bundle 1.4.0
  palier rollout start com.example.shop --channel production --bundle 1.4.1 --plan cautious --hotfix
  palier rollout start com.example.shop --channel beta --bundle 1.5.0 --plan ./careful.yaml --at 2026-12-01T08:00:00Z`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"channel": channel, "bundle": bundle, "hotfix": hotfix}
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
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "rollout %s: %s\nwatch it: palier rollout watch %s\n", out.ID, describe(out), args[0])
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
	_ = cmd.MarkFlagRequired("bundle")
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
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := c.rollouts(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tCHANNEL\tBUNDLE\tSTATE\tPHASE\tPERCENT\tWHY")
			for _, r := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\n", r.ID, r.Channel, r.Bundle, r.State, r.Phase+1, r.Phases, r.Percent, clip(r.Reason, 80))
			}
			return w.Flush()
		},
	}
}

// rollouts lists an app's rollouts, newest first.
func (c *connection) rollouts(ctx context.Context, app string) ([]admin.RolloutView, error) {
	var out admin.Items[admin.RolloutView]
	err := c.get(ctx, appPath(app, "rollouts"), &out)
	return out.Items, err
}

// pick returns the id given, or the app's only live rollout, or its newest one when none is live.
func (c *connection) pick(ctx context.Context, args []string) (string, error) {
	if len(args) > 1 {
		return args[1], nil
	}
	list, err := c.rollouts(ctx, args[0])
	if err != nil {
		return "", err
	}
	var live []string
	for _, r := range list {
		if r.State.Live() {
			live = append(live, r.ID)
		}
	}
	switch {
	case len(live) == 1:
		return live[0], nil
	case len(live) > 1:
		return "", usageError{fmt.Errorf("%s has %d live rollouts; name one: %s", args[0], len(live), strings.Join(live, ", "))}
	case len(list) > 0:
		return list[0].ID, nil
	}
	return "", usageError{fmt.Errorf("%s has no rollout yet; see palier rollout start --help", args[0])}
}

// appAndMaybeID accepts APP [ID].
func appAndMaybeID(cmd *cobra.Command, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usageError{fmt.Errorf("%s wants APP and, if several rollouts are live, an ID", cmd.CommandPath())}
	}
	return nil
}

func newRolloutStatus(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "status APP [ID]", Short: "Show where a rollout stands and what its numbers say",
		Example: "  palier rollout status com.example.shop",
		Args:    appAndMaybeID,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.get(cmd.Context(), appPath(args[0], "rollouts", id, "metrics"), &raw); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), raw)
			}
			var m admin.MetricsView
			if err := json.Unmarshal(raw, &m); err != nil {
				return fmt.Errorf("the server's metrics: %w", err)
			}
			return printStatus(cmd.OutOrStdout(), m)
		},
	}
}

func newRolloutVerb(c *connection, verb, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     verb + " APP [ID]",
		Short:   short,
		Example: fmt.Sprintf("  palier rollout %s com.example.shop --reason \"seen in support tickets\"", verb),
		Args:    appAndMaybeID,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			var out admin.RolloutView
			if err := c.send(cmd.Context(), http.MethodPost, appPath(args[0], "rollouts", id, verb), map[string]string{"reason": reason}, &out); err != nil {
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
	base := r.Baseline
	if base == "" {
		base = "the store build"
	}
	text := fmt.Sprintf("%s over %s on %s is %s", r.Bundle, base, r.Channel, strings.ReplaceAll(string(r.State), "_", " "))
	if r.State.Live() {
		text += fmt.Sprintf(", phase %d of %d (%s %%)", r.Phase+1, r.Phases, r.Percent)
	}
	return text
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
