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

// healthy is a rollout at half of the devices, held for 30 hours of 24 to 48, with enough devices alike in both arms to
// clear every guardrail.
func healthy() Input {
	in := Input{Plan: rollout.Plan{Phases: phases(5, 50, 99), OnTimeout: rollout.TimeoutPromote}, Phase: 1, Held: 30 * time.Hour}
	in.Plan.Phases[1].MinDevices = 500
	arm := Counts{Devices: 20_000, Adopted: 18_000, Returned: [NumHorizons]int64{6_000, 12_000, 18_000}}
	arm.Events[rollout.Crash.Index()] = 200
	arm.Events[rollout.ErrorLog.Index()] = 400
	in.Strata = []Stratum{{Phase: 1, Hour: epochHour, Share: .5, Candidate: arm, Control: arm}}
	in.Newest = time.Unix((epochHour+30)*3600, 0)
	in.Now = in.Newest.Add(time.Minute)
	return in
}

// crashing adds crashes to the candidates of the last stratum.
func crashing(in *Input, n int64) {
	in.Strata[len(in.Strata)-1].Candidate.Events[rollout.Crash.Index()] += n
}

// undecided leaves too few devices to prove anything.
func undecided(in *Input) {
	arm := Counts{Devices: 600, Adopted: 500, Returned: [NumHorizons]int64{200, 400, 540}}
	in.Strata[0].Candidate, in.Strata[0].Control = arm, arm
}

// wholeSegment makes the current phase take the whole of a segment, which leaves it without counts.
func wholeSegment(in *Input) {
	in.Plan.Phases[1].Percent, in.Plan.Phases[1].Segments = rollout.Everyone, []string{"internal"}
	in.Strata, in.Newest = nil, time.Time{}
}

func gate(in *Input, g rollout.Gate) { in.Plan.Gates = append(in.Plan.Gates, g) }

const (
	past  = 49 * time.Hour // the longest hold
	early = 23 * time.Hour // not yet the least hold
)

func TestRule(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*Input)
		decision Decision
		code     string
		says     string
	}{
		{"proven", func(*Input) {}, Promote, CodeCertified, "crash (margin 1.5), anr (margin 1.5), boot failure (margin 1.5), silence (margin 1.5) and error"},
		{"proven, too early", func(in *Input) { in.Held = early }, Wait, CodeMinHold, "held for 23h of at least 24h"},
		{"proven, approval missing", func(in *Input) { in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, "waiting for approval"},
		{"proven, approved", func(in *Input) { in.Plan.Phases[1].Approval, in.Approved = true, true }, Promote, CodeCertified, ""},
		{"proven, newest check too old", func(in *Input) { in.Now = in.Newest.Add(StaleAfter + time.Second) }, Wait, CodeStale, "missing data is not health"},
		{"proven, newest check just young enough", func(in *Input) { in.Now = in.Newest.Add(StaleAfter) }, Promote, CodeCertified, ""},
		{"proven, too few in this phase", func(in *Input) { in.Strata[0].Phase = 0 }, Wait, CodeSample, "0 candidate devices seen in this phase where 500 are wanted"},
		{"nothing counted", func(in *Input) { in.Strata, in.Newest = nil, time.Time{} }, Wait, CodeNoData, "no device has been counted"},
		{"nothing counted, out of time", func(in *Input) { in.Strata, in.Newest, in.Held = nil, time.Time{}, past }, Wait, CodeNoData, ""},
		{"no such phase", func(in *Input) { in.Phase = 3 }, Hold, CodeNoPhase, ""},
		{"negative phase", func(in *Input) { in.Phase = -1 }, Hold, CodeNoPhase, ""},

		{"undecided", undecided, Wait, CodeUnproven, "safety is not shown for crash, anr, silence and error"},
		{"undecided, out of time, plan promotes", func(in *Input) { undecided(in); in.Held = past }, Promote, CodeTimeout, "nothing is known yet of crash, anr and error"},
		{"undecided, out of time, plan promotes, stale", func(in *Input) { undecided(in); in.Held = past; in.Now = in.Now.Add(7 * time.Hour) }, Wait, CodeStale, ""},
		{"undecided, out of time, plan promotes, approval missing", func(in *Input) { undecided(in); in.Held = past; in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, ""},
		{"undecided, out of time, plan promotes, too few", func(in *Input) { undecided(in); in.Held = past; in.Plan.Phases[1].MinDevices = 601 }, Hold, CodeTimeout, "600 candidate devices seen in this phase where 601 are wanted"},
		{"undecided, out of time, plan holds", func(in *Input) { undecided(in); in.Held = past; in.Plan.OnTimeout = rollout.TimeoutHold }, Hold, CodeTimeout, "a person must decide"},
		{"undecided, out of time, plan says nothing", func(in *Input) { undecided(in); in.Held = past; in.Plan.OnTimeout = "" }, Hold, CodeTimeout, ""},
		{"undecided, out of time, plan rolls back", func(in *Input) { undecided(in); in.Held = past; in.Plan.OnTimeout = rollout.TimeoutRollback }, Rollback, CodeTimeout, ""},
		{"undecided, no longest time", func(in *Input) { undecided(in); in.Held = 1e4 * time.Hour; in.Plan.Phases[1].Hold.Max = 0 }, Wait, CodeUnproven, ""},

		{"harm", func(in *Input) { crashing(in, 300) }, Pause, CodeHarm, "crash ratio 2.5, at least 1.7 with 99 % confidence, after 20000 candidate devices"},
		{"harm too early, unapproved and stale", func(in *Input) {
			crashing(in, 300)
			in.Held, in.Plan.Phases[1].Approval, in.Now = 0, true, in.Now.Add(100*time.Hour)
		}, Pause, CodeHarm, ""},
		{"severe harm", func(in *Input) { crashing(in, 1000) }, Rollback, CodeHarm, "crash ratio 6, at least"},
		{"severe harm, never severe", func(in *Input) { crashing(in, 1000); gate(in, rollout.Gate{Metric: rollout.Crash, Margin: 1.5}) }, Pause, CodeHarm, ""},
		{"harm that only holds", func(in *Input) {
			crashing(in, 1000)
			gate(in, rollout.Gate{Metric: rollout.Crash, Action: rollout.ActionHold})
		}, Hold, CodeHarm, ""},
		{"harm in an unwatched metric", func(in *Input) { crashing(in, 1000); gate(in, rollout.Gate{Metric: rollout.Crash, Off: true}) }, Promote, CodeCertified, ""},
		{"two harms, the stricter wins", func(in *Input) {
			crashing(in, 300)
			in.Strata[0].Candidate.Events[rollout.LoadTime.Index()] = 900
		}, Rollback, CodeHarm, "load time ratio unknown, at least"},
		{"fewer uses of a feature", func(in *Input) {
			in.Strata[0].Candidate.Events[rollout.FeatureUse.Index()] = 4000
			in.Strata[0].Control.Events[rollout.FeatureUse.Index()] = 9000
		}, Halt, CodeHarm, "feature use ratio 2.25"},
		{"more uses of a feature", func(in *Input) {
			in.Strata[0].Candidate.Events[rollout.FeatureUse.Index()] = 9000
			in.Strata[0].Control.Events[rollout.FeatureUse.Index()] = 4000
		}, Promote, CodeCertified, ""},
		{"silence", func(in *Input) { in.Strata[0].Candidate.Returned[2] = 14_000 }, Pause, CodeHarm, "silence ratio 3, at least"},
		{"silence before any horizon has passed", func(in *Input) {
			in.Strata[0].Candidate.Returned = [NumHorizons]int64{}
			in.Newest = time.Unix((epochHour+2)*3600, 0)
			in.Now = in.Newest
		}, Wait, CodeUnproven, "silence"},
		{"failing downloads", func(in *Input) { in.Strata[0].Candidate.Events[rollout.DownloadFailure.Index()] = 2000 }, Pause, CodeHarm, "download failure rate 10 %"},
		{"failing downloads below the limit", func(in *Input) { in.Strata[0].Candidate.Events[rollout.DownloadFailure.Index()] = 900 }, Promote, CodeCertified, ""},
		{"arms of the wrong size, and harm", func(in *Input) { crashing(in, 1000); in.Strata[0].Control.Devices = 15_000 }, Hold, CodeSampleRatio, "do not fit"},

		{"nobody has run the candidate", func(in *Input) { in.Strata[0].Candidate.Adopted = 0 }, Wait, CodeUnproven, "boot failure"},
		{"no guardrail watched", func(in *Input) {
			for _, m := range []rollout.Metric{rollout.Crash, rollout.ANR, rollout.BootFailure, rollout.Silence, rollout.ErrorLog} {
				gate(in, rollout.Gate{Metric: m, Off: true})
			}
		}, Wait, CodeUnproven, ""},

		{"whole segment, early", func(in *Input) { wholeSegment(in); in.Held = early }, Wait, CodeMinHold, "nothing was compared"},
		{"whole segment, waiting", wholeSegment, Wait, CodeNoControl, "nothing was compared"},
		{"whole segment, out of time, plan promotes", func(in *Input) { wholeSegment(in); in.Held = past }, Promote, CodeNoControl, "nothing was compared; going on by time alone"},
		{"whole segment, out of time, plan holds", func(in *Input) { wholeSegment(in); in.Held = past; in.Plan.OnTimeout = "" }, Hold, CodeNoControl, ""},
		{"whole segment, out of time, plan rolls back", func(in *Input) { wholeSegment(in); in.Held = past; in.Plan.OnTimeout = rollout.TimeoutRollback }, Rollback, CodeNoControl, ""},
		{"whole segment, no longest time", func(in *Input) { wholeSegment(in); in.Plan.Phases[1].Hold.Max = 0 }, Hold, CodeNoControl, ""},
		{"whole segment, approval missing", func(in *Input) { wholeSegment(in); in.Held = past; in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, ""},
		{"whole segment, approved", func(in *Input) { wholeSegment(in); in.Plan.Phases[1].Approval, in.Approved = true, true }, Promote, CodeApproval, "a person approved"},
		{"whole segment, harm known from before", func(in *Input) {
			crashing(in, 1000)
			in.Strata[0].Phase = 0
			in.Plan.Phases[1].Percent = rollout.Everyone
		}, Rollback, CodeHarm, ""},
		{"everyone, counted, failing to start", func(in *Input) {
			in.Plan.Phases[1].Percent = rollout.Everyone
			in.Strata = []Stratum{{Phase: 1, Hour: epochHour, Share: 1, Candidate: Counts{Devices: 100}}}
			in.Strata[0].Candidate.Events[rollout.BootFailure.Index()] = 50
		}, Rollback, CodeHarm, "boot failure rate 50 %"},
		{"everyone, counted, too few", func(in *Input) {
			in.Plan.Phases[1].Percent, in.Held = rollout.Everyone, past
			in.Strata = []Stratum{{Phase: 1, Hour: epochHour, Share: 1, Candidate: Counts{Devices: 499}}}
		}, Hold, CodeNoControl, "499 candidate devices"},
		{"everyone, counted, stale", func(in *Input) {
			in.Plan.Phases[1].Percent, in.Held = rollout.Everyone, past
			in.Strata = []Stratum{{Phase: 1, Hour: epochHour, Share: 1, Candidate: Counts{Devices: 500}}}
			in.Now = in.Now.Add(7 * time.Hour)
		}, Wait, CodeStale, ""},
		{"everyone but the holdback, proven", func(in *Input) { in.Plan.Phases[1].Percent, in.Plan.Holdback = rollout.Everyone, rollout.OnePercent }, Promote, CodeCertified, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := healthy()
			c.change(&in)
			v := Judge(in)
			if v.Decision != c.decision || v.Code != c.code || !strings.Contains(v.Sentence, c.says) {
				t.Errorf("got %s/%s: %s\nwant %s/%s: …%s…", v.Decision, v.Code, v.Sentence, c.decision, c.code, c.says)
			}
			if v.Certified != (v.Code == CodeCertified) && v.Decision == Promote {
				t.Errorf("promoted with code %s and certified %v", v.Code, v.Certified)
			}
		})
	}
}

// TestOutageIsNobodysHarm holds failed downloads against the control: an outage of the server fails them in both arms.
func TestOutageIsNobodysHarm(t *testing.T) {
	failing := func(candidate, control int64) Evidence {
		in := healthy()
		for i := range in.Strata {
			in.Strata[i].Candidate.Events[rollout.DownloadFailure.Index()] = in.Strata[i].Candidate.Devices * candidate / 100
			in.Strata[i].Control.Events[rollout.DownloadFailure.Index()] = in.Strata[i].Control.Devices * control / 100
		}
		for _, e := range Judge(in).Metrics {
			if e.Metric == rollout.DownloadFailure {
				return e
			}
		}
		t.Fatal("download_failure is not watched")
		return Evidence{}
	}
	if e := failing(60, 60); e.Alarm || e.Control == 0 {
		t.Errorf("an outage that fails 60 %% of all devices alarms: %+v", e)
	}
	if e := failing(3, 0); e.Alarm {
		t.Errorf("failures within the limit alarm: %+v", e)
	}
	if e := failing(60, 1); !e.Alarm {
		t.Errorf("a bundle that 60 %% cannot download does not alarm: %+v", e)
	}
}

func TestAlphaIsSplitOverWatchedGatesOnly(t *testing.T) {
	plan := rollout.Plan{Alpha: .02}
	for off := range rollout.NumMetrics - 1 {
		sum := 0.0
		for _, trial := range gates(plan, 0) {
			sum += trial.alpha
		}
		if math.Abs(sum-.02) > 1e-12 {
			t.Errorf("with %d gates off the parts of alpha sum to %v", off, sum)
		}
		plan.Gates = append(plan.Gates, rollout.Gate{Metric: rollout.AllMetrics()[off].Metric, Off: true})
	}
	if left := gates(plan, 0); len(left) != 0 {
		t.Errorf("%d gates watched when all are off", len(left))
	}
}

// One device in all phases stays on its side, so the sizes of the arms in different phases are not independent. Were the
// phases multiplied, sound arms would be held far more often than alpha says; their mean is right whatever the dependence.
func TestPhasesOfTheSameDevicesAreNotMultiplied(t *testing.T) {
	const runs, fleet, alpha = 1000, 4000, .05
	multiplied, averaged := 0, 0
	for run := range runs {
		rng := seeded(run)
		r := reading{phases: 12}
		for phase := range r.phases {
			r.groups = append(r.groups, group{phase: phase, share: .05 + float64(phase)*.001})
		}
		for range fleet {
			at := rng.Float64()
			for i := range r.groups {
				if g := &r.groups[i]; at < g.share {
					g.candidate.devices++
				} else {
					g.control.devices++
				}
			}
		}
		all, bets := whole(r.draws(devices)), countBets()
		if logSum([]float64{all.logE(bets.up, 1), all.logE(bets.down, 1)})-math.Ln2 >= -math.Log(alpha) {
			multiplied++
		}
		if r.logMismatch() >= -math.Log(alpha) {
			averaged++
		}
	}
	t.Logf("sound arms held in %d of %d rollouts; multiplying the phases would hold %d", averaged, runs, multiplied)
	if averaged > runs*alpha || multiplied <= 2*runs*alpha {
		t.Errorf("sound arms held in %d of %d rollouts at alpha %v, in %d if phases were multiplied", averaged, runs, alpha, multiplied)
	}
}

func TestVerdictDoesNotDependOnOrder(t *testing.T) {
	for run := range 20 {
		in := innocent(run)
		want := encode(t, Judge(in))
		rng := seeded(run)
		for range 5 {
			rng.Shuffle(len(in.Strata), func(i, j int) { in.Strata[i], in.Strata[j] = in.Strata[j], in.Strata[i] })
			if got := encode(t, Judge(in)); !bytes.Equal(got, want) {
				t.Fatalf("run %d, other order:\n%s\nwant\n%s", run, got, want)
			}
		}
		// A stratum in two halves is the same stratum.
		in.Strata = append(in.Strata, split(rng, &in.Strata[0]))
		if got := encode(t, Judge(in)); !bytes.Equal(got, want) {
			t.Fatalf("run %d, one stratum in two:\n%s\nwant\n%s", run, got, want)
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
		v := Judge(in)
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

func TestSentenceNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{short(9.8234), "9.82"}, {short(0.0123456), "0.0123"}, {short(1234.5), "1235"}, {short(1), "1"}, {short(0), "0"},
		{short(floor(3.19)), "3.1"}, {short(ceil(3.11)), "3.2"}, {short(floor(0.0299)), "0.029"}, {short(ceil(117)), "120"}, {short(floor(2)), "2"},
		{percent(.99), "99 %"}, {percent(.02), "2 %"}, {percent(1), "100 %"},
		{list(nil), ""}, {list([]string{"a"}), "a"}, {list([]string{"a", "b"}), "a and b"}, {list([]string{"a", "b", "c"}), "a, b and c"},
		{numbered(1, "control"), "1 control device"}, {numbered(0, "control"), "0 control devices"},
		{hours(90 * time.Minute), "1h30m"}, {hours(59 * time.Second), "59s"}, {hours(48*time.Hour + time.Second), "48h"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
