//go:build wasip1

package main

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fastly/compute-sdk-go/configstore"
	"github.com/fastly/compute-sdk-go/secretstore"

	"github.com/palier-ota/palier/internal/edge"
	"github.com/palier-ota/palier/internal/seal"
)

// The stores with the settings, and the backend that is the origin. infra/edge/fastly/fastly.toml makes them.
const (
	configStore = "palier"
	secretStore = "palier_secrets"
	backend     = "origin"
)

// settings are what an operator tells an edge.
type settings struct {
	origin string // URL without a slash at its end
	token  string // a secret
	apps   []string
	keys   []seal.Key
	poll   uint32 // seconds between two looks for news, of all sandboxes of a place together
	grace  uint32 // seconds beyond a Snapshot's expiry during which it answers
}

// readSettings reads and checks the settings. Its error has a line for each that is missing or wrong, and repeats no secret.
func readSettings() (settings, error) {
	var s settings
	var wrong []string
	refuse := func(name, format string, args ...any) {
		wrong = append(wrong, "\n  "+name+": "+fmt.Sprintf(format, args...))
	}
	store, err := configstore.Open(configStore)
	if err != nil {
		return s, fmt.Errorf("the config store %q: %w [create it and link it to this service]", configStore, err)
	}
	text := func(name string) string {
		value, _ := store.Get(name) // what is missing is empty
		return strings.TrimSpace(value)
	}
	number := func(name string, preset, least, most uint64) uint32 {
		if text(name) == "" {
			return uint32(preset)
		}
		n, err := strconv.ParseUint(text(name), 10, 32)
		if err != nil || n < least || n > most {
			refuse(name, "give a whole number of seconds from %d to %d, or leave it out for %d", least, most, preset)
		}
		return uint32(n)
	}
	s.origin = strings.TrimRight(text("PALIER_ORIGIN"), "/")
	if !isOrigin(s.origin) {
		refuse("PALIER_ORIGIN", "give the origin's URL, such as https://palier.example.com, without user, query and fragment")
	}
	if s.apps = list(text("PALIER_APPS")); len(s.apps) == 0 || len(s.apps) > edge.MaxApps || slices.ContainsFunc(s.apps, isNoApp) {
		refuse("PALIER_APPS", "give 1 to %d app ids, such as com.example.shop, separated by commas", edge.MaxApps)
	}
	if s.keys = keysOf(list(text("PALIER_KEYS"))); len(s.keys) == 0 || len(s.keys) > edge.MaxKeys {
		refuse("PALIER_KEYS", "give 1 to %d public keys, separated by commas, as `palier keys` prints them", edge.MaxKeys)
	}
	s.poll = number("PALIER_POLL", 5, 1, 3600)
	s.grace = number("PALIER_GRACE", 86_400, 0, 30*86_400)
	token, err := secretstore.Plaintext(secretStore, "PALIER_EDGE_TOKEN")
	if s.token = strings.TrimSpace(string(token)); err != nil || !isToken(s.token) {
		refuse("PALIER_EDGE_TOKEN", "put an edge token into the secret store %q; `palier token create NAME --role edge` makes one", secretStore)
	}
	if wrong != nil {
		return s, errors.New("the edge's settings are not usable:" + strings.Join(wrong, ""))
	}
	return s, nil
}

// list returns what stands between commas, each once, in order.
func list(text string) []string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(parts)
	return slices.Compact(parts)
}

// keysOf returns the keys, or none if a text is none.
func keysOf(texts []string) (keys []seal.Key) {
	for _, text := range texts {
		key, ok := seal.ParseKey(text)
		if !ok {
			return nil
		}
		keys = append(keys, key)
	}
	return keys
}

func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// appID is an App's id as the origin takes it, of 128 characters at most.
var appID = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)

func isNoApp(text string) bool { return len(text) > 128 || !appID.MatchString(text) }

func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
