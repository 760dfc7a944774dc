package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
)

// start gives the newer bundle to everybody, in a rollout.
func (w *world) start() {
	w.t.Helper()
	tr, err := rollout.Start(w.state, rollout.StartRequest{
		ID: "01M0000000000000000000000A", Salt: rollout.Salt{7}, Channel: "production", Bundle: "1.1.0", Actor: "test", At: noon,
		Plan: rollout.Plan{Phases: []rollout.Phase{{Percent: rollout.Everyone, Hold: rollout.Hold{Min: rollout.Duration(time.Hour)}}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.apps().Commit(w.t.Context(), w.state, tr.ApplyTo(w.state), nil); err != nil {
		w.t.Fatal(err)
	}
}

// TestEdgesAreBelievedOnSources: reports of one network are capped as if its devices had come by themselves, and an edge that
// does not say where they come from, or says nonsense, loses nothing by it.
func TestEdgesAreBelievedOnSources(t *testing.T) {
	w := newWorld(t)
	w.start()
	crashes := func(from int, source string) {
		t.Helper()
		var requests []string
		for i := range 20 {
			requests = append(requests, fmt.Sprintf(`{"path":"/stats","body":%q%s}`, stats(uuid(from+i), "app_crash", "1.1.0"), source))
		}
		out := w.relay(`{"requests":[` + strings.Join(requests, ",") + `]}`)
		for _, a := range out.Answers {
			if a.Status != 200 || a.Body != `{"status":"ok"}` {
				t.Fatalf("%+v", a)
			}
		}
	}
	for i, c := range []struct {
		source string
		capped int // after it
	}{
		{`,"source":"203.0.113.0/24"`, 15},
		{`,"source":"203.0.113.99"`, 30}, // twenty more of the same, a quarter of whom count
		{`,"source":"2001:db8:1::/48"`, 45},
		{``, 45},
		{`,"source":""`, 45},
		{`,"source":"203.0.0.0/8"`, 45},
		{`,"source":"` + strings.Repeat("x", 500) + `"`, 45},
	} {
		crashes(100*i, c.source)
		capped := 0
		for _, e := range w.events() {
			if e.Capped {
				capped++
			}
		}
		if capped != c.capped {
			t.Errorf("%s: %d are capped, want %d", c.source, capped, c.capped)
		}
	}
}

// TestSourcesOfChecks are taken, and no batch is refused for one.
func TestSourcesOfChecks(t *testing.T) {
	w := newWorld(t)
	for i, source := range []string{"203.0.113.0/24", "", "nonsense"} {
		w.relay(batch(t, []string{strings.Replace(goodCheck, `"age":3`, fmt.Sprintf(`"age":3,"source":%q`, source), 1)}))
		if n := len(w.events()); n != i+1 {
			t.Errorf("%q: %d events", source, n)
		}
	}
}
