package fleet

import (
	"sync"
	"sync/atomic"

	"github.com/Masterminds/semver/v3"
)

// bundle is one version as the fleet knows it: what it does to devices, and what became of it so far.
type bundle struct {
	name      string
	version   *semver.Version // nil for a name that is no semantic version
	behaviour Behaviour

	running, offers, offered, downloads, installs atomic.Int64
	crashes, bootFailures, silent, movedBack      atomic.Int64
}

// olderThan reports whether moving from o to b is a step back: to a lower version, or from any bundle to the store
// build. Names that are no versions are never older.
func (b *bundle) olderThan(o *bundle) bool {
	if b == o || o.name == StoreBuild {
		return false
	}
	if b.name == StoreBuild {
		return true
	}
	return b.version != nil && o.version != nil && b.version.LessThan(o.version)
}

// shelf has one bundle for every version that the fleet has met.
type shelf struct {
	behaviour func(version string) Behaviour
	mu        sync.RWMutex
	byName    map[string]*bundle
}

func newShelf(behaviour func(string) Behaviour) *shelf {
	return &shelf{behaviour: behaviour, byName: make(map[string]*bundle)}
}

// bundle returns the one of this name, new if need be.
func (s *shelf) bundle(name string) *bundle {
	s.mu.RLock()
	b := s.byName[name]
	s.mu.RUnlock()
	if b != nil {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b = s.byName[name]; b == nil {
		b = &bundle{name: name, behaviour: s.behaviour(name)}
		if v, err := semver.StrictNewVersion(name); err == nil {
			b.version = v
		}
		s.byName[name] = b
	}
	return b
}

// snapshot returns the counts of every version so far.
func (s *shelf) snapshot(devices int) map[string]VersionStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string]VersionStats, len(s.byName))
	for name, b := range s.byName {
		offered := b.offered.Load()
		out[name] = VersionStats{
			Running: b.running.Load(), Offers: b.offers.Load(),
			DevicesOffered: offered, ShareOffered: float64(offered) / float64(max(1, devices)),
			Downloads: b.downloads.Load(), Installs: b.installs.Load(), Crashes: b.crashes.Load(),
			BootFailures: b.bootFailures.Load(), Silent: b.silent.Load(),
			MovedBack: b.movedBack.Load(),
		}
	}
	return out
}
