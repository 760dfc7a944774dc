package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/blob"
	"github.com/palier-ota/palier/internal/blob/dir"
	"github.com/palier-ota/palier/internal/deadletter"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

// world is a handler on real engines.
type world struct {
	*handler
	t       *testing.T
	store   store.Store
	log     bytes.Buffer
	counted map[string]int64 // by the last invocation
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	table, err := sqlite.Open(filepath.Join(t.TempDir(), "palier.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	files, err := dir.New(t.TempDir(), dir.Options{BaseURL: "http://127.0.0.1", Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(table.Close(), files.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: table}
	w.handler = &handler{
		aggregator: &aggregate.Aggregator{Store: table, Name: tallied}, letters: deadletter.Box{Store: files},
		log: slog.New(slog.NewJSONHandler(&w.log, nil)), now: func() time.Time { return now },
		report: func(counts iter.Seq2[string, int64]) { w.counted = maps.Collect(counts) },
	}
	return w
}

// devices returns how many devices were counted.
func (w *world) devices() (n int64) {
	w.t.Helper()
	tallies, err := store.Tallies{Store: w.store}.Load(w.t.Context(), "com.example.shop", "01A")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, row := range tallies.Rows {
		n += row.Devices
	}
	return n
}

// fold hands an event over as Lambda does and returns from which record on it must come again.
func (w *world) fold(ctx context.Context, event []byte) string {
	w.t.Helper()
	var in events.KinesisEvent
	if err := json.Unmarshal(event, &in); err != nil {
		w.t.Fatal(err)
	}
	out, err := w.Fold(ctx, in)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.BatchItemFailures) == 0 {
		if string(text) != `{"batchItemFailures":[]}` {
			w.t.Errorf("success is told as %s", text)
		}
		return ""
	}
	if want := fmt.Sprintf(`{"batchItemFailures":[{"itemIdentifier":"%s"}]}`, out.BatchItemFailures[0].ItemIdentifier); string(text) != want {
		w.t.Errorf("failure is told as %s", text)
	}
	return out.BatchItemFailures[0].ItemIdentifier
}

// check is the record of a device's check; each device is in another slot, until there are no more.
func check(t *testing.T, device int) []byte {
	t.Helper()
	data, err := telemetry.Append(nil, telemetry.Event{
		App: "com.example.shop", Device: uint64(device)<<60 | uint64(device), Time: now.Add(-30 * time.Second).UnixMilli(), Version: "1.0.0",
		Exposures: []telemetry.Exposure{{Rollout: "01A", Arm: rollout.ArmControl}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// event is a batch of records, at positions from 1000 on, as the event source mapping sends it.
func event(t *testing.T, records ...[]byte) []byte {
	t.Helper()
	type object = map[string]any
	var list []object
	for i, data := range records {
		list = append(list, object{
			"kinesis": object{
				"kinesisSchemaVersion": "1.0", "partitionKey": "00ff000000000000", "sequenceNumber": fmt.Sprint(1000 + i),
				"data": data, "approximateArrivalTimestamp": 1795348770.5,
			},
			"eventSource": "aws:kinesis", "eventVersion": "1.0", "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1",
			"eventID":           fmt.Sprintf("shardId-000000000006:%d", 1000+i),
			"eventSourceARN":    "arn:aws:kinesis:eu-west-1:123456789012:stream/my-events",
			"invokeIdentityArn": "arn:aws:iam::123456789012:role/aggregate",
		})
	}
	text, err := json.Marshal(object{"Records": list})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestABatchIsCountedOnceHoweverOftenItComes(t *testing.T) {
	w := newWorld(t)
	batch := event(t, check(t, 1), check(t, 2), check(t, 3))
	for i := range 3 {
		if from := w.fold(t.Context(), batch); from != "" {
			t.Errorf("must come again from %s on", from)
		}
		if n := w.devices(); n != 3 {
			t.Errorf("%d devices counted, want 3", n)
		}
		if wrote := w.counted["StoreCommits"] > 0; wrote != (i == 0) || w.counted["EventsFolded"] != 3 || w.counted["LagSeconds"] != 30 {
			t.Errorf("invocation %d counted %v", i, w.counted)
		}
	}
}

func TestPoisonIsKeptAndHoldsNothingUp(t *testing.T) {
	w := newWorld(t)
	batch := event(t, check(t, 1), []byte(`{"app":`), check(t, 2))
	for range 2 {
		if from := w.fold(t.Context(), batch); from != "" {
			t.Errorf("must come again from %s on", from)
		}
	}
	if n := w.devices(); n != 2 || w.counted["DeadLetters"] != 1 {
		t.Errorf("%d devices counted, metrics %v", n, w.counted)
	}
	letters, err := w.letters.Open(t.Context(), "dead/2026/11/22/my-events/shardId-000000000006-1001.json")
	if err != nil {
		t.Fatal(err)
	}
	l := letters[0]
	if string(l.Data) != `{"app":` || l.Key != "00ff000000000000" || !strings.Contains(l.Error, "decode event") ||
		!l.Arrived.Equal(time.Date(2026, 11, 22, 11, 59, 30, 5e8, time.UTC)) {
		t.Errorf("kept as %+v", l)
	}
}

// closed is a bucket that takes nothing.
type closed struct{ blob.Store }

var errClosed = errors.New("no such bucket")

func (closed) Put(context.Context, string, []byte) error { return errClosed }

func TestPoisonThatCannotBeKeptComesAgain(t *testing.T) {
	w := newWorld(t)
	bucket := w.letters
	w.letters = deadletter.Box{Store: closed{bucket.Store}}
	batch := event(t, check(t, 1), []byte("x"), check(t, 2), []byte("y"))
	if from := w.fold(t.Context(), batch); from != "1001" {
		t.Errorf("must come again from %q on, want 1001", from)
	}
	if n := w.devices(); n != 2 || w.counted["DeadLetters"] != 0 {
		t.Errorf("%d devices counted, metrics %v", n, w.counted)
	}
	w.letters = bucket
	if from := w.fold(t.Context(), batch); from != "" || w.devices() != 2 || w.counted["DeadLetters"] != 2 {
		t.Errorf("the second time it must come again from %q on; %d devices, metrics %v", from, w.devices(), w.counted)
	}
}

// partly is a table that takes no writes of one slot.
type partly struct{ store.Store }

func (p partly) Write(ctx context.Context, ops ...store.Op) error {
	if ops[0].Item.SK == "s03" {
		return store.ErrUnavailable
	}
	return p.Store.Write(ctx, ops...)
}

func TestWhatIsNotCountedComesAgainFromItsFirstRecordOn(t *testing.T) {
	w := newWorld(t)
	w.aggregator.Store = partly{w.store}
	records := [][]byte{check(t, 1), check(t, 2), check(t, 3), []byte("x"), check(t, 4)}
	if from := w.fold(t.Context(), event(t, records...)); from != "1002" {
		t.Errorf("must come again from %q on, want 1002", from)
	}
	if n := w.devices(); n != 3 || w.counted["FoldFailures"] != 1 {
		t.Errorf("%d devices counted, metrics %v", n, w.counted)
	}
}

// slow is a table that takes longer to write than there is time.
type slow struct{ store.Store }

func (slow) Write(ctx context.Context, _ ...store.Op) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTheAnswerComesBeforeTheTimeIsOver(t *testing.T) {
	w := newWorld(t)
	w.aggregator.Store = slow{w.store}
	ctx, cancel := context.WithTimeout(t.Context(), answerReserve+2*time.Second)
	defer cancel()
	if from := w.fold(ctx, event(t, []byte("x"), check(t, 1))); from != "1001" {
		t.Errorf("must come again from %q on, want 1001", from)
	}
	if ctx.Err() != nil {
		t.Error("no time was left for the answer")
	}
	if w.counted["DeadLetters"] != 1 {
		t.Errorf("no time was left for dead letters: %v", w.counted)
	}
}

func TestNoDeviceIsNamedInTheLog(t *testing.T) {
	w := newWorld(t)
	w.aggregator.Store = partly{w.store}
	w.aggregator.Log = w.handler.log
	w.fold(t.Context(), event(t, check(t, 3), []byte(`{"app":"com.example.shop","device":3458764513820540931,"kind":9}`)))
	if w.log.Len() == 0 {
		t.Fatal("nothing was logged")
	}
	for _, device := range []string{"3458764513820540931", "3000000000000003"} {
		if strings.Contains(w.log.String(), device) {
			t.Errorf("device %s is named in %s", device, w.log.String())
		}
	}
}
