package fleet

import (
	"context"
	"net/http"
)

// check asks for an update and does with the answer what the device's plugin does. It reports whether a download
// began. This is also where the fleet watches the server: see Kind for what it holds against it.
func (w *worker) check(ctx context.Context, d *device) (downloading bool) {
	f := w.fleet
	if d.plugin.requeues && f.now() < d.blockedUntil {
		return false
	}
	w.out = f.appendCheck(w.out[:0], d)
	f.checks.Add(1)
	r := w.post(ctx, d, f.updatesURL, d.header)
	if r.aborted {
		return false
	}
	if r.status == http.StatusTooManyRequests {
		w.throttled(ctx, d, r)
	}
	if !r.ok() {
		f.reportRefusal(d, answer{}, false)
		return false
	}
	a := readAnswer(r.body, d.plugin)
	for _, fault := range a.faults {
		f.blame(d, fault.kind, fault.detail)
	}
	if a.noChecksum {
		f.enqueue(d, event{action: "checksum_required", version: a.version, worker: d.platform == "android"})
		return false
	}
	if !a.offer {
		f.reportRefusal(d, a, true)
		return false
	}
	return f.accept(d, a)
}

// reportRefusal queues what the plugin reports when it got no offer: see refusal. understood is whether the answer was
// a 200.
func (f *fleet) reportRefusal(d *device, a answer, understood bool) {
	action := "download_fail"
	switch d.plugin.refusal {
	case refusalAsBackend:
		if a.code == "no_new_version_available" {
			return
		}
		if understood {
			action = "backend_refusal"
		}
	case refusalQuiet:
		if understood {
			return
		}
	case refusalByKind:
		if a.kind == "up_to_date" || a.kind == "blocked" {
			return
		}
	}
	f.enqueue(d, event{action: action, version: f.nameOf(d, d.running)})
}

// accept takes an offer. It reports whether there is something to download.
func (f *fleet) accept(d *device, a answer) bool {
	if a.version == StoreBuild {
		if d.running != f.store {
			f.judgeMove(d, f.store)
			d.offered(f.store)
			d.pending = f.store
		}
		return false
	}
	if a.version == f.nameOf(d, d.running) {
		f.blame(d, OfferedRunning, a.version)
		return false
	}
	b := f.shelf.bundle(a.version)
	d.offered(b)
	if d.knownToFail(b) {
		f.blame(d, OfferedFailed, a.version+" did not boot there, and the server knew")
	}
	f.judgeMove(d, b)
	d.pending, d.fetching, d.byManifest = nil, b, a.byManifest
	return true
}

// offered counts an offer of b to d.
func (d *device) offered(b *bundle) {
	b.offers.Add(1)
	for _, seen := range d.offers {
		if seen == b {
			return
		}
	}
	d.offers = append(d.offers, b)
	b.offered.Add(1)
}

// judgeMove counts an offer of an older bundle than the device runs, once per bundle left, and blames it unless the
// caller allows it.
func (f *fleet) judgeMove(d *device, to *bundle) {
	from := d.running
	if !to.olderThan(from) || d.leftBehind == from {
		return
	}
	d.leftBehind = from
	from.movedBack.Add(1)
	if f.cfg.AllowDowngrade == nil || !f.cfg.AllowDowngrade(from.name, to.name) {
		f.blame(d, MovedBack, "from "+from.name+" to "+to.name)
	}
}
