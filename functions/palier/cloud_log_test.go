package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	storesqlite "github.com/palier-ota/palier/internal/store/sqlite"
	"github.com/palier-ota/palier/internal/stream"
	streamsqlite "github.com/palier-ota/palier/internal/stream/sqlite"
	"github.com/palier-ota/palier/internal/telemetry"
)

// recorded are the rollouts of the recorded log.
var recorded = []string{"01RECORDEDA", "01RECORDEDB"}

// recordedLog is what so many events of devices in two overlapping rollouts look like on the stream, in the order of
// their time: the same ones every time. One in fifty is there twice, as after a sender's retry.
func recordedLog(t *testing.T, events int) []stream.Record {
	t.Helper()
	const hours, hourMillis, epoch = 96, 3_600_000, 490_000
	random := rand.New(rand.NewPCG(20, 3))
	actions := []string{"app_crash", "app_crash_native", "app_anr", "update_fail", "set_fail", "download_fail", "set", "webview_javascript_error", "novel_action"}
	var log []telemetry.Event
	for range events {
		device := random.IntN(events / 8)
		hour := random.Int64N(hours)
		e := telemetry.Event{
			App: testApp, Device: telemetry.Fingerprint(fmt.Sprint("device-", device)), Time: (epoch+hour)*hourMillis + random.Int64N(hourMillis),
			Version: "1.0.0", Platform: "android", Test: device%29 == 0,
		}
		switch random.IntN(6) {
		case 0:
			e.Kind, e.Action = telemetry.KindAction, actions[random.IntN(len(actions))]
		case 1:
			e.Kind, e.Action, e.Value = telemetry.KindMetric, string(telemetry.MetricLoadTime), random.Float64()*20_000
		}
		for i, id := range recorded {
			phase := int(hour) / 24
			arm := rollout.ArmControl
			if (device*7+i*3)%10 < 1+2*phase {
				arm = rollout.ArmCandidate
			}
			e.Exposures = append(e.Exposures, telemetry.Exposure{
				Rollout: id, Phase: phase, Arm: arm, Candidate: arm == rollout.ArmCandidate && random.IntN(2) == 0,
			})
		}
		log = append(log, e)
	}
	slices.SortStableFunc(log, func(a, b telemetry.Event) int { return cmp.Compare(a.Time, b.Time) })
	var out []stream.Record
	for i, e := range log {
		data, err := telemetry.Append(nil, e)
		must(t, err)
		out = append(out, stream.Record{Key: e.Device, Data: data})
		if i%50 == 0 {
			out = append(out, stream.Record{Key: e.Device, Data: data})
		}
	}
	return out
}

// appendLog puts the log on a stream.
func appendLog(t *testing.T, to stream.Stream, log []stream.Record) {
	t.Helper()
	for batch := range slices.Chunk(log, stream.MaxBatch) {
		must(t, to.Append(t.Context(), batch))
	}
}

// singleProcess folds the log as `palier serve` does, and returns the tallies of the rollouts.
func singleProcess(t *testing.T, log []stream.Record, rollouts ...string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	s, err := streamsqlite.Open(filepath.Join(dir, "telemetry.db"), streamsqlite.Options{Relaxed: true, Retention: streamKeep})
	must(t, err)
	defer s.Close()
	st, err := storesqlite.Open(filepath.Join(dir, "palier.db"), storesqlite.Options{Relaxed: true})
	must(t, err)
	defer st.Close()
	appendLog(t, s, log)
	foldRest(t, s, st)
	return merged(t, st, rollouts...)
}

// merged returns the tallies of rollouts, encoded, summed over shards or slots.
func merged(t *testing.T, st store.Store, rollouts ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, id := range rollouts {
		tallies, err := store.Tallies{Store: st}.Load(t.Context(), testApp, id)
		must(t, err)
		sums := telemetry.Delta{}
		for _, row := range tallies.Rows {
			sums.Merge(telemetry.Delta{row.TallyKey: row.Tally})
		}
		for _, key := range sums.Keys() {
			text, err := sums[key].Encode()
			must(t, err)
			out[fmt.Sprintf("%s phase %d hour %d arm %d", id, key.Phase, key.Hour, key.Arm)] = string(text)
		}
	}
	return out
}

// checkTallies holds that two countings say the same, byte for byte, of at least so many rows.
func checkTallies(t *testing.T, got, want map[string]string, rows int) {
	t.Helper()
	if len(want) < rows {
		t.Fatalf("only %d rows: too little was counted", len(want))
	}
	wrong := 0
	for _, row := range slices.Sorted(maps.Keys(want)) {
		if got[row] != want[row] {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %s, want %s", row, got[row], want[row])
			}
		}
	}
	for row := range got {
		if want[row] == "" {
			t.Errorf("%s is there and should not be: %s", row, got[row])
		}
	}
}
