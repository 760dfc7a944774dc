package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
)

func newApp(c *connection) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "app", Short: "List and remove apps", Example: "  palier app list\n  palier app delete com.example.shop --yes",
	})
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", SuggestFor: []string{"ls"}, Short: "List the apps", Example: "  palier app list", Args: exactArgs(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				var out admin.Items[admin.AppSummary]
				if err := c.get(cmd.Context(), "/apps", &out); err != nil {
					return err
				}
				if c.json {
					return printJSON(cmd.OutOrStdout(), out)
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintln(w, "APP\tNAME\tREVISION")
				for _, a := range out.Items {
					fmt.Fprintf(w, "%s\t%s\t%d\n", a.App, a.Name, a.Revision)
				}
				return w.Flush()
			},
		},
		newAppDelete(c),
	)
	return cmd
}

func newAppDelete(c *connection) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "delete APP --yes",
		Short:   "Remove an app and everything it owns",
		Example: "  palier app delete com.example.shop --yes",
		Args:    exactArgs("APP"),

		SuggestFor:        []string{"remove", "rm"},
		ValidArgsFunction: c.completeApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usageError{fmt.Errorf("this removes %s with its bundles, channels and rollouts for good; say --yes to do it", args[0])}
			}
			if err := c.call(cmd.Context(), http.MethodDelete, appPath(args[0]), "", nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	return cmd
}
