package device

const (
	crowdSets  = 1 << 12 // with crowdWays, 768 KB
	crowdWays  = 8
	memberSets = 1 << 13 // with memberWays, 512 KB
	memberWays = 8       // a cache line
)

// crowds count distinct devices, for as many groups as fit. They are tables of a fixed size: what was used longest ago is
// pushed out. A crowd that was pushed out begins anew, with nobody in it; a device that was is counted again.
//
// It is not safe for concurrent use.
type crowds struct {
	begun   uint32 // how many crowds began
	crowds  [crowdSets][crowdWays]crowd
	members [memberSets][memberWays]uint64 // the newest first
}

// crowd is a number of devices.
type crowd struct {
	key  uint64
	born uint32 // which of the crowds that began
	size uint32

	hour  uint32 // since the Unix epoch
	fresh uint32 // devices that joined in that hour
}

// of returns the crowd of a key, which begins now if there is none. It is good until the next call.
func (c *crowds) of(key uint64) *crowd {
	set := &c.crowds[key%crowdSets]
	at := 0
	for at < crowdWays-1 && (set[at].key != key || set[at].born == 0) {
		at++
	}
	found := set[at]
	if found.key != key || found.born == 0 {
		c.begun = max(1, c.begun+1)
		found = crowd{key: key, born: c.begun}
	}
	copy(set[1:at+1], set[:at])
	set[0] = found
	return &set[0]
}

// has reports whether a member joined, as far as is remembered.
func (c *crowds) has(member uint64) bool {
	for _, m := range c.members[member%memberSets] {
		if m == member {
			return true
		}
	}
	return false
}

// join remembers a member.
func (c *crowds) join(member uint64) {
	set := &c.members[member%memberSets]
	copy(set[1:], set[:memberWays-1])
	set[0] = member
}
