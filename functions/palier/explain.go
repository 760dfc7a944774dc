package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"

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
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"device_id": {args[1]}}
			for name, v := range attrs {
				if *v != "" {
					q.Set(name, *v)
				}
			}
			var raw json.RawMessage
			if err := c.get(cmd.Context(), appPath(args[0], "explain")+"?"+q.Encode(), &raw); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), raw)
			}
			return printExplanation(cmd, raw)
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
	} {
		attrs[a.name] = cmd.Flags().String(a.flag, "", a.use)
	}
	return cmd
}

func printExplanation(cmd *cobra.Command, raw json.RawMessage) error {
	var out admin.ExplainView
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("the server's explanation: %w", err)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintln(w, out.Summary)
	for i, s := range out.Steps {
		mark := "✓"
		if !s.Passed {
			mark = "✗"
		}
		fmt.Fprintf(w, "%3d %s %-18s %s\n", i+1, mark, s.Name, s.Detail)
	}
	for _, name := range slices.Sorted(maps.Keys(out.Assumed)) {
		fmt.Fprintf(w, "    assumed: %s %s\n", name, out.Assumed[name])
	}
	return nil
}
