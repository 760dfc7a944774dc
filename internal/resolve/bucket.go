package resolve

import (
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// Positions is the number of positions: 10⁹, so that a rollout.Percent is a count of positions.
const Positions = uint64(rollout.Everyone)

// Position returns where a device lies in a rollout, in [0, 10⁹): hi32(XXH64(salt ‖ deviceID)) · 10⁹ >> 32. The device
// id must be lower case. A device is inside a rollout.Percent p iff its position is below p. It does not allocate.
func Position(salt rollout.Salt, deviceID string) uint32 {
	return position(&salt, deviceID)
}

// scale maps the upper half of a hash onto the positions.
func scale(hash uint64) uint32 { return uint32((hash >> 32) * Positions >> 32) }

// Fingerprint returns XXH64 of the lower-case device id: how telemetry, segments and the Owned bitmap name a device.
func Fingerprint(deviceID string) uint64 {
	for i := range len(deviceID) {
		if c := deviceID[i]; 'A' <= c && c <= 'Z' || c >= 0x80 {
			return xxhash.Sum64String(strings.ToLower(deviceID))
		}
	}
	return xxhash.Sum64String(deviceID)
}

// ownedBytes is the length of an Owned bitmap: one bit for each value of a Fingerprint's upper 16 bits.
const ownedBytes = 1 << 16 / 8

// MayOwn reports whether a bitmap says that the device may have a channel of its own. False means that it has none;
// true may be another device with the same hash prefix.
func MayOwn(owned []byte, deviceID string) bool {
	return marked(owned, Fingerprint(deviceID))
}

// marked is MayOwn of a Fingerprint.
func marked(owned []byte, device uint64) bool {
	if len(owned) != ownedBytes {
		return false
	}
	bit := device >> 48
	return owned[bit>>3]&(1<<(bit&7)) != 0
}

// WithOwned returns a copy of a bitmap in which the devices' bits are set. An empty bitmap and no device give an empty
// one.
func WithOwned(owned []byte, deviceIDs ...string) []byte {
	if len(owned) == 0 && len(deviceIDs) == 0 {
		return nil
	}
	with := make([]byte, ownedBytes)
	copy(with, owned)
	for _, id := range deviceIDs {
		bit := Fingerprint(id) >> 48
		with[bit>>3] |= 1 << (bit & 7)
	}
	return with
}

// EntryKey names what one check says to the judge: that a device, by its Fingerprint, runs this version in this phase of a rollout
// in this hour, counted from 1970. It is never 0. Equal entries have equal keys; others nearly never.
func EntryKey(device uint64, version, rollout string, phase int, hour int64) uint64 {
	h := device ^ xxhash.Sum64String(version)*0x9E3779B97F4A7C15 ^ xxhash.Sum64String(rollout) ^
		uint64(hour)*0xC2B2AE3D27D4EB4F ^ uint64(phase+1)<<56
	return max(h, 1)
}
