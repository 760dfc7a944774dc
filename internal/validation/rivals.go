package validation

import (
	"github.com/palier-ota/palier/internal/judge"
)

// Rivals is what each rule did with the same rollouts.
type Rivals struct {
	Scenario string
	Harmless bool
	Runs     int
	Rules    []Ruled
}

// Ruled is what one rule did.
type Ruled struct {
	Rule    string
	Stopped int     // runs that it stopped
	Devices float64 // median of the devices that had been candidates when it did; NaN if it never did
	Harmed  float64 // devices that crashed as candidates until it stopped the run or the run ended, on average
}

// scenario is a world in which rules are compared, and what an operator would have told them.
type scenario struct {
	world
	limit, fails float64
}

// market is an app of 20 000 devices, each of which starts the app about once a day; a share of them crashes within four
// days, and the same share of installations fails.
func market(name string, base, ratio float64) scenario {
	w := walking(96)
	w.name, w.devices, w.sessions, w.ratio = name, 20_000, 1./24, ratio
	w.rates = [numHappenings]float64{crash: base / 4, bootFailure: base * ratio}
	w.install = .8
	return scenario{w, 2, 2 * base}
}

// scenarios are what the rules are compared in. Where the bundle is harmful it crashes and fails to start that many times as
// often; operators stop at twice what is normal, but for the last one, who took three times to be spared false alarms.
func scenarios() []scenario {
	with := func(s scenario, change func(*scenario)) scenario {
		change(&s)
		return s
	}
	const base = .005
	return []scenario{
		market("healthy, stationary", base, 1),
		with(market("healthy, diurnal ±70 %", base, 1), func(s *scenario) { s.activity, s.weather = daily, daily }),
		with(market("healthy, incident ×5 for 3 h", base, 1), func(s *scenario) { s.weather = s.incident }),
		with(market("healthy, base rate ×3 at phase 3", base, 1), func(s *scenario) { s.weather = s.step }),
		market("crashes ×2, base 0.5 %", base, 2),
		market("crashes ×5, base 0.5 %", base, 5),
		market("crashes ×10, base 0.5 %", base, 10),
		with(market("crashes 1 % → 2 %, threshold 3 %", .01, 2), func(s *scenario) { s.limit, s.fails = 3, .03 }),
	}
}

// end is when one rule stopped one run.
type end struct {
	stopped bool
	devices int
	harmed  int
}

func (s *study) rivals() ([]Rivals, error) {
	var out []Rivals
	for _, sc := range scenarios() {
		ends := make([][]end, s.fraction(40))
		err := s.each("side by side: "+sc.name, 40, func(stage *stage, run int) (err error) {
			ends[run], err = stage.ruled(sc, seeded(s.Seed, sc.name, run))
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, rivalsOf(sc, ends))
	}
	return out, nil
}

// ruled plays one rollout in front of all rules.
func (s *stage) ruled(sc scenario, rng source) ([]end, error) {
	all := rules()
	ends := make([]end, len(all))
	w := sc.world
	err := s.play(&w, rng, func(hour int, in judge.Input) move {
		now := seen{
			in: in, hours: s.crowd.tallies[:hour+1], last: hour == w.hours-1,
			normal: w.rates[crash], limit: sc.limit, fails: sc.fails,
		}
		for i, rule := range all {
			if ends[i].stopped {
				continue
			}
			ends[i] = end{rule.stops(now), s.crowd.treated, s.crowd.harmed}
		}
		return stay
	})
	return ends, err
}

func rivalsOf(sc scenario, ends [][]end) Rivals {
	out := Rivals{Scenario: sc.name, Harmless: sc.ratio == 1, Runs: len(ends)}
	for i, rule := range rules() {
		r := Ruled{Rule: rule.name}
		var devices []float64
		for _, run := range ends {
			r.Harmed += float64(run[i].harmed) / float64(len(ends))
			if run[i].stopped {
				r.Stopped++
				devices = append(devices, float64(run[i].devices))
			}
		}
		r.Devices = quantile(devices, .5)
		out.Rules = append(out.Rules, r)
	}
	return out
}
