package device

import (
	"cmp"
	"context"
	"strings"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/telemetry"
)

// maxRecords bounds the devices of one request whose records are read to see what they were offered. A plugin reports for
// one device only.
const maxRecords = 20

// deliveries tells, for one request to /stats, which bundle a failure of delivery is about. Plugins often name the bundle
// that runs, or none; what failed is the one that was on its way, which is what the Snapshot would have the device fetch.
type deliveries struct {
	service *Service
	loaded  *loaded
	offers  map[reporter]string
	records int // read so far
}

// reporter is a device as one report has it.
type reporter struct{ device, running string }

// subject returns the bundle that e is about, and the one before it. Where something would be offered to a device that
// runs the bundle that the plugin named, that was on its way, and the named one is the one before. Where nothing would, the
// named one may itself have been on its way, as some versions of the plugin have it, and e stays about it; it may also run
// already, with a check that failed, which in the control arm counts as well (see telemetry.Class).
func (d *deliveries) subject(ctx context.Context, e *capgo.StatsEvent) (about, before string) {
	if e.Spurious || !e.VersionMissing && !mayNameRunning(e) {
		return e.Version, e.OldVersion
	}
	offered := d.offered(ctx, e)
	if offered == "" || offered == e.Version {
		return e.Version, e.OldVersion
	}
	return offered, cmp.Or(e.Version, e.OldVersion)
}

// mayNameRunning reports whether e is a failure of delivery for which plugins name the running bundle: download_fail and
// what goes wrong in unpacking on every platform, verification on all but iOS. Failures of single files, and what else
// Android's download worker reports, name the bundle on its way.
func mayNameRunning(e *capgo.StatsEvent) bool {
	switch e.Action {
	case "download_fail", "unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail":
		return e.File == ""
	case "checksum_fail", "decrypt_fail":
		return e.File == "" && e.Check.Platform != resolve.IOS
	}
	return false
}

// offered returns the bundle that the Snapshot would have the device fetch, or "" for none.
func (d *deliveries) offered(ctx context.Context, e *capgo.StatsEvent) string {
	c := &e.Check
	who := reporter{c.DeviceID, c.VersionName}
	if version, known := d.offers[who]; known {
		return version
	}
	decision := d.loaded.snapshot.Resolve(c, nil)
	if decision.Reason == resolve.NeedFacts {
		facts := d.facts(ctx, c)
		decision = d.loaded.snapshot.Resolve(c, &facts)
	}
	version := ""
	if decision.Reason == resolve.Offer && decision.Bundle != nil {
		version = decision.Bundle.Version
	}
	if d.offers == nil {
		d.offers = map[reporter]string{}
	}
	d.offers[who] = version
	return version
}

// facts returns the device's record. Without it, what was offered is a guess, which is better than none.
func (d *deliveries) facts(ctx context.Context, c *resolve.Check) resolve.Facts {
	if d.records == maxRecords {
		return resolve.Facts{}
	}
	d.records++
	facts, err := d.service.config.Devices.Facts(ctx, c.AppID, c.DeviceID)
	if err != nil {
		return resolve.Facts{}
	}
	return facts.Of(d.loaded.snapshot.Generation())
}

// statsEvent turns what the plugin said into what rests on the stream.
func (d *deliveries) statsEvent(ctx context.Context, e *capgo.StatsEvent, at int64) telemetry.Event {
	about, before := d.subject(ctx, e)
	if !e.Known {
		d.service.counts.unknown.Add(1)
	}
	return telemetry.Event{
		Kind: telemetry.KindAction, App: strings.Clone(e.Check.AppID), Device: telemetry.Fingerprint(e.Check.DeviceID), Time: at,
		Action: strings.Clone(e.Action), Version: strings.Clone(about), OldVersion: strings.Clone(before), Platform: e.Check.Platform.String(),
		ClientTime: e.Timestamp, Test: !e.Check.IsProd || e.Check.IsEmulator, Spurious: e.Spurious, Metadata: cloneMap(e.Metadata),
		Exposures: exposures(d.loaded, &e.Check, about),
	}
}
