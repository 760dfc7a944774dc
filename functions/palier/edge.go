package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	edgemodule "github.com/palier-ota/palier/functions/edge/module"
	"github.com/palier-ota/palier/internal/edgehost"
)

const defaultEdgeListen = "127.0.0.1:8788"

// edgeOptions are what `palier edge` was asked for.
type edgeOptions struct {
	edgehost.Config
	listen string
}

func newEdge() *cobra.Command {
	var o edgeOptions
	var module string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Answer devices near them, from signed snapshots of a Palier elsewhere",
		Long: `Edge answers update checks by itself, from snapshots that it fetches from the origin and verifies, and carries everything
else to the origin: requests that need the device's record, and telemetry, many devices' at once. When the origin cannot
be reached, checks are answered as before until the snapshots expire and --grace has passed.

With --spool, telemetry that the origin cannot take is written to that directory and handed over later, also by the next
process, and the last snapshots are kept there; without it, devices are asked to keep their telemetry and come again.

The edge token comes from $PALIER_EDGE_TOKEN; "palier token create NAME --role edge" at the origin makes one, and "palier
keys" prints the key. Devices reach the edge without TLS: put it behind what ends TLS for you. GET /edge/status, with the
edge token, tells how it does.`,
		Example: `  palier edge --origin https://palier.example.com --apps com.example.shop --key vFl1cy2iOJ…= --spool /var/lib/palier-edge
  palier edge --origin http://127.0.0.1:8787 --apps com.example.shop,com.example.news --key "$(palier keys --json | jq -r .current.key)"`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			o.Token = strings.TrimSpace(os.Getenv("PALIER_EDGE_TOKEN"))
			o.Wasm = edgemodule.Bytes()
			if module != "" {
				var err error
				if o.Wasm, err = os.ReadFile(module); err != nil {
					return fmt.Errorf("reading the module: %w", err)
				}
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Origin, "origin", os.Getenv("PALIER_ORIGIN"), "address of the Palier to answer for [$PALIER_ORIGIN]")
	f.StringSliceVar(&o.Apps, "apps", listOf(os.Getenv("PALIER_APPS")), "apps to answer for, separated by commas [$PALIER_APPS]")
	f.StringSliceVar(&o.Keys, "key", listOf(os.Getenv("PALIER_KEYS")), "public key that may sign snapshots; repeat it while keys change [$PALIER_KEYS]")
	f.StringVar(&o.listen, "listen", defaultEdgeListen, "address to listen on; port 0 picks a free one")
	f.DurationVar(&o.Poll, "poll", edgehost.DefaultPoll, "how often to look for news of each app")
	f.DurationVar(&o.Grace, "grace", edgehost.DefaultGrace, "how long an expired snapshot goes on answering when there is no newer one")
	f.DurationVar(&o.Gather, "gather", edgehost.DefaultGather, "how long telemetry is gathered into one request")
	f.StringVar(&o.Spool, "spool", "", "directory for telemetry that waits and the last snapshots; none keeps them in memory")
	f.Int64Var(&o.Queue, "queue", 0, "bytes of telemetry that may wait; 0 is 4 MiB, or 256 MiB with --spool")
	f.StringVar(&module, "module", "", "file of another build of the module than the one in this command")
	f.BoolVar(&verbose, "verbose", false, "log more")
	return cmd
}

// listOf splits a setting at its commas.
func listOf(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// run runs the edge until the command is interrupted.
func (o *edgeOptions) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if o.Grace == 0 {
		o.Grace = -1 // none, where 0 stands for the preset
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return listenError(o.listen, err)
	}
	defer listener.Close()
	host, err := edgehost.New(ctx, o.Config)
	if errors.Is(err, edgehost.ErrConfig) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	err = serveEdge(ctx, host, listener, o.Log, func() {
		fmt.Fprintf(cmd.OutOrStdout(), "palier edge is ready at http://%s (origin %s, apps %s)\n", listener.Addr(), o.Origin, strings.Join(o.Apps, ", "))
	})
	return errors.Join(err, host.Close(context.WithoutCancel(ctx)))
}

// serveEdge serves until ctx ends, then lets the requests in hand end, and hands over what was gathered.
func serveEdge(ctx context.Context, host *edgehost.Host, listener net.Listener, log *slog.Logger, ready func()) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan struct{})
	go func() {
		host.Run(work, ready)
		close(done)
	}()
	server := &http.Server{
		Handler:           host,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer stop()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	cancel()
	<-done
	return err
}
