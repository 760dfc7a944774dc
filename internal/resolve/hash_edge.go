//go:build tinygo

package resolve

import (
	"github.com/cespare/xxhash/v2"

	"github.com/palier-ota/palier/internal/rollout"
)

// hashed is where position puts together what it hashes: TinyGo would allocate a buffer of its own for every call, and a
// module has one thread. The ids of devices are UUIDs where it is used, so there is room for them.
var hashed [64]byte

// position is Position of an id of at most 48 bytes.
func position(salt *rollout.Salt, deviceID string) uint32 {
	n := copy(hashed[:], salt[:])
	n += copy(hashed[n:], deviceID)
	return scale(xxhash.Sum64(hashed[:n]))
}
