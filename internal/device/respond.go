package device

import (
	"context"
	"net/http"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/telemetry"
)

// The paths that devices ask.
const (
	PathUpdates      = "/updates"
	PathManifestSize = "/updates/manifest_size"
	PathChannelSelf  = "/channel_self"
	PathStats        = "/stats"
	PathTelemetry    = "/telemetry"
	PathHealth       = "/healthz"
	PathClient       = "/palier.js" // not Respond's: see AsksForClient
)

// Respond answers one request: where it comes from, its path and query as they came, and its body whole, which is refused
// when it is larger than the path allows. The answer is appended to dst; it is JSON and never empty. What it needs of the
// arguments it clones.
func (s *Service) Respond(ctx context.Context, from Source, method, path, query string, body, dst []byte) Answer {
	a := s.respond(ctx, from, method, path, query, body, dst)
	a.AnyOrigin = path == PathTelemetry
	return a
}

func (s *Service) respond(ctx context.Context, from Source, method, path, query string, body, dst []byte) Answer {
	if method == http.MethodGet && (path == PathUpdates || path == PathStats) || method == http.MethodOptions && path == PathTelemetry {
		return Answer{Status: capgo.StatusOK, Body: append(dst, capgo.HealthBody...)}
	}
	if limit := bodyLimit(method, path); limit > 0 && len(body) > limit {
		return s.refuse(capgo.TooLarge(limit), dst)
	}
	switch path {
	case PathChannelSelf:
		return s.ChannelSelf(ctx, method, query, body, dst)
	case PathHealth:
		return Answer{Status: capgo.StatusOK, Body: append(dst, capgo.HealthBody...)}
	case PathClient:
		return s.wrongMethod(http.MethodGet, dst)
	case PathUpdates, PathManifestSize, PathStats, PathTelemetry:
		if method != http.MethodPost {
			return s.wrongMethod(http.MethodPost, dst)
		}
	}
	switch path {
	case PathUpdates:
		return s.Updates(ctx, from, body, dst)
	case PathManifestSize:
		return s.ManifestSize(ctx, body, dst)
	case PathStats:
		return s.RecordStats(ctx, from, body, dst)
	case PathTelemetry:
		return s.Telemetry(ctx, from, body, dst)
	}
	return Answer{Status: capgo.StatusNotFound, Body: append(dst, capgo.NotFoundBody...)}
}

// AsksForClient reports whether a request is for the browser client, which is a file: hosts let browser.Handler answer it,
// and Respond whatever else is asked at that path.
func AsksForClient(method, path string) bool {
	return path == PathClient && (method == http.MethodGet || method == http.MethodHead)
}

// wrongMethod answers who should have used the other one.
func (s *Service) wrongMethod(right string, dst []byte) Answer {
	return s.refuse(&capgo.Refusal{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "this path wants " + right,
	}, dst)
}

// bodyLimit returns how many bytes a request may have; 0 where nobody reads them.
func bodyLimit(method, path string) int {
	if path == PathChannelSelf {
		return capgo.MaxCheckBody // whatever the method: a DELETE may have a body
	}
	if method != http.MethodPost {
		return 0
	}
	switch path {
	case PathUpdates:
		return capgo.MaxCheckBody
	case PathManifestSize:
		return capgo.MaxManifestBody
	case PathStats:
		return capgo.MaxStatsBody
	case PathTelemetry:
		return telemetry.MaxMetricsBytes
	}
	return 0
}

// CrossOrigin returns the headers, name and value, with which any page may send app metrics: a Capacitor app's page has an
// origin of its own, such as capacitor://localhost, and sends no credentials.
func CrossOrigin() [5][2]string {
	return [5][2]string{
		{"Access-Control-Allow-Origin", "*"},
		{"Access-Control-Allow-Methods", "POST"},
		{"Access-Control-Allow-Headers", "Content-Type"},
		{"Access-Control-Expose-Headers", "Retry-After"},
		{"Access-Control-Max-Age", "86400"},
	}
}
