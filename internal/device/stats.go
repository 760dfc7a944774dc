package device

import (
	"context"
	"encoding/json"
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
	batch.CheckVersions(l.snapshot.HasVersion)
	now := s.config.Now()
	var events []telemetry.Event
	for i := range batch.Items {
		if it := &batch.Items[i]; it.Use() {
			events = append(events, s.statsEvent(l, &it.Event, now))
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
func (s *Service) statsEvent(l *loaded, e *capgo.StatsEvent, now time.Time) telemetry.Event {
	version := e.Version
	if e.VersionMissing {
		version = offered(l, &e.Check)
	}
	if !e.Known {
		s.counts.unknown.Add(1)
	}
	return telemetry.Event{
		Kind: telemetry.KindAction, App: clone(e.Check.AppID), Device: telemetry.Fingerprint(e.Check.DeviceID), Time: now.UnixMilli(),
		Action: clone(e.Action), Version: clone(version), OldVersion: clone(e.OldVersion), Platform: e.Check.Platform.String(),
		ClientTime: e.Timestamp, Test: !e.Check.IsProd || e.Check.IsEmulator, Metadata: cloneMap(e.Metadata),
		Exposures: exposures(l, &e.Check, version),
	}
}

// offered is the bundle that the device's current Snapshot would have it download: what a download failure that names no
// bundle must be about.
func offered(l *loaded, c *resolve.Check) string {
	d := l.snapshot.Resolve(c, &resolve.Facts{})
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
		version := clone(it.Event.Version)
		err := s.config.Devices.Update(ctx, batch.AppID, it.Event.Check.DeviceID, func(f *resolve.Facts) bool {
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
	for part := range slices.Chunk(events, stream.MaxBatch) {
		records, err := recordsOf(part)
		if err != nil {
			return err
		}
		if err := s.config.Stream.Append(ctx, records); err != nil {
			return fmt.Errorf("appending %d events: %w", len(part), err)
		}
	}
	s.counts.events.Add(int64(len(events)))
	return nil
}

func recordsOf(events []telemetry.Event) ([]stream.Record, error) {
	records := make([]stream.Record, len(events))
	for i, e := range events {
		data, err := telemetry.Append(nil, e)
		if err != nil {
			return nil, fmt.Errorf("encoding an event: %w", err)
		}
		records[i] = stream.Record{Key: e.Device, Data: data}
	}
	return records, nil
}

// overloaded answers telemetry that could not be made durable. It is never a 5xx: old plugins lose the event either way,
// and new ones would ask again every second.
func (s *Service) overloaded(err error, dst []byte) Answer {
	s.counts.overload.Add(1)
	if !errors.Is(err, stream.ErrOverloaded) {
		s.config.Log.Error("telemetry not acknowledged", "error", err)
	}
	resetAt := s.config.Now().Add(capgo.OverloadRetryAfter * time.Second).UnixMilli()
	return s.refuse(capgo.TooManyRequests(capgo.OverloadRetryAfter, resetAt), dst)
}

// Telemetry answers POST /telemetry: what the app itself measures.
func (s *Service) Telemetry(ctx context.Context, body, dst []byte) Answer {
	batch, err := telemetry.ParseMetrics(body)
	if err != nil {
		return s.refuseMetrics(err, dst)
	}
	l, refusal := s.load(ctx, batch.AppID)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	if err := s.noteConsent(ctx, &batch); err != nil {
		return s.overloaded(err, dst)
	}
	check := metricsCheck(&batch)
	now, exposed := s.config.Now(), exposures(l, &check, batch.VersionName)
	events := make([]telemetry.Event, 0, len(batch.Metrics))
	for _, m := range batch.Metrics {
		e := batch.Event(m, now)
		e.Exposures = exposed
		events = append(events, e)
	}
	if err := s.append(ctx, events); err != nil {
		return s.overloaded(err, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: appendTaken(dst, &batch)}
}

// appendTaken answers a batch of app metrics: how many were taken, and which were not and why.
func appendTaken(dst []byte, b *telemetry.MetricBatch) []byte {
	type rejection struct {
		Index   int    `json:"index"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	answer := struct {
		Status   string      `json:"status"`
		Taken    int         `json:"taken"`
		Rejected []rejection `json:"rejected,omitempty"`
	}{Status: "ok", Taken: len(b.Metrics)}
	for _, r := range b.Rejected {
		answer.Rejected = append(answer.Rejected, rejection{r.Index, r.Code, r.Message})
	}
	body, err := json.Marshal(answer)
	if err != nil { // strings and numbers only: cannot happen
		return append(dst, capgo.HealthBody...)
	}
	return append(dst, body...)
}

func (s *Service) refuseMetrics(err error, dst []byte) Answer {
	refusal := &capgo.Refusal{Status: capgo.StatusBadRequest, Code: capgo.CodeBody, Message: err.Error()}
	var m *telemetry.MetricError
	if errors.As(err, &m) {
		refusal.Code, refusal.Message = m.Code, m.Message
	}
	return s.refuse(refusal, dst)
}

// metricsCheck is what a batch of app metrics says of its device, as far as a comparison needs it.
func metricsCheck(b *telemetry.MetricBatch) resolve.Check {
	c := resolve.Check{
		AppID: b.AppID, DeviceID: b.DeviceID, CustomID: b.CustomID, VersionName: b.VersionName, VersionBuild: b.VersionBuild,
		PluginVersion: b.PluginVersion, IsProd: b.IsProd, IsEmulator: b.IsEmulator,
	}
	switch strings.ToLower(b.Platform) {
	case "android":
		c.Platform = resolve.Android
	case "ios":
		c.Platform = resolve.IOS
	case "electron":
		c.Platform = resolve.Electron
	}
	c.Native, _ = resolve.ParseVersion(b.VersionBuild)
	c.Plugin, _ = resolve.ParseVersion(b.PluginVersion)
	return c
}

// noteConsent remembers what the device's user agreed to, or no longer does.
func (s *Service) noteConsent(ctx context.Context, b *telemetry.MetricBatch) error {
	for _, m := range b.Metrics {
		if m.Type != telemetry.MetricConsent {
			continue
		}
		err := s.config.Devices.Update(ctx, b.AppID, b.DeviceID, func(f *resolve.Facts) bool {
			had := slices.Contains(f.Consented, m.Bundle)
			if m.Granted {
				f.Consented = append(f.Consented, m.Bundle)
			} else {
				f.Consented = slices.DeleteFunc(f.Consented, func(v string) bool { return v == m.Bundle })
			}
			return had != m.Granted
		})
		if err != nil {
			return fmt.Errorf("noting consent: %w", err)
		}
	}
	return nil
}

func cloneMap(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[clone(k)] = clone(v)
	}
	return out
}
