package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/rollout"
)

// watchInterval is how often a watched rollout is asked for.
const watchInterval = time.Second

func newRolloutWatch(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "watch APP [ID]",
		Short: "Follow a rollout live until it ends",
		Long: `Watch redraws a rollout's state, phase, numbers and verdict every second until it ends; q leaves. Where the output is
no terminal it prints a line for every change. The exit code is 0 when the rollout completed, 5 when it ended otherwise.`,
		Example: "  palier rollout watch com.example.shop",
		Args:    appAndMaybeID,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			w := watcher{ctx: cmd.Context(), c: c, path: appPath(args[0], "rollouts", id, "metrics")}
			if f, ok := cmd.OutOrStdout().(*os.File); ok && term.IsTerminal(int(f.Fd())) && !c.json {
				return w.draw(f)
			}
			return w.print(cmd.OutOrStdout())
		},
	}
}

// watcher follows one rollout. It is a bubbletea model when it draws.
type watcher struct {
	ctx     context.Context
	c       *connection
	path    string
	last    admin.MetricsView
	history []string
	err     error
}

// fetched is one answer of the server, as a message of the terminal loop.
type fetched struct {
	metrics admin.MetricsView
	err     error
}

func (w watcher) fetch() (m admin.MetricsView, err error) {
	err = w.c.get(w.ctx, w.path, &m)
	return m, err
}

// outcome is the error that ends a watch with the right exit code.
func outcome(s rollout.RolloutState) error {
	if s == rollout.Completed || s.Live() {
		return nil
	}
	return errExit(exitNotHealthy)
}

// print writes a line for every change.
func (w watcher) print(out io.Writer) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	said := ""
	for {
		m, err := w.fetch()
		if err != nil {
			return err
		}
		if w.c.json {
			if err := printJSON(out, m); err != nil {
				return err
			}
		} else if line := headline(m); line != said {
			fmt.Fprintln(out, line)
			said = line
		}
		if !m.Rollout.State.Live() {
			return outcome(m.Rollout.State)
		}
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-tick.C:
		}
	}
}

// headline is a rollout in one line that changes only when something worth telling did.
func headline(m admin.MetricsView) string {
	line := describe(m.Rollout)
	if m.Rollout.State.Live() {
		return fmt.Sprintf("%s; verdict %s (%s)", line, m.Verdict.Decision, m.Verdict.Code)
	}
	return line + ": " + m.Rollout.Reason
}

// draw runs the live view.
func (w watcher) draw(out *os.File) error {
	end, err := tea.NewProgram(w, tea.WithContext(w.ctx), tea.WithOutput(out)).Run()
	if err != nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("drawing: %w", err)
	}
	final, ok := end.(watcher)
	if !ok {
		return nil
	}
	if final.err != nil {
		return final.err
	}
	return outcome(final.last.Rollout.State)
}

// Init asks for the first numbers.
func (w watcher) Init() tea.Cmd { return w.ask(0) }

func (w watcher) ask(after time.Duration) tea.Cmd {
	return tea.Tick(after, func(time.Time) tea.Msg {
		m, err := w.fetch()
		return fetched{m, err}
	})
}

// Update takes a key or an answer.
func (w watcher) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" || key == "esc" {
			return w, tea.Quit
		}
	case fetched:
		if msg.err != nil {
			w.err = msg.err
			return w, tea.Quit
		}
		if line := headline(msg.metrics); len(w.history) == 0 || w.history[len(w.history)-1] != line {
			w.history = append(w.history, line)
		}
		w.last = msg.metrics
		if !w.last.Rollout.State.Live() {
			return w, tea.Quit
		}
		return w, w.ask(watchInterval)
	}
	return w, nil
}

// View draws the rollout, and below it what changed while watching.
func (w watcher) View() tea.View {
	var b strings.Builder
	if w.last.Rollout.ID == "" {
		return tea.NewView("asking the server …\n")
	}
	if err := printStatus(&b, w.last); err != nil {
		return tea.NewView(err.Error())
	}
	b.WriteString("\n")
	for _, line := range w.history[max(0, len(w.history)-6):] {
		fmt.Fprintf(&b, "· %s\n", line)
	}
	b.WriteString("\nq leaves; the rollout goes on\n")
	return tea.NewView(b.String())
}
