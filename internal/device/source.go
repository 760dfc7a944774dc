package device

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/source"
	"github.com/palier-ota/palier/internal/telemetry"
)

// Reports can be forged: whoever can read an app can speak its protocol, and device ids cost nothing. Three things hold
// whatever is sent: a device counts only if its own update check entered the comparison, it counts once per metric, and it
// cannot choose its arm, because the salt is secret. But it can learn its arm from the answer and then complain, and a
// script has as many devices as it likes. What it does not have is networks. So what may count is bounded per source:
//
//   - Of one app, in one day, a source may have so many devices with reports of one kind that count: a quarter of the
//     devices that were heard from there that day, and five in any case. Further ones are answered, stored and marked as
//     Capped, which the fold does not count. A device that was let through stays so for the day.
//   - Of one app, in one hour, so many new devices may enter comparisons from a source. For the rest of such an hour its
//     checks are answered and not noted, whether they are of new devices or not: who is remembered could depend on the arm.
//
// # Why the judge's error guarantee survives
//
// Under the null hypothesis a bundle changes nothing, so when and from where devices ask and complain does not depend on
// their arms, and given that a device complains it is a candidate with the design's probability. The rule looks at times,
// sources, kinds and ids, never at an arm, nor at whether a report is of the candidate. So which reports it lets through is
// decided by things that say nothing of the arms, and among those that count the probability is the same as among all.
// That it also depends on what came before, of both arms, does no harm: the judge weighs each report given its past, and the
// arm of a device that complains for the first time does not depend on that of others.
// What is lost is speed, and in either arm alike: a source of which more than a quarter complains counts as if a quarter
// did. Each decision is made once, here, and rests in the event, so that counting again gives the same.
//
// # What it cannot do
//
// It makes an attack by chosen candidates cost addresses. A script whose devices all ask, in either arm, is not told from
// an audience: it needs dozens of them, and one address; how many, VALIDATION.md of internal/judge says. It knows what this process heard since it began, and no more than fits its tables: on
// Lambda each instance has its own, so there the bounds hold per instance. A source that is not known has no bound at all:
// this machine itself, a proxy or an edge that does not tell. One bound for all of those together would let anyone use it
// up for everybody.

// Source is what a host knows of where a request comes from. The zero value is a source that is not known.
type Source struct {
	// Peer is the address at the other end of the connection, with or without a port.
	Peer string
	// Forwarded are the lines of the request's header X-Forwarded-For. They are believed of trusted proxies only.
	Forwarded []string
	// Network, if valid, is what somebody found out who knows better, such as an edge.
	Network netip.Prefix
}

// The presets of SourceLimits.
const (
	DefaultSourceFloor   = 5
	DefaultSourceShare   = 4
	DefaultSourceEntries = 200_000
)

// SourceLimits bound what one source may do to an app's comparisons.
type SourceLimits struct {
	// Floor is how many devices may have reports of one kind that count, per day, however few were heard;
	// DefaultSourceFloor if zero, which a household stays below.
	Floor int
	// Share is the part of the devices heard that may: one in so many. DefaultSourceShare if zero. A bundle that fails in a
	// twentieth of a company whose devices all have one address is well below it.
	Share int
	// Entries is how many devices may enter comparisons per hour that are not remembered; DefaultSourceEntries if
	// zero. That is meant to end floods, and to be above what comes from a network behind which a carrier has its customers,
	// or from an edge that is no trusted proxy: its own is the source of all checks that it forwards, which are those of
	// candidates that get an offer. To leave out some of these would unbalance the arms, and hold the rollout.
	Entries int
}

func (l SourceLimits) orDefault() SourceLimits {
	preset := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	preset(&l.Floor, DefaultSourceFloor)
	preset(&l.Share, DefaultSourceShare)
	preset(&l.Entries, DefaultSourceEntries)
	return l
}

// sources applies the bounds. Of an address it keeps a hash under a key of the process's own, and that in memory only.
type sources struct {
	limits  SourceLimits
	trusted []netip.Prefix
	seed    maphash.Seed

	mu     sync.Mutex
	crowds crowds

	capped, leftOut atomic.Int64
}

func newSources(limits SourceLimits, trusted []netip.Prefix) *sources {
	return &sources{limits: limits.orDefault(), trusted: trusted, seed: maphash.MakeSeed()}
}

// locate returns the network of a source; false if it is not known.
func (s *sources) locate(from Source) (netip.Prefix, bool) {
	if from.Network.IsValid() {
		return from.Network, true
	}
	return source.Of(from.Peer, from.Forwarded, s.trusted)
}

// crowdKey names devices that are counted together.
type crowdKey struct {
	app     string
	network netip.Prefix
	day     int64
	kind    kind
}

// enters reports whether a device's check may enter comparisons.
func (s *sources) enters(from Source, app string, device uint64, now time.Time) bool {
	network, ok := s.locate(from)
	if !ok {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.crowd(crowdKey{app, network, dayOf(now), heardAtAll})
	if hour := uint32(now.Unix() / 3600); c.hour != hour {
		c.hour, c.fresh = hour, 0
	}
	if int(c.fresh) >= s.limits.Entries {
		s.leftOut.Add(1)
		return false
	}
	if s.joins(c, device) {
		c.fresh++
	}
	return true
}

// markExcess marks the events that are too much of one kind from their source.
func (s *sources) markExcess(from Source, events []telemetry.Event, now time.Time) {
	network, ok := s.locate(from)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		e := &events[i]
		if e.Test || e.Spurious || len(e.Exposures) == 0 {
			continue // counts for nothing as it is
		}
		heard := s.hear(network, e.App, e.Device, now)
		if k := kindOf(*e); k != heardAtAll && !s.lets(network, e.App, k, e.Device, heard, now) {
			e.Capped = true
			s.capped.Add(1)
		}
	}
}

// hear counts a device among those that were heard from a network that day, and returns how many those are.
func (s *sources) hear(network netip.Prefix, app string, device uint64, now time.Time) int {
	c := s.crowd(crowdKey{app, network, dayOf(now), heardAtAll})
	s.joins(c, device)
	return int(c.size)
}

// joins counts a device in a crowd, and reports whether it is new there as far as is remembered.
func (s *sources) joins(c *crowd, device uint64) bool {
	member := s.member(c, device)
	if s.crowds.has(member) {
		return false
	}
	c.size++
	s.crowds.join(member)
	return true
}

// lets reports whether a device's reports of a kind count that day, when so many devices were heard.
func (s *sources) lets(network netip.Prefix, app string, k kind, device uint64, heard int, now time.Time) bool {
	c := s.crowd(crowdKey{app, network, dayOf(now), k})
	if int(c.size) >= max(s.limits.Floor, heard/s.limits.Share) {
		return s.crowds.has(s.member(c, device))
	}
	s.joins(c, device)
	return true
}

func (s *sources) crowd(k crowdKey) *crowd { return s.crowds.of(maphash.Comparable(s.seed, k)) }

// member names a device as one of a crowd. One that was forgotten and began anew has other members.
func (s *sources) member(c *crowd, device uint64) uint64 {
	return maphash.Comparable(s.seed, [3]uint64{c.key, uint64(c.born), device})
}

// dayOf returns the days since the Unix epoch.
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 3600) }

// kind is what a source reports are bounded by: a metric's events; and of a measured metric, the values that are not bad yet,
// by how many boundaries they are beyond, because the judge weighs each boundary.
type kind uint8

// heardAtAll is no kind of report: it stands for the devices that were heard, whatever they said.
const heardAtAll kind = 0

// kindOf returns the kind of an event, heardAtAll if no comparison counts it.
func kindOf(e telemetry.Event) kind {
	class := telemetry.Classify(e)
	switch measured := class.Metric.Measured(); {
	case class.Bad:
		return kind(1 + class.Metric.Index())
	case measured >= 0 && class.Level > 0:
		return kind(rollout.NumMetrics + measured*rollout.ShownLevel + class.Level)
	}
	return heardAtAll
}
