package relay

import (
	"maps"
	"sync"
)

// maxCached bounds the sealed Snapshots that are kept, in bytes.
const maxCached = 32 << 20

// cache keeps the sealed Snapshot of each App that was asked for last, as far as there is room.
type cache struct {
	most int // bytes

	mu    sync.Mutex
	apps  map[string]*cached
	bytes int
	clock int64 // counts uses
}

type cached struct {
	sealed
	used int64
}

// get returns what is kept of the App.
func (c *cache) get(app string) (sealed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.apps[app]
	if !ok {
		return sealed{}, false
	}
	c.clock++
	found.used = c.clock
	return found.sealed, true
}

// put keeps s in the place of what is kept of its App, and forgets those that were not asked for the longest until there
// is room.
func (c *cache) put(s sealed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(s.app)
	if len(s.bytes) > c.most {
		return
	}
	for c.bytes+len(s.bytes) > c.most {
		c.drop(c.oldest())
	}
	if c.apps == nil {
		c.apps = map[string]*cached{}
	}
	c.clock++
	c.apps[s.app] = &cached{s, c.clock}
	c.bytes += len(s.bytes)
}

func (c *cache) drop(app string) {
	if found, ok := c.apps[app]; ok {
		c.bytes -= len(found.bytes)
		delete(c.apps, app)
	}
}

// oldest returns the App that was not asked for the longest.
func (c *cache) oldest() (app string) {
	least := c.clock + 1
	for name, kept := range maps.All(c.apps) {
		if kept.used < least {
			app, least = name, kept.used
		}
	}
	return app
}
