package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/cloudlocal"
	"github.com/palier-ota/palier/internal/cloudlocal/guard"
	"github.com/palier-ota/palier/internal/cloudlocal/source"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// outage is how long DynamoDB is away: a minute, or a quarter of one with -short.
func outage(t *testing.T) time.Duration {
	t.Helper()
	if testing.Short() {
		return 15 * time.Second
	}
	return time.Minute
}

// TestDevicesAreAnsweredWhileDynamoDBFails has devices check and report while the table is throttled, slow and gone.
func TestDevicesAreAnsweredWhileDynamoDBFails(t *testing.T) {
	c := startCloud(t, cloudlocal.Options{SnapshotTTL: time.Second}) // so that every Snapshot is old long before the end
	c.apply(t, "1.0.0")
	id := c.begin(t, rollout.Plan{Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(1000)}}}}).ID
	crowd := startCrowd(t, c, 8)
	for _, trouble := range []struct {
		name   string
		faults guard.Faults
		lasts  time.Duration
	}{
		{"throttled", guard.Faults{Throttle: 1}, 6 * time.Second},
		{"half of it throttled", guard.Faults{Throttle: 0.5, Conflict: 0.5}, 6 * time.Second},
		{"slow", guard.Faults{Delay: 3 * time.Second}, 8 * time.Second},
		{"down", guard.Faults{Down: true}, outage(t)},
	} {
		before := crowd.seen()
		c.DynamoDB.Guard.SetFaults(trouble.faults)
		time.Sleep(trouble.lasts) // what happens meanwhile is what is tested
		c.DynamoDB.Guard.SetFaults(guard.Faults{})
		during := crowd.seen().minus(before)
		t.Logf("%s: %+v", trouble.name, during)
		if during.decided == 0 || during.acknowledged == 0 {
			t.Errorf("while DynamoDB was %s no device was served", trouble.name)
		}
		if checks := during.decided + during.refusedChecks; trouble.faults.Down && 10*during.decided < 9*checks {
			t.Errorf("while DynamoDB was %s %d of %d checks were decided, want 90 %%", trouble.name, during.decided, checks)
		}
		healthy := crowd.seen().decided
		eventually(t, cloudLimit, "decisions are made again", func() bool { return crowd.seen().decided > healthy+50 })
	}
	c.operate(t, id, rollout.VerbHalt) // what operators do reaches devices again
	eventually(t, cloudLimit, "the halt has reached devices", func() bool {
		_, _, body := request(t, http.MethodPost, c.url()+"/updates", check(newDevice(), "1.0.0"))
		return !strings.Contains(string(body), testCandidate)
	})
	records := checkOnStream(t, c, crowd.stop(t))
	c.counted(t, len(records))
	checkTallies(t, merged(t, c.store(), id), singleProcess(t, records, id), 2)
	checkNotLogged(t, c, crowd.devices)
}

// checkNotLogged holds that the cloud's log names none of these devices.
func checkNotLogged(t *testing.T, c *cloud, devices []string) {
	t.Helper()
	raw, err := os.ReadFile(c.log)
	must(t, err)
	log := strings.ToLower(string(raw))
	if len(log) == 0 || len(devices) == 0 {
		t.Errorf("%d bytes of log and %d devices: nothing to look for", len(log), len(devices))
	}
	named := 0
	for _, d := range devices {
		if strings.Contains(log, strings.ToLower(d)) {
			if named++; named == 1 {
				t.Errorf("the log names device %s", d)
			}
		}
	}
	t.Logf("%d bytes of log name %d of %d devices", len(log), named, len(devices))
}

// check is the body of an update check.
func check(device, version string) []byte {
	return fmt.Appendf(nil, `{"app_id":%q,"device_id":%q,"platform":"android","version_name":%q,"version_build":"1.0.0","version_code":"1",
		"version_os":"14","plugin_version":"8.51.23","is_emulator":false,"is_prod":true}`, testApp, device, version)
}

// report is the body of a statistics call that says that the app crashed.
func report(device string) []byte {
	return fmt.Appendf(nil, `{"app_id":%q,"device_id":%q,"platform":"android","action":"app_crash","version_name":"1.0.0","version_build":"1.0.0",
		"version_code":"1","version_os":"14","plugin_version":"8.51.23","is_emulator":false,"is_prod":true}`, testApp, device)
}

// tally is what a crowd saw.
type tally struct{ decided, refusedChecks, acknowledged, refusedReports int }

func (s tally) minus(o tally) tally {
	return tally{s.decided - o.decided, s.refusedChecks - o.refusedChecks, s.acknowledged - o.acknowledged, s.refusedReports - o.refusedReports}
}

// crowd is some devices that check and report all the time, a new one each time, and hold every answer to the protocol.
type crowd struct {
	c      *cloud
	client *http.Client
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	tally   tally
	devices []string // all that asked
	acked   []string // devices whose report was acknowledged
	wrong   []string // answers that no device should get
}

func startCrowd(t *testing.T, c *cloud, size int) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &crowd{c: c, cancel: cancel, client: &http.Client{Timeout: 40 * time.Second}}
	for range size {
		w.work.Go(func() {
			for ctx.Err() == nil {
				device := newDevice()
				w.join(device)
				w.ask(ctx, "/updates", device, check(device, "1.0.0"), "no_new_version_available", `"url"`)
				w.ask(ctx, "/stats", device, report(device), `"status":"ok"`)
				sleep(ctx, 50*time.Millisecond) //nolint:errcheck // the loop ends with ctx
			}
		})
	}
	t.Cleanup(func() { cancel(); w.work.Wait() })
	eventually(t, cloudLimit, "the crowd is served", func() bool { s := w.seen(); return s.decided > 50 && s.acknowledged > 50 })
	return w
}

func (w *crowd) join(device string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices = append(w.devices, device)
}

// ask sends one request. A good answer is 200 with one of the texts, or a refusal that says when to come back.
func (w *crowd) ask(ctx context.Context, path, device string, body []byte, texts ...string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.c.url()+path, strings.NewReader(string(body)))
	if err != nil {
		w.complain("%v", err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := w.client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			w.complain("%s: %v", path, err)
		}
		return
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if ctx.Err() != nil {
		return
	}
	served := res.StatusCode == http.StatusOK && slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(string(answer), s) })
	if err != nil || !served && !comeBack(res, answer) {
		w.complain("%s: %d %v %s %v", path, res.StatusCode, res.Header, answer, err)
		return
	}
	w.note(path, device, served)
}

// comeBack reports whether an answer is a well-formed refusal for now.
func comeBack(res *http.Response, answer []byte) bool {
	var refusal struct{ Error string }
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	return (res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable) &&
		err == nil && seconds > 0 && json.Unmarshal(answer, &refusal) == nil && refusal.Error != ""
}

func (w *crowd) note(path, device string, served bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case path == "/updates" && served:
		w.tally.decided++
	case path == "/updates":
		w.tally.refusedChecks++
	case served:
		w.tally.acknowledged++
		w.acked = append(w.acked, device)
	default:
		w.tally.refusedReports++
	}
}

func (w *crowd) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *crowd) seen() tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tally
}

// stop ends the crowd, fails the test on every wrong answer, and returns the devices whose reports were acknowledged.
func (w *crowd) stop(t *testing.T) []string {
	t.Helper()
	w.cancel()
	w.work.Wait()
	for i, text := range w.wrong {
		if i < 10 {
			t.Error(text)
		}
	}
	if n := len(w.wrong); n > 10 {
		t.Errorf("%d wrong answers in all", n)
	}
	t.Logf("the crowd saw %+v", w.tally)
	return w.acked
}

// streamed returns all records of the stream.
func (c *cloud) streamed(t *testing.T) (records []stream.Record) {
	t.Helper()
	s := c.stream(t)
	shards, err := s.Shards(t.Context())
	must(t, err)
	for _, shard := range shards {
		for after := stream.Position(""); ; {
			batch, err := s.Read(t.Context(), shard, after, stream.MaxRead)
			must(t, err)
			if len(batch) == 0 {
				break
			}
			after = batch[len(batch)-1].Position
			for _, r := range batch {
				key := uint64(0)
				if e, err := telemetry.Decode(r.Data); err == nil {
					key = e.Device
				}
				records = append(records, stream.Record{Key: key, Data: r.Data})
			}
		}
	}
	return records
}

// checkOnStream holds that the crash of every one of these devices is on the stream.
func checkOnStream(t *testing.T, c *cloud, devices []string) []stream.Record {
	t.Helper()
	records := c.streamed(t)
	there := map[uint64]bool{}
	for _, r := range records {
		e, err := telemetry.Decode(r.Data)
		must(t, err)
		if e.Kind == telemetry.KindAction && e.Action == "app_crash" {
			there[e.Device] = true
		}
	}
	lost := 0
	for _, d := range devices {
		if !there[telemetry.Fingerprint(d)] {
			lost++
		}
	}
	if lost > 0 || len(devices) == 0 {
		t.Errorf("%d of %d acknowledged reports are not on the stream", lost, len(devices))
	}
	t.Logf("%d acknowledged reports, %d records on the stream", len(devices), len(records))
	return records
}

// TestKinesisRefusingRecordsLosesNothing has Kinesis refuse 30 % of the records, and one call in ten lose its answer.
func TestKinesisRefusingRecordsLosesNothing(t *testing.T) {
	c := startCloud(t, cloudlocal.Options{})
	c.apply(t, "1.0.0")
	id := c.begin(t, rollout.Plan{Phases: []rollout.Phase{{Percent: 50 * rollout.OnePercent, Hold: rollout.Hold{Min: hours(1000)}}}}).ID
	c.Kinesis.Guard.SetFaults(guard.Faults{
		RefuseRecords: 0.3, Cut: 0.1, Only: func(_, operation string) bool { return operation == "PutRecords" },
	})
	crowd := startCrowd(t, c, 8)
	eventually(t, cloudLimit, "many devices are served", func() bool { s := crowd.seen(); return s.acknowledged > 500 })
	acked := crowd.stop(t)
	c.Kinesis.Guard.SetFaults(guard.Faults{})
	records := checkOnStream(t, c, acked)
	c.counted(t, len(records))
	checkTallies(t, merged(t, c.store(), id), singleProcess(t, records, id), 2)
}

// TestAggregateKilledMidBatchCountsOnce kills the aggregating process again and again, and has Lambda deliver batches that
// are done once more.
func TestAggregateKilledMidBatchCountsOnce(t *testing.T) {
	log := recordedLog(t, 4000)
	random := rand.New(rand.NewPCG(3, 3))
	var mu sync.Mutex
	c := startCloud(t, cloudlocal.Options{Tune: func(m *source.Mapping) {
		m.BatchSize = 200
		m.Repeat = func() bool {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(3) == 0
		}
	}})
	c.DynamoDB.Guard.SetFaults(faultsOf(aggregateFunction, guard.Faults{Delay: 30 * time.Millisecond})) // room to be killed in
	m, pool, kills := c.Mapping(aggregateFunction), c.Function(aggregateFunction), 0
	appendLog(t, c.stream(t), log)
	eventually(t, 2*cloudLimit, "all records are counted", func() bool {
		if kills < 25 && pool.Kill() {
			kills++
		}
		return m.Stats().Done >= int64(len(log))
	})
	stats := m.Stats()
	t.Logf("%d kills; %+v", kills, stats)
	if kills < 10 || stats.Failures == 0 || stats.Repeats == 0 || stats.Discarded != 0 {
		t.Error("too little went wrong to mean anything, or records were given up")
	}
	checkTallies(t, merged(t, c.store(), recorded...), singleProcess(t, log, recorded...), 100)
}

// TestPromoteTwiceAtOnceMovesOnce ticks promote twice at once, again and again, beside its schedule.
func TestPromoteTwiceAtOnceMovesOnce(t *testing.T) {
	c := startCloud(t, cloudlocal.Options{Scale: 600, Parameters: map[string]string{"BatchWindowSeconds": "1", "PromoteConcurrency": "0"}})
	c.apply(t, rollout.Builtin)
	plan := rollout.Plan{OnTimeout: rollout.TimeoutPromote}
	for percent := rollout.Percent(40); percent <= 90; percent += 10 {
		plan.Phases = append(plan.Phases, rollout.Phase{
			Percent: percent * rollout.OnePercent, Hold: rollout.Hold{Min: hours(0.25), Max: hours(0.25)}, MinDevices: 1,
		})
	}
	id := c.begin(t, plan).ID
	c.DynamoDB.Guard.SetFaults(faultsOf(promoteFunction, guard.Faults{Delay: 50 * time.Millisecond})) // so that they meet
	load := c.fleet(t, 40, "--check-every", "1h", "--metrics", "0")
	ticks := 0
	eventually(t, 2*cloudLimit, "several phases have passed", func() bool {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := c.Tick(t.Context(), promoteFunction); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		ticks += 2
		return c.rollout(t, id).Phase >= 4
	})
	load.stop(t)
	r := c.rollout(t, id)
	events := c.audit(t, id)
	checkChain(t, r, events)
	promotions := 0
	for _, e := range events {
		t.Logf("%s: %s by %s into phase %d: %s", e.Time.Format(time.TimeOnly), e.Verb, e.Actor, e.Phase, e.Reason)
		if e.Verb == string(rollout.VerbPromote) {
			promotions++
		}
	}
	if promotions != r.Phase {
		t.Errorf("%d promotions led to phase %d", promotions, r.Phase)
	}
	t.Logf("%d ticks in pairs took it to phase %d in %d transitions", ticks, r.Phase, r.Version)
}
