package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/dir"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

// graveyard is a folder of dead letters, and the one stream that they can be replayed to, called events.
type graveyard struct {
	t      *testing.T
	folder string
	box    deadletter.Box
	log    *streamsqlite.Stream
}

func newGraveyard(t *testing.T) *graveyard {
	t.Helper()
	g := &graveyard{t: t, folder: t.TempDir()}
	files, err := dir.New(g.folder, dir.Options{BaseURL: "http://127.0.0.1", Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	g.box = deadletter.Box{Store: files}
	g.log, err = streamsqlite.Open(filepath.Join(t.TempDir(), "stream.db"), streamsqlite.Options{Shards: 1, Retention: time.Hour, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.log.Close(), files.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// bury keeps a dead letter and returns its key.
func (g *graveyard) bury(streamName string, age time.Duration, data string) string {
	g.t.Helper()
	l := deadletter.Letter{
		Stream: streamName, Shard: "shardId-000000000000", Sequence: "49", Arrived: time.Now().Add(-age),
		Error: "decode event", Key: "0f", Data: []byte(data),
	}
	if err := g.box.Put(g.t.Context(), l); err != nil {
		g.t.Fatal(err)
	}
	return l.ObjectKey()
}

// run runs a dead-letters command on the folder and returns what it printed and how it ended.
func (g *graveyard) run(args ...string) (out string, err error) {
	g.t.Helper()
	c := &connection{}
	d := &deadLetters{
		openStream: func(_ context.Context, name string) (deadletter.Appender, error) {
			if name != "events" {
				return nil, errors.New("there is no stream " + name)
			}
			return g.log, nil
		},
		openBucket: func(context.Context, string) (blob.Store, error) {
			return dir.New(g.folder, dir.Options{BaseURL: "http://127.0.0.1", Secret: make([]byte, 32)})
		},
	}
	root := &cobra.Command{Use: "palier", SilenceErrors: true, SilenceUsage: true}
	c.flags(root.PersistentFlags())
	root.AddCommand(d.command(c))
	root.SetArgs(append([]string{"dead-letters", "--bucket", "state"}, args...))
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err = root.ExecuteContext(g.t.Context())
	return stdout.String(), err
}

// ok is run for a command that must succeed.
func (g *graveyard) ok(args ...string) string {
	g.t.Helper()
	out, err := g.run(args...)
	if err != nil {
		g.t.Fatalf("dead-letters %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// left returns the keys of what is still there.
func (g *graveyard) left() []string {
	g.t.Helper()
	var keys []string
	for e, err := range g.box.Entries(g.t.Context(), time.Time{}) {
		if err != nil {
			g.t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

// onStream returns how many records are on the stream.
func (g *graveyard) onStream() int {
	g.t.Helper()
	records, err := g.log.Read(g.t.Context(), "0", "", stream.MaxRead)
	if err != nil {
		g.t.Fatal(err)
	}
	return len(records)
}

func countable(t *testing.T) string {
	t.Helper()
	data, err := telemetry.Append(nil, telemetry.Event{App: shop, Device: 7, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDeadLettersAreListedAndShown(t *testing.T) {
	g := newGraveyard(t)
	if out := g.ok("list"); out != "no dead letters\n" {
		t.Errorf("an empty folder lists %q", out)
	}
	old, recent := g.bury("events", 10*24*time.Hour, "no \x1b[31mevent"), g.bury("staging", time.Hour, countable(t))
	for _, c := range []struct {
		args      []string
		has, lack []string
	}{
		{[]string{"list"}, []string{old, recent, "shardId-000000000000"}, nil},
		{[]string{"list", "--since", "3d"}, []string{recent}, []string{old}},
		{[]string{"list", "--since", time.Now().Add(-3 * 24 * time.Hour).Format(time.RFC3339)}, []string{recent}, []string{old}},
		{[]string{"list", "--stream", "events"}, []string{old}, []string{recent}},
		{[]string{"list", "--stream", "nowhere"}, []string{"no dead letters"}, []string{old, recent}},
		{[]string{"show", old}, []string{"record 49 of events/", "still cannot be read", `no \x1b[31mevent`}, []string{"\x1b"}},
		{[]string{"show", recent}, []string{"can be read now"}, nil},
	} {
		out := g.ok(c.args...)
		for _, word := range c.has {
			if !strings.Contains(out, word) {
				t.Errorf("%v: %q is missing in\n%s", c.args, word, out)
			}
		}
		for _, word := range c.lack {
			if strings.Contains(out, word) {
				t.Errorf("%v: %q should not be in\n%s", c.args, word, out)
			}
		}
	}
	var entries []deadletter.Entry
	if err := json.Unmarshal([]byte(g.ok("list", "--json")), &entries); err != nil || len(entries) != 2 || entries[0].Key != old {
		t.Errorf("%v: listed as JSON %+v", err, entries)
	}
	var letters []deadletter.Letter
	if err := json.Unmarshal([]byte(g.ok("show", old, "--json")), &letters); err != nil || len(letters) != 1 || letters[0].Key != "0f" {
		t.Errorf("%v: shown as JSON %+v", err, letters)
	}
}

func TestDeadLettersAreReplayed(t *testing.T) {
	g := newGraveyard(t)
	unreadable, good := g.bury("events", 48*time.Hour, "no event"), g.bury("events", time.Hour, countable(t))
	replay := func(want replayed, args ...string) {
		t.Helper()
		var got replayed
		out, err := g.run(append([]string{"replay", "--json"}, args...)...)
		if (err != nil) != (len(want.Failed) > 0) {
			t.Errorf("replay %v: %v", args, err)
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !slices.Equal(got.Failed, want.Failed) {
			t.Errorf("replay %v: failed %v, want %v", args, got.Failed, want.Failed)
		}
		got.Failed, want.Failed = nil, nil
		if got.Objects != want.Objects || got.Records != want.Records || got.Removed != want.Removed || got.Unreadable != want.Unreadable || got.DryRun != want.DryRun {
			t.Errorf("replay %v: %+v, want %+v", args, got, want)
		}
	}
	replay(replayed{Objects: 2, Records: 1, Removed: 1, Unreadable: 1, DryRun: true}, "--dry-run")
	if n := g.onStream(); n != 0 || len(g.left()) != 2 {
		t.Errorf("a dry run put %d records on the stream and left %v", n, g.left())
	}
	replay(replayed{Objects: 2, Records: 1, Removed: 1, Unreadable: 1})
	if n := g.onStream(); n != 1 || !slices.Equal(g.left(), []string{unreadable}) {
		t.Errorf("%d records on the stream, %v left", n, g.left())
	}
	replay(replayed{Objects: 1, Unreadable: 1})
	lost := g.bury("staging", time.Hour, countable(t))
	replay(replayed{Objects: 2, Unreadable: 1, Failed: []string{lost}})
	replay(replayed{Objects: 1, Failed: []string{good}}, good) // it is gone
	replay(replayed{Objects: 1, Records: 1, Removed: 1}, unreadable, "--force")
	if n := g.onStream(); n != 2 || !slices.Equal(g.left(), []string{lost}) {
		t.Errorf("%d records on the stream, %v left", n, g.left())
	}
	replay(replayed{Objects: 1, Records: 1, Removed: 1}, "--to", "events")
	if n := g.onStream(); n != 3 || len(g.left()) != 0 {
		t.Errorf("%d records on the stream, %v left after a replay to another one", n, g.left())
	}
	if out := g.ok("replay", "--stream", "events"); out != "records replayed: 0\ndead letters removed: 0 of 0\n" {
		t.Errorf("nothing to replay is told as %q", out)
	}
}

// TestABatchThatCannotBeReadNowIsNotPassedOver chooses by stream, for which batches have to be looked into: one that the
// storage does not give out at the moment may be meant, one that is no dead letter is not.
func TestABatchThatCannotBeReadNowIsNotPassedOver(t *testing.T) {
	g := newGraveyard(t)
	const key = deadletter.LambdaPrefix + "0f/shardId-000000000000/2026/11/22/2026-11-22T12.00.00-0f"
	if err := g.box.Store.Put(t.Context(), key, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if out := g.ok("list", "--stream", "events"); out != "no dead letters\n" {
		t.Errorf("what is no dead letter is listed: %s", out)
	}
	if err := os.WriteFile(filepath.Join(g.folder, key+"#"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"list", "replay"} {
		if out, err := g.run(verb, "--stream", "events"); !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("%s: %v, %s", verb, err, out)
		}
	}
}

func TestDeadLettersCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"list"}, // where?
		{"show", "--bucket", "state"},
		{"bury", "--bucket", "state"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append([]string{"dead-letters"}, args...), strings.NewReader(""), &out, &errOut); code != exitUsage {
			t.Errorf("dead-letters %v: exit %d, %s", args, code, errOut.String())
		}
	}
}
