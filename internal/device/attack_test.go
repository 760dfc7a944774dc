package device_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/palier-ota/palier/internal/aggregate"
	"github.com/palier-ota/palier/internal/device"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/promote"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// fight is a healthy rollout that somebody wants to be taken back: real devices and scripts, over HTTP, and all that there
// is from the request to the judge's deed.
type fight struct {
	*world
	server     *httptest.Server
	aggregator *aggregate.Aggregator
	ticker     *promote.Ticker
	asked      map[string]bool // in this phase
}

const (
	realDevices = 1600
	perNetwork  = 8 // of them
	crashOneIn  = 5 // of them crash, whatever they run
	budget      = 200
)

// newFight has a rollout to half of the devices, of which all ask, and some crash.
func newFight(t *testing.T, limits device.SourceLimits) *fight {
	w := newWorld(t)
	w.limits = limits
	w.restart()
	w.start()
	silent := slog.New(slog.DiscardHandler)
	f := &fight{
		world: w, server: httptest.NewServer(w.handler), asked: map[string]bool{},
		aggregator: &aggregate.Aggregator{Stream: w.stream, Store: w.store, Name: "telemetry", Log: silent},
		ticker: &promote.Ticker{
			Apps: w.apps, Tallies: store.Tallies{Store: w.store}, Verdicts: store.Verdicts{Store: w.store}, Now: w.clock.Now, Log: silent,
		},
	}
	t.Cleanup(f.server.Close)
	f.life()
	if o := f.judged(); o.Verdict.Code == judge.CodeHarm || o.Verb != "" {
		t.Fatalf("without any attack: %s %s", o.Verb, o.Verdict.Sentence)
	}
	return f
}

// scripted is a device of the attacker, and the address that it uses.
type scripted struct{ address, id string }

// scripts returns n devices of the attacker at an address; the number makes them others.
func scripts(number, n int) []scripted {
	list := make([]scripted, n)
	for i := range list {
		list[i] = scripted{fmt.Sprintf("198.%d.%d.7", 18+number/256, number%256), uuid(1_000_000 + 1000*number + i)}
	}
	return list
}

// life lets the real devices ask, and some of them crash.
func (f *fight) life() {
	f.t.Helper()
	all := make([]scripted, realDevices)
	for i := range all {
		network := i / perNetwork
		all[i] = scripted{fmt.Sprintf("100.%d.%d.%d", 64+network/256, network%256, i%perNetwork), uuid(i)}
	}
	f.ask(all)
	var crashed []scripted
	for i := 0; i < realDevices; i += crashOneIn {
		crashed = append(crashed, all[i])
	}
	f.complain("app_crash", crashed)
}

// ask lets devices ask for updates and returns those that are offered the candidate: they know their arm then.
func (f *fight) ask(list []scripted) (candidates []scripted) {
	f.t.Helper()
	answers := f.post("/updates", list, func(s scripted) fields { return says(s.id, fields{"version_name": "1.0.1"}) })
	for i, s := range list {
		f.asked[s.id] = true
		if strings.Contains(answers[i], `"version":"1.1.0"`) {
			candidates = append(candidates, s)
		}
	}
	f.until("the checks rest on the stream", func() bool {
		st := f.service.Stats()
		return st.ChecksNoted+st.ChecksLeftOut == int64(len(f.asked))
	})
	return candidates
}

// complain lets devices report something of the candidate.
func (f *fight) complain(action string, list []scripted) {
	f.t.Helper()
	for _, answer := range f.post("/stats", list, func(s scripted) fields { return says(s.id, event(action, "1.1.0")) }) {
		if answer != `{"status":"ok"}` {
			f.t.Fatalf("a report is answered %s", answer)
		}
	}
}

// post sends a request for each device, some at once, and returns the answers.
func (f *fight) post(path string, list []scripted, body func(scripted) fields) []string {
	f.t.Helper()
	answers := make([]string, len(list))
	var all errgroup.Group
	all.SetLimit(8)
	for i, s := range list {
		text := encode(f.t, body(s))
		all.Go(func() error {
			r, err := http.NewRequest("POST", f.server.URL+path, strings.NewReader(text))
			if err != nil {
				return err
			}
			r.Header.Set("X-Forwarded-For", s.address)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			answers[i] = string(answer)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		f.t.Fatal(err)
	}
	return answers
}

// judged counts all that is on the stream and lets the judge look, and act.
func (f *fight) judged() promote.Outcome {
	f.t.Helper()
	shards, err := f.stream.Shards(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, shard := range shards {
		for n := 1; n > 0; {
			if n, err = f.aggregator.Step(f.t.Context(), shard); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	f.clock.pass(time.Minute)
	outcomes, err := f.ticker.Tick(f.t.Context())
	if err != nil || len(outcomes) != 1 || outcomes[0].Err != nil {
		f.t.Fatalf("%v, %v", outcomes, err)
	}
	return outcomes[0]
}

// crashes returns how many devices of each arm crashed, as the judge counts them.
func crashes(o promote.Outcome) (candidate, control int64) {
	for _, e := range o.Verdict.Metrics {
		if e.Metric == rollout.Crash {
			return e.Candidate, e.Control
		}
	}
	return 0, 0
}

// flipped reports whether the judge turned against the bundle.
func flipped(o promote.Outcome) bool { return o.Verdict.Code == judge.CodeHarm }

// TestOneAddressCannotTakeABundleBack: with the budget of devices behind one address, all of which ask and then, as far as they
// got the bundle, complain of it. Without the bounds that is enough.
func TestOneAddressCannotTakeABundleBack(t *testing.T) {
	for name, c := range map[string]struct {
		limits device.SourceLimits
		flips  bool
	}{
		"bounded":   {device.SourceLimits{}, false},
		"unbounded": {device.SourceLimits{Floor: 1 << 20}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFight(t, c.limits)
			before, _ := crashes(f.judged())
			candidates := f.ask(scripts(0, budget))
			f.complain("app_crash", candidates)
			o := f.judged()
			after, control := crashes(o)
			if flipped(o) != c.flips {
				t.Errorf("%d forged crashes of %d: %s", after-before, len(candidates), o.Verdict.Sentence)
			}
			if c.flips {
				return
			}
			if after-before != budget/4 || control == 0 || f.service.Stats().EventsCapped != int64(len(candidates)-budget/4) {
				t.Errorf("%d forged crashes count, %d are capped", after-before, f.service.Stats().EventsCapped)
			}
		})
	}
}

// TestManyAddressesCan: what the bounds do is make an attack cost networks. About the same devices are enough when they
// come from so many that few of each are candidates; how many that takes is what there is to know of it.
func TestManyAddressesCan(t *testing.T) {
	t.Parallel()
	f := newFight(t, device.SourceLimits{})
	before, _ := crashes(f.judged())
	const perAddress, step, most = 10, 2, 2 * budget / 10
	for addresses := 0; addresses < most; {
		var list []scripted
		for range step {
			list = append(list, scripts(addresses, perAddress)...)
			addresses++
		}
		f.complain("app_crash", f.ask(list))
		if o := f.judged(); flipped(o) {
			forged, _ := crashes(o)
			t.Logf("%d devices behind %d addresses flip a rollout with %d real crashes, by %d crashes that count: %s", addresses*perAddress,
				addresses, realDevices/crashOneIn, forged-before, o.Verdict.Sentence)
			if addresses < 5 {
				t.Errorf("%d addresses are too few", addresses)
			}
			return
		}
	}
	t.Errorf("%d devices behind %d addresses cannot either: then the bounds are not what holds", most*perAddress, most)
}

// TestWhoNeverAskedCountsNothing, from however many addresses.
func TestWhoNeverAskedCountsNothing(t *testing.T) {
	t.Parallel()
	f := newFight(t, device.SourceLimits{})
	was := f.judged()
	var never []scripted
	for n := range 100 {
		never = append(never, scripts(n, 5)...)
	}
	f.complain("app_crash", never)
	f.complain("update_fail", never)
	o := f.judged()
	before, control := crashes(was)
	if candidate, other := crashes(o); candidate != before || other != control || flipped(o) {
		t.Errorf("%d and %d crashes became %d and %d: %s", before, control, candidate, other, o.Verdict.Sentence)
	}
}

// TestAFloodOfCandidatesHoldsTheRollout: whoever knows from one phase which of his devices are candidates can let only those
// ask in the next. That does not fit the design, so a person is asked and nothing is taken back, whatever they complain of.
func TestAFloodOfCandidatesHoldsTheRollout(t *testing.T) {
	t.Parallel()
	f := newFight(t, device.SourceLimits{})
	var all []scripted
	for n := range 60 {
		all = append(all, scripts(n, 20)...)
	}
	candidates := f.ask(all)
	before, err := f.apps.Load(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := rollout.Operate(before, rolloutID, rollout.Command{Verb: rollout.VerbPromote, Actor: "test", At: f.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	f.commit(before, tr.ApplyTo(before))
	f.service.Forget(app)
	f.clock.pass(time.Hour)
	noted := len(f.asked)
	f.asked = map[string]bool{}
	for i := range noted { // what was noted before counts on in Stats
		f.asked[fmt.Sprint(i)] = true
	}
	f.life()
	f.ask(candidates)
	f.complain("app_crash", candidates)
	o := f.judged()
	if o.Verdict.Decision != judge.Hold || o.Verdict.Code != judge.CodeSampleRatio || o.Rollout.State != rollout.Running {
		t.Errorf("%s, %s, %s: %s", o.Rollout.State, o.Verdict.Decision, o.Verdict.Code, o.Verdict.Sentence)
	}
}
