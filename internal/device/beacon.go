package device

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

const (
	beaconSets     = 1 << 13 // with beaconWays, 512 KB of memory of who was noted already
	beaconWays     = 8       // a cache line
	beaconQueue    = 1 << 14 // check events waiting for the stream
	beaconInterval = 100 * time.Millisecond
	beaconTimeout  = 5 * time.Second // for everything that is queued at one moment
)

// beacon puts check events on the stream behind the answers' back: at most one per device, version and hour that this
// process remembers. It never makes a request wait; what does not fit its queue is dropped, counted, and noted again at
// the device's next check.
type beacon struct {
	out   stream.Stream
	log   *slog.Logger
	queue chan noted

	// sets hold the hashes of what was noted, the newest first. Reading takes no lock, since nearly every check finds
	// itself there; mu guards writing.
	sets [beaconSets]beaconSet
	mu   sync.Mutex

	sent, dropped atomic.Int64

	started bool // run is at work
	stop    sync.Once
	quit    chan struct{}
	done    chan struct{}

	real     func() time.Time // real time
	settling sync.Mutex       // lets one settle at a time, and guards what follows
	due      time.Time        // when settle flushes next
	resting  bool             // the stream did not take the last flush
}

type noted struct {
	hash   uint64
	record stream.Record
}

func newBeacon(out stream.Stream, log *slog.Logger) *beacon {
	return &beacon{
		out: out, log: log, queue: make(chan noted, beaconQueue), quit: make(chan struct{}), done: make(chan struct{}), real: time.Now,
	}
}

// start lets events go to the stream by themselves.
func (b *beacon) start() {
	b.started = true
	go b.run()
}

// first reports whether this device, version, rollout, phase and hour were not noted yet, and notes them under hash. What
// was noted longest ago is pushed out, which costs a duplicate event and never loses one.
func (b *beacon) first(device uint64, version, rolloutID string, phase int, hour int64) (hash uint64, ok bool) {
	h := resolve.EntryKey(device, version, rolloutID, phase, hour)
	set := b.set(h)
	if set.has(h) {
		return h, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if set.has(h) {
		return h, false
	}
	for i := len(set) - 1; i > 0; i-- {
		set[i].Store(set[i-1].Load())
	}
	set[0].Store(h)
	return h, true
}

type beaconSet [beaconWays]atomic.Uint64

func (b *beacon) set(hash uint64) *beaconSet { return &b.sets[hash%beaconSets] }

func (s *beaconSet) has(hash uint64) bool {
	for i := range s {
		if s[i].Load() == hash {
			return true
		}
	}
	return false
}

// drop counts events that go nowhere and forgets them, so that they are noted anew.
func (b *beacon) drop(events ...noted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range events {
		set := b.set(n.hash)
		for i := range set {
			set[i].CompareAndSwap(n.hash, 0)
		}
	}
	b.dropped.Add(int64(len(events)))
}

// note queues the event.
func (b *beacon) note(hash uint64, e telemetry.Event) {
	data, err := telemetry.Append(nil, e)
	if err != nil {
		b.log.Error("check event not encoded", "error", err)
		return
	}
	b.push(noted{hash: hash, record: stream.Record{Key: e.Device, Data: data}})
}

// push queues an event, or drops it when there is no room.
func (b *beacon) push(n noted) {
	select {
	case b.queue <- n:
	default:
		b.drop(n)
	}
}

// run moves the queue to the stream until close.
func (b *beacon) run() {
	defer close(b.done)
	tick := time.NewTicker(beaconInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.flush()
		case <-b.quit:
			b.flush()
			return
		}
	}
}

// flush appends what is queued now. A batch that the stream refuses is dropped and will be noted anew: waiting for it
// would only let the queue overflow, and keep close from ending.
func (b *beacon) flush() {
	if len(b.queue) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), beaconTimeout)
	defer cancel()
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		if err := b.append(ctx, batch); err != nil {
			b.drop(batch...)
			b.log.Warn("check events not appended; they will be noted at the devices' next checks", "events", len(batch), "error", err)
		}
	}
}

// take takes what is queued now, one batch at most.
func (b *beacon) take() []noted {
	var batch []noted
	for len(batch) < stream.MaxBatch {
		select {
		case n := <-b.queue:
			batch = append(batch, n)
		default:
			return batch
		}
	}
	return batch
}

func (b *beacon) append(ctx context.Context, batch []noted) error {
	records := make([]stream.Record, len(batch))
	for i, n := range batch {
		records[i] = n.record
	}
	if err := b.out.Append(ctx, records); err != nil {
		return err
	}
	b.sent.Add(int64(len(batch)))
	return nil
}

// close flushes and stops.
func (b *beacon) close() {
	if !b.started {
		b.flush()
		return
	}
	b.stop.Do(func() { close(b.quit) })
	<-b.done
}
