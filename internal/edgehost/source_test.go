package edgehost_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/palier-ota/palier/internal/edgehost"
)

// askFrom asks an edge as a proxy on its machine does for a device at an address.
func askFrom(t *testing.T, address, url, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("X-Forwarded-For", address)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	must(t, err)
	return res.StatusCode
}

// sources records what the origin hears of where reports and checks come from.
type sources struct {
	mu              sync.Mutex
	reports, checks map[string]int
}

// watch lets relays through to the origin, and notes their sources.
func watch(o *origin) *sources {
	s := &sources{reports: map[string]int{}, checks: map[string]int{}}
	relays := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			o.t.Error(err)
		}
		var batch struct{ Checks, Requests []struct{ Source string } }
		if err := json.Unmarshal(body, &batch); err != nil {
			o.t.Error(err)
		}
		s.mu.Lock()
		for _, c := range batch.Checks {
			s.checks[c.Source]++
		}
		for _, c := range batch.Requests {
			s.reports[c.Source]++
		}
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		o.edges.Handler().ServeHTTP(w, r)
	})
	o.relays.Store(&relays)
	return s
}

func (s *sources) of(list map[string]int, source string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list[source]
}

// The origin hears which network a report and a check come from; also of those that waited in the spool; and nobody hears
// or keeps the address.
func TestTheOriginHearsTheNetwork(t *testing.T) {
	o := newOrigin(t)
	o.serves("1.0.0")
	heard := watch(o)
	o.halfGets("1.1.0")
	dir := t.TempDir()
	e := o.edge(func(c *edgehost.Config) { c.Spool = dir })
	for n := range 20 {
		if status := askFrom(t, "203.0.113.77", e.url+"/updates", says(id(n), "1.0.0", "")); status != 200 {
			t.Fatalf("a check is answered %d", status)
		}
	}
	if status := askFrom(t, "8.8.8.8, 2001:db8:1:2::3", e.url+"/stats", says(id(1), "1.0.0", "set")); status != 200 {
		t.Fatalf("a report is answered %d", status)
	}
	eventually(t, "the origin hears of the checks", func() bool { return heard.of(heard.checks, "203.0.113.0/24") > 0 })
	if n := heard.of(heard.reports, "2001:db8:1::/48"); n != 1 {
		t.Errorf("%d reports of the network", n)
	}
	o.state.Store(cut)
	if status := askFrom(t, "198.51.100.77", e.url+"/stats", says(id(2), "1.0.0", "set")); status != 200 {
		t.Fatalf("a report that waits is answered %d", status)
	}
	for _, content := range contents(t, filepath.Join(dir, "telemetry")) {
		if bytes.Contains(content, []byte("198.51.100.77")) {
			t.Error("the spool has the address")
		}
	}
	o.state.Store(fine)
	eventually(t, "the spool is empty", func() bool { return e.host.Status().Queue.Requests == 0 })
	if n := heard.of(heard.reports, "198.51.100.0/24"); n != 1 {
		t.Errorf("%d reports of the network of one that waited", n)
	}
	if status := askFrom(t, "127.0.0.1", e.url+"/stats", says(id(3), "1.0.0", "set")); status != 200 || heard.of(heard.reports, "") != 1 {
		t.Errorf("%d, and %d reports that come from nowhere", status, heard.of(heard.reports, ""))
	}
}

// contents returns what the files of a folder have.
func contents(t *testing.T, dir string) (list [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	must(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(t, err)
		list = append(list, content)
	}
	if len(list) == 0 {
		t.Error("nothing waits there")
	}
	return list
}

// What is forwarded says who asked, behind what the device said of itself.
func TestForwardedRequestsSayWhoAsked(t *testing.T) {
	o := newOrigin(t)
	e := o.edge(nil)
	status := askFrom(t, "8.8.8.8", e.url+"/channel_self", "{}")
	o.mu.Lock()
	defer o.mu.Unlock()
	if status == 0 || len(o.spoken) != 1 || o.spoken[0] != "8.8.8.8, 127.0.0.1" {
		t.Errorf("%d, %q", status, o.spoken)
	}
}
