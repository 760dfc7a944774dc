package dynamo_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/store/dynamo"
	"github.com/palier-ota/palier/internal/telemetry"
)

// patterns are what package store asks of a table, one by one and in this order.
var patterns = []struct {
	name string
	run  func(context.Context, *scene) error
}{
	{"revision of an app", func(ctx context.Context, s *scene) error {
		_, err := s.apps.Revision(ctx, shop)
		return err
	}},
	{"Snapshot of an app, 11 KB", func(ctx context.Context, s *scene) error {
		_, err := s.apps.Snapshot(ctx, shop)
		return err
	}},
	{"Facts of a device that has some", func(ctx context.Context, s *scene) error {
		_, err := s.devices.Facts(ctx, shop, "dev-1")
		return err
	}},
	{"Facts of a device that has none", func(ctx context.Context, s *scene) error {
		_, err := s.devices.Facts(ctx, shop, "dev-2")
		return err
	}},
	{"change of a device's Facts", func(ctx context.Context, s *scene) error {
		return s.devices.Update(ctx, shop, "dev-1", failedOn("1.2.0"))
	}},
	{"State of an app with 12 channels and bundles of 5 KB each", func(ctx context.Context, s *scene) error {
		_, err := s.apps.Load(ctx, shop)
		return err
	}},
	{"commit of a rollout's transition, with that Snapshot", func(ctx context.Context, s *scene) (err error) {
		next := s.state
		next.Rollouts = map[string]rollout.Rollout{"01R": phase(2, rollout.Paused)}
		s.state, err = s.apps.Commit(ctx, s.state, next, []rollout.Event{audit(100, "pause", "rollout 01R")})
		return err
	}},
	{"commit of a device's channel, with that Snapshot", func(ctx context.Context, s *scene) (err error) {
		next := s.state
		next.Devices = map[string]rollout.Device{"dev-3": {DeviceID: "dev-3", Channel: "c1"}}
		s.state, err = s.apps.Commit(ctx, s.state, next, nil)
		return err
	}},
	{"list of apps", func(ctx context.Context, s *scene) error {
		_, err := s.apps.List(ctx)
		return err
	}},
	{"page of 50 audit events", func(ctx context.Context, s *scene) error {
		_, err := s.apps.Events(ctx, shop, "", 50)
		return err
	}},
	{"live rollouts", func(ctx context.Context, s *scene) error {
		_, err := s.apps.Live(ctx)
		return err
	}},
	{"tallies of a rollout, 24 hours", func(ctx context.Context, s *scene) error {
		_, err := s.tallies.Load(ctx, shop, "01R")
		return err
	}},
	{"first verdict of an hour, 24 hours", func(ctx context.Context, s *scene) error {
		_, err := s.judged.Append(ctx, shop, "01R", verdictAt(0))
		return err
	}},
	{"verdict of a tick, 24 hours", func(ctx context.Context, s *scene) error {
		_, err := s.judged.Append(ctx, shop, "01R", verdictAt(7))
		return err
	}},
	{"those 2 verdicts", func(ctx context.Context, s *scene) error {
		read := 0
		for r, err := range s.judged.Each(ctx, shop, "01R", "") {
			if err != nil {
				return err
			}
			if want := verdictAt(7 * read); !reflect.DeepEqual(r.Input, want.Input) || string(r.Verdict) != string(want.Verdict) {
				return fmt.Errorf("verdict %d is read as %+v", read, r)
			}
			read++
		}
		if read != 2 {
			return fmt.Errorf("%d verdicts are read", read)
		}
		return nil
	}},
	{"checkpoint of a shard", func(ctx context.Context, s *scene) error {
		_, err := s.shard.Checkpoint(ctx)
		return err
	}},
	{"census of a rollout in a shard, 2 leaves of 100 KB and 10 patches of 4 KB", func(ctx context.Context, s *scene) error {
		_, _, err := s.shard.Pages(ctx, shop, "01R", 0)
		return err
	}},
	{"one row of tallies of a shard", func(ctx context.Context, s *scene) error {
		_, err := s.shard.Tally(ctx, shop, "01R", telemetry.TallyKey{Hour: 500_000, Arm: rollout.ArmControl})
		return err
	}},
	{"newest check of a shard", func(ctx context.Context, s *scene) error {
		_, err := s.shard.Newest(ctx, shop, "01R")
		return err
	}},
	{"commit of a fold: 4 rows and a patch of 4 KB", func(ctx context.Context, s *scene) (err error) {
		fold := store.Fold{
			App: shop, Rollout: "01R", Tallies: map[telemetry.TallyKey]telemetry.Tally{}, Newest: 2,
			Patches: []telemetry.Patch{{Sequence: 11, Data: make([]byte, 4000)}},
		}
		for hour := range int64(2) {
			for _, arm := range []rollout.Arm{rollout.ArmCandidate, rollout.ArmControl} {
				fold.Tallies[telemetry.TallyKey{Hour: 500_000 + hour, Arm: arm}] = tally(1)
			}
		}
		s.at, err = s.shard.Commit(ctx, s.at, store.Checkpoint{Newest: 2}, fold)
		return err
	}},
	{"token of a secret", func(ctx context.Context, s *scene) error {
		_, err := s.tokens.Find(ctx, [32]byte{1})
		return err
	}},
	{"list of tokens", func(ctx context.Context, s *scene) error {
		_, err := s.tokens.List(ctx)
		return err
	}},
	{"new token", func(ctx context.Context, s *scene) error {
		return s.tokens.Create(ctx, store.Token{Name: "second", Role: "viewer"}, [32]byte{2})
	}},
	{"revocation of a token", func(ctx context.Context, s *scene) error {
		return s.tokens.Revoke(ctx, "second")
	}},
	{"first signing key", func(ctx context.Context, s *scene) error {
		_, err := s.keys.Ensure(ctx)
		return err
	}},
	{"signing keys", func(ctx context.Context, s *scene) error {
		_, err := s.keys.Load(ctx)
		return err
	}},
	{"next signing key", func(ctx context.Context, s *scene) error {
		_, err := s.keys.Prepare(ctx, false)
		return err
	}},
	{"deletion of an app", func(ctx context.Context, s *scene) error {
		return s.apps.Delete(ctx, s.state, []rollout.Event{audit(200, "delete", "app "+shop)})
	}},
}

// TestAccessPatterns makes each pattern's requests against the server and has it count the units. The table in the
// package comment says the same.
func TestAccessPatterns(t *testing.T) {
	table := newTable(t)
	s := newScene(dynamo.New(connect(endpoint(t)), table, dynamo.Options{}))
	s.fill(t)
	var measured strings.Builder
	for _, p := range patterns {
		m := newMeter(endpoint(t), table)
		of := newScene(m)
		of.state, of.at = s.state, s.at
		if err := p.run(t.Context(), of); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		s.state, s.at = of.state, of.at
		measured.WriteString(m.table(p.name))
	}
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(measured.String()) {
		want.WriteString("//\t" + line)
	}
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("the package comment lacks the table as it was measured:\n%s", want.String())
	}
}
