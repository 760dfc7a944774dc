package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
)

func newExplain(c *connection) *cobra.Command {
	var attrs = map[string]*string{}
	cmd := &cobra.Command{
		Use:   "explain APP DEVICE_ID",
		Short: "Say what a device gets and why, step by step",
		Long: `Explain runs the decision that the device would get now and prints every step: the channel, the rollout, the
device's position, the phase, segments and rules, its own record, and the outcome. What only the device knows (its
platform, versions …) is assumed unless given; the answer says what was assumed.`,
		Example: `  palier explain com.example.shop 00009a6b-eefe-490a-9c60-8e965132ae51 --platform ios --version-name 1.3.0`,
		Args:    exactArgs("APP", "DEVICE_ID"),

		ValidArgsFunction: c.completeApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"device_id": {args[1]}}
			for name, v := range attrs {
				if *v != "" {
					q.Set(name, *v)
				}
			}
			var out admin.ExplainView
			if err := c.get(cmd.Context(), appPath(args[0], "explain")+"?"+q.Encode(), &out); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			printExplanation(cmd.OutOrStdout(), out)
			return nil
		},
	}
	for _, a := range []struct{ name, flag, use string }{
		{"platform", "platform", "android, ios or electron"},
		{"version_name", "version-name", "bundle that it runs"},
		{"version_build", "version-build", "native version"},
		{"plugin_version", "plugin-version", "version of the updater plugin"},
		{"version_os", "version-os", "version of its operating system"},
		{"custom_id", "custom-id", "its custom id"},
		{"default_channel", "default-channel", "channel that it asks for"},
		{"is_prod", "is-prod", "true for a build from a store, false for a developer's"},
		{"is_emulator", "is-emulator", "true for an emulator"},
	} {
		attrs[a.name] = cmd.Flags().String(a.flag, "", a.use)
	}
	offer(cmd, "platform", cobra.FixedCompletions([]cobra.Completion{"android", "ios", "electron"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// printExplanation writes the answer, what led to it, and what was taken for granted, as the flags that would say otherwise.
func printExplanation(w io.Writer, out admin.ExplainView) {
	fmt.Fprintf(w, "%s\n\nstep by step (✓ speaks for an update, ✗ against):\n", wrap(out.Summary, 0))
	for i, s := range out.Steps {
		mark := "✓"
		if !s.Passed {
			mark = "✗"
		}
		detail := s.Detail
		if s.Name == "position" {
			detail += ": the device's fixed place in this rollout; a phase of 20 % reaches the places below 20"
		}
		fmt.Fprintln(w, wrap(fmt.Sprintf("%3d %s %s: %s", i+1, mark, s.Name, detail), 6))
	}
	var assumed []string
	for _, name := range slices.Sorted(maps.Keys(out.Assumed)) {
		assumed = append(assumed, "--"+strings.ReplaceAll(name, "_", "-")+" "+out.Assumed[name])
	}
	if len(assumed) > 0 {
		fmt.Fprintln(w, "\n"+wrap("assumed, since not given: "+strings.Join(assumed, ", "), 2))
	}
}
