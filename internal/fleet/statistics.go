package fleet

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

// queueLimit is how many statistics a plugin keeps; the oldest go first.
const queueLimit = 200

// enqueue puts a statistic into the device's queue.
func (f *fleet) enqueue(d *device, e event) {
	e.at = f.clock()
	if len(d.queue) >= queueLimit {
		d.queue = append(d.queue[:0], d.queue[1:]...)
		f.eventsLost.Add(1)
	}
	d.queue = append(d.queue, e)
}

// flush sends the device's queue as its plugin does: one request per event before 8.42, one array since, except for
// what Android's download worker sends itself.
func (w *worker) flush(ctx context.Context, d *device) {
	if len(d.queue) == 0 {
		return
	}
	w.batch = w.batch[:0]
	kept := d.queue[:0]
	for _, e := range d.queue {
		if d.plugin.batches && !e.worker {
			w.batch = append(w.batch, e)
			continue
		}
		if !w.deliver(ctx, d, false, e) {
			kept = append(kept, e)
		}
	}
	if len(w.batch) > 0 && !w.deliver(ctx, d, true, w.batch...) {
		kept = append(kept, w.batch...)
	}
	d.queue = kept
}

// deliver sends events in one request. It reports whether the plugin is done with them, delivered or lost; if not,
// they belong back into the queue.
func (w *worker) deliver(ctx context.Context, d *device, array bool, events ...event) bool {
	f := w.fleet
	if d.muted || d.dice.share() < f.cfg.Lost {
		f.eventsLost.Add(uint64(len(events)))
		return true
	}
	if d.plugin.requeues && f.now() < d.blockedUntil {
		return false
	}
	if array {
		w.out = f.appendBatch(w.out[:0], d, events)
	} else {
		w.out = f.appendEvent(w.out[:0], d, events[0])
	}
	twice := d.dice.share() < f.cfg.Duplicate
	f.statsPosts.Add(1)
	f.eventsSent.Add(uint64(len(events)))
	r := w.post(ctx, d, f.statsURL, d.header)
	if r.ok() && !f.emptyForIOS(d, r) {
		f.acknowledge(d, events, refusedEvents(r.body, len(events)))
		if twice {
			w.again(ctx, d, f.statsURL)
		}
		return true
	}
	if r.status == http.StatusTooManyRequests {
		w.throttled(ctx, d, r)
	}
	if d.plugin.requeues && (r.aborted || r.ok() || r.retryable()) {
		f.eventsRequeued.Add(uint64(len(events)))
		return false
	}
	f.eventsLost.Add(uint64(len(events)))
	return true
}

// again sends the request that is still in w.out a second time, as a client does that missed the answer.
func (w *worker) again(ctx context.Context, d *device, url string) {
	w.fleet.duplicates.Add(1)
	w.post(ctx, d, url, d.header)
}

// emptyForIOS reports whether the reply is a 200 without a body, which iOS takes for a failure.
func (f *fleet) emptyForIOS(d *device, r reply) bool {
	if r.status != http.StatusOK || len(bytes.TrimSpace(r.body)) > 0 {
		return false
	}
	f.blame(d, EmptyBody, "statistics answered 200 without a body")
	return d.platform == "ios"
}

// acknowledge records that the server took the events, but for the refused ones.
func (f *fleet) acknowledge(d *device, events []event, refused []bool) {
	taken := uint64(0)
	for i, e := range events {
		if refused != nil && refused[i] {
			f.blame(d, Refused, "statistics refused "+e.action+" of "+e.version)
			continue
		}
		taken++
		if e.action == "update_fail" {
			d.failureAcked(e.version)
		}
	}
	f.eventsAcked.Add(taken)
	f.acks.events(d, events, refused)
}

func (d *device) failureAcked(version string) {
	for i := range d.failed {
		if d.failed[i].bundle.name == version {
			d.failed[i].acked = true
		}
	}
}

// knownToFail reports whether the server acknowledged that b failed on d.
func (d *device) knownToFail(b *bundle) bool {
	for _, failure := range d.failed {
		if failure.bundle == b && failure.acked {
			return true
		}
	}
	return false
}

// sessionSamples puts what the app measured in a finished session into the device's samples.
func (f *fleet) sessionSamples(d *device, length time.Duration) {
	b, at, version := d.running.behaviour, f.clock(), f.nameOf(d, d.running)
	timing := func(name string, value time.Duration) {
		d.samples = append(d.samples, sample{name: name, value: value, timing: true, at: at, version: version})
	}
	count := func(name, extra string, probability float64) {
		if d.dice.share() < probability {
			d.samples = append(d.samples, sample{name: name, extra: extra, at: at, version: version})
		}
	}
	timing("load_time", d.dice.around(b.LoadTime))
	timing("api_time", d.dice.around(b.APITime))
	timing("session_length", length)
	count("feedback", `,"score":1`, b.NegativeFeedback)
	count("feature_use", `,"name":"checkout"`, b.FeatureUse)
	if !d.plugin.exits {
		count("js_error", `,"message":"TypeError: undefined is not a function"`, b.ErrorRate)
	}
}

// sendSamples posts the device's samples to /telemetry. The app's own code does it: it tries once.
func (w *worker) sendSamples(ctx context.Context, d *device) {
	if len(d.samples) == 0 {
		return
	}
	defer func() { d.samples = d.samples[:0] }()
	f := w.fleet
	if d.dice.share() < f.cfg.Lost {
		f.eventsLost.Add(uint64(len(d.samples)))
		return
	}
	w.out = f.appendSamples(w.out[:0], d, d.samples)
	twice := d.dice.share() < f.cfg.Duplicate
	f.telemetryPosts.Add(1)
	f.eventsSent.Add(uint64(len(d.samples)))
	r := w.post(ctx, d, f.telemetryURL, f.header)
	if !r.ok() {
		f.eventsLost.Add(uint64(len(d.samples)))
		return
	}
	refused := refusedEvents(r.body, len(d.samples))
	taken := len(d.samples)
	for i := range refused {
		if refused[i] {
			f.blame(d, Refused, "telemetry refused "+d.samples[i].name)
			taken--
		}
	}
	f.eventsAcked.Add(uint64(taken))
	f.acks.samples(d, d.samples, refused)
	if twice {
		w.again(ctx, d, f.telemetryURL)
	}
}
