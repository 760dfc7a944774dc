package device

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Telemetry answers POST /telemetry: what the app itself measures.
func (s *Service) Telemetry(ctx context.Context, from Source, body, dst []byte) Answer {
	if !utf8.Valid(body) {
		return s.refuse(&capgo.Refusal{Status: capgo.StatusBadRequest, Code: capgo.CodeBody, Message: "the body is not UTF-8"}, dst)
	}
	batch, err := telemetry.ParseMetrics(body)
	if err != nil {
		return s.refuseMetrics(err, dst)
	}
	l, refusal := s.load(ctx, batch.AppID)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	rejectUnknownBundles(&batch, l.snapshot.HasVersion)
	if err := s.noteConsent(ctx, &batch, l.snapshot.Generation()); err != nil {
		return s.overloaded(err, dst)
	}
	check, now := metricsCheck(&batch), s.config.Now()
	events := make([]telemetry.Event, 0, len(batch.Metrics))
	for _, m := range batch.Metrics {
		e := batch.Event(m, now)
		e.Exposures = exposures(l, &check, e.Version)
		events = append(events, e)
	}
	s.sources.markExcess(from, events, now)
	if err := s.append(ctx, events); err != nil {
		return s.overloaded(err, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: appendTaken(dst, &batch)}
}

// rejectUnknownBundles rejects consent to bundles that the app does not have: remembering it would push out what the
// user did agree to.
func rejectUnknownBundles(b *telemetry.MetricBatch, has func(version string) bool) {
	b.Metrics = slices.DeleteFunc(b.Metrics, func(m telemetry.AppMetric) bool {
		unknown := m.Type == telemetry.MetricConsent && !has(m.Bundle)
		if unknown {
			b.Rejected = append(b.Rejected, telemetry.MetricError{
				Index: m.Index, Code: capgo.CodeNoVersion, Message: "the app has no such bundle",
			})
		}
		return unknown
	})
	slices.SortFunc(b.Rejected, func(x, y telemetry.MetricError) int { return cmp.Compare(x.Index, y.Index) })
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
		answer.Rejected = append(answer.Rejected, rejection{r.Index, r.Code, shorten(r.Message)})
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
	refusal.Message = shorten(refusal.Message)
	return s.refuse(refusal, dst)
}

// shorten cuts a message that may quote what was sent, which can be a megabyte.
func shorten(message string) string {
	const most = 300
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "…"
}

// metricsCheck is what a batch of app metrics says of its device, as far as a comparison needs it.
func metricsCheck(b *telemetry.MetricBatch) resolve.Check {
	c := resolve.Check{
		AppID: b.AppID, DeviceID: b.DeviceID, CustomID: b.CustomID, VersionName: b.VersionName, VersionBuild: threeParts(b.VersionBuild),
		PluginVersion: b.PluginVersion, VersionOS: b.VersionOS, InstallSource: b.InstallSource, IsProd: b.IsProd, IsEmulator: b.IsEmulator,
	}
	if c.RunsBuiltin = c.VersionName == rollout.Builtin; c.RunsBuiltin {
		c.VersionName = c.VersionBuild
	}
	c.Platform = resolve.PlatformNamed(strings.ToLower(b.Platform))
	c.Native, _ = resolve.ParseVersion(c.VersionBuild)
	c.Plugin, _ = resolve.ParseVersion(b.PluginVersion)
	return c
}

// threeParts completes a native version as update checks do: "1.0", which is what a new native project calls itself, is
// 1.0.0.
func threeParts(build string) string {
	switch {
	case build == "" || strings.Count(build, ".") > 1:
		return build
	case build == rollout.Builtin || build == "unknown":
		return "0.0.0"
	case strings.Contains(build, "."):
		return build + ".0"
	}
	return build + ".0.0"
}

// noteConsent remembers what the device's user agreed to, or no longer does.
func (s *Service) noteConsent(ctx context.Context, b *telemetry.MetricBatch, generation int64) error {
	said := func(m telemetry.AppMetric) bool { return m.Type == telemetry.MetricConsent }
	if !slices.ContainsFunc(b.Metrics, said) {
		return nil
	}
	err := s.config.Devices.Update(ctx, b.AppID, b.DeviceID, func(f *resolve.Facts) (changed bool) {
		*f = f.Of(generation)
		for _, m := range b.Metrics {
			if said(m) && slices.Contains(f.Consented, m.Bundle) != m.Granted {
				f.Consented = withConsent(f.Consented, m)
				changed = true
			}
		}
		return changed
	})
	if err != nil {
		return fmt.Errorf("noting consent: %w", err)
	}
	return nil
}

// withConsent adds the bundle of m to the list, or takes it off.
func withConsent(list []string, m telemetry.AppMetric) []string {
	if m.Granted {
		return append(list, m.Bundle)
	}
	return slices.DeleteFunc(list, func(v string) bool { return v == m.Bundle })
}
