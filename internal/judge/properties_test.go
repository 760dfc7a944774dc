package judge

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/palier-ota/palier/internal/rollout"
)

// somewhere is a rollout at any point of its life: another plan, phase and hold each time, bundles from harmless to deadly,
// with telemetry that may be old and a past that may be known.
func somewhere(rng *rand.Rand) Input {
	if rng.IntN(8) == 0 {
		in := healthy()
		in.Held, in.Plan.Phases[1].Approval = time.Duration(rng.IntN(60))*time.Hour, rng.IntN(4) == 0
		return in
	}
	plans := [][]rollout.Phase{phases(50), phases(5, 20, 50), phases(5, 50, 100), phases(100)}
	in := Input{Plan: rollout.Plan{Phases: plans[rng.IntN(len(plans))]}, Held: time.Duration(rng.IntN(60)) * time.Hour}
	in.Plan.OnTimeout = []rollout.TimeoutPolicy{rollout.TimeoutPromote, rollout.TimeoutHold, rollout.TimeoutRollback}[rng.IntN(3)]
	hours, perHour := 1+rng.IntN(60), []int64{20, 100, 500}[rng.IntN(3)]
	bad := math.Exp(max(0, 1.5*rng.NormFloat64()-1))
	for hour := range hours {
		phase := hour * len(in.Plan.Phases) / hours
		share := in.Plan.Phases[phase].Percent.Share()
		n := binomial(rng, perHour, share)
		s := Stratum{Phase: phase, Hour: epochHour + int64(hour), Share: share, Candidate: arm(rng, n), Control: arm(rng, perHour-n)}
		for _, m := range []rollout.Metric{rollout.Crash, rollout.ErrorLog} {
			s.Candidate.Events[m.Index()] = binomial(rng, n, min(.9, bad*everyday[m.Index()]))
		}
		in.Strata = append(in.Strata, s)
	}
	in = in.at(int64(hours))
	in.Now = in.Newest.Add(time.Duration(rng.IntN(8)) * time.Hour)
	p := &in.Plan.Phases[in.Phase]
	p.Approval, in.Approved, p.MinDevices = rng.IntN(8) == 0, rng.IntN(2) == 0, rng.IntN(500)
	if rng.IntN(2) == 0 {
		in.Record = recorded(5000)
	}
	return in
}

// Quick and Judge decide alike, over everything that can be decided.
func TestQuickAgreesWithJudge(t *testing.T) {
	seen := map[string]int{}
	for run := range 400 {
		in := somewhere(seeded(run))
		v := Judge(in)
		seen[string(v.Decision)+" "+v.Code]++
		if decision, code := Quick(in); decision != v.Decision || code != v.Code {
			t.Fatalf("run %d: Quick says %s/%s, Judge %s/%s: %s", run, decision, code, v.Decision, v.Code, v.Sentence)
		}
	}
	t.Logf("decided alike: %v", seen)
	for _, wanted := range []string{
		"promote certified", "promote timeout", "promote approval", "promote no_control", "wait min_hold", "wait stale", "wait sample",
		"wait unproven", "wait no_control", "hold timeout", "hold approval", "hold no_control", "pause harm", "rollback harm",
		"rollback timeout", "rollback no_control",
	} {
		if seen[wanted] == 0 {
			t.Errorf("never decided: %s", wanted)
		}
	}
}

// Strata may come in any order, in pieces, and with the pieces of one put together again: the verdict is the same bytes.
func TestVerdictDoesNotDependOnOrder(t *testing.T) {
	for run := range 60 {
		rng := seeded(run)
		in := somewhere(rng)
		want := encode(t, Judge(in))
		for range 3 {
			rng.Shuffle(len(in.Strata), func(i, j int) { in.Strata[i], in.Strata[j] = in.Strata[j], in.Strata[i] })
			if got := encode(t, Judge(in)); !bytes.Equal(got, want) {
				t.Fatalf("run %d, other order:\n%s\nwant\n%s", run, got, want)
			}
		}
		for range 1 + rng.IntN(5) {
			in.Strata = append(in.Strata, split(rng, &in.Strata[rng.IntN(len(in.Strata))]))
		}
		if got := encode(t, Judge(in)); !bytes.Equal(got, want) {
			t.Fatalf("run %d, strata in pieces:\n%s\nwant\n%s", run, got, want)
		}
	}
}

// split moves part of the stratum's counts into another one of the same place.
func split(rng *rand.Rand, s *Stratum) Stratum {
	other := Stratum{Phase: s.Phase, Hour: s.Hour, Share: s.Share}
	for i := range s.Candidate.Events {
		other.Candidate.Events[i] = rng.Int64N(s.Candidate.Events[i] + 1)
		s.Candidate.Events[i] -= other.Candidate.Events[i]
	}
	other.Candidate.Measured, s.Candidate.Measured = s.Candidate.Measured, other.Candidate.Measured
	other.Control.Devices, s.Control.Devices = s.Control.Devices, 0
	other.Control.Returned, s.Control.Returned = s.Control.Returned, other.Control.Returned
	return other
}

func encode(t *testing.T, v Verdict) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("verdict is no JSON: %v", err)
	}
	return text
}

// Whatever the tallies hold, there is a verdict, it is JSON, and it is one of those that exist.
func TestHostileInput(t *testing.T) {
	number := rapid.OneOf(rapid.Int64Range(-3, 3000), rapid.Int64(), rapid.SampledFrom([]int64{0, math.MinInt64, math.MaxInt64}))
	float := rapid.OneOf(rapid.Float64Range(0, 1), rapid.Float64(), rapid.SampledFrom([]float64{0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e-320}))
	counts := rapid.Custom(func(t *rapid.T) Counts {
		c := Counts{Devices: number.Draw(t, "devices"), Adopted: number.Draw(t, "adopted")}
		for i := range c.Returned {
			c.Returned[i] = number.Draw(t, "returned")
		}
		for i := range c.Events {
			c.Events[i] = number.Draw(t, "events")
		}
		measure := &c.Measured[rapid.IntRange(0, rollout.NumMeasured-1).Draw(t, "measured")]
		measure.Devices, measure.Squares = number.Draw(t, "passing"), number.Draw(t, "squares")
		for i := range measure.Beyond {
			measure.Beyond[i] = number.Draw(t, "beyond")
		}
		return c
	})
	stratum := rapid.Custom(func(t *rapid.T) Stratum {
		return Stratum{
			Phase: rapid.IntRange(-1, 3).Draw(t, "phase"), Hour: number.Draw(t, "hour"), Share: float.Draw(t, "share"),
			Candidate: counts.Draw(t, "candidate"), Control: counts.Draw(t, "control"),
		}
	})
	metrics := rollout.AllMetrics()
	gate := rapid.Custom(func(t *rapid.T) rollout.Gate {
		return rollout.Gate{
			Metric: metrics[rapid.IntRange(0, len(metrics)-1).Draw(t, "metric")].Metric, Margin: rollout.Margin(float.Draw(t, "margin")),
			Severe: float.Draw(t, "severe"), Limit: float.Draw(t, "limit"), Off: rapid.Bool().Draw(t, "off"),
			Action: rapid.SampledFrom([]rollout.Action{"", "promote", rollout.ActionHold, rollout.ActionHalt}).Draw(t, "action"),
		}
	})
	record := rapid.Custom(func(t *rapid.T) *rollout.Record {
		r := &rollout.Record{Devices: number.Draw(t, "recorded"), DeviceHours: number.Draw(t, "recorded hours")}
		r.Within[0] = number.Draw(t, "recorded hours within")
		r.Events[rollout.Crash.Index()] = number.Draw(t, "recorded crashes")
		r.Waited[1], r.Returned[1] = number.Draw(t, "waited"), number.Draw(t, "returned")
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		plan := rollout.Plan{
			Phases: phases(5, 50, 100), Alpha: float.Draw(t, "alpha"), Beta: float.Draw(t, "beta"),
			Gates: rapid.SliceOfN(gate, 0, 4).Draw(t, "gates"),
		}
		in := Input{
			Plan: plan, Phase: rapid.IntRange(-1, 3).Draw(t, "phase"), Held: time.Duration(number.Draw(t, "held")),
			Now: time.Unix(number.Draw(t, "now"), 0), Newest: time.Unix(number.Draw(t, "newest"), 0),
			Strata: rapid.SliceOfN(stratum, 0, 6).Draw(t, "strata"),
		}
		if rapid.Bool().Draw(t, "has a record") {
			in.Record = record.Draw(t, "record")
		}
		v := Judge(in)
		if decision, code := Quick(in); decision != v.Decision || code != v.Code {
			t.Fatalf("Quick says %s/%s, Judge %s/%s", decision, code, v.Decision, v.Code)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("verdict is no JSON: %v", err)
		}
		if strictness(v.Decision) == 0 && v.Decision != Wait && v.Decision != Promote {
			t.Fatalf("decision %q", v.Decision)
		}
		if strings.Contains(v.Sentence, "NaN") || strings.Contains(v.Sentence, "Inf") || v.Sentence == "" {
			t.Fatalf("sentence %q", v.Sentence)
		}
		var back Verdict
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("verdict %s does not read back: %v", text, err)
		}
		for _, e := range v.Metrics {
			if e.EValue < 0 || e.SafeEValue < 0 || e.Upper != 0 && e.Lower > e.Upper*1.001 && e.Metric != rollout.Silence && e.Limit == 0 {
				t.Fatalf("evidence makes no sense: %+v", e)
			}
		}
	})
}
