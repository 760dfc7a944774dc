package main

import (
	"encoding/json"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func newExport(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "export APP",
		Short: "Print an app's whole document",
		Long:  "Export prints everything an operator has said of an app, as a document that apply takes back unchanged.",
		Example: `  palier export com.example.shop > shop.yaml
  palier export com.example.shop --json | jq .channels`,
		Args: exactArgs("APP"), ValidArgsFunction: c.completeApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			var document json.RawMessage
			if err := c.get(cmd.Context(), appPath(args[0]), &document); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), document)
			}
			text, err := yaml.JSONToYAML(document)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
