package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

// started makes an app with a rollout and returns the rollout's id.
func (s *server) started(body string) string {
	s.t.Helper()
	s.ok(http.MethodPut, "/api/v1/apps/com.example.shop", `{"app":"com.example.shop","bundles":[{"version":"1.0.0"},{"version":"1.1.0"}],
		"channels":[{"name":"production","bundle":"1.0.0","public":true}]}`)
	var view admin.RolloutView
	if err := json.Unmarshal([]byte(s.ok(http.MethodPost, "/api/v1/apps/com.example.shop/rollouts", body).body), &view); err != nil {
		s.t.Fatal(err)
	}
	return view.ID
}

// verdictAt is the verdict of a tick so many minutes after the start, by which time as many devices had come in each of so
// many hours; of the hours, every seventh is gone again at every third tick.
func verdictAt(t *testing.T, start time.Time, minute, hours int) store.VerdictRecord {
	t.Helper()
	plan, _ := rollout.BuiltinPlan(rollout.DefaultPlan)
	in := judge.Input{Plan: plan, Held: time.Duration(minute) * time.Minute, Now: start.Add(time.Duration(minute)*time.Minute + 7*time.Nanosecond), Strata: []judge.Stratum{}}
	in.Newest = in.Now
	for hour := range hours {
		if minute%3 == 2 && hour%7 == 6 {
			continue
		}
		s := judge.Stratum{Hour: int64(hour), Share: .05}
		s.Candidate.Devices, s.Control.Devices = 50, 950
		if hour > hours-3 {
			s.Candidate.Devices += int64(minute)
			s.Candidate.Events[0] = int64(minute)
		}
		in.Strata = append(in.Strata, s)
	}
	verdict, err := json.Marshal(judge.Judge(in))
	if err != nil {
		t.Fatal(err)
	}
	return store.VerdictRecord{Judge: judge.Version, Arch: "amd64", Input: in, Verdict: verdict, Verb: rollout.VerbPause}
}

// verdicts pages through the verdicts on a rollout and puts them together. It returns how many pages and bytes that took.
func (s *server) verdicts(id string, limit int) (all []store.VerdictRecord, pages, most int) {
	s.t.Helper()
	for after := ""; ; pages++ {
		answer := s.ok(http.MethodGet, fmt.Sprintf("/api/v1/apps/com.example.shop/rollouts/%s/verdicts?limit=%d&after=%s", id, limit, after), "")
		most = max(most, len(answer.body))
		var page admin.Items[admin.VerdictView]
		if err := json.Unmarshal([]byte(answer.body), &page); err != nil {
			s.t.Fatal(err)
		}
		var strata []judge.Stratum
		for _, v := range page.Items {
			strata = v.StrataOf(strata)
			v.Input.Strata = strata
			all = append(all, store.VerdictRecord{ID: v.ID, Judge: v.Judge, Arch: v.Arch, Input: v.Input, Verdict: v.Verdict, Verb: v.Verb})
		}
		if after = page.Next; after == "" {
			return all, pages + 1, most
		}
	}
}

// TestVerdictsArriveAsTheyWereGiven in pages that fit.
func TestVerdictsArriveAsTheyWereGiven(t *testing.T) {
	s := newServer(t)
	id := s.started(`{"channel":"production","bundle":"1.1.0"}`)
	if all, _, _ := s.verdicts(id, 50); len(all) != 0 {
		t.Fatalf("%d verdicts before any was given", len(all))
	}
	var want []store.VerdictRecord
	for minute := range 60 {
		r := verdictAt(t, s.clock.now(), minute, 1+200*(minute/50)) // large ones at the end
		var err error
		if r.ID, err = (store.Verdicts{Store: s.store}).Append(t.Context(), "com.example.shop", id, r); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	for limit, pages := range map[int]int{7: 9, 20: 3, 200: 1} {
		got, n, most := s.verdicts(id, limit)
		if !reflect.DeepEqual(got, want) || n != pages {
			t.Errorf("limit %d: %d verdicts on %d pages, want %d on %d as they were stored", limit, len(got), n, len(want), pages)
		}
		t.Logf("limit %d: pages of %d bytes at most", limit, most)
	}
}

// TestPagesOfVerdictsAreBounded lets all strata change with every verdict.
func TestPagesOfVerdictsAreBounded(t *testing.T) {
	s := newServer(t)
	id := s.started(`{"channel":"production","bundle":"1.1.0"}`)
	for minute := range 4 {
		r := verdictAt(t, s.clock.now(), minute, 1)
		for hour := range int64(1200) {
			arm := judge.Counts{Devices: int64(minute)}
			for i := range arm.Measured {
				for level := range arm.Measured[i].Beyond {
					arm.Measured[i].Beyond[level] = int64(1_000_000 + minute)
				}
			}
			r.Input.Strata = append(r.Input.Strata, judge.Stratum{Hour: 1 + hour, Share: .5, Candidate: arm, Control: arm})
		}
		if _, err := (store.Verdicts{Store: s.store}).Append(t.Context(), "com.example.shop", id, r); err != nil {
			t.Fatal(err)
		}
	}
	all, pages, most := s.verdicts(id, 200)
	if len(all) != 4 || pages < 2 || most > 4<<20+100 {
		t.Errorf("%d verdicts on %d pages of %d bytes at most", len(all), pages, most)
	}
}

func TestRefusedQuestionsForVerdicts(t *testing.T) {
	s := newServer(t)
	id := s.started(`{"channel":"production","bundle":"1.1.0"}`)
	for path, status := range map[string]int{
		"/api/v1/apps/com.example.none/rollouts/" + id + "/verdicts":           http.StatusNotFound,
		"/api/v1/apps/com.example.shop/rollouts/none/verdicts":                 http.StatusNotFound,
		"/api/v1/apps/com.example.shop/rollouts/" + id + "/verdicts?limit=201": http.StatusBadRequest,
		"/api/v1/apps/com.example.shop/rollouts/" + id + "/verdicts?limit=0":   http.StatusBadRequest,
	} {
		if a := s.do(request{method: http.MethodGet, path: path}); a.status != status {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
		}
	}
	if a := s.do(request{method: http.MethodGet, path: "/api/v1/apps/com.example.shop/rollouts/" + id + "/verdicts", noToken: true}); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.status)
	}
}

func TestAShadowIsStartedAndShown(t *testing.T) {
	s := newServer(t)
	id := s.started(`{"channel":"production","bundle":"1.1.0","shadow":true}`)
	var view admin.RolloutView
	if err := json.Unmarshal([]byte(s.ok(http.MethodGet, "/api/v1/apps/com.example.shop/rollouts/"+id, "").body), &view); err != nil || !view.Shadow {
		t.Errorf("%v: shown as %+v", err, view)
	}
}
