package kinesis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/palier-ota/palier/internal/cloudlocal/component/componenttest"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/stream/kinesis"
)

// fault does something to a call on its way. Next is Kinesis.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// faulty returns a client whose calls of one kind pass through a proxy that does something to them.
func faulty(t *testing.T, call string, f fault) *sdk.Client {
	t.Helper()
	target, err := url.Parse(componenttest.Kinesis(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	next := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+call) {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return componenttest.KinesisClient(t, func(o *sdk.Options) { o.BaseEndpoint = &proxy.URL })
}

// refuse answers a whole call with an error of Kinesis.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"message":"injected"}`, code)
}

// throttle refuses every n-th call.
func throttle(n int64, status int, code string) fault {
	var calls atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if calls.Add(1)%n == 0 {
			refuse(w, status, code)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// dice are random numbers for handlers that run at once.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newDice() *dice { return &dice{random: rand.New(rand.NewPCG(7, 7))} }

func (d *dice) below(share float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.Float64() < share
}

// refuseRecords keeps a share of the records from Kinesis and tells the sender so, in the way Kinesis does.
func refuseRecords(t *testing.T, share float64, passed *atomic.Int64) fault {
	dice := newDice()
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		var call struct {
			StreamName string
			Records    []json.RawMessage
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Errorf("PutRecords: %v", err)
		}
		results := make([]json.RawMessage, len(call.Records))
		var taken []int
		var through []json.RawMessage
		for i, record := range call.Records {
			results[i] = json.RawMessage(`{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"injected"}`)
			if !dice.below(share) {
				taken, through = append(taken, i), append(through, record)
			}
		}
		passed.Add(int64(len(through)))
		call.Records = through
		var answer struct{ Records []json.RawMessage }
		if len(through) > 0 {
			forward(t, r, next, call, &answer)
		}
		for n, i := range taken {
			results[i] = answer.Records[n]
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		json.NewEncoder(w).Encode(map[string]any{"FailedRecordCount": len(results) - len(taken), "Records": results})
	}
}

// forward makes another call than the one that came, and decodes the answer.
func forward(t *testing.T, r *http.Request, next http.Handler, call, answer any) {
	body, err := json.Marshal(call)
	if err != nil {
		t.Error(err)
	}
	other := r.Clone(r.Context())
	other.Body, other.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	recorded := httptest.NewRecorder()
	next.ServeHTTP(recorded, other)
	if err := json.Unmarshal(recorded.Body.Bytes(), answer); err != nil || recorded.Code != http.StatusOK {
		t.Errorf("Kinesis answered %d %s", recorded.Code, recorded.Body)
	}
}

// cut lets Kinesis do the call, and for some of them ends the connection instead of passing on the answer.
func cut(share float64) fault {
	dice := newDice()
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !dice.below(share) {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// delay lets Kinesis do the call and, for some of them, holds back the answer until the caller has gone.
func delay(share float64) fault {
	dice := newDice()
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !dice.below(share) {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(httptest.NewRecorder(), r.Clone(context.WithoutCancel(r.Context())))
		<-r.Context().Done()
	}
}

// load is what devices did who append one record after the other and send each again until it is acknowledged.
type load struct {
	acknowledged int // records
	refused      int // Appends that failed with stream.ErrOverloaded
	late         int // Appends that failed with context.DeadlineExceeded
}

const (
	loadSenders = 4
	loadBatches = 6
	loadRecords = 10 // of a batch, each of another device
)

// send runs the load. Each Append may take within.
func send(t *testing.T, log stream.Stream, within time.Duration) load {
	t.Helper()
	var mu sync.Mutex
	var done load
	var senders sync.WaitGroup
	for w := range loadSenders {
		senders.Go(func() {
			for n := range loadBatches {
				batch := make([]stream.Record, loadRecords)
				for i := range batch {
					d := w*loadRecords + i
					batch[i] = stream.Record{Key: device(d), Data: fmt.Appendf(nil, "%d %d", d, n)}
				}
				for sent := false; !sent && !t.Failed(); {
					ctx, cancel := context.WithTimeout(t.Context(), within)
					err := log.Append(ctx, batch)
					cancel()
					mu.Lock()
					switch {
					case err == nil:
						sent = true
						done.acknowledged += len(batch)
					case errors.Is(err, stream.ErrOverloaded):
						done.refused++
					case errors.Is(err, context.DeadlineExceeded):
						done.late++
					default:
						t.Errorf("append: %v", err)
					}
					mu.Unlock()
				}
			}
		})
	}
	senders.Wait()
	return done
}

// found reads the whole log and returns how often each record is there. It checks that a device's record n was there
// before its record n+1: who was acknowledged is overtaken by nobody.
func found(t *testing.T, log stream.Stream) map[string]int {
	t.Helper()
	names, err := log.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, shard := range names {
		for after := stream.Position(""); ; {
			page, err := log.Read(t.Context(), shard, after, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].Position
			for _, r := range page {
				times[string(r.Data)]++
				var d, n int
				if _, err := fmt.Sscanf(string(r.Data), "%d %d", &d, &n); err != nil {
					t.Fatal(err)
				}
				if n > 0 && times[fmt.Sprintf("%d %d", d, n-1)] == 0 {
					t.Fatalf("device %d: record %d before the one before", d, n)
				}
			}
		}
	}
	return times
}

// wantAll checks that every record of the load is there, and counts those that are there more than once.
func wantAll(t *testing.T, log stream.Stream) (duplicates int) {
	t.Helper()
	times := found(t, log)
	for d := range loadSenders * loadRecords {
		for n := range loadBatches {
			count := times[fmt.Sprintf("%d %d", d, n)]
			if count == 0 {
				t.Errorf("device %d: record %d was acknowledged and is lost", d, n)
			}
			duplicates += max(0, count-1)
		}
	}
	return duplicates
}

func patient() kinesis.Options {
	return kinesis.Options{FirstPause: time.Millisecond, LongestPause: 4 * time.Millisecond, Attempts: 20}
}

// TestRefusedRecords refuses 30 % of the records of each call: only those are sent again, so each is there once.
func TestRefusedRecords(t *testing.T) {
	var passed atomic.Int64
	log := fresh(t, faulty(t, "PutRecords", refuseRecords(t, 0.3, &passed)), 2, patient())
	done := send(t, log, time.Minute)
	if duplicates := wantAll(t, log); duplicates > 0 || int(passed.Load()) != done.acknowledged || done.refused+done.late > 0 {
		t.Errorf("%d duplicates, %d records sent for %+v", duplicates, passed.Load(), done)
	}
}

// TestRefusedRecordsOften refuses so much that few attempts do not help: the sender is told that it was overload, and
// nothing that was acknowledged is lost.
func TestRefusedRecordsOften(t *testing.T) {
	var passed atomic.Int64
	options := patient()
	options.Attempts = 3
	log := fresh(t, faulty(t, "PutRecords", refuseRecords(t, 0.4, &passed)), 2, options)
	done := send(t, log, time.Minute)
	wantAll(t, log)
	if done.refused == 0 || done.late > 0 {
		t.Errorf("%+v: this was no overload", done)
	}
}

func TestRefusedCalls(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
	}{
		{"ProvisionedThroughputExceededException", 400},
		{"InternalFailure", 500},
	} {
		log := fresh(t, faulty(t, "PutRecords", throttle(2, c.status, c.code)), 2, patient())
		done := send(t, log, time.Minute)
		if duplicates := wantAll(t, log); duplicates > 0 || done.refused+done.late > 0 {
			t.Errorf("%s: %d duplicates, %+v", c.code, duplicates, done)
		}
	}
}

// TestCutConnections loses answers of calls that Kinesis has done: all is there, some of it twice.
func TestCutConnections(t *testing.T) {
	log := fresh(t, faulty(t, "PutRecords", cut(0.4)), 2, patient())
	done := send(t, log, time.Minute)
	if duplicates := wantAll(t, log); duplicates == 0 || done.refused+done.late > 0 {
		t.Errorf("%d duplicates, %+v: no answer was lost on its way", duplicates, done)
	}
}

// TestSlowAnswers has answers come after the deadline: the sender hears of that and sends again.
func TestSlowAnswers(t *testing.T) {
	log := fresh(t, faulty(t, "PutRecords", delay(0.2)), 2, patient())
	done := send(t, log, 700*time.Millisecond)
	wantAll(t, log)
	if done.late == 0 {
		t.Errorf("%+v: no answer was late", done)
	}
}

// TestAttempts counts the calls that an Append makes when each is refused, and says what it ends in.
func TestAttempts(t *testing.T) {
	for _, c := range []struct {
		code       string
		status     int
		calls      int
		overloaded bool
	}{
		{"ProvisionedThroughputExceededException", 400, 4, true},
		{"LimitExceededException", 400, 4, true},
		{"KMSThrottlingException", 400, 4, true},
		{"ThrottlingException", 400, 4, true},
		{"InternalFailure", 500, 4, true},
		{"ServiceUnavailable", 503, 4, true},
		{"SomethingNew", 500, 4, false},
		{"AccessDeniedException", 400, 1, false},
		{"ResourceNotFoundException", 400, 1, false},
		{"ValidationException", 400, 1, false},
		{"KMSDisabledException", 400, 1, false},
	} {
		var calls atomic.Int64
		client := faulty(t, "PutRecords", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			calls.Add(1)
			refuse(w, c.status, c.code)
		})
		log := kinesis.New(client, "any", kinesis.Options{FirstPause: time.Microsecond, Attempts: 4})
		err := log.Append(t.Context(), []stream.Record{{Key: 1, Data: []byte("x")}})
		if err == nil || errors.Is(err, stream.ErrOverloaded) != c.overloaded || int(calls.Load()) != c.calls {
			t.Errorf("%s: %d calls, want %d; overloaded is to be %v: %v", c.code, calls.Load(), c.calls, c.overloaded, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.code) {
			t.Errorf("%s is not in the error: %v", c.code, err)
		}
	}
}

// TestNoTimeForAnotherAttempt ends with the reason at once, rather than with the deadline later.
func TestNoTimeForAnotherAttempt(t *testing.T) {
	log := kinesis.New(faulty(t, "PutRecords", throttle(1, 400, "ProvisionedThroughputExceededException")), "any",
		kinesis.Options{FirstPause: time.Hour, LongestPause: time.Hour, Random: func() float64 { return 0.9 }})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := log.Append(ctx, []stream.Record{{Key: 1}}); !errors.Is(err, stream.ErrOverloaded) || ctx.Err() != nil {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
}

// TestForeignAnswer has something else than Kinesis answer: that is no acknowledgement.
func TestForeignAnswer(t *testing.T) {
	for _, body := range []string{`{}`, `{"Records":[]}`, `{"Records":[{},{}]}`, `{"FailedRecordCount":0,"Records":[{}]}`} {
		log := kinesis.New(faulty(t, "PutRecords", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			io.WriteString(w, body)
		}), "any", kinesis.Options{FirstPause: time.Microsecond, Attempts: 2})
		if err := log.Append(t.Context(), []stream.Record{{Key: 1}}); err == nil {
			t.Errorf("%s was taken for an acknowledgement", body)
		}
	}
}
