package relay

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestCacheStaysWithinItsBound and keeps what was asked for last.
func TestCacheStaysWithinItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cache{most: 100}
		var order []string // by use, the latest last
		sizes := map[string]int{}
		used := func(app string) {
			for i, name := range order {
				if name == app {
					order = append(order[:i:i], order[i+1:]...)
					break
				}
			}
			order = append(order, app)
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			app := fmt.Sprint("app", rapid.IntRange(0, 9).Draw(t, "app"))
			if rapid.Bool().Draw(t, "get") {
				found, ok := c.get(app)
				if size, kept := sizes[app]; ok != kept || len(found.bytes) != size {
					t.Fatalf("%s: %d bytes, %t, want %d, %t", app, len(found.bytes), ok, size, kept)
				}
				if ok {
					used(app)
				}
				continue
			}
			size := rapid.IntRange(0, 120).Draw(t, "size")
			c.put(sealed{app: app, bytes: make([]byte, size)})
			delete(sizes, app)
			used(app)
			order = order[:len(order)-1]
			if size > c.most {
				continue
			}
			for total(sizes)+size > c.most {
				delete(sizes, order[0])
				order = order[1:]
			}
			sizes[app] = size
			order = append(order, app)
		}
		if c.bytes != total(sizes) || c.bytes > c.most || len(c.apps) != len(sizes) {
			t.Fatalf("%d bytes of %d apps, want %d of %d", c.bytes, len(c.apps), total(sizes), len(sizes))
		}
	})
}

func total(sizes map[string]int) (sum int) {
	for _, size := range sizes {
		sum += size
	}
	return sum
}
