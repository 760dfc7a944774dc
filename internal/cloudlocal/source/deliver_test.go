package source_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/palier-ota/palier/internal/cloudlocal/source"
)

// failure answers that the batch failed at the record with this text, if it has it.
func failureAt(text string) func([]events.KinesisEventRecord) (source.Reply, error) {
	return func(batch []events.KinesisEventRecord) (source.Reply, error) {
		for _, r := range batch {
			if string(r.Kinesis.Data) == text {
				return source.Reply{Payload: fmt.Appendf(nil, `{"batchItemFailures":[{"itemIdentifier":%q}]}`, r.Kinesis.SequenceNumber)}, nil
			}
		}
		return source.Reply{}, nil
	}
}

func unhandled([]events.KinesisEventRecord) (source.Reply, error) {
	return source.Reply{FunctionError: "Unhandled", Payload: []byte(`{"errorType":"Runtime.ExitError"}`)}, nil
}

// steps writes what was delivered as one line: the last digit of each record, batches apart.
func (w *world) steps() string {
	var out []string
	for _, batch := range w.seen() {
		line := ""
		for _, text := range batch {
			line += text[len(text)-1:]
		}
		out = append(out, line)
	}
	return strings.Join(out, " ")
}

// TestRules plays answers to a batch of eight records, in which 5 is the culprit.
func TestRules(t *testing.T) {
	poison := func(batch []events.KinesisEventRecord) (source.Reply, error) {
		if slices.Contains(texts(batch), "k/005") {
			return unhandled(batch)
		}
		return source.Reply{}, nil
	}
	says := func(payload string) func([]events.KinesisEventRecord) (source.Reply, error) {
		return func([]events.KinesisEventRecord) (source.Reply, error) {
			return source.Reply{Payload: []byte(payload)}, nil
		}
	}
	const all = "01234567"
	for _, c := range []struct {
		name           string
		bisect, report bool
		answer         func([]events.KinesisEventRecord) (source.Reply, error)
		steps          string
		discarded      int64
	}{
		{"all is well", false, true, nil, all, 0},
		{"nothing said", false, true, says(""), all, 0},
		{"null", false, true, says("null"), all, 0},
		{"no list", false, true, says("{}"), all, 0},
		{"null list", false, true, says(`{"batchItemFailures":null}`), all, 0},
		{"error", false, true, unhandled, "01234567 01234567 01234567", 8},
		{"error with bisect", true, true, poison, "01234567 0123 4567 45 4 5 5 5 67", 1},
		{"bisect without reports", true, false, poison, "01234567 0123 4567 45 4 5 5 5 67", 1},
		{"item", false, true, failureAt("k/005"), "01234567 567 567", 3},
		{"item with bisect", true, true, failureAt("k/005"), "01234567 567 5 5 5 67", 1},
		{"first item with bisect", true, true, failureAt("k/000"), "01234567 0123 01 0 0 0 1 23 4567", 1},
		{"item is not asked for", false, false, failureAt("k/005"), all, 0},
		{"empty identifier", false, true, says(`{"batchItemFailures":[{"itemIdentifier":""}]}`), "01234567 01234567 01234567", 8},
		{"null identifier", false, true, says(`{"batchItemFailures":[{"itemIdentifier":null}]}`), "01234567 01234567 01234567", 8},
		{"misnamed identifier", false, true, says(`{"batchItemFailures":[{"id":"1"}]}`), "01234567 01234567 01234567", 8},
		{"unknown identifier", false, true, says(`{"batchItemFailures":[{"itemIdentifier":"1"}]}`), "01234567 01234567 01234567", 8},
		{"no JSON", false, true, says(`all fine`), "01234567 01234567 01234567", 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.Bisect, w.ReportItemFailures, w.answer = c.bisect, c.report, c.answer
			w.put(t, numbered("k", 8)...)
			w.run(t)
			w.settled(t, 8)
			if got := w.steps(); got != c.steps {
				t.Errorf("got  %s\nwant %s", got, c.steps)
			}
			if s := w.Stats(); s.Discarded != c.discarded || s.Done != 8-c.discarded {
				t.Errorf("%+v, want %d discarded", s, c.discarded)
			}
		})
	}
}

func TestLowestFailureCounts(t *testing.T) {
	w := newWorld(t, 1)
	first := true
	w.answer = func(batch []events.KinesisEventRecord) (source.Reply, error) {
		if !first {
			return source.Reply{}, nil
		}
		first = false
		return source.Reply{Payload: fmt.Appendf(nil, `{"batchItemFailures":[{"itemIdentifier":%q},{"itemIdentifier":%q}]}`,
			batch[6].Kinesis.SequenceNumber, batch[2].Kinesis.SequenceNumber)}, nil
	}
	w.put(t, numbered("k", 8)...)
	w.run(t)
	w.settled(t, 8)
	if got := w.steps(); got != "01234567 234567" {
		t.Error(got)
	}
}

func TestThrottledFunctionLosesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.MaximumRetryAttempts = 0
	left := 3
	w.answer = func([]events.KinesisEventRecord) (source.Reply, error) {
		if left--; left >= 0 {
			return source.Reply{}, errors.New("throttled")
		}
		return source.Reply{}, nil
	}
	w.put(t, numbered("k", 8)...)
	w.run(t)
	w.settled(t, 8)
	if s := w.Stats(); s.Throttles != 3 || s.Done != 8 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDestinationGetsTheRecordsThemselves(t *testing.T) {
	w := newWorld(t, 1)
	w.answer = unhandled
	refusals := 2
	store := w.Discard
	w.Discard = func(ctx context.Context, key string, document []byte) error {
		if refusals--; refusals >= 0 {
			return errors.New("the bucket is away")
		}
		return store(ctx, key, document)
	}
	w.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }
	w.put(t, numbered("k", 3)...)
	w.run(t)
	w.await(t, "the destination has it", func(source.Stats) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.objects) == 1
	})
	for key, object := range w.objects {
		if !regexp.MustCompile(`^aws/lambda/mapping-id/shardId-000000000000/2026/01/02/2026-01-02T03\.04\.05-[A-Z0-9]+$`).MatchString(key) {
			t.Errorf("key %s", key)
		}
		var d struct {
			RequestContext struct {
				FunctionARN, Condition string
				ApproximateInvokeCount int
			}
			ResponseContext  struct{ FunctionError string }
			Version          string
			Timestamp        string
			KinesisBatchInfo struct {
				ShardID, StreamARN, StartSequenceNumber, EndSequenceNumber string
				BatchSize                                                  int
			}
			Payload string
		}
		must(t, json.Unmarshal([]byte(object), &d))
		if d.RequestContext.Condition != "RetryAttemptsExhausted" || d.RequestContext.ApproximateInvokeCount != 3 ||
			d.RequestContext.FunctionARN != w.FunctionARN || d.ResponseContext.FunctionError != "Unhandled" || d.Version != "1.0" ||
			d.Timestamp != "2026-01-02T03:04:05.006Z" || d.KinesisBatchInfo.StreamARN != w.StreamARN {
			t.Errorf("%s", object)
		}
		var event events.KinesisEvent
		must(t, json.Unmarshal([]byte(d.Payload), &event))
		if got := texts(event.Records); !slices.Equal(got, numbered("k", 3)) || d.KinesisBatchInfo.BatchSize != 3 ||
			event.Records[0].Kinesis.SequenceNumber != d.KinesisBatchInfo.StartSequenceNumber ||
			event.Records[2].Kinesis.SequenceNumber != d.KinesisBatchInfo.EndSequenceNumber {
			t.Errorf("%s of %+v", got, d.KinesisBatchInfo)
		}
	}
}

func TestOldRecordsAreGivenUpUnseen(t *testing.T) {
	w := newWorld(t, 1)
	w.MaximumRecordAge = time.Minute
	w.put(t, numbered("k", 4)...)
	w.Now = func() time.Time { return time.Now().Add(time.Hour) }
	w.run(t)
	w.settled(t, 4)
	if s := w.Stats(); s.Discarded != 4 || s.Invocations != 0 || len(w.objects) != 1 {
		t.Errorf("%+v, %d objects", s, len(w.objects))
	}
	for _, object := range w.objects {
		if !strings.Contains(object, `"condition":"RecordAgeExceeded"`) || strings.Contains(object, "responseContext") {
			t.Error(object)
		}
	}
}

func TestRepeatDeliversABatchAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.BatchSize = 4
	w.Repeat = func() bool { return true }
	w.put(t, numbered("k", 8)...)
	w.run(t)
	w.await(t, "four deliveries", func(source.Stats) bool { return len(w.seen()) == 4 })
	if got := w.steps(); got != "0123 0123 4567 4567" {
		t.Error(got)
	}
}
