package cloud

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
	"testing"
	"time"
)

// emf is a line as CloudWatch reads it.
type emf struct {
	AWS struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	} `json:"_aws"`
	Function string
}

// counted decodes the line and returns the counts of the metrics that it announces.
func counted(t *testing.T, line []byte) map[string]int64 {
	t.Helper()
	var e emf
	var all map[string]any
	if json.Unmarshal(line, &e) != nil || json.Unmarshal(line, &all) != nil || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("not a line of JSON: %q", line)
	}
	if len(e.AWS.CloudWatchMetrics) != 1 || e.Function != "shop-resolve" || e.AWS.Timestamp == 0 {
		t.Fatalf("%q", line)
	}
	d := e.AWS.CloudWatchMetrics[0]
	if d.Namespace != "Palier" || len(d.Dimensions) != 1 || len(d.Dimensions[0]) != 1 || d.Dimensions[0][0] != "Function" {
		t.Errorf("%+v", d)
	}
	counts := map[string]int64{}
	for _, m := range d.Metrics {
		value, ok := all[m.Name].(float64)
		if !ok || m.Unit != "Count" {
			t.Errorf("metric %+v has the value %v", m, all[m.Name])
		}
		counts[m.Name] = int64(value)
	}
	return counts
}

func TestMetrics(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	m := &Metrics{out: &out, function: "shop-resolve", now: func() time.Time { return now }, totals: map[string]int64{}}
	for _, step := range []struct {
		name   string
		pass   time.Duration
		totals map[string]int64
		want   map[string]int64 // nil: no line
	}{
		{"nothing yet", 0, nil, nil},
		{"within the minute", 59 * time.Second, map[string]int64{"Checks": 1}, nil},
		{"after it", time.Second, map[string]int64{"Checks": 3, "Offers": 1}, map[string]int64{"Checks": 3, "Offers": 1}},
		{"at once again", 0, map[string]int64{"Checks": 5, "Offers": 1}, nil},
		{"only what rose", time.Minute, map[string]int64{"Checks": 10, "Offers": 1}, map[string]int64{"Checks": 7}},
		{"nothing rose", time.Hour, map[string]int64{"Checks": 10, "Offers": 1}, nil},
	} {
		now = now.Add(step.pass)
		out.Reset()
		m.Report(maps.All(step.totals))
		if step.want == nil {
			if out.Len() > 0 {
				t.Errorf("%s: %s", step.name, &out)
			}
			continue
		}
		if got := counted(t, out.Bytes()); !maps.Equal(got, step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}

func TestMetricsWalkTotalsOnlyWhenDue(t *testing.T) {
	e := Read(func(string) string { return "" }, &bytes.Buffer{})
	m := e.Metrics(&bytes.Buffer{})
	walked := 0
	var totals iter.Seq2[string, int64] = func(yield func(string, int64) bool) { walked++; yield("Checks", int64(walked)) }
	n := testing.AllocsPerRun(10, func() { m.Report(totals) })
	if walked != 1 || n != 0 {
		t.Errorf("walked %d times, %v allocations a request", walked, n)
	}
}
