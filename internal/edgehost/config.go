package edgehost

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The presets of a Config.
const (
	DefaultPoll   = 5 * time.Second
	DefaultGrace  = 24 * time.Hour
	DefaultWait   = 5 * time.Second
	DefaultGather = 200 * time.Millisecond
	DefaultQueue  = 4 << 20   // bytes, in memory
	DefaultSpool  = 256 << 20 // bytes, on disk
)

// The module takes no more: package internal/edge.
const (
	maxApps = 64
	maxKeys = 4
	keySize = 32 // bytes
)

// maxGrace keeps an Edge from answering for ever from what nobody can renew.
const maxGrace = 30 * 24 * time.Hour

// appID is an App's id as the origin takes it: reverse-domain. It is part of a file name.
var appID = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)

// Config is what a Host needs. Wasm, Origin, Token, Apps, Keys and Log are required.
type Config struct {
	Wasm   []byte   // a build of functions/edge
	Origin string   // its URL
	Token  string   // of the role edge; a secret
	Apps   []string // ids of the Apps to answer for
	Keys   []string // public keys that may sign Snapshots, as `palier keys` prints them

	Poll   time.Duration // between two looks for news of an App; DefaultPoll if zero
	Grace  time.Duration // beyond a Snapshot's expiry during which it answers; negative is none, DefaultGrace if zero
	Wait   time.Duration // of a device for the origin, before it gets what the edge knows; DefaultWait if zero
	Gather time.Duration // for which telemetry is gathered into one request; DefaultGather if zero
	Spool  string        // directory for telemetry that waits, and the last Snapshots; without one they are in memory only
	Cache  string        // directory for the compiled module, see ModuleConfig
	Queue  int64         // bytes of telemetry that may wait; DefaultQueue or, with a Spool, DefaultSpool if zero

	Log    *slog.Logger
	Now    func() time.Time // time.Now if nil
	Random func() float64   // in [0, 1); rand.Float64 if nil
}

// ErrConfig marks New's errors about what it was given. Each line after the first says what is wrong and what to give.
var ErrConfig = errors.New("the edge's settings are not usable")

// prepare fills in what was left out, and says all that is wrong. It also returns the origin's URL and the raw keys.
func (c *Config) prepare() (origin *url.URL, keys [][]byte, err error) {
	c.fill()
	var wrong problems
	if origin, err = parseOrigin(c.Origin); err != nil {
		wrong.add("%v", err)
	}
	if c.Token == "" || strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		wrong.add("no edge token, or what is none: set PALIER_EDGE_TOKEN; `palier token create NAME --role edge` at the origin makes one")
	}
	c.checkApps(&wrong)
	keys = c.parseKeys(&wrong)
	between(&wrong, "a poll every", c.Poll, 100*time.Millisecond, time.Hour)
	between(&wrong, "a grace of", c.Grace, 0, maxGrace)
	between(&wrong, "a wait for the origin of", c.Wait, 10*time.Millisecond, time.Minute)
	between(&wrong, "telemetry gathered for", c.Gather, time.Millisecond, 5*time.Second)
	if c.Queue < 0 {
		wrong.add("a queue of %d bytes: give a size", c.Queue)
	}
	if wrong != "" {
		return nil, nil, fmt.Errorf("%w:%s", ErrConfig, string(wrong))
	}
	return origin, keys, nil
}

// problems are what is wrong with a Config, a line each.
type problems string

func (p *problems) add(format string, args ...any) {
	*p += problems("\n  " + fmt.Sprintf(format, args...))
}

func between(wrong *problems, what string, d, least, most time.Duration) {
	if d < least || d > most {
		wrong.add("%s %s: give %s to %s", what, d, least, most)
	}
}

// checkApps checks the Apps and drops those that are named twice.
func (c *Config) checkApps(wrong *problems) {
	c.Apps = slices.Compact(slices.Sorted(slices.Values(c.Apps)))
	if len(c.Apps) == 0 || len(c.Apps) > maxApps {
		wrong.add("%d apps: give 1 to %d, such as com.example.shop", len(c.Apps), maxApps)
	}
	for _, app := range c.Apps {
		if !appID.MatchString(app) || len(app) > 128 {
			wrong.add("%q is no app's id: give one such as com.example.shop", app)
		}
	}
}

// parseKeys returns the raw keys.
func (c *Config) parseKeys(wrong *problems) (keys [][]byte) {
	if len(c.Keys) == 0 || len(c.Keys) > maxKeys {
		wrong.add("%d keys: give 1 to %d; `palier keys` prints them", len(c.Keys), maxKeys)
	}
	for _, text := range c.Keys {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != keySize {
			wrong.add("%q is no public key of 44 characters; `palier keys` prints them", text)
		}
		keys = append(keys, raw)
	}
	return keys
}

func (c *Config) fill() {
	preset := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	preset(&c.Poll, DefaultPoll)
	preset(&c.Grace, DefaultGrace)
	preset(&c.Wait, DefaultWait)
	preset(&c.Gather, DefaultGather)
	c.Grace = max(0, c.Grace)
	if c.Queue == 0 {
		c.Queue = DefaultQueue
		if c.Spool != "" {
			c.Queue = DefaultSpool
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
}

// parseOrigin reads the origin's URL, without a slash at its end.
func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the origin %q is no URL: give one such as https://palier.example.com", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the origin's URL has a user, a query or a fragment: give it without; the token is given by itself")
	}
	return u, nil
}

// exposed reports whether what goes to a URL can be read on the way.
func exposed(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// folders makes the folders of a spool, and returns those for telemetry and for Snapshots.
func folders(spool string) (telemetry, snapshots string, err error) {
	telemetry, snapshots = filepath.Join(spool, "telemetry"), filepath.Join(spool, "snapshots")
	for _, dir := range []string{telemetry, snapshots} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", "", fmt.Errorf("making the spool: %w; give a directory that this process may write to", err)
		}
	}
	return telemetry, snapshots, nil
}
