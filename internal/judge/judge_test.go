package judge

import (
	"math"
	"strings"
	"testing"
	"time"

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

// slow makes so many candidates load slower than every boundary that is shown or harmless.
func slow(in *Input, n int64) {
	c := &in.Strata[0].Candidate
	c.Events[rollout.LoadTime.Index()] = n
	measure := &c.Measured[rollout.LoadTime.Measured()]
	for i := range rollout.ShownLevel + 1 {
		measure.Beyond[i] = n
	}
	measure.Devices, measure.Squares = n, n*(rollout.ShownLevel+1)*(rollout.ShownLevel+1)
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
	overdue = 49 * time.Hour // the longest hold
	early   = 23 * time.Hour // not yet the least hold
)

func TestRule(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*Input)
		decision Decision
		code     string
		says     string
	}{
		{"proven", func(*Input) {}, Promote, CodeCertified, "crash (margin 1.5), anr (margin 1.5), boot failure (margin 1.5), silence (margin 1.5), error (margin 1.5) and low memory"},
		{"proven, too early", func(in *Input) { in.Held = early }, Wait, CodeMinHold, "held for 23h of at least 24h"},
		{"proven, approval missing", func(in *Input) { in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, "waiting for approval"},
		{"proven, approved", func(in *Input) { in.Plan.Phases[1].Approval, in.Approved = true, true }, Promote, CodeCertified, ""},
		{"proven, newest check too old", func(in *Input) { in.Now = in.Newest.Add(StaleAfter + time.Second) }, Wait, CodeStale, "missing data is not health"},
		{"proven, newest check just young enough", func(in *Input) { in.Now = in.Newest.Add(StaleAfter) }, Promote, CodeCertified, ""},
		{"proven, too few in this phase", func(in *Input) { in.Strata[0].Phase = 0 }, Wait, CodeSample, "0 candidate devices seen in this phase where 500 are wanted"},
		{"nothing counted", func(in *Input) { in.Strata, in.Newest = nil, time.Time{} }, Wait, CodeNoData, "no device has been counted"},
		{"nothing counted, out of time", func(in *Input) { in.Strata, in.Newest, in.Held = nil, time.Time{}, overdue }, Wait, CodeNoData, ""},
		{"no such phase", func(in *Input) { in.Phase = 3 }, Hold, CodeNoPhase, ""},
		{"negative phase", func(in *Input) { in.Phase = -1 }, Hold, CodeNoPhase, ""},

		{"undecided", undecided, Wait, CodeUnproven, "safety is not shown for crash, anr, silence, error and low memory"},
		{"undecided, out of time, plan promotes", func(in *Input) { undecided(in); in.Held = overdue }, Promote, CodeTimeout, "nothing is known yet of crash, anr, error and low memory"},
		{"undecided, out of time, plan promotes, stale", func(in *Input) { undecided(in); in.Held = overdue; in.Now = in.Now.Add(7 * time.Hour) }, Wait, CodeStale, ""},
		{"undecided, out of time, plan promotes, approval missing", func(in *Input) { undecided(in); in.Held = overdue; in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, ""},
		{"undecided, out of time, plan promotes, too few", func(in *Input) { undecided(in); in.Held = overdue; in.Plan.Phases[1].MinDevices = 601 }, Hold, CodeTimeout, "600 candidate devices seen in this phase where 601 are wanted"},
		{"undecided, out of time, plan holds", func(in *Input) { undecided(in); in.Held = overdue; in.Plan.OnTimeout = rollout.TimeoutHold }, Hold, CodeTimeout, "a person must decide"},
		{"undecided, out of time, plan says nothing", func(in *Input) { undecided(in); in.Held = overdue; in.Plan.OnTimeout = "" }, Hold, CodeTimeout, ""},
		{"undecided, out of time, plan rolls back", func(in *Input) { undecided(in); in.Held = overdue; in.Plan.OnTimeout = rollout.TimeoutRollback }, Rollback, CodeTimeout, ""},
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
			slow(in, 900)
		}, Rollback, CodeHarm, "load time (4 s or more) ratio unknown, at least"},
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
			for _, m := range []rollout.Metric{rollout.Crash, rollout.ANR, rollout.BootFailure, rollout.Silence, rollout.ErrorLog, rollout.LowMemory} {
				gate(in, rollout.Gate{Metric: m, Off: true})
			}
		}, Wait, CodeUnproven, ""},

		{"whole segment, early", func(in *Input) { wholeSegment(in); in.Held = early }, Wait, CodeMinHold, "nothing was compared"},
		{"whole segment, waiting", wholeSegment, Wait, CodeNoControl, "nothing was compared"},
		{"whole segment, out of time, plan promotes", func(in *Input) { wholeSegment(in); in.Held = overdue }, Promote, CodeNoControl, "nothing was compared; going on by time alone"},
		{"whole segment, out of time, plan holds", func(in *Input) { wholeSegment(in); in.Held = overdue; in.Plan.OnTimeout = "" }, Hold, CodeNoControl, ""},
		{"whole segment, out of time, plan rolls back", func(in *Input) { wholeSegment(in); in.Held = overdue; in.Plan.OnTimeout = rollout.TimeoutRollback }, Rollback, CodeNoControl, ""},
		{"whole segment, no longest time", func(in *Input) { wholeSegment(in); in.Plan.Phases[1].Hold.Max = 0 }, Hold, CodeNoControl, ""},
		{"whole segment, approval missing", func(in *Input) { wholeSegment(in); in.Held = overdue; in.Plan.Phases[1].Approval = true }, Hold, CodeApproval, ""},
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
			in.Plan.Phases[1].Percent, in.Held = rollout.Everyone, overdue
			in.Strata = []Stratum{{Phase: 1, Hour: epochHour, Share: 1, Candidate: Counts{Devices: 499}}}
		}, Hold, CodeNoControl, "499 candidate devices"},
		{"everyone, counted, stale", func(in *Input) {
			in.Plan.Phases[1].Percent, in.Held = rollout.Everyone, overdue
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

// A certificate is for the margin of the phase that is judged, else the gate's, else the metric's own.
func TestMarginsOfPhases(t *testing.T) {
	in := healthy()
	for i := range in.Strata { // too few to exclude a ratio of 1.5, enough for 2
		for _, c := range []*Counts{&in.Strata[i].Candidate, &in.Strata[i].Control} {
			*c = Counts{Devices: 2000, Adopted: 1900, Returned: [NumHorizons]int64{600, 1200, 1800}}
			for _, m := range []rollout.Metric{rollout.Crash, rollout.ANR, rollout.ErrorLog, rollout.LowMemory} {
				c.Events[m.Index()] = 50
			}
		}
	}
	margins := map[rollout.Metric]rollout.Margin{}
	in.Plan.Phases[1].Margins = margins
	gate(&in, rollout.Gate{Metric: rollout.Crash, Margin: rollout.MarginAuto})
	for _, c := range []struct {
		margin rollout.Margin
		shown  float64
		code   string
	}{{0, 1.5, CodeUnproven}, {2, 2, CodeCertified}} {
		for _, m := range []rollout.Metric{rollout.Crash, rollout.ANR, rollout.ErrorLog, rollout.LowMemory} {
			if margins[m] = c.margin; c.margin == 0 {
				delete(margins, m)
			}
		}
		v := Judge(in)
		if v.Code != c.code || v.Metrics[0].Margin != c.shown {
			t.Errorf("margin %v: %s with a margin of %v: %s", c.margin, v.Code, v.Metrics[0].Margin, v.Sentence)
		}
	}
	in.Phase, in.Strata[0].Phase = 0, 0
	if v := Judge(in); v.Metrics[0].Margin != 1.5 {
		t.Errorf("another phase has a margin of %v", v.Metrics[0].Margin)
	}
}

func TestAlphaIsSplitOverWatchedGatesOnly(t *testing.T) {
	plan := rollout.Plan{Alpha: .02}
	for off, info := range rollout.AllMetrics() {
		sum := 0.0
		for _, trial := range gates(plan, 0) {
			sum += trial.alpha
		}
		if len(gates(plan, 0)) > 0 && math.Abs(sum-.02) > 1e-12 {
			t.Errorf("with %d gates off the parts of alpha sum to %v", off, sum)
		}
		plan.Gates = append(plan.Gates, rollout.Gate{Metric: info.Metric, Off: true})
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
			r.groups = append(r.groups, &group{phase: phase, share: .05 + float64(phase)*.001})
		}
		for range fleet {
			at := rng.Float64()
			for i := range r.groups {
				if g := r.groups[i]; at < g.share {
					g.candidate.devices++
				} else {
					g.control.devices++
				}
			}
		}
		all, bets := whole(r.draws(devices)), countBets()
		if logSum(all.logE(bets.up, 1), all.logE(bets.down, 1))-math.Ln2 >= -math.Log(alpha) {
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
