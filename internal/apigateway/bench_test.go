package apigateway

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// BenchmarkEvent reads an event and answers it. Beside it in the same run, AWS's types with encoding/json do the same.
func BenchmarkEvent(b *testing.B) {
	event := eventWith(nil)
	headers := []Header{{"Content-Type", "application/json"}}
	var r Request
	dst := make([]byte, 0, 4096)
	scan := func() {
		if err := r.Parse(event); err != nil {
			b.Fatal(err)
		}
		dst = AppendResponse(dst[:0], 200, headers, r.Body)
	}
	typed := func() {
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(event, &e); err != nil {
			b.Fatal(err)
		}
		answer := events.APIGatewayV2HTTPResponse{StatusCode: 200, Headers: map[string]string{"Content-Type": "application/json"}, Body: e.Body}
		if _, err := json.Marshal(answer); err != nil {
			b.Fatal(err)
		}
	}
	var mine, theirs, ratio []float64
	for b.Loop() { // in turns, so that a busy machine slows both
		m, t := timed(scan), timed(typed)
		mine, theirs, ratio = append(mine, m), append(theirs, t), append(ratio, m/t)
	}
	b.ReportMetric(median(mine), "ns/op")
	b.ReportMetric(median(theirs), "typed-ns/op")
	b.ReportMetric(median(ratio), "×typed")
	b.ReportMetric(testing.AllocsPerRun(1000, scan), "allocs/event")
}

func timed(f func()) float64 {
	const batch = 200
	began := time.Now()
	for range batch {
		f()
	}
	return float64(time.Since(began).Nanoseconds()) / batch
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
