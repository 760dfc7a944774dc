package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// reply is what came back on a request: a status and body, or why there is none.
type reply struct {
	status     int           // 0 when there was no answer
	body       []byte        // valid until the worker's next request
	retryAfter time.Duration // real time; negative when the server gave no hint
	aborted    bool          // the run ended meanwhile: says nothing about the server
}

// ok reports whether the plugin takes the reply for a success.
func (r reply) ok() bool { return r.status/100 == 2 }

// retryable reports whether a plugin that keeps failed statistics keeps them after this reply.
func (r reply) retryable() bool {
	return r.status == 0 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500
}

// longestAnswer bounds what is read of a body; a manifest of a large app fits.
const longestAnswer = 4 << 20

// post sends the body in w.out to a path of the server, counts what came of it and blames what no client should see.
func (w *worker) post(ctx context.Context, d *device, url string, header http.Header) reply {
	f := w.fleet
	if f.limit != nil && f.limit.Wait(ctx) != nil {
		return reply{aborted: true}
	}
	start := time.Now()
	r, err := w.exchange(ctx, url, header)
	f.requests.Add(1)
	if err != nil {
		if ctx.Err() != nil {
			return reply{aborted: true}
		}
		f.countError(networkError(err))
		return reply{retryAfter: -1}
	}
	f.latency.record(time.Since(start))
	if r.status/100 != 2 {
		f.countError(strconv.Itoa(r.status))
	}
	f.blameStatus(d, url, r)
	return r
}

func (w *worker) exchange(ctx context.Context, url string, header http.Header) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(w.out))
	if err != nil {
		return reply{}, err
	}
	req.Header = header
	resp, err := w.fleet.cfg.Client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	w.in.Reset()
	if _, err := w.in.ReadFrom(io.LimitReader(resp.Body, longestAnswer)); err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, body: w.in.Bytes(), retryAfter: -1}
	if r.status == http.StatusTooManyRequests {
		r.retryAfter = retryHint(resp.Header, r.body)
	}
	return r, nil
}

// networkError names the error of a request that got no answer: timeout or network.
func networkError(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "timeout"
	}
	return "network"
}

// retryHint returns how long a 429 asks to wait, in the plugin's order: the header, then the body; at most 24 hours,
// and negative when neither says.
func retryHint(h http.Header, body []byte) time.Duration {
	const longest = 24 * 60 * 60
	if seconds, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, longest) * float64(time.Second))
	}
	type hint struct {
		RetryAfterSeconds *float64 `json:"retryAfterSeconds"`
	}
	var hints struct {
		hint
		MoreInfo hint `json:"moreInfo"`
	}
	if json.Unmarshal(body, &hints) != nil {
		return -1
	}
	for _, seconds := range []*float64{hints.MoreInfo.RetryAfterSeconds, hints.RetryAfterSeconds} {
		if seconds != nil && *seconds >= 0 {
			return time.Duration(min(*seconds, longest) * float64(time.Second))
		}
	}
	return -1
}

// blameStatus records what a status alone says against the server. The fleet's requests are valid, so a 4xx other than
// 429 is the server's fault too.
func (f *fleet) blameStatus(d *device, url string, r reply) {
	detail := func() string { return url + " answered " + strconv.Itoa(r.status) + ": " + excerpt(r.body) }
	switch {
	case r.status >= 500:
		f.blame(d, ServerError, detail())
	case r.status == http.StatusTooManyRequests:
		if r.retryAfter < 0 {
			f.blame(d, NoRetryAfter, detail())
		}
	case r.status >= 400:
		f.blame(d, Refused, detail())
	case r.status >= 300:
		f.blame(d, Redirected, detail())
	}
}

// throttled carries out what a 429 does to the plugin.
func (w *worker) throttled(ctx context.Context, d *device, r reply) {
	switch {
	case d.plugin.mutedBy429:
		w.tellLimit(ctx, d, r)
		d.muted = true
	case d.plugin.requeues:
		if r.retryAfter > 0 {
			d.blockedUntil = w.fleet.now() + w.fleet.simulated(r.retryAfter)
		}
		w.tellLimit(ctx, d, r)
	}
}

// tellLimit reports rate_limit_reached, once per process, outside every queue and block.
func (w *worker) tellLimit(ctx context.Context, d *device, r reply) {
	if d.limitTold || !d.plugin.reportsLimit || !bytes.Contains(r.body, []byte(`"too_many_requests"`)) {
		return
	}
	d.limitTold = true
	f := w.fleet
	e := event{action: "rate_limit_reached", version: f.nameOf(d, d.running), at: f.clock()}
	w.out = f.appendEvent(w.out[:0], d, e)
	f.eventsSent.Add(1)
	f.statsPosts.Add(1)
	if w.post(ctx, d, f.statsURL, d.header).ok() {
		f.acknowledge(d, []event{e}, nil)
	}
}
