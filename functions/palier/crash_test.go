package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	restartLimit = 2 * time.Second // from the start of the process to its first answer
	strokes      = 2               // restarts that may take longer, because the machine was busy with something else
)

// TestKillNine kills a server under load, again and again, while the judge promotes and an operator pauses and resumes.
// Afterwards all that was acknowledged to a device or the operator must be there, and be counted exactly once.
func TestKillNine(t *testing.T) {
	s := serveProcess(t, 600) // so slow that the log forgets nothing meanwhile
	s.apply(t, rollout.Builtin)
	id := s.begin(t, manyShortPhases()).ID
	acks := filepath.Join(t.TempDir(), "acknowledged.jsonl")
	load := s.fleet(t, 3000, "--check-every", "30m", "--duplicate", "0.02", "--ack-log", acks,
		"--behaviour", "baseline:crash=0.01", "--behaviour", testCandidate+":crash=0.01,boot_fail=0.2")
	kills := 20
	if testing.Short() {
		kills = 5
	}
	restarts := s.killAgainAndAgain(t, id, acks, kills)
	report := load.stop(t)
	onlyViolations(t, report)
	r := s.rollout(t, id)
	if r.State != rollout.Running && r.State != rollout.Paused && r.State != rollout.Completed {
		t.Errorf("the rollout is %s: %s", r.State, r.Reason)
	}
	events := s.audit(t, id)
	checkChain(t, r, events)
	s.stop(t)

	log := openLog(t, s.data)
	found := readLog(t, log)
	acknowledged := checkAcknowledged(t, acks, found)
	rows := checkRefold(t, log, s.data, id)
	t.Logf("%d kills, slowest restart %s; %d requests (%d failed), %d events acknowledged, %d on the log, %d rows of tallies",
		kills, restarts[kills-1].Round(time.Millisecond), report.Requests, report.ErrorCount(), acknowledged, found.events, rows)
	t.Logf("%d transitions; %s in phase %d: %s", len(events), r.State, r.Phase, r.Reason)
	if report.ErrorCount() == 0 || report.Versions[testCandidate].BootFailures == 0 {
		t.Error("no request failed, or no bundle did: the server was not killed under load")
	}
}

// manyShortPhases is a plan that moves on about as often as the server is killed. Some devices fail to boot, so that
// their records are written under fire too, and the gate for that is off.
func manyShortPhases() rollout.Plan {
	plan := rollout.Plan{
		OnTimeout: rollout.TimeoutPromote,
		Gates:     []rollout.Gate{{Metric: rollout.BootFailure, Off: true}},
	}
	for percent := rollout.Percent(5); percent <= 80; percent += 5 {
		plan.Phases = append(plan.Phases, rollout.Phase{
			Percent: percent * rollout.OnePercent, Hold: rollout.Hold{Min: hours(0.25), Max: hours(0.25)}, MinDevices: 1,
		})
	}
	return plan
}

// killAgainAndAgain kills and restarts the server, and returns the times from a start to the first answer, shortest first.
func (s *served) killAgainAndAgain(t *testing.T, id, acks string, kills int) (restarts []time.Duration) {
	t.Helper()
	random := rand.New(rand.NewPCG(9, 9))
	known := int64(0) // the version of the rollout that the operator was last told
	for range kills {
		size := fileSize(acks) + int64(20_000+random.IntN(1_000_000))
		eventually(t, time.Minute, "more events are acknowledged", func() bool { return fileSize(acks) > size })
		answered := s.operateWhileKilled(t, id, time.Duration(random.IntN(int(15*time.Millisecond))))
		known = max(known, answered)
		began := time.Now()
		s.start(t)
		if !s.healthy() {
			t.Fatal("the server says that it is ready and does not answer")
		}
		restarts = append(restarts, time.Since(began))
		r := s.rollout(t, id)
		if r.Version < known {
			t.Fatalf("the rollout is at version %d; the operator was told of %d", r.Version, known)
		}
		known = r.Version
	}
	slices.Sort(restarts)
	if restarts[kills-1-strokes] > restartLimit {
		t.Errorf("restarts took %s, want less than %s", restarts, restartLimit)
	}
	return restarts
}

// operateWhileKilled pauses or resumes the rollout and kills the server that long after the request was sent. It returns
// the rollout's version if there was an answer.
func (s *served) operateWhileKilled(t *testing.T, id string, after time.Duration) (version int64) {
	t.Helper()
	verb := rollout.VerbPause
	if s.rollout(t, id).State == rollout.Paused {
		verb = rollout.VerbResume
	}
	c, answer := s.operator(), make(chan int64, 1)
	go func() {
		var r admin.RolloutView
		if c.send(t.Context(), http.MethodPost, appPath(testApp, "rollouts", id, string(verb)), map[string]string{}, &r) != nil {
			r.Version = 0 // refused, or never answered
		}
		answer <- r.Version
	}()
	time.Sleep(after) // a random moment, which nothing waits for
	s.kill(t)
	return <-answer
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// checkChain holds that every version of the rollout has exactly one event, and each starts where the last one ended.
func checkChain(t *testing.T, r admin.RolloutView, events []rollout.Event) {
	t.Helper()
	if int64(len(events)) != r.Version {
		t.Errorf("%d events for version %d", len(events), r.Version)
	}
	state, phase := rollout.RolloutState(""), 0
	for i, e := range events {
		if e.From != state || e.Phase < phase || e.Phase > phase+1 {
			t.Errorf("event %d: %s from %s to %s in phase %d, after %s in phase %d", i, e.Verb, e.From, e.To, e.Phase, state, phase)
		}
		state, phase = e.To, e.Phase
	}
	if state != r.State || phase != r.Phase {
		t.Errorf("the log ends %s in phase %d, the rollout is %s in phase %d", state, phase, r.State, r.Phase)
	}
}

// openLog opens the stopped server's telemetry log. Nothing is old enough for it to be forgotten.
func openLog(t *testing.T, data string) *streamsqlite.Stream {
	t.Helper()
	log, err := streamsqlite.Open(filepath.Join(data, "telemetry.db"), streamsqlite.Options{Retention: 10 * 365 * 24 * time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, log.Close()) })
	return log
}

// what is an event as both sides know it.
type what struct {
	device          uint64
	app             bool // reported by the app, not the plugin
	action, version string
}

// logged is what rests on the log: by kind of event the device's times where it gave one, else how often it is there.
type logged struct {
	events  int
	timed   map[what]map[int64]bool
	untimed map[what]int
}

func readLog(t *testing.T, log stream.Stream) logged {
	t.Helper()
	l := logged{timed: map[what]map[int64]bool{}, untimed: map[what]int{}}
	shards, err := log.Shards(t.Context())
	must(t, err)
	for _, shard := range shards {
		after := stream.Position("")
		for {
			batch, err := log.Read(t.Context(), shard, after, stream.MaxRead)
			must(t, err)
			if len(batch) == 0 {
				break
			}
			if after == "" && batch[0].Position != "1" {
				t.Fatalf("shard %s begins at %s: the log has forgotten something", shard, batch[0].Position)
			}
			after = batch[len(batch)-1].Position
			for _, record := range batch {
				e, err := telemetry.Decode(record.Data)
				must(t, err)
				l.add(e)
			}
		}
	}
	return l
}

func (l *logged) add(e telemetry.Event) {
	l.events++
	k := what{e.Device, e.Kind == telemetry.KindMetric, e.Action, e.Version}
	switch {
	case e.Kind == telemetry.KindCheck:
	case e.ClientTime == 0:
		l.untimed[k]++
	case l.timed[k] == nil:
		l.timed[k] = map[int64]bool{e.ClientTime: true}
	default:
		l.timed[k][e.ClientTime] = true
	}
}

// checkAcknowledged holds that every event the server acknowledged is on the log, and returns how many that are. A
// plugin sends either all its events of one action with the device's time, or none.
func checkAcknowledged(t *testing.T, path string, found logged) (acknowledged int) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	untimed := map[what]int{}
	missing := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var ack struct {
			Path    string `json:"path"`
			Device  string `json:"device_id"`
			Action  string `json:"action"`
			Version string `json:"version_name"`
			Time    int64  `json:"timestamp"`
		}
		must(t, json.Unmarshal(lines.Bytes(), &ack))
		if ack.Action == "download_fail" {
			continue // old plugins say this of every answer without an update, and the server knows better
		}
		acknowledged++
		k := what{telemetry.Fingerprint(ack.Device), ack.Path == "/telemetry", ack.Action, ack.Version}
		if times := found.timed[k]; times == nil {
			untimed[k]++
		} else if !times[ack.Time] {
			missing++
			t.Errorf("acknowledged and not on the log: %s", lines.Bytes())
		}
		if missing > 10 {
			t.FailNow()
		}
	}
	for k, n := range untimed {
		if found.untimed[k] < n {
			t.Errorf("%+v was acknowledged %d times and is on the log %d times", k, n, found.untimed[k])
		}
	}
	if acknowledged == 0 || len(found.timed) == 0 || len(found.untimed) == 0 {
		t.Errorf("%d events acknowledged, %d kinds with a time, %d without: the check saw too little", acknowledged, len(found.timed), len(found.untimed))
	}
	return acknowledged
}

// checkRefold holds that the tallies, which were counted between the kills, are byte for byte those of counting the
// whole log once without any trouble. It returns how many rows there are.
func checkRefold(t *testing.T, log stream.Stream, data, id string) (rows int) {
	t.Helper()
	killed, err := storesqlite.Open(filepath.Join(data, "palier.db"), storesqlite.Options{})
	must(t, err)
	defer killed.Close()
	whole, err := storesqlite.Open(filepath.Join(t.TempDir(), "whole.db"), storesqlite.Options{Relaxed: true})
	must(t, err)
	defer whole.Close()
	foldRest(t, log, killed) // what came too late for the server's last look
	foldRest(t, log, whole)
	pk := fmt.Sprintf("TALLY#%s#%s", testApp, id)
	got, want := tallyRows(t, killed, pk), tallyRows(t, whole, pk)
	if len(want) < 10 {
		t.Errorf("only %d rows of tallies: too little was counted", len(want))
	}
	if maps.Equal(got, want) {
		return len(got)
	}
	for _, sk := range slices.Sorted(maps.Keys(want)) {
		if got[sk] != want[sk] {
			t.Errorf("row %s: counted between kills %q, at once %q", sk, got[sk], want[sk])
		}
	}
	for sk := range got {
		if _, ok := want[sk]; !ok {
			t.Errorf("row %s is there and should not be", sk)
		}
	}
	return len(got)
}

// foldRest counts all of the log that the store has not counted yet.
func foldRest(t *testing.T, log stream.Stream, st store.Store) {
	t.Helper()
	a := &aggregate.Aggregator{Stream: log, Store: st, Name: streamName}
	shards, err := log.Shards(t.Context())
	must(t, err)
	for _, shard := range shards {
		for n := 1; n > 0; {
			n, err = a.Step(t.Context(), shard)
			must(t, err)
		}
	}
}

// tallyRows returns what is counted, without the sketches: they are only looked at, and lose a minute to a kill.
func tallyRows(t *testing.T, st store.Store, pk string) map[string]string {
	t.Helper()
	items, err := st.Query(t.Context(), store.Range{PK: pk}, store.Strong)
	must(t, err)
	rows := make(map[string]string, len(items))
	for _, item := range items {
		if !strings.HasPrefix(item.SK, "sketch#") {
			rows[item.SK] = string(item.Value)
		}
	}
	return rows
}
