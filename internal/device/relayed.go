package device

import (
	"context"
	"fmt"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// RelayedCheck is an update check that was answered elsewhere, by an edge, of a device in an arm of a live rollout.
type RelayedCheck struct {
	App       string
	Device    uint64 // telemetry.Fingerprint of its id
	Version   string // what it runs
	Platform  string
	Rollout   string
	Phase     int
	Arm       rollout.Arm
	Candidate bool      // Version is the rollout's candidate
	Time      time.Time // when the device asked
	Source    Source    // where it asked from
}

// event is the event that noteCheck would have made of the check.
func (c RelayedCheck) event() telemetry.Event {
	return telemetry.Event{
		Kind: telemetry.KindCheck, App: c.App, Device: c.Device, Time: c.Time.UnixMilli(), Version: c.Version, Platform: c.Platform,
		Exposures: []telemetry.Exposure{{Rollout: c.Rollout, Phase: c.Phase, Arm: c.Arm, Candidate: c.Candidate}},
	}
}

// NoteChecks puts the check events of relayed checks on the stream, but for those beyond what their source may have; when
// it returns nil they are durable. On an error any part of them may be: the sender keeps them and repeats them all, and
// whatever comes twice counts once.
func (s *Service) NoteChecks(ctx context.Context, checks []RelayedCheck) error {
	events, now := make([]telemetry.Event, 0, len(checks)), s.config.Now()
	for _, c := range checks {
		if s.sources.enters(c.Source, c.App, c.Device, now) {
			events = append(events, c.event())
		}
	}
	records := s.recordsOf(events)
	for len(records) > 0 {
		n := batchOf(records)
		if err := s.config.Stream.Append(ctx, records[:n]); err != nil {
			return fmt.Errorf("appending %d relayed checks: %w", n, err)
		}
		s.beacon.sent.Add(int64(n))
		records = records[n:]
	}
	return nil
}
