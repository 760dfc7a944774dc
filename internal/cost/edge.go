package cost

// Edge is the price list of where edges run.
type Edge struct {
	// A platform that runs edges, such as Cloudflare Workers.
	Month            float64 `yaml:"month"`             // the plan
	Requests         Each    `yaml:"requests"`          // from devices; what the edge asks the origin costs nothing there
	RequestsIncluded float64 `yaml:"requests_included"` // in the plan
	CPU              Each    `yaml:"cpu_ms"`            // milliseconds of processor time
	CPUIncluded      float64 `yaml:"cpu_ms_included"`

	MachineHour float64 `yaml:"machine_hour"` // a machine of one's own that runs `palier edge`
}

// Edges is what edges do of the work, and how they are run.
type Edges struct {
	Share     float64 // of the devices' requests that go to an edge, 0…1
	Machines  float64 // of one's own that run the edges, one process each; 0: the platform of the price list does
	Processes float64 // of the platform, isolates that are at work at any time: each polls, and gathers, by itself
	Poll      float64 // seconds between two looks for a newer snapshot
	Gather    float64 // seconds for which reports are gathered into one relay
	Batch     float64 // reports of one relay; 0: as many as come to one process while it gathers
}

// The limits of one relay, as package relay has them.
const (
	relayReports = 100
	relayNotes   = 1000
)

// processes returns how many edges are at work.
func (e Edges) processes() float64 {
	if e.Machines > 0 {
		return e.Machines
	}
	return e.Processes
}

// edgeTraffic is how often edges do what costs something.
type edgeTraffic struct {
	requests float64 // of devices to edges
	answered float64 // checks that the edge answers by itself
	reports  float64 // handed over in relays
	notes    float64 // as well
	relays   float64
	polls    float64
}

func (u Usage) edgeTraffic() edgeTraffic {
	e := u.Edges
	t := edgeTraffic{
		requests: e.Share * u.Devices * (u.Checks + u.Batches),
		answered: e.Share * u.Devices * (u.Checks - u.Offers),
		reports:  e.Share * u.Devices * u.Batches,
	}
	if t.requests == 0 {
		return t
	}
	t.notes = t.answered * u.LiveShare
	t.relays = max(t.reports/u.batch(t.reports), t.notes/relayNotes)
	// A platform has no timer: a request makes the edge look.
	t.polls = u.Apps * min(t.requests, e.processes()*monthSeconds/e.Poll)
	return t
}

// batch returns how many reports leave in one relay. The first one of a batch starts its time, and is there whatever the
// traffic.
func (u Usage) batch(reports float64) float64 {
	if u.Edges.Batch > 0 {
		return max(1, u.Edges.Batch)
	}
	perSecond := reports / monthSeconds / max(1, u.Edges.processes())
	return min(relayReports, 1+perSecond*u.Edges.Gather)
}

// edgeLines prices what runs the edges. What they ask of the origin is part of its lines.
func edgeLines(p Prices, u Usage, t edgeTraffic) []Line {
	switch {
	case t.requests == 0:
		return nil
	case u.Edges.Machines > 0:
		hours := u.Edges.Machines * monthHours
		return []Line{{"Edge, machines", hours, "hours", hours * p.Edge.MachineHour}}
	}
	milliseconds := t.requests * p.Assumed.EdgeMS
	return []Line{
		{"Edge, plan", 1, "month", p.Edge.Month},
		{"Edge, requests", t.requests, "requests", p.Edge.Requests.of(max(0, t.requests-p.Edge.RequestsIncluded))},
		{"Edge, processor time", milliseconds, "ms", p.Edge.CPU.of(max(0, milliseconds-p.Edge.CPUIncluded))},
	}
}

// Caused is what edges cause at the origin by one kind of request, which the lines of Month contain.
type Caused struct {
	Kind     string  `json:"kind"`
	Requests float64 `json:"requests"` // a month
	// PerMillion is what a million of them cost in US dollars: API Gateway in its first tier, Lambda, and DynamoDB's reads and
	// writes. What becomes of telemetry afterwards costs the same without edges, and is not in it.
	PerMillion float64 `json:"per_million"`
}

// Dollars returns what they cost in a month.
func (c Caused) Dollars() float64 { return c.Requests / million * c.PerMillion }

// OfEdges returns what edges ask of the origin: polls, relays with all that is in them, and the checks that they cannot
// answer by themselves because somebody is to be offered something. It is empty without edges.
func OfEdges(p Prices, units Units, u Usage) []Caused {
	t := u.edgeTraffic()
	if t.requests == 0 {
		return nil
	}
	relay := Call{}.and(t.reports/t.relays, units.RelayedReport).and(t.notes/t.relays, units.RelayedNote)
	return []Caused{
		{"polls", t.polls, p.million(units.Poll)},
		{"relays", t.relays, p.million(relay)},
		{"forwarded checks", u.Edges.Share * u.Devices * u.Offers, p.million(units.Offer)},
	}
}

// million returns what a million requests cost that use c each.
func (p Prices) million(c Call) float64 {
	one := p.gbSeconds(p.Assumed.FunctionMS+p.Assumed.ms(c)) * p.LambdaGBSecond
	return p.HTTPAPI[0].PerMillion + p.LambdaRequests.PerMillion + one*million +
		c.Reads*p.DynamoDBRead.PerMillion + c.Writes*p.DynamoDBWrite.PerMillion
}

// and returns what a request uses that does c, and n times more.
func (c Call) and(n float64, more Call) Call {
	return Call{
		Reads: c.Reads + n*more.Reads, Writes: c.Writes + n*more.Writes,
		StoreCalls: c.StoreCalls + n*more.StoreCalls, StreamCalls: c.StreamCalls + n*more.StreamCalls,
	}
}
