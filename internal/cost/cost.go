// Package cost says what a month of Palier costs on AWS.
//
// The model multiplies three things that are kept apart, because they come from different people: what one call uses,
// which is measured (units.yaml, written by this package's test against the real engines); what a unit costs, which is
// Amazon's price list (prices.yaml); and how many calls there are, which the operator knows best (Usage). Bandwidth of
// bundles is left out: it depends on the bundles and is the same for every rival.
package cost

import (
	_ "embed"
	"errors"
	"fmt"
	"math"

	"github.com/goccy/go-yaml"

	"github.com/palier-ota/palier/internal/aggregate"
)

//go:embed prices.yaml
var defaultPrices []byte

//go:embed units.yaml
var defaultUnits []byte

const million = 1e6

// Each is the price of a million of something, in US dollars.
type Each struct {
	PerMillion float64 `yaml:"per_million"`
}

func (e Each) of(n float64) float64 { return n / million * e.PerMillion }

// Tier is the price of a million for the part of a month's count that lies below UpTo; the last tier has none.
type Tier struct {
	UpTo       float64 `yaml:"up_to"`
	PerMillion float64 `yaml:"per_million"`
}

// Prices is a price list in US dollars; see prices.yaml for the units.
type Prices struct {
	Region            string  `yaml:"region"`
	Date              string  `yaml:"date"`
	HTTPAPI           []Tier  `yaml:"http_api"`
	LambdaRequests    Each    `yaml:"lambda_requests"`
	LambdaGBSecond    float64 `yaml:"lambda_gb_second"`
	DynamoDBRead      Each    `yaml:"dynamodb_read"`
	DynamoDBWrite     Each    `yaml:"dynamodb_write"`
	KinesisStreamHour float64 `yaml:"kinesis_stream_hour"`
	KinesisInGB       float64 `yaml:"kinesis_in_gb"`
	KinesisOutGB      float64 `yaml:"kinesis_out_gb"`
	KinesisShardHour  float64 `yaml:"kinesis_shard_hour"`
	KinesisPut        Each    `yaml:"kinesis_put"`
	KinesisKeptShard  float64 `yaml:"kinesis_kept_shard_hour"`
	KinesisKeptGB     float64 `yaml:"kinesis_kept_gb"`
	LogsGB            float64 `yaml:"logs_gb"`
	Metric            float64 `yaml:"metric"`
	Alarm             float64 `yaml:"alarm"`
	Scheduler         Each    `yaml:"scheduler"`
	SchedulerFree     float64 `yaml:"scheduler_free"`
	Assumed           Assumed `yaml:"assumed"`
	Edge              Edge    `yaml:"edge"`
}

// Assumed is what cannot be measured outside of Amazon's network.
type Assumed struct {
	FunctionMS float64 `yaml:"function_ms"` // billed of an invocation that waits for nothing: Lambda rounds up to 1
	StoreMS    float64 `yaml:"store_ms"`    // one request to DynamoDB
	StreamMS   float64 `yaml:"stream_ms"`   // one request to Kinesis
	MemoryMB   float64 `yaml:"memory_mb"`   // of a function
	EdgeMS     float64 `yaml:"edge_ms"`     // of processor time, for a request to the edge platform
}

// ms returns the milliseconds that calls wait.
func (a Assumed) ms(c Call) float64 { return c.StoreCalls*a.StoreMS + c.StreamCalls*a.StreamMS }

// Call is what one call uses.
type Call struct {
	Reads       float64 `yaml:"reads"`        // DynamoDB read request units
	Writes      float64 `yaml:"writes"`       // DynamoDB write request units
	StoreCalls  float64 `yaml:"store_calls"`  // requests to DynamoDB, one after the other
	StreamCalls float64 `yaml:"stream_calls"` // requests to Kinesis
	Records     float64 `yaml:"records"`      // put on the stream
	RecordBytes float64 `yaml:"record_bytes"` // of one of them, before Kinesis rounds it up
}

// Units is what the calls of Palier use, as measured.
type Units struct {
	Check    Call `yaml:"check"`     // an update check that is answered "up to date" or "not for you"
	Offer    Call `yaml:"offer"`     // an update check that ends in an offer
	Note     Call `yaml:"note"`      // the check event of a device in a live rollout
	Stats    Call `yaml:"stats"`     // a batch of plugin reports
	Refresh  Call `yaml:"refresh"`   // a process looks for a newer Snapshot
	FoldSlot Call `yaml:"fold_slot"` // folding into one slot, whatever the number of events
	FoldOne  Call `yaml:"fold_one"`  // each event folded, merging of journals included
	Tick     Call `yaml:"tick"`      // judging one live rollout

	Poll          Call `yaml:"poll"`           // an edge asks for a newer snapshot, and there is none
	RelayedReport Call `yaml:"relayed_report"` // a plugin's report that an edge hands over, with others
	RelayedNote   Call `yaml:"relayed_note"`   // the check event of a device that an edge answered
}

// Usage is what an installation does in a month.
type Usage struct {
	Devices   float64 // active in the month
	Checks    float64 // update checks of a device
	Batches   float64 // reports of a device
	Offers    float64 // bundles that a device is offered
	LiveShare float64 // of the time there is a live rollout, 0…1
	Apps      float64
	Edges     Edges
	Window    float64 // seconds that events are gathered before they are folded
	Shards    float64 // of a provisioned stream; 0 is an on-demand one
	Retention float64 // hours that the stream keeps events; the first 24 cost nothing
	LogBytes  float64 // a request's line in the access log; 0 when there is none
}

// Typical is the usage that the numbers of this project are stated for, of so many monthly devices: 25 checks and 8
// reports a device, two bundles a month, a rollout live half of the time, and the template's access log.
func Typical(devices float64) Usage {
	return Usage{
		Devices: devices, Checks: 25, Batches: 8, Offers: 2, LiveShare: 0.5, Apps: 1, Window: 30, Retention: 48, LogBytes: 250,
		Edges: Edges{Processes: 100, Poll: 5, Gather: 0.2},
	}
}

// Check refuses a Usage that makes no sense.
func (u Usage) Check() error {
	for _, f := range []struct {
		name  string
		value float64
		most  float64
	}{
		{"devices", u.Devices, 1e11}, {"checks", u.Checks, 1e6}, {"reports", u.Batches, 1e6}, {"offers", u.Offers, u.Checks},
		{"live share", u.LiveShare, 1}, {"apps", u.Apps, 1e6}, {"log bytes", u.LogBytes, 1e5}, {"shards", u.Shards, 1e5},
		{"retention", u.Retention, 8760}, {"edge share", u.Edges.Share, 1}, {"edge machines", u.Edges.Machines, 1e5},
		{"edge processes", u.Edges.Processes, 1e6}, {"gathering", u.Edges.Gather, 5}, {"reports of a relay", u.Edges.Batch, relayReports},
	} {
		if !(f.value >= 0 && f.value <= f.most) {
			return fmt.Errorf("%s must be 0 to %g, got %g", f.name, f.most, f.value)
		}
	}
	if !(u.Window > 0 && u.Window <= 300) {
		return fmt.Errorf("the window must be above 0 and at most 300 seconds, got %g", u.Window)
	}
	if !(u.Edges.Poll >= 1 && u.Edges.Poll <= 3600) {
		return fmt.Errorf("edges must poll every 1 to 3600 seconds, got %g", u.Edges.Poll)
	}
	return nil
}

// Line is one part of the bill.
type Line struct {
	Part     string  `json:"part"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit"`
	Dollars  float64 `json:"dollars"` // a month
}

// Total adds up the lines' dollars.
func Total(lines []Line) float64 {
	sum := 0.0
	for _, l := range lines {
		sum += l.Dollars
	}
	return sum
}

const (
	monthSeconds = 30 * 24 * 3600.0
	monthHours   = 30 * 24.0
	gigabyte     = 1 << 30
	kilobyte     = 1 << 10
	slots        = aggregate.Slots
	shards       = 4    // of an on-demand stream; a batch comes of one, so it has a quarter of the slots
	batchRecords = 1000 // after which a batch does not wait for the window to end
	ttlSeconds   = 10.0 // of a Snapshot
	idleSeconds  = 300  // that a process stays warm, about
	tickSeconds  = 60.0
	keptFree     = 24.0 // hours

	// What is watched has a price whatever the traffic: the metrics that the functions print and the mapping of the stream
	// reports, about, and those that the alarms of infra/observability.yaml look at.
	metrics      = 25
	edgeMetrics  = 10 // more if there are edges
	alarmMetrics = 23
)

// traffic is how often each kind of call happens in a month.
type traffic struct {
	checks, offers, notes, batches  float64
	slots, folded, ticks, refreshes float64
	edges                           edgeTraffic
}

func (u Usage) traffic(p Prices, units Units) traffic {
	offers, others := u.Devices*u.Offers, u.Devices*(u.Checks-u.Offers)
	here := 1 - u.Edges.Share // the share of what comes without an edge
	t := traffic{
		checks:  here * others,
		offers:  offers, // also those of edges, which ask for the device's record
		notes:   (here*others + offers) * u.LiveShare,
		batches: here * u.Devices * u.Batches,
		ticks:   monthSeconds / tickSeconds,
		edges:   u.edgeTraffic(),
	}
	t.folded = t.notes*units.Note.Records + t.batches*units.Stats.Records +
		t.edges.notes*units.RelayedNote.Records + t.edges.reports*units.RelayedReport.Records
	batches := max(shards*monthSeconds/u.Window, t.folded/batchRecords)
	t.slots = min(t.folded, batches*slots/shards)
	perSecond := (t.checks + t.offers) / monthSeconds
	warm := math.Ceil(perSecond*p.Assumed.FunctionMS/1000) + min(1, perSecond*idleSeconds)
	t.refreshes = min(t.checks+t.offers, u.Apps*warm*monthSeconds/ttlSeconds)
	return t
}

// Month returns the parts of a month's bill.
func Month(p Prices, units Units, u Usage) []Line {
	t := u.traffic(p, units)
	requests := t.checks + t.offers + t.batches + t.edges.polls + t.edges.relays
	invocations := requests + t.slots/slots*shards + t.ticks
	sum := func(of func(Call) float64) float64 {
		return t.checks*of(units.Check) + t.offers*of(units.Offer) + t.batches*of(units.Stats) + t.refreshes*of(units.Refresh) +
			t.slots*of(units.FoldSlot) + t.folded*of(units.FoldOne) + t.ticks*u.LiveShare*of(units.Tick) +
			t.edges.polls*of(units.Poll) + t.edges.reports*of(units.RelayedReport) + t.edges.notes*of(units.RelayedNote)
	}
	milliseconds := invocations*p.Assumed.FunctionMS + t.notes*p.Assumed.ms(units.Note) + sum(p.Assumed.ms)
	gbSeconds := p.gbSeconds(milliseconds)
	reads := sum(func(c Call) float64 { return c.Reads })
	writes := sum(func(c Call) float64 { return c.Writes })
	watched := metrics + min(edgeMetrics, t.edges.requests)
	lines := []Line{
		{"API Gateway, HTTP API", requests, "requests", tiered(p.HTTPAPI, requests)},
		{"Lambda, requests", invocations, "invocations", p.LambdaRequests.of(invocations)},
		{"Lambda, duration", gbSeconds, "GB-seconds", gbSeconds * p.LambdaGBSecond},
		{"DynamoDB, reads", reads, "read units", p.DynamoDBRead.of(reads)},
		{"DynamoDB, writes", writes, "write units", p.DynamoDBWrite.of(writes)},
		{"EventBridge Scheduler", t.ticks, "calls", p.Scheduler.of(max(0, t.ticks-p.SchedulerFree))},
		{"CloudWatch, metrics", watched, "metrics", watched * p.Metric},
		{"CloudWatch, alarms", alarmMetrics, "metrics", alarmMetrics * p.Alarm},
		{"CloudWatch, access log", requests * u.LogBytes / gigabyte, "GB", requests * u.LogBytes / gigabyte * p.LogsGB},
	}
	lines = append(lines, streamLines(p, units, u, t)...)
	return append(lines, edgeLines(p, u, t.edges)...)
}

// gbSeconds returns what Lambda bills for functions that are at work so long.
func (p Prices) gbSeconds(milliseconds float64) float64 {
	return milliseconds / 1000 * p.Assumed.MemoryMB / 1024
}

// streamLines prices the telemetry stream.
func streamLines(p Prices, units Units, u Usage, t traffic) []Line {
	kept := max(0, u.Retention-keptFree)
	if u.Shards > 0 {
		hours := u.Shards * monthHours
		longer := hours * min(1, kept) // priced by the shard, however much longer
		return []Line{
			{"Kinesis, shards", hours, "hours", hours * p.KinesisShardHour},
			{"Kinesis, puts", t.folded, "records", p.KinesisPut.of(t.folded)},
			{"Kinesis, retention", longer, "hours", longer * p.KinesisKeptShard},
		}
	}
	bytes := func(of func(Call) float64) float64 {
		here := t.notes*of(units.Note) + t.batches*of(units.Stats)
		return (here + t.edges.notes*of(units.RelayedNote) + t.edges.reports*of(units.RelayedReport)) / gigabyte
	}
	in, out := bytes(rounded), bytes(func(c Call) float64 { return c.Records * c.RecordBytes })
	stored := in * kept / monthHours
	return []Line{
		{"Kinesis, stream", monthHours, "hours", monthHours * p.KinesisStreamHour},
		{"Kinesis, data in", in, "GB", in * p.KinesisInGB},
		{"Kinesis, data out", out, "GB", out * p.KinesisOutGB},
		{"Kinesis, retention", stored, "GB", stored * p.KinesisKeptGB},
	}
}

// rounded returns the bytes that Kinesis bills for a call's records.
func rounded(c Call) float64 {
	return c.Records * math.Ceil(c.RecordBytes/kilobyte) * kilobyte
}

// tiered prices n requests.
func tiered(tiers []Tier, n float64) float64 {
	dollars, from := 0.0, 0.0
	for _, t := range tiers {
		to := t.UpTo
		if to == 0 || to > n {
			to = n
		}
		dollars += max(0, to-from) / million * t.PerMillion
		from = to
	}
	return dollars
}

// ParsePrices reads a price list in YAML or JSON; no text is the one that comes with Palier.
func ParsePrices(text []byte) (Prices, error) {
	if len(text) == 0 {
		text = defaultPrices
	}
	var p Prices
	if err := yaml.UnmarshalWithOptions(text, &p, yaml.Strict()); err != nil {
		return Prices{}, fmt.Errorf("reading the price list: %w", err)
	}
	if len(p.HTTPAPI) == 0 || p.Assumed.MemoryMB <= 0 {
		return Prices{}, errors.New("reading the price list: http_api or assumed.memory_mb is missing; start from the list that palier cost --show-prices prints")
	}
	return p, nil
}

// ParseUnits reads measured units in YAML or JSON; no text is those that were measured for this version of Palier.
func ParseUnits(text []byte) (Units, error) {
	if len(text) == 0 {
		text = defaultUnits
	}
	var u Units
	if err := yaml.UnmarshalWithOptions(text, &u, yaml.Strict()); err != nil {
		return Units{}, fmt.Errorf("reading the units per call: %w", err)
	}
	if u.Stats.Records <= 0 {
		return Units{}, errors.New("reading the units per call: stats.records must be above 0")
	}
	return u, nil
}

// DefaultPrices returns the text of the price list that comes with Palier.
func DefaultPrices() string { return string(defaultPrices) }
