package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/rollout"
)

// completionLimit is how long a shell waits for the server; what is not known by then is not offered.
const completionLimit = time.Second

// parent makes cmd, which only holds others, show its help, and refuse a word that names none of them.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		near := cmd.SuggestionsFor(args[0])
		if len(near) == 0 {
			return usageError{fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath())}
		}
		return usageError{fmt.Errorf("unknown command %q; did you mean `%s %s`?", args[0], cmd.CommandPath(), near[0])}
	}
	return cmd
}

// offer completes the values of a flag.
func offer(cmd *cobra.Command, flag string, values cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // the flag does not exist: the command is made wrong, and every test says so
	}
}

// words asks the server for what may stand at a place of the command line. A shell has no use for errors.
func words[T any](ctx context.Context, c *connection, path string, of func(T) []cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	var answer T
	if err := c.get(ctx, path, &answer); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return of(answer), cobra.ShellCompDirectiveNoFileComp
}

// completeApp completes APP.
func (c *connection) completeApp(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words(cmd.Context(), c, "/apps", func(list admin.Items[admin.AppSummary]) (ids []cobra.Completion) {
		for _, a := range list.Items {
			ids = append(ids, cobra.CompletionWithDesc(a.App, a.Name))
		}
		return ids
	})
}

// completeRollout completes APP [ID].
func (c *connection) completeRollout(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return c.completeApp(cmd, args, toComplete)
	}
	return words(cmd.Context(), c, appPath(args[0], "rollouts"), func(list admin.Items[admin.RolloutView]) (ids []cobra.Completion) {
		for _, r := range list.Items {
			ids = append(ids, cobra.CompletionWithDesc(r.ID, fmt.Sprintf("%s on %s, %s", r.Bundle, r.Channel, inWords(r.State))))
		}
		return ids
	})
}

// completeToken completes NAME.
func (c *connection) completeToken(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words(cmd.Context(), c, "/tokens", func(list admin.Items[admin.TokenView]) (names []cobra.Completion) {
		for _, t := range list.Items {
			names = append(names, cobra.CompletionWithDesc(t.Name, string(t.Role)))
		}
		return names
	})
}

// document is as much of an app's document as completion needs.
type document struct {
	Bundles []struct {
		Version string `json:"version"`
		Comment string `json:"comment"`
	} `json:"bundles"`
	Channels []struct {
		Name   string `json:"name"`
		Bundle string `json:"bundle"`
	} `json:"channels"`
	Plans []struct {
		Name string `json:"name"`
	} `json:"plans"`
}

// completeNamed completes a flag with names out of the document of the app that is the first argument.
func (c *connection) completeNamed(of func(document) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return of(document{}), cobra.ShellCompDirectiveNoFileComp
		}
		return words(cmd.Context(), c, appPath(args[0]), of)
	}
}

func bundlesOf(d document) (versions []cobra.Completion) {
	for _, b := range d.Bundles {
		versions = append(versions, cobra.CompletionWithDesc(b.Version, b.Comment))
	}
	return versions
}

func channelsOf(d document) (names []cobra.Completion) {
	for _, ch := range d.Channels {
		names = append(names, cobra.CompletionWithDesc(ch.Name, ch.Bundle))
	}
	return names
}

// completePlan completes --plan: a plan that every app has, one of the app's own, or a file.
func (c *connection) completePlan(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	own, _ := c.completeNamed(func(d document) (names []cobra.Completion) {
		for _, p := range d.Plans {
			names = append(names, cobra.CompletionWithDesc(p.Name, "of this app"))
		}
		return names
	})(cmd, args, toComplete)
	return append(own, rollout.BuiltinPlanNames()...), cobra.ShellCompDirectiveDefault
}
