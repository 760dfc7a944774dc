package cloud

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/clock"
	"github.com/palier-ota/palier/internal/source"
)

// Environment is what the environment of one process says. What is missing or malformed in it is noted, and something
// harmless returned instead: ask Err once, when everything has been read, and do not go on when there is one.
type Environment struct {
	Clock *clock.Clock
	Log   *slog.Logger

	get      func(name string) string
	client   *http.Client // of all services
	problems map[string]error
}

// Read reads what every function needs from an environment such as os.Getenv, and logs to out, a JSON object a line.
func Read(get func(name string) string, out io.Writer) *Environment {
	e := &Environment{get: get, client: newHTTPClient(), problems: map[string]error{}}
	var err error
	if e.Clock, err = clock.Parse(get("PALIER_CLOCK")); err != nil {
		e.refuse("PALIER_CLOCK", err)
		e.Clock = clock.Real()
	}
	e.Log = slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: e.level()}))
	return e
}

// Err returns what is wrong with the environment, every variable at once; nil if nothing is.
func (e *Environment) Err() error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(e.problems)) {
		all = append(all, fmt.Errorf("environment variable %s: %w [template.yaml sets it]", name, e.problems[name]))
	}
	return errors.Join(all...)
}

// refuse notes what is wrong with a variable.
func (e *Environment) refuse(name string, err error) { e.problems[name] = err }

var errMissing = errors.New("missing")

// Required returns a variable that must be there.
func (e *Environment) Required(name string) string {
	value := e.get(name)
	if value == "" {
		e.refuse(name, errMissing)
	}
	return value
}

func (e *Environment) level() slog.Level {
	var level slog.Level // info
	if text := e.get("PALIER_LOG_LEVEL"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			e.refuse("PALIER_LOG_LEVEL", err)
		}
	}
	return level
}

// SnapshotTTL returns PALIER_SNAPSHOT_TTL; 0, which is the default of device.Config, if it is not set.
func (e *Environment) SnapshotTTL() time.Duration {
	const name = "PALIER_SNAPSHOT_TTL"
	text := e.get(name)
	if text == "" {
		return 0
	}
	ttl, err := time.ParseDuration(text)
	if err == nil && ttl <= 0 {
		err = fmt.Errorf("%s is not positive", ttl)
	}
	if err != nil {
		e.refuse(name, err)
		return 0
	}
	return ttl
}

// AdminTokenHash returns PALIER_ADMIN_TOKEN_SHA256, the SHA-256 of the first admin token's text; nil if it is not set.
func (e *Environment) AdminTokenHash() *[sha256.Size]byte {
	const name = "PALIER_ADMIN_TOKEN_SHA256"
	text := e.get(name)
	if text == "" {
		return nil
	}
	hash, err := hex.DecodeString(text)
	if err == nil && len(hash) != sha256.Size {
		err = fmt.Errorf("%d bytes, want the %d that `palier token new` prints", len(hash), sha256.Size)
	}
	if err != nil {
		e.refuse(name, err)
		return nil
	}
	return (*[sha256.Size]byte)(hash)
}

// FunctionName returns what Lambda calls this function.
func (e *Environment) FunctionName() string { return e.get("AWS_LAMBDA_FUNCTION_NAME") }

// Provisioned reports whether Lambda starts this process before there is a request for it. Then what the first request
// would wait for should be done before asking for one.
func (e *Environment) Provisioned() bool {
	return e.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency"
}

// Edges returns what parse makes of the addresses in PALIER_EDGES, which stand between commas: those of the edges to tell of
// changes. None if it is not set.
func (e *Environment) Edges(parse func(address string) (*url.URL, error)) []*url.URL {
	const name = "PALIER_EDGES"
	var edges []*url.URL
	for text := range strings.FieldsFuncSeq(e.get(name), func(r rune) bool { return r == ',' || r == ' ' }) {
		edge, err := parse(text)
		if err != nil {
			e.refuse(name, err)
			return nil
		}
		edges = append(edges, edge)
	}
	return edges
}

// TrustProxies returns the networks in PALIER_TRUST_PROXIES, which stand between commas: those of proxies whose word is
// believed on where a request comes from. None if it is not set.
func (e *Environment) TrustProxies() []netip.Prefix {
	const name = "PALIER_TRUST_PROXIES"
	proxies, err := source.ParseTrusted(e.get(name))
	if err != nil {
		e.refuse(name, err)
	}
	return proxies
}
