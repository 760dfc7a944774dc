package device

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/store"
)

const (
	// ownPause is the least time between two commits of one app that mark devices: whoever else changes the app, above
	// all the promotion of its rollouts, must find room between them, however many devices choose channels.
	ownPause = 250 * time.Millisecond
	// ownPatience bounds how long a device waits to be marked, and how long one round of marking takes.
	ownPatience = 3 * time.Second
	// ownAttempts bounds how often a round starts over because the app was changed meanwhile.
	ownAttempts = 8
)

// owners sets the bits of devices in their apps' bitmaps of devices that may have a channel of their own. It is done at
// most once per bit, 65,536 times in an app's life. Devices that come while a round of their app is under way, or while
// it pauses, wait for the next one, which marks all of them with one commit.
type owners struct {
	apps     store.Apps
	forget   func(app string) // told of every app that was changed, whose Snapshot in memory lacks the bits
	after    func(time.Duration) <-chan time.Time
	patience time.Duration

	mu      sync.Mutex
	waiting map[string]*round // by app being marked: the round to come, nil while nobody waits for it

	closing    sync.Once
	closed     chan struct{}
	background sync.WaitGroup
	marking    work // rounds under way, without the pauses between them
}

// round is the devices that one commit marks. Its error may be read when done is closed.
type round struct {
	devices []string
	done    chan struct{}
	err     error
}

func newOwners(apps store.Apps, forget func(app string)) *owners {
	return &owners{
		apps: apps, forget: forget, after: time.After, patience: ownPatience, waiting: map[string]*round{}, closed: make(chan struct{}),
	}
}

// add sets the device's bit in the app's bitmap; it returns when the bit is durable. It keeps both strings.
func (o *owners) add(ctx context.Context, app, device string) error {
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	r := o.join(app, device)
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for a device of %s to be marked as having a channel of its own: %w", app, ctx.Err())
	}
}

// join adds the device to the app's next round and sees to it that there is one.
func (o *owners) join(app, device string) *round {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, marking := o.waiting[app]
	if r == nil {
		r = &round{done: make(chan struct{})}
		o.waiting[app] = r
	}
	r.devices = append(r.devices, device)
	if !marking {
		o.background.Go(func() { o.run(app) })
	}
	return r
}

// run takes round after round of the app until nobody waits, pausing after each that wrote. It outlives its last round by
// that pause, so that a device that comes meanwhile waits as well.
func (o *owners) run(app string) {
	for r := o.next(app); r != nil; r = o.next(app) {
		var wrote bool
		o.marking.begin()
		wrote, r.err = o.mark(app, r.devices)
		o.marking.end()
		close(r.done)
		if !wrote {
			continue
		}
		select {
		case <-o.after(ownPause):
		case <-o.closed:
		}
	}
}

// next returns the app's round to take now, to which no device is added any more; nil ends the run.
func (o *owners) next(app string) *round {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.waiting[app]
	if r == nil {
		delete(o.waiting, app)
	} else {
		o.waiting[app] = nil
	}
	return r
}

// mark sets the devices' bits and reports whether it tried to write, which it need not when all of them are set. It is not
// bound to any one request, since others wait for it too.
func (o *owners) mark(app string, devices []string) (wrote bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.patience)
	defer cancel()
	for range ownAttempts {
		before, err := o.apps.Load(ctx, app)
		if err != nil {
			return wrote, fmt.Errorf("loading %s: %w", app, err)
		}
		if allMarked(before.Owned, devices) {
			return wrote, nil
		}
		after := before
		after.Owned = resolve.WithOwned(before.Owned, devices...)
		wrote = true
		_, err = o.apps.Commit(ctx, before, after, nil)
		if err == nil {
			o.forget(app)
			return wrote, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return wrote, fmt.Errorf("marking devices of %s as having channels of their own: %w", app, err)
		}
	}
	return wrote, fmt.Errorf("marking devices of %s as having channels of their own: %w", app, store.ErrConflict)
}

func allMarked(owned []byte, devices []string) bool {
	for _, device := range devices {
		if !resolve.MayOwn(owned, device) {
			return false
		}
	}
	return true
}

// close ends what is under way, cutting its pauses short.
func (o *owners) close() {
	o.closing.Do(func() { close(o.closed) })
	o.background.Wait()
}
