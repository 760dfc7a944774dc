package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// RecordStats answers POST /stats: what the plugin reports. An event is acknowledged only after it rests on the stream, and a
// bundle that failed is noted in the device's record before that, so that the next check knows.
func (s *Service) RecordStats(ctx context.Context, body, dst []byte) Answer {
	batch, refusal := capgo.ParseStats(body)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	if len(batch.Items) == 0 {
		return Answer{Status: capgo.StatusOK, Body: batch.Append(dst)}
	}
	l, refusal := s.load(ctx, batch.AppID)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	batch.CheckVersions(l.snapshot.HasVersion)
	now := s.config.Now()
	var events []telemetry.Event
	for i := range batch.Items {
		if it := &batch.Items[i]; it.Use() {
			events = append(events, s.statsEvent(ctx, l, &it.Event, now))
		}
	}
	if err := s.noteFailures(ctx, batch, l); err != nil {
		return s.overloaded(err, dst)
	}
	if err := s.append(ctx, events); err != nil {
		return s.overloaded(err, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: batch.Append(dst)}
}

// statsEvent turns what the plugin said into what rests on the stream.
func (s *Service) statsEvent(ctx context.Context, l *loaded, e *capgo.StatsEvent, now time.Time) telemetry.Event {
	version := e.Version
	if e.VersionMissing {
		version = s.offered(ctx, l, &e.Check)
	}
	if !e.Known {
		s.counts.unknown.Add(1)
	}
	return telemetry.Event{
		Kind: telemetry.KindAction, App: strings.Clone(e.Check.AppID), Device: telemetry.Fingerprint(e.Check.DeviceID), Time: now.UnixMilli(),
		Action: strings.Clone(e.Action), Version: strings.Clone(version), OldVersion: strings.Clone(e.OldVersion), Platform: e.Check.Platform.String(),
		ClientTime: e.Timestamp, Test: !e.Check.IsProd || e.Check.IsEmulator, Metadata: cloneMap(e.Metadata),
		Exposures: exposures(l, &e.Check, version),
	}
}

// offered is the bundle that the device's current Snapshot would have it download: what a download failure that names no
// bundle must be about. Without the device's record it is a guess, which is better than none.
func (s *Service) offered(ctx context.Context, l *loaded, c *resolve.Check) string {
	facts, err := s.config.Devices.Facts(ctx, c.AppID, c.DeviceID)
	if err != nil {
		facts = resolve.Facts{}
	}
	facts = facts.Of(l.snapshot.Generation())
	d := l.snapshot.Resolve(c, &facts)
	if d.Reason == resolve.Offer && d.Bundle != nil {
		return d.Bundle.Version
	}
	return c.VersionName
}

// exposures lists the live rollouts in whose comparison the device is. Those of channels it never asked on are listed
// too: it has not entered them, so its events count for nothing there.
func exposures(l *loaded, c *resolve.Check, version string) []telemetry.Exposure {
	var list []telemetry.Exposure
	rollouts := l.snapshot.Rollouts()
	for i := range rollouts {
		r := &rollouts[i]
		if len(list) == telemetry.MaxExposures {
			break
		}
		if arm := r.Arm(c); arm != rollout.ArmNone {
			list = append(list, telemetry.Exposure{Rollout: r.ID, Phase: r.Phase, Arm: arm, Candidate: version == r.RolloutSpec.Bundle})
		}
	}
	return list
}

// noteFailures remembers in the devices' records which bundles failed on them.
func (s *Service) noteFailures(ctx context.Context, batch *capgo.Batch, l *loaded) error {
	for i := range batch.Items {
		it := &batch.Items[i]
		if !it.Use() || !bundleFailed(it.Event.Action) || !l.snapshot.HasVersion(it.Event.Version) {
			continue
		}
		version := strings.Clone(it.Event.Version)
		err := s.config.Devices.Update(ctx, batch.AppID, it.Event.Check.DeviceID, func(f *resolve.Facts) bool {
			*f = f.Of(l.snapshot.Generation())
			if slices.Contains(f.Failed, version) {
				return false
			}
			f.Failed = append(f.Failed, version)
			return true
		})
		if err != nil {
			return fmt.Errorf("noting that %s failed on a device: %w", version, err)
		}
	}
	return nil
}

// bundleFailed reports whether an action says that the named bundle cannot run on the device.
func bundleFailed(action string) bool { return action == "update_fail" || action == "set_fail" }

// append puts events on the stream, in batches of its size.
func (s *Service) append(ctx context.Context, events []telemetry.Event) error {
	records := s.recordsOf(events)
	for len(records) > 0 {
		n := batchOf(records)
		if err := s.config.Stream.Append(ctx, records[:n]); err != nil {
			return fmt.Errorf("appending %d events: %w", n, err)
		}
		records = records[n:]
	}
	s.counts.events.Add(int64(len(events)))
	return nil
}

// batchOf returns how many of the records, at least one, the stream takes at once.
func batchOf(records []stream.Record) int {
	bytes := 0
	for n, r := range records {
		if bytes += len(r.Data); n > 0 && (n == stream.MaxBatch || bytes > stream.MaxBatchBytes) {
			return n
		}
	}
	return len(records)
}

// recordsOf encodes events. One that cannot be encoded is left out: it never could be, so its sender must not be asked to
// send it again.
func (s *Service) recordsOf(events []telemetry.Event) []stream.Record {
	records := make([]stream.Record, 0, len(events))
	for _, e := range events {
		data, err := telemetry.Append(nil, e)
		if err == nil && len(data) > stream.MaxRecordBytes {
			err = stream.ErrTooLarge
		}
		if err != nil {
			s.config.Log.Error("event not encoded", "app", e.App, "action", e.Action, "error", err)
			continue
		}
		records = append(records, stream.Record{Key: e.Device, Data: data})
	}
	return records
}

// overloaded answers telemetry that could not be made durable. It is never a 5xx: old plugins lose the event either way,
// and new ones would ask again every second.
func (s *Service) overloaded(err error, dst []byte) Answer {
	resetAt := s.config.Now().Add(capgo.OverloadRetryAfter * time.Second).UnixMilli()
	answer := s.refuse(capgo.TooManyRequests(capgo.OverloadRetryAfter, resetAt), dst)
	if errors.Is(err, context.Canceled) {
		return answer // the device hung up: nobody is overloaded, and nobody hears this
	}
	s.counts.overload.Add(1)
	if !errors.Is(err, stream.ErrOverloaded) && s.trouble.now(s.config.Now()) {
		s.config.Log.Error("telemetry not acknowledged", "error", err)
	}
	return answer
}

func cloneMap(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.Clone(k)] = strings.Clone(v)
	}
	return out
}
