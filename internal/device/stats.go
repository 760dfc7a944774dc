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
func (s *Service) RecordStats(ctx context.Context, from Source, body, dst []byte) Answer {
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
	failures := failuresOf(batch, l.snapshot.HasVersion, now)
	var events []telemetry.Event
	d := deliveries{service: s, loaded: l}
	for i := range batch.Items {
		if it := &batch.Items[i]; it.Use() {
			events = append(events, d.statsEvent(ctx, &it.Event, now.UnixMilli()))
		}
	}
	if err := s.noteFailures(ctx, batch.AppID, l.snapshot.Generation(), failures); err != nil {
		return s.overloaded(err, dst)
	}
	s.sources.markExcess(from, events, now)
	if err := s.append(ctx, events); err != nil {
		return s.overloaded(err, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: batch.Append(dst)}
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

// maxFailing bounds the devices of one request whose records are written: each is a write of its own, and a plugin
// reports for one device only.
const maxFailing = 20

// failures are the bundles that failed on one device.
type failures struct {
	device   string
	versions []string
}

// failuresOf collects what the batch says failed, by device, of the bundles that the app has. Reports of devices beyond
// maxFailing are refused, to be sent again.
func failuresOf(batch *capgo.Batch, has func(version string) bool, now time.Time) []failures {
	var list []failures
	for i := range batch.Items {
		it := &batch.Items[i]
		if !it.Use() || !bundleFailed(it.Event.Action) || !has(it.Event.Version) {
			continue
		}
		at := slices.IndexFunc(list, func(f failures) bool { return f.device == it.Event.Check.DeviceID })
		if at < 0 && len(list) == maxFailing {
			it.Refusal = tooMany(now)
			continue
		}
		if at < 0 {
			at = len(list)
			list = append(list, failures{device: strings.Clone(it.Event.Check.DeviceID)})
		}
		if f := &list[at]; !slices.Contains(f.versions, it.Event.Version) {
			f.versions = append(f.versions, strings.Clone(it.Event.Version))
		}
	}
	return list
}

// noteFailures remembers in the devices' records which bundles failed on them, with one write per device.
func (s *Service) noteFailures(ctx context.Context, app string, generation int64, list []failures) error {
	for _, failed := range list {
		err := s.config.Devices.Update(ctx, app, failed.device, func(f *resolve.Facts) (changed bool) {
			*f = f.Of(generation)
			for _, version := range failed.versions {
				if !slices.Contains(f.Failed, version) {
					f.Failed, changed = append(f.Failed, version), true
				}
			}
			return changed
		})
		if err != nil {
			return fmt.Errorf("noting that %s failed on a device: %w", strings.Join(failed.versions, ", "), err)
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
		s.counts.events.Add(int64(n))
	}
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
			if s.trouble.now(s.config.Now()) {
				s.config.Log.Error("event not encoded", "app", e.App, "action", e.Action, "error", err)
			}
			continue
		}
		records = append(records, stream.Record{Key: e.Device, Data: data})
	}
	return records
}

// overloaded answers telemetry that could not be made durable. It is never a 5xx: old plugins lose the event either way,
// and new ones would ask again every second.
func (s *Service) overloaded(err error, dst []byte) Answer {
	answer := s.refuse(tooMany(s.config.Now()), dst)
	if errors.Is(err, context.Canceled) {
		return answer // the device hung up: nobody is overloaded, and nobody hears this
	}
	s.counts.overload.Add(1)
	if !errors.Is(err, stream.ErrOverloaded) && s.trouble.now(s.config.Now()) {
		s.config.Log.Error("telemetry not acknowledged", "error", err)
	}
	return answer
}

// tooMany asks the device to come back after a while.
func tooMany(now time.Time) *capgo.Refusal {
	resetAt := now.Add(capgo.OverloadRetryAfter * time.Second).UnixMilli()
	return capgo.TooManyRequests(capgo.OverloadRetryAfter, resetAt)
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
