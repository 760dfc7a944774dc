package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/s3"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// deadLetters is where the dead letters are, and which of them are meant.
type deadLetters struct {
	bucket string
	stream string
	since  string
	to     string // the stream to replay to; "" is the one that a record came from
	// openStream opens a stream to replay to, and openBucket the bucket.
	openStream func(ctx context.Context, name string) (deadletter.Appender, error)
	openBucket func(ctx context.Context, name string) (blob.Store, error)
}

func newDeadLetters(c *connection) *cobra.Command {
	return (&deadLetters{openStream: openKinesis, openBucket: openS3}).command(c)
}

func (d *deadLetters) command(c *connection) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "dead-letters",
		Short: "List, show and replay telemetry records that could not be counted",
		Long: `Where Palier runs on Lambda, a telemetry record that cannot be read, and a batch that could not be counted for too long,
is set aside in the deployment's state bucket (the stack's output StateBucketName). Nothing else is held up by it, and nothing
is lost: replay puts the records on their stream again. Replaying is safe to repeat; nobody is counted twice.

AWS credentials and region are taken from the environment and configuration files as by the AWS CLI.`,
		Example: `  palier dead-letters list --bucket my-stack-state
  palier dead-letters show KEY --bucket my-stack-state
  palier dead-letters replay --bucket my-stack-state --since 7d --dry-run`,
	})
	f := cmd.PersistentFlags()
	f.StringVar(&d.bucket, "bucket", "", "the deployment's state bucket")
	cmd.AddCommand(d.list(c), d.show(c), d.replay(c))
	return cmd
}

// selection adds the flags that choose among the dead letters.
func (d *deadLetters) selection(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.stream, "stream", "", "only those of this stream")
	cmd.Flags().StringVar(&d.since, "since", "", "only those since then: an age such as 7d, or a time such as 2026-12-01T08:00:00Z")
}

// open returns where the dead letters are.
func (d *deadLetters) open(ctx context.Context) (deadletter.Box, error) {
	if d.bucket == "" {
		return deadletter.Box{}, usageError{errors.New("where are the dead letters? name the state bucket with --bucket")}
	}
	files, err := d.openBucket(ctx, d.bucket)
	return deadletter.Box{Store: files}, err
}

// openS3 opens a bucket of the account and region that the environment names.
func openS3(ctx context.Context, name string) (blob.Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	client := awss3.NewFromConfig(cfg)
	elsewhere := client.Options().BaseEndpoint != nil // no AWS, and no host name for each bucket
	return s3.New(client, name, s3.Options{PathStyle: elsewhere}), nil
}

// openKinesis opens a stream of the account and region that the environment names.
func openKinesis(ctx context.Context, name string) (deadletter.Appender, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	return kinesis.New(awskinesis.NewFromConfig(cfg), name, kinesis.Options{}), nil
}

// selected returns the entries that are meant. A batch's key does not say its stream, so batches are looked into for that.
func (d *deadLetters) selected(ctx context.Context, box deadletter.Box) ([]deadletter.Entry, error) {
	since, err := moment(d.since, time.Now())
	if err != nil {
		return nil, usageError{fmt.Errorf("--since: %w", err)}
	}
	entries := []deadletter.Entry{}
	for e, err := range box.Entries(ctx, since) {
		if err != nil {
			return nil, err
		}
		if d.stream != "" && e.Stream == "" {
			if e.Stream, err = streamOf(ctx, box, e); err != nil {
				return nil, err
			}
		}
		if d.stream == "" || e.Stream == d.stream {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// streamOf looks into an object for its stream; "" when it holds no record that would say so, or is gone.
func streamOf(ctx context.Context, box deadletter.Box, e deadletter.Entry) (string, error) {
	letters, err := box.Open(ctx, e.Key)
	switch {
	case errors.Is(err, deadletter.ErrMalformed), errors.Is(err, deadletter.ErrPointers), errors.Is(err, blob.ErrNotFound):
		return "", nil
	case err != nil || len(letters) == 0:
		return "", err
	}
	return letters[0].Stream, nil
}

// moment reads a time, or an age before now; "" is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	age, err := rollout.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither an age such as 7d nor a time such as 2026-12-01T08:00:00Z", text)
	}
	return now.Add(-age.Std()), nil
}

func (d *deadLetters) list(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", SuggestFor: []string{"ls"}, Short: "List the dead letters", Args: exactArgs(),
		Example: "  palier dead-letters list --bucket my-stack-state --since 7d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			entries, err := d.selected(cmd.Context(), box)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), entries)
			}
			return printEntries(cmd.OutOrStdout(), entries)
		},
	}
	d.selection(cmd)
	return cmd
}

func printEntries(out io.Writer, entries []deadletter.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(out, "no dead letters")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SINCE\tHOLDS\tSHARD\tBYTES\tKEY")
	for _, e := range entries {
		at, holds := "unknown", "a record"
		if !e.At.IsZero() {
			at = e.At.Format(time.DateTime)
		}
		if e.Batch {
			holds = "a batch"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", at, holds, e.Shard, e.Size, e.Key)
	}
	return w.Flush()
}

func (d *deadLetters) show(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "show KEY", SuggestFor: []string{"cat", "get"}, Short: "Show the records of one dead letter", Args: exactArgs("KEY"),
		Long: `Show prints the records of one dead letter: where each came from, why it was not counted, and its data. A record may
name a device and what it reported: treat the output as you treat telemetry.`,
		Example: "  palier dead-letters show dead/2026/12/01/my-stack-events/shardId-000000000000-4967.json --bucket my-stack-state",
		RunE: func(cmd *cobra.Command, args []string) error {
			box, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			letters, err := box.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), letters)
			}
			for _, l := range letters {
				printLetter(cmd.OutOrStdout(), l)
			}
			return nil
		},
	}
}

// printLetter tells a person about one record. Data that is no text is quoted, so that it does nothing to a terminal.
func printLetter(w io.Writer, l deadletter.Letter) {
	state := "can be read now: replay will have it counted"
	if err := l.Readable(); err != nil {
		state = "still cannot be read: " + err.Error()
	}
	fmt.Fprintf(w, "record %s of %s/%s, arrived %s\n", l.Sequence, l.Stream, l.Shard, l.Arrived.Format(time.RFC3339))
	fmt.Fprintf(w, "  not counted: %q\n  %s\n  key %q, %d bytes: %q\n", l.Error, state, l.Key, len(l.Data), l.Data)
}

// replayed is what a replay did, or with --dry-run would do.
type replayed struct {
	Objects    int      `json:"objects"`    // looked at
	Removed    int      `json:"removed"`    // replayed as a whole
	Records    int      `json:"records"`    // put on their stream again
	Unreadable int      `json:"unreadable"` // records left, because they still cannot be read
	Failed     []string `json:"failed"`     // keys of objects that could not be replayed
	DryRun     bool     `json:"dry_run"`
}

func (d *deadLetters) replay(c *connection) *cobra.Command {
	var dryRun, force bool
	cmd := &cobra.Command{
		Use:   "replay [KEY…]",
		Short: "Put records on their stream again, to be counted",
		Long: `Replay appends the records of dead letters to the stream they came from and then removes them. Without a KEY it
replays all that the flags choose. Records that still cannot be read are left where they are, unless --force says to
replay them too. A replay that was cut short can simply be repeated.

Events that are replayed long after the rollouts they belong to have ended still count, but change nothing that was
decided. Where the stream they came from was replaced, --to names the one that is counted now.`,
		Example: `  palier dead-letters replay --bucket my-stack-state --dry-run
  palier dead-letters replay --bucket my-stack-state --since 2d
  palier dead-letters replay --bucket my-stack-state --to my-stack-TelemetryStream-9f2c`,
		RunE: func(cmd *cobra.Command, args []string) error {
			box, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			keys, err := d.keys(cmd.Context(), box, args)
			if err != nil {
				return err
			}
			replay := deadletter.Replay{Box: box, Force: force, Open: d.streams(cmd.Context())}
			out := replayAll(cmd, replay, keys, dryRun)
			if err := printReplayed(cmd.OutOrStdout(), out, c.json); err != nil {
				return err
			}
			if len(out.Failed) > 0 || cmd.Context().Err() != nil {
				return errExit(exitFailed)
			}
			return nil
		},
	}
	d.selection(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be replayed, and do nothing")
	cmd.Flags().StringVar(&d.to, "to", "", "replay to this stream instead of the one that the records came from")
	cmd.Flags().BoolVar(&force, "force", false, "replay records too that still cannot be read")
	return cmd
}

// keys returns the objects to replay.
func (d *deadLetters) keys(ctx context.Context, box deadletter.Box, args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	entries, err := d.selected(ctx, box)
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	return keys, err
}

// streams opens each stream once.
func (d *deadLetters) streams(ctx context.Context) func(string) (deadletter.Appender, error) {
	opened := map[string]deadletter.Appender{}
	return func(name string) (deadletter.Appender, error) {
		name = cmp.Or(d.to, name)
		if s := opened[name]; s != nil {
			return s, nil
		}
		s, err := d.openStream(ctx, name)
		if err == nil {
			opened[name] = s
		}
		return s, err
	}
}

// replayAll replays one object after the other, telling of those that fail, and ends early only when interrupted.
func replayAll(cmd *cobra.Command, replay deadletter.Replay, keys []string, dryRun bool) replayed {
	one := replay.Object
	if dryRun {
		one = replay.Plan
	}
	bar := progressbar.NewOptions(len(keys), progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetWidth(30),
		progressbar.OptionSetDescription("replaying"), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(200*time.Millisecond))
	out := replayed{DryRun: dryRun, Failed: []string{}}
	for _, key := range keys {
		if cmd.Context().Err() != nil {
			break
		}
		done, err := one(cmd.Context(), key)
		out.Objects++
		out.Records += done.Appended
		out.Unreadable += done.Unreadable
		if done.Removed {
			out.Removed++
		}
		if err != nil {
			out.Failed = append(out.Failed, key)
			fmt.Fprintln(cmd.ErrOrStderr(), "palier:", err)
		}
		_ = bar.Add(1) // a bar that cannot be drawn changes nothing
	}
	_ = bar.Finish()
	return out
}

func printReplayed(w io.Writer, out replayed, asJSON bool) error {
	if asJSON {
		return printJSON(w, out)
	}
	did, gone := "records replayed", "dead letters removed"
	if out.DryRun {
		did, gone = "records to replay", "dead letters to remove"
	}
	_, err := fmt.Fprintf(w, "%s: %d\n%s: %d of %d\n", did, out.Records, gone, out.Removed, out.Objects)
	if err == nil && out.Unreadable > 0 {
		_, err = fmt.Fprintf(w, "records left: %d, which still cannot be read; look at them with `palier dead-letters show`\n", out.Unreadable)
	}
	if err == nil && len(out.Failed) > 0 {
		_, err = fmt.Fprintf(w, "dead letters not replayed: %d; run it again\n", len(out.Failed))
	}
	return err
}
