package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
)

func newKeys(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Show the keys that edges are to trust, and change them",
		Long: `Keys prints the public keys with which this server signs snapshots for edges. An edge is given them in its settings and
takes no snapshot that none of them signed.

To change the key, "rotate" prepares the next one; add it to the keys of every edge; then "activate" signs with it. An hour
later every edge has a snapshot of the new key, and the former one can be taken from the edges.`,
		Example: `  palier keys
  palier keys --json | jq -r .current.key`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out admin.KeysView
			if err := c.get(cmd.Context(), "/keys", &out); err != nil {
				return err
			}
			return c.printKeys(cmd.OutOrStdout(), out)
		},
	}
	cmd.AddCommand(newKeysRotate(c), newKeysActivate(c))
	return cmd
}

func newKeysRotate(c *connection) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Prepare the next signing key; edges must trust it before it is activated",
		Example: `  palier keys rotate
  palier keys rotate --replace`,
		Args: exactArgs(), SuggestFor: []string{"next", "prepare"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out admin.KeysView
			if err := c.send(cmd.Context(), http.MethodPost, "/keys/next", admin.PrepareBody{Replace: replace}, &out); err != nil {
				return err
			}
			if err := c.printKeys(cmd.OutOrStdout(), out); err != nil || c.json {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "let every edge trust the next key beside the current one, then run `palier keys activate`")
			return nil
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "draw another next key in the place of one that is prepared already")
	return cmd
}

func newKeysActivate(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "activate",
		Short: "Sign with the next key from now on, and forget the former one",
		Long: `Activate makes the next key the current one. An edge that does not trust it yet takes no new snapshot until it does; it
goes on answering from the one that it has.`,
		Example: "  palier keys activate",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var before, after admin.KeysView
			if err := c.get(cmd.Context(), "/keys", &before); err != nil {
				return err
			}
			if before.Next == nil {
				return &apiError{Status: http.StatusConflict, Code: admin.CodeNoNextKey, Message: "no next key is prepared: `palier keys rotate` prepares one"}
			}
			if err := c.send(cmd.Context(), http.MethodPost, "/keys/activate", admin.ActivateBody{Key: before.Next.Key}, &after); err != nil {
				return err
			}
			return c.printKeys(cmd.OutOrStdout(), after)
		},
	}
}

// printKeys prints the keys for people or scripts.
func (c *connection) printKeys(w io.Writer, keys admin.KeysView) error {
	if c.json {
		return printJSON(w, keys)
	}
	fmt.Fprintf(w, "current  %s  of %s\n", keys.Current.Key, keys.Current.CreatedAt.Format(time.DateTime))
	if keys.Next != nil {
		fmt.Fprintf(w, "next     %s  of %s, not used yet\n", keys.Next.Key, keys.Next.CreatedAt.Format(time.DateTime))
	}
	return nil
}
