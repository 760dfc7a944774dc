package fleet

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// Stats is the state of a run at one moment. Counts are since its start.
type Stats struct {
	Elapsed   time.Duration `json:"elapsed_ns"`   // real
	Simulated time.Duration `json:"simulated_ns"` // time that passed for the devices
	Devices   int           `json:"devices"`
	Silent    int64         `json:"silent"` // devices that will never ask again

	Requests       uint64            `json:"requests"` // answered or not, duplicates included
	Checks         uint64            `json:"checks"`
	StatsPosts     uint64            `json:"stats_posts"`
	TelemetryPosts uint64            `json:"telemetry_posts"`
	Duplicates     uint64            `json:"duplicates"` // requests sent a second time on purpose
	Errors         map[string]uint64 `json:"errors"`     // requests not answered 2xx, by status, or network or timeout

	EventsSent     uint64 `json:"events_sent"` // statistics and app metrics, without duplicates
	EventsAcked    uint64 `json:"events_acked"`
	EventsLost     uint64 `json:"events_lost"`     // never sent, or sent in vain by a plugin that does not try again
	EventsRequeued uint64 `json:"events_requeued"` // sent in vain and kept, once for every time

	Versions        map[string]VersionStats `json:"versions"` // by bundle; StoreBuild is one
	ViolationCounts map[Kind]uint64         `json:"violation_counts"`

	Lag    time.Duration `json:"lag_ns"`     // simulated: how late the latest device acted
	MaxLag time.Duration `json:"max_lag_ns"` // simulated: how late any device ever acted
	P50    time.Duration `json:"p50_ns"`     // real: latency of answered requests, to about 6 %
	P99    time.Duration `json:"p99_ns"`
}

// VersionStats is what became of one bundle.
type VersionStats struct {
	Running        int64   `json:"running"` // devices that run it now, silent ones included
	Offers         int64   `json:"offers"`
	DevicesOffered int64   `json:"devices_offered"` // devices that were ever offered it
	ShareOffered   float64 `json:"share_offered"`   // the same as a fraction of all devices
	Downloads      int64   `json:"downloads"`
	Installs       int64   `json:"installs"`
	Crashes        int64   `json:"crashes"` // that happened; old plugins do not report them
	BootFailures   int64   `json:"boot_failures"`
	Silent         int64   `json:"silent"`     // devices that it silenced
	MovedBack      int64   `json:"moved_back"` // devices that ran it and were told to take an older bundle
}

// RequestsPerSecond is the mean rate in real time.
func (s Stats) RequestsPerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Requests) / s.Elapsed.Seconds()
}

// Running returns how many devices run each bundle.
func (s Stats) Running() map[string]int64 {
	out := make(map[string]int64, len(s.Versions))
	for name, v := range s.Versions {
		out[name] = v.Running
	}
	return out
}

// ErrorCount returns how many requests were not answered 2xx.
func (s Stats) ErrorCount() uint64 { return sum(s.Errors) }

// ViolationCount returns how many violations there were.
func (s Stats) ViolationCount() uint64 { return sum(s.ViolationCounts) }

func sum[K comparable](counts map[K]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// String returns one line for a progress display.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s simulated, %d devices (%d silent), %d requests (%.0f/s, p99 %s), %d errors, lag %s",
		s.Simulated.Round(time.Minute), s.Devices, s.Silent, s.Requests, s.RequestsPerSecond(), round(s.P99),
		s.ErrorCount(), s.Lag.Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(s.Versions)) {
		fmt.Fprintf(&b, ", %s: %d", name, s.Versions[name].Running)
	}
	if n := s.ViolationCount(); n > 0 {
		fmt.Fprintf(&b, ", %d violations", n)
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(max(1, d/100)) }

// Report is what a run showed.
type Report struct {
	Stats

	// Violations lists what the server did wrong, the first of it: Stats.ViolationCounts has the counts of all.
	Violations []Violation `json:"violations"`
}

// String returns the report as tables for a terminal.
func (r Report) String() string {
	var b strings.Builder
	s := r.Stats
	fmt.Fprintf(&b, "%d devices, %s simulated in %s\n", s.Devices, s.Simulated.Round(time.Minute), round(s.Elapsed))
	fmt.Fprintf(&b, "%d requests (%.0f/s): %d checks, %d statistics, %d metrics, %d duplicates; p50 %s, p99 %s, latest device %s late\n",
		s.Requests, s.RequestsPerSecond(), s.Checks, s.StatsPosts, s.TelemetryPosts, s.Duplicates, round(s.P50), round(s.P99),
		s.MaxLag.Round(time.Second))
	fmt.Fprintf(&b, "%d events sent, %d acknowledged, %d lost, %d requeued\n", s.EventsSent, s.EventsAcked, s.EventsLost, s.EventsRequeued)
	for _, status := range slices.Sorted(maps.Keys(s.Errors)) {
		fmt.Fprintf(&b, "error %s: %d\n", status, s.Errors[status])
	}
	b.WriteByte('\n')
	s.writeVersions(&b)
	r.writeViolations(&b)
	return b.String()
}

func (s Stats) writeVersions(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "bundle\trunning\toffered to\tshare\tinstalls\tcrashes\tboot failures\tsilent\tmoved back\t")
	for _, name := range slices.Sorted(maps.Keys(s.Versions)) {
		v := s.Versions[name]
		fmt.Fprintf(t, "%s\t%d\t%d\t%.2f%%\t%d\t%d\t%d\t%d\t%d\t\n", name, v.Running, v.DevicesOffered, 100*v.ShareOffered,
			v.Installs, v.Crashes, v.BootFailures, v.Silent, v.MovedBack)
	}
	t.Flush() // a strings.Builder does not fail
}

func (r Report) writeViolations(b *strings.Builder) {
	if len(r.Violations) == 0 {
		b.WriteString("\nno violations\n")
		return
	}
	b.WriteString("\nviolations\n")
	for _, kind := range slices.Sorted(maps.Keys(r.ViolationCounts)) {
		fmt.Fprintf(b, "  %s: %d\n", kind, r.ViolationCounts[kind])
		for _, v := range r.Violations {
			if v.Kind == kind {
				fmt.Fprintf(b, "    for example %s: %s\n", v.Device, v.Detail)
				break
			}
		}
	}
}

// stats takes a snapshot.
func (f *fleet) stats() Stats {
	elapsed := time.Since(f.began)
	return Stats{
		Elapsed: elapsed, Simulated: time.Duration(f.simulated(elapsed)), Devices: f.cfg.Devices, Silent: f.silent.Load(),
		Requests: f.requests.Load(), Checks: f.checks.Load(), StatsPosts: f.statsPosts.Load(),
		TelemetryPosts: f.telemetryPosts.Load(), Duplicates: f.duplicates.Load(), Errors: f.errors.snapshot(),
		EventsSent: f.eventsSent.Load(), EventsAcked: f.eventsAcked.Load(), EventsLost: f.eventsLost.Load(),
		EventsRequeued: f.eventsRequeued.Load(),
		Versions:       f.shelf.snapshot(f.cfg.Devices), ViolationCounts: f.violations.counts.snapshot(),
		Lag: time.Duration(f.lag.Load()), MaxLag: time.Duration(f.maxLag.Load()),
		P50: f.latency.quantile(.5), P99: f.latency.quantile(.99),
	}
}

// histogram counts durations in 16 buckets per doubling of a microsecond, so that a quantile is right to about 6 %.
type histogram struct {
	buckets [64 * 16]atomic.Uint64
}

func (h *histogram) record(d time.Duration) { h.buckets[bucketOf(d)].Add(1) }

// bucketOf returns the bucket of d: exact below 16 µs, then by its leading bit and the four bits behind that.
func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < 16 {
		return int(us)
	}
	doubling := bits.Len64(us) - 5
	return (doubling+1)*16 + int(us>>doubling&15)
}

// floorOf returns the least duration of a bucket.
func floorOf(bucket int) time.Duration {
	if bucket < 16 {
		return time.Duration(bucket) * time.Microsecond
	}
	return time.Duration(16|bucket%16) << (bucket/16 - 1) * time.Microsecond
}

// quantile returns the duration that the share q of all recorded ones does not exceed, 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	var counts [len(h.buckets)]uint64
	total := uint64(0)
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		total += counts[i]
	}
	if total == 0 {
		return 0
	}
	rank := min(total-1, uint64(q*float64(total)))
	for i, n := range counts {
		if rank < n {
			return floorOf(i)
		}
		rank -= n
	}
	return 0
}
