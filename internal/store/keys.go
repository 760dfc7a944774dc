package store

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// The addresses of what this package keeps. App ids never hold a '#' (checkApp), so that no two apps share a partition
// whatever a device calls itself. Beside those listed here:
//
//	SHARD#{stream} / {shard}                                  a shard's checkpoint                          tallies.go
//	SEEN#{app}#{rollout}#{stream}#{shard} / leaf#…, patch#…   its records of devices                        tallies.go
//	TALLY#{app}#{rollout} / {phase}#{hour}#{arm}#{shard}      what was counted; newest#{shard}: how far     tallies.go
//	TALLY#{app}#{rollout} / sketch#{shard}                    what was heard, for people to look at         tallies.go
//	VERDICT#{app}#{rollout} / verdict#{ms}-{digest}           every verdict with what it read, 400 days     verdicts.go
//	VERDICT#{app}#{rollout} / frame#{ms}-{digest}#{part}      a whole reading, an hour's verdicts' base     frames.go
const (
	skApp      = "APP"
	skSnapshot = "SNAPSHOT"
	skDevice   = "DEVICE"
	skToken    = "TOKEN"
	skSigning  = "SIGNING"

	prefixBundle  = "BUNDLE#"
	prefixChannel = "CHANNEL#"
	prefixDevice  = "DEVICE#" // devices that an operator named
	prefixEvent   = "EVENT#"
	prefixPlan    = "PLAN#"
	prefixRollout = "ROLLOUT#"
	prefixSegment = "SEGMENT#"

	pkDevice = "DEVICE#" // then the app's id, # and the device's
	pkApps   = "APPS"    // index: one item per app
	pkKeys   = "KEYS"    // the signing keys, all in one item
	pkLive   = "LIVE"    // index: one item per live rollout
	pkTokens = "TOKENS"  // index: one item per token, by name
)

func appPK(app string) string              { return "APP#" + app }
func appKey(app string) Key                { return Key{appPK(app), skApp} }
func snapshotKey(app string) Key           { return Key{appPK(app), skSnapshot} }
func entityKey(app, prefix, id string) Key { return Key{appPK(app), prefix + id} }
func indexKey(app string) Key              { return Key{pkApps, app} }
func liveKey(app, rollout string) Key      { return Key{pkLive, app + "#" + rollout} }
func tokenKey(hash [32]byte) Key           { return Key{"TOKEN#" + hex.EncodeToString(hash[:]), skToken} }
func keyRingKey() Key                      { return Key{pkKeys, skSigning} }
func tokenIndexKey(name string) Key        { return Key{pkTokens, name} }

// factsKey is where a device's Facts are. Device ids are compared in lower case.
func factsKey(app, device string) Key {
	return Key{pkDevice + app + "#" + strings.ToLower(device), skDevice}
}

// checkApp refuses ids that would let one app's keys run into another's.
func checkApp(app string) error {
	if app == "" || strings.Contains(app, "#") {
		return fmt.Errorf("%w: app id %.80q is empty or holds a '#'", ErrInvalid, app)
	}
	return nil
}
