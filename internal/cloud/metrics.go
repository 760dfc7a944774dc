package cloud

import (
	"io"
	"iter"
	"strconv"
	"sync"
	"time"
)

// metricsEvery is the least time between two lines of metrics of one process. A line for each request would cost more
// than the request.
const metricsEvery = time.Minute

// namespace is where CloudWatch keeps Palier's metrics, by the name of the function.
const namespace = "Palier"

// Metrics prints what a process counts, in CloudWatch's embedded metric format: a line of the log that CloudWatch takes
// for metrics. See
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//
// What was counted since the last line of a process is lost when the process ends: it is not told of its end. Exact
// numbers of requests and failures are API Gateway's and Lambda's own metrics.
type Metrics struct {
	out      io.Writer
	function string
	now      func() time.Time // real time

	mu      sync.Mutex
	printed time.Time        // when the last line was
	totals  map[string]int64 // what the counters were then
}

// Metrics returns the metrics of this function, printed to out. Their times are real ones, whatever the clock says.
func (e *Environment) Metrics(out io.Writer) *Metrics {
	return &Metrics{out: out, function: e.FunctionName(), now: time.Now, totals: map[string]int64{}}
}

// Report prints how far counters have risen since the last line, if that is long enough ago: call it at the end of every
// request. The totals are walked only when a line is due; they are the names of counters, which need no escape in JSON,
// with what each has counted since the process started.
func (m *Metrics) Report(totals iter.Seq2[string, int64]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.Sub(m.printed) < metricsEvery {
		return
	}
	m.printed = now
	if line := m.line(now, totals); line != nil {
		_, _ = m.out.Write(line) // there is nowhere else to tell
	}
}

// line returns the line to print, nil if no counter has risen.
func (m *Metrics) line(now time.Time, totals iter.Seq2[string, int64]) []byte {
	var names, values []byte
	for name, total := range totals {
		rise := total - m.totals[name]
		if rise == 0 {
			continue
		}
		m.totals[name] = total
		if names != nil {
			names = append(names, ',')
		}
		names = append(append(append(names, `{"Name":"`...), name...), `","Unit":"Count"}`...)
		values = append(append(append(values, `,"`...), name...), `":`...)
		values = strconv.AppendInt(values, rise, 10)
	}
	if names == nil {
		return nil
	}
	line := append([]byte(`{"_aws":{"Timestamp":`), strconv.FormatInt(now.UnixMilli(), 10)...)
	line = append(line, `,"CloudWatchMetrics":[{"Namespace":"`+namespace+`","Dimensions":[["Function"]],"Metrics":[`...)
	line = append(append(line, names...), `]}]},"Function":`...)
	line = append(strconv.AppendQuote(line, m.function), values...)
	return append(line, '}', '\n')
}
