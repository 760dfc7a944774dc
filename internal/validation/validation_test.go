package validation

import (
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry"
)

// These tests are the validation in small: the same code, fewer worlds and runs. The figures that count are those of
// `make validate-judge`, in internal/judge/VALIDATION.md.

func studyOf(t *testing.T, runs int) *study {
	t.Helper()
	return newStudy(t.Context(), Options{Runs: runs, Seed: 1})
}

// worldNamed returns a cell of the matrix.
func worldNamed(t *testing.T, name string) world {
	t.Helper()
	all := worlds()
	i := slices.IndexFunc(all, func(w world) bool { return w.name == name })
	if i < 0 {
		t.Fatalf("there is no world %q", name)
	}
	return all[i]
}

func TestHarmlessBundlesAreNotStopped(t *testing.T) {
	cells := []world{worldNamed(t, "base rate ×3 at phase 3"), worldNamed(t, "late and repeated reports"), worldNamed(t, "crash loops, mean 5")}
	alarms, err := studyOf(t, 70).falseAlarms(cells)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alarms {
		t.Logf("%+v", a)
		if a.Crashes < 250 || a.Events < 5000 {
			t.Errorf("%s: only %.0f crashed devices and %.0f events in a run: that shows nothing", a.World, a.Crashes, a.Events)
		}
	}
	for _, failure := range (Report{Alarms: alarms}).Failures() {
		t.Error(failure)
	}
}

// What never alarms would pass the test above. In the same worlds a harmful bundle is stopped.
func TestHarmfulBundlesAreStopped(t *testing.T) {
	w := worldNamed(t, "late and repeated reports")
	w.ratio, w.rates[crash] = 3, .05
	alarms, err := studyOf(t, 20).falseAlarms([]world{w})
	if err != nil {
		t.Fatal(err)
	}
	if a := alarms[0]; a.Stopped[1] < a.Runs*3/4 {
		t.Errorf("a threefold crash rate was stopped in %d of %d runs", a.Stopped[1], a.Runs)
	}
	if len((Report{Alarms: alarms}).Failures()) == 0 {
		t.Error("so many alarms of a harmless bundle would pass")
	}
}

// The strata that are kept up to date are those that the store's tallies give.
func TestStrataAreThoseOfTheTallies(t *testing.T) {
	w := worldNamed(t, "all at once")
	s := stage{names: identities(3000)}
	if err := s.play(&w, seeded(1, "strata", 0), func(int, judge.Input) move { return stay }); err != nil {
		t.Fatal(err)
	}
	got := slices.Clone(s.ledger.strata)
	slices.SortFunc(got, func(a, b judge.Stratum) int { return int(a.Phase-b.Phase)*1_000_000 + int(a.Hour-b.Hour) })
	want := s.ledger.tallies().Strata(s.ledger.share)
	if len(got) < 48 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d strata do not agree with the %d of the tallies", len(got), len(want))
	}
}

// Every gate has work in the matrix: of each metric events are counted, and devices fall silent.
func TestWorldsKeepEveryGateBusy(t *testing.T) {
	w := worldNamed(t, "phase jumps 5 → 20 → 50 %")
	s := stage{names: identities(3000)}
	var sum telemetry.Tally
	for run := range 5 {
		if err := s.play(&w, seeded(1, "busy", run), func(int, judge.Input) move { return stay }); err != nil {
			t.Fatal(err)
		}
		for _, row := range s.ledger.tallies().Rows {
			sum = sum.Add(row.Tally, 1)
		}
	}
	for i, info := range rollout.AllMetrics() {
		if events := sum.Events[i]; info.Metric != rollout.Silence && events < 2 {
			t.Errorf("%s: %d events in five runs", info.Metric, events)
		}
	}
	for m, measure := range sum.Measured {
		if measure.Devices < 100 || measure.Beyond[rollout.ShownLevel] < 5 {
			t.Errorf("measure %d: %d devices, %v beyond the boundaries", m, measure.Devices, measure.Beyond)
		}
	}
	for h, returned := range sum.Returned {
		if silent := sum.Devices - returned; returned < 100 || silent < 100 {
			t.Errorf("within %d h %d devices came back and %d did not", judge.SilenceHorizons[h], returned, silent)
		}
	}
	if sum.Unknown != 0 {
		t.Errorf("%d reports of an action that is unknown", sum.Unknown)
	}
}

func TestSameSeedSameFigures(t *testing.T) {
	cells := []world{worldNamed(t, "devices come and go")}
	var first []Alarms
	for _, workers := range []int{1, 3} {
		alarms, err := newStudy(t.Context(), Options{Runs: 20, Seed: 7, Workers: workers}).falseAlarms(cells)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = alarms
		}
		if !reflect.DeepEqual(first, alarms) {
			t.Errorf("%d workers: %+v, one worker: %+v", workers, alarms, first)
		}
	}
}

func TestOrderOfEventsChangesNothing(t *testing.T) {
	order, err := studyOf(t, 1).orderOf(worldNamed(t, "late and repeated reports"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if order.Different != 0 || order.Events < 5000 {
		t.Errorf("%+v", order)
	}
}

func TestIntervalsCover(t *testing.T) {
	coverage, err := studyOf(t, 1).coverage()
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range (Report{Coverage: coverage}).Failures() {
		t.Error(failure)
	}
}

func TestRegressionsAreFoundInTime(t *testing.T) {
	for _, cell := range []Detection{
		{Base: .005, Share: .05, Ratio: 5, Limit: guard * 261},
		{Base: .02, Share: .05, Ratio: 10, Limit: guard * 19},
		{Base: .005, Share: .05, Ratio: 3, Healthy: 20_000, Limit: 4615},
	} {
		if err := studyOf(t, 300).detect(&cell); err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", cell)
		if !cell.Holds() || cell.Median < cell.Limit/4 {
			t.Errorf("%+v", cell)
		}
	}
}

func TestReportedSeries(t *testing.T) {
	for _, v := range Vectors() {
		if v.Code != v.Want {
			t.Errorf("%s: %s (%s), want %s: %s", v.Name, v.Decision, v.Code, v.Want, v.Sentence)
		}
		if v.Decision == judge.Promote {
			t.Errorf("%s: promoted", v.Name)
		}
		if strings.HasPrefix(v.Kayenta, string(kayentaHigh)) {
			t.Errorf("%s: Kayenta is reported to miss this, but its rule here says %s", v.Name, v.Kayenta)
		}
	}
}

func TestForgedDevices(t *testing.T) {
	f := forgeries()
	probing, knowing, capped, flood := f[0], f[2], f[3], f[len(f)-1]
	s := stage{names: identities(20_000)}
	for _, devices := range []int{500, 5000} {
		again := func() source { return seeded(1, "forged", devices) }
		asks, err := s.attacked(victim(devices), probing, again())
		if err != nil {
			t.Fatal(err)
		}
		alone, err := s.attacked(victim(devices), knowing, again())
		if err != nil {
			t.Fatal(err)
		}
		fromOne, err := s.attacked(victim(devices), capped, again())
		if err != nil {
			t.Fatal(err)
		}
		flooded, err := s.attacked(victim(devices), flood, again())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d devices: %+v if all ask, %+v if only candidates do, %+v from one source, flood %+v", devices, asks, alone, fromOne, flooded)
		if asks.paused < 5*alone.paused {
			t.Errorf("%d devices: %v forged ones that must probe pause it, %v that need not", devices, asks.paused, alone.paused)
		}
		if fromOne.rolledBack <= alone.rolledBack {
			t.Errorf("%d devices: the cap of a source changes nothing: %v and %v", devices, fromOne, alone)
		}
		if never(flooded.held) || !never(flooded.paused) || !never(flooded.rolledBack) {
			t.Errorf("%d devices: a flood of candidates leads to %+v instead of a hold", devices, flooded)
		}
	}
}

// Reports that were heard before, and reports of devices that never asked, count for nothing in any number.
func TestRepeatedAndUnknownDevicesCountForNothing(t *testing.T) {
	const budget = 100_000
	s := stage{names: identities(600)}
	w := victim(500)
	var last judge.Input
	if err := s.play(&w, seeded(1, "repeated", 0), func(_ int, in judge.Input) move { last = in; return stay }); err != nil {
		t.Fatal(err)
	}
	before, newest := slices.Clone(s.ledger.strata), last.Newest
	a := attacker{stage: &s, forgery: forgery{}, at: last.Now.Add(-1)}
	crashed := s.crowd.devices[slices.IndexFunc(s.crowd.devices, func(d device) bool { return d.exposed })].fingerprint
	a.crash(crashed)
	if err := s.ledger.fold(0, nil); err != nil {
		t.Fatal(err)
	}
	once := slices.Clone(s.ledger.strata)
	if reflect.DeepEqual(before, once) {
		t.Fatal("the first report of a device that was seen is not counted, so the test shows nothing")
	}
	for i := range uint64(budget) {
		a.crash(crashed)
		a.crash(telemetry.Fingerprint("nobody") + i)
	}
	if err := s.ledger.fold(0, nil); err != nil {
		t.Fatal(err)
	}
	if now, _ := s.ledger.clocks(); !reflect.DeepEqual(once, s.ledger.strata) || !now.Equal(newest) {
		t.Errorf("%d repeated reports and as many of devices that never asked changed the tallies", budget)
	}
}

func TestSmallAppCompletesAndIsProtected(t *testing.T) {
	s := studyOf(t, 1)
	day := rollout.Duration(24 * time.Hour)
	plan := rollout.Resolve(rollout.Plan{
		Name: "for small apps", OnTimeout: rollout.TimeoutPromote, Holdback: 5 * rollout.OnePercent, Margin: 3,
		Phases: []rollout.Phase{
			{Percent: 20 * rollout.OnePercent, Hold: rollout.Hold{Min: day, Max: day}},
			{Percent: rollout.Everyone, Hold: rollout.Hold{Min: day, Max: day}},
		},
	})
	healthy, err := s.healthy(plan)
	if err != nil {
		t.Fatal(err)
	}
	killer, err := s.killer(plan, killings()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v; %+v", healthy, killer)
	if healthy.Completed < healthy.Runs-1 || healthy.Stopped > 0 || killer.Stopped < killer.Runs || killer.Most > killedDevices {
		t.Errorf("a harmless bundle completes in %d of %d runs; a killer is stopped in %d of %d, after %v devices at most",
			healthy.Completed, healthy.Runs, killer.Stopped, killer.Runs, killer.Most)
	}
}

func TestRulesOfRivals(t *testing.T) {
	if got := wilsonLower(5, 100); math.Abs(got-.02154) > 1e-4 { // published tables: 2.15 %
		t.Errorf("Wilson's lower bound of 5 in 100 is %v", got)
	}
	hour := func(h tally) seen { return seen{hours: []tally{h}, normal: .01, limit: 2, fails: .02} }
	for _, c := range []struct {
		name  string
		stops func(seen) bool
		in    tally
		want  bool
	}{
		{"Wilson, 5 of 100", wilson, tally{installed: 95, failed: 5}, true},
		{"Wilson, 4 of 100", wilson, tally{installed: 96, failed: 4}, false},
		{"Wilson, too few", wilson, tally{installed: 9, failed: 10}, false},
		{"threshold, 2 of 100", threshold, tally{active: [2]int{100, 0}, crashed: [2]int{2, 0}}, true},
		{"threshold, 1 of 100", threshold, tally{active: [2]int{100, 0}, crashed: [2]int{1, 0}}, false},
		{"threshold, too few", threshold, tally{active: [2]int{99, 0}, crashed: [2]int{50, 0}}, false},
	} {
		if got := c.stops(hour(c.in)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestClopperPearson(t *testing.T) {
	for _, n := range []int{10, 500, 10_000} { // no case in n: 1 − 0.01^(1/n)
		if got, want := clopperPearson(0, n), 1-math.Pow(.01, 1/float64(n)); math.Abs(got-want) > 1e-6 {
			t.Errorf("0 of %d: upper bound %v, want %v", n, got, want)
		}
	}
	if most := 77; Shown(most, FullRuns, .01) != shown || Shown(most+1, FullRuns, .01) != refuted {
		t.Errorf("of %d runs, %d alarms and no more should show a rate of 0.01", FullRuns, most)
	}
}

// The document in the repository is about the judge as it is, and has figures that few runs cannot have.
func TestTheDocumentIsAboutThisJudge(t *testing.T) {
	text, err := os.ReadFile("../judge/VALIDATION.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), versionLine()) {
		t.Errorf("internal/judge/VALIDATION.md does not say %q: run make validate-judge", versionLine())
	}
}
