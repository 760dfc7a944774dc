package fleet

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/Masterminds/semver/v3"
)

// StoreBuild is the name of the build that the app store delivered, in Config.Behaviour and in Stats.
const StoreBuild = "builtin"

// Config describes a fleet. Only BaseURL and App are required: a zero field takes the default that its comment names.
// Shares and probabilities are fractions from 0 to 1 and default to 0.
type Config struct {
	BaseURL string // where /updates, /stats and /telemetry are
	App     string // reverse-domain id of the app
	Devices int    // default 1000
	Seed    uint64 // same seed, same devices

	TimeScale  float64       // simulated seconds per real second; default 1
	Start      time.Time     // simulated time at which the fleet starts; default the real time then
	CheckEvery time.Duration // mean simulated time between app starts of one device, exponential; default 6 h
	Diurnal    float64       // how much livelier devices are at noon UTC than on average, 0…0.9; asleep as much at midnight
	Session    time.Duration // median simulated length of a session; default 3 min

	StoreVersion string               // native version of the store build, semver; default 1.0.0
	Behaviour    map[string]Behaviour // by bundle version; StoreBuild names the store build
	Baseline     Behaviour            // of versions that Behaviour does not list

	PluginMix   []PluginShare   // default DefaultPluginMix
	PlatformMix []PlatformShare // default DefaultPlatformMix
	Channel     string          // defaultChannel of the app's configuration
	NonProd     float64         // share of devices that run a debug or TestFlight build
	Metrics     float64         // share of devices whose app reports to /telemetry

	Duplicate float64 // share of statistics requests that are sent twice
	Lost      float64 // share of statistics requests that never reach the server

	Concurrency int           // requests in flight at most; default 64
	MaxRate     float64       // requests per real second at most; default no limit
	Client      *http.Client  // default a keep-alive one with the plugin's time-out of 20 s; redirects are never followed
	Duration    time.Duration // simulated time after which the run ends; default never

	// Until ends the run when it returns true. It is asked every Progress.
	Until func(Stats) bool
	// Progress is the real time between two progress reports; default 1 s.
	Progress time.Duration
	// AllowDowngrade says whether a device on bundle from may be sent to the older bundle to, or to StoreBuild. Without
	// it every such move is a Violation. It is called from several goroutines.
	AllowDowngrade func(from, to string) bool
	// AckLog gets one JSON line for every event that the server acknowledged: see ackLog. Every Write is whole lines.
	AckLog io.Writer
}

// Behaviour is what a bundle does to the devices that run it.
type Behaviour struct {
	CrashRate    float64 `json:"crash_rate,omitempty"`    // probability that a session ends in a crash
	BootFail     float64 `json:"boot_fail,omitempty"`     // share of devices on which it never calls notifyAppReady
	Kill         float64 `json:"kill,omitempty"`          // share of devices on which the app dies at every start
	DownloadFail float64 `json:"download_fail,omitempty"` // probability that a download of it fails

	// What the app reports of itself, from the share of devices in Config.Metrics.
	LoadTime         time.Duration `json:"load_time_ns,omitempty"`      // median; default 800 ms
	APITime          time.Duration `json:"api_time_ns,omitempty"`       // median; default 200 ms
	ErrorRate        float64       `json:"error_rate,omitempty"`        // probability of a JavaScript error in a session
	NegativeFeedback float64       `json:"negative_feedback,omitempty"` // probability of a bad word in a session
	FeatureUse       float64       `json:"feature_use,omitempty"`       // probability that a session uses the tracked feature
}

// PluginShare gives a plugin version its weight in a fleet.
type PluginShare struct {
	Version string
	Weight  float64
}

// PlatformShare gives a platform (android, ios or electron) its weight in a fleet.
type PlatformShare struct {
	Platform string
	Weight   float64
}

// DefaultPluginMix returns one version of every generation of the protocol, most of them recent.
func DefaultPluginMix() []PluginShare {
	return []PluginShare{
		{"5.9.5", .03}, {"6.14.26", .07}, {"7.17.0", .1}, {"7.51.20", .15}, {"8.40.5", .15}, {"8.51.23", .5},
	}
}

// DefaultPlatformMix returns 60 % Android, 38 % iOS and 2 % Electron.
func DefaultPlatformMix() []PlatformShare {
	return []PlatformShare{{"android", .60}, {"ios", .38}, {"electron", .02}}
}

// responseTimeout is the plugin's default time-out of one request.
const responseTimeout = 20 * time.Second

// withDefaults returns c with every zero field that has a default filled in. Call it inside Run, at its start.
func (c Config) withDefaults() Config {
	setDefault(&c.Devices, 1000)
	setDefault(&c.TimeScale, 1)
	setDefault(&c.CheckEvery, 6*time.Hour)
	setDefault(&c.Session, 3*time.Minute)
	setDefault(&c.StoreVersion, "1.0.0")
	setDefault(&c.Concurrency, 64)
	setDefault(&c.Progress, time.Second)
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	if len(c.PluginMix) == 0 {
		c.PluginMix = DefaultPluginMix()
	}
	if len(c.PlatformMix) == 0 {
		c.PlatformMix = DefaultPlatformMix()
	}
	if c.Client == nil {
		c.Client = newClient(c.Concurrency)
	}
	client := *c.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	return c
}

func setDefault[T comparable](field *T, value T) {
	if zero := *new(T); *field == zero {
		*field = value
	}
}

func newClient(connections int) *http.Client {
	return &http.Client{
		Timeout: responseTimeout,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			MaxIdleConns:        connections,
			MaxIdleConnsPerHost: connections,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
	}
}

// behaviour returns what the bundle of this name does.
func (c *Config) behaviour(version string) Behaviour {
	b, ok := c.Behaviour[version]
	if !ok {
		b = c.Baseline
	}
	setDefault(&b.LoadTime, 800*time.Millisecond)
	setDefault(&b.APITime, 200*time.Millisecond)
	return b
}

var appID = regexp.MustCompile(`^[a-zA-Z0-9]+(\.[\w-]+)+$`)

// Validate reports the first field of c that Run would refuse, and what to write instead. Zero fields that have a
// default are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	u, err := url.Parse(c.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("fleet: base URL %q: want an absolute http or https URL, such as http://127.0.0.1:8787", c.BaseURL)
	}
	if !appID.MatchString(c.App) {
		return fmt.Errorf("fleet: app %q: want a reverse-domain id, such as com.example.shop", c.App)
	}
	if c.Devices < 0 || c.Concurrency < 0 {
		return fmt.Errorf("fleet: %d devices, %d concurrent requests: want at least 1 of each", c.Devices, c.Concurrency)
	}
	if c.TimeScale < 0 || c.TimeScale != c.TimeScale || c.MaxRate < 0 {
		return fmt.Errorf("fleet: time scale %v, rate %v: neither may be negative", c.TimeScale, c.MaxRate)
	}
	if c.CheckEvery < 0 || c.Session < 0 || c.Duration < 0 || c.Progress < 0 {
		return fmt.Errorf("fleet: check every %v, session %v, duration %v, progress %v: none may be negative",
			c.CheckEvery, c.Session, c.Duration, c.Progress)
	}
	if c.Diurnal < 0 || c.Diurnal > .9 {
		return fmt.Errorf("fleet: diurnal swing %v: want 0 to 0.9", c.Diurnal)
	}
	if _, err := semver.StrictNewVersion(c.StoreVersion); err != nil {
		return fmt.Errorf("fleet: store version %q: want a semantic version, such as 1.0.0: %w", c.StoreVersion, err)
	}
	if err := c.validateShares(); err != nil {
		return err
	}
	return c.validateMixes()
}

func (c *Config) validateShares() error {
	type share struct {
		name  string
		value float64
	}
	shares := []share{{"non-prod", c.NonProd}, {"metrics", c.Metrics}, {"duplicate", c.Duplicate}, {"lost", c.Lost}}
	of := func(version string, b Behaviour) {
		shares = append(shares, share{version + ": crash rate", b.CrashRate}, share{version + ": boot fail", b.BootFail},
			share{version + ": kill", b.Kill}, share{version + ": download fail", b.DownloadFail},
			share{version + ": error rate", b.ErrorRate}, share{version + ": negative feedback", b.NegativeFeedback},
			share{version + ": feature use", b.FeatureUse})
	}
	of("baseline", c.Baseline)
	for version, b := range c.Behaviour {
		of(version, b)
	}
	for _, s := range shares {
		if !(s.value >= 0 && s.value <= 1) {
			return fmt.Errorf("fleet: %s is %v: want a fraction from 0 to 1", s.name, s.value)
		}
	}
	return nil
}

func (c *Config) validateMixes() error {
	plugins, platforms := 0., 0.
	for _, p := range c.PluginMix {
		if _, err := newPlugin(p.Version); err != nil {
			return err
		}
		if !(p.Weight >= 0) {
			return fmt.Errorf("fleet: plugin %s has weight %v: want 0 or more", p.Version, p.Weight)
		}
		plugins += p.Weight
	}
	for _, p := range c.PlatformMix {
		if _, ok := osVersions(p.Platform); !ok {
			return fmt.Errorf("fleet: platform %q: want android, ios or electron", p.Platform)
		}
		if !(p.Weight >= 0) {
			return fmt.Errorf("fleet: platform %s has weight %v: want 0 or more", p.Platform, p.Weight)
		}
		platforms += p.Weight
	}
	if plugins == 0 || platforms == 0 {
		return fmt.Errorf("fleet: the weights of a mix are all zero: give at least one plugin and one platform a weight")
	}
	return nil
}
