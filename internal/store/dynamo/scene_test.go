package dynamo_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

const shop = "com.example.shop"

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// library is an app with 12 channels, each with a bundle of 20 files, and a rollout in its first phase.
func library() rollout.State {
	state := rollout.State{
		App:      rollout.NewApp(shop),
		Bundles:  map[string]rollout.Bundle{},
		Channels: map[string]rollout.Channel{},
		Rollouts: map[string]rollout.Rollout{"01R": phase(1, rollout.Running)},
	}
	for i := range 12 {
		b := rollout.Bundle{Version: fmt.Sprintf("1.%d.0", i), URL: fmt.Sprintf("https://cdn.example.com/shop/1.%d.0.zip", i)}
		for file := range 20 {
			hash := sha256.Sum256(fmt.Append(nil, i, file))
			name := fmt.Sprintf("assets/page-%d.js", file)
			b.Manifest = append(b.Manifest, rollout.ManifestFile{
				FileName: name, FileHash: hex.EncodeToString(hash[:]),
				DownloadURL: "https://cdn.example.com/shop/" + hex.EncodeToString(hash[:]),
			})
		}
		channel := rollout.NewChannel(fmt.Sprint("c", i))
		channel.Bundle = b.Version
		state.Bundles[b.Version], state.Channels[channel.Name] = b, channel
	}
	return state
}

func phase(version int64, state rollout.RolloutState) rollout.Rollout {
	return rollout.Rollout{
		ID: "01R", App: shop, Channel: "c0", Bundle: "1.1.0", Baseline: "1.0.0", State: state, Version: version,
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: 5 * rollout.OnePercent}}}, Salt: rollout.Salt{1, 2, 3},
		Percent: 5 * rollout.OnePercent, CreatedAt: noon, PhaseStartedAt: noon,
	}
}

// tally is what an hour of so many devices counts.
func tally(devices int64) telemetry.Tally {
	var t telemetry.Tally
	t.Devices = devices
	return t
}

// day is the tallies of one slot of a rollout's first day.
func day() map[telemetry.TallyKey]telemetry.Tally {
	tallies := map[telemetry.TallyKey]telemetry.Tally{}
	for hour := range int64(24) {
		for _, arm := range []rollout.Arm{rollout.ArmCandidate, rollout.ArmControl} {
			tallies[telemetry.TallyKey{Phase: 0, Hour: 500_000 + hour, Arm: arm}] = tally(1000 + hour)
		}
	}
	return tallies
}

// verdictAt is the verdict of a tick so many minutes after noon, on a day's counts of which the last hour's have grown.
func verdictAt(minute int) store.VerdictRecord {
	plan, _ := rollout.BuiltinPlan(rollout.DefaultPlan)
	in := judge.Input{Plan: plan, Held: time.Duration(minute) * time.Minute, Now: noon.Add(time.Duration(minute) * time.Minute)}
	for hour := range int64(24) {
		s := judge.Stratum{Hour: 500_000 + hour, Share: .05, Candidate: tally(50 + hour).Counts, Control: tally(950 + hour).Counts}
		if hour == 23 {
			s.Candidate.Events[0] += int64(minute)
		}
		in.Strata = append(in.Strata, s)
	}
	verdict, err := json.Marshal(judge.Judge(in))
	if err != nil {
		panic(err) // a verdict is always JSON
	}
	return store.VerdictRecord{Judge: 1, Arch: "arm64", Input: in, Verdict: verdict}
}

// audit is an event so many seconds after noon.
func audit(second int, verb, subject string) rollout.Event {
	return rollout.Event{Time: noon.Add(time.Duration(second) * time.Second), Actor: "ops", Verb: verb, Subject: subject}
}

// failedOn notes that a bundle failed on a device.
func failedOn(version string) func(*resolve.Facts) bool {
	return func(f *resolve.Facts) bool {
		f.Failed = append(f.Failed, version)
		return true
	}
}

// scene is a table with all of that in it.
type scene struct {
	apps    store.Apps
	devices store.Devices
	tokens  store.Tokens
	keys    store.Keys
	tallies store.Tallies
	judged  store.Verdicts
	shard   store.Shard
	state   rollout.State
	at      store.Checkpoint
}

// unasked is a store.Blobs that is there and must not be needed.
type unasked struct{ store.Blobs }

func newScene(s store.Store) *scene {
	return &scene{
		apps:    store.Apps{Store: s, NewID: store.NewULID(rand.Reader), Large: unasked{}},
		devices: store.Devices{Store: s},
		tokens:  store.Tokens{Store: s},
		keys:    store.Keys{Store: s},
		tallies: store.Tallies{Store: s},
		judged:  store.Verdicts{Store: s},
		shard:   store.Shard{Store: s, Stream: "telemetry", Name: "s00"},
	}
}

func (s *scene) fill(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	var events []rollout.Event
	for i := range 60 {
		events = append(events, audit(i, "apply", "app "+shop))
	}
	var err error
	if s.state, err = s.apps.Commit(ctx, rollout.State{}, library(), events); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4000)
	leaf := make([]byte, 100_000)
	fold := store.Fold{
		App: shop, Rollout: "01R", Tallies: day(), Newest: 1,
		Leaves: []telemetry.Leaf{{Low: 0, Data: leaf}, {Low: 1 << 63, Data: leaf}},
	}
	for n := range int64(10) {
		fold.Patches = append(fold.Patches, telemetry.Patch{Sequence: n + 1, Data: page})
	}
	if s.at, err = s.shard.Commit(ctx, store.Checkpoint{}, store.Checkpoint{Newest: 1}, fold); err != nil {
		t.Fatal(err)
	}
	for slot := 1; slot < 16; slot++ {
		shard := store.Shard{Store: s.shard.Store, Stream: "telemetry", Name: fmt.Sprintf("s%02d", slot)}
		fold := store.Fold{App: shop, Rollout: "01R", Tallies: day(), Newest: 1}
		if _, err := shard.Commit(ctx, store.Checkpoint{}, store.Checkpoint{}, fold); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.devices.Update(ctx, shop, "dev-1", failedOn("1.1.0")); err != nil {
		t.Fatal(err)
	}
	if err := s.tokens.Create(ctx, store.Token{Name: "first", Role: "admin"}, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
}
