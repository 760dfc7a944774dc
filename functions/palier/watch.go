package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/palier-ota/palier/internal/rollout"
)

// watchInterval is how often a watched rollout is asked for.
const watchInterval = time.Second

func newRolloutWatch(c *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "watch APP [ID]",
		Short: "Follow a rollout live until it ends",
		Long: `Watch redraws a rollout's state, phase, numbers and verdict every second until it ends; q leaves. Where the output is
no terminal it prints a line for every change, with --json one JSON document per line. The exit code is 0 when the rollout completed, 5 when it ended otherwise.`,
		Example: "  palier rollout watch com.example.shop",
		Args:    appAndMaybeID,

		SuggestFor:        []string{"follow", "tail"},
		ValidArgsFunction: c.completeRollout,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.pick(cmd.Context(), args)
			if err != nil {
				return err
			}
			w := watcher{ctx: cmd.Context(), c: c, app: args[0], id: id}
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
	app, id string
	seen    look
	history []string
	rows    int // of the terminal; 0 while unknown
	err     error
}

// fetched is one answer of the server, as a message of the terminal loop.
type fetched struct {
	look
	err error
}

func (w watcher) fetch() (look, error) { return w.c.look(w.ctx, w.app, w.id) }

// outcome is the error that ends a watch with the right exit code.
func outcome(s rollout.RolloutState) error {
	if s == rollout.Completed || s.Live() {
		return nil
	}
	return errExit(exitNotHealthy)
}

// print writes a line for every change, until the rollout or the context ends.
func (w watcher) print(out io.Writer) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	said := ""
	for {
		l, err := w.fetch()
		if w.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if line := headline(l); line != said {
			said = line
			if err := w.tell(out, l); err != nil {
				return err
			}
		}
		if !l.Rollout.State.Live() {
			return outcome(l.Rollout.State)
		}
		select {
		case <-w.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell writes one line.
func (w watcher) tell(out io.Writer, l look) (err error) {
	if w.c.json {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(l.MetricsView)
	}
	_, err = fmt.Fprintln(out, headline(l))
	return err
}

// headline is a rollout in one line that changes only when something worth telling did.
func headline(l look) string {
	line := describe(l.Rollout)
	switch {
	case l.Rollout.State.Live():
		return fmt.Sprintf("%s; verdict %s (%s)", line, l.Verdict.Decision, l.Verdict.Code)
	case l.Rollout.Reason == "":
		return line
	}
	return line + ": " + l.Rollout.Reason
}

// draw runs the live view.
func (w watcher) draw(out *os.File) error {
	end, err := tea.NewProgram(w, tea.WithContext(w.ctx), tea.WithOutput(out)).Run()
	if w.ctx.Err() != nil {
		return nil
	}
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
	return outcome(final.seen.Rollout.State)
}

// Init asks for the first numbers.
func (w watcher) Init() tea.Cmd { return w.ask(0) }

func (w watcher) ask(after time.Duration) tea.Cmd {
	return tea.Tick(after, func(time.Time) tea.Msg {
		l, err := w.fetch()
		return fetched{l, err}
	})
}

// Update takes a key or an answer.
func (w watcher) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" || key == "esc" {
			return w, tea.Quit
		}
	case tea.WindowSizeMsg:
		w.rows = msg.Height
	case fetched:
		if msg.err != nil {
			w.err = msg.err
			return w, tea.Quit
		}
		if line := headline(msg.look); len(w.history) == 0 || w.history[len(w.history)-1] != line {
			w.history = append(w.history, line)
		}
		w.seen = msg.look
		if !w.seen.Rollout.State.Live() {
			return w, tea.Quit
		}
		return w, w.ask(watchInterval)
	}
	return w, nil
}

// View draws the rollout, and below it what changed while watching. Percentiles are drawn where there is room for them.
func (w watcher) View() tea.View {
	if w.seen.Rollout.ID == "" {
		return tea.NewView("asking the server …\n")
	}
	if full := w.picture(printStatus); w.rows == 0 || strings.Count(full, "\n") < w.rows {
		return tea.NewView(full)
	}
	return tea.NewView(w.picture(printStanding))
}

// picture is the view with the rollout drawn by the given function.
func (w watcher) picture(draw func(io.Writer, look)) string {
	var b strings.Builder
	draw(&b, w.seen)
	b.WriteString("\n")
	for _, line := range w.history[max(0, len(w.history)-6):] {
		fmt.Fprintln(&b, wrap("· "+line, 2))
	}
	if w.seen.Rollout.State.Live() {
		b.WriteString("\nq leaves; the rollout goes on\n")
	}
	return b.String()
}
