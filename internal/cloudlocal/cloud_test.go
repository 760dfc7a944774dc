package cloudlocal

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const ownTemplate = "../../template.yaml"

func TestStartSaysWhatIsMissing(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		name    string
		options Options
		want    string
	}{
		{"template", Options{Template: filepath.Join(empty, "none.yaml"), Functions: empty}, "none.yaml"},
		{"functions", Options{Template: ownTemplate, Functions: empty}, "make functions"},
		{"parameter", Options{Template: ownTemplate, Functions: empty, Parameters: map[string]string{"Colour": "red"}}, "Colour"},
		{"clock", Options{Template: ownTemplate, Functions: empty, Scale: -1}, "clock"},
	} {
		cloud, err := Start(t.Context(), c.options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			_ = cloud.Close()
		}
	}
}

// TestCloudComesUpAndLeavesNothing starts a cloud whose functions are never invoked, and looks at what it made.
func TestCloudComesUpAndLeavesNothing(t *testing.T) {
	functions := t.TempDir()
	for _, program := range []string{"resolve", "ingest", "aggregate", "promote", "admin", "relay"} {
		if err := os.Mkdir(filepath.Join(functions, program), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(functions, program, "bootstrap"), []byte("#!/bin/false\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Start(t.Context(), Options{Template: ownTemplate, Functions: functions})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.Tables().ListTables(t.Context(), nil)
	if err != nil || len(tables.TableNames) != 1 || tables.TableNames[0] != c.Template.Table.Name {
		t.Errorf("tables %v, %v", tables, err)
	}
	streams, err := c.Streams().ListStreams(t.Context(), nil)
	if err != nil || len(streams.StreamNames) != 1 || streams.StreamNames[0] != c.Template.Stream.Name {
		t.Errorf("streams %v, %v", streams, err)
	}
	buckets, err := c.Buckets().ListBuckets(t.Context(), nil)
	if err != nil || len(buckets.Buckets) != len(c.Template.Buckets) {
		t.Errorf("buckets %v, %v", buckets, err)
	}
	servers := []<-chan struct{}{c.DynamoDB.Server.Exited(), c.Kinesis.Server.Exited(), c.S3.Server.Exited()}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for i, exited := range servers {
		select {
		case <-exited:
		default:
			t.Errorf("server %d is still there", i)
		}
	}
	if _, err := c.Tick(context.Background(), "PromoteFunction"); err == nil {
		t.Error("a closed cloud still ticks")
	}
}

// TestTimesFollowTheClock asks how long the template's times last when an hour passes in a second.
func TestTimesFollowTheClock(t *testing.T) {
	clock, err := newClock(3600)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cloud{Clock: clock}
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 100 * time.Millisecond: 100 * time.Millisecond, time.Minute: shortest, time.Hour: time.Second,
	} {
		if got := c.shortened(d); got != want {
			t.Errorf("%s lasts %s, want %s", d, got, want)
		}
	}
	if got := c.snapshotTTL("10s"); got != "1h0m0s" {
		t.Errorf("a Snapshot answers for %s of the clock, want a second of real time", got)
	}
	c.options.SnapshotTTL = time.Minute
	if got := c.snapshotTTL("10s"); got != "1m0s" {
		t.Errorf("a Snapshot answers for %s, want what was asked for", got)
	}
}
