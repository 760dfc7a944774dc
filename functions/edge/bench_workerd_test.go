//go:build linux

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	core "github.com/palier-ota/palier/internal/edge"
)

const (
	manyCalls  = 5_000 // decisions of one request
	manyRounds = 41
	manyWarm   = 8
	httpCalls  = 500 // requests of a round
	httpRounds = 21
	httpWarm   = 6
	startOnce  = 9 // starts of each
	instances  = 20
)

// post sends one request and returns the answer's body.
func (s *subject) post(b *testing.B, target, body string) (status int, text string) {
	b.Helper()
	r, err := client.Post(s.url+target, "application/json", strings.NewReader(body))
	must(b, err)
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	must(b, err)
	return r.StatusCode, string(answer)
}

// oddChecks are checks that are refused, or blocked by what the channel allows.
func oddChecks() (odd []string) {
	const key = "MIIBCgKCAQEAv3PXc9x1"
	good := checkOf(liveApp, "c3a1f1de-8f2e-4c64-b8d0-6a51d0c5b7a2", stableVersion)
	for _, change := range [][2]string{
		{`"4.0.0"`, `"four"`}, {`"4.0.0"`, `"3.9.0"`}, {`"4.0.0"`, `"4.0.9"`}, {`"android"`, `"windows"`}, {`"android"`, `7`},
		{`true`, `"yes"`}, {`c3a1f1de-`, `c3a1f1dg-`}, {`c3a1f1de-`, `C3A1F1DE-`}, {liveApp, `shop`}, {`8.51.23`, `8.51`},
		{`8.51.23`, `4.51.23`}, {`production-eu-west`, `internal`}, {`production-eu-west`, `nightly`},
		{`production-eu-west`, ``}, {key, `another`}, {key, key + `k`}, {`samsung`, strings.Repeat("s", 60)},
		{`"version_name":`, `"was":`}, {stableVersion, ``},
	} {
		odd = append(odd, strings.Replace(good, change[0], change[1], 1))
	}
	return append(odd, `{`, `[]`, `{"device_id":1}`, `{"device_id":"","app_id":"a.b"}`, `{"device_id":"x","app_id":""}`)
}

// agree holds the subjects' answers against those of the native Edge, and the sizes of checks and offers against those that
// other benchmarks of Palier have.
func (w *bench) agree(b *testing.B, subjects ...*subject) {
	b.Helper()
	for _, q := range questions() {
		for _, check := range q.checks {
			answer := w.agreeOn(b, check, q.known, subjects)
			if len(check) != 471 || q.known && len(answer) != 435 {
				b.Fatalf("%s: a check of %d bytes is answered %d bytes: %s", q.name, len(check), len(answer), answer)
			}
		}
	}
	for _, check := range oddChecks() {
		w.agreeOn(b, check, true, subjects)
	}
}

// agreeOn asks all of them the same and returns the answer.
func (w *bench) agreeOn(b *testing.B, check string, known bool, subjects []*subject) string {
	b.Helper()
	target, facts := "/", ""
	if known {
		target, facts = "/?facts", "{}"
	}
	r := w.native.Check([]byte(check), []byte(facts), uint32(time.Now().Unix()))
	if r.Verdict != core.Answered {
		b.Fatalf("%s cannot be answered", check)
	}
	for _, s := range subjects {
		if status, text := s.post(b, target, check); status != r.Status || text != string(r.Answer) {
			b.Fatalf("%s\n%s answers %d %s\nand should %d %s", check, s.cmd.Args, status, text, r.Status, r.Answer)
		}
	}
	return string(r.Answer)
}

// many has a subject decide many times in one request and returns microseconds of a decision, by the clock and of the
// processor.
func (s *subject) many(b *testing.B, q question, more string) (clock, cpu float64) {
	b.Helper()
	before, began := processorTime(b, s.cmd.Process.Pid), time.Now()
	status, text := s.post(b, "/many?calls="+strconv.Itoa(manyCalls)+q.options+more, strings.Join(q.checks, "\n"))
	clock = microseconds(time.Since(began)) / manyCalls
	cpu = microseconds(processorTime(b, s.cmd.Process.Pid)-before) / manyCalls
	if n, err := strconv.Atoi(text); status != http.StatusOK || err != nil || n < manyCalls*50 {
		b.Fatalf("%d %s", status, text)
	}
	return clock, cpu
}

// BenchmarkWorkerdDecision compares decisions within one request, so that nothing else of a request counts: bytes in,
// answer out. Of checks that are text already, "text", JavaScript needs no decoding.
func BenchmarkWorkerdDecision(b *testing.B) {
	w := newBench(b)
	for _, module := range builds(b) {
		plain, palier := w.start(b, "plain", built{}), w.start(b, "module", module)
		w.agree(b, plain, palier)
		for _, q := range questions() {
			b.Run(module.name+"/"+q.name, func(b *testing.B) { compareDecisions(b, q, palier, plain) })
		}
	}
}

func compareDecisions(b *testing.B, q question, palier, plain *subject) {
	var mine, mineCPU, theirs, theirsCPU, text []float64
	round := func() {
		clock, cpu := palier.many(b, q, "")
		mine, mineCPU = append(mine, clock), append(mineCPU, cpu)
		clock, cpu = plain.many(b, q, "")
		theirs, theirsCPU = append(theirs, clock), append(theirsCPU, cpu)
		clock, _ = plain.many(b, q, "&text")
		text = append(text, clock)
	}
	for range manyWarm {
		round()
	}
	mine, mineCPU, theirs, theirsCPU, text = nil, nil, nil, nil, nil
	for b.Loop() {
		for range manyRounds {
			round()
		}
	}
	b.ReportMetric(median(mine), "µs")
	b.ReportMetric(median(theirs), "plain-µs")
	b.ReportMetric(ratio(mine, theirs), "×plain")
	b.ReportMetric(slices.Min(mine)/slices.Min(theirs), "×plain-min")
	b.ReportMetric(ratio(mineCPU, theirsCPU), "×plain-cpu")
	b.ReportMetric(ratio(mine, text), "×plain-text")
	b.ReportMetric(0, "ns/op") // of all together, which says nothing
}

// costs is what requests cost each of the subjects that are compared.
type costs struct {
	names    []string
	subjects []*subject
	cpu      [][]float64 // microseconds of processor time a request, a round each
}

func (c *costs) add(name string, s *subject) {
	c.names, c.subjects, c.cpu = append(c.names, name), append(c.subjects, s), append(c.cpu, nil)
}

// measure sends the checks to all subjects, in turns, and reports what a request costs them, as such and in ratio to the
// one of the name given.
func (c *costs) measure(b *testing.B, q question, base string) {
	b.Helper()
	for range httpWarm {
		for _, s := range c.subjects {
			s.requests(b, q)
		}
	}
	for b.Loop() {
		for range httpRounds {
			for i, s := range c.subjects {
				c.cpu[i] = append(c.cpu[i], s.requests(b, q))
			}
		}
	}
	floor := c.cpu[slices.Index(c.names, base)]
	for i, name := range c.names {
		b.ReportMetric(median(c.cpu[i]), name+"-cpu-µs")
		b.ReportMetric(residentKB(b, c.subjects[i].cmd.Process.Pid)/1024, name+"-MB")
		if name != base {
			b.ReportMetric(ratio(c.cpu[i], floor), name+"-×"+base)
			b.ReportMetric(slices.Min(c.cpu[i])/slices.Min(floor), name+"-×"+base+"-min")
		}
	}
	b.ReportMetric(0, "ns/op") // of all together, which says nothing
}

// requests sends the checks one after the other and returns the microseconds of processor time that each costs the subject.
func (s *subject) requests(b *testing.B, q question) float64 {
	b.Helper()
	before := processorTime(b, s.cmd.Process.Pid)
	for i := range httpCalls {
		if status, text := s.post(b, s.path, q.checks[i%len(q.checks)]); status != http.StatusOK {
			b.Fatalf("%d %s", status, text)
		}
	}
	return microseconds(processorTime(b, s.cmd.Process.Pid)-before) / httpCalls
}

// BenchmarkWorkerdHTTP compares what a request costs the process: of a Worker that answers always the same, of the plain
// one, of ones that do nothing but ask the module, and of the whole edge as it ships.
func BenchmarkWorkerdHTTP(b *testing.B) {
	w := newBench(b)
	var c costs
	c.add("echo", w.start(b, "echo", built{}))
	c.add("plain", w.start(b, "plain", built{}))
	for _, module := range builds(b) {
		c.add(module.name, w.start(b, "module", module))
	}
	w.agree(b, c.subjects[1:]...)
	c.add("edge", w.wholeEdge(b, "workerd"))
	c.measure(b, questions()[1], "plain")
}

// BenchmarkHosts compares what a request costs the whole edge in each of the runtimes.
func BenchmarkHosts(b *testing.B) {
	w := newBench(b)
	var c costs
	for _, r := range runtimes {
		c.add(r.name, w.wholeEdge(b, r.name))
	}
	c.measure(b, questions()[1], "workerd")
}

// wholeEdge starts an edge as it ships, before an origin that has the snapshots.
func (w *bench) wholeEdge(b *testing.B, host string) *subject {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/snapshots/" + quietApp:
			_, _ = io.WriteString(rw, w.sealed[0])
		case "/snapshots/" + liveApp:
			_, _ = io.WriteString(rw, w.sealed[1])
		case "/relay":
			_, _ = io.WriteString(rw, `{"checks":{"taken":true},"answers":[]}`)
		default:
			http.Error(rw, "this benchmark does not forward", http.StatusInternalServerError)
		}
	}))
	b.Cleanup(server.Close)
	at := slices.IndexFunc(runtimes, func(r runtime) bool { return r.name == host })
	known := &origin{token: "plr_token", key: w.key.String()}
	e := newEdge(b, runtimes[at], server.URL, known, []string{quietApp, liveApp}, nil)
	e.ready(b)
	return &subject{url: e.url, path: "/updates", process: e.process}
}

// BenchmarkWorkerdStart compares the time from the start of a process to its first answer, and says what an instance costs
// in an isolate that is there: instantiation, initialization and taking the key.
func BenchmarkWorkerdStart(b *testing.B) {
	w := newBench(b)
	q := questions()[1]
	for _, module := range builds(b) {
		b.Run(module.name, func(b *testing.B) {
			var echo, plain, palier, instance []float64
			first := func(worker string, module built, target string) float64 {
				cmd := w.command(b, worker, module)
				began := time.Now()
				var e edge
				s := &subject{url: "http://127.0.0.1:" + e.startWorkerd(b, cmd), process: e.process}
				s.post(b, target, q.checks[0])
				took := microseconds(time.Since(began)) / 1e3
				if worker == "module" {
					instance = append(instance, s.instances(b))
				}
				s.kill()
				return took
			}
			for b.Loop() {
				for range startOnce {
					echo = append(echo, first("echo", built{}, "/"))
					plain = append(plain, first("plain", built{}, "/"))
					palier = append(palier, first("module", module, "/"))
				}
			}
			b.ReportMetric(median(echo), "echo-ms")
			b.ReportMetric(median(plain), "plain-ms")
			b.ReportMetric(median(palier), "ms")
			b.ReportMetric(median(instance), "instance-ms")
			b.ReportMetric(0, "ns/op") // of all together, which says nothing
		})
	}
}

// instances returns the milliseconds that a further instance takes.
func (s *subject) instances(b *testing.B) float64 {
	b.Helper()
	took := func(calls int) float64 {
		began := time.Now()
		if status, text := s.post(b, fmt.Sprintf("/instances?calls=%d", calls), ""); status != http.StatusOK {
			b.Fatalf("%d %s", status, text)
		}
		return microseconds(time.Since(began)) / 1e3
	}
	none := took(0)
	return (took(instances) - none) / instances
}
