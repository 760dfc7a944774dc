package validation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	app       = "com.example.validation"
	rolloutID = "validation"
	candidate = "2.0.0"
	baseline  = "1.0.0"

	// epochHour is when every rollout starts: a Monday at midnight, in hours since the Unix epoch.
	epochHour  = 480_096
	hourMillis = int64(time.Hour / time.Millisecond)
)

// identity is what a device is called.
type identity struct {
	id          string // as the plugin makes it
	fingerprint uint64
}

// identities returns the first n devices. They are the same in all runs; where they lie in a rollout hangs on its salt.
func identities(n int) []identity {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]identity, n)
	for i := range out {
		a, b := rng.Uint64(), rng.Uint64()
		id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(a>>32), uint16(a), a>>16&0xfff, b>>52, b&0xffffffffffff)
		out[i] = identity{id, telemetry.Fingerprint(id)}
	}
	return out
}

// device is a device of a crowd.
type device struct {
	fingerprint uint64
	position    rollout.Percent // devices below the phase's percentage are candidates
	joins       int             // the hour from which it exists
	exposed     bool            // it has been a candidate
	running     bool            // it runs the bundle
	hurt        bool            // it crashed as a candidate
}

// report is an event on its way to the server.
type report struct {
	fingerprint uint64
	position    rollout.Percent
	millis      float64
	minute      int64 // of the hour in which it arrives
	happening   int
	about       bool // it names the candidate
}

// tally is what happened in one hour, as a dashboard would show it. Index 0 is the candidates' arm, 1 the controls'.
type tally struct {
	active, crashed   [2]int
	installed, failed int // installations of the bundle
}

// crowd is the devices of one run.
type crowd struct {
	world   *world
	things  [numHappenings]happening
	names   []identity
	rng     *rand.Rand
	salt    rollout.Salt
	devices []device
	arrive  [][]report // by hour
	used    int        // names that devices have had

	hour    int
	phase   int
	percent rollout.Percent // of the phase
	tallies []tally         // by hour
	treated int             // devices that have been candidates
	harmed  int             // of those, the ones that crashed as candidates

	hear func(telemetry.Event)
}

// begin makes c the crowd of a new run in w, using its buffers again. There must be names enough for all devices that w
// may bring in; hear is called with every event, in the order in which the server receives them.
func (c *crowd) begin(w *world, names []identity, rng *rand.Rand, hear func(telemetry.Event)) {
	*c = crowd{
		world: w, things: happenings(), names: names, rng: rng, hear: hear,
		devices: c.devices[:0], arrive: c.arrive, tallies: c.tallies[:0],
	}
	for i := range c.salt {
		c.salt[i] = byte(rng.Uint32())
	}
	for range w.devices {
		joins := 0
		if w.joining > 0 && rng.Float64() < w.joining {
			joins = rng.IntN(w.hours)
		}
		c.devices = append(c.devices, c.fresh(joins))
	}
	for len(c.arrive) < w.hours {
		c.arrive = append(c.arrive, nil)
	}
	for i := range c.arrive {
		c.arrive[i] = c.arrive[i][:0]
	}
	c.tallies = append(c.tallies, make([]tally, w.hours)...)
}

// fresh is a device that nobody has seen.
func (c *crowd) fresh(joins int) device {
	name := c.names[c.used%len(c.names)]
	c.used++
	return device{fingerprint: name.fingerprint, position: rollout.Percent(resolve.Position(c.salt, name.id)), joins: joins}
}

// live plays one of the parts of an hour, in a phase of the plan: devices start their apps, and reports of earlier hours
// arrive.
func (c *crowd) live(hour, part, parts, phase int) {
	c.hour, c.phase, c.percent = hour, phase, rollout.EffectivePercent(c.world.plan, phase)
	if part == 0 {
		c.replace()
		for _, r := range c.arrive[hour] {
			c.deliver(r)
		}
	}
	pace := float64(len(c.devices)) * c.world.sessions * c.world.activity(hour)
	end := float64(part+1) / float64(parts)
	for at := float64(part)/float64(parts) + c.rng.ExpFloat64()/pace; at < end; at += c.rng.ExpFloat64() / pace {
		// A device is drawn with a density that favours the first ones: some are used all day and others once a week.
		u := c.rng.Float64()
		if d := &c.devices[int(u*u*float64(len(c.devices)))]; d.joins <= hour {
			c.session(d, int64(at*60))
		}
	}
}

// replace lets devices leave for good and others come.
func (c *crowd) replace() {
	if c.world.churn == 0 {
		return
	}
	for i := range c.devices {
		if c.rng.Float64() < c.world.churn {
			c.devices[i] = c.fresh(c.hour)
		}
	}
}

// session is one start of the app: a check for updates, whatever happens then, and perhaps an installation when the user
// leaves.
func (c *crowd) session(d *device, minute int64) {
	arm, treated := 1, d.position < c.percent
	if treated {
		arm = 0
	}
	if treated && !d.exposed {
		d.exposed = true
		c.treated++
	}
	c.tallies[c.hour].active[arm]++
	c.say(d.fingerprint, d.position, telemetry.Event{Kind: telemetry.KindCheck, Version: versionOf(d.running)}, minute)
	weather := c.world.weather(c.hour)
	for i := range c.things {
		if !c.things[i].installer && c.rng.Float64() < c.rate(i, treated, weather) {
			c.happens(d, i, minute, weather)
		}
	}
	if treated && !d.running && c.rng.Float64() < c.world.install {
		c.installation(d, minute+5)
	}
}

// rate is the chance that something happens in a session.
func (c *crowd) rate(i int, treated bool, weather float64) float64 {
	rate := c.world.rates[i]
	if c.things[i].weathered && c.things[i].median == 0 {
		rate *= weather
	}
	if i == crash && treated {
		rate *= c.world.ratio
	}
	return rate
}

// installation lets the device run the candidate, unless something fails.
func (c *crowd) installation(d *device, minute int64) {
	for i := range c.things {
		if c.things[i].installer && c.rng.Float64() < c.world.rates[i] {
			c.tallies[c.hour].failed++
			c.send(report{fingerprint: d.fingerprint, position: d.position, happening: i, about: true}, minute)
			return
		}
	}
	c.tallies[c.hour].installed++
	d.running = true
	if c.rng.Float64() < c.world.kill {
		d.joins = c.world.hours
	}
}

// happens reports that something happened on the device, as often as the world's loops have it.
func (c *crowd) happens(d *device, i int, minute int64, weather float64) {
	h := &c.things[i]
	if i == crash {
		c.crashes(d)
	}
	r := report{fingerprint: d.fingerprint, position: d.position, happening: i, about: d.running}
	if h.median > 0 {
		r.millis = h.median * math.Exp(h.spread*c.rng.NormFloat64())
		if h.weathered {
			r.millis *= weather
		}
	}
	c.send(r, minute)
	if i != crash || c.world.loop <= 1 {
		return
	}
	for c.rng.Float64() > 1/c.world.loop {
		minute += 1 + c.rng.Int64N(10)
		c.send(r, minute)
	}
}

// crashes notes a crash for those who look at dashboards.
func (c *crowd) crashes(d *device) {
	if d.position >= c.percent {
		c.tallies[c.hour].crashed[1]++
		return
	}
	c.tallies[c.hour].crashed[0]++
	if !d.hurt {
		d.hurt = true
		c.harmed++
	}
}

// send puts a report on its way. Minutes count from the start of the hour and may lie beyond it.
func (c *crowd) send(r report, minute int64) {
	w := c.world
	if w.late > 0 && c.rng.Float64() < w.late {
		minute += int64(c.rng.ExpFloat64() * 6 * 60)
	}
	c.arrives(r, minute)
	for w.repeated > 0 && c.rng.Float64() < w.repeated {
		minute += int64(c.rng.ExpFloat64() * 90)
		c.arrives(r, minute)
	}
}

// arrives delivers a report at once, or keeps it until its hour has come.
func (c *crowd) arrives(r report, minute int64) {
	hour := c.hour + int(minute/60)
	r.minute = minute % 60
	switch {
	case hour == c.hour:
		c.deliver(r)
	case hour < c.world.hours:
		c.arrive[hour] = append(c.arrive[hour], r)
	}
}

// deliver hands a report to the server.
func (c *crowd) deliver(r report) {
	h := &c.things[r.happening]
	e := telemetry.Event{Kind: h.kind, Action: h.action, Version: versionOf(r.about), Value: r.millis}
	if r.happening == feedback {
		e.Value = 1
	}
	c.say(r.fingerprint, r.position, e, r.minute)
}

// say completes an event as the server does when it receives it.
func (c *crowd) say(fingerprint uint64, position rollout.Percent, e telemetry.Event, minute int64) {
	e.App, e.Device, e.Time = app, fingerprint, (epochHour+int64(c.hour))*hourMillis+minute*60_000
	exposure := [1]telemetry.Exposure{{
		Rollout: rolloutID, Phase: c.phase, Arm: rollout.ArmControl, Candidate: e.Version == candidate,
	}}
	if position < c.percent {
		exposure[0].Arm = rollout.ArmCandidate
	}
	e.Exposures = exposure[:]
	c.hear(e)
}

func versionOf(running bool) string {
	if running {
		return candidate
	}
	return baseline
}
