package fleet

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Fate is what a bundle lastingly does to one device.
type Fate struct {
	BootFails bool // the bundle never calls notifyAppReady there: the plugin goes back to the one before
	Killed    bool // the app dies at every start before it can send anything
}

// Fate returns what the bundle of this version does to the device of this index. It depends on the seed, the device
// and the version alone, and a larger share in Behaviour only adds devices.
func (c Config) Fate(device int, version string) Fate {
	return c.fate(device, version, c.behaviour(version))
}

func (c *Config) fate(device int, version string, b Behaviour) Fate {
	var r dice
	r.Seed(c.Seed^xxhash.Sum64String(version), uint64(device))
	return Fate{BootFails: r.share() < b.BootFail, Killed: r.share() < b.Kill}
}

// DeviceID returns the id, in lower case, of the device of this index in a fleet of this seed.
func DeviceID(seed uint64, device int) string {
	r := diceOf(seed, device)
	return r.uuid()
}

// dice is a device's generator.
type dice struct{ rand.PCG }

func diceOf(seed uint64, device int) dice {
	var r dice
	r.Seed(seed, uint64(device)+1)
	return r
}

// share returns a number in [0, 1).
func (r *dice) share() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

// exponential returns a duration of this mean.
func (r *dice) exponential(mean time.Duration) time.Duration {
	return time.Duration(-math.Log1p(-r.share()) * float64(mean))
}

// around returns a log-normal duration of this median; two thirds lie within a factor of 1.5.
func (r *dice) around(median time.Duration) time.Duration {
	normal := math.Sqrt(-2*math.Log1p(-r.share())) * math.Cos(2*math.Pi*r.share()) // Box and Muller
	return time.Duration(float64(median) * math.Exp(.4*normal))
}

func (r *dice) uuid() string {
	const hex = "0123456789abcdef"
	hi, lo := r.Uint64(), r.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	out := make([]byte, 0, 36)
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			out = append(out, '-')
		}
		word := hi
		if i >= 16 {
			word = lo
		}
		out = append(out, hex[word>>(60-4*(i%16))&15])
	}
	return string(out)
}

// stage is what a device does next.
type stage uint8

const (
	stageStart      stage = iota // the app starts
	stageDownload                // the download of the offer ends
	stageBackground              // the app goes to the background
	stageRetry                   // statistics that failed are sent again; then on with device.after
)

// device is one simulated device. One goroutine at a time owns it: the scheduler while it waits, a worker while it acts.
type device struct {
	index         int
	id            string // as it goes over the wire
	platform      string
	osVersion     string
	installSource string // "-" where the plugin sends none
	plugin        *plugin
	header        http.Header // of update checks and statistics; shared, read only
	prod          bool
	metrics       bool // the app reports to /telemetry
	dice          dice

	stage stage
	after stage // what follows stageRetry, at
	at    int64 // this simulated time

	sessionStart int64 // simulated, as is
	sessionEnd   int64

	running    *bundle // never nil; the store build is one too
	previous   *bundle // what a failed boot goes back to
	pending    *bundle // downloaded, to be set at the next background
	fetching   *bundle // being downloaded
	leftBehind *bundle // the running bundle, once the device was told to leave it for an older one
	byManifest bool    // the offer being downloaded has a manifest
	unproven   bool    // running was set and has not booted yet
	crashed    bool    // the last session ended in a crash

	queue   []event  // statistics to be sent
	samples []sample // app metrics to be sent

	blockedUntil int64 // ≥ 8.51.5: no request before this simulated time
	muted        bool  // 7.23.8–8.51.4: no statistics until the process restarts
	limitTold    bool  // rate_limit_reached was sent by this process
	failed       []failure
	offers       []*bundle // every bundle ever offered to it
}

// failure is a bundle that did not boot on a device.
type failure struct {
	bundle *bundle
	acked  bool // the server acknowledged the update_fail
}

// event is one statistic before it is written down.
type event struct {
	action   string
	version  string // "" leaves version_name out
	old      string
	at       int64  // simulated, Unix milliseconds
	metadata string // a JSON object, or ""
	worker   bool   // from Android's download worker: a bare object without a timestamp
}

// sample is one app metric before it is written down.
type sample struct {
	name    string
	value   time.Duration // of timings
	timing  bool
	extra   string // more JSON members, each behind a comma
	at      int64  // simulated, Unix milliseconds
	version string
}

func osVersions(platform string) ([]string, bool) {
	switch platform {
	case "android":
		return []string{"11", "12", "13", "14", "15", "16"}, true
	case "ios":
		return []string{"15.7.9", "16.7.10", "17.6.1", "18.6"}, true
	case "electron":
		return []string{"10.0.22631", "14.6.0"}, true
	}
	return nil, false
}

// newDevice returns the device of this index, on the store build, before its first start.
func (f *fleet) newDevice(index int) *device {
	d := &device{index: index, dice: diceOf(f.cfg.Seed, index), running: f.store, previous: f.store, installSource: "-"}
	d.id = d.dice.uuid()
	d.plugin = pick(&d.dice, f.plugins, func(p weighted) float64 { return p.weight }).plugin
	d.platform = pick(&d.dice, f.cfg.PlatformMix, func(p PlatformShare) float64 { return p.Weight }).Platform
	systems, _ := osVersions(d.platform)
	d.osVersion = systems[int(d.dice.share()*float64(len(systems)))]
	d.prod = d.dice.share() >= f.cfg.NonProd
	d.metrics = d.dice.share() < f.cfg.Metrics
	if d.platform == "ios" && d.plugin.upperCaseIDs {
		d.id = strings.ToUpper(d.id)
	}
	if d.plugin.installSource {
		d.installSource = installSource(d.platform, d.prod)
	}
	d.header = f.pluginHeader(d)
	return d
}

func installSource(platform string, prod bool) string {
	switch {
	case platform == "android" && prod:
		return "google_play"
	case platform == "android":
		return ""
	case platform == "ios" && prod:
		return "app_store"
	case platform == "ios":
		return "testflight"
	}
	return "-"
}

// pick returns one of choices by weight.
func pick[T any](r *dice, choices []T, weight func(T) float64) T {
	total := 0.
	for _, c := range choices {
		total += weight(c)
	}
	at := r.share() * total
	for _, c := range choices {
		if at -= weight(c); at < 0 {
			return c
		}
	}
	return choices[len(choices)-1]
}

// storeName is what the store build is called on the wire.
func (f *fleet) storeName(p *plugin) string {
	if p.nativeName {
		return f.cfg.StoreVersion
	}
	return StoreBuild
}

// nameOf is what a bundle is called on the wire by this device.
func (f *fleet) nameOf(d *device, b *bundle) string {
	if b == f.store {
		return f.storeName(d.plugin)
	}
	return b.name
}

// pluginHeader returns the headers that the device's plugin sets.
func (f *fleet) pluginHeader(d *device) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if d.platform == "android" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if d.platform == "ios" {
		h.Set("Accept", "application/json")
	}
	if d.plugin.userAgent && d.platform != "electron" {
		h.Set("User-Agent", "CapacitorUpdater/"+d.plugin.version+" ("+f.cfg.App+") "+d.platform+"/"+d.osVersion)
	}
	key := strings.Join([]string{h.Get("Content-Type"), h.Get("Accept"), h.Get("User-Agent")}, "\n")
	if shared, ok := f.headers[key]; ok {
		return shared
	}
	f.headers[key] = h
	return h
}
