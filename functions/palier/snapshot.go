package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/relay"
	"github.com/palier-ota/palier/internal/seal"
)

func newSnapshot(c *connection) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "snapshot",
		Short: "Fetch and check the signed snapshots from which edges answer",
		Long: `A snapshot is everything that one app's update checks depend on, signed by the server. It holds the salts of rollouts, so
keep it as you keep a token.`,
		Example: `  palier snapshot export com.example.shop -o shop.snapshot
  palier snapshot verify shop.snapshot --key "$(palier keys --json | jq -r .current.key)"`,
	})
	cmd.AddCommand(newSnapshotExport(c), newSnapshotVerify(c))
	return cmd
}

// snapshotView is a sealed snapshot for scripts.
type snapshotView struct {
	App      string    `json:"app"`
	Revision int64     `json:"revision"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
	Sealed   string    `json:"sealed,omitempty"` // the whole of it
	File     string    `json:"file,omitempty"`   // where it is

	Outcome string `json:"outcome,omitempty"` // what an edge would say of it
	Key     string `json:"key,omitempty"`     // which of the given keys signed it
}

func viewSnapshot(h seal.Header) snapshotView {
	return snapshotView{
		App: h.App, Revision: h.Revision, Issued: time.Unix(h.Issued, 0).UTC(), Expires: time.Unix(h.Expires, 0).UTC(),
	}
}

func newSnapshotExport(c *connection) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export APP",
		Short: "Fetch an app's signed snapshot, as edges do",
		Long: `Export fetches an app's signed snapshot with an admin's or an edge's token, and prints it, or writes it to a file that
only you may read.`,
		Example: `  palier snapshot export com.example.shop -o shop.snapshot
  palier snapshot export com.example.shop --json | jq .revision`,
		Args: exactArgs("APP"), ValidArgsFunction: c.completeApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			res, sealed, err := c.exchange(cmd.Context(), http.MethodGet, relay.PathSnapshots+url.PathEscape(args[0]), "", nil)
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK {
				return c.read(res, sealed, nil)
			}
			h, _, ok := seal.Read(sealed)
			if !ok {
				return c.stranger(res)
			}
			view := viewSnapshot(h)
			if file == "" {
				view.Sealed = string(sealed)
				return c.printSnapshot(cmd.OutOrStdout(), view)
			}
			if err := replaceFile(file, sealed); err != nil {
				return fmt.Errorf("writing the snapshot: %w", err)
			}
			view.File = file
			return c.printSnapshot(cmd.OutOrStdout(), view)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to this file instead of printing")
	return cmd
}

// printSnapshot prints what was exported, or where it is.
func (c *connection) printSnapshot(w io.Writer, view snapshotView) error {
	var err error
	switch {
	case c.json:
		return printJSON(w, view)
	case view.File == "":
		_, err = io.WriteString(w, view.Sealed)
	default:
		_, err = fmt.Fprintf(w, "%s at revision %d is in %s, good until %s\n", view.App, view.Revision, view.File, view.Expires.Format(time.DateTime))
	}
	return err
}

func newSnapshotVerify(c *connection) *cobra.Command {
	var keys []string
	var app string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether an edge would take a snapshot; no server is asked",
		Long: `Verify checks a snapshot as an edge does: that it is whole, that one of the keys signed it, that it has not expired, and
that it is of the app. It exits with 0 when an edge would take it and with 5 when none would. FILE may be - for the
standard input.`,
		Example: `  palier snapshot verify shop.snapshot --key iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w= --app com.example.shop
  palier snapshot export com.example.shop | palier snapshot verify - --key "$KEY"`,
		Args: exactArgs("FILE"), SuggestFor: []string{"check"},
		RunE: func(cmd *cobra.Command, args []string) error {
			trusted, err := parseKeys(keys)
			if err != nil {
				return err
			}
			sealed, err := readSealed(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			view := verify(sealed, trusted, app, time.Now())
			if c.json {
				if err := printJSON(cmd.OutOrStdout(), view); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), view.sentence())
			}
			if view.Outcome != edge.Loaded.String() {
				return errExit(exitNotHealthy)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "a public key to trust, as `palier keys` shows it; repeat it for more")
	cmd.Flags().StringVar(&app, "app", "", "the app it must be of")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag does not exist: every test says so
	}
	return cmd
}

// parseKeys reads as many keys as an edge can trust.
func parseKeys(texts []string) ([]seal.Key, error) {
	if len(texts) > edge.MaxKeys {
		return nil, usageError{fmt.Errorf("--key is given %d times; an edge trusts at most %d keys", len(texts), edge.MaxKeys)}
	}
	keys := make([]seal.Key, len(texts))
	for i, text := range texts {
		var ok bool
		if keys[i], ok = seal.ParseKey(text); !ok {
			return nil, usageError{fmt.Errorf("--key %.60q is no public key; `palier keys` shows them", text)}
		}
	}
	return keys, nil
}

// readSealed reads a file, or the standard input, as far as any snapshot goes.
func readSealed(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	sealed, err := io.ReadAll(io.LimitReader(in, seal.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return sealed, nil
}

// verify asks an edge what it says of a snapshot.
func verify(sealed []byte, trusted []seal.Key, app string, now time.Time) snapshotView {
	h, _, _ := seal.Read(sealed)
	view := viewSnapshot(h)
	if app == "" {
		app = h.App
	}
	e := edge.New()
	for _, key := range trusted {
		e.Trust(key[:])
		if seal.Verify(sealed, []seal.Key{key}) {
			view.Key = key.String()
		}
	}
	view.Outcome = e.Load(app, sealed, uint32(now.Unix()), 0).String()
	return view
}

// sentence says what became of a verification.
func (v snapshotView) sentence() string {
	what := fmt.Sprintf("%s at revision %d", v.App, v.Revision)
	switch v.Outcome {
	case edge.Loaded.String():
		return fmt.Sprintf("%s is good until %s; signed by %s", what, v.Expires.Format(time.DateTime), v.Key)
	case edge.Malformed.String():
		return "no edge would take it: it is no snapshot (malformed)"
	case edge.Expired.String():
		return fmt.Sprintf("no edge would take it: %s expired at %s (expired)", what, v.Expires.Format(time.DateTime))
	case edge.OtherApp.String():
		return fmt.Sprintf("no edge would take it: it is of %s (other_app)", v.App)
	}
	return fmt.Sprintf("no edge would take it: none of the keys signed %s (%s)", what, v.Outcome)
}
