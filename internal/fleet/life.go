package fleet

import (
	"context"
	"math"
	"strconv"
	"time"
)

// step carries out what the device does now and returns when it acts next, in simulated time; alive is false when it
// never will.
func (w *worker) step(ctx context.Context, d *device) (due int64, alive bool) {
	switch d.stage {
	case stageDownload:
		return w.finishDownload(ctx, d), true
	case stageBackground:
		return w.toBackground(ctx, d), true
	case stageRetry:
		w.flush(ctx, d)
		return w.fleet.until(d, d.after, d.at), true
	}
	return w.startApp(ctx, d)
}

// until sets the device's next stage and returns its time: that of the stage, or of a retry of statistics before it.
func (f *fleet) until(d *device, next stage, at int64) int64 {
	d.stage = next
	if !d.plugin.requeues || len(d.queue) == 0 || next == stageStart {
		return at
	}
	retry := max(f.now()+max(int64(time.Second), f.simulated(time.Second)), d.blockedUntil)
	if retry >= at {
		return at
	}
	d.stage, d.after, d.at = stageRetry, next, at
	return retry
}

// startApp is the launch, the boot of a bundle that was set, and the update check.
func (w *worker) startApp(ctx context.Context, d *device) (due int64, alive bool) {
	f := w.fleet
	fate := f.cfg.fate(d.index, d.running.name, d.running.behaviour)
	if fate.Killed {
		d.running.silent.Add(1)
		f.silent.Add(1)
		return 0, false
	}
	d.muted, d.limitTold = false, false
	f.reportCrash(d)
	if d.unproven && fate.BootFails {
		f.failBoot(d)
		w.flush(ctx, d)
	} else {
		f.boot(d)
	}
	f.reportErrors(d)
	offered := w.check(ctx, d)
	w.flush(ctx, d)
	return f.session(d, offered), true
}

// reportCrash queues the crash of the last session: plugins learn of it at the next start.
func (f *fleet) reportCrash(d *device) {
	if d.crashed && d.plugin.exits && d.platform != "electron" {
		meta := `{"exit_reason":"crash","exit_reason_code":"4","exit_status":"0","process_name":"` + f.cfg.App + `"}`
		if d.platform == "ios" {
			meta = `{"exit_reason":"unclean_foreground_exit"}`
		}
		f.enqueue(d, event{action: "app_crash", version: f.nameOf(d, d.running), metadata: meta})
	}
	d.crashed = false
}

// boot queues what a good launch reports, and counts the running bundle as one that works.
func (f *fleet) boot(d *device) {
	d.unproven = false
	name := f.nameOf(d, d.running)
	if d.plugin.launches {
		started := strconv.FormatInt(f.clock(), 10)
		took := strconv.FormatInt(d.dice.around(d.running.behaviour.LoadTime).Milliseconds(), 10)
		f.enqueue(d, event{action: "app_launch_start", version: name,
			metadata: `{"launch_started_at":"` + started + `","source":"plugin_load"}`})
		f.enqueue(d, event{action: "app_launch_ready", version: name,
			metadata: `{"duration_ms":"` + took + `","launch_started_at":"` + started + `","source":"notify_app_ready"}`})
	}
	if d.plugin.batches {
		f.enqueue(d, event{action: "app_moved_to_foreground", version: name})
	}
}

// failBoot queues what a bundle that never says it is ready causes, and takes the device back to the bundle before.
func (f *fleet) failBoot(d *device) {
	bad, name := d.running, f.nameOf(d, d.running)
	bad.bootFailures.Add(1)
	d.addFailure(bad)
	if d.plugin.launches {
		started := strconv.FormatInt(f.clock(), 10)
		f.enqueue(d, event{action: "app_launch_start", version: name,
			metadata: `{"launch_started_at":"` + started + `","source":"plugin_load"}`})
		f.enqueue(d, event{action: "app_launch_timeout", version: name,
			metadata: `{"duration_ms":"10000","launch_started_at":"` + started + `","source":"app_ready_timeout","timeout_ms":"10000"}`})
	}
	f.enqueue(d, event{action: "update_fail", version: name})
	f.run(d, d.previous)
	d.unproven = false
	f.enqueue(d, event{action: "reset", version: f.nameOf(d, d.running)})
}

func (d *device) addFailure(b *bundle) {
	for _, failure := range d.failed {
		if failure.bundle == b {
			return
		}
	}
	d.failed = append(d.failed, failure{bundle: b})
}

// reportErrors queues a JavaScript error, if this session has one and the plugin watches the web view.
func (f *fleet) reportErrors(d *device) {
	if rate := d.running.behaviour.ErrorRate; d.plugin.exits && d.dice.share() < rate {
		f.enqueue(d, event{action: "webview_javascript_error", version: f.nameOf(d, d.running),
			metadata: `{"message":"TypeError: undefined is not a function","source":"main.js"}`})
	}
}

// run moves the device to a bundle.
func (f *fleet) run(d *device, b *bundle) {
	d.running.running.Add(-1)
	b.running.Add(1)
	d.running = b
}

// session decides how the session that just began goes on, and returns when the device acts next.
func (f *fleet) session(d *device, offered bool) int64 {
	now := f.now()
	if d.dice.share() < d.running.behaviour.CrashRate {
		d.running.crashes.Add(1)
		d.crashed, d.fetching = true, nil
		return f.until(d, stageStart, f.nextStart(d))
	}
	end := now + int64(d.dice.around(f.cfg.Session))
	d.sessionStart, d.sessionEnd = now, end
	if offered {
		done := now + int64(d.dice.around(5*time.Second))
		d.sessionEnd = max(end, done+int64(time.Second))
		return f.until(d, stageDownload, done)
	}
	if d.pending == nil && !d.plugin.batches && !d.metrics {
		return f.until(d, stageStart, f.nextStart(d)) // nothing to say at the end
	}
	return f.until(d, stageBackground, d.sessionEnd)
}

// finishDownload reports the download and queues the bundle for the next background.
func (w *worker) finishDownload(ctx context.Context, d *device) int64 {
	f, b := w.fleet, d.fetching
	d.fetching = nil
	failed := d.dice.share() < b.behaviour.DownloadFail
	f.reportDownload(d, b, failed)
	if !failed {
		b.downloads.Add(1)
		d.pending = b
	}
	w.flush(ctx, d)
	return f.until(d, stageBackground, d.sessionEnd)
}

// reportDownload queues the progress of a download. Steps of ten, not every one of them; a failure ends them.
func (f *fleet) reportDownload(d *device, b *bundle, failed bool) {
	kind, worker := "zip", d.platform == "android" && d.plugin.batches
	if d.byManifest {
		kind = "manifest"
	}
	if worker {
		f.enqueue(d, event{action: "download_" + kind + "_start", version: b.name, worker: true})
	}
	f.enqueue(d, event{action: "download_0", version: b.name})
	for step := 10; step <= 90; step += 10 {
		if failed && step > 30 {
			break
		}
		if d.dice.share() < .5 {
			f.enqueue(d, event{action: "download_" + strconv.Itoa(step), version: b.name})
		}
	}
	if failed {
		f.reportDownloadFail(d)
		return
	}
	f.enqueue(d, event{action: "download_complete", version: b.name})
	if worker {
		f.enqueue(d, event{action: "download_" + kind + "_complete", version: b.name, worker: true})
	}
	if d.plugin.setNext {
		f.enqueue(d, event{action: "set_next", version: b.name, old: f.nameOf(d, d.running)})
	}
}

// reportDownloadFail queues a failed download as the plugin reports it: Android's worker leaves the version out, the
// others name the running bundle.
func (f *fleet) reportDownloadFail(d *device) {
	e := event{action: "download_fail", version: f.nameOf(d, d.running)}
	if d.platform == "android" {
		e.version = ""
	}
	f.enqueue(d, e)
}

// toBackground ends the session: a bundle that waits is set, and boots at the next start.
func (w *worker) toBackground(ctx context.Context, d *device) int64 {
	f := w.fleet
	if d.metrics {
		f.sessionSamples(d, time.Duration(d.sessionEnd-d.sessionStart))
	}
	if d.plugin.batches {
		f.enqueue(d, event{action: "app_moved_to_background", version: f.nameOf(d, d.running)})
	}
	if d.pending != nil {
		f.set(d)
	}
	w.flush(ctx, d)
	w.sendSamples(ctx, d)
	return f.until(d, stageStart, f.nextStart(d))
}

// set makes the pending bundle the running one and queues the report of it.
func (f *fleet) set(d *device) {
	old, b := d.running, d.pending
	d.pending = nil
	f.run(d, b)
	d.leftBehind = nil
	if b == f.store {
		d.unproven = false
		f.enqueue(d, event{action: "reset", version: f.nameOf(d, b), old: f.nameOf(d, old)})
		return
	}
	b.installs.Add(1)
	d.previous, d.unproven = old, true
	f.enqueue(d, event{action: "set", version: b.name, old: f.nameOf(d, old)})
}

// nextStart draws when the app starts again: an exponential time, shorter by day and longer by night.
func (f *fleet) nextStart(d *device) int64 {
	now := f.now()
	day := float64(f.cfg.Start.Add(time.Duration(now)).UnixNano()%int64(24*time.Hour)) / float64(24*time.Hour)
	liveliness := 1 - f.cfg.Diurnal*math.Cos(2*math.Pi*day)
	gap := d.dice.exponential(time.Duration(float64(f.cfg.CheckEvery) / liveliness))
	return now + max(int64(gap), int64(time.Second))
}
