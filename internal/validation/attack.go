package validation

import (
	"math"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Attack is what it takes to have a harmless rollout stopped by devices that do not exist.
type Attack struct {
	Devices int // real ones
	How     string
	Runs    int
	// Median forged devices until the sample-ratio test holds the rollout, a gate pauses it and a gate takes the bundle back;
	// +Inf for what did not happen with so many as were tried.
	Held, Paused, RolledBack float64
}

// forgery is how scripted devices attack. All know the protocol; none knows the salt, so to learn the arm of an id it must
// ask for an update under it.
type forgery struct {
	name string
	// probing: every id asks, and those that turn out to be candidates report a crash. Otherwise only candidates ask, their
	// arms being known from requests that are not counted, such as an emulator's.
	probing bool
	crashes bool
	capped  bool // all come from one source, whose reports are capped
	silent  bool // devices ask once, in the first hour, and wait to be missed
}

func forgeries() []forgery {
	return []forgery{
		{name: "every id asks, candidates crash; many sources", probing: true, crashes: true},
		{name: "every id asks, candidates crash; one source", probing: true, crashes: true, capped: true},
		{name: "candidates only ask and crash; many sources", crashes: true},
		{name: "candidates only ask and crash; one source", crashes: true, capped: true},
		{name: "candidates only ask, once, and fall silent", silent: true},
		{name: floodName},
	}
}

const floodName = "candidates only ask, a flood without reports"

// What a source may have counted of one kind on one day: the larger of so many devices and a part of those that asked.
const (
	sourceDevices = 5
	sourcePart    = 4
)

// victims are the sizes of the apps that are attacked, in real devices.
var victims = [...]int{500, 5_000, 50_000}

func (s *study) attacks() ([]Attack, error) {
	var out []Attack
	for _, devices := range victims {
		for _, f := range forgeries() {
			results := make([]outcome, s.fraction(500))
			name := "attack on " + number(float64(devices)) + ": " + f.name
			err := s.each(name, 500, func(stage *stage, run int) (err error) {
				// The same rollouts are attacked in every way.
				again := func() source { return seeded(s.Seed, "attack on "+number(float64(devices)), run) }
				if f.silent {
					results[run], err = stage.silenced(victim(devices), f, again)
				} else {
					results[run], err = stage.attacked(victim(devices), f, again())
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			out = append(out, attackOf(devices, f, results))
		}
	}
	return out, nil
}

// victim is a harmless rollout of one phase of 5 %, a day old.
func victim(devices int) world {
	w := calm(24, 5*rollout.OnePercent)
	w.devices, w.sessions = devices, 2./24
	w.rates = [numHappenings]float64{crash: .0025, bootFailure: .002}
	return w
}

// outcome is how many forged devices one run took.
type outcome struct{ held, paused, rolledBack float64 }

func attackOf(devices int, f forgery, results []outcome) Attack {
	median := func(of func(outcome) float64) float64 {
		values := make([]float64, len(results))
		for i, r := range results {
			values[i] = of(r)
		}
		return quantile(values, .5)
	}
	return Attack{
		Devices: devices, How: f.name, Runs: len(results),
		Held:       median(func(o outcome) float64 { return o.held }),
		Paused:     median(func(o outcome) float64 { return o.paused }),
		RolledBack: median(func(o outcome) float64 { return o.rolledBack }),
	}
}

// attacked plays the rollout and then forges devices, one by one, until the bundle is taken back, the rollout is held
// because its arms do not fit, or there are no more.
func (s *stage) attacked(w world, f forgery, rng source) (outcome, error) {
	var last judge.Input
	err := s.play(&w, rng, func(_ int, in judge.Input) move { last = in; return stay })
	o := outcome{math.Inf(1), math.Inf(1), math.Inf(1)}
	a := attacker{stage: s, forgery: f, at: last.Now.Add(-time.Minute)}
	for err == nil && a.next() {
		if err = s.ledger.fold(0, nil); err != nil {
			break
		}
		in := last
		in.Strata = s.ledger.strata
		in.Newest, in.Complete = s.ledger.clocks()
		decision, code := judge.Quick(in)
		asked := float64(a.asked)
		if code == judge.CodeSampleRatio {
			o.held = min(o.held, asked)
			break // from here on nothing is decided but by a person
		}
		if code == judge.CodeHarm {
			o.paused = min(o.paused, asked)
		}
		if decision == judge.Rollback {
			o.rolledBack = asked
			break
		}
	}
	return o, err
}

// silenced finds the fewest forged devices that are missed, by playing the same rollout with more and with less of them.
func (s *stage) silenced(w world, f forgery, again func() source) (outcome, error) {
	w.hours = 36 // a silent device is missed a day later
	none, some := 0, 4
	o, err := s.missed(w, f, again(), some)
	for err == nil && !o.happened() && some < mostSilent {
		none, some = some, 2*some
		o, err = s.missed(w, f, again(), some)
	}
	for err == nil && some-none > 1+some/20 {
		var tried outcome
		if tried, err = s.missed(w, f, again(), (none+some)/2); tried.happened() {
			some, o = (none+some)/2, tried
		} else {
			none = (none + some) / 2
		}
	}
	return o, err
}

// mostSilent is how many silent devices are tried at most.
const mostSilent = 1024

func (o outcome) happened() bool { return !never(min(o.held, o.paused, o.rolledBack)) }

// missed plays a rollout in whose first hour forged candidates ask and are never heard of again.
func (s *stage) missed(w world, f forgery, rng source, forged int) (outcome, error) {
	o := outcome{math.Inf(1), math.Inf(1), math.Inf(1)}
	err := s.play(&w, rng, func(hour int, in judge.Input) move {
		if hour == 0 {
			a := attacker{stage: s, forgery: f, at: in.Now.Add(-time.Minute)}
			for a.asked < forged && a.next() {
			}
			return stay
		}
		decision, code := judge.Quick(in)
		switch {
		case code == judge.CodeSampleRatio:
			o.held = float64(forged)
			return leave
		case decision == judge.Rollback:
			o.rolledBack = float64(forged)
			return leave
		case code == judge.CodeHarm:
			o.paused = float64(forged)
		}
		return stay
	})
	return o, err
}

// attacker is a source of forged devices.
type attacker struct {
	stage   *stage
	forgery forgery
	at      time.Time
	asked   int // devices that asked
	counted int // of those, the ones whose crash was let through
}

// next forges devices until one of them is a candidate, and reports whether there was one.
func (a *attacker) next() bool {
	c := &a.stage.crowd
	for c.used < len(c.names) {
		name := c.names[c.used]
		c.used++
		position := rollout.Percent(resolve.Position(c.salt, name.id))
		treated := position < c.percent
		if !treated && !a.forgery.probing {
			continue
		}
		a.asked++
		a.say(name.fingerprint, treated, telemetry.Event{Kind: telemetry.KindCheck, Version: versionOf(treated)})
		if !treated {
			continue
		}
		if a.forgery.crashes {
			a.crash(name.fingerprint)
		}
		return true
	}
	return false
}

// crash reports a crash, which is counted unless its source has had too many.
func (a *attacker) crash(fingerprint uint64) {
	capped := a.forgery.capped && a.counted >= max(sourceDevices, a.asked/sourcePart)
	if !capped {
		a.counted++
	}
	a.say(fingerprint, true, telemetry.Event{
		Kind: telemetry.KindAction, Action: happenings()[crash].action, Version: candidate, Capped: capped,
	})
}

// say hands an event to the fold as the server would.
func (a *attacker) say(fingerprint uint64, treated bool, e telemetry.Event) {
	arm := rollout.ArmControl
	if treated {
		arm = rollout.ArmCandidate
	}
	e.App, e.Device, e.Time = app, fingerprint, a.at.UnixMilli()
	e.Exposures = []telemetry.Exposure{{Rollout: rolloutID, Arm: arm, Candidate: e.Version == candidate}}
	a.stage.ledger.hear(e)
}
