package forecast

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Margins that are left to the judge are chosen when a rollout starts, because a margin is a promise: what a certificate
// will have excluded. The tightest promise is worth nothing to an app that could never keep it, and a wide one wastes a
// large audience.
//
// A small number of plays of a harmless bundle is enough to choose by, since a margin is one of six: for each phase the
// devices are played, without asking the judge on the way, up to the end of the phase's longest hold, the phases before
// it having taken their least time. Then the judge is asked three times which margins the data certifies, halving the six
// for all metrics at once. That is some 60 judgements for a phase, and no search over verdicts in time, so that an answer
// of the API can wait for it.
const (
	marginPlays = 20
	marginSeed  = 0x6d617267696e // plays for margins are always the same: starting a rollout twice chooses the same
	enough      = .8             // of the plays must certify
	mostPlayed  = 8              // phases; what it takes grows with their square
)

// offeredMargins are the margins that are chosen from.
func offeredMargins() [6]rollout.Margin { return [6]rollout.Margin{1.25, 1.5, 2, 3, 5, 10} }

// none is the place in offeredMargins of no margin at all.
const none = len([6]rollout.Margin{})

// Choice is the margin that was chosen for a metric in a phase.
type Choice struct {
	Phase     int            `json:"phase"`
	Name      string         `json:"name"` // of the phase
	Metric    rollout.Metric `json:"metric"`
	Margin    rollout.Margin `json:"margin"`
	Certifies bool           `json:"certifies"` // in four plays of five, in time
	Plays     Chance         `json:"plays"`     // in which a harmless bundle is shown to be within the margin in time
	Sentence  string         `json:"sentence"`
}

// Margins returns plan, resolved, with the margins chosen that it leaves to the judge, and what was chosen: for every phase
// with a control the tightest of offeredMargins that a harmless bundle certifies within the longest hold in four plays of
// five, never looser than in an earlier phase. A metric that no margin can certify gets the widest, or that of the phase
// before, and so do the phases beyond the first eight. Without an audience nothing is known and every margin is the widest.
// A phase's own margins are left alone. It returns ctx's error when ctx ends before the plays do.
func Margins(ctx context.Context, plan rollout.Plan, a Audience) (rollout.Plan, []Choice, error) {
	plan = rollout.Resolve(plan)
	auto := autoMetrics(plan)
	if len(auto) == 0 {
		return plan, nil, nil
	}
	known := a.Validate() == nil && checkLength(plan) == nil
	tightest := map[rollout.Metric]int{} // so far
	var choices []Choice
	for phase := range plan.Phases {
		metrics := undecided(plan.Phases[phase], auto)
		if rollout.EffectivePercent(plan, phase) >= rollout.Everyone || rollout.EffectivePercent(plan, phase) == 0 || len(metrics) == 0 {
			continue // nothing to be certified
		}
		chosen := widest(metrics)
		if known && phase < mostPlayed {
			plays, err := reach(ctx, plan, a, phase, metrics)
			if err != nil {
				return rollout.Plan{}, nil, fmt.Errorf("choosing margins: %w", err)
			}
			chosen = choose(plays, metrics)
		}
		for _, c := range chosen {
			if before, ok := tightest[c.metric]; ok {
				c.place = min(c.place, before)
			}
			tightest[c.metric] = c.place
			plan = withMargin(plan, phase, c.metric, offeredMargins()[c.place])
			choices = append(choices, c.explain(plan, phase, known))
		}
	}
	return plan, choices, nil
}

// NeedsPast reports whether it matters to a rollout of plan what the app's devices did before: where a margin is left to
// the judge, and where a phase leaves no control.
func NeedsPast(plan rollout.Plan) bool {
	plan = rollout.Resolve(plan)
	if len(autoMetrics(plan)) > 0 {
		return true
	}
	for i, phase := range plan.Phases {
		if len(phase.Segments) == 0 && rollout.EffectivePercent(plan, i) >= rollout.Everyone {
			return true
		}
	}
	return false
}

// autoMetrics lists the metrics whose margin is left to the judge.
func autoMetrics(plan rollout.Plan) []rollout.Metric {
	var list []rollout.Metric
	for _, gate := range plan.Gates {
		if gate.Margin == rollout.MarginAuto && !gate.Off {
			list = append(list, gate.Metric)
		}
	}
	return list
}

// undecided lists the metrics for which the phase names no margin itself.
func undecided(phase rollout.Phase, metrics []rollout.Metric) []rollout.Metric {
	return slices.DeleteFunc(slices.Clone(metrics), func(m rollout.Metric) bool { _, named := phase.Margins[m]; return named })
}

// choice is a Choice in the making.
type choice struct {
	metric rollout.Metric
	place  int   // in offeredMargins
	plays  []int // the tightest place that each play certified, or none
}

// widest is what is chosen when nothing is known.
func widest(metrics []rollout.Metric) []choice {
	var list []choice
	for _, m := range metrics {
		list = append(list, choice{metric: m, place: none - 1})
	}
	return list
}

// reach plays a harmless bundle to the end of a phase, and returns by play and metric the tightest place that is certified.
func reach(ctx context.Context, plan rollout.Plan, a Audience, phase int, metrics []rollout.Metric) ([][]int, error) {
	base := map[rollout.Metric]float64{}
	for _, m := range metrics {
		base[m] = a.Base[m]
	}
	a.Base = base // what else happens is no matter here
	plays := make([][]int, marginPlays)
	for number := range plays {
		s := stage{plan: plan, audience: a, seed: marginSeed}
		in, err := s.until(ctx, phase, number)
		if err != nil {
			return nil, err
		}
		plays[number] = certified(in, metrics)
	}
	return plays, nil
}

// until plays a harmless bundle to the end of the longest hold of a phase, the least hold of every earlier one, and returns
// what the judge would be shown there.
func (s stage) until(ctx context.Context, phase, number int) (judge.Input, error) {
	w := walk{stage: s, crowd: newCrowd(s.plan, s.audience, Regression{}, throw(s.seed, phase, number))}
	for i := range phase + 1 {
		w.enter(i)
		hold := s.plan.Phases[i].Hold.Min.Std().Hours()
		if i == phase {
			hold = longest(s.plan.Phases[i])
			if most := s.plan.Phases[i].Hold.Max; most > 0 {
				hold = most.Std().Hours()
			}
		}
		for w.hours-w.entered < hold {
			if err := ctx.Err(); err != nil {
				return judge.Input{}, err
			}
			w.advance(step(1, w.hours-w.entered))
		}
	}
	return w.input(), nil
}

// certified returns, by metric, the tightest place that the input certifies, or none.
func certified(in judge.Input, metrics []rollout.Metric) []int {
	low, high := make([]int, len(metrics)), make([]int, len(metrics))
	for i := range high {
		high[i] = none
	}
	for halving := none; halving > 0; halving /= 2 {
		plan := in.Plan
		for i, m := range metrics {
			if low[i] < high[i] {
				plan = withMargin(plan, in.Phase, m, offeredMargins()[(low[i]+high[i])/2])
			}
		}
		asked := in
		asked.Plan = plan
		safe := safeMetrics(asked)
		for i, m := range metrics {
			switch middle := (low[i] + high[i]) / 2; {
			case low[i] == high[i]:
			case safe[m]:
				high[i] = middle
			default:
				low[i] = middle + 1
			}
		}
	}
	return low
}

// safeMetrics are those that the judge finds to be within their margins.
func safeMetrics(in judge.Input) map[rollout.Metric]bool {
	safe := map[rollout.Metric]bool{}
	for _, e := range judge.Judge(in).Metrics {
		safe[e.Metric] = e.Safe
	}
	return safe
}

// withMargin returns plan with the margin of a metric set in a phase; plan itself stays as it is.
func withMargin(plan rollout.Plan, phase int, m rollout.Metric, margin rollout.Margin) rollout.Plan {
	plan.Phases = slices.Clone(plan.Phases)
	margins := maps.Clone(plan.Phases[phase].Margins)
	if margins == nil {
		margins = map[rollout.Metric]rollout.Margin{}
	}
	margins[m] = margin
	plan.Phases[phase].Margins = margins
	return plan
}

// choose picks the tightest places that enough plays certify: first each metric by itself, then, since a bundle passes when
// all metrics are certified, the one at a time whose widening lets most plays pass, until enough do.
func choose(plays [][]int, metrics []rollout.Metric) []choice {
	list := widest(metrics)
	for i := range list {
		for _, play := range plays {
			list[i].plays = append(list[i].plays, play[i])
		}
		for place := none - 1; place >= 0 && list[i].certifies(place); place-- {
			list[i].place = place
		}
	}
	for share(passing(list)) < enough {
		best, most := -1, passing(list)
		for i := range list {
			if list[i].place == none-1 {
				continue
			}
			list[i].place++
			if n := passing(list); best < 0 || n.Times > most.Times {
				best, most = i, n
			}
			list[i].place--
		}
		if best < 0 {
			break
		}
		list[best].place++
	}
	return list
}

func share(c Chance) float64 { return c.Share }

// at is how many plays certify a place.
func (c choice) at(place int) Chance {
	n := 0
	for _, tightest := range c.plays {
		if tightest <= place {
			n++
		}
	}
	return chanceOf(n, len(c.plays))
}

func (c choice) certifies(place int) bool { return len(c.plays) > 0 && c.at(place).Share >= enough }

// passing is how many plays certify all metrics that can be certified at all.
func passing(list []choice) Chance {
	n, of := 0, 0
	for play := range marginPlays {
		all := true
		for _, c := range list {
			all = all && (!c.certifies(none-1) || c.plays[play] <= c.place)
		}
		of++
		if all {
			n++
		}
	}
	return chanceOf(n, of)
}

// explain puts a choice into words.
func (c choice) explain(plan rollout.Plan, phase int, known bool) Choice {
	out := Choice{
		Phase: phase, Name: plan.Phases[phase].Name, Metric: c.metric, Margin: offeredMargins()[c.place],
		Certifies: c.certifies(c.place), Plays: c.at(c.place),
	}
	margin := fmt.Sprintf("%g×", float64(out.Margin))
	switch {
	case !known:
		out.Sentence = fmt.Sprintf("%s in phase %s: %s, the widest, because nothing is known of the app's devices", c.metric, out.Name, margin)
	case len(c.plays) == 0:
		out.Sentence = fmt.Sprintf("%s in phase %s: %s, as before; only the first %d phases are played", c.metric, out.Name, margin, mostPlayed)
	case out.Certifies:
		out.Sentence = fmt.Sprintf("%s in phase %s: %s, which a harmless bundle is shown to be within in %d of %d plays", c.metric, out.Name, margin, out.Plays.Times, out.Plays.Of)
	default:
		out.Sentence = fmt.Sprintf("%s in phase %s: %s, which cannot be certified in time; at the longest time the plan's on_timeout decides", c.metric, out.Name, margin)
	}
	return out
}
