package deadletter_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/dir"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

var arrived = time.Date(2026, 11, 22, 23, 59, 58, 125e6, time.UTC)

// readable returns the n-th of some records that can be counted.
func readable(t testing.TB, n int) []byte {
	t.Helper()
	data, err := telemetry.Append(nil, telemetry.Event{App: "com.example.shop", Device: uint64(n) << 56, Time: 1000 + int64(n)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func letter(sequence int, data []byte) deadletter.Letter {
	return deadletter.Letter{
		Stream: "events", Shard: "shardId-000000000003", Sequence: fmt.Sprint(sequence), Arrived: arrived,
		Error: "decode event", Key: "00ff000000000000", Data: data,
	}
}

func newBox(t testing.TB) deadletter.Box {
	t.Helper()
	files, err := dir.New(t.TempDir(), dir.Options{BaseURL: "http://127.0.0.1", Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	return deadletter.Box{Store: files}
}

func newStream(t testing.TB) *streamsqlite.Stream {
	t.Helper()
	log, err := streamsqlite.Open(filepath.Join(t.TempDir(), "stream.db"), streamsqlite.Options{Shards: 1, Retention: time.Hour, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// replayTo returns a Replay that knows one stream, called events.
func replayTo(box deadletter.Box, log deadletter.Appender) deadletter.Replay {
	return deadletter.Replay{Box: box, Open: func(name string) (deadletter.Appender, error) {
		if name != "events" {
			return nil, fmt.Errorf("no stream %s", name)
		}
		return log, nil
	}}
}

// onStream returns the data of all records of the stream.
func onStream(t *testing.T, log stream.Stream) []string {
	t.Helper()
	records, err := log.Read(t.Context(), "0", "", stream.MaxRead)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = string(r.Data)
	}
	return out
}

func keys(t *testing.T, box deadletter.Box, since time.Time) []string {
	t.Helper()
	var out []string
	for e, err := range box.Entries(t.Context(), since) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Key)
	}
	return out
}

// batchObject is what Lambda writes into a bucket when it gives up on a batch; asText is whether the payload is a text.
func batchObject(t testing.TB, asText bool, records ...[]byte) []byte {
	t.Helper()
	type object = map[string]any
	var list []object
	for i, data := range records {
		list = append(list, object{
			"eventID": fmt.Sprintf("shardId-000000000003:%d", 500+i), "eventSource": "aws:kinesis",
			"kinesis": object{
				"partitionKey": "0000000000000007", "sequenceNumber": fmt.Sprint(500 + i), "kinesisSchemaVersion": "1.0",
				"data": base64.StdEncoding.EncodeToString(data), "approximateArrivalTimestamp": 1795391998.125,
			},
		})
	}
	document := object{
		"requestContext":  object{"condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4},
		"responseContext": object{"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
		"version":         "1.0", "timestamp": "2026-11-23T00:12:06.021Z",
		"KinesisBatchInfo": object{
			"shardId": "shardId-000000000003", "startSequenceNumber": "500", "endSequenceNumber": "502", "batchSize": len(records),
			"streamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
		},
	}
	if records != nil {
		document["payload"] = object{"Records": list}
	}
	if records != nil && asText {
		text, err := json.Marshal(document["payload"])
		if err != nil {
			t.Fatal(err)
		}
		document["payload"] = string(text)
	}
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const batchKey = "aws/lambda/0b5ff4a1-6b8f-4c0e-9b1a-4f5f0b6f4e55/shardId-000000000003/2026/11/23/" +
	"2026-11-23T00.12.06-7d0f1c52-6f0c-4a5e-8a55-30c1a8f5b9a1"

func put(t testing.TB, box deadletter.Box, key string, data []byte) {
	t.Helper()
	if err := box.Store.Put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

func TestALetterIsKeptWholeUnderTheDayItsRecordArrived(t *testing.T) {
	box, want := newBox(t), letter(41, []byte{0xff, 0, '{'})
	for range 2 { // the record is delivered again
		if err := box.Put(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	const key = "dead/2026/11/22/events/shardId-000000000003-41.json"
	if got := keys(t, box, time.Time{}); !slices.Equal(got, []string{key}) {
		t.Fatalf("kept as %v", got)
	}
	got, err := box.Open(t.Context(), key)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%v: read back %+v, want %+v", err, got, want)
	}
}

func TestBatchesThatLambdaGaveUpAreRead(t *testing.T) {
	for _, asText := range []bool{true, false} {
		got, err := deadletter.Decode(batchKey, batchObject(t, asText, readable(t, 1), []byte("no event")))
		if err != nil || len(got) != 2 {
			t.Fatalf("payload as text %t: %v %+v", asText, err, got)
		}
		want := deadletter.Letter{
			Stream: "events", Shard: "shardId-000000000003", Sequence: "501", Arrived: arrived,
			Error: "RetryAttemptsExhausted after 4 invocations, the last one ended with Unhandled",
			Key:   "0000000000000007", Data: []byte("no event"),
		}
		if !reflect.DeepEqual(got[1], want) {
			t.Errorf("payload as text %t: %+v\nwant %+v", asText, got[1], want)
		}
	}
	if _, err := deadletter.Decode(batchKey, batchObject(t, false)); !errors.Is(err, deadletter.ErrPointers) {
		t.Errorf("without records: %v", err)
	}
}

func TestWhatIsNoDeadLetterIsRefused(t *testing.T) {
	for _, c := range []struct{ key, data string }{
		{"dead/x.json", ``},
		{"dead/x.json", `{}`},
		{"dead/x.json", `{"stream":"s","shard":"1","sequence":"1","data":"%"}`},
		{batchKey, `{"payload":"{}"}`},
		{batchKey, `{"KinesisBatchInfo":{"shardId":"1","streamArn":"arn:aws:kinesis:r:1:stream/s"},"payload":"no JSON"}`},
		{batchKey, `{"KinesisBatchInfo":{"shardId":"1","streamArn":"elsewhere"},"payload":"{}"}`},
	} {
		if got, err := deadletter.Decode(c.key, []byte(c.data)); !errors.Is(err, deadletter.ErrMalformed) {
			t.Errorf("%s: %v %+v", c.data, err, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(true, batchObject(f, true, []byte("x")))
	f.Add(true, batchObject(f, false, []byte("x")))
	own, err := letter(1, []byte("x")).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, own)
	f.Fuzz(func(t *testing.T, batch bool, data []byte) {
		key := "dead/a.json"
		if batch {
			key = batchKey
		}
		letters, err := deadletter.Decode(key, data)
		if err != nil && !errors.Is(err, deadletter.ErrMalformed) && !errors.Is(err, deadletter.ErrPointers) {
			t.Errorf("unnamed error %v", err)
		}
		for _, l := range letters {
			if l.Stream == "" || string(l.Record().Data) != string(l.Data) {
				t.Errorf("%+v", l)
			}
		}
	})
}

func TestEntriesSayWhatTheirKeysSay(t *testing.T) {
	box := newBox(t)
	early := letter(9, []byte("x"))
	early.Arrived = arrived.AddDate(0, 0, -3)
	for _, l := range []deadletter.Letter{letter(41, []byte("x")), early} {
		if err := box.Put(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	put(t, box, batchKey, []byte("{}"))
	put(t, box, "aws/lambda/elsewhere", []byte("{}"))
	put(t, box, "snapshots/com.example.shop", []byte("{}"))
	var got []deadletter.Entry
	for e, err := range box.Entries(t.Context(), time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		e.Size = 0
		got = append(got, e)
	}
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	want := []deadletter.Entry{
		{Key: early.ObjectKey(), At: day.AddDate(0, 0, -3), Stream: "events", Shard: "shardId-000000000003"},
		{Key: letter(41, nil).ObjectKey(), At: day, Stream: "events", Shard: "shardId-000000000003"},
		{Key: batchKey, At: time.Date(2026, 11, 23, 0, 12, 6, 0, time.UTC), Shard: "shardId-000000000003", Batch: true},
		{Key: "aws/lambda/elsewhere", Batch: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := keys(t, box, arrived); !slices.Equal(got, []string{letter(41, nil).ObjectKey(), batchKey, "aws/lambda/elsewhere"}) {
		t.Errorf("since %v: %v", arrived, got)
	}
	if got := keys(t, box, arrived.AddDate(0, 0, 1)); !slices.Equal(got, []string{"aws/lambda/elsewhere"}) {
		t.Errorf("since the day after: %v", got)
	}
}

func TestReplayPutsReadableRecordsBackAndKeepsTheOthers(t *testing.T) {
	box, log := newBox(t), newStream(t)
	replay := replayTo(box, log)
	good, bad := letter(1, readable(t, 1)), letter(2, []byte("no event"))
	for _, l := range []deadletter.Letter{good, bad} {
		if err := box.Put(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	put(t, box, batchKey, batchObject(t, true, readable(t, 2), []byte("nor this"), readable(t, 3)))
	kept := letter(501, nil).ObjectKey() // what cannot be read of the batch
	for _, c := range []struct {
		key  string
		want deadletter.Outcome
	}{
		{good.ObjectKey(), deadletter.Outcome{Appended: 1, Removed: true}},
		{bad.ObjectKey(), deadletter.Outcome{Unreadable: 1}},
		{batchKey, deadletter.Outcome{Appended: 2, Unreadable: 1, Removed: true}},
	} {
		before := onStream(t, log)
		if plan, err := replay.Plan(t.Context(), c.key); err != nil || plan != c.want || len(onStream(t, log)) != len(before) {
			t.Errorf("%v: plan for %s is %+v, want %+v", err, c.key, plan, c.want)
		}
		if got, err := replay.Object(t.Context(), c.key); err != nil || got != c.want {
			t.Errorf("%v: replay of %s did %+v, want %+v", err, c.key, got, c.want)
		}
	}
	if got, want := onStream(t, log), []string{string(readable(t, 1)), string(readable(t, 2)), string(readable(t, 3))}; !slices.Equal(got, want) {
		t.Errorf("on the stream: %q", got)
	}
	if got := keys(t, box, time.Time{}); !slices.Equal(got, []string{bad.ObjectKey(), kept}) {
		t.Errorf("left: %v", got)
	}
	replay.Force = true
	if got, err := replay.Object(t.Context(), kept); err != nil || got != (deadletter.Outcome{Appended: 1, Removed: true}) {
		t.Errorf("%v: by force %+v", err, got)
	}
	if got := onStream(t, log); got[len(got)-1] != "nor this" {
		t.Errorf("by force: %q", got)
	}
}

// failing is a stream that refuses some appends before it takes any more.
type failing struct {
	deadletter.Appender
	refusals int
	err      error
	sizes    []int
}

func (f *failing) Append(ctx context.Context, batch []stream.Record) error {
	if f.refusals > 0 {
		f.refusals--
		return f.err
	}
	f.sizes = append(f.sizes, len(batch))
	return f.Appender.Append(ctx, batch)
}

func TestReplayIsPatientWithAnOverloadedStreamAndBoundsItsBatches(t *testing.T) {
	box, log := newBox(t), newStream(t)
	records := make([][]byte, 1100)
	for i := range records {
		records[i] = readable(t, i%256)
	}
	put(t, box, batchKey, batchObject(t, true, records...))
	busy := &failing{Appender: log, refusals: 2, err: stream.ErrOverloaded}
	if got, err := replayTo(box, busy).Object(t.Context(), batchKey); err != nil || got.Appended != len(records) {
		t.Fatalf("%v: %+v", err, got)
	}
	if !slices.Equal(busy.sizes, []int{500, 500, 100}) || len(onStream(t, log)) != len(records) {
		t.Errorf("appended in batches of %v", busy.sizes)
	}
}

func TestAReplayThatFailsKeepsTheObject(t *testing.T) {
	box, log := newBox(t), newStream(t)
	broken := errors.New("broken")
	put(t, box, batchKey, batchObject(t, true, readable(t, 1)))
	if got, err := replayTo(box, &failing{Appender: log, refusals: 1, err: broken}).Object(t.Context(), batchKey); !errors.Is(err, broken) || got.Removed {
		t.Errorf("%v: %+v", err, got)
	}
	if got, err := replayTo(box, log).Object(t.Context(), batchKey); err != nil || !got.Removed {
		t.Errorf("%v: the second time %+v", err, got)
	}
	if _, err := replayTo(box, log).Object(t.Context(), batchKey); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the third time: %v", err)
	}
}

func TestRecordsGoToTheShardOfTheirDevice(t *testing.T) {
	for _, c := range []struct {
		name string
		l    deadletter.Letter
		want uint64
	}{
		{"readable: its device", letter(1, readable(t, 3)), 3 << 56},
		{"unreadable: its partition key", letter(1, []byte("x")), 0x00ff << 48},
		{"foreign: any", deadletter.Letter{Key: "somebody", Data: []byte("x")}, telemetry.Fingerprint("somebody")},
	} {
		if got := c.l.Record().Key; got != c.want {
			t.Errorf("%s: %016x, want %016x", c.name, got, c.want)
		}
	}
}
