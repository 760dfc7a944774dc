package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/telemetry"
)

// shortPlan is over soon, so that it is played soon.
const shortPlan = `{"name":"short","on_timeout":"promote","holdback":1,"margin":"auto","phases":[{"percent":10,"hold":{"min":"6h","max":"12h"}},{"percent":100,"hold":{"min":"6h","max":"12h"}}]}`

func newShop(t *testing.T) *server {
	s := newServer(t)
	s.ok("PUT", shop, `{"bundles":[{"version":"1.3.0"},{"version":"1.4.0"},{"version":"1.5.0"}],"channels":[{"name":"production","bundle":"1.3.0"}]}`)
	return s
}

// begin starts a rollout and returns its id.
func (s *server) begin(body string) string {
	s.t.Helper()
	var started struct{ ID string }
	if err := json.Unmarshal([]byte(s.ok("POST", shop+"/rollouts", body).body), &started); err != nil {
		s.t.Fatal(err)
	}
	return started.ID
}

func TestForecastOfAnUnknownApp(t *testing.T) {
	s := newShop(t)
	before := s.everything()
	ask := func(seed int, more string) string {
		return s.ok("POST", shop+"/forecast", fmt.Sprintf(`{"plan":%s,"runs":4,"seed":%d,"audience":{"devices":3000,"base":{"crash":0.01}}%s}`, shortPlan, seed, more)).body
	}
	body := ask(1, "")
	if !strings.Contains(body, `"base.crash":"given"`) {
		t.Errorf("the source of the crash rate is not said in %s", lookup(body, "audience.sources"))
	}
	for path, want := range map[string]string{
		"runs": "4", "plan.name": `"short"`, "healthy.completes.of": "4", "healthy.phases#": "2", "harmful#": "4", "harmful[1].name": `"5× crash"`,
		"audience.devices": "3000", "audience.sources.devices": `"given"`, "audience.sources.sessions_per_day": `"default"`,
		"audience.base.crash": "0.01", "audience.learned_from": "[]", "advice": "missing",
	} {
		if got := lookup(body, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := lookup(ask(1, `,"regressions":[],"budget":{"harmed":3000,"ratio":10}`), "advice.within"); got != "true" {
		t.Errorf("a budget of all devices is kept: %s", got)
	}
	if ask(1, "") != body || ask(2, "") == body {
		t.Error("the seed does not decide the answer")
	}
	if s.everything() != before {
		t.Error("a forecast wrote something")
	}
}

func TestForecastRefusals(t *testing.T) {
	s := newShop(t)
	for _, c := range []struct {
		body, code string
		status     int
	}{
		{`{"runs":501}`, "invalid_forecast", 400},
		{`{"runs":-1}`, "invalid_forecast", 400},
		{`{"plan":"bold"}`, "unknown_plan", 400},
		{`{"plan":{"phases":[]}}`, "no_phases", 400},
		{`{"audience":{"devices":-5}}`, "invalid_audience", 400},
		{`{"audience":{"base":{"boredom":0.1}}}`, "invalid_audience", 400},
		{`{"regressions":[{"ratio":0.5}]}`, "invalid_forecast", 400},
		{`{"runs":2,"plan":` + shortPlan + `,"budget":{"harmed":-1}}`, "invalid_forecast", 400},
		{`{"budget":{"harmed":20,"ratio":50},"regressions":[{"ratio":2},{"ratio":3},{"ratio":4},{"ratio":5},{"ratio":6},{"ratio":7},{"ratio":8},{"ratio":9}]}`, "invalid_forecast", 400},
		{`{"budgit":{}}`, "malformed", 400},
	} {
		if a := s.do(request{method: "POST", path: shop + "/forecast", body: c.body}); a.status != c.status || lookup(a.body, "error") != `"`+c.code+`"` {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	if a := s.do(request{method: "POST", path: "/api/v1/apps/com.example.none/forecast"}); a.status != 404 {
		t.Errorf("of an app that does not exist: %d %s", a.status, a.body)
	}
}

// A plan that leaves its margins to the judge is answered with what was chosen, and keeps it.
func TestStartChoosesMargins(t *testing.T) {
	s := newShop(t)
	body := s.ok("POST", shop+"/rollouts", `{"channel":"production","bundle":"1.4.0","plan":`+shortPlan+`}`).body
	for path, want := range map[string]string{
		"margins#": "12", "margins[0].metric": `"crash"`, "margins[0].margin": "10", "margins[0].certifies": "false",
		"plan.phases[0].margins.crash": "10", "plan.phases[1].margins.low_memory": "10", "plan.margin": `"auto"`, "plan.name": `"short"`,
	} {
		if got := lookup(body, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if !strings.Contains(body, "nothing is known of the app's devices") {
		t.Error("the answer does not say why the margins are so wide")
	}
}

// TestLearning counts a rollout by hand, ends it, and looks for it in what is known of the next one.
func TestLearning(t *testing.T) {
	s := newShop(t)
	first := s.begin(`{"channel":"production","bundle":"1.4.0"}`)
	s.count(first)
	s.clock.advance(40 * time.Hour)
	if got := lookup(s.ok("GET", shop+"/audience", "").body, "learned_from"); got != "[]" {
		t.Errorf("a rollout that is live was learned from: %s", got)
	}
	s.ok("POST", shop+"/rollouts/"+first+"/halt", "")

	body := s.ok("GET", shop+"/audience?channel=production", "").body
	for path, want := range map[string]string{
		"learned_from[0]": `"` + first + `"`, "sources.devices": `"learned"`, "record.devices": "1900", "record.arriving": "2000", "record.device_hours": "76000",
	} {
		if got := lookup(body, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	var known struct {
		Devices        float64
		SessionsPerDay float64 `json:"sessions_per_day"`
		Base           map[rollout.Metric]float64
		Sources        map[string]string
	}
	if err := json.Unmarshal([]byte(body), &known); err != nil {
		t.Fatal(err)
	}
	// 19 of 1900 in 40 hours is 4.1 % in a week; what controls cannot have is not learned from a rollout that was halted.
	if known.Devices < 2000 || known.Devices > 2600 || known.SessionsPerDay < 1.5 || known.SessionsPerDay > 3 || known.Base[rollout.Crash] < .035 || known.Base[rollout.Crash] > .047 {
		t.Errorf("known: %+v", known)
	}
	if known.Sources["base.crash"] != "learned" || known.Sources["base.boot_failure"] != "default" {
		t.Errorf("sources %v", known.Sources)
	}

	second := s.begin(`{"channel":"production","bundle":"1.5.0","plan":` + shortPlan + `}`)
	state, err := (store.Apps{Store: s.store}).Load(context.Background(), "com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	r := state.Rollouts[second]
	if r.Record == nil || r.Record.Devices != 1900 || r.Record.Events[rollout.Crash.Index()] != 19 {
		t.Errorf("the rollout started with the record %+v", r.Record)
	}
	if m := r.Plan.Phases[1].Margins[rollout.BootFailure]; m <= 1 || m >= 10 {
		t.Errorf("with 2000 devices known, the margin of boot failures is %v", m)
	}
}

// count puts an hour of 2000 devices into the tallies of a rollout's first phase.
func (s *server) count(id string) {
	s.t.Helper()
	arm := func(devices, crashes int64) telemetry.Tally {
		c := judge.Counts{Devices: devices, Returned: [3]int64{devices * 17 / 100, devices / 2, devices * 77 / 100}}
		c.Events[rollout.Crash.Index()] = crashes
		return telemetry.Tally{Counts: c}
	}
	hour := s.clock.now().Unix() / 3600
	fold := store.Fold{App: "com.example.shop", Rollout: id, Newest: s.clock.now().UnixMilli(), Tallies: map[telemetry.TallyKey]telemetry.Tally{
		{Hour: hour, Arm: rollout.ArmCandidate}: arm(100, 50),
		{Hour: hour, Arm: rollout.ArmControl}:   arm(1900, 19),
	}}
	if _, err := (store.Shard{Store: s.store, Stream: "s", Name: "a"}).Commit(context.Background(), store.Checkpoint{}, store.Checkpoint{Position: "1"}, fold); err != nil {
		s.t.Fatal(err)
	}
}

// unread is a store whose counts of rollouts cannot be read.
type unread struct{ store.Store }

func (u unread) Query(ctx context.Context, r store.Range, c store.Consistency) ([]store.Item, error) {
	if strings.HasPrefix(r.PK, "TALLY#") {
		return nil, store.ErrUnavailable
	}
	return u.Store.Query(ctx, r, c)
}

// A start does without what earlier rollouts show, and says so; a plan that has no use for it does not ask.
func TestStartWithoutThePast(t *testing.T) {
	s := newShop(t)
	s.ok("POST", shop+"/rollouts/"+s.begin(`{"channel":"production","bundle":"1.4.0"}`)+"/halt", "")
	var log bytes.Buffer
	service, err := admin.New(admin.Config{Store: unread{s.store}, Now: s.clock.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	client := &handlerClient{handler: service.Handler()}
	fixed := strings.Replace(shortPlan, `"auto"`, `2`, 1)
	for _, c := range []struct {
		plan, margins string
		warns         bool
	}{{fixed, "missing", false}, {shortPlan, "12", true}} {
		log.Reset()
		status, body := client.do("POST", shop+"/rollouts", "application/json", `{"channel":"production","bundle":"1.5.0","hotfix":true,"plan":`+c.plan+`}`)
		if status != 201 || strings.Contains(body, "could not be read in time") != c.warns || strings.Contains(log.String(), "level=ERROR") != c.warns {
			t.Errorf("%s: %d %s\n%s", c.plan, status, body, log.String())
		}
		if c.warns && lookup(body, "margins[0].margin") != "10" {
			t.Errorf("margins %s", lookup(body, "margins"))
		}
	}
}

// A forecast whose margins a start would not take says so.
func TestForecastSaysWhatAStartWouldTake(t *testing.T) {
	view := admin.TypicalAudience()
	shown := forecast.Forecast{Margins: []forecast.Choice{{Metric: rollout.Crash}, {Metric: rollout.Silence}}}
	says := func(want string) {
		t.Helper()
		if got := strings.Join(view.Cautions(shown), "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	says("nothing was learned yet")
	view.Record = &rollout.Record{}
	view.Sources["devices"], view.Sources["sessions_per_day"] = "learned", "learned"
	says("here base.crash are given or typical")
	view.Sources["base.crash"] = "learned"
	says("")
	view.Record, shown.Margins = nil, nil
	says("")
}
