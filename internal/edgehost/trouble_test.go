package edgehost_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/edgehost"
)

// relaysAre lets something else answer relays than the origin does.
func (o *origin) relaysAre(answer http.HandlerFunc) { o.relays.Store(&answer) }

// An origin, or somebody in between, that answers a relay with anything but what it should is as good as away: nothing is lost.
func TestRelaysThatMakeNoSense(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	dir := t.TempDir()
	e := o.edge(func(c *edgehost.Config) { c.Spool = dir })
	for n, text := range []string{
		"", "null", "[]", "<html>", `{"answers":[]}`, `{"answers":[{"status":0,"body":""}]}`, `{"answers":[{"status":200,"body":1}]}`,
		`{"answers":[{"status":200,"body":"{}"},{"status":200,"body":"{}"}]}`, `{"answers":[{"status":100,"body":"{}"}]}`,
		strings.Repeat(" ", 9<<20) + `{"answers":[{"status":200,"body":"{}"}]}`,
	} {
		var asked atomic.Bool
		o.relaysAre(func(w http.ResponseWriter, _ *http.Request) {
			asked.Store(true)
			_, _ = io.WriteString(w, text)
		})
		if r := e.stats(id(n), "set"); r.status != 200 || r.text != `{"status":"ok"}` {
			t.Errorf("%.40q: %d %s", text, r.status, r.text)
		}
		if got := e.host.Status().Queue.Requests; got != n+1 {
			t.Fatalf("%.40q: %d wait, want %d", text, got, n+1)
		}
	}
	o.relays.Store(nil)
	eventually(t, "the spool is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
	o.rests("set", 10, 1)
}

// A full stream makes the origin say "later" to devices: who waits hears it, and what waits in the spool goes on waiting, in its
// order. What the origin refuses for good is dropped and counted.
func TestBacklogWaitsForAnOverloadedOrigin(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(func(c *edgehost.Config) { c.Spool = t.TempDir() })
	o.state.Store(cut)
	for n := range 6 {
		e.stats(id(n), "set")
	}
	ask(t, "POST", e.url+"/stats", `{"no":"sense"}`)
	ask(t, "POST", e.url+"/stats", strings.ReplaceAll(says(id(7), "1.0.0", "set"), app, "com.example.nobody"))
	var mu sync.Mutex
	var taken []string // bodies, each once
	rounds := 0
	o.relaysAre(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var batch struct{ Requests []struct{ Body string } }
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			t.Error(err)
		}
		rounds++
		var answers []string
		for i, q := range batch.Requests {
			answer := `{"status":200,"body":"{\"status\":\"ok\"}"}`
			switch {
			case rounds <= 2 && i >= 1:
				answer = `{"status":429,"body":"{\"error\":\"too_many_requests\"}","retry_after":1}`
			case strings.Contains(q.Body, "com.example.nobody"):
				answer = `{"status":429,"body":"{\"error\":\"on_premise_app\"}","retry_after":300}`
			case strings.Contains(q.Body, "sense"):
				answer = `{"status":400,"body":"{\"error\":\"invalid_json_body\"}"}`
			default:
				taken = append(taken, q.Body)
			}
			answers = append(answers, answer)
		}
		fmt.Fprintf(w, `{"checks":{"taken":true},"answers":[%s]}`, strings.Join(answers, ","))
	})
	o.state.Store(fine)
	eventually(t, "all are taken", func() bool { return e.host.Status().Queue.Requests == 0 })
	mu.Lock()
	defer mu.Unlock()
	if rounds < 3 || len(taken) != 6 {
		t.Errorf("%d taken in %d rounds", len(taken), rounds)
	}
	for n, body := range taken {
		if !strings.Contains(body, id(n)) {
			t.Errorf("the order is lost: number %d is %s", n, body)
		}
	}
	if s := e.host.Status(); s.Queue.Dropped != 2 {
		t.Errorf("%d were dropped, want 2", s.Queue.Dropped)
	}
}

// Notes that the stream did not take are handed over again, with their age.
func TestNotesAreHandedOverAgain(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.0.0")
	o.halfGets("1.1.0")
	e := o.edge(nil)
	var refused, taken atomic.Int64
	o.relaysAre(func(w http.ResponseWriter, r *http.Request) {
		var batch struct {
			Checks []struct {
				Device string
				Age    *int64
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			t.Error(err)
		}
		for _, c := range batch.Checks {
			if len(c.Device) != 16 || c.Age == nil || *c.Age < 0 {
				t.Errorf("a check says %+v", c)
			}
		}
		if refused.Load() < 2 {
			refused.Add(1)
			_, _ = io.WriteString(w, `{"checks":{"taken":false,"retry_after":1},"answers":[]}`)
			return
		}
		taken.Add(int64(len(batch.Checks)))
		_, _ = io.WriteString(w, `{"checks":{"taken":true},"answers":[]}`)
	})
	for n := range 40 {
		e.check(id(n), "1.1.0")
	}
	noted := e.status().Counts["answered"] // who runs the candidate; the others' checks were forwarded
	eventually(t, "the notes are taken", func() bool { return taken.Load() == noted && noted > 0 })
}

// An edge in front of nothing starts, says so, and asks devices to come again.
func TestStartsWithoutAnOrigin(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	o.state.Store(cut)
	e := o.edge(nil)
	if r := e.check(id(1), "1.0.0"); r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("answered %d %s", r.status, r.text)
	}
	if s := e.status(); s.Apps[0].State != "missing" || s.Apps[0].Trouble == "" {
		t.Errorf("%+v", s.Apps)
	}
	o.state.Store(fine)
	eventually(t, "it has its snapshot", func() bool { return e.status().Apps[0].State == "current" })
}

// Bodies that are announced and never come must not fill the memory, and one that breaks off is no report.
func TestBodiesThatDoNotCome(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.1.0")
	e := o.edge(nil)
	address := strings.TrimPrefix(e.url, "http://")
	var connections []net.Conn
	defer func() {
		for _, c := range connections {
			_ = c.Close()
		}
	}()
	half := func(path string, announced int) net.Conn {
		c, err := net.Dial("tcp", address)
		must(t, err)
		defer func() { connections = append(connections, c) }()
		_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: edge\r\nContent-Length: %d\r\n\r\n{", path, announced)
		must(t, err)
		return c
	}
	c := half("/updates", 100)
	must(t, c.(*net.TCPConn).CloseWrite())
	text, err := io.ReadAll(c)
	must(t, err)
	if !bytes.Contains(text, []byte("400 Bad Request")) || !bytes.Contains(text, []byte("did not arrive whole")) {
		t.Errorf("answered %s", text)
	}
	for range 64 {
		half("/stats", 1<<20)
	}
	eventually(t, "the edge has no room", func() bool {
		half("/stats", 1<<20)
		return e.stats(id(1), "set").status == 429
	})
	if r := e.check(id(1), "1.1.0"); r.status != 200 {
		t.Errorf("a check meanwhile: %d %s", r.status, r.text)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	_, err := edgehost.New(t.Context(), edgehost.Config{
		Origin: "ftp://x", Token: "to ken", Apps: []string{"shop", "com.example.shop"}, Keys: []string{"AAAA"}, Poll: time.Millisecond,
		Grace: 365 * 24 * time.Hour, Wait: time.Hour, Gather: time.Minute, Queue: -1, Log: quiet(),
	})
	if !errors.Is(err, edgehost.ErrConfig) {
		t.Fatal(err)
	}
	for _, word := range []string{`"ftp://x"`, "PALIER_EDGE_TOKEN", `"shop"`, `"AAAA"`, "poll", "grace", "wait", "gathered", "queue"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("it does not say %s: %v", word, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n"); lines != 9 {
		t.Errorf("%d lines: %v", lines, err)
	}
}
