package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/rollout"
)

func newToken(c *connection) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke access tokens",
		Long:  "Access tokens let people and programs use the operator API. Roles: viewer reads, operator applies and operates rollouts, admin also manages tokens and removes apps, edge lets an edge fetch snapshots and hand over telemetry.",
		Example: `  palier token create ci --role operator --ttl 90d
  palier token new --json
  palier token list
  palier token revoke ci`,
	})
	cmd.AddCommand(newTokenCreate(c), newTokenNew(c), newTokenList(c), &cobra.Command{
		Use: "revoke NAME", Short: "Make a token useless", Example: "  palier token revoke ci", Args: exactArgs("NAME"),
		SuggestFor: []string{"delete", "remove", "rm"}, ValidArgsFunction: c.completeToken,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.call(cmd.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(args[0]), "", nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "token %s no longer works\n", args[0])
			return nil
		},
	})
	return cmd
}

func newTokenCreate(c *connection) *cobra.Command {
	var role string
	var ttl string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token; it is shown once",
		Example: `  palier token create ci --role operator --ttl 90d
  export PALIER_TOKEN=$(palier token create me --role viewer --json | jq -r .token)`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": args[0], "role": role}
			if ttl != "" {
				d, err := rollout.ParseDuration(ttl)
				if err != nil {
					return usageError{fmt.Errorf("--ttl: %w", err)}
				}
				in["ttl"] = d
			}
			var out admin.NewTokenView
			if err := c.send(cmd.Context(), http.MethodPost, "/tokens", in, &out); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out.Token)
			fmt.Fprintf(cmd.ErrOrStderr(), "keep it now: only its hash is stored, so it cannot be shown again\n")
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "viewer", "viewer, operator, admin or edge")
	cmd.Flags().StringVar(&ttl, "ttl", "", "how long it works, such as 90d; until it is revoked if left out")
	offer(cmd, "role", cobra.FixedCompletions([]cobra.Completion{"viewer", "operator", "admin", "edge"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// newTokenNew draws a token without a server: the first one of a deployment, which is told only its hash.
func newTokenNew(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "new",
		Short: "Draw the first admin token of a deployment, with the hash to deploy; no server is asked",
		Long: `New prints a new secret and the SHA-256 of it. A deployment on AWS is given the hash, as its parameter
AdminTokenSha256, and holds no secret; you keep the token, which is shown only here and is an admin's from the first
request on. On a running server use create instead.`,
		Example: `  palier token new
  palier token new --json | jq -r .sha256`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := admin.DrawSecret(rand.Reader)
			if err != nil {
				return err
			}
			hash := sha256.Sum256([]byte(secret))
			out := struct {
				Token  string `json:"token"`
				SHA256 string `json:"sha256"`
			}{secret, hex.EncodeToString(hash[:])}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "token   %s\nsha256  %s\n", out.Token, out.SHA256)
			fmt.Fprintf(cmd.ErrOrStderr(), "keep the token now: it is stored nowhere; deploy with AdminTokenSha256=%s\n", out.SHA256)
			return nil
		},
	}
}

func newTokenList(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "list", SuggestFor: []string{"ls"}, Short: "List the tokens, never their secrets", Example: "  palier token list", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out admin.Items[admin.TokenView]
			if err := c.get(cmd.Context(), "/tokens", &out); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tROLE\tCREATED\tEXPIRES")
			for _, t := range out.Items {
				expires := "never"
				if !t.ExpiresAt.IsZero() {
					expires = t.ExpiresAt.Format(time.DateTime)
				}
				if !t.ExpiresAt.IsZero() && !c.now().Before(t.ExpiresAt) {
					expires += " (expired)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Name, t.Role, t.CreatedAt.Format(time.DateTime), expires)
			}
			return w.Flush()
		},
	}
}
