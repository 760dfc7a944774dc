package capgo_test

import (
	"slices"
	"testing"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/capgo/capgotest"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
)

const casesFile = "../../testdata/protocol/cases.jsonl"

// player answers requests of devices from the pure functions alone, the way a host does.
type player struct {
	snapshot *resolve.Snapshot
	answers  *capgo.Answers
	state    rollout.State
	request  capgo.Request

	recorded []string     // actions of the events that were taken for real
	effect   capgo.Effect // of a channel call
}

func newPlayer(t testing.TB, state rollout.State) *player {
	t.Helper()
	s, err := resolve.Compile(resolve.NewSpec(state))
	if err != nil {
		t.Fatal(err)
	}
	return &player{snapshot: s, answers: capgo.NewAnswers(s), state: state}
}

func (p *player) answer(method, path, query string, body []byte) (int, []byte) {
	switch {
	case method == "GET" && (path == "/updates" || path == "/stats"):
		return capgo.StatusOK, []byte(capgo.HealthBody)
	case path == "/updates":
		return p.updates(body)
	case path == "/stats":
		return p.stats(body)
	case path == "/channel_self":
		return p.channel(method, query, body)
	}
	return capgo.StatusNotFound, []byte(capgo.NotFoundBody)
}

func refused(r *capgo.Refusal) (int, []byte) { return r.Status, r.Append(nil) }

func (p *player) updates(body []byte) (int, []byte) {
	r := &p.request
	if refusal := r.ParseCheck(body); refusal != nil {
		return refused(refusal)
	}
	if r.Check.AppID != p.snapshot.App() {
		return refused(capgo.UnknownApp())
	}
	return capgo.StatusOK, p.answers.Append(nil, &r.Check, p.snapshot.Resolve(&r.Check, p.facts()))
}

func (p *player) facts() *resolve.Facts {
	return &resolve.Facts{Channel: p.state.Devices[p.request.Check.DeviceID].Channel, SetBy: "operator"}
}

func (p *player) stats(body []byte) (int, []byte) {
	batch, refusal := capgo.ParseStats(body)
	if refusal != nil {
		return refused(refusal)
	}
	if len(batch.Items) > 0 && batch.AppID != p.snapshot.App() {
		return refused(batch.RefuseAll(capgo.UnknownApp()))
	}
	batch.CheckVersions(p.snapshot.HasVersion)
	for i := range batch.Items {
		if it := &batch.Items[i]; it.Use() && !it.Event.Spurious { // which Capgo throws away
			p.recorded = append(p.recorded, batch.Items[i].Event.Action)
		}
	}
	return batch.Status(), batch.Append(nil)
}

func (p *player) channel(method, query string, body []byte) (int, []byte) {
	r := &p.request
	parse := map[string]func() *capgo.Refusal{
		"POST":   func() *capgo.Refusal { return r.ParseChannel(body) },
		"PUT":    func() *capgo.Refusal { return r.ParseChannel(body) },
		"DELETE": func() *capgo.Refusal { return r.ParseUnset(query, body) },
		"GET":    func() *capgo.Refusal { return r.ParseList(query) },
	}
	if refusal := parse[method](); refusal != nil {
		return refused(refusal)
	}
	if r.Check.AppID != p.snapshot.App() {
		return refused(capgo.UnknownApp())
	}
	decide := map[string]func() capgo.ChannelAnswer{
		"POST":   func() capgo.ChannelAnswer { return capgo.SetChannel(p.snapshot, &r.Check, p.facts(), r.Channel) },
		"PUT":    func() capgo.ChannelAnswer { return capgo.GetChannel(p.snapshot, &r.Check, p.facts(), r.Channel) },
		"DELETE": func() capgo.ChannelAnswer { return capgo.UnsetChannel(p.snapshot, &r.Check, p.facts()) },
		"GET":    func() capgo.ChannelAnswer { return capgo.ListChannels(p.snapshot, &r.Check) },
	}
	a := decide[method]()
	p.effect = a.Effect
	return capgo.StatusOK, a.Body
}

func loadCases(t testing.TB) []capgotest.Case {
	t.Helper()
	cases, err := capgotest.Load(casesFile)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestProtocolCases(t *testing.T) {
	cases := loadCases(t)
	if len(cases) < 104 {
		t.Fatalf("only %d cases: the file is not whole", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			state, err := c.State()
			if err != nil {
				t.Fatal(err)
			}
			p := newPlayer(t, state)
			status, body := p.answer(c.Method, c.Path(), c.Query(), c.Body())
			if err := c.Check(status, body); err != nil {
				t.Error(err)
			}
			if c.Endpoint == "stats" && c.Expect.StatsRecorded != nil && !slices.Equal(p.recorded, c.Expect.StatsRecorded) {
				t.Errorf("recorded %q, want %q", p.recorded, c.Expect.StatsRecorded)
			}
			if want := c.Expect.SideEffect == "device override deleted"; want != (p.effect == capgo.EffectClear) {
				t.Errorf("effect %d, want side effect %q", p.effect, c.Expect.SideEffect)
			}
		})
	}
}
