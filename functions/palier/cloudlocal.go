package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/cloudlocal"
)

// cloudLocalOptions are what `palier cloud-local` was asked for.
type cloudLocalOptions struct {
	cloud      cloudlocal.Options
	parameters []string
	data       string
	logs       string
	devices    int // of the demo's fleet; 0: none
	verbose    bool
}

func newCloudLocal() *cobra.Command {
	var o cloudLocalOptions
	cmd := &cobra.Command{
		Use:   "cloud-local",
		Short: "Run the serverless shape on this machine, as template.yaml says",
		Long: `Cloud-local runs what would be deployed to AWS: the unmodified bootstrap of every function under the Lambda Runtime API,
behind API Gateway's events; the table, the stream and the buckets of template.yaml on Amazon's DynamoDB Local, a Kinesis
server and an S3 server, which the first run installs (Java, Node.js and Go must be there); the event source mapping with
its batches, retries, halving and on-failure destination; the schedule. Every function has credentials of its own and may
do what its policies in the template allow, no more.

It is for development and tests: everything is in memory or in temporary files, and gone when it ends.

What it does not emulate:
  IAM beyond the functions' own policies: trust, resource policies, KMS, the schedule's role, logs
  API Gateway's authorizers, CORS, access log and custom domains; TLS
  Lambda's share of the CPU by memory, memory limits, extensions, and concurrency across an account
  DynamoDB's capacity, throttling and partitions, backups, deletion protection, and removal of what has expired
  Kinesis's throughput limits, encryption, and splitting an on-demand stream by its load
  S3's lifecycle rules, versions and encryption; CloudFront; alarms, dashboard and queues
  several zones, network latency, and outages (tests inject faults of their own)

--time-scale runs the clock of the functions faster; how often the schedule ticks, how long batches are gathered and how
long Snapshots answer follow it as far as real servers can.`,
		Example: `  make cloud-local
  palier cloud-local --functions bin/functions --template template.yaml
  palier cloud-local --time-scale 1440 --fleet 500          # with a healthy rollout and a crashing one
  palier cloud-local --parameter BatchWindowSeconds=1`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.data, _ = cmd.Flags().GetString("data")
			return runCloudLocal(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.cloud.Listen, "listen", defaultListen, "address of the HTTP API; port 0 picks a free one")
	f.StringVar(&o.cloud.Functions, "functions", "bin/functions", "folder of the built functions: resolve/bootstrap and so on")
	f.StringVar(&o.cloud.Template, "template", "template.yaml", "the SAM template")
	f.StringArrayVar(&o.parameters, "parameter", nil, "a parameter of the template, as NAME=VALUE; repeatable")
	f.StringVar(&o.cloud.Components, "components", "", "where the servers are installed (default: the user's cache folder)")
	f.Float64Var(&o.cloud.Scale, "time-scale", 1, "run the functions' clock this many times faster, 1 to 1000000")
	f.IntVar(&o.cloud.Concurrency, "concurrency", 8, "invocations of one function at once, where the template reserves none")
	f.IntVar(&o.devices, "fleet", 0, "seed an app and run so many devices, a healthy rollout and a crashing one")
	f.StringVar(&o.logs, "logs", "", "file for what the functions log (default: cloud-local/functions.log under --data)")
	f.BoolVar(&o.verbose, "verbose", false, "say what every part does")
	return cmd
}

// runCloudLocal starts the cloud, says how to reach it, and runs it until the context ends.
func runCloudLocal(ctx context.Context, o cloudLocalOptions, out, progress io.Writer) error {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	o.cloud.Log = slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: level}))
	var err error
	if o.cloud.Parameters, err = pairs(o.parameters); err != nil {
		return err
	}
	home := filepath.Join(o.data, "cloud-local")
	token, where, err := cloudToken(home)
	if err != nil {
		return err
	}
	o.cloud.AdminToken = token
	logs, err := os.Create(cmp.Or(o.logs, filepath.Join(home, "functions.log")))
	if err != nil {
		return fmt.Errorf("opening the functions' log: %w", err)
	}
	defer logs.Close()
	o.cloud.Output = logs
	fmt.Fprintln(progress, "starting DynamoDB Local, Kinesis and S3; the first time installs them, which takes a minute or two")
	c, err := cloudlocal.Start(ctx, o.cloud)
	if err != nil {
		return err
	}
	tellCloud(out, c, where, logs.Name())
	if o.devices > 0 {
		err = cloudDemo(ctx, c, o, out)
	}
	if err == nil {
		<-ctx.Done()
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, c.Close())
}

// pairs reads NAME=VALUE arguments.
func pairs(args []string) (map[string]string, error) {
	out := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--parameter %q: want NAME=VALUE, such as BatchWindowSeconds=1", arg)}
		}
		out[name] = value
	}
	return out, nil
}

// cloudToken returns the first admin token and where commands find it: $PALIER_TOKEN, or a new one kept below --data.
func cloudToken(home string) (token, where string, err error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", "", fmt.Errorf("making the directory %s: %w", home, err)
	}
	if token := os.Getenv("PALIER_TOKEN"); token != "" {
		return token, "in PALIER_TOKEN", nil
	}
	if token, err = admin.DrawSecret(rand.Reader); err != nil {
		return "", "", err
	}
	path := filepath.Join(home, tokenFile)
	if err := replaceFile(path, []byte(token+"\n")); err != nil {
		return "", "", fmt.Errorf("storing the first admin token: %w", err)
	}
	return token, "in " + path + "; for commands: --data " + home, nil
}

// tellCloud says how to reach everything.
func tellCloud(out io.Writer, c *cloudlocal.Cloud, token, logs string) {
	fmt.Fprintf(out, "palier cloud-local is ready at %s\n", c.URL())
	row := func(name, value string) { fmt.Fprintf(out, "  %-12s %s\n", name, value) }
	row("admin token", token)
	row("table", c.Template.Table.Name)
	row("stream", c.Template.Stream.Name)
	for _, b := range c.Template.Buckets {
		row("bucket", b.Name)
	}
	row("logs", logs)
	owner := c.Owner()
	fmt.Fprintln(out, "its servers, for the AWS CLI and SDKs:")
	for _, name := range slices.Sorted(maps.Keys(owner)) {
		fmt.Fprintf(out, "  export %s=%s\n", name, owner[name])
	}
	for _, note := range clockNotes(c.Clock) {
		fmt.Fprintln(out, note)
	}
}
