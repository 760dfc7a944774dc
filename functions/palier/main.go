// Command palier is the operator's tool: it runs the server and talks to one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes, which scripts may rely on.
const (
	exitOK          = 0
	exitFailed      = 1 // something went wrong here
	exitUsage       = 2 // the command line makes no sense
	exitRefused     = 3 // the server understood and said no
	exitUnreachable = 4 // no server answered
	exitNotHealthy  = 5 // watched rollout ended other than completed; fleet saw a violation; no edge would take the snapshot
)

// errExit carries an exit code for an outcome that has already been printed.
type errExit int

func (e errExit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError marks a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command, as a function of its surroundings.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	understood := false // the command line made sense, and a command began
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var code errExit
	if errors.As(err, &code) {
		return int(code)
	}
	if asJSON, _ := root.PersistentFlags().GetBool("json"); asJSON {
		printError(stdout, err, true)
	} else {
		printError(stderr, err, false)
	}
	var usage usageError
	var refused *apiError
	switch {
	case errors.As(err, &usage) || !understood || strings.HasPrefix(err.Error(), "required flag"):
		return exitUsage
	case errors.As(err, &refused):
		return exitRefused
	case errors.Is(err, errUnreachable):
		return exitUnreachable
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "palier",
		Short: "Ship web bundles to Capacitor apps in phases that promote, pause and roll back by themselves",
		Long: `Palier ships web bundles to Capacitor apps in phases and decides by itself, with a stated error rate,
when to go on, stop, or take a bundle back.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the server said no, 4 no server answered,
5 a watched rollout ended badly, a fleet saw a violation, or no edge would take a snapshot.`,
		Example: `  palier serve --demo --time-scale 7200      # see the whole loop in a minute
  palier apply -f shop.yaml                  # state what an app should be
  palier rollout start com.example.shop --channel production --bundle 1.4.0
  palier rollout watch com.example.shop`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c := &connection{}
	c.flags(root.PersistentFlags())
	root.AddCommand(
		newServe(), newApply(c), newExport(c), newRollout(c), newExplain(c), newFleet(), newToken(c), newApp(c), newCost(c), newDeadLetters(c),
		newCloudLocal(), newKeys(c), newSnapshot(c), newEdge(), newSimulate(c), newReplay(c), newBacktest(c),
	)
	return root
}

// exactArgs demands the named positional arguments and no others.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0:
			return usageError{fmt.Errorf("%s takes no argument, got %q; see %s --help", cmd.Name(), args[0], cmd.CommandPath())}
		}
		return usageError{fmt.Errorf("%s wants %s; see %s --help", cmd.Name(), strings.Join(names, " and "), cmd.CommandPath())}
	}
}

// version names the build: the version of the module, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "dev"
}
