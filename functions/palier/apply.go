package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
)

const maxDocument = 2 << 20

func newApply(c *connection) *cobra.Command {
	var file string
	var prune, dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make an app be what a document says",
		Long: `Apply sends an app's document (YAML or JSON) to the server, which changes what differs and nothing else.
What the document leaves out stays as it is, unless --prune asks to remove it. Applying twice changes nothing.`,
		Example: `  palier apply -f shop.yaml
  palier apply -f shop.yaml --dry-run     # show the difference, change nothing
  palier export com.example.shop | sed 's/1.3.0/1.4.0/' | palier apply -f -`,
		Args: noDocument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := readDocument(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			app, err := documentApp(body)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			query := url.Values{}
			if prune {
				query.Set("prune", "true")
			}
			if dryRun {
				query.Set("dry_run", "true")
			}
			var out admin.ApplyResult
			if err := c.call(cmd.Context(), http.MethodPut, appPath(app)+"?"+query.Encode(), "application/yaml", body, &out); err != nil {
				return err
			}
			warn(cmd.ErrOrStderr(), out.Warnings)
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			printChanges(cmd.OutOrStdout(), out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the document; - reads standard input (required)")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove what the document leaves out")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference and change nothing")
	offer(cmd, "file", cobra.FixedCompletions([]cobra.Completion{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt))
	return cmd
}

// noDocument refuses a document without its flag, and says how it is meant.
func noDocument(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("the document goes after -f: palier apply -f %s", args[0])}
	}
	return nil
}

// warn tells what the server carried out and wonders about.
func warn(w io.Writer, warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
}

func readDocument(file string, stdin io.Reader) ([]byte, error) {
	if file == "" {
		return nil, usageError{fmt.Errorf("apply wants a document: palier apply -f shop.yaml")}
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the document: %w", err)
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("the document is larger than %d MB; split its segments or bundles over several", maxDocument>>20)
	}
	return body, nil
}

// documentApp returns the id under "app", which the server's address needs.
func documentApp(body []byte) (string, error) {
	var head struct {
		App string `yaml:"app"`
	}
	if err := yaml.Unmarshal(body, &head); err != nil {
		return "", fmt.Errorf("not YAML or JSON: %w", err)
	}
	if head.App == "" {
		return "", fmt.Errorf(`the document has no "app"; its first line should read: app: com.example.shop`)
	}
	return head.App, nil
}

func printChanges(w io.Writer, out admin.ApplyResult) {
	if len(out.Changes) == 0 {
		fmt.Fprintf(w, "%s is already as the document says (revision %d)\n", out.App, out.Revision)
		return
	}
	sign := map[admin.Op]string{admin.Create: "+", admin.Update: "~", admin.Delete: "-"}
	for _, ch := range out.Changes {
		fmt.Fprintf(w, "%s %s %s\n", sign[ch.Op], ch.Kind, ch.Name)
		for _, f := range ch.Fields {
			fmt.Fprintf(w, "    %s: %s → %s\n", f.Field, orNothing(f.From), orNothing(f.To))
		}
	}
	if out.DryRun {
		fmt.Fprintln(w, "nothing was changed: this was a dry run")
		return
	}
	fmt.Fprintf(w, "%s is now at revision %d\n", out.App, out.Revision)
}

// orNothing shows one side of a changed field.
func orNothing(v json.RawMessage) string {
	if len(v) == 0 {
		return "nothing"
	}
	return clip(string(v), 100)
}
