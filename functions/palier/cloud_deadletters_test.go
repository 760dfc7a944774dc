package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/stream"
)

// letters lists the dead letters in the state bucket.
func (c *cloud) letters(t *testing.T) (list []deadletter.Entry) {
	t.Helper()
	out, code := c.palier(t, "dead-letters", "list", "--json", "--bucket", c.stateBucket(t))
	if code != exitOK || json.Unmarshal([]byte(out), &list) != nil {
		t.Fatalf("dead-letters list exits with %d: %s", code, out)
	}
	return list
}

func (c *cloud) stateBucket(t *testing.T) string {
	t.Helper()
	b, ok := c.Template.Bucket("StateBucket")
	if !ok {
		t.Fatal("the template has no StateBucket")
	}
	return b.Name
}

// replay replays all dead letters and returns what it did.
func (c *cloud) replay(t *testing.T, args ...string) (did replayed) {
	t.Helper()
	args = append([]string{"dead-letters", "replay", "--json", "--bucket", c.stateBucket(t)}, args...)
	out, code := c.palier(t, args...)
	if at := strings.Index(out, "{"); code != exitOK || at < 0 || json.Unmarshal([]byte(out[at:]), &did) != nil {
		t.Fatalf("dead-letters replay exits with %d: %s", code, out)
	}
	return did
}

// TestPoisonIsSetAsideAndTheRestCounted puts a record on the stream that nobody can read.
func TestPoisonIsSetAsideAndTheRestCounted(t *testing.T) {
	log := recordedLog(t, 2000)
	want := singleProcess(t, log, recorded...)
	poison := stream.Record{Key: log[0].Key, Data: []byte(`{"app":`)}
	half := len(log) / 2
	log = append(append(append([]stream.Record(nil), log[:half]...), poison), log[half:]...)
	c := startCloud(t, cloudlocal.Options{})
	appendLog(t, c.stream(t), log)
	c.counted(t, len(log))
	checkTallies(t, merged(t, c.store(), recorded...), want, 100)
	first := c.letters(t)
	if len(first) != 1 || first[0].Batch {
		t.Fatalf("dead letters: %+v", first)
	}
	out, code := c.palier(t, "dead-letters", "show", first[0].Key, "--bucket", c.stateBucket(t))
	if code != exitOK || !strings.Contains(out, `{\"app\":`) {
		t.Errorf("show exits with %d: %s", code, out)
	}
	if did := c.replay(t); did.Unreadable != 1 || did.Records != 0 || len(c.letters(t)) != 1 {
		t.Errorf("what cannot be read yet was not left alone: %+v", did)
	}
	if did := c.replay(t, "--force"); did.Records != 1 || did.Removed != 1 {
		t.Errorf("replay --force: %+v", did)
	}
	c.counted(t, len(log)+1)
	if again := c.letters(t); len(again) != 1 || again[0].Key == first[0].Key {
		t.Errorf("the record was put on the stream again, and the dead letters are %+v", again)
	}
	checkTallies(t, merged(t, c.store(), recorded...), want, 100)
}

// TestBatchesGivenUpAreReplayed lets Lambda give up on batches while the table is away, and replays them.
func TestBatchesGivenUpAreReplayed(t *testing.T) {
	log := recordedLog(t, 1000)
	c := startCloud(t, cloudlocal.Options{Tune: func(m *source.Mapping) { m.MaximumRetryAttempts, m.Bisect = 0, false }})
	c.DynamoDB.Guard.SetFaults(faultsOf(aggregateFunction, guard.Faults{Throttle: 1}))
	appendLog(t, c.stream(t), log)
	m := c.Mapping(aggregateFunction)
	eventually(t, 2*cloudLimit, "all batches are given up", func() bool { return m.Stats().Discarded == int64(len(log)) })
	c.DynamoDB.Guard.SetFaults(guard.Faults{})
	for _, l := range c.letters(t) {
		if !l.Batch {
			t.Errorf("%+v is no batch", l)
		}
	}
	if did := c.replay(t); did.Records != len(log) || did.Unreadable != 0 || len(did.Failed) != 0 {
		t.Errorf("replay: %+v", did)
	}
	c.counted(t, len(log))
	checkTallies(t, merged(t, c.store(), recorded...), singleProcess(t, log, recorded...), 100)
	if left := c.letters(t); len(left) != 0 {
		t.Errorf("after the replay: %+v", left)
	}
}
