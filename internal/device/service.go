package device

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
	"github.com/palier-ota/palier/internal/stream"
	"github.com/palier-ota/palier/internal/telemetry"
)

// DefaultSnapshotTTL is how long a Snapshot answers before the store is asked for a newer one.
const DefaultSnapshotTTL = 10 * time.Second

const (
	// factsTimeout bounds how long an update check waits for the device's record before it is answered without.
	factsTimeout = 2 * time.Second
	// recordTimeout bounds how long telemetry and channel calls wait to be made durable.
	recordTimeout = 10 * time.Second
)

// Config is what a Service needs. Apps, Devices, Stream, Now and Log are required.
type Config struct {
	Apps        store.Apps
	Devices     store.Devices
	Stream      stream.Stream
	Now         func() time.Time
	Log         *slog.Logger
	SnapshotTTL time.Duration // zero: DefaultSnapshotTTL
	// Frozen says that the host may stop the process between requests and let it go on much later, or never. Then the
	// host must call Settle at the end of every request, and frozen.go says what is different.
	Frozen bool
	// TrustProxies are the networks of proxies, and of edges, whose word is believed on where a request comes from; this
	// machine's is in any case.
	TrustProxies []netip.Prefix
	Sources      SourceLimits // zero values: the presets
}

// Service answers devices. Its methods may be called concurrently.
type Service struct {
	config    Config
	snapshots *snapshots
	beacon    *beacon
	sources   *sources
	requests  sync.Pool // of *capgo.Request
	counts    counts
	owners    *owners
	trouble   seldom
}

// seldom lets one through per second: what goes wrong for one device goes wrong for all of them, and a log line each
// would be one more thing that goes wrong.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now(t time.Time) bool { return s.last.Swap(t.Unix()) != t.Unix() }

// counts are the numbers that Stats tells.
type counts struct {
	reasons  [resolve.NumReasons]atomic.Int64
	refused  atomic.Int64
	events   atomic.Int64
	unknown  atomic.Int64
	overload atomic.Int64
}

// Stats are totals since the Service started.
type Stats struct {
	Decisions     [resolve.NumReasons]int64 // update checks by outcome
	Refused       int64                     // requests answered 4xx
	Events        int64                     // telemetry events acknowledged
	UnknownEvents int64                     // of those, with an action that Palier does not know
	Overloads     int64                     // telemetry requests answered 429 because the stream took no more
	ChecksNoted   int64                     // check events put on the stream
	ChecksDropped int64                     // check events that had to be dropped; the devices' next checks make up for them
	EventsCapped  int64                     // of Events, those that do not count because too many of their kind came from their source
	ChecksLeftOut int64                     // checks that were answered and not noted, because too many came from their source
}

// New returns a Service. Close it to flush what it noted.
func New(c Config) *Service {
	if c.SnapshotTTL == 0 {
		c.SnapshotTTL = DefaultSnapshotTTL
	}
	s := &Service{
		config:    c,
		snapshots: newSnapshots(c.Apps, c.Now, c.SnapshotTTL, c.Log),
		beacon:    newBeacon(c.Stream, c.Log),
		sources:   newSources(c.Sources, c.TrustProxies),
	}
	s.snapshots.frozen = c.Frozen
	if !c.Frozen {
		s.beacon.start()
	}
	s.owners = newOwners(c.Apps, s.snapshots.forget)
	s.requests.New = func() any { return new(capgo.Request) }
	return s
}

// Close flushes the check events noted so far and ends the Service's background work. Requests must have ended. It takes
// as long as the store and the stream need for what is under way, which is seconds at most.
func (s *Service) Close() {
	s.owners.close()
	s.snapshots.close()
	s.beacon.close()
}

// Forget makes the next request of the app wait for what the store has now; while that cannot be had, the Snapshot in
// memory goes on answering. It is for hosts that change apps in the same process; elsewhere the SnapshotTTL bounds how old
// an answer can be.
func (s *Service) Forget(app string) { s.snapshots.forget(app) }

// Stats returns the totals so far.
func (s *Service) Stats() Stats {
	out := Stats{
		Refused: s.counts.refused.Load(), Events: s.counts.events.Load(), UnknownEvents: s.counts.unknown.Load(),
		Overloads: s.counts.overload.Load(), ChecksNoted: s.beacon.sent.Load(), ChecksDropped: s.beacon.dropped.Load(),
		EventsCapped: s.sources.capped.Load(), ChecksLeftOut: s.sources.leftOut.Load(),
	}
	for i := range out.Decisions {
		out.Decisions[i] = s.counts.reasons[i].Load()
	}
	return out
}

// Totals yields what a host reports as metrics: the totals, by name.
func (s *Service) Totals(yield func(name string, total int64) bool) {
	st := s.Stats()
	checks := int64(0)
	for _, n := range st.Decisions {
		checks += n
	}
	for _, t := range []struct {
		name  string
		total int64
	}{
		{"Checks", checks}, {"Offers", st.Decisions[resolve.Offer] + st.Decisions[resolve.OfferBuiltin]}, {"Refused", st.Refused},
		{"Events", st.Events}, {"UnknownEvents", st.UnknownEvents}, {"Overloads", st.Overloads},
		{"ChecksNoted", st.ChecksNoted}, {"ChecksDropped", st.ChecksDropped},
		{"EventsCapped", st.EventsCapped}, {"ChecksLeftOut", st.ChecksLeftOut},
	} {
		if !yield(t.name, t.total) {
			return
		}
	}
}

// Answer is what a device gets.
type Answer struct {
	Status     int
	Body       []byte // JSON, never empty
	RetryAfter int    // seconds for the Retry-After header; 0 is no header
	AnyOrigin  bool   // pages of any origin may ask this and read the answer: the host must add CrossOrigin's headers
}

// refuse encodes a refusal into dst.
func (s *Service) refuse(r *capgo.Refusal, dst []byte) Answer {
	s.counts.refused.Add(1)
	return Answer{Status: r.Status, Body: r.Append(dst), RetryAfter: r.RetryAfter}
}

// load returns the app's Snapshot or the refusal that says why there is none.
func (s *Service) load(ctx context.Context, app string) (*loaded, *capgo.Refusal) {
	l, err := s.snapshots.get(ctx, app)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, errUnknownApp) {
		return nil, capgo.UnknownApp()
	}
	return nil, capgo.Unavailable()
}

// Updates answers POST /updates: the body is the check, dst is where the answer is appended. The common answer, nothing
// new, reads no store and allocates nothing.
func (s *Service) Updates(ctx context.Context, from Source, body, dst []byte) Answer {
	r := s.requests.Get().(*capgo.Request)
	defer s.requests.Put(r)
	if refusal := r.ParseCheck(body); refusal != nil {
		return s.refuse(refusal, dst)
	}
	l, refusal := s.load(ctx, r.Check.AppID)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	d := s.decide(ctx, l, &r.Check)
	s.counts.reasons[d.Reason].Add(1)
	if d.Arm != rollout.ArmNone {
		s.noteCheck(from, &r.Check, d)
	}
	return Answer{Status: capgo.StatusOK, Body: l.answers.Append(dst, &r.Check, d)}
}

// decide resolves a check, reading the device's Facts if it must. When they cannot be read the device keeps what it has.
func (s *Service) decide(ctx context.Context, l *loaded, c *resolve.Check) resolve.Decision {
	d := l.snapshot.Resolve(c, nil)
	if d.Reason != resolve.NeedFacts {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	facts, err := s.config.Devices.Facts(ctx, c.AppID, c.DeviceID)
	if err != nil {
		if s.trouble.now(s.config.Now()) {
			s.config.Log.Warn("device records unreachable, offering nothing", "app", strings.Clone(c.AppID), "error", err)
		}
		return d.WithoutFacts()
	}
	facts = facts.Of(l.snapshot.Generation())
	return l.snapshot.Resolve(c, &facts)
}

// noteCheck queues the event that says this device, in an arm of a live rollout, asked and runs this version.
func (s *Service) noteCheck(from Source, c *resolve.Check, d resolve.Decision) {
	now := s.config.Now()
	device := telemetry.Fingerprint(c.DeviceID)
	hash, first := s.beacon.first(device, c.VersionName, d.Rollout.ID, d.Phase, now.Unix()/3600)
	if !first || !s.sources.enters(from, c.AppID, device, now) {
		return
	}
	s.beacon.note(hash, telemetry.Event{
		Kind: telemetry.KindCheck, App: strings.Clone(c.AppID), Device: device, Time: now.UnixMilli(),
		Version: strings.Clone(c.VersionName), Platform: c.Platform.String(),
		Exposures: []telemetry.Exposure{{
			Rollout: d.Rollout.ID, Phase: d.Phase, Arm: d.Arm, Candidate: c.VersionName == d.Rollout.RolloutSpec.Bundle,
		}},
	})
}
