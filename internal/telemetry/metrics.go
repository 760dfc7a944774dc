package telemetry

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MetricsSchema is the JSON Schema (draft 2020-12) of the body that ParseMetrics reads.
//
//go:embed schema.json
var MetricsSchema []byte

// MetricType is what an app metric measures.
type MetricType string

// The types of app metric.
const (
	MetricLoadTime      MetricType = "load_time"      // value_ms: until the page or app was usable
	MetricAPITime       MetricType = "api_time"       // value_ms: until a response had arrived
	MetricSessionLength MetricType = "session_length" // value_ms: of a session that has ended
	MetricFeatureUse    MetricType = "feature_use"    // name: the tracked feature
	MetricJSError       MetricType = "js_error"       // message
	MetricFeedback      MetricType = "feedback"       // score 1…5, or negative; message
	MetricConsent       MetricType = "consent"        // bundle and granted: the user's answer to an update that asks first
)

// Limits of a batch of app metrics.
const (
	MaxMetricEvents   = 500
	MaxMetricsBytes   = 1 << 20 // of the whole body
	MaxMetricName     = 128     // characters of a name
	MaxMetricMessage  = 2048    // characters of a message
	maxMetricIdentity = 128     // characters of ids and versions
	maxMetricMillis   = 30 * 24 * 3600 * 1000
)

// Metadata keys of events made from app metrics.
const (
	metaName     = "name"
	metaMessage  = "message"
	metaNegative = "negative"
	metaGranted  = "granted"
)

// MetricBatch is one body of POST /telemetry: metrics of one device.
type MetricBatch struct {
	AppID         string
	DeviceID      string // lower case
	Platform      string
	VersionName   string // the bundle that was running
	VersionBuild  string
	PluginVersion string
	VersionOS     string
	InstallSource string
	CustomID      string
	IsProd        bool // true unless the body says otherwise
	IsEmulator    bool
	Metrics       []AppMetric   // the valid ones, in order
	Rejected      []MetricError // the others
}

// AppMetric is one valid metric.
type AppMetric struct {
	Index    int // in the batch as sent
	Type     MetricType
	At       int64   // device clock, Unix milliseconds; 0 when not said
	Millis   float64 // of load_time, api_time and session_length
	Name     string
	Message  string
	Score    float64 // of feedback, 1…5; 0 when not said
	Negative bool
	Bundle   string // of consent
	Granted  bool   // of consent
}

// MetricError says why one metric of a batch was not taken, or, with Index -1, why the whole batch was not.
type MetricError struct {
	Index   int
	Code    string // stable: invalid_json_body, missing_app_id, missing_device_id, invalid_field, …
	Message string
}

// Error returns the message, with the metric's index if it is about one.
func (e *MetricError) Error() string {
	if e.Index < 0 {
		return e.Code + ": " + e.Message
	}
	return fmt.Sprintf("%s: event %d: %s", e.Code, e.Index, e.Message)
}

// wireBatch is the body as sent; see schema.json.
type wireBatch struct {
	AppID         string            `json:"app_id"`
	DeviceID      string            `json:"device_id"`
	Platform      string            `json:"platform"`
	VersionName   string            `json:"version_name"`
	VersionBuild  string            `json:"version_build"`
	PluginVersion string            `json:"plugin_version"`
	VersionOS     string            `json:"version_os"`
	InstallSource string            `json:"install_source"`
	CustomID      string            `json:"custom_id"`
	IsProd        *bool             `json:"is_prod"`
	IsEmulator    bool              `json:"is_emulator"`
	Events        []json.RawMessage `json:"events"`
}

// wireMetric is one event of the body as sent.
type wireMetric struct {
	Type     MetricType `json:"type"`
	At       int64      `json:"at"`
	ValueMS  *float64   `json:"value_ms"`
	Name     string     `json:"name"`
	Score    *float64   `json:"score"`
	Negative *bool      `json:"negative"`
	Message  string     `json:"message"`
	Bundle   string     `json:"bundle"`
	Granted  *bool      `json:"granted"`
}

// ParseMetrics reads the body of POST /telemetry. An error is a *MetricError and costs the batch: no JSON object of
// the right shape, no device, too much. A metric that is wrong in itself is listed in Rejected and costs nothing else.
func ParseMetrics(body []byte) (MetricBatch, error) {
	if len(body) > MaxMetricsBytes {
		return MetricBatch{}, batchError("body_too_large", "send at most %d bytes at once", MaxMetricsBytes)
	}
	var wire wireBatch
	if err := strictJSON(body, &wire); err != nil {
		return MetricBatch{}, batchError("invalid_json_body", "%v", err)
	}
	if err := wire.validate(); err != nil {
		return MetricBatch{}, err
	}
	batch := MetricBatch{
		AppID: wire.AppID, DeviceID: strings.ToLower(wire.DeviceID), Platform: wire.Platform,
		VersionName: wire.VersionName, VersionBuild: wire.VersionBuild, PluginVersion: wire.PluginVersion,
		VersionOS: wire.VersionOS, InstallSource: wire.InstallSource,
		CustomID: wire.CustomID, IsProd: wire.IsProd == nil || *wire.IsProd, IsEmulator: wire.IsEmulator,
	}
	for i, raw := range wire.Events {
		m, err := parseMetric(raw)
		if err != nil {
			err.Index = i
			batch.Rejected = append(batch.Rejected, *err)
			continue
		}
		m.Index = i
		batch.Metrics = append(batch.Metrics, m)
	}
	return batch, nil
}

// strictJSON decodes exactly one JSON value without unknown fields.
func strictJSON(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("read JSON: something follows the value")
	}
	return nil
}

func batchError(code, format string, args ...any) *MetricError {
	return &MetricError{Index: -1, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (w wireBatch) validate() error {
	if w.AppID == "" {
		return batchError("missing_app_id", "app_id is required")
	}
	if w.DeviceID == "" {
		return batchError("missing_device_id", "device_id is required")
	}
	for _, f := range []struct{ name, value string }{
		{"app_id", w.AppID}, {"device_id", w.DeviceID}, {"platform", w.Platform}, {"version_name", w.VersionName},
		{"version_build", w.VersionBuild}, {"plugin_version", w.PluginVersion}, {"custom_id", w.CustomID},
		{"version_os", w.VersionOS}, {"install_source", w.InstallSource},
	} {
		if utf8.RuneCountInString(f.value) > maxMetricIdentity {
			return batchError("invalid_field", "%s is longer than %d characters", f.name, maxMetricIdentity)
		}
	}
	if !isUUID(w.DeviceID) {
		return batchError("invalid_field", "device_id must be the plugin's: a UUID of 36 characters")
	}
	if len(w.Events) > MaxMetricEvents {
		return batchError("too_many_events", "send at most %d events at once", MaxMetricEvents)
	}
	return nil
}

// isUUID reports whether id has the form of the plugin's device ids: 8-4-4-4-12 hex digits, in either case.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i, c := range []byte(id) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

func metricError(code, format string, args ...any) *MetricError {
	return &MetricError{Code: code, Message: fmt.Sprintf(format, args...)}
}

func parseMetric(raw json.RawMessage) (AppMetric, *MetricError) {
	var wire wireMetric
	if err := strictJSON(raw, &wire); err != nil {
		return AppMetric{}, metricError("invalid_event", "%v", err)
	}
	if err := wire.validate(); err != nil {
		return AppMetric{}, err
	}
	m := AppMetric{Type: wire.Type, At: wire.At, Name: wire.Name, Message: wire.Message, Bundle: wire.Bundle}
	if wire.ValueMS != nil {
		m.Millis = *wire.ValueMS
	}
	if wire.Score != nil {
		m.Score = *wire.Score
	}
	m.Negative = wire.Negative != nil && *wire.Negative
	m.Granted = wire.Granted != nil && *wire.Granted
	return m, nil
}

// validate checks the fields that all types share, then those that the type asks for.
func (w wireMetric) validate() *MetricError {
	switch {
	case w.At < 0 || w.At >= maxTime:
		return metricError("invalid_field", "at is no Unix time in milliseconds")
	case utf8.RuneCountInString(w.Name) > MaxMetricName:
		return metricError("invalid_field", "name is longer than %d characters", MaxMetricName)
	case utf8.RuneCountInString(w.Message) > MaxMetricMessage:
		return metricError("invalid_field", "message is longer than %d characters", MaxMetricMessage)
	case utf8.RuneCountInString(w.Bundle) > maxMetricIdentity:
		return metricError("invalid_field", "bundle is longer than %d characters", maxMetricIdentity)
	}
	switch w.Type {
	case MetricLoadTime, MetricAPITime, MetricSessionLength:
		if w.ValueMS == nil || *w.ValueMS < 0 || *w.ValueMS > maxMetricMillis {
			return metricError("invalid_field", "%s needs value_ms from 0 to %d", w.Type, maxMetricMillis)
		}
	case MetricFeatureUse:
		if w.Name == "" {
			return metricError("invalid_field", "feature_use needs a name")
		}
	case MetricFeedback:
		if w.Score == nil && w.Negative == nil {
			return metricError("invalid_field", "feedback needs a score or negative")
		}
		if w.Score != nil && (*w.Score < 1 || *w.Score > 5) {
			return metricError("invalid_field", "score goes from 1 to 5")
		}
	case MetricConsent:
		if w.Bundle == "" || w.Granted == nil {
			return metricError("invalid_field", "consent needs bundle and granted")
		}
	case MetricJSError:
	default:
		return metricError("unknown_type", "type must be one of those in the schema")
	}
	return nil
}

// Event returns m as an Event received at the given time, complete but for Exposures.
func (b MetricBatch) Event(m AppMetric, received time.Time) Event {
	e := Event{
		Kind: KindMetric, App: b.AppID, Device: Fingerprint(b.DeviceID), Time: received.UnixMilli(),
		Action: string(m.Type), Version: b.VersionName, Platform: b.Platform, ClientTime: m.At,
		Value: m.Millis, Test: b.IsEmulator || !b.IsProd,
	}
	note := func(key, value string) {
		if value == "" {
			return
		}
		if e.Metadata == nil {
			e.Metadata = map[string]string{}
		}
		e.Metadata[key] = value
	}
	note(metaName, m.Name)
	note(metaMessage, m.Message)
	switch m.Type {
	case MetricFeedback:
		e.Value = m.Score
		note(metaNegative, strconv.FormatBool(m.Negative))
	case MetricConsent:
		e.Version = m.Bundle
		note(metaGranted, strconv.FormatBool(m.Granted))
	}
	return e
}
