package cost

import (
	"math"
	"os"
	"strings"
	"testing"
)

func defaults(t *testing.T) (Prices, Units) {
	t.Helper()
	p, err := ParsePrices(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseUnits(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, u
}

func line(t *testing.T, lines []Line, part string) Line {
	t.Helper()
	for _, l := range lines {
		if l.Part == part {
			return l
		}
	}
	t.Fatalf("no line %q in %v", part, lines)
	return Line{}
}

// TestMonthAddsUp holds the bill against one worked out by hand.
func TestMonthAddsUp(t *testing.T) {
	p, _ := defaults(t)
	units := Units{
		Offer: Call{Reads: 1, StoreCalls: 1}, Stats: Call{Records: 1, RecordBytes: 1500, StreamCalls: 1},
		FoldSlot: Call{Writes: 10}, FoldOne: Call{Writes: 0.5},
	}
	lines := Month(p, units, Usage{Devices: 1e6, Checks: 10, Batches: 4, Offers: 2, Apps: 1, Window: 60})
	for _, want := range []struct {
		part              string
		quantity, dollars float64
	}{
		{"API Gateway, HTTP API", 14e6, 14},
		{"DynamoDB, reads", 2e6, 0.25},
		// 16 slots in each of 43 200 minutes at 10 units, and 4 million events at a half
		{"DynamoDB, writes", 16*43200*10 + 2e6, (16*43200*10 + 2e6) / 1e6 * 0.625},
		{"Kinesis, data in", 4e6 * 2048 / (1 << 30), 4e6 * 2048 / (1 << 30) * 0.08},
		{"Kinesis, data out", 4e6 * 1500 / float64(1<<30), 4e6 * 1500 / float64(1<<30) * 0.04},
		{"Kinesis, stream", 720, 28.8},
		{"Lambda, requests", 14e6 + 4*43200 + 43200, (14e6 + 4*43200 + 43200) / 1e6 * 0.2},
		{"Lambda, duration", ((14e6+5*43200)*1 + 2e6*5 + 4e6*12) / 1000 / 4, ((14e6+5*43200)*1 + 2e6*5 + 4e6*12) / 4000 * 0.0000133334},
		{"EventBridge Scheduler", 43200, 0},
	} {
		got := line(t, lines, want.part)
		if math.Abs(got.Quantity-want.quantity) > 1e-6*want.quantity || math.Abs(got.Dollars-want.dollars) > 1e-6 {
			t.Errorf("%s: %g for $%g, want %g for $%g", want.part, got.Quantity, got.Dollars, want.quantity, want.dollars)
		}
	}
}

// TestFullBatchesDoNotWait: what fills a batch before the window ends is folded in more batches, and so in more slots.
func TestFullBatchesDoNotWait(t *testing.T) {
	p, _ := defaults(t)
	units := Units{Stats: Call{Records: 1, RecordBytes: 500}, FoldSlot: Call{Writes: 10}}
	lines := Month(p, units, Usage{Devices: 5e8, Batches: 4, Apps: 1, Window: 30})
	const batches = 2e9 / 1000 // and only 4 in each of 86 400 windows
	if got := line(t, lines, "DynamoDB, writes").Quantity; math.Abs(got-batches*4*10) > 1 {
		t.Errorf("%g units, want %g", got, batches*4*10)
	}
	if got := line(t, lines, "Lambda, requests").Quantity; math.Abs(got-(2e9+batches+43200)) > 1 {
		t.Errorf("%g invocations, want %g", got, 2e9+batches+43200)
	}
}

// TestRetentionCosts: a day is free, more is priced by the shard or by what is kept.
func TestRetentionCosts(t *testing.T) {
	p, u := defaults(t)
	usage := Typical(1e6)
	in := line(t, Month(p, u, usage), "Kinesis, data in").Quantity
	if got := line(t, Month(p, u, usage), "Kinesis, retention").Dollars; math.Abs(got-in/30*0.1) > 1e-9 {
		t.Errorf("on demand: $%g", got)
	}
	usage.Shards = 2
	if got := line(t, Month(p, u, usage), "Kinesis, retention").Dollars; math.Abs(got-2*720*0.02) > 1e-9 {
		t.Errorf("two shards: $%g", got)
	}
	usage.Retention = 24
	if got := line(t, Month(p, u, usage), "Kinesis, retention").Dollars; got != 0 {
		t.Errorf("a day: $%g", got)
	}
}

func TestAlarmsAreCounted(t *testing.T) {
	text, err := os.ReadFile("../../infra/observability.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "MetricName:"); n != alarmMetrics {
		t.Errorf("the alarms look at %d metrics", n)
	}
}

func TestTiers(t *testing.T) {
	tiers := []Tier{{UpTo: 300e6, PerMillion: 1}, {PerMillion: 0.9}}
	for n, want := range map[float64]float64{0: 0, 1e6: 1, 300e6: 300, 400e6: 390} {
		if got := tiered(tiers, n); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g requests cost %g, want %g", n, got, want)
		}
	}
}

// TestMoreIsNeverCheaper walks through usages: of everything but the edge's share, more costs at least as much.
func TestMoreIsNeverCheaper(t *testing.T) {
	p, u := defaults(t)
	for name, more := range map[string]func(*Usage){
		"devices": func(u *Usage) { u.Devices *= 2 }, "checks": func(u *Usage) { u.Checks *= 2 }, "reports": func(u *Usage) { u.Batches *= 2 },
		"offers": func(u *Usage) { u.Offers *= 2 }, "live": func(u *Usage) { u.LiveShare *= 2 }, "log": func(u *Usage) { u.LogBytes += 300 },
		"window": func(u *Usage) { u.Window /= 2 },
	} {
		for _, devices := range []float64{100, 1e4, 1e6, 1e8} {
			usage := Typical(devices)
			before := Total(Month(p, u, usage))
			more(&usage)
			if after := Total(Month(p, u, usage)); after < before {
				t.Errorf("more %s with %g devices: $%.2f after $%.2f", name, devices, after, before)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, text := range []string{"http_apis: []", "region: x", "{", "lambda_gb_second: many"} {
		if _, err := ParsePrices([]byte(text)); err == nil {
			t.Errorf("the price list %q was taken", text)
		}
	}
	for _, text := range []string{"check: 1", "{}", "checks: {}"} {
		if _, err := ParseUnits([]byte(text)); err == nil {
			t.Errorf("the units %q were taken", text)
		}
	}
	for _, change := range []func(*Usage){
		func(u *Usage) { u.Devices = -1 }, func(u *Usage) { u.Devices = math.NaN() }, func(u *Usage) { u.LiveShare = 1.5 },
		func(u *Usage) { u.Window = 0 }, func(u *Usage) { u.Offers = 100 },
		func(u *Usage) { u.Edges.Share = 1.1 }, func(u *Usage) { u.Edges.Poll = 0 }, func(u *Usage) { u.Edges.Batch = 101 },
		func(u *Usage) { u.Edges.Gather = -1 },
	} {
		u := Typical(1000)
		change(&u)
		if u.Check() == nil {
			t.Errorf("%+v was taken", u)
		}
	}
}
