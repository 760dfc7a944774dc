package cost

import (
	"math"
	"testing"
)

// atEdges is a usage whose edges are two machines that poll every ten seconds, and hand over five reports at once.
func atEdges() Usage {
	return Usage{
		Devices: 1e6, Checks: 10, Batches: 4, Offers: 2, LiveShare: 0.5, Apps: 3, Window: 60,
		Edges: Edges{Share: 1, Machines: 2, Poll: 10, Batch: 5},
	}
}

// TestEdgesAddUp holds a bill with edges against one worked out by hand.
func TestEdgesAddUp(t *testing.T) {
	p, _ := defaults(t)
	units := Units{
		Offer: Call{Reads: 1}, Poll: Call{Reads: 0.5}, Note: Call{Records: 1, RecordBytes: 100},
		RelayedReport: Call{Records: 1, RecordBytes: 1500}, RelayedNote: Call{Records: 1, RecordBytes: 100},
	}
	u := atEdges()
	const polls = 2 * 3 * 259_200
	const offers, relays, relayedNotes, notes = 2e6, 4e6 / 5, 8e6 / 2, 2e6 / 2
	for name, want := range map[string]float64{
		"API Gateway, HTTP API": offers + relays + polls,
		"DynamoDB, reads":       offers + polls/2,
		"Kinesis, data in":      (4e6*2048 + (relayedNotes+notes)*1024) / (1 << 30),
		"Kinesis, data out":     (4e6*1500 + (relayedNotes+notes)*100) / (1 << 30),
		"Edge, machines":        2 * 720,
	} {
		if got := line(t, Month(p, units, u), name).Quantity; math.Abs(got-want) > 1e-6*want {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	u.Edges.Machines, u.Edges.Processes = 0, 2
	lines := Month(p, units, u)
	for name, want := range map[string]float64{
		"Edge, plan": 5, "Edge, requests": (14 - 10) * 0.30, "Edge, processor time": 0,
	} {
		if got := line(t, lines, name).Dollars; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: $%g, want $%g", name, got, want)
		}
	}
	u.Edges.Share = 0.5
	const half = offers + 8e6/2 + 4e6/2 + 2e6/5 + polls
	if got := line(t, Month(p, units, u), "API Gateway, HTTP API").Quantity; math.Abs(got-half) > 1 {
		t.Errorf("half of the requests go to edges: %g come to the origin, want %g", got, half)
	}
}

// TestBatches: a batch is what comes to one process while it gathers, and the one that began it.
func TestBatches(t *testing.T) {
	u := atEdges()
	u.Edges.Batch = 0
	reports := 10 * monthSeconds // ten a second, five to each machine
	for _, c := range []struct{ gather, batch, want float64 }{
		{0, 0, 1}, {0.2, 0, 2}, {2, 0, 11}, {1000, 0, 100}, {2, 7, 7}, {2, 0.5, 1},
	} {
		u.Edges.Gather, u.Edges.Batch = c.gather, c.batch
		if got := u.batch(reports); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("gathering %g s, batch %g: %g reports leave at once, want %g", c.gather, c.batch, got, c.want)
		}
	}
}

// TestIdleEdgesDoNotPoll: where nothing runs between requests, nothing polls between them either.
func TestIdleEdgesDoNotPoll(t *testing.T) {
	u := atEdges()
	u.Devices, u.Edges.Machines, u.Edges.Processes = 1000, 0, 1e5
	if got, want := u.edgeTraffic().polls, 3*14e3; got != want {
		t.Errorf("%g polls, want %g", got, want)
	}
}

// TestWhatEdgesAsk: a poll costs its request and half a read unit; a relay what is in it as well.
func TestWhatEdgesAsk(t *testing.T) {
	p, units := defaults(t)
	if got := OfEdges(p, units, Typical(1e6)); got != nil {
		t.Errorf("without edges: %v", got)
	}
	asked := map[string]Caused{}
	for _, c := range OfEdges(p, units, atEdges()) {
		asked[c.Kind] = c
	}
	poll := 1 + 0.2 + 0.5*0.125 + (1+5)*1e3/4*p.LambdaGBSecond
	if got := asked["polls"].PerMillion; math.Abs(got-poll) > 1e-9 {
		t.Errorf("a million polls cost $%g, want $%g", got, poll)
	}
	if report := p.million(units.Stats); asked["relays"].PerMillion >= 5*report || asked["relays"].PerMillion <= report {
		t.Errorf("a million relays of five reports cost $%g, and of one report $%g", asked["relays"].PerMillion, report)
	}
	sum := 0.0
	for _, c := range asked {
		sum += c.Dollars()
	}
	if all := Total(Month(p, units, atEdges())); sum <= 0 || sum >= all {
		t.Errorf("edges ask for $%g of $%g", sum, all)
	}
}

// TestAimAtHundredMillion holds what is said of a hundred million devices: with machines of one's own the aim of $1 000 is
// met, on the platform the price of the requests alone is about that.
func TestAimAtHundredMillion(t *testing.T) {
	p, units := defaults(t)
	u := Typical(1e8)
	u.LogBytes, u.Edges.Share = 0, 1
	lines := Month(p, units, u)
	if requests := line(t, lines, "Edge, requests").Dollars; Total(lines) <= 1000 || requests < 950 {
		t.Errorf("on the platform: $%.0f, of it $%.0f for requests", Total(lines), requests)
	}
	u.Edges.Machines = 6
	if all := Total(Month(p, units, u)); all > 1000 {
		t.Errorf("on six machines: $%.0f", all)
	}
}
