//go:build !tinygo

package resolve

import (
	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// position is Position by the quickest way: what is hashed is put together on the stack.
func position(salt *rollout.Salt, deviceID string) uint32 {
	var buf [64]byte // a salt and a UUID take 52
	if len(deviceID) > len(buf)-len(salt) {
		return positionOfLong(salt, deviceID)
	}
	n := copy(buf[:], salt[:])
	n += copy(buf[n:], deviceID)
	return scale(xxhash.Sum64(buf[:n]))
}

// positionOfLong is Position of an id that no device has.
func positionOfLong(salt *rollout.Salt, deviceID string) uint32 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(salt[:]) // a Digest never fails
	_, _ = d.WriteString(deviceID)
	return scale(d.Sum64())
}
