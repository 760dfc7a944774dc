package edgehost_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/edgehost"
	"github.com/palier-ota/palier/internal/store"
)

// report lets devices report an action at once, and returns how many got each status.
func (e *edge) report(action string, devices ...int) map[int]int {
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for _, n := range devices {
		all.Go(func() {
			r, err := try("POST", e.url+"/stats", says(id(n), "1.0.0", action))
			if err != nil {
				e.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
		})
	}
	all.Wait()
	return statuses
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// rests demands that each device's action rests on the stream so often.
func (o *origin) rests(action string, devices, times int) {
	o.t.Helper()
	events := o.events()
	for n := range devices {
		if got := events[key(id(n), action)]; got != times {
			o.t.Errorf("device %d: %s is there %d times, want %d", n, action, got, times)
		}
	}
}

// What many devices report within a moment goes to the origin together, and each gets its own answer.
func TestReportsAreGathered(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Gather = 150 * time.Millisecond })
	const devices = 250
	var all sync.WaitGroup
	for n := range devices {
		all.Go(func() {
			body, want := says(id(n), "1.0.0", "set"), `{"status":"ok"}`
			if n%5 == 0 {
				body, want = fmt.Sprintf(`{"x":%d}`, n), "error"
			}
			r, err := try("POST", e.url+"/stats", body)
			if err != nil || !strings.Contains(r.text, want) {
				t.Errorf("device %d: %d %s, %v", n, r.status, r.text, err)
			}
		})
	}
	all.Wait()
	if n := o.times("POST /relay"); n < 3 || 3*n > devices {
		t.Errorf("%d requests for %d reports", n, devices)
	}
	if n := o.times("POST /stats"); n != 0 {
		t.Errorf("%d were sent one by one", n)
	}
	events := o.events()
	for n := range devices {
		want := 1
		if n%5 == 0 {
			want = 0
		}
		if got := events[key(id(n), "set")]; got != want {
			t.Errorf("device %d: there %d times, want %d", n, got, want)
		}
	}
}

// A spool answers 200 while the origin is away, and hands everything over, once, when it is back.
func TestSpoolOutlivesTheOrigin(t *testing.T) {
	for name, state := range map[string]int32{"cut": cut, "failing": failing, "strange": strange} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.serves("1.1.0")
			dir := t.TempDir()
			e := o.edge(func(c *edgehost.Config) { c.Spool = dir })
			o.state.Store(state)
			const devices = 300
			if got := e.report("set", numbers(devices)...); got[200] != devices {
				t.Errorf("answered %v", got)
			}
			if r := ask(t, "POST", e.url+"/telemetry", metrics(id(1), 250)); r.status != 200 || r.text != `{"status":"ok"}` || r.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("app metrics: %d %s", r.status, r.text)
			}
			if s := e.status(); s.Queue.Requests != devices+1 || s.Queue.Bytes == 0 || s.Counts["kept"] != devices+1 {
				t.Errorf("%+v", s)
			}
			o.rests("set", devices, 0)
			o.state.Store(fine)
			eventually(t, "the spool is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
			o.rests("set", devices, 1)
			if files, err := filepath.Glob(filepath.Join(dir, "telemetry", "spool-*")); err != nil || len(files) != 0 {
				t.Errorf("left behind: %v %v", files, err)
			}
		})
	}
}

// Without a spool nobody is told that a report is safe; it is handed over all the same.
func TestMemoryAsksDevicesToKeepReports(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(nil)
	o.state.Store(cut)
	const devices = 40
	if got := e.report("set", numbers(devices)...); got[429] != devices {
		t.Errorf("answered %v", got)
	}
	o.state.Store(fine)
	eventually(t, "the queue is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
	o.rests("set", devices, 1)
}

// Beyond its bound a backlog takes nothing more, and no device is told otherwise.
func TestBacklogIsBounded(t *testing.T) {
	for name, spool := range map[string]bool{"memory": false, "spool": true} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.serves("1.1.0")
			e := o.edge(func(c *edgehost.Config) {
				c.Queue = 10_000
				if spool {
					c.Spool = t.TempDir()
				}
			})
			o.state.Store(cut)
			got := e.report("set", numbers(100)...)
			s := e.status()
			if s.Queue.Bytes > 10_000 || s.Queue.Requests < 20 || s.Queue.Requests > 60 {
				t.Errorf("%+v", s.Queue)
			}
			want := map[bool]int{true: s.Queue.Requests, false: 0}[spool]
			if got[200] != want || got[429] != 100-want {
				t.Errorf("answered %v, %d are kept", got, s.Queue.Requests)
			}
			o.state.Store(fine)
			eventually(t, "the backlog is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
			if n := len(o.events()); n != s.Queue.Requests {
				t.Errorf("%d events rest on the stream, %d were kept", n, s.Queue.Requests)
			}
			if r := e.stats(id(1000), "set"); r.status != 200 {
				t.Errorf("there is room again: %d %s", r.status, r.text)
			}
		})
	}
}

// Another process finds what is in the spool, and hands it over. Two at once cannot have the same one.
func TestSpoolOutlivesTheProcess(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	dir := t.TempDir()
	inDir := func(c *edgehost.Config) { c.Spool = dir }
	e := o.edge(inDir)
	if _, err := edgehost.New(t.Context(), edgehost.Config{
		Wasm: module(t), Cache: compiled, Origin: o.server.URL, Token: edgeToken, Apps: []string{app}, Keys: []string{o.key}, Spool: dir, Log: quiet(),
	}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one in the same directory: %v", err)
	}
	o.state.Store(cut)
	const devices = 50
	if got := e.report("set", numbers(devices)...); got[200] != devices {
		t.Fatalf("answered %v", got)
	}
	e.stop()
	o.state.Store(fine)
	e = o.edge(inDir)
	eventually(t, "the spool is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
	o.rests("set", devices, 1)
}

// Who stops an edge does not lose what it has gathered.
func TestWhatWasGatheredIsHandedOverAtTheEnd(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.0.0")
	o.halfGets("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Gather = 5 * time.Second })
	for n := range 20 {
		e.check(id(n), "1.1.0")
	}
	if n := e.host.Status().Queue.Checks; n == 0 {
		t.Fatal("no check was noted")
	}
	e.stop()
	if n := o.times("POST /relay"); n != 1 {
		t.Errorf("the origin was handed something %d times", n)
	}
	eventually(t, "every check rests on the stream", func() bool { return len(o.events()) == 20 }) // some answered by the origin
}

// The origin learns of every check in an arm of a rollout, once, whoever answered it and whether it was there at the time.
func TestChecksAreNoted(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.0.0")
	o.halfGets("1.1.0")
	e := o.edge(nil)
	const devices = 60
	for n := range devices {
		e.check(id(n), "1.1.0") // answered here, or for the control by the origin, which would offer 1.0.0
		e.check(id(n), "1.1.0")
	}
	eventually(t, "every check rests on the stream", func() bool { return len(o.events()) == devices })
	if s := e.status(); s.Counts["answered"] == 0 || s.Counts["batches"] == 0 {
		t.Errorf("counted %v", s.Counts)
	}
	o.state.Store(cut)
	for n := devices; n < 2*devices; n++ {
		e.check(id(n), "1.0.0") // the origin would be asked for an offer: now the edge's answer is sent, and noted
	}
	eventually(t, "notes wait for the origin", func() bool { return e.host.Status().Queue.Checks > 0 })
	o.state.Store(fine)
	eventually(t, "every check rests on the stream", func() bool { return len(o.events()) == 2*devices })
	for what, times := range o.events() {
		if times != 1 {
			t.Errorf("%s is there %d times", what, times)
		}
	}
}

// A batch that the origin refuses, here because the token is none, is handed over as the devices themselves would.
func TestRefusedBatchesAreSentOneByOne(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Token = "plr_not-the-token" })
	if got := e.report("set", numbers(10)...); got[200] != 10 {
		t.Errorf("answered %v", got)
	}
	o.rests("set", 10, 1)
	if r := ask(t, "POST", e.url+"/stats", "{}"); r.status != http.StatusBadRequest {
		t.Errorf("what is none: %d %s", r.status, r.text)
	}
	for _, want := range []string{"401", "PALIER_EDGE_TOKEN", "invalid_token"} {
		if !strings.Contains(e.log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, e.log)
		}
	}
}

// A user's later answer to a question does not overtake an earlier one.
func TestAppMetricsKeepTheirOrder(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Spool = t.TempDir() })
	o.state.Store(cut)
	consent := func(granted bool) {
		body := fmt.Sprintf(`{"app_id":%q,"device_id":%q,"platform":"ios","version_name":"1.0.0","version_build":"1.0.0","plugin_version":"8.51.23","events":[{"type":"consent","bundle":"1.1.0","granted":%v}]}`, app, id(1), granted)
		if r := ask(t, "POST", e.url+"/telemetry", body); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.text)
		}
	}
	consent(true)
	o.state.Store(fine)
	consent(false)
	eventually(t, "the spool is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
	facts, err := store.Devices{Store: o.store}.Facts(t.Context(), app, id(1))
	must(t, err)
	if len(facts.Consented) != 0 {
		t.Errorf("the device's record: %+v", facts)
	}
}
