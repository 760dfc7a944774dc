package edge

import (
	"strconv"

	"github.com/palier-ota/palier/internal/jsontext"
	"github.com/palier-ota/palier/internal/resolve"
)

// The judge needs to know of every device in an arm of a live rollout that it asks, and what it runs. The origin notes that
// when it answers; for what an Edge answers, the host hands the Edge's notes to the origin, many at once. A note is a JSON
// object without its closing brace, to which the host adds how old it is.
//
// One note per device, version, phase and hour is enough, so what was noted is remembered, as far as there is room; a device that is
// pushed out is noted twice, which does no harm.
const (
	notedSets = 1 << 12 // with notedWays, 128 KB
	notedWays = 4

	// maxVersion is the longest version that is noted, in bytes: no bundle has a longer one.
	maxVersion = 128
)

type noted [notedSets][notedWays]uint64

// first reports whether the key was not noted yet, and notes it in the place of the oldest of its set.
func (n *noted) first(key uint64) bool {
	set := &n[key%notedSets]
	for _, k := range set {
		if k == key {
			return false
		}
	}
	copy(set[1:], set[:notedWays-1])
	set[0] = key
	return true
}

// Renote forgets what was noted. The host calls it when it had to drop notes, which the devices' next checks then make up for.
func (e *Edge) Renote() {
	if e.noted != nil {
		clear(e.noted[:])
	}
}

// note puts the note of a check into the result, unless there was one already.
func (e *Edge) note(c *resolve.Check, d *resolve.Decision, now uint32) {
	if len(c.VersionName) > maxVersion {
		return
	}
	if e.noted == nil {
		e.noted = new(noted)
	}
	device := c.Fingerprint()
	if !e.noted.first(resolve.EntryKey(device, c.VersionName, d.Rollout.ID, d.Phase, int64(now)/3600)) {
		return
	}
	b := jsontext.AppendString(append(e.result.Note, `{"app":`...), c.AppID)
	b = appendHex(append(b, `,"device":"`...), device)
	b = jsontext.AppendString(append(b, `","version":`...), c.VersionName)
	b = append(append(b, `,"platform":"`...), c.Platform.String()...)
	b = jsontext.AppendString(append(b, `","rollout":`...), d.Rollout.ID)
	b = strconv.AppendInt(append(b, `,"phase":`...), int64(d.Phase), 10)
	b = append(append(b, `,"arm":"`...), d.Arm.String()...)
	b = append(b, `","candidate":`...)
	e.result.Note = strconv.AppendBool(b, runs(c, d.Rollout))
}

// runs reports whether the device runs the rollout's candidate.
func runs(c *resolve.Check, r *resolve.Rollout) bool { return c.VersionName == r.RolloutSpec.Bundle }

// appendHex appends 16 hexadecimal digits.
func appendHex(dst []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return dst
}
