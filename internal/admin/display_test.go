package admin_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

// observed starts a rollout of two phases on s and returns its path and what commits to one of its shards.
func observed(t *testing.T, s *server) (path string, commit func(shard string, f store.Fold)) {
	t.Helper()
	s.ok("PUT", shop, `{"bundles":[{"version":"1.3.0"},{"version":"1.4.0"}],"channels":[{"name":"production","bundle":"1.3.0"}]}`)
	var started struct{ ID string }
	if err := json.Unmarshal([]byte(s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.4.0","plan":{"phases":[{"percent":10},{"percent":50},{"percent":100}]}}`).body), &started); err != nil {
		t.Fatal(err)
	}
	return shop + "/rollouts/" + started.ID + "/metrics", func(shard string, f store.Fold) {
		t.Helper()
		f.App, f.Rollout = "com.example.shop", started.ID
		at := store.Shard{Store: s.store, Stream: "s", Name: shard}
		before, err := at.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := at.Commit(t.Context(), before, before, f); err != nil {
			t.Fatal(err)
		}
	}
}

// number reads a number at a path of the answer; -1 if there is none.
func number(body, path string) float64 {
	n, err := strconv.ParseFloat(lookup(body, path), 64)
	if err != nil {
		return -1
	}
	return n
}

// TestDisplaySumsUpTheShards has two shards hear of different devices, and a third one's part be unreadable.
func TestDisplaySumsUpTheShards(t *testing.T) {
	s := newServer(t)
	path, commit := observed(t, s)
	body := s.ok("GET", path, "").body
	for _, at := range []string{"display.candidate", "display.control"} {
		if got := lookup(body, at); got != `{"devices":0}` {
			t.Errorf("before anything was heard %s is %s", at, got)
		}
	}
	for shard := range 2 {
		var heard sketch.Sketch
		for i := range 100 {
			e := telemetry.Event{
				Kind: telemetry.KindMetric, Action: string(telemetry.MetricLoadTime), Value: float64(1000 * (1 + i)),
				Device: uint64(shard*100+i) * 0x9e3779b97f4a7c15,
			}
			if o, ok := sketch.Observe(e, telemetry.Exposure{Arm: rollout.ArmCandidate}); ok {
				heard.Add(o)
			}
			e.Action, e.Value = string(telemetry.MetricAPITime), 300
			if o, ok := sketch.Observe(e, telemetry.Exposure{Arm: rollout.ArmControl}); ok && i < 40 {
				heard.Add(o)
			}
		}
		commit(strconv.Itoa(shard), store.Fold{Sketch: heard.Encode()})
	}
	commit("broken", store.Fold{Sketch: []byte("?")})
	body = s.ok("GET", path, "").body
	for at, want := range map[string]float64{
		"candidate.devices": 200, "candidate.load_time.count": 200,
		"candidate.load_time.p50": 50_000, "candidate.load_time.p75": 75_000, "candidate.load_time.p95": 95_000, "candidate.load_time.p99": 99_000,
		"control.devices": 80, "control.api_time.count": 80, "control.api_time.p50": 300, "control.api_time.p99": 300,
	} {
		if got := number(body, "display."+at); got < 0.96*want || got > 1.04*want {
			t.Errorf("%s is %g, want %g", at, got, want)
		}
	}
	for _, absent := range []string{"display.candidate.api_time", "display.control.load_time", "display.control.session_length"} {
		if got := lookup(body, absent); number(body, absent+".count") >= 0 {
			t.Errorf("%s is %s", absent, got)
		}
	}
}

// TestAdoptionTimes walks a rollout through two phases. The devices of the first are seen again in the second, and are
// not more for that.
func TestAdoptionTimes(t *testing.T) {
	s := newServer(t)
	start := s.clock.now()
	path, commit := observed(t, s)
	seen := func(after time.Duration, phase int, devices, adopted int64) {
		k := telemetry.TallyKey{Phase: phase, Hour: start.Add(after).Unix() / 3600, Arm: rollout.ArmCandidate}
		commit("0", store.Fold{Newest: start.Add(after).UnixMilli(), Tallies: map[telemetry.TallyKey]telemetry.Tally{
			k: {Counts: judge.Counts{Devices: devices, Adopted: adopted}},
		}})
	}
	for _, step := range []struct {
		name     string
		after    time.Duration // when the hour began in which it happened
		now      time.Duration
		phase    int
		devices  int64
		adopted  int64
		p50, p90 float64 // -1: not yet
		of       float64 // devices on the curve
	}{
		{"asked", 0, time.Minute, 0, 100, 0, -1, -1, 100},
		{"nearly half", time.Hour, 90 * time.Minute, 0, 0, 49, -1, -1, 100},
		{"half, in an hour that has not ended", 2 * time.Hour, 150 * time.Minute, 0, 0, 1, 2.5, -1, 100},
		{"that hour ends", 2 * time.Hour, 4 * time.Hour, 0, 0, 0, 3, -1, 100},
		{"nine in ten", 5 * time.Hour, 7 * time.Hour, 0, 0, 45, 3, 6, 100},
		{"the next phase sees the same devices", 30 * time.Hour, 31 * time.Hour, 1, 90, 0, 3, 6, 100},
		{"and as many others", 31 * time.Hour, 32 * time.Hour, 1, 110, 5, 32, -1, 200},
		{"of which most run it", 32 * time.Hour, 40 * time.Hour, 1, 0, 80, 32, 33, 200},
	} {
		s.clock.advance(start.Add(step.now).Sub(s.clock.now()))
		if step.devices+step.adopted > 0 {
			seen(step.after, step.phase, step.devices, step.adopted)
		}
		body := s.ok("GET", path, "").body
		if p50, p90 := number(body, "adoption_times.p50"), number(body, "adoption_times.p90"); p50 != step.p50 || p90 != step.p90 {
			t.Errorf("%s: half after %g h and nine tenths after %g h, want %g and %g: %s", step.name, p50, p90, step.p50, step.p90, lookup(body, "adoption"))
		}
		last := "adoption[" + strconv.Itoa(int(number(body, "adoption#"))-1) + "].devices"
		if got := number(body, last); got != step.of {
			t.Errorf("%s: the curve ends with %g devices, want %g", step.name, got, step.of)
		}
	}
}
