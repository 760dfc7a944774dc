package main

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/resolve"
)

// metrics serves what the process counts, for Prometheus, to holders of a viewer's token.
func (s *server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), serverCollector{s})
	return s.viewersOnly(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}

var (
	descDecisions = prometheus.NewDesc("palier_update_checks_total", "Update checks answered, by outcome.", []string{"reason"}, nil)
	descRefused   = prometheus.NewDesc("palier_refused_requests_total", "Device requests refused as malformed, unknown or too much.", nil, nil)
	descEvents    = prometheus.NewDesc("palier_telemetry_events_total", "Telemetry events acknowledged.", nil, nil)
	descUnknown   = prometheus.NewDesc("palier_telemetry_unknown_events_total", "Acknowledged events with an unknown action.", nil, nil)
	descOverload  = prometheus.NewDesc("palier_telemetry_overloads_total", "Telemetry requests answered 429.", nil, nil)
	descCapped    = prometheus.NewDesc("palier_telemetry_capped_total", "Acknowledged events that do not count, because too many of their kind came from one network.", nil, nil)
	descChecks    = prometheus.NewDesc("palier_check_events_total", "Check events put on the stream, dropped, or left out because too many came from one network.", []string{"outcome"}, nil)
)

var (
	descLive   = prometheus.NewDesc("palier_live_rollouts", "Rollouts that are scheduled, running or paused.", nil, nil)
	descFolded = prometheus.NewDesc("palier_telemetry_folded_total", "Telemetry events counted.", nil, nil)
	descPoison = prometheus.NewDesc("palier_telemetry_poison_total", "Telemetry records that could not be read and were passed over.", nil, nil)
	descLag    = prometheus.NewDesc("palier_telemetry_lag_seconds", "Age of the newest event that was counted.", nil, nil)
)

// serverCollector reads the server's counters when Prometheus asks.
type serverCollector struct{ server *server }

// Describe lists the metrics.
func (c serverCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect reads them.
func (c serverCollector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := c.server.devices.Stats()
	for reason, n := range st.Decisions {
		if n > 0 {
			count(descDecisions, n, resolve.Reason(reason).String())
		}
	}
	count(descRefused, st.Refused)
	count(descEvents, st.Events)
	count(descUnknown, st.UnknownEvents)
	count(descOverload, st.Overloads)
	count(descChecks, st.ChecksNoted, "noted")
	count(descChecks, st.ChecksDropped, "dropped")
	count(descChecks, st.ChecksLeftOut, "left_out")
	count(descCapped, st.EventsCapped)
	folded := c.server.aggregator.Stats()
	count(descFolded, folded.Events)
	count(descPoison, folded.Poison)
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(descLag, folded.Lag(c.server.clock.Now()).Seconds())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if live, err := c.server.ticker.Apps.Live(ctx); err == nil {
		gauge(descLive, float64(len(live)))
	}
}

// viewersOnly lets through who may read the operator API.
func (s *server) viewersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.operators.Authenticate(r.Context(), r.Header.Get("Authorization"))
		if err != nil || !p.Role.Allows(admin.Viewer) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="palier"`)
			http.Error(w, "metrics want the header Authorization: Bearer TOKEN, with a viewer's token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
